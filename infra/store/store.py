"""The DuckDB store of a run: one connection, and one small class for each group of tables.

While one process has the file open for writing, no other process can even read it (DuckDB 2.0). So
a run has one `Store`, held by a Ray actor. Readers open the file when the run is idle, and Parquet
snapshots while it works (`infra.store.reader`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from infra.store.database import Database
from infra.store.frontier.queue import Frontier
from infra.store.tables.crawl import CrawlTables
from infra.store.tables.curation import CurationTables
from infra.store.tables.forgetting import ForgettingTables
from infra.store.tables.gate import GateTables
from infra.store.tables.labelers import LabelerTables
from infra.store.tables.labels import LabelTables
from infra.store.tables.registry import RegistryTables
from infra.store.tables.run import RunTables
from infra.store.tables.training import TrainingTables
from infra.store.tables.verdicts import VerdictTables

MEMORY = ":memory:"


class Store:
    """All tables of a run, in groups; the crawl's queue and its bodies are beside the database.

    Args:
        path: the DuckDB file, or ":memory:" for a store that leaves nothing on disk.
        snapshot_folder: where `publish_snapshot` writes; None for no snapshots.
        clock: seconds since the epoch, for the crawl's leases.
        seed: for the order in which hosts are visited.
    """

    def __init__(
        self,
        path: str,
        snapshot_folder: str | None = None,
        clock: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        is_in_memory = path == MEMORY
        self._scratch = tempfile.TemporaryDirectory(prefix="ratchet-") if is_in_memory else None
        folder = Path(self._scratch.name) if self._scratch else Path(path).parent
        self.database = Database(path, snapshot_folder)
        self.frontier = Frontier(MEMORY if is_in_memory else str(folder / "frontier.sqlite"), seed)
        self.run = RunTables(self.database)
        self.crawl = CrawlTables(self.database, self.run, self.frontier, folder / "warc", clock)
        self.curation = CurationTables(self.database, self.run)
        self.forgetting = ForgettingTables(self.database, self.crawl.archive, self.frontier)
        self.labels = LabelTables(self.database, self.run)
        self.labelers = LabelerTables(self.database)
        self.verdicts = VerdictTables(self.database)
        self.training = TrainingTables(self.database)
        self.registry = RegistryTables(self.database)
        self.gate = GateTables(self.database, self.registry)

    def publish_snapshot(self) -> None:
        """Write the tables that readers look at, if there is a folder for snapshots."""
        self.database.publish_snapshot()

    def close(self) -> None:
        """Publish a last snapshot and close every file."""
        self.database.close()
        self.frontier.close()
        self.crawl.archive.close()
        if self._scratch:
            self._scratch.cleanup()
