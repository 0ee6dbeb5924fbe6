"""Pairs that are true by construction: a good subject and a bad one, known without any labeler."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infra.config import read_toml
from infra.errors import UserError
from infra.records import content_key, unit_hash
from judges.gold import GoldSet
from judges.pairs import Pair
from judges.ways import Subject

ITEMS = Path(__file__).parent / "items" / "passages.toml"


@dataclass(frozen=True)
class ProbePair:
    """A subject that a labeler should value above the other."""

    good: Subject
    bad: Subject


@cache
def _items() -> dict[str, Any]:
    return read_toml(ITEMS)


def items_digest() -> str:
    """Key of the built-in items."""
    return content_key(ITEMS.read_bytes())


def shuffled_words(text: str, seed: str) -> str:
    """The text with its words in random order, always another order than before."""
    words = re.findall(r"\S+", text)
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    return " ".join(shuffled if shuffled != words else reversed(words))


def _subject(prompt: str, text: str, truth: float) -> Subject:
    return Subject(content_key(prompt, text), prompt, text, truth)


def gold_set(probe: str, count: int = 24) -> GoldSet:
    """The pairs of a probe as gold, the better side by a hash of the pair."""
    pairs = []
    for pair in probe_pairs(probe, count):
        first = unit_hash("side", pair.good.subject_id) < 0.5
        a, b = (pair.good, pair.bad) if first else (pair.bad, pair.good)
        prompt = pair.good.prompt or pair.bad.prompt
        pairs.append(Pair(content_key(prompt, a.text, b.text), prompt, a.text, b.text, "A" if first else "B"))
    return GoldSet(f"built-in/{probe}", tuple(pairs))


def probe_pairs(probe: str, count: int) -> list[ProbePair]:
    """The first `count` pairs of a probe, the same in every run."""
    passages, facts, boilerplate = (_items()[name][:count] for name in ("passage", "fact", "boilerplate"))
    if probe == "wrong_answer":
        return [
            ProbePair(_subject(f["question"], f["right"], 1.0), _subject(f["question"], f["wrong"], 0.0)) for f in facts
        ]
    pairs = []
    for i, passage in enumerate(passages):
        prompt, text = passage["instruction"], passage["text"]
        bad = {
            "shuffled_words": ("", shuffled_words(text, seed=text)),
            "boilerplate": ("", boilerplate[i]),
            "off_topic": (prompt, passages[(i + len(passages) // 2) % len(passages)]["text"]),
        }
        if probe not in bad:
            raise UserError("probes", probe, "no such probe.", f"Known: {', '.join([*bad, 'wrong_answer'])}.")
        good_prompt = prompt if probe == "off_topic" else ""
        pairs.append(ProbePair(_subject(good_prompt, text, 1.0), _subject(*bad[probe], 0.0)))
    return pairs
