"""Passages: which parts of documents are judged, ranked and trained on."""
