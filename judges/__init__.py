"""Labels for training: samples, judgments and preferences, made by a language model or by
execution.
"""
