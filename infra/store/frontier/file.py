"""The SQLite file of the frontier: migration, transactions, robots.txt, and queries about it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.store.frontier.records import Robots, State

FRONTIER_SCHEMA_FOLDER = Path(__file__).parent / "schema"


class FrontierFile:
    """One SQLite file, or ":memory:"."""

    def __init__(self, path: str, seed: int = 0) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA cache_size = -131072")
        # 64 MiB: fewer and larger checkpoints.
        self._db.execute("PRAGMA wal_autocheckpoint = 16384")
        self._random = random.Random(seed)  # noqa: S311 (not used for secrets)
        self._migrate()

    def _migrate(self) -> None:
        (done,) = self._db.execute("PRAGMA user_version").fetchone()
        for number, file in enumerate(sorted(FRONTIER_SCHEMA_FOLDER.glob("*.sql")), start=1):
            if number > done:
                self._db.executescript(
                    f"BEGIN; {file.read_text(encoding='utf-8')}; PRAGMA user_version={number}; END;"
                )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end of the block, or roll back on any error."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def counts(self) -> dict[str, int]:
        """State (lower case) to its number of URLs."""
        rows = self._db.execute("SELECT state, count(*) FROM url GROUP BY state").fetchall()
        return {State(state).name.lower(): int(count) for state, count in rows}

    def started_at(self, generation: int) -> float:
        """When a generation's crawl began, in seconds since the epoch."""
        row = self._db.execute(
            "SELECT started_at FROM generation WHERE generation = ?", [generation]
        ).fetchone()
        return float(row[0])

    def progress(self, generation: int) -> tuple[int, int]:
        """(pages, bytes) that a generation has fetched so far."""
        row = self._db.execute(
            "SELECT pages, bytes FROM generation WHERE generation = ?", [generation]
        ).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def reasons(self, limit: int) -> list[tuple[str, str, str]]:
        """(url, state, reason) of URLs that failed or were forbidden, smallest depth first."""
        rows = self._db.execute(
            "SELECT url, state, reason FROM url WHERE state IN (3, 4) ORDER BY depth, url LIMIT ?",
            [limit],
        ).fetchall()
        return [(url, State(state).name.lower(), reason) for url, state, reason in rows]

    def robots(self, origin: str) -> Robots | None:
        """The stored robots.txt of an origin, if there is one."""
        row = self._db.execute("SELECT * FROM robots WHERE origin = ?", [origin]).fetchone()
        return Robots(*row) if row else None

    def keep_robots(self, robots: Robots) -> None:
        """Store the robots.txt of an origin in place of an older one."""
        self._db.execute(
            "INSERT OR REPLACE INTO robots VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                robots.origin,
                robots.fetched_at,
                robots.status,
                robots.body,
                robots.good_at,
                robots.good_body,
                robots.reservation,
            ],
        )
