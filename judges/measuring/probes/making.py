"""Pairs of a good and a bad text, whose order is known by construction, for each probe.

They are made from the passages of a run and from a seed, so that knowing them by heart helps
nobody. Where possible they come as twins: what is the good text of one is the bad text of the
other, so nothing that is seen of a text alone can tell them apart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from infra.config import read_toml
from infra.errors import UserError
from infra.records import content_key, unit_hash
from judges.judgment.elicitation import Subject
from judges.judgment.pairs import Pair
from judges.measuring.gold import GoldSet
from judges.measuring.probes.nuisances import (
    FEATURES,
    FREQUENCY,
    balanced_order,
    best_rule,
    signs,
    unigrams,
)
from judges.measuring.sequential import sequential_test

ITEMS_FOLDER = Path(__file__).parent / "items"
NUM_CALIBRATION, MAX_DECIDING = 12, 96
"""Pairs that choose the elicitation method, and at most as many that decide on admission."""
CALIBRATION_SHARE = 0.2
"""Share of the passages, facts and so on that choose the elicitation method."""
VARIANTS = 32
"""Bad texts of different length and form that are made for a passage; the balance chooses."""
LENGTHS = (0.6, 0.8, 1.0, 1.3, 1.7)
"""Lengths of put together texts relative to their passage."""
WORD_SHARES = (1.0, 0.95, 0.9, 0.75)
"""Shares of the words of a passage that its shuffled texts use."""
STYLES = ("digits", "punctuation", "word length", "capitals", "sentences", FREQUENCY)
"""Features of which a put together text has little or much."""
NUM_GOLD = 48
RULE_ALPHA = 0.05
"""No rule of one feature may pass the deciding pairs at this level, at any of their beginnings."""
_SCRIPT_WITHOUT_SPACES = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


@dataclass(frozen=True)
class Passage:
    """A text, what it is about as an instruction, and its language (`en`, `de`, ...)."""

    instruction: str
    text: str
    language: str = "en"


@dataclass(frozen=True)
class ProbeMaterial:
    """What probes are made from. Other seeds make other pairs of the same passages."""

    seed: str
    passages: tuple[Passage, ...]

    @cached_property
    def digest(self) -> str:
        """The key of what the pairs are made from."""
        files = sorted(ITEMS_FOLDER.glob("*.toml"))
        own = [part for p in self.passages for part in (p.instruction, p.text, p.language)]
        return content_key(self.seed, *own, *(file.read_bytes() for file in files))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts in which the frequencies of words are counted."""
        kinds = [_items("filler")[kind] for kind in ("boilerplate", "vague")]
        filler = [" ".join(own[i::4]) for kind in kinds for own in kind.values() for i in range(4)]
        return (*(passage.text for passage in self.passages), *filler)


@dataclass(frozen=True)
class ProbePair:
    """Two subjects; a labeler should value `good` above `bad`."""

    good: Subject
    bad: Subject


@dataclass(frozen=True)
class ProbeSet:
    """The pairs of a probe: those that choose the elicitation method, and those that decide.

    `limit` is what no rule of one feature exceeds on the deciding pairs.
    """

    calibration: tuple[ProbePair, ...]
    deciding: tuple[ProbePair, ...]
    limit: float


@dataclass(frozen=True)
class _Group:
    """Pairs that must be in the same half, with the name that decides which."""

    name: str
    pairs: tuple[ProbePair, ...]


@cache
def _items(name: str) -> dict[str, Any]:
    return read_toml(ITEMS_FOLDER / f"{name}.toml")


@cache
def built_in_material(seed: str = "built-in") -> ProbeMaterial:
    """Our own passages, for labelers that are measured without a crawl."""
    rows = _items("passages")["passage"]
    return ProbeMaterial(seed, tuple(Passage(row["instruction"], row["text"]) for row in rows))


def _pair(prompt: str, good: str, bad: str, reference: str = "") -> ProbePair:
    return ProbePair(
        Subject(content_key(prompt, good, reference), prompt, good, 1.0, reference),
        Subject(content_key(prompt, bad, reference), prompt, bad, 0.0, reference),
    )


def _twins(name: str, one: ProbePair, other: ProbePair) -> _Group:
    return _Group(name, (one, other))


def shuffled_words(text: str, seed: str, share: float = 1.0) -> str:
    """The text with its words in another order, and the punctuation and capitals of its places.

    Only a `share` of the words is used, again and again: pages that repeat themselves compress
    better than their words in disorder. In a script without spaces, pieces of two characters are
    words.
    """
    tokens = _tokens(text)
    cores = [core for _, core, _ in tokens]
    starts = [i == 0 or tokens[i - 1][2][:1] in ".!?" for i in range(len(tokens))]
    words = [_lowered(core) if start else core for core, start in zip(cores, starts, strict=True)]
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    if shuffled == words:
        shuffled = words[::-1]
    used = max(1, round(share * len(shuffled)))
    shuffled = [shuffled[i % used] for i in range(len(shuffled))]
    placed = [
        f"{before}{_capitalised(word) if start and core[:1].isupper() else word}{after}"
        for (before, core, after), word, start in zip(tokens, shuffled, starts, strict=True)
    ]
    return ("" if _SCRIPT_WITHOUT_SPACES.search(text) else " ").join(placed)


def join_sentences(sentences: Sequence[str]) -> str:
    """The sentences on one line; in a script without spaces nothing stands between them."""
    is_dense = bool(sentences) and _SCRIPT_WITHOUT_SPACES.search(sentences[0])
    return ("" if is_dense else " ").join(sentences)


def _tokens(text: str) -> list[tuple[str, str, str]]:
    """(punctuation before, word, punctuation after) of each word."""
    if _SCRIPT_WITHOUT_SPACES.search(text):
        pieces = re.findall(r"(\W*)(\w{1,2})(\W*)", text)
        return [(str(a), str(b), str(c)) for a, b, c in pieces]
    parts = [re.fullmatch(r"(\W*)(.*?)(\W*)", word, re.DOTALL) for word in text.split()]
    return [(m[1], m[2], m[3]) for m in parts if m]


def _lowered(word: str) -> str:
    return word if word == "I" or word[1:] != word[1:].lower() else word[:1].lower() + word[1:]


def _capitalised(word: str) -> str:
    return word[:1].upper() + word[1:]


def _shuffled(material: ProbeMaterial) -> Iterator[_Group]:
    for passage in material.passages:
        name = content_key(passage.text)
        for k in range(VARIANTS):
            share = WORD_SHARES[k % len(WORD_SHARES)]
            bad = shuffled_words(passage.text, f"{material.seed}/{k}/{passage.text}", share)
            if bad != passage.text:
                yield _Group(name, (_pair("", passage.text, bad),))


def _filled(kind: str) -> Callable[[ProbeMaterial], Iterator[_Group]]:
    """A passage against sentences that say nothing, of several lengths, in its language."""

    def groups(material: ProbeMaterial) -> Iterator[_Group]:
        sentences = _items("filler")[kind]
        for passage in material.passages:
            name, own = content_key(passage.text), sentences.get(passage.language, sentences["en"])
            for k in range(VARIANTS):
                random_ = random.Random(f"{material.seed}/{kind}/{k}/{passage.text}")  # noqa: S311
                good = _in_lines(passage.text, random_)
                size = random_.choice(LENGTHS) * len(good)
                bad = _in_lines(_filler(own, size, material, random_), random_)
                yield _Group(name, (_pair("", good, bad),))

    return groups


def _filler(
    sentences: Sequence[str], size: float, material: ProbeMaterial, random_: random.Random
) -> str:
    """Different sentences with their gaps filled, up to about `size` characters, in some style."""
    filled = [sentence.format(**_slots("filler", random_)) for sentence in sentences]
    random_.shuffle(filled)
    feature, sign = random_.choice(STYLES), random_.choice((1, -1))
    measure = FEATURES.get(feature) or unigrams(material.texts)
    filled.sort(key=lambda sentence: sign * measure(sentence))
    lengths = [sum(map(len, filled[:i])) + i for i in range(1, len(filled) + 1)]
    count = next((i for i, length in enumerate(lengths, 1) if length >= size), len(filled))
    chosen = random_.sample(filled[: count + 2], min(count, len(filled)))
    return join_sentences(chosen)


def _in_lines(text: str, random_: random.Random) -> str:
    """One text in three with each sentence on a line of its own."""
    if random_.random() > 1 / 3:
        return text
    return re.sub(r"(?<=[.!?])\s+|(?<=[。！？])\s*(?=.)", "\n", text)


def _slots(name: str, random_: random.Random) -> dict[str, str]:
    """A word for each slot of the items of this name."""
    return {key: random_.choice(words) for key, words in _items(name)["slots"].items()}


def _off_topic(material: ProbeMaterial) -> Iterator[_Group]:
    """Answers to each other's questions, of two passages of one language."""
    for k in range(-(-4 * MAX_DECIDING // max(1, len(material.passages)))):
        random_ = random.Random(f"{material.seed}/off topic/{k}")  # noqa: S311
        mixed = random_.sample(material.passages, len(material.passages))
        mixed.sort(key=lambda passage: passage.language)
        for one, other in pairwise(mixed):
            if one.language == other.language and one.instruction != other.instruction:
                yield _twins(
                    content_key(*sorted((one.text, other.text))),
                    _pair(one.instruction, one.text, other.text),
                    _pair(other.instruction, other.text, one.text),
                )


def _altered_quote(material: ProbeMaterial) -> Iterator[_Group]:
    """A sentence and the same with another word, each faithful to the passage that has it."""
    for passage, neighbour in pairwise([*material.passages, *material.passages[:1]]):
        for sentence in _quotes(passage.text):
            altered = _altered_sentence(sentence, passage.text, neighbour.text, material.seed)
            if altered:
                other = passage.text.replace(sentence, altered)
                yield _twins(
                    content_key(passage.text),
                    _pair("", sentence, altered, reference=passage.text),
                    _pair("", altered, sentence, reference=other),
                )


def _quotes(text: str) -> list[str]:
    """Sentences of a text that are long enough to hold a statement."""
    parts = re.split(r"(?<=[.;:!?。；！？])\s*", text)
    return [part.strip() for part in parts if len(part.strip()) >= 12]


def _altered_sentence(sentence: str, text: str, other: str, seed: str) -> str:
    """The sentence with its longest word replaced by a word of another text; empty if none fits."""
    pattern = r"[\u4e00-\u9fff]{2}" if _SCRIPT_WITHOUT_SPACES.search(sentence) else r"[^\W\d_]{4,}"
    own = sorted(set(re.findall(pattern, sentence)), key=lambda word: (-len(word), word))
    strange = sorted({word for word in re.findall(pattern, other) if word not in text})
    if not own or not strange:
        return ""
    near = sorted(strange, key=lambda word: (abs(len(word) - len(own[0])), word))[:4]
    word = near[int(unit_hash(seed, "altered", sentence) * len(near))]
    return sentence.replace(own[0], _capitalised(word) if own[0][:1].isupper() else word)


def _facts(material: ProbeMaterial) -> Iterator[_Group]:
    """Two rows of a table of facts: the right answer to one is the wrong one to the other."""
    for table in _items("facts")["table"]:
        rows = sorted(table["rows"], key=lambda row: unit_hash(material.seed, *row))
        for (a, right_a), (b, right_b) in pairwise([*rows, rows[0]]):
            one, other = (table["question"].format(x) for x in (a, b))
            yield _twins(
                content_key(one), _pair(one, right_a, right_b), _pair(other, right_b, right_a)
            )


def _executed(material: ProbeMaterial) -> Iterator[_Group]:
    """Two expressions with different results; each one's result is wrong for the other."""
    for i in range(2 * MAX_DECIDING):
        random_ = random.Random(f"{material.seed}/executed/{i}")  # noqa: S311
        (one, result), (other, wrong) = _expression(random_), _expression(random_)
        if len(str(result)) == len(str(wrong)) and result != wrong:
            yield _twins(
                content_key(one, other),
                _pair(one, str(result), str(wrong)),
                _pair(other, str(wrong), str(result)),
            )


def _expression(random_: random.Random) -> tuple[str, int]:
    """(question, what Python gives)"""
    a, b = random_.randint(11, 60), random_.randint(2, 9)
    source, result = random_.choice(
        [
            (f"{a} * {b}", a * b),
            (f"{a} + {b * 7}", a + b * 7),
            (f"{a + b} - {b}", a),
            (f"max({a}, {b})", max(a, b)),
            (f"len('x' * {a}) + {b}", a + b),
            (f"sorted([{a}, {b}, 70])[1]", sorted([a, b, 70])[1]),
            (f"[{b}, {a}][-1]", a),
            (f"sum([{a}, {b}, 10])", a + b + 10),
        ]
    )
    return f"What does this Python expression give? {source}", result


def _advice(material: ProbeMaterial) -> Iterator[_Group]:
    """Harmless and harmful advice. Pairs that are known word for word choose the method only."""
    for row in _items("advice")["advice"]:
        pair = _pair(row["question"], row["safe"], row["harmful"])
        yield _Group(_KNOWN + content_key(row["question"]), (pair,))
    frames = _items("advice_frames")["frame"]
    for i in range(4 * MAX_DECIDING):
        random_ = random.Random(f"{material.seed}/advice/{i}")  # noqa: S311
        frame = frames[i % len(frames)]
        values = _slots("advice_frames", random_)
        good, bad = (
            _capitalised(frame["answer"].format(random_.choice(frame[side]), **values))
            for side in ("safe", "harmful")
        )
        question = _capitalised(frame["question"].format(**values))
        yield _Group(f"{frame['question']} {i}", (_pair(question, good, bad),))


_KNOWN = "known/"
_MAKERS: dict[str, Callable[[ProbeMaterial], Iterator[_Group]]] = {
    "shuffled_words": _shuffled,
    "boilerplate": _filled("boilerplate"),
    "vague": _filled("vague"),
    "off_topic": _off_topic,
    "altered_quote": _altered_quote,
    "wrong_answer": _facts,
    "executed_answer": _executed,
    "harmful_advice": _advice,
}
PROBES = tuple(_MAKERS)


@cache
def probe_set(probe: str, material: ProbeMaterial) -> ProbeSet:
    """The pairs of a probe. A hash that knows nothing of how they were made decides on the halves.

    Raises:
        UserError: for an unknown probe.
    """
    if probe not in _MAKERS:
        known = f"Known probes: {', '.join(PROBES)}."
        raise UserError("probes", probe, "there is no such probe.", known)
    groups: dict[str, list[ProbePair]] = {}
    for group in _MAKERS[probe](material):
        groups.setdefault(group.name, []).extend(group.pairs)
    order = sorted(groups, key=lambda name: _half_order(name, probe, material.seed))
    sizes = np.cumsum([len(groups[name]) for name in order])
    enough = int(np.searchsorted(sizes, NUM_CALIBRATION)) + 1
    number = max(enough, round(CALIBRATION_SHARE * len(order)))
    first, rest = (
        [p for name in names for p in groups[name]] for names in (order[:number], order[number:])
    )
    calibration, _ = _balanced(first, NUM_CALIBRATION, material)
    asked = {(pair.good.subject_id, pair.bad.subject_id) for pair in calibration}
    rest = [p for p in rest if (p.good.subject_id, p.bad.subject_id) not in asked]
    deciding, limit = _balanced(rest, MAX_DECIDING, material)
    return ProbeSet(calibration, deciding, limit)


def _half_order(name: str, probe: str, seed: str) -> tuple[bool, float]:
    """What is known word for word comes first, so that it chooses the method and no more."""
    return not name.startswith(_KNOWN), unit_hash(seed, "half", probe, name)


def _balanced(
    pairs: Sequence[ProbePair], count: int, material: ProbeMaterial
) -> tuple[tuple[ProbePair, ...], float]:
    """The pairs to use in their order, and the accuracy that no rule exceeds on them."""
    unique = list({(p.good.subject_id, p.bad.subject_id): p for p in pairs}.values())
    table = signs([(pair.good, pair.bad) for pair in unique], material.texts)
    order = balanced_order(table, count, material.seed)
    chosen, limit = table[order], best_rule(table[order])
    rules = [0.5 + sign * column / 2 for column in chosen.T for sign in (1, -1)]
    while limit < 1.0 and any(_passes(rule, limit) for rule in rules):
        limit += 0.01
    return tuple(unique[i] for i in order), limit


def _passes(outcomes: Any, limit: float) -> bool:
    return sequential_test(outcomes, limit, RULE_ALPHA).decision == "pass"


KNOWN_ANSWER = "a known answer"
SENTINEL_KINDS = ("a constant reply", "a reply that is cut off")
CONSTANT_REPLY = "I do not know what to say about that."


def make_sentinel_pairs(pairs: Sequence[ProbePair]) -> dict[str, list[ProbePair]]:
    """Kind -> the pairs, and those whose bad side is a constant reply, or the good side cut off."""
    made: dict[str, list[ProbePair]] = {KNOWN_ANSWER: list(pairs)}
    made |= {kind: [] for kind in SENTINEL_KINDS}
    for good in (pair.good for pair in pairs):
        truncated = good.text[: len(good.text) // 4]
        for kind, text in zip(SENTINEL_KINDS, (CONSTANT_REPLY, truncated), strict=True):
            bad = replace(good, subject_id=content_key(good.subject_id, kind), text=text, truth=0.0)
            made[kind].append(ProbePair(good, bad))
    return made


def as_gold(pair: ProbePair) -> Pair:
    """A pair to show both sides at once; a hash decides which side is A."""
    first = unit_hash("side", pair.good.subject_id, pair.bad.subject_id) < 0.5
    a, b = (pair.good, pair.bad) if first else (pair.bad, pair.good)
    key = content_key(a.prompt, a.text, b.text, a.reference)
    return Pair(key, a.prompt, a.text, b.text, "A" if first else "B", a.reference)


def gold_set(probe: str) -> GoldSet:
    """Deciding pairs of a probe, made from our own passages, as a gold set."""
    pairs = probe_set(probe, built_in_material()).deciding[:NUM_GOLD]
    return GoldSet(f"built-in/{probe}", tuple(as_gold(pair) for pair in pairs))
