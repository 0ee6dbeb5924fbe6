"""A user's items to judge, and the summary of the judgments on them.

All rows of a file are of one kind: texts are valued alone; pairs are compared in both orders; lists
of two to five texts are ranked, in as many orders; claims are verified, not judged. Their forms are
in `judges.forms.forms`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from infra.errors import UserError
from infra.records import Judgment, content_key
from infra.records.labeler import Interval, LabelerErrors
from judges.forms.forms import JudgedItem, form_names, read_item
from judges.forms.rows import KINDS, FileRow, data_files, file_rows
from judges.judgment.batches import Batch, Mode
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList
from judges.judgment.pairs import Pair
from judges.measuring.intervals import share_interval
from judges.measuring.win_rates import corrected_win_rate
from judges.rubrics import Rubric
from judges.verifying.checks import Claim
from judges.verifying.verifier import VERIFIER_NAME, verifier_judgment

ITEMS_REMEDY = f"Give {KINDS}, with rows of one form (--form names it): {', '.join(form_names())}."
OWN_IDS = ("id", "item_id", "question_id", "prompt_id", "uid", "pairID", "idx")
"""Keys under which people number their rows."""


@dataclass(frozen=True)
class ItemRow:
    """A row of the file: its number, its own id, the key of its judgment, and its texts."""

    number: int
    own_id: Any
    key: str
    texts: Mapping[str, Any]


@dataclass
class Items:
    """The items of one file; only one of the four lists is not empty."""

    subjects: list[Subject] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    candidate_lists: list[CandidateList] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    rows: list[ItemRow] = field(default_factory=list)
    _keys: set[str] = field(default_factory=set)

    def add(self, row: FileRow, item: JudgedItem) -> None:
        """Add a row; its item is added too unless an equal one was."""
        key, texts = _key_and_texts(item)
        own_id = next((row.value[name] for name in OWN_IDS if name in row.value), None)
        self.rows.append(ItemRow(row.number, own_id, key, texts))
        if key in self._keys:
            return
        self._keys.add(key)
        if isinstance(item, Subject):
            self.subjects.append(item)
        elif isinstance(item, Pair):
            self.pairs.append(item)
        elif isinstance(item, CandidateList):
            self.candidate_lists.append(item)
        else:
            self.claims.append(item)

    @property
    def digest(self) -> str:
        """Key of the rows and their order."""
        return content_key(*(row.key for row in self.rows))

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


def read_items(path: Path, form: str = "") -> Items:
    """Return the items of a file, or of the files in a folder.

    `form` is the name of the rows' form, or empty to recognise it. Raises `UserError` with the row
    that is not valid.
    """
    items = Items()
    for file in data_files(path, "items", ITEMS_REMEDY):
        for row in file_rows(file, "items", ITEMS_REMEDY):
            items.add(row, read_item(row, form, "items", ITEMS_REMEDY))
    kinds = [
        kind for kind in (items.subjects, items.pairs, items.candidate_lists, items.claims) if kind
    ]
    if len(kinds) != 1:
        problem = "the file has no items." if not kinds else "its items are of different kinds."
        raise UserError("items", path, problem, ITEMS_REMEDY)
    return items


def judged_lines(items: Items, judgments: Sequence[Judgment]) -> Iterator[dict[str, Any]]:
    """Return a line for each row of the items' file, in its order: ids, texts and the judgment.

    A row that repeats was judged once, and has the same judgment each time.
    """
    by_key = {j.subject_id: j for j in judgments} | {j.judgment_id: j for j in judgments}
    for row in items.rows:
        line: dict[str, Any] = {"row": row.number, "id": row.own_id, **row.texts}
        judgment = by_key.get(row.key)
        if judgment is not None:
            is_scored = judgment.status == "scored"
            line |= {
                "status": judgment.status,
                "reason": judgment.reason,
                "value": judgment.value if is_scored else None,
                "verdict": judgment.verdict if is_scored else None,
                "labeler": judgment.labeler,
                "rubric": judgment.rubric,
            }
        yield line


def _key_and_texts(item: JudgedItem) -> tuple[str, dict[str, Any]]:
    """The key of an item's judgment, and its texts as they were read."""
    if isinstance(item, Subject):
        texts = {"prompt": item.prompt, "text": item.text, "reference": item.reference}
        return item.subject_id, texts
    if isinstance(item, Pair):
        sides = {"a": item.a, "b": item.b, "label": item.truth}
        return item.pair_id, {"prompt": item.prompt, **sides, "reference": item.reference}
    if isinstance(item, CandidateList):
        listed = {"prompt": item.prompt, "texts": list(item.texts), "reference": item.reference}
        return item.list_id, listed
    return _claim_key(item), {"check": item.check, "text": item.text, "answer": item.reference}


def _claim_key(claim: Claim) -> str:
    return content_key(claim.check, claim.reference, claim.text, VERIFIER_NAME)


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
            judgment_id=_claim_key(claim),
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
