"""A cache of labeler answers, by a key over everything that they depend on.

Failures are kept apart, with the time from which they may be tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from infra.records.arrow import rows_table
from infra.store.database import TableGroup

CachedVerdict = tuple[str, tuple[float, ...], tuple[float, ...], int, int, str]
"""(key, numbers, distribution, prompt tokens, completion tokens, raw answer).

What the numbers mean depends on the mode of the judgment."""
Failure = tuple[str, str, datetime]
"""(key, reason, time from which it may be tried again)"""

_VERDICTS = pa.schema(
    [
        ("key", pa.string()),
        ("numbers", pa.list_(pa.float64())),
        ("distribution", pa.list_(pa.float64())),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("raw", pa.string()),
    ]
)
_FAILURES = pa.schema(
    [("key", pa.string()), ("reason", pa.string()), ("retry_at", pa.timestamp("us"))]
)


class VerdictTables(TableGroup):
    """Cached verdicts and recent failures."""

    schema = "verdicts"

    def cached(self, keys: Sequence[str]) -> list[CachedVerdict]:
        """The cached verdicts of some keys, in any order."""
        return self._joined("SELECT v.* FROM verdict v JOIN wanted USING (key)", keys)

    def recent_failures(self, keys: Sequence[str], at: datetime) -> dict[str, str]:
        """Key to reason for the failures that must not be tried again before `at`."""
        sql = "SELECT f.key, f.reason, f.retry_at FROM verdict_failure f JOIN wanted USING (key)"
        return {key: reason for key, reason, retry_at in self._joined(sql, keys) if retry_at > at}

    def keep(self, verdicts: Sequence[CachedVerdict], failures: Sequence[Failure]) -> None:
        """Store verdicts and failures; both remove an older failure of the same key."""
        with self._db.transaction():
            if verdicts:
                self._db.insert_new("verdict", rows_table(_VERDICTS, verdicts), ["key"])
            keys = [key for key, *_ in (*verdicts, *failures)]
            self._db.connection.execute(
                "DELETE FROM verdict_failure WHERE list_contains(?, key)", [keys]
            )
            if failures:
                self._db.insert_new("verdict_failure", rows_table(_FAILURES, failures), ["key"])

    def _joined(self, sql: str, keys: Sequence[str]) -> list[Any]:
        self._db.connection.register("wanted", pa.table({"key": pa.array(keys, pa.string())}))
        try:
            return self._db.rows(sql)
        finally:
            self._db.connection.unregister("wanted")
