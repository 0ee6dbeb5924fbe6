"""Labeling by a language model and by execution: from documents to samples and preferences."""
