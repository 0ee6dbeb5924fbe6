"""Preferences: completions are compared, rated, and turned into pairs."""
