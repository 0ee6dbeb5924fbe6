"""Judging a user's file of items, and recomputing stored results."""
