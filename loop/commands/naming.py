"""How commands name a model: by its generation and, since there may be several, its candidate."""

from __future__ import annotations


def model_words(generation: int, arm: str) -> str:
    """For example `generation 2, random`; the anchor has no name of its own."""
    return f"generation {generation}" + (f", {arm}" if arm else "")
