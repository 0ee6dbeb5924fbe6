"""Recomputes all aggregates of a run's labels from the stored judgments and compares them with the
stored ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from infra.records import Completion, Judgment, Preference, Sample, unit_hash
from infra.records.labeler import Admission, Datasheet, ProbeResult
from infra.store import Store
from judges.config import JudgeConfig
from judges.making.context import HELD_OUT_REASON
from judges.making.preferences.checked import COMPLETION_RUBRIC, checked_preferences
from judges.making.preferences.judged import (
    CompletionGroup,
    completion_groups,
    make_win_rate,
    preferences_from,
    read_contests,
    wins_over_older,
)
from judges.making.probe_material import probe_material
from judges.measuring.admission import (
    IN_PAIRS,
    SENTINEL,
    Probing,
    measurement,
    stored_rows,
)
from judges.measuring.datasheet import recompute_sheet
from judges.measuring.probes.making import ProbeMaterial
from judges.rubrics import METHODS, Rubric, load_rubric

REPLAY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class ReplayResult:
    """One kind of aggregate: how many were stored, and which ones differ when recomputed."""

    kind: str
    num_stored: int
    differing: tuple[str, ...]


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(
            one, other, rel_tol=REPLAY_TOLERANCE, abs_tol=REPLAY_TOLERANCE
        )
    if isinstance(one, dict):
        return all(_is_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple):
        same_length = len(one) == len(other)
        return same_length and all(_is_equal(x, y) for x, y in zip(one, other, strict=True))
    return bool(one == other)


def differing_fields(stored: Any, again: Any) -> list[str]:
    """Return the names of a record's fields that differ by more than rounding."""
    recomputed = asdict(again)
    return [
        name for name, value in asdict(stored).items() if not _is_equal(value, recomputed[name])
    ]


def _compare(kind: str, stored: Mapping[str, Any], again: Mapping[str, Any]) -> ReplayResult:
    wrong = [f"{key}: not stored" for key in sorted(again.keys() - stored.keys())]
    for key, record in sorted(stored.items()):
        fields = differing_fields(record, again[key]) if key in again else ["no longer follows"]
        if fields:
            wrong.append(f"{key}: {', '.join(fields)}")
    return ReplayResult(kind, len(stored), tuple(wrong))


def recompute_aggregates(
    store: Store, config: JudgeConfig, seed: int, generations: Sequence[int]
) -> list[ReplayResult]:
    """Recompute datasheets, probe results, admissions, the preferences of some generations, and win
    rates.
    """
    results = [datasheets(store), *_probes(store, config)]
    results += [_preferences(store, config, seed, generation) for generation in generations]
    return [*results, _win_rates(store, config, seed)]


def datasheets(store: Store) -> ReplayResult:
    """Recompute every stored datasheet."""
    stored: dict[str, Datasheet] = {
        sheet.datasheet_id: sheet for sheet in store.labelers.gold_sheets()
    }
    again = {}
    for key, sheet in stored.items():
        items, rows = store.labelers.gold_evidence(key)
        with suppress(KeyError):  # a judgment is missing: the sheet is reported as different
            again[key] = recompute_sheet(sheet, items, {row.judgment_id: row for row in rows})
    return _compare("datasheets", stored, again)


def _probes(store: Store, config: JudgeConfig) -> Iterator[ReplayResult]:
    rows = {row.judgment_id: row for row in store.labels.all_judgments(0)}
    material = probe_material(store, config.passage_chars)
    results: dict[str, ProbeResult] = {}
    admissions: dict[str, Admission] = {}
    stored = store.labelers.probe_results()
    stored_admissions = {a.admission_id: a for a in store.labelers.all_admissions()}
    for (labeler, rubric), own_results in _grouped(stored).items():
        try:
            loaded = load_rubric(
                next(name for name in config.rubric_names() if load_rubric(name).id == rubric)
            )
            again, admission = _measured_again(labeler, loaded, own_results, material, rows)
        except KeyError:
            continue  # a judgment is missing: the results are reported as different
        results |= again
        key = admission.admission_id
        admissions[key] = _with_gold(admission, stored_admissions.get(key))
    yield _compare("probes", {r.result_id: r for r in stored}, results)
    yield _compare("admissions", stored_admissions, admissions)


def _measured_again(
    labeler: str,
    rubric: Rubric,
    results: Sequence[ProbeResult],
    material: ProbeMaterial,
    rows: Mapping[str, Judgment],
) -> tuple[dict[str, ProbeResult], Admission]:
    """Return the recomputed probe results (by id) and admission of one labeler on one rubric.

    Raises `KeyError` if a judgment is missing.
    """
    plain = [r for r in results if not r.probe.startswith(SENTINEL)]
    shows_both = any(r.probe.endswith(IN_PAIRS) for r in plain)
    measured = {r.method for r in plain}
    methods = [m for m in (*rubric.usable_methods(METHODS), *sorted(measured)) if m in measured]
    probing = Probing(rubric, material, plain[0].alpha, shows_both)
    judge = stored_rows(labeler, rows)
    again, admission = measurement(labeler, probing, list(dict.fromkeys(methods)), judge)
    return {result.result_id: result for result in again}, admission


def _with_gold(again: Admission, stored: Admission | None) -> Admission:
    """Return the admission with what the measurement on gold added to it; datasheets are compared
    separately.
    """
    if stored is None or not stored.reason.startswith(f"{again.reason}; "):
        return again
    return replace(again, admitted=again.admitted and stored.admitted, reason=stored.reason)


def _grouped(results: Sequence[ProbeResult]) -> dict[tuple[str, str], list[ProbeResult]]:
    groups: dict[tuple[str, str], list[ProbeResult]] = {}
    for result in results:
        groups.setdefault((result.labeler, result.rubric), []).append(result)
    return groups


@dataclass(frozen=True)
class _Judged:
    """The stored judgments on a generation's completions."""

    samples: list[Sample]
    completions: list[Completion]
    rows: dict[str, Judgment]
    right: dict[str, bool]
    admissions: list[Admission]

    def groups(self, champion: str, generation: int) -> list[CompletionGroup]:
        """Return the completions that the labeler compared."""
        return completion_groups(
            [s for s in self.samples if not s.check], self.completions, champion, generation
        )


def _judged(store: Store, config: JudgeConfig, seed: int, generation: int) -> _Judged:
    rows: dict[str, Judgment] = {}
    right: dict[str, bool] = {}
    rubric = load_rubric(config.answer_rubric)
    for row in store.labels.all_judgments(generation):
        if row.rubric == COMPLETION_RUBRIC:
            right[row.subject_id] = row.value == 1.0
        elif row.rubric == rubric.id:
            rows[row.subject_id] = row
    completions = store.labels.completions(generation)
    completed = {c.sample_id for c in completions}
    samples = [
        s for kind in ("demonstration", "prompt") for s in store.labels.samples(generation, kind)
    ]
    samples = [s for s in samples if s.sample_id in completed]
    samples.sort(key=lambda s: unit_hash(seed, s.sample_id))
    admissions = [
        admission
        for labeler in sorted({row.labeler for row in rows.values()})
        for admission in store.labelers.admissions(labeler)
        if admission.rubric == rubric.id and admission.admitted
    ]
    return _Judged(samples, completions, rows, right, admissions)


def _preferences(store: Store, config: JudgeConfig, seed: int, generation: int) -> ReplayResult:
    """Recompute the preferences of one generation from the judgments of verifier and labeler."""
    judged, champion = (
        _judged(store, config, seed, generation),
        store.labelers.completing_champion(generation),
    )
    preferences = _checked_preferences(judged, generation)
    if champion is not None:
        groups = judged.groups(champion, generation)
        for admission in judged.admissions:
            by_prompt = preferences_from(
                groups, judged.rows, admission, config.min_margin, generation
            )
            preferences += [p for ranking in by_prompt.values() for p in ranking]
    dropped = store.run.dropped_subjects(generation, HELD_OUT_REASON)
    again = {p.preference_id: p for p in preferences if p.sample_id not in dropped}
    stored = {p.preference_id: p for p in store.labels.preferences(generation)}
    return _compare(f"preferences of generation {generation}", stored, again)


def _checked_preferences(judged: _Judged, generation: int) -> list[Preference]:
    """Return the preferences that follow from the verifier's judgments."""
    preferences = []
    for sample in [s for s in judged.samples if s.check]:
        completions = [c for c in judged.completions if c.sample_id == sample.sample_id]
        is_right = [judged.right.get(c.completion_id, False) for c in completions]
        preferences += checked_preferences(sample, completions, is_right, generation)[0]
    return preferences


def _win_rates(store: Store, config: JudgeConfig, seed: int) -> ReplayResult:
    """Recompute each champion's win rate over the previous one."""
    stored = {f"generation {r.generation} by {r.labeler}": r for r in store.labelers.win_rates()}
    again = {}
    for key, rate in stored.items():
        judged = _judged(store, config, seed, rate.generation)
        groups = judged.groups(rate.model, rate.generation)
        for admission in [a for a in judged.admissions if a.labeler == rate.labeler]:
            wins = wins_over_older(groups, read_contests(groups, judged.rows, admission))
            tested = store.labelers.tested_probes(rate.labeler)
            if wins[1]:
                again[key] = make_win_rate(
                    admission, tested, (rate.model, rate.other), wins, rate.generation
                )
    return _compare("win rates", stored, again)
