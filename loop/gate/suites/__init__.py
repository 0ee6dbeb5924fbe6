"""What models are scored on: held-out text, files, answers, variety, lm-eval tasks."""
