"""The DuckDB store: one connection, methods named by purpose, every parameter bound.

While one process has the file open for writing no other may even read it (DuckDB 2.0), so a run
has one `Store`, held by a Ray actor. Readers open the file when the run is idle and Parquet
snapshots while it works (`infra.store.reading`).
"""

from __future__ import annotations

from infra.store.tables.curation import CurationTables
from infra.store.tables.forgetting import ForgettingTables
from infra.store.tables.gate import DecisionTables
from infra.store.tables.labels import LabelTables
from infra.store.tables.training import TrainingTables
from infra.store.tables.verdicts import VerdictTables


class Store(
    ForgettingTables, CurationTables, LabelTables, VerdictTables, TrainingTables, DecisionTables
):
    """Every table of a run. Construct with the path of its DuckDB file, or ":memory:"."""


__all__ = ["Store"]
