"""What there is to see of a run: one query a view."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import duckdb

from infra.errors import UserError
from infra.records import TrainStep
from infra.records.arrow import from_table
from infra.records.labeler import Datasheet
from infra.store.reading import rows
from infra.store.tables.registry import CHAMPION
from loop.gate.estimates import clustered_mean_and_error
from loop.gate.trial.reward_hacking import LABELER, reward_rise

Row = dict[str, Any]

_GENERATIONS = """
SELECT generation, c.digest, c.path, c.parent, d.outcome, d.reason, d.num_documents, d.mean_gain,
       gain.standard_error AS gain_error, d.log_evidence,
       d.log_threshold, d.alpha, d.attempt, own.value AS bits, own.standard_error AS bits_error,
       other.value AS champion_bits, acc.value AS accuracy, acc.num_items AS num_examples, dis.value AS distinct_2
FROM checkpoint c
FULL JOIN decision d USING (generation)
LEFT JOIN evaluation own
  ON own.attempt = d.attempt AND own.suite = 'bits_per_byte' AND own.metric = 'bits_per_byte'
    AND own.model_digest = d.candidate
LEFT JOIN evaluation other
  ON other.attempt = d.attempt AND other.suite = 'bits_per_byte' AND other.metric = 'bits_per_byte'
    AND other.model_digest = d.champion
LEFT JOIN evaluation gain
  ON gain.attempt = d.attempt AND gain.suite = 'bits_per_byte' AND gain.metric = 'gain'
    AND gain.model_digest = d.candidate
LEFT JOIN evaluation acc
  ON acc.attempt = d.attempt AND acc.suite = 'executed_examples' AND acc.model_digest = d.candidate
LEFT JOIN evaluation dis
  ON dis.attempt = d.attempt AND dis.suite = 'continuations' AND dis.metric = 'distinct_2'
    AND dis.model_digest = d.candidate
ORDER BY generation
"""


def generations(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """One row a generation that has a model or a decision; 0 is the anchor."""
    return rows(connection, _GENERATIONS)


def generation(connection: duckdb.DuckDBPyConnection, number: int) -> Row:
    """One generation's row; `UserError` names those there are."""
    found = {row["generation"]: row for row in generations(connection)}
    if number not in found:
        raise UserError(
            "generation", number, "this run has no such generation.", f"There are {sorted(found)}."
        )
    return found[number]


def alias_events(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Where champion and other aliases were moved to, the first move first."""
    return rows(connection, "SELECT * FROM alias_event ORDER BY number")


def champion_event(connection: duckdb.DuckDBPyConnection, at: datetime | None = None) -> Row | None:
    """What made the champion champion, now or at some time (UTC); None while it is the anchor."""
    moved = [
        e
        for e in alias_events(connection)
        if e["alias"] == CHAMPION and (at is None or e["moved_at"] <= at)
    ]
    return moved[-1] if moved else None


def champion(connection: duckdb.DuckDBPyConnection) -> int:
    """The champion's generation; 0 is the anchor."""
    event = champion_event(connection)
    return event["generation"] if event else 0


def stages(connection: duckdb.DuckDBPyConnection, number: int | None = None) -> list[Row]:
    """Stages in order with their seconds; `summary` is parsed."""
    found = rows(
        connection,
        "SELECT generation, name, started_at, finished_at, summary,"
        " epoch(coalesce(finished_at, started_at) - started_at) AS seconds FROM stage"
        " WHERE ?::BIGINT IS NULL OR generation = ? ORDER BY started_at",
        [number, number],
    )
    return [row | {"summary": json.loads(row["summary"])} for row in found]


def drops(connection: duckdb.DuckDBPyConnection, number: int) -> list[Row]:
    """Dropped records by stage and reason."""
    return rows(
        connection,
        "SELECT stage, reason, count(*) AS count FROM dropped WHERE generation = ? GROUP BY ALL ORDER BY ALL",
        [number],
    )


_GROUPS = {"language": "d.language", "domain": "p.domain"}


def bits_by_group(connection: duckdb.DuckDBPyConnection, number: int, group: str) -> list[Row]:
    """A candidate's bits per byte and its gain over the champion by `language` or `domain` of the
    documents.
    """
    found = rows(
        connection,
        f"SELECT coalesce({_GROUPS[group]}, '') AS name, own.unit, own.value AS bits, other.value - own.value AS gain"  # noqa: S608
        " FROM decision c JOIN item_score own"
        " ON own.attempt = c.attempt AND own.suite = 'bits_per_byte' AND own.model_digest = c.candidate"
        " JOIN item_score other ON other.attempt = c.attempt AND other.suite = own.suite"
        " AND other.item_id = own.item_id AND other.model_digest = c.champion"
        " LEFT JOIN document d ON d.document_id = own.item_id LEFT JOIN page p ON p.page_id = d.page_id"
        " WHERE c.generation = ? ORDER BY own.position",
        [number],
    )
    groups: dict[str, list[Row]] = {}
    for row in found:
        groups.setdefault(row["name"] or "unknown", []).append(row)
    summary = []
    for name, members in groups.items():
        units = [row["unit"] for row in members]
        bits, gain = ([row[k] for row in members] for k in ("bits", "gain"))
        summary.append(
            {
                "name": name,
                "documents": len(members),
                "bits": clustered_mean_and_error(bits, units),
                "gain": clustered_mean_and_error(gain, units),
            }
        )
    return sorted(summary, key=lambda row: (-row["documents"], row["name"]))


def tests(connection: duckdb.DuckDBPyConnection, number: int) -> list[Row]:
    """What the gate tested of a generation, primary suites first."""
    return rows(
        connection,
        "SELECT t.* FROM gate_test t JOIN decision d USING (attempt) WHERE d.generation = ?"
        " ORDER BY t.role DESC, t.suite, t.against",
        [number],
    )


def measures(connection: duckdb.DuckDBPyConnection, number: int) -> list[Row]:
    """Every measure of a candidate beside the champion's and the anchor's: `own`, `champion`,
    `anchor` with errors.
    """
    return rows(
        connection,
        "SELECT e.suite, e.metric, e.num_items, e.value AS own, e.standard_error AS own_error,"
        " c.value AS champion, c.standard_error AS champion_error, a.value AS anchor, a.standard_error AS anchor_error"
        " FROM decision d JOIN evaluation e ON e.attempt = d.attempt AND e.model_digest = d.candidate"
        " LEFT JOIN evaluation c ON c.attempt = d.attempt AND c.suite = e.suite AND c.metric = e.metric"
        " AND c.model_digest = d.champion"
        " LEFT JOIN checkpoint zero ON zero.generation = 0"
        " LEFT JOIN evaluation a ON a.attempt = d.attempt AND a.suite = e.suite AND a.metric = e.metric"
        " AND a.model_digest = zero.digest"
        " WHERE d.generation = ? ORDER BY e.suite, e.metric",
        [number],
    )


def gaps(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """What was learned from beside what was not, by generation: `said` by the labeler, `reward`
    won, and `gain`.
    """
    found = rows(
        connection,
        "SELECT d.generation, d.mean_gain AS gain, g.standard_error AS gain_error, w.value AS said,"
        " w.standard_error AS said_error FROM decision d"
        " JOIN evaluation g ON g.attempt = d.attempt AND g.suite = 'bits_per_byte' AND g.metric = 'gain'"
        " LEFT JOIN evaluation w ON w.attempt = d.attempt AND w.suite = ? AND w.metric = 'win_rate'"
        " AND w.model_digest = d.candidate ORDER BY d.generation",
        [LABELER],
    )
    for row in found:
        steps = connection.sql(
            "SELECT * FROM train_step WHERE generation = ? ORDER BY kind, step",
            params=[row["generation"]],
        ).to_arrow_table()
        rise = reward_rise(from_table(TrainStep, steps))
        row["reward"] = rise[1] - rise[0] if rise else None
    return found


def data_facts(connection: duckdb.DuckDBPyConnection, number: int) -> list[Row]:
    """What a generation was trained on, in shares, with the bounds of each."""
    return rows(connection, "SELECT * FROM data_fact WHERE generation = ? ORDER BY name", [number])


def labels(connection: duckdb.DuckDBPyConnection, number: int) -> list[Row]:
    """Judgments by rubric, labeler and method: scored, unscored, mean value."""
    return rows(
        connection,
        "SELECT rubric, labeler, method, count(*) FILTER (status = 'scored') AS scored,"
        " count(*) FILTER (status <> 'scored') AS unscored, avg(value) FILTER (status = 'scored') AS mean"
        " FROM judgment WHERE generation = ? GROUP BY ALL ORDER BY ALL",
        [number],
    )


def datasheet(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """How labelers did on their probes, test half, with the method that was chosen marked."""
    return rows(
        connection,
        "SELECT r.*, a.method = r.method AS chosen, a.admitted FROM probe_result r"
        " LEFT JOIN admission a ON a.labeler = r.labeler AND a.rubric = r.rubric"
        " WHERE r.half = 'test' ORDER BY r.labeler, r.rubric, r.probe, r.method",
    )


def gold_sheets(connection: duckdb.DuckDBPyConnection) -> list[Datasheet]:
    """Datasheets on gold pairs, as `ratchet judge datasheet --run` stores them."""
    found = connection.sql(
        "SELECT * FROM datasheet ORDER BY labeler, rubric, gold"
    ).to_arrow_table()
    return from_table(Datasheet, found)


def win_rates(connection: duckdb.DuckDBPyConnection, number: int) -> list[Row]:
    """How a generation's champion does against the one before it, as labelers say and corrected."""
    return rows(
        connection, "SELECT * FROM win_rate WHERE generation = ? ORDER BY labeler", [number]
    )


def clashes(connection: duckdb.DuckDBPyConnection, number: int) -> list[Row]:
    """Labelers' errors on pairs that a verifier decided: labeler, rubric, pairs, wrong."""
    return rows(
        connection,
        "SELECT labeler, rubric, count(*) AS pairs, count(*) FILTER (verdict <> detail) AS wrong FROM judgment"
        " WHERE generation = ? AND mode = 'pairwise' AND status = 'scored' AND detail IN ('A', 'B')"
        " GROUP BY ALL ORDER BY ALL",
        [number],
    )


def heads(connection: duckdb.DuckDBPyConnection, number: int) -> list[Row]:
    """A generation's distilled head: how well it tells the labeler's ranks, and the drift of the
    one before it.
    """
    return rows(connection, "SELECT * EXCLUDE (weights) FROM head WHERE generation = ?", [number])


def crawl_outcomes(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """(generation, outcome, pages): texts that were kept, and drops by reason, most frequent first."""
    return rows(
        connection,
        "SELECT generation, 'kept' AS outcome, count(*) AS pages FROM document WHERE status = 'kept'"
        " GROUP BY generation UNION ALL"
        " SELECT generation, reason, count(*) FROM dropped WHERE stage = 'crawl' GROUP BY generation, reason"
        " ORDER BY outcome <> 'kept', pages DESC, outcome",
    )


def run_facts(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Facts of the run, the salt left out: it must not leave the store."""
    return {
        row["key"]: row["value"]
        for row in rows(connection, "SELECT key, value FROM run")
        if row["key"] != "salt"
    }


def trained_samples(connection: duckdb.DuckDBPyConnection, number: int, count: int) -> list[Row]:
    """Samples that a generation was trained on, best judged first, with the page each came from."""
    return rows(
        connection,
        "SELECT s.kind, s.origin, s.prompt, s.completion, d.url, max(j.value) AS value FROM manifest m"
        " JOIN sample s ON s.sample_id = m.item_id LEFT JOIN document d ON d.document_id = s.document_id"
        " LEFT JOIN judgment j ON j.subject_id = s.sample_id AND j.status = 'scored'"
        " WHERE m.generation = ? GROUP BY ALL ORDER BY s.kind, value DESC NULLS LAST, s.completion LIMIT ?",
        [number, count],
    )


def trained_preferences(
    connection: duckdb.DuckDBPyConnection, number: int, count: int
) -> list[Row]:
    """Preferences that a generation was trained on."""
    return rows(
        connection,
        "SELECT p.* FROM manifest m JOIN preference p ON p.preference_id = m.item_id"
        " WHERE m.generation = ? ORDER BY p.margin DESC, p.preference_id LIMIT ?",
        [number, count],
    )
