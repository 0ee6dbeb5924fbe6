"""Measures how reliable a labeler is, on pairs whose better side is known."""
