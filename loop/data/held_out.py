"""Held-out texts as labelers may know them: only how much something is like one, never what it
says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crawlers.quality.fingerprints import GRAM_SIZES, sampled_grams
from crawlers.quality.words import plain_hashes
from infra.store import Store


@dataclass(frozen=True)
class HeldOutTexts:
    """See `judges.making.context.HeldOut`: sampled word n-grams, as curation compares documents by."""

    store: Store
    generation: int
    """What later ones crawled is not known: a generation that is trained again must learn from the
    same."""

    def shares(self, texts: Sequence[str]) -> list[float]:
        """See `judges.making.context.HeldOut`. A text shorter than the shortest n-gram is like
        nothing.
        """
        size = min(GRAM_SIZES)
        grams = [sampled_grams(plain_hashes(text)).get(size, []) for text in texts]
        wanted = sorted({g for of_text in grams for g in of_text})
        found = (
            self.store.curation.held_out_grams(wanted, size, self.generation) if wanted else set()
        )
        return [sum(g in found for g in of_text) / max(len(of_text), 1) for of_text in grams]
