"""Passages: cut from documents, judged, valued and selected for training."""
