"""Generations, stages and decisions, with the tests and measures of the gate."""

from __future__ import annotations

import json

from infra.store.reader import QueryRow, Reader

# The model and the decision that stand for each generation.
_GENERATIONS = """
WITH measured AS (
    SELECT ?::VARCHAR AS suite
), lead AS (
    SELECT * FROM decision WHERE is_lead
), model AS (
    SELECT c.* FROM checkpoint c LEFT JOIN lead ON lead.generation = c.generation
    QUALIFY row_number() OVER (
        PARTITION BY c.generation ORDER BY coalesce(lead.arm = c.arm, false) DESC, c.created_at
    ) = 1
)
SELECT generation, coalesce(d.arm, c.arm) AS arm, c.digest, c.path, c.parent, d.outcome, d.reason,
       d.num_documents, d.mean_gain,
       gain.standard_error AS gain_error, d.log_evidence, d.log_threshold, d.alpha, d.attempt,
       measured.suite AS aim_suite, own.metric AS aim_metric,
       acc.value AS accuracy, acc.num_items AS num_examples, dis.value AS distinct_2
FROM model c
FULL JOIN lead d USING (generation)
CROSS JOIN measured
LEFT JOIN evaluation own
  ON own.attempt = d.attempt AND own.suite = measured.suite AND own.metric <> 'gain'
    AND own.model_digest = d.candidate
LEFT JOIN gate_test gain
  ON gain.attempt = d.attempt AND gain.arm = d.arm AND gain.suite = measured.suite
    AND gain.role = 'primary'
LEFT JOIN evaluation acc
  ON acc.attempt = d.attempt AND acc.suite = 'executed_examples' AND acc.model_digest = d.candidate
LEFT JOIN evaluation dis
  ON dis.attempt = d.attempt AND dis.suite = 'continuations' AND dis.metric = 'distinct_2'
    AND dis.model_digest = d.candidate
ORDER BY generation
"""
# The first items that both models have a score for, as many as the test of the decision has used.
_TESTED_SCORES = """
WITH measured AS (SELECT ?::VARCHAR AS suite)
SELECT d.generation, own.unit, own.value AS own, other.value AS champion
FROM decision d
CROSS JOIN measured
JOIN item_score own
  ON own.attempt = d.attempt AND own.suite = measured.suite AND own.model_digest = d.candidate
JOIN item_score other
  ON other.attempt = d.attempt AND other.suite = own.suite AND other.item_id = own.item_id
    AND other.model_digest = d.champion
WHERE d.is_lead AND NOT isnan(own.value) AND NOT isnan(other.value)
QUALIFY row_number() OVER (PARTITION BY d.generation ORDER BY own.position) <= d.num_documents
ORDER BY d.generation, own.position
"""
_STAGES = """
SELECT generation, name, started_at, finished_at, summary,
       epoch(coalesce(finished_at, started_at) - started_at) AS seconds
FROM stage WHERE ?::BIGINT IS NULL OR generation = ? ORDER BY started_at
"""
# The model that stands for a generation, and all its other candidates.
_CANDIDATES = """
WITH measured AS (SELECT ?::VARCHAR AS suite)
SELECT c.generation, c.arm, c.digest, c.path, c.parent, c.manifest_digest, d.outcome, d.reason,
       d.mean_gain,
       gain.standard_error AS gain_error, d.log_evidence, d.log_threshold, d.num_documents
FROM (
    SELECT generation, arm, digest, path, parent, manifest_digest, created_at FROM checkpoint
    UNION ALL
    SELECT generation, arm, NULL, NULL, NULL, NULL, decided_at FROM decision WHERE candidate = ''
) c
CROSS JOIN measured
LEFT JOIN decision d USING (generation, arm)
LEFT JOIN gate_test gain
  ON gain.attempt = d.attempt AND gain.arm = d.arm AND gain.suite = measured.suite
    AND gain.role = 'primary'
WHERE c.generation = ?
ORDER BY coalesce(d.is_lead, false) DESC, c.created_at
"""
_MEASURES = """
SELECT d.arm, e.suite, e.metric, e.num_items, e.value AS own, e.standard_error AS own_error,
       c.value AS champion, c.standard_error AS champion_error,
       a.value AS anchor, a.standard_error AS anchor_error
FROM decision d
JOIN evaluation e ON e.attempt = d.attempt AND e.model_digest = d.candidate
LEFT JOIN evaluation c
  ON c.attempt = d.attempt AND c.suite = e.suite AND c.metric = e.metric
    AND c.model_digest = d.champion
LEFT JOIN checkpoint zero ON zero.generation = 0
LEFT JOIN evaluation a
  ON a.attempt = d.attempt AND a.suite = e.suite AND a.metric = e.metric
    AND a.model_digest = zero.digest
WHERE d.generation = ? ORDER BY e.suite, e.metric, d.is_lead DESC, d.arm
"""
_DOCUMENT_BITS = """
SELECT coalesce(d.language, '') AS language, coalesce(p.domain, '') AS domain, own.unit,
       own.value AS bits, other.value - own.value AS gain
FROM decision c
JOIN item_score own
  ON own.attempt = c.attempt AND own.suite = 'bits_per_byte' AND own.model_digest = c.candidate
JOIN item_score other
  ON other.attempt = c.attempt AND other.suite = own.suite AND other.item_id = own.item_id
    AND other.model_digest = c.champion
LEFT JOIN document d ON d.document_id = own.item_id
LEFT JOIN page p ON p.page_id = d.page_id
WHERE c.generation = ? AND c.is_lead ORDER BY own.position
"""
_PREFERRED = """
WITH measured AS (SELECT ?::VARCHAR AS suite)
SELECT d.generation, d.arm, d.mean_gain AS gain, g.standard_error AS gain_error,
       w.value AS win_rate, w.standard_error AS win_rate_error
FROM decision d
CROSS JOIN measured
JOIN gate_test g
  ON g.attempt = d.attempt AND g.arm = d.arm AND g.suite = measured.suite AND g.role = 'primary'
LEFT JOIN evaluation w
  ON w.attempt = d.attempt AND w.suite = ? AND w.metric = 'win_rate'
    AND w.model_digest = d.candidate
WHERE d.is_lead ORDER BY d.generation
"""


def run_facts(reader: Reader) -> dict[str, str]:
    """Facts about the run, without the salt: that must not leave the store.

    Empty if the run was stopped before it had any.
    """
    if not reader.rows("SELECT 1 FROM duckdb_tables() WHERE table_name = 'run'"):
        return {}
    rows = reader.rows("SELECT key, value FROM run")
    return {row["key"]: row["value"] for row in rows if row["key"] != "salt"}


def _aim_suite(reader: Reader) -> str:
    """The suite that measures the aim: `exam`, `answers`, or that of held-out text."""
    recipe = json.loads(run_facts(reader).get("recipe", "{}"))
    kind = recipe.get("aim", {}).get("kind", "text")
    return "bits_per_byte" if kind == "text" else str(kind)


def generations(reader: Reader) -> list[QueryRow]:
    """One row for each generation that has a model or a decision; 0 is the anchor.

    `mean_gain`, `gain_error` and `num_documents` are those of the test of the aim that decided;
    `aim_suite` measures what the recipe aims for.
    """
    return reader.rows(_GENERATIONS, [_aim_suite(reader)])


def tested_scores(reader: Reader) -> list[QueryRow]:
    """The scores in the aim that each generation's decision rests on, in the order drawn.

    Columns: generation, unit, own, champion.
    """
    return reader.rows(_TESTED_SCORES, [_aim_suite(reader)])


def candidates(reader: Reader, generation: int) -> list[QueryRow]:
    """The candidates of a generation, the one that stands for it first, with their outcomes.

    `digest` and `path` are None for a candidate that was not trained.
    """
    return reader.rows(_CANDIDATES, [_aim_suite(reader), generation])


def picking_tests(reader: Reader) -> list[QueryRow]:
    """Whether picking pays: one row after each generation that had a control."""
    return reader.rows("SELECT * FROM picking_test ORDER BY generation")


def alias_events(reader: Reader) -> list[QueryRow]:
    """Every move of an alias, in order."""
    return reader.rows("SELECT * FROM alias_event ORDER BY number")


def stages(reader: Reader, generation: int | None = None) -> list[QueryRow]:
    """Stages in order, with their seconds; `summary` is a dictionary."""
    rows = reader.rows(_STAGES, [generation, generation])
    return [row | {"summary": json.loads(row["summary"])} for row in rows]


def drops(reader: Reader, generation: int) -> list[QueryRow]:
    """Dropped records by stage and reason."""
    return reader.rows(
        "SELECT stage, reason, count(*) AS count FROM dropped WHERE generation = ?"
        " GROUP BY ALL ORDER BY ALL",
        [generation],
    )


def gate_tests(reader: Reader, generation: int) -> list[QueryRow]:
    """The tests of a generation's candidates, by candidate, primary suites first."""
    return reader.rows(
        "SELECT t.*, d.is_lead FROM gate_test t JOIN decision d USING (attempt, arm)"
        " WHERE d.generation = ?"
        " ORDER BY d.is_lead DESC, t.arm, t.role DESC, t.suite, t.against",
        [generation],
    )


def measures(reader: Reader, generation: int) -> list[QueryRow]:
    """Every measure of each candidate (`own`), the champion and the anchor, with errors."""
    return reader.rows(_MEASURES, [generation])


def document_bits(reader: Reader, generation: int) -> list[QueryRow]:
    """Bits per byte of each held-out document, and the gain over the champion.

    Columns: language, domain, unit, bits, gain.
    """
    return reader.rows(_DOCUMENT_BITS, [generation])


def preferred(reader: Reader, labeler_suite: str) -> list[QueryRow]:
    """For each decision the gain, and the candidate's win rate by the labeler if there is one."""
    return reader.rows(_PREFERRED, [_aim_suite(reader), labeler_suite])


def sealed_gains(reader: Reader) -> list[QueryRow]:
    """Gain over the anchor on what is sealed, for each promoted generation.

    That is the sealed part of the user's exam if there is one, or else the sealed documents.
    """
    return reader.rows(
        "SELECT generation, value, standard_error, num_items, suite FROM evaluation"
        " WHERE metric = 'gain' AND suite = (SELECT CASE WHEN"
        " count(*) FILTER (suite = 'sealed_items') > 0 THEN 'sealed_items' ELSE 'sealed_exam' END"
        " FROM evaluation) ORDER BY generation"
    )
