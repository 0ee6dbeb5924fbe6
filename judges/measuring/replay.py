"""Every aggregate of a run's labels, computed again from the stored judgments and compared with what was stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from infra.labeler_records import Admission, Datasheet, ProbeResult
from infra.records import Judgment, Preference, unit_hash
from infra.store import Store
from judges.config import JudgeConfig
from judges.making.parts import HELD_OUT_REASON
from judges.making.preferences import COMPLETION_RUBRIC, checked_preference
from judges.making.preferring import groups_of, preferences_from
from judges.measuring.calibration import (
    SENTINEL,
    Measured,
    admit,
    choose_way,
    measured_from,
    probe_batches,
    sentinel_batches,
    sentinel_results,
)
from judges.measuring.datasheet import recomputed
from judges.rubrics import load_rubric

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Replayed:
    """One kind of aggregate: how many were stored, and which of them come out otherwise."""

    kind: str
    num_stored: int
    differing: tuple[str, ...]


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (one != one and other != other)
    return bool(one == other)


def differing_fields(stored: Any, again: Any) -> list[str]:
    """Names of a record's fields that differ by more than rounding."""
    return [name for name, value in asdict(stored).items() if not _is_equal(value, getattr(again, name))]


def _compare(kind: str, stored: Mapping[str, Any], again: Mapping[str, Any]) -> Replayed:
    wrong = [f"{key}: not stored" for key in sorted(again.keys() - stored.keys())]
    for key, record in sorted(stored.items()):
        fields = differing_fields(record, again[key]) if key in again else ["no longer follows"]
        if fields:
            wrong.append(f"{key}: {', '.join(fields)}")
    return Replayed(kind, len(stored), tuple(wrong))


def replay(store: Store, config: JudgeConfig, seed: int, generations: Sequence[int]) -> list[Replayed]:
    """Datasheets, probes, admissions, and the preferences of some generations."""
    found = [datasheets(store), *_probes(store, config)]
    found += [_preferences(store, config, seed, generation) for generation in generations]
    return found


def datasheets(store: Store) -> Replayed:
    """Every stored datasheet."""
    stored: dict[str, Datasheet] = {sheet.datasheet_id: sheet for sheet in store.gold_sheets()}
    again = {}
    for key, sheet in stored.items():
        items, rows = store.gold_evidence(key)
        again[key] = recomputed(sheet, items, {row.judgment_id: row for row in rows})
    return _compare("datasheets", stored, again)


def _probes(store: Store, config: JudgeConfig) -> Iterator[Replayed]:
    rows = {row.judgment_id: row for row in store.judgments_of_generation(0)}
    results: dict[str, ProbeResult] = {}
    admissions: dict[str, Admission] = {}
    stored = store.probe_results()
    told = {a.admission_id: a for a in store.all_admissions()}
    for (labeler, name), mine in _grouped(stored).items():
        rubric = load_rubric(next(n for n in config.rubric_names() if load_rubric(n).id == name))
        plain = [r for r in mine if not r.probe.startswith(SENTINEL)]
        num_items = sum(r.num_pairs for r in plain if r.probe == rubric.probes[0] and r.way == plain[0].way)
        shows_both = any("/" in r.probe for r in plain)
        measured: list[Measured] = []
        for way in dict.fromkeys(r.way for r in plain):
            batches = probe_batches(rubric, way, num_items, shows_both)
            measured.append(measured_from(labeler, way, batches, rows))
        best = choose_way(sorted(measured, key=lambda m: rubric.usable(tuple(x.way for x in measured)).index(m.way)))
        admission = admit(labeler, rubric, best)
        if admission.admitted:
            sentinels = sentinel_batches(rubric, best.way, num_items)
            results |= {r.result_id: r for r in sentinel_results(labeler, sentinels, rows)}
        results |= {r.result_id: r for one in measured for r in one.results}
        admissions[admission.admission_id] = _with_gold(admission, told.get(admission.admission_id))
    yield _compare("probes", {r.result_id: r for r in stored}, results)
    yield _compare("admissions", told, admissions)


def _with_gold(again: Admission, stored: Admission | None) -> Admission:
    """An admission with what gold added to it, which the datasheets account for."""
    if stored is None or not stored.reason.startswith(f"{again.reason}; "):
        return again
    return Admission(again.admission_id, again.labeler, again.rubric, again.way, again.admitted and stored.admitted,
                     stored.reason, again.temperature)  # fmt: skip


def _grouped(results: Sequence[ProbeResult]) -> dict[tuple[str, str], list[ProbeResult]]:
    groups: dict[tuple[str, str], list[ProbeResult]] = {}
    for result in results:
        groups.setdefault((result.labeler, result.rubric), []).append(result)
    return groups


def _preferences(store: Store, config: JudgeConfig, seed: int, generation: int) -> Replayed:
    """What the verifier's rows and the labeler's rows on completions come to, less what was held out."""
    rows: dict[str, Judgment] = {}
    right: dict[str, bool] = {}
    rubric = load_rubric(config.answer_rubric)
    for row in store.judgments_of_generation(generation):
        if row.rubric == COMPLETION_RUBRIC:
            right[row.subject_id] = row.value == 1.0
        elif row.rubric == rubric.id:
            rows[row.subject_id] = row
    completions = store.completions(generation)
    asked = {c.sample_id for c in completions}
    samples = [s for kind in ("demonstration", "prompt") for s in store.samples(generation, kind)]
    samples = sorted((s for s in samples if s.sample_id in asked), key=lambda s: unit_hash(seed, s.sample_id))
    found: dict[str, Preference] = {}
    for sample in [s for s in samples if s.check]:
        mine = [c for c in completions if c.sample_id == sample.sample_id]
        made = checked_preference(sample, mine, [right.get(c.completion_id, False) for c in mine], generation)
        found |= {made.preference_id: made} if made else {}
    stored = {p.preference_id: p for p in store.preferences(generation)}
    labelers = {row.labeler for row in rows.values()}
    champion = store.champion_of(generation)
    for admission in [a for labeler in labelers for a in store.admissions(labeler) if a.rubric == rubric.id]:
        if admission.admitted and champion is not None:
            groups = groups_of([s for s in samples if not s.check], completions, champion, generation)
            judged = preferences_from(groups, rows, admission, config.min_margin, generation)
            found |= {p.preference_id: p for p in judged.values()}
    dropped = store.dropped_subjects(generation, HELD_OUT_REASON)
    found = {key: p for key, p in found.items() if p.sample_id not in dropped}
    return _compare(f"preferences of generation {generation}", stored, found)
