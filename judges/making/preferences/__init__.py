"""Preferences: completions are checked or compared, rated, and turned into pairs."""
