"""The kinds of training steps, over the same parts."""
