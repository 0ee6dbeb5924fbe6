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
WHERE m.generation = ?
GROUP BY ALL ORDER BY s.kind, value DESC NULLS LAST, s.completion LIMIT ?
"""


def data_facts(reader: Reader, generation: int) -> list[QueryRow]:
    """Measures of the training data as shares, with the bounds of each."""
    return reader.rows("SELECT * FROM data_fact WHERE generation = ? ORDER BY name", [generation])


def train_steps(reader: Reader, generation: int) -> list[TrainStep]:
    """The optimiser steps of a generation."""
    query = "SELECT * FROM train_step WHERE generation = ? ORDER BY kind, step"
    return reader.records(TrainStep, query, [generation])


def step_metrics(reader: Reader) -> list[QueryRow]:
    """Loss and metrics (JSON) of every optimiser step."""
    return reader.rows(
        "SELECT generation, kind, step, loss, metrics FROM train_step"
        " ORDER BY generation, kind, step"
    )


def trained_samples(reader: Reader, generation: int, count: int) -> list[QueryRow]:
    """Samples that a generation was trained on, best judged first, with the URL of each."""
    return reader.rows(_SAMPLES, [generation, count])


def trained_preferences(reader: Reader, generation: int, count: int) -> list[QueryRow]:
    """Preferences that a generation was trained on, largest margin first."""
    return reader.rows(
        "SELECT p.* FROM manifest m JOIN preference p ON p.preference_id = m.item_id"
        " WHERE m.generation = ? ORDER BY p.margin DESC, p.preference_id LIMIT ?",
        [generation, count],
    )
