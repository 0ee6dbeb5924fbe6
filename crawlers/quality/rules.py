"""Quality filters: rules on the signals of a text, and the reason of the first rule it breaks.

Thresholds are those of the papers (Gopher tables A1 and A2, C4, FineWeb sections 3.5 and 3.6) as
datatrove applies them. Texts with code have looser rules of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TOO_SHORT = "too little text"

CODE_LINE_SHARE = 0.06
"""A text counts as code if at least this share of its lines looks like code."""


@dataclass(frozen=True)
class QualityRule:
    """A signal that must lie between `least` and `most`."""

    reason: str
    signal: str
    least: float = float("-inf")
    most: float = float("inf")

    def breaks(self, signals: Mapping[str, float]) -> bool:
        """Whether a text breaks the rule."""
        return not self.least <= signals[self.signal] <= self.most


GOPHER_QUALITY = (
    QualityRule("too few words", "num_words", 50, 100_000),
    QualityRule("words too short or long", "mean_word_chars", 3, 10),
    QualityRule("too many hashes", "hash_ratio", most=0.1),
    QualityRule("too many ellipses", "ellipsis_ratio", most=0.1),
    QualityRule("mostly bullets", "bullet_line_share", most=0.9),
    QualityRule("lines cut off", "ellipsis_line_share", most=0.3),
    QualityRule("too few alphabetic words", "alpha_word_share", 0.8),
    QualityRule("too few stop words", "num_stop_words", 2),
)
GOPHER_REPETITION = (
    QualityRule("repeated paragraphs", "duplicate_paragraphs", most=0.3),
    QualityRule("repeated paragraphs", "duplicate_paragraph_chars", most=0.2),
    QualityRule("repeated lines", "duplicate_lines", most=0.3),
    QualityRule("repeated lines", "duplicate_line_chars", most=0.2),
    *(
        QualityRule("one phrase too often", f"top_{n}_gram", most=most)
        for n, most in ((2, 0.2), (3, 0.18), (4, 0.16))
    ),
    *(
        QualityRule("repeated phrases", f"duplicate_{n}_grams", most=0.2 - n / 100)
        for n in (5, 6, 7, 8, 9, 10)
    ),
)
C4 = (
    QualityRule("lorem ipsum", "has_lorem_ipsum", most=0),
    QualityRule("curly bracket", "has_curly_bracket", most=0),
    QualityRule("too few sentences", "num_sentences", 5),
)
FINEWEB = (
    QualityRule("lines without an end", "terminal_line_share", 0.12),
    QualityRule("mostly short lines", "short_line_share", most=0.67),
    QualityRule("repeated lines", "repeated_line_chars", most=0.01),
    QualityRule("a list", "newline_ratio", most=0.3),
)
CODE = (
    QualityRule("too few words", "num_words", 30, 100_000),
    QualityRule("too few alphabetic words", "alpha_word_share", 0.3),
    QualityRule("words too short or long", "mean_word_chars", 2, 20),
    QualityRule("repeated lines", "duplicate_line_chars", most=0.5),
    QualityRule("one phrase too often", "top_4_gram", most=0.3),
)
PROSE = GOPHER_REPETITION + C4 + GOPHER_QUALITY + FINEWEB


def drop_reasons(
    policy: str, ids: Sequence[str], signals: pa.Table, min_chars: int
) -> dict[str, str]:
    """Document to the reason why it is dropped, "" if it is kept.

    `signals` has the columns document_id, name and value. The reason is that of the first rule that
    a document breaks.
    """
    columns = _columns(ids, signals)
    reasons = np.full(len(ids), "", dtype=object)
    is_code = columns["code_line_share"] >= CODE_LINE_SHARE
    _fill(reasons, columns["num_chars"] < min_chars, TOO_SHORT)
    if policy != "lenient-1":
        for rules, group in ((CODE, is_code), (PROSE, ~is_code)):
            for rule in rules:
                values = columns[rule.signal]
                broken = ~((values >= rule.least) & (values <= rule.most))
                _fill(reasons, group & broken, rule.reason)
    return dict(zip(ids, reasons.tolist(), strict=True))


def _columns(ids: Sequence[str], signals: pa.Table) -> dict[str, NDArray[np.float64]]:
    """One array for each signal, in the order of `ids`; NaN (breaks every rule) if missing."""
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
    """Set a reason in the rows `where` that have none yet."""
    reasons[where & (reasons == "")] = reason


def is_promising_prose(signals: Mapping[str, float]) -> bool:
    """Whether a roughly extracted text is prose that deserves a slower extraction.

    The rule on stop words is left out because they are English.
    """
    if signals["code_line_share"] >= CODE_LINE_SHARE:
        return False
    rules = [rule for rule in GOPHER_QUALITY if rule.signal != "num_stop_words"]
    return not any(rule.breaks(signals) for rule in rules)
