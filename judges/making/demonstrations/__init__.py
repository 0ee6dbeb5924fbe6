"""Demonstrations: prompts with an answer, from examples, quotes and instructions."""
