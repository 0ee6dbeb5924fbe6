"""Labels, and how far the labelers can be trusted."""

from __future__ import annotations

from infra.records.labeler import Datasheet
from infra.store.reader import QueryRow, Reader


def judgment_counts(reader: Reader, generation: int) -> list[QueryRow]:
    """Scored and unscored judgments and their mean value, by rubric, labeler and method."""
    return reader.rows(
        "SELECT rubric, labeler, method, count(*) FILTER (status = 'scored') AS scored,"
        " count(*) FILTER (status <> 'scored') AS unscored,"
        " avg(value) FILTER (status = 'scored') AS mean"
        " FROM judgment WHERE generation = ? GROUP BY ALL ORDER BY ALL",
        [generation],
    )


def judgment_values(reader: Reader, generation: int) -> list[QueryRow]:
    """The values of all scored judgments by rubric; column `vals` is a list."""
    return reader.rows(
        "SELECT rubric, list(value) AS vals FROM judgment"
        " WHERE generation = ? AND status = 'scored' GROUP BY rubric ORDER BY rubric",
        [generation],
    )


def probe_results(reader: Reader) -> list[QueryRow]:
    """Results of the labelers on the test half of their probes; `chosen` marks the method used."""
    return reader.rows(
        "SELECT r.*, a.method = r.method AS chosen, a.admitted FROM probe_result r"
        " LEFT JOIN admission a ON a.labeler = r.labeler AND a.rubric = r.rubric"
        " WHERE r.half = 'test' ORDER BY r.labeler, r.rubric, r.probe, r.method"
    )


def gold_sheets(reader: Reader) -> list[Datasheet]:
    """Datasheets on gold pairs."""
    query = "SELECT * FROM datasheet ORDER BY labeler, rubric, gold"
    return reader.records(Datasheet, query)


def win_rates(reader: Reader, generation: int) -> list[QueryRow]:
    """Win rates of a generation's champion against the champion before it, by labeler."""
    query = "SELECT * FROM win_rate WHERE generation = ? ORDER BY labeler"
    return reader.rows(query, [generation])


def clashes(reader: Reader, generation: int) -> list[QueryRow]:
    """Errors of labelers on pairs that a verifier decided: labeler, rubric, pairs, wrong."""
    return reader.rows(
        "SELECT labeler, rubric, count(*) AS pairs, count(*) FILTER (verdict <> detail) AS wrong"
        " FROM judgment WHERE generation = ? AND mode = 'pairwise' AND status = 'scored'"
        " AND detail IN ('A', 'B') GROUP BY ALL ORDER BY ALL",
        [generation],
    )


def valued_samples(reader: Reader, generation: int) -> list[QueryRow]:
    """The samples whose value was measured, with text (the completion), bits and value."""
    query = """
        SELECT s.sample_id, s.kind, s.origin, s.check, s.document_id, s.completion AS text,
               b.bits_per_byte AS bits, b.bits_per_byte - t.bits_per_byte AS value
        FROM sample s
        JOIN surprise b
          ON b.sample_id = s.sample_id AND b.generation = s.generation AND NOT b.is_tuned
        JOIN surprise t ON t.sample_id = s.sample_id AND t.generation = s.generation AND t.is_tuned
        WHERE s.generation = ? AND isfinite(b.bits_per_byte - t.bits_per_byte)
        ORDER BY s.sample_id
    """
    return reader.rows(query, [generation])


def passage_judgments(reader: Reader, generation: int) -> list[QueryRow]:
    """The labeler's scored judgments on passages: subject_id, rubric, value."""
    query = """
        SELECT j.subject_id, j.rubric, j.value FROM judgment j
        JOIN sample s ON s.sample_id = j.subject_id AND s.kind = 'passage'
        WHERE j.generation = ? AND j.status = 'scored' AND j.mode = 'pointwise'
        ORDER BY j.rubric, j.subject_id
    """
    return reader.rows(query, [generation])
