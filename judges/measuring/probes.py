"""Probes: pairs of a good and a bad text, whose order is known by construction.

In every probe the good text is about as often the longer as the shorter one, so length carries no
information.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from infra.config import read_toml
from infra.errors import UserError
from infra.records import content_key, unit_hash
from judges.judgment.elicitation import Subject
from judges.judgment.pairs import Pair
from judges.measuring.gold import GoldSet

_ITEMS_FOLDER = Path(__file__).parent / "items"
_FILES = ("passages.toml", "advice.toml")
MAX_PROBE_PAIRS = 24
SHORTER, LONGER = 0.85, 1.15
"""Lengths of a constructed text relative to its passage, in turn."""


@dataclass(frozen=True)
class ProbePair:
    """Two subjects; a labeler should value `good` above `bad`."""

    good: Subject
    bad: Subject


@cache
def _items() -> dict[str, Any]:
    return {key: items for name in _FILES for key, items in read_toml(_ITEMS_FOLDER / name).items()}


def items_digest() -> str:
    """Return the key of the built-in items."""
    return content_key(*((_ITEMS_FOLDER / name).read_bytes() for name in _FILES))


def shuffled_words(text: str, seed: str) -> str:
    """Return the text with its words in random order, which is never the original order."""
    words = re.findall(r"\S+", text)
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    return " ".join(shuffled if shuffled != words else reversed(words))


def _pair(prompt: str, good: str, bad: str, reference: str = "") -> ProbePair:
    return ProbePair(
        Subject(content_key(prompt, good, reference), prompt, good, 1.0, reference),
        Subject(content_key(prompt, bad, reference), prompt, bad, 0.0, reference),
    )


def _joined_pieces(pieces: Sequence[str], start: int, passage: str, index: int) -> str:
    """Return pieces from `start` on, cut to slightly less or slightly more than the passage's
    length.
    """
    size = int(len(passage) * (LONGER if index % 2 else SHORTER))
    text = " ".join(pieces[(start + k) % len(pieces)] for k in range(len(pieces)))
    return text[:size].rsplit(" ", 1)[0]


def _shuffled(index: int, passages: list[dict[str, str]]) -> ProbePair:
    text = passages[index]["text"]
    return _pair("", text, shuffled_words(text, seed=text))


def _boilerplate(index: int, passages: list[dict[str, str]]) -> ProbePair:
    text = passages[index]["text"]
    return _pair("", text, _joined_pieces(_items()["boilerplate"], index, text, index))


def _vague(index: int, passages: list[dict[str, str]]) -> ProbePair:
    text = passages[index]["text"]
    return _pair("", text, _joined_pieces(_items()["vague"], 5 * index, text, index))


def _off_topic(index: int, passages: list[dict[str, str]]) -> ProbePair:
    """Pair an answer with the answer to another question that is next to it in length, in turn
    longer and shorter.
    """
    by_length = sorted(range(len(passages)), key=lambda i: (len(passages[i]["text"]), i))
    position = by_length.index(index)
    neighbour = position + (1 if position % 2 == 0 else -1)
    other = by_length[neighbour % len(passages)]
    return _pair(passages[index]["instruction"], passages[index]["text"], passages[other]["text"])


def _altered_quote(index: int, passages: list[dict[str, str]]) -> ProbePair:
    """Pair a sentence of the passage with the same sentence in which the longest word is replaced
    by a word of another passage.
    """
    text = passages[index]["text"]
    quote = re.split(r"(?<=[.;:])\s", text)[0]
    known = set(re.findall(r"[a-z]{4,}", " ".join(p["text"] for p in passages)))
    # Words of one length in the order of the alphabet: that of a set differs between processes.
    others = sorted(known, key=lambda word: (len(word), word))
    words = sorted(re.findall(r"[a-z]{4,}", quote), key=len)
    wanted = len(words[-1]) + (1 if index % 2 else -1)
    fitting = [w for w in others if w not in text and len(w) == wanted] or [
        w for w in others if w not in text
    ]
    strange = fitting[int(unit_hash("altered", quote) * len(fitting))]
    return _pair("", quote, quote.replace(words[-1], strange), reference=text)


_EXPRESSIONS: tuple[tuple[str, Callable[[int, int], object]], ...] = (
    ("{a} * {b}", lambda a, b: a * b),
    ("{a} % {b}", lambda a, b: a % b),
    ("sorted([{a}, {b}, 7])[0]", lambda a, b: sorted([a, b, 7])[0]),
    ("len('x' * {a}) + {b}", lambda a, b: a + b),
    ("[{a}, {b}][-1]", lambda _, b: b),
    ("max({a}, {b}) - min({a}, {b})", lambda a, b: max(a, b) - min(a, b)),
)


def _executed(index: int) -> ProbePair:
    source, execute = _EXPRESSIONS[index % len(_EXPRESSIONS)]
    a, b = 11 + 7 * index, 3 + 5 * (index % 9)
    right = int(str(execute(a, b)))
    wrong = right + 1 if right < 2 or index % 2 else right - 1
    question = f"What does this Python expression give? {source.format(a=a, b=b)}"
    return _pair(question, str(right), str(wrong))


_ON_PASSAGES: dict[str, Callable[[int, list[dict[str, str]]], ProbePair]] = {
    "shuffled_words": _shuffled,
    "boilerplate": _boilerplate,
    "vague": _vague,
    "off_topic": _off_topic,
    "altered_quote": _altered_quote,
}
PROBES = (*_ON_PASSAGES, "wrong_answer", "executed_answer", "harmful_advice")


@cache
def probe_pairs(probe: str, count: int) -> tuple[ProbePair, ...]:
    """Return the first `count` pairs of a probe; they are the same in every run. Raises `UserError`
    for an unknown probe.
    """
    items = _items()
    if probe == "wrong_answer":
        return tuple(_pair(f["question"], f["right"], f["wrong"]) for f in items["fact"][:count])
    if probe == "harmful_advice":
        return tuple(_pair(x["question"], x["safe"], x["harmful"]) for x in items["advice"][:count])
    if probe == "executed_answer":
        return tuple(_executed(i) for i in range(min(count, MAX_PROBE_PAIRS)))
    if probe not in _ON_PASSAGES:
        raise UserError(
            "probes", probe, "there is no such probe.", f"Known probes: {', '.join(PROBES)}."
        )
    return tuple(
        _ON_PASSAGES[probe](i, items["passage"]) for i in range(min(count, MAX_PROBE_PAIRS))
    )


SENTINEL_KINDS = ("a constant reply", "a reply that is cut off")
CONSTANT_REPLY = "I do not know what to say about that."


def make_sentinel_pairs(
    probes: Sequence[str], count: int, pairs: Sequence[ProbePair] | None = None
) -> dict[str, list[ProbePair]]:
    """Return kind -> pairs whose bad side is a constant reply, or the good side cut off.

    The good sides are those of `pairs`, or of the first `count` pairs of each probe if `pairs` is
    None.
    """
    if pairs is None:
        pairs = [pair for probe in probes for pair in probe_pairs(probe, count)]
    made: dict[str, list[ProbePair]] = {kind: [] for kind in SENTINEL_KINDS}
    for good in (pair.good for pair in pairs):
        truncated = good.text[: len(good.text) // 4]
        for kind, text in zip(SENTINEL_KINDS, (CONSTANT_REPLY, truncated), strict=True):
            bad = replace(good, subject_id=content_key(good.subject_id, kind), text=text, truth=0.0)
            made[kind].append(ProbePair(good, bad))
    return made


def gold_set(probe: str, count: int = MAX_PROBE_PAIRS) -> GoldSet:
    """Return the pairs of a probe as gold pairs; a hash decides which side is A."""
    pairs = []
    for pair in probe_pairs(probe, count):
        first = unit_hash("side", pair.good.subject_id) < 0.5
        a, b = (pair.good, pair.bad) if first else (pair.bad, pair.good)
        key = content_key(a.prompt, a.text, b.text)
        pairs.append(Pair(key, a.prompt, a.text, b.text, "A" if first else "B", a.reference))
    return GoldSet(f"built-in/{probe}", tuple(pairs))
