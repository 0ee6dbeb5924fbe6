"""The frontier's file: opening, migrating, transactions, robots.txt answers, and what there is to
see.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.store.frontier.records import Robots, State

SCHEMA = Path(__file__).parent / "schema"


class FrontierFile:
    """One SQLite file, or ":memory:"."""

    def __init__(self, path: str, seed: int = 0) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA cache_size = -131072")
        self._db.execute(
            "PRAGMA wal_autocheckpoint = 16384"
        )  # 64 MiB: fewer, larger passes over the file
        self._random = random.Random(seed)  # noqa: S311 (an order of visits, not a secret)
        self._migrate()

    def _migrate(self) -> None:
        (done,) = self._db.execute("PRAGMA user_version").fetchone()
        for number, file in enumerate(sorted(SCHEMA.glob("*.sql")), start=1):
            if number > done:
                self._db.executescript(
                    f"BEGIN; {file.read_text(encoding='utf-8')}; PRAGMA user_version={number}; END;"
                )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What happens in the block happens whole or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def counts(self) -> dict[str, int]:
        """Number of URLs in each state, by its name in lower case."""
        rows = self._db.execute("SELECT state, count(*) FROM url GROUP BY state").fetchall()
        return {State(state).name.lower(): int(count) for state, count in rows}

    def started_at(self, generation: int) -> float:
        """When a generation's crawl began."""
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
        """(url, state, reason) of URLs that failed or were forbidden, shallow ones first."""
        rows = self._db.execute(
            "SELECT url, state, reason FROM url WHERE state IN (3, 4) ORDER BY depth, url LIMIT ?",
            [limit],
        ).fetchall()
        return [(url, State(state).name.lower(), reason) for url, state, reason in rows]

    def robots(self, origin: str) -> Robots | None:
        """What is known of an origin's robots.txt."""
        row = self._db.execute("SELECT * FROM robots WHERE origin = ?", [origin]).fetchone()
        return Robots(*row) if row else None

    def keep_robots(self, robots: Robots) -> None:
        """Replace what is known of an origin's robots.txt."""
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
