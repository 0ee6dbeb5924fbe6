"""Held-out text as labelers may know it: how similar a text is to it, never what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from crawlers.quality.fingerprints import GRAM_SIZES, sampled_grams
from crawlers.quality.words import plain_hashes
from infra.store import Store
from judges.making.context import HeldOut


@dataclass(frozen=True)
class HeldOutNgrams(HeldOut):
    """Compares by sampled word n-grams, as curation compares documents."""

    store: Store
    generation: int
    """Text crawled later is not compared: a generation trained again must get the same data."""

    @override
    def shares(self, texts: Sequence[str]) -> list[float]:
        """The share of each text's n-grams that held-out text has; 0 for very short texts."""
        size = min(GRAM_SIZES)
        grams_by_text = [sampled_grams(plain_hashes(text)).get(size, []) for text in texts]
        grams = sorted({gram for of_text in grams_by_text for gram in of_text})
        held_out: set[int] = set()
        if grams:
            held_out = self.store.curation.held_out_grams(grams, size, self.generation)
        return [
            sum(gram in held_out for gram in of_text) / max(len(of_text), 1)
            for of_text in grams_by_text
        ]
