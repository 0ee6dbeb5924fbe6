"""Versioned policies: from a text's signals to the first reason why it is not good enough, or none.

Thresholds are those of the papers (Gopher tables A1 and A2, C4, FineWeb section 3.5 and 3.6) as
datatrove applies them. A page of code is no prose and has its own, looser rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TOO_SHORT = "too little text"

CODE_LINE_SHARE = 0.06
"""From this share of lines that look like code on, a text counts as code-bearing."""


@dataclass(frozen=True)
class Rule:
    """A signal that must stay within bounds."""

    reason: str
    signal: str
    least: float = float("-inf")
    most: float = float("inf")

    def breaks(self, signals: Mapping[str, float]) -> bool:
        """Whether a text breaks the rule."""
        return not self.least <= signals[self.signal] <= self.most


GOPHER_QUALITY = (
    Rule("too few words", "num_words", 50, 100_000),
    Rule("words too short or long", "mean_word_chars", 3, 10),
    Rule("too many hashes", "hash_ratio", most=0.1),
    Rule("too many ellipses", "ellipsis_ratio", most=0.1),
    Rule("mostly bullets", "bullet_line_share", most=0.9),
    Rule("lines cut off", "ellipsis_line_share", most=0.3),
    Rule("too few alphabetic words", "alpha_word_share", 0.8),
    Rule("too few stop words", "num_stop_words", 2),
)
GOPHER_REPETITION = (
    Rule("repeated paragraphs", "duplicate_paragraphs", most=0.3),
    Rule("repeated paragraphs", "duplicate_paragraph_chars", most=0.2),
    Rule("repeated lines", "duplicate_lines", most=0.3),
    Rule("repeated lines", "duplicate_line_chars", most=0.2),
    *(
        Rule("one phrase too often", f"top_{n}_gram", most=most)
        for n, most in ((2, 0.2), (3, 0.18), (4, 0.16))
    ),
    *(
        Rule("repeated phrases", f"duplicate_{n}_grams", most=0.2 - n / 100)
        for n in (5, 6, 7, 8, 9, 10)
    ),
)
C4 = (
    Rule("lorem ipsum", "has_lorem_ipsum", most=0),
    Rule("curly bracket", "has_curly_bracket", most=0),
    Rule("too few sentences", "num_sentences", 5),
)
FINEWEB = (
    Rule("lines without an end", "terminal_line_share", 0.12),
    Rule("mostly short lines", "short_line_share", most=0.67),
    Rule("repeated lines", "repeated_line_chars", most=0.01),
    Rule("a list", "newline_ratio", most=0.3),
)
CODE = (
    Rule("too few words", "num_words", 30, 100_000),
    Rule("too few alphabetic words", "alpha_word_share", 0.3),
    Rule("words too short or long", "mean_word_chars", 2, 20),
    Rule("repeated lines", "duplicate_line_chars", most=0.5),
    Rule("one phrase too often", "top_4_gram", most=0.3),
)
PROSE = GOPHER_REPETITION + C4 + GOPHER_QUALITY + FINEWEB


def rules_for(policy: str, signals: Mapping[str, float]) -> tuple[Rule, ...]:
    """The rules that a policy holds a text to."""
    if policy == "lenient-1":
        return ()
    return CODE if signals["code_line_share"] >= CODE_LINE_SHARE else PROSE


def verdict(policy: str, signals: Mapping[str, float], min_chars: int) -> str:
    """Why a text is not kept, "" where it is."""
    if signals["num_chars"] < min_chars:
        return TOO_SHORT
    return first_broken(rules_for(policy, signals), signals)


def verdicts(policy: str, ids: Sequence[str], signals: pa.Table, min_chars: int) -> dict[str, str]:
    """`verdict` for many documents, a column at a time; `signals` has document_id, name, value."""
    columns = _columns(ids, signals)
    reasons = np.full(len(ids), "", dtype=object)
    is_code = columns["code_line_share"] >= CODE_LINE_SHARE
    _fill(reasons, columns["num_chars"] < min_chars, TOO_SHORT)
    if policy != "lenient-1":
        for rules, group in ((CODE, is_code), (PROSE, ~is_code)):
            for rule in rules:
                values = columns[rule.signal]
                _fill(
                    reasons, group & ~((values >= rule.least) & (values <= rule.most)), rule.reason
                )
    return dict(zip(ids, reasons.tolist(), strict=True))


def _columns(ids: Sequence[str], signals: pa.Table) -> dict[str, NDArray[np.float64]]:
    """The signals as one array a name, in the order of `ids`; a signal that is missing breaks every
    rule.
    """
    position = {document_id: i for i, document_id in enumerate(ids)}
    columns: dict[str, NDArray[np.float64]] = {
        name: np.full(len(ids), np.nan)
        for name in {"num_chars", "code_line_share"} | {r.signal for r in PROSE + CODE}
    }
    names = signals.column("name").combine_chunks().dictionary_encode()
    rows = np.array(
        [position[i] for i in signals.column("document_id").to_pylist()], dtype=np.int64
    )
    values = signals.column("value").to_numpy()
    codes = names.indices.to_numpy(zero_copy_only=False)
    for code, name in enumerate(names.dictionary.to_pylist()):
        if name in columns:
            chosen = codes == code
            columns[name][rows[chosen]] = values[chosen]
    return columns


def _fill(reasons: NDArray[np.object_], where: NDArray[np.bool_], reason: str) -> None:
    """Set a reason where there is none yet."""
    reasons[where & (reasons == "")] = reason


def first_broken(rules: tuple[Rule, ...], signals: Mapping[str, float]) -> str:
    """The reason of the first rule that a text breaks, "" where it breaks none."""
    return next((rule.reason for rule in rules if rule.breaks(signals)), "")


def is_promising_prose(signals: Mapping[str, float]) -> bool:
    """Whether a first, rough text is prose that is worth a slower extraction."""
    rules = tuple(
        rule for rule in GOPHER_QUALITY if rule.signal != "num_stop_words"
    )  # those are English
    return signals["code_line_share"] < CODE_LINE_SHARE and not first_broken(rules, signals)
