"""Judging a file of one's own: its items, a summary of what was said of them, and the same summary
from stored rows.

Items are JSON lines, all of one kind, told apart by their keys:

- `text` (and `prompt`, `reference`): valued alone
- `a` and `b` (and `prompt`, `reference`, `label`): compared in both orders; a label A, B or tie is
the truth
- `texts`, two to five of them (and `prompt`, `reference`): the best is named, in as many orders
- `check` and `text` (and `answer`): verified, not judged
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from infra.errors import UserError
from infra.records import Judgment, content_key
from judges.judgment.elicitation import Subject
from judges.judgment.judging import Batch, Mode
from judges.judgment.listwise import MOST_TEXTS, Listing
from judges.judgment.pairs import Pair, Side
from judges.measuring.intervals import Interval, share_of
from judges.measuring.winrates import Errors, corrected_win_rate
from judges.rubrics import Rubric
from judges.verifying.checks import Claim, validate_check
from judges.verifying.verifier import LABELER, verified_row

_FORM = (
    "Give JSON lines with text, with a and b, with texts, or with check and text; all lines alike."
)
_SIDES: dict[str, Side] = {"A": "A", "B": "B", "tie": "tie"}


@dataclass
class Items:
    """The items of one file; only one of the four lists is filled."""

    subjects: list[Subject] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    @property
    def mode(self) -> str:
        """pointwise, pairwise, listwise or verify."""
        kinds = {
            "pointwise": self.subjects,
            "pairwise": self.pairs,
            "listwise": self.listings,
            "verify": self.claims,
        }
        return next(name for name, found in kinds.items() if found)

    def batch(self, rubric: Rubric, way: str, seed: int) -> Batch:
        """All items, to be judged by a rubric in a way."""
        mode: Mode = "pointwise" if self.subjects else "pairwise" if self.pairs else "listwise"
        return Batch(rubric, mode, way, self.subjects, self.pairs, self.listings, seed)


def read_items(path: Path) -> Items:
    """The items of a file. Raises `UserError` with the line that cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("items", path, f"the file cannot be read ({error}).", _FORM) from None
    items = Items()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            _take(items, line, f"{path}, line {number}")
    kinds = [kind for kind in (items.subjects, items.pairs, items.listings, items.claims) if kind]
    if len(kinds) != 1:
        problem = "the file has no items." if not kinds else "its lines are of several kinds."
        raise UserError("items", path, problem, _FORM)
    return items


def _take(items: Items, line: str, where: str) -> None:
    try:
        row = json.loads(line)
        assert isinstance(row, dict)
        if "check" in row:
            validate_check(str(row["check"]), "items")
            items.claims.append(
                Claim(str(row["check"]), str(row.get("answer", "")), str(row["text"]))
            )
        elif "texts" in row:
            items.listings.append(_listing(row))
        elif "a" in row:
            items.pairs.append(_pair(row))
        else:
            prompt, text, reference = (
                str(row.get("prompt", "")),
                str(row["text"]),
                str(row.get("reference", "")),
            )
            items.subjects.append(
                Subject(content_key(prompt, text, reference), prompt, text, reference=reference)
            )
    except (ValueError, KeyError, AssertionError) as error:
        raise UserError("items", where, f"the line cannot be read ({error!r}).", _FORM) from None


def _pair(row: dict[str, Any]) -> Pair:
    prompt, a, b, reference = (str(row.get(key, "")) for key in ("prompt", "a", "b", "reference"))
    truth = _SIDES[row["label"]] if "label" in row else None
    return Pair(content_key(prompt, a, b, reference), prompt, a, str(row["b"]), truth, reference)


def _listing(row: dict[str, Any]) -> Listing:
    texts = tuple(str(text) for text in row["texts"])
    if not 2 <= len(texts) <= MOST_TEXTS:
        raise ValueError(f"{len(texts)} texts, not 2 to {MOST_TEXTS}")
    prompt, reference = str(row.get("prompt", "")), str(row.get("reference", ""))
    return Listing(content_key(prompt, reference, *texts), prompt, texts, reference)


def verified_rows(
    claims: Sequence[Claim], is_right: Sequence[bool], generation: int
) -> list[Judgment]:
    """The verifier's rows on claims."""
    return [
        verified_row(
            content_key(claim.text),
            "check",
            ok,
            (content_key(claim.reference), content_key(claim.text)),
            generation,
            judgment_id=content_key(claim.check, claim.reference, claim.text, LABELER),
            way=claim.check.partition(":")[0],
            raw=claim.check,
        )
        for claim, ok in zip(claims, is_right, strict=True)
    ]


@dataclass(frozen=True)
class Summary:
    """What a file's judgments come to. Failures are counted and enter no mean.

    `value` is the mean value with its 95% interval. For pairs `win_rate` is how often A wins of
    those decided, and `corrected` takes the labeler's errors on gold out; without them, or where
    they make it meaningless, `why` says so.
    """

    num_items: int
    unscored: dict[str, int]
    verdicts: dict[str, int]
    num_tokens: int
    value: Interval | None
    win_rate: Interval | None
    corrected: Interval | None
    why: str


def summarise(rows: Sequence[Judgment], errors: Errors | None) -> Summary:
    """The summary of stored rows."""
    ordered = sorted(rows, key=lambda row: row.judgment_id)
    scored = [row for row in ordered if row.status == "scored"]
    verdicts = Counter(row.verdict for row in scored)
    win_rate = corrected = None
    why = ""
    if scored and scored[0].mode == "pairwise":
        decided = verdicts["A"] + verdicts["B"]
        win_rate = share_of(verdicts["A"], decided) if decided else None
        why = "the labeler was not measured on gold" if errors is None else "no pair was decided"
        if errors is not None and decided:
            found = corrected_win_rate(verdicts["A"], decided, errors)
            corrected, why = found.corrected, found.reason
    return Summary(
        num_items=len(ordered),
        unscored=dict(
            sorted(Counter(row.reason for row in ordered if row.status == "unscored").items())
        ),
        verdicts=dict(sorted(verdicts.items())),
        num_tokens=sum(row.num_tokens for row in ordered),
        value=mean_of([row.value for row in scored]),
        win_rate=win_rate,
        corrected=corrected,
        why=why,
    )


def mean_of(values: Sequence[float]) -> Interval | None:
    """A mean with its bootstrap interval of 95%; None for no values."""
    if not values:
        return None
    data = np.array(values, dtype=np.float64)
    mean = float(data.mean())
    if len(data) < 2 or np.ptp(data) == 0:
        return Interval(mean, mean, mean)
    found = bootstrap(
        (data,), np.mean, n_resamples=1000, method="percentile", rng=np.random.default_rng(0)
    )
    return Interval(
        mean, float(found.confidence_interval.low), float(found.confidence_interval.high)
    )
