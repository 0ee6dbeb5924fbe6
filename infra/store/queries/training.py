"""Training: its data, its steps, and samples of what was learned."""

from __future__ import annotations

from infra.records import TrainStep
from infra.store.reader import QueryRow, Reader

_SAMPLES = """
SELECT s.kind, s.origin, s.prompt, s.completion, d.url, max(j.value) AS value
FROM manifest m
JOIN sample s ON s.sample_id = m.item_id
LEFT JOIN document d ON d.document_id = s.document_id
LEFT JOIN judgment j ON j.subject_id = s.sample_id AND j.status = 'scored'
WHERE m.generation = ? AND m.arm = ?
GROUP BY ALL ORDER BY s.kind, value DESC NULLS LAST, s.completion LIMIT ?
"""


def data_facts(reader: Reader, generation: int) -> list[QueryRow]:
    """Measures of the training data as shares, with the bounds of each, by candidate."""
    query = "SELECT * FROM data_fact WHERE generation = ? ORDER BY name, arm"
    return reader.rows(query, [generation])


def train_steps(reader: Reader, generation: int, arm: str) -> list[TrainStep]:
    """The optimiser steps of a candidate."""
    query = "SELECT * FROM train_step WHERE generation = ? AND arm = ? ORDER BY kind, step"
    return reader.records(TrainStep, query, [generation, arm])


def step_metrics(reader: Reader) -> list[QueryRow]:
    """Loss and metrics (JSON) of every optimiser step."""
    return reader.rows(
        "SELECT generation, arm, kind, step, loss, metrics FROM train_step"
        " ORDER BY generation, arm, kind, step"
    )


def trained_samples(reader: Reader, generation: int, arm: str, count: int) -> list[QueryRow]:
    """Samples that a candidate was trained on, best judged first, with the URL of each."""
    return reader.rows(_SAMPLES, [generation, arm, count])


def trained_preferences(reader: Reader, generation: int, arm: str, count: int) -> list[QueryRow]:
    """Preferences that a candidate was trained on, largest margin first."""
    return reader.rows(
        "SELECT p.* FROM manifest m JOIN preference p ON p.preference_id = m.item_id"
        " WHERE m.generation = ? AND m.arm = ?"
        " ORDER BY p.margin DESC, p.preference_id LIMIT ?",
        [generation, arm, count],
    )
