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
    QualityRule,
    drop_reasons,
)
from crawlers.quality.signals import quality_signals
from crawlers.quality.words import _WORD, ngram_hashes, tokenise
from tests.crawlers.support.texts import texts

RULES = {
    "gopher_quality": GOPHER_QUALITY,
    "gopher_repetition": GOPHER_REPETITION,
    "c4": C4,
    "fineweb": FINEWEB,
}
NAMES = ("walk", "count", "merge", "split", "trace", "fold")
RECORDED = json.loads((Path(__file__).parent / "datatrove_verdicts.json").read_text())


def first_broken(rules: tuple[QualityRule, ...], signals: dict[str, float]) -> str:
    return next((rule.reason for rule in rules if rule.breaks(signals)), "")


def reason(name: str, signals: dict[str, float], min_chars: int) -> str:
    """The reason of one document, by the policy's definition."""
    if signals["num_chars"] < min_chars:
        return policy.TOO_SHORT
    is_code = signals["code_line_share"] >= policy.CODE_LINE_SHARE
    return "" if name == "lenient-1" else first_broken(CODE if is_code else PROSE, signals)


def reasons(name: str, signals: dict[str, dict[str, float]], min_chars: int) -> dict[str, str]:
    rows = [(i, key, value) for i, values in signals.items() for key, value in values.items()]
    columns = map(list, zip(*rows, strict=True))
    table = pa.table(dict(zip(("document_id", "name", "value"), columns, strict=True)))
    return drop_reasons(name, list(signals), table, min_chars)


@pytest.mark.parametrize("name", sorted(RULES))
def test_same_verdicts_as_datatrove_on_every_text(name: str) -> None:
    """Recorded by benchmarks/datatrove_verdicts.py."""
    wrong = [
        (text[:80], theirs[name])
        for text, theirs in zip(texts(), RECORDED["verdicts"], strict=True)
        if bool(first_broken(RULES[name], quality_signals(text))) != bool(theirs[name])
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
    assert _WORD.findall(text) == words


def test_known_signals() -> None:
    signals = quality_signals("one two three four\none two three four\nfive # six ...")
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
    signals = quality_signals(code)
    assert signals["code_line_share"] > 0.9
    assert first_broken(PROSE, signals) != ""
    assert reasons("web-1", {"code": signals}, 200) == {"code": ""}


def test_the_lenient_policy_asks_for_length_only() -> None:
    signals = quality_signals("word " * 100)
    assert reasons("lenient-1", {"words": signals}, 200) == {"words": ""}
    assert reasons("lenient-1", {"words": signals}, 1000) == {"words": policy.TOO_SHORT}
    assert reasons("web-1", {"words": signals}, 200) != {"words": ""}


def test_many_documents_get_the_reasons_that_each_would_get_alone() -> None:
    signals = {str(i): quality_signals(text) for i, text in enumerate(texts(120))}
    signals["code"] = quality_signals("x = 1\ny = 2\n" * 60)
    for name in ("web-1", "lenient-1"):
        assert reasons(name, signals, 200) == {i: reason(name, s, 200) for i, s in signals.items()}


@given(st.text(max_size=300))
def test_any_text_has_every_signal(text: str) -> None:
    signals = quality_signals(text)
    assert {rule.signal for rule in PROSE + CODE} <= set(signals)
    assert all(value == value and abs(value) < 1e9 for value in signals.values())


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 5))
def test_ngram_hashes_are_equal_just_where_the_ngrams_are(tokens: list[str], n: int) -> None:
    hashes = ngram_hashes(tokenise(" ".join(tokens)).hashes, n).tolist()
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    assert len(hashes) == len(grams)
    assert len(set(hashes)) == len(set(grams))
