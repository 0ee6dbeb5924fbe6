"""A user's file of items to judge, and the summary of the judgments on it.

Items are JSON lines, all of one kind, which is recognised by the keys:

- `text` (and `prompt`, `reference`): valued alone
- `a` and `b` (and `prompt`, `reference`, `label`): compared in both orders; the label A, B or tie
  is the truth
- `texts`, two to five of them (and `prompt`, `reference`): ranked, in as many orders
- `check` and `text` (and `answer`): verified, not judged
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from infra.errors import UserError
from infra.json_lines import read_json_lines, text_at, value_at
from infra.records import Judgment, content_key
from infra.records.labeler import Interval, LabelerErrors
from judges.judgment.batches import Batch, Mode
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import MAX_TEXTS, CandidateList
from judges.judgment.pairs import Pair, Side
from judges.measuring.intervals import share_interval
from judges.measuring.win_rates import corrected_win_rate
from judges.rubrics import Rubric
from judges.verifying.checks import Claim, answer_at, validate_check
from judges.verifying.verifier import VERIFIER_NAME, verifier_judgment

_FORM = (
    "Give JSON lines with text, with a and b, with texts, or with check and text;"
    " all lines must have the same keys."
)
_SIDES: dict[str, Side] = {"A": "A", "B": "B", "tie": "tie"}


@dataclass
class Items:
    """The items of one file; only one of the four lists is not empty."""

    subjects: list[Subject] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    candidate_lists: list[CandidateList] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    @property
    def mode(self) -> str:
        """pointwise, pairwise, listwise or verify."""
        kinds = {
            "pointwise": self.subjects,
            "pairwise": self.pairs,
            "listwise": self.candidate_lists,
            "verify": self.claims,
        }
        return next(name for name, items in kinds.items() if items)

    def batch(self, rubric: Rubric, method: str, seed: int, key: str = "rubric") -> Batch:
        """Return all items as a batch for one rubric, which `key` names, and method."""
        mode: Mode = "pointwise" if self.subjects else "pairwise" if self.pairs else "listwise"
        return Batch(
            rubric,
            mode,
            method,
            self.subjects,
            self.pairs,
            self.candidate_lists,
            seed,
            key=key,
        )


def read_items(path: Path) -> Items:
    """Return the items of a file. Raises `UserError` with the line that is not valid."""
    items = Items()
    for line in read_json_lines(path, "items", _FORM):
        _add_item(items, line.value, f"{path}, line {line.number}")
    kinds = [
        kind for kind in (items.subjects, items.pairs, items.candidate_lists, items.claims) if kind
    ]
    if len(kinds) != 1:
        problem = "the file has no items." if not kinds else "its items are of different kinds."
        raise UserError("items", path, problem, _FORM)
    return items


def _add_item(items: Items, row: Any, where: str) -> None:
    """Add the item of one JSON value. Raises `UserError` if it is not valid."""
    try:
        if not isinstance(row, dict):
            raise ValueError("the line is not a JSON object")
        if "check" in row:
            items.claims.append(_claim(row))
        elif "texts" in row:
            items.candidate_lists.append(_candidate_list(row))
        elif "a" in row:
            items.pairs.append(_pair(row))
        else:
            items.subjects.append(_subject(row))
    except UserError as error:  # of a check
        raise UserError("items", where, f"{error.problem} ({error.value})", error.remedy) from None
    except ValueError as error:
        raise UserError("items", where, f"{error}.", _FORM) from None


def _claim(row: dict[str, Any]) -> Claim:
    check, text, answer = text_at(row, "check"), text_at(row, "text"), answer_at(row)
    validate_check(check, "items", answer)
    return Claim(check, answer, text)


def _subject(row: dict[str, Any]) -> Subject:
    prompt, reference = text_at(row, "prompt", ""), text_at(row, "reference", "")
    text = text_at(row, "text")
    return Subject(content_key(prompt, text, reference), prompt, text, reference=reference)


def _pair(row: dict[str, Any]) -> Pair:
    prompt, reference = text_at(row, "prompt", ""), text_at(row, "reference", "")
    a, b = text_at(row, "a"), text_at(row, "b")
    truth = None
    if "label" in row:
        truth = _SIDES.get(text_at(row, "label"))
        if truth is None:
            raise ValueError(f"the label {row['label']!r} is not one of {', '.join(_SIDES)}")
    return Pair(content_key(prompt, a, b, reference), prompt, a, b, truth, reference)


def _candidate_list(row: dict[str, Any]) -> CandidateList:
    texts = value_at(row, "texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('the value of "texts" is not a list of strings')
    if not 2 <= len(texts) <= MAX_TEXTS:
        raise ValueError(f'"texts" holds {len(texts)} texts, not 2 to {MAX_TEXTS}')
    prompt, reference = text_at(row, "prompt", ""), text_at(row, "reference", "")
    return CandidateList(content_key(prompt, reference, *texts), prompt, tuple(texts), reference)


def claim_judgments(
    claims: Sequence[Claim], is_right: Sequence[bool], generation: int
) -> list[Judgment]:
    """Return the verifier's judgments on claims."""
    return [
        verifier_judgment(
            content_key(claim.text),
            "check",
            ok,
            (content_key(claim.reference), content_key(claim.text)),
            generation,
            judgment_id=content_key(claim.check, claim.reference, claim.text, VERIFIER_NAME),
            method=claim.check.partition(":")[0],
            raw=claim.check,
        )
        for claim, ok in zip(claims, is_right, strict=True)
    ]


@dataclass(frozen=True)
class Summary:
    """Summary of a file's judgments. Unscored items are counted and enter no mean.

    `value` is the mean value with its 95% interval. For pairs, `win_rate` is how often A wins among
    the decided pairs, and `corrected` is corrected for the labeler's errors on gold; if it cannot
    be corrected, `reason` says why.
    """

    num_items: int
    unscored: dict[str, int]
    verdicts: dict[str, int]
    num_tokens: int
    value: Interval | None
    win_rate: Interval | None
    corrected: Interval | None
    reason: str


def summarise(rows: Sequence[Judgment], errors: LabelerErrors | None) -> Summary:
    """Return the summary of stored judgments."""
    ordered = sorted(rows, key=lambda row: row.judgment_id)
    scored = [row for row in ordered if row.status == "scored"]
    unscored = Counter(row.reason for row in ordered if row.status == "unscored")
    verdicts = Counter(row.verdict for row in scored)
    is_pairwise = bool(scored) and scored[0].mode == "pairwise"
    rates = _win_rates(verdicts, errors) if is_pairwise else _WinRates()
    return Summary(
        num_items=len(ordered),
        unscored=dict(sorted(unscored.items())),
        verdicts=dict(sorted(verdicts.items())),
        num_tokens=sum(row.num_tokens for row in ordered),
        value=mean_interval([row.value for row in scored]),
        win_rate=rates.raw,
        corrected=rates.corrected,
        reason=rates.reason,
    )


@dataclass(frozen=True)
class _WinRates:
    """How often A wins, and the corrected rate or the reason why there is none."""

    raw: Interval | None = None
    corrected: Interval | None = None
    reason: str = ""


def _win_rates(verdicts: Mapping[str, int], errors: LabelerErrors | None) -> _WinRates:
    decided = verdicts["A"] + verdicts["B"]
    raw = share_interval(verdicts["A"], decided) if decided else None
    if errors is None:
        return _WinRates(raw, None, "the labeler was not measured on gold")
    if not decided:
        return _WinRates(raw, None, "no pair was decided")
    rate = corrected_win_rate(verdicts["A"], decided, errors)
    return _WinRates(raw, rate.corrected, rate.reason)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return a mean with its 95% bootstrap interval; None for no values."""
    if not values:
        return None
    data = np.array(values, dtype=np.float64)
    mean = float(data.mean())
    if len(data) < 2 or np.ptp(data) == 0:
        return Interval(mean, mean, mean)
    bounds = bootstrap(
        (data,), np.mean, n_resamples=1000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Interval(mean, float(bounds.low), float(bounds.high))
