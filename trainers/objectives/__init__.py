"""Losses and advantages: pure functions of log-probabilities and rewards."""
