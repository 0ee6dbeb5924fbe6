"""Every aggregate of a run's labels, computed again from the stored judgments and compared with
what was stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from infra.records import Completion, Judgment, Preference, Sample, unit_hash
from infra.records.labeler import Admission, Datasheet, ProbeResult
from infra.store import Store
from judges.config import JudgeConfig
from judges.making.context import HELD_OUT_REASON
from judges.making.preferences.preferences import COMPLETION_RUBRIC, checked_preferences
from judges.making.preferences.preferring import (
    Group,
    contests_in,
    groups_of,
    preferences_from,
    win_rate_of,
    wins_over_older,
)
from judges.measuring.calibration import (
    IN_PAIRS,
    SENTINEL,
    admit,
    choose_way,
    measured_from,
    probe_batches,
    sentinel_batches,
    sentinel_results,
)
from judges.measuring.datasheet import recomputed
from judges.rubrics import WAYS, load_rubric

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Replayed:
    """One kind of aggregate: how many were stored, and which of them come out otherwise."""

    kind: str
    num_stored: int
    differing: tuple[str, ...]


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (
            one != one and other != other
        )
    return bool(one == other)


def differing_fields(stored: Any, again: Any) -> list[str]:
    """Names of a record's fields that differ by more than rounding."""
    return [
        name for name, value in asdict(stored).items() if not _is_equal(value, getattr(again, name))
    ]


def _compare(kind: str, stored: Mapping[str, Any], again: Mapping[str, Any]) -> Replayed:
    wrong = [f"{key}: not stored" for key in sorted(again.keys() - stored.keys())]
    for key, record in sorted(stored.items()):
        fields = differing_fields(record, again[key]) if key in again else ["no longer follows"]
        if fields:
            wrong.append(f"{key}: {', '.join(fields)}")
    return Replayed(kind, len(stored), tuple(wrong))


def replay(
    store: Store, config: JudgeConfig, seed: int, generations: Sequence[int]
) -> list[Replayed]:
    """Datasheets, probes, admissions, the preferences of some generations, and win rates."""
    found = [datasheets(store), *_probes(store, config)]
    found += [_preferences(store, config, seed, generation) for generation in generations]
    return [*found, _win_rates(store, config, seed)]


def datasheets(store: Store) -> Replayed:
    """Every stored datasheet."""
    stored: dict[str, Datasheet] = {
        sheet.datasheet_id: sheet for sheet in store.labelers.gold_sheets()
    }
    again = {}
    for key, sheet in stored.items():
        items, rows = store.labelers.gold_evidence(key)
        with suppress(KeyError):  # a judgment that is gone: the sheet no longer follows
            again[key] = recomputed(sheet, items, {row.judgment_id: row for row in rows})
    return _compare("datasheets", stored, again)


def _probes(store: Store, config: JudgeConfig) -> Iterator[Replayed]:
    rows = {row.judgment_id: row for row in store.labels.all_judgments(0)}
    results: dict[str, ProbeResult] = {}
    admissions: dict[str, Admission] = {}
    stored = store.labelers.probe_results()
    told = {a.admission_id: a for a in store.labelers.all_admissions()}
    for (labeler, name), mine in _grouped(stored).items():
        try:
            found, admission = _measured_again(labeler, name, mine, config, rows)
        except KeyError:
            continue  # a judgment is gone: nothing follows for this rubric
        results |= found
        admissions[admission.admission_id] = _with_gold(admission, told.get(admission.admission_id))
    yield _compare("probes", {r.result_id: r for r in stored}, results)
    yield _compare("admissions", told, admissions)


def _measured_again(
    labeler: str,
    name: str,
    mine: Sequence[ProbeResult],
    config: JudgeConfig,
    rows: Mapping[str, Judgment],
) -> tuple[dict[str, ProbeResult], Admission]:
    """Probe results, by id, and the admission of one labeler by one rubric. Raises `KeyError` for a
    missing row.
    """
    rubric = load_rubric(next(n for n in config.rubric_names() if load_rubric(n).id == name))
    plain = [r for r in mine if not r.probe.startswith(SENTINEL)]
    num_items = sum(
        r.num_pairs for r in plain if r.probe == rubric.probes[0] and r.way == plain[0].way
    )
    shows_both = any(r.probe.endswith(IN_PAIRS) for r in plain)
    asked = {r.way for r in plain}
    ways = [way for way in (*rubric.usable(WAYS), *sorted(asked)) if way in asked]
    measured = [
        measured_from(labeler, way, probe_batches(rubric, way, num_items, shows_both), rows)
        for way in dict.fromkeys(ways)
    ]
    best = choose_way(measured)
    admission = admit(labeler, rubric, best)
    results = [result for one in measured for result in one.results]
    if admission.admitted:
        results += sentinel_results(labeler, sentinel_batches(rubric, best.way, num_items), rows)
    return {result.result_id: result for result in results}, admission


def _with_gold(again: Admission, stored: Admission | None) -> Admission:
    """An admission with what gold added to it, which the datasheets account for."""
    if stored is None or not stored.reason.startswith(f"{again.reason}; "):
        return again
    return Admission(
        again.admission_id,
        again.labeler,
        again.rubric,
        again.way,
        again.admitted and stored.admitted,
        stored.reason,
        again.temperature,
    )


def _grouped(results: Sequence[ProbeResult]) -> dict[tuple[str, str], list[ProbeResult]]:
    groups: dict[tuple[str, str], list[ProbeResult]] = {}
    for result in results:
        groups.setdefault((result.labeler, result.rubric), []).append(result)
    return groups


@dataclass(frozen=True)
class _Judged:
    """What a generation's completions were judged by, as far as it is stored."""

    samples: list[Sample]
    completions: list[Completion]
    rows: dict[str, Judgment]
    right: dict[str, bool]
    admissions: list[Admission]

    def groups(self, champion: str, generation: int) -> list[Group]:
        """The completions that the labeler compared."""
        return groups_of(
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
    asked = {c.sample_id for c in completions}
    samples = [
        s for kind in ("demonstration", "prompt") for s in store.labels.samples(generation, kind)
    ]
    samples = sorted(
        (s for s in samples if s.sample_id in asked), key=lambda s: unit_hash(seed, s.sample_id)
    )
    labelers = sorted({row.labeler for row in rows.values()})
    admissions = [
        a
        for name in labelers
        for a in store.labelers.admissions(name)
        if a.rubric == rubric.id and a.admitted
    ]
    return _Judged(samples, completions, rows, right, admissions)


def _preferences(store: Store, config: JudgeConfig, seed: int, generation: int) -> Replayed:
    """What the verifier's rows and the labeler's rows on completions come to, less what was held
    out.
    """
    judged, champion = (
        _judged(store, config, seed, generation),
        store.labelers.completing_champion(generation),
    )
    found: dict[str, Preference] = {}
    for sample in [s for s in judged.samples if s.check]:
        mine = [c for c in judged.completions if c.sample_id == sample.sample_id]
        made = checked_preferences(
            sample, mine, [judged.right.get(c.completion_id, False) for c in mine], generation
        )
        found |= {p.preference_id: p for p in made}
    for admission in judged.admissions if champion is not None else []:
        groups = judged.groups(champion or "", generation)
        made_of = preferences_from(groups, judged.rows, admission, config.min_margin, generation)
        found |= {p.preference_id: p for ranking in made_of.values() for p in ranking}
    dropped = store.run.dropped_subjects(generation, HELD_OUT_REASON)
    found = {key: p for key, p in found.items() if p.sample_id not in dropped}
    stored = {p.preference_id: p for p in store.labels.preferences(generation)}
    return _compare(f"preferences of generation {generation}", stored, found)


def _win_rates(store: Store, config: JudgeConfig, seed: int) -> Replayed:
    """How each champion did against the one before it, by the labeler's rows on their completions."""
    stored = {f"generation {r.generation} by {r.labeler}": r for r in store.labelers.win_rates()}
    again = {}
    for key, rate in stored.items():
        judged = _judged(store, config, seed, rate.generation)
        groups = judged.groups(rate.model, rate.generation)
        for admission in [a for a in judged.admissions if a.labeler == rate.labeler]:
            wins = wins_over_older(groups, contests_in(groups, judged.rows, admission.temperature))
            tested = store.labelers.tested_probes(rate.labeler)
            if wins[1]:
                again[key] = win_rate_of(
                    admission, tested, (rate.model, rate.other), wins, rate.generation
                )
    return _compare("win rates", stored, again)
