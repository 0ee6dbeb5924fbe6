"""The kinds of training steps."""
