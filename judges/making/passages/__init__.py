"""Passages: cut from documents, judged, scored by a distilled head and selected for training."""
