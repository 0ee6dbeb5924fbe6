"""Verification by execution and by checks. What can be verified is not judged by a labeler."""
