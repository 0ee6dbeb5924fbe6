"""Demonstrations: prompts with completions, from executed examples and from written questions."""
