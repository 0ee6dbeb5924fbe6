from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.quality import rules as policy
from crawlers.quality.rules import (
    C4,
    CODE,
    FINEWEB,
    GOPHER_QUALITY,
    GOPHER_REPETITION,
    PROSE,
    first_broken,
    verdict,
    verdicts,
)
from crawlers.quality.signals import signals_of
from crawlers.quality.words import ngram_hashes, split, words_of
from tests.crawlers.texts import texts

RULES = {
    "gopher_quality": GOPHER_QUALITY,
    "gopher_repetition": GOPHER_REPETITION,
    "c4": C4,
    "fineweb": FINEWEB,
}
NAMES = ("walk", "count", "merge", "split", "trace", "fold")
RECORDED = json.loads((Path(__file__).parent / "datatrove_verdicts.json").read_text())


@pytest.mark.parametrize("name", sorted(RULES))
def test_same_verdicts_as_datatrove_on_every_text(name: str) -> None:
    """Recorded by benchmarks/datatrove_verdicts.py."""
    wrong = [
        (text[:80], theirs[name])
        for text, theirs in zip(texts(), RECORDED["verdicts"], strict=True)
        if bool(first_broken(RULES[name], signals_of(text))) != bool(theirs[name])
    ]
    assert wrong == []
    assert 30 < sum(bool(theirs[name]) for theirs in RECORDED["verdicts"]) < 500, (
        "both verdicts are put to the test"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop.", ["Do", "n't", "stop", "."]),
        (
            "It's well-known, isn't it?",
            ["It", "'s", "well", "-", "known", ",", "is", "n't", "it", "?"],
        ),
        ("3.14 and 1,000", ["3.14", "and", "1,000"]),
        ("see https://h/x?y=1.", ["see", "https://h/x?y=1", "."]),
        ("wait...", ["wait", "..."]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split(text) == words


def test_known_signals() -> None:
    signals = signals_of("one two three four\none two three four\nfive # six ...")
    assert signals["duplicate_lines"] == pytest.approx(1 / 3)
    assert signals["hash_ratio"] == pytest.approx(1 / 12)
    assert signals["ellipsis_line_share"] == pytest.approx(1 / 3)
    assert signals["num_words"] == 10, "a mark is no word"


def test_code_has_its_own_policy() -> None:
    lines = (
        f"def {a}_{b}({c}):\n    return {b}.{a}({c}, {len(a)})"
        for a in NAMES
        for b in NAMES
        for c in NAMES
    )
    code = "\n".join(list(lines)[:60])
    signals = signals_of(code)
    assert signals["code_line_share"] > 0.9
    assert first_broken(PROSE, signals) != ""
    assert verdict("web-1", signals, 200) == ""


def test_the_lenient_policy_asks_for_length_only() -> None:
    signals = signals_of("word " * 100)
    assert verdict("lenient-1", signals, 200) == ""
    assert verdict("lenient-1", signals, 1000) == policy.TOO_SHORT
    assert verdict("web-1", signals, 200) != ""


def test_many_at_once_are_judged_as_one_by_one() -> None:
    made = {str(i): signals_of(text) for i, text in enumerate(texts(120))}
    made["code"] = signals_of("x = 1\ny = 2\n" * 60)
    rows = [(i, name, value) for i, signals in made.items() for name, value in signals.items()]
    table = pa.table(
        dict(zip(("document_id", "name", "value"), map(list, zip(*rows, strict=True)), strict=True))
    )
    for name in ("web-1", "lenient-1"):
        assert verdicts(name, list(made), table, 200) == {
            i: verdict(name, s, 200) for i, s in made.items()
        }


@given(st.text(max_size=300))
def test_any_text_has_every_signal(text: str) -> None:
    signals = signals_of(text)
    assert {rule.signal for rule in PROSE + CODE} <= set(signals)
    assert all(value == value and abs(value) < 1e9 for value in signals.values())


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 5))
def test_ngram_hashes_are_equal_just_where_the_ngrams_are(tokens: list[str], n: int) -> None:
    hashes = ngram_hashes(words_of(" ".join(tokens)).hashes, n).tolist()
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    assert len(hashes) == len(grams)
    assert len(set(hashes)) == len(set(grams))
