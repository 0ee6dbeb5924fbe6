"""Verdicts that were given before, by a key over all they depend on; failures apart, with a time to
try again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from infra.records.arrow import rows_table
from infra.store.database import TableGroup

CachedVerdict = tuple[str, tuple[float, ...], tuple[float, ...], int, int, str]
"""(key, numbers, distribution, tokens read, tokens written, raw answer); what the numbers are
depends on the mode."""
Failure = tuple[str, str, datetime]
"""(key, reason, when to try again)"""

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
    """A cache: nothing here is evidence by itself."""

    schema = "verdicts"

    def cached(self, keys: Sequence[str]) -> list[CachedVerdict]:
        """The verdicts that are known of some keys, in no order."""
        return self._joined("SELECT v.* FROM verdict v JOIN wanted USING (key)", keys)

    def recent_failures(self, keys: Sequence[str], at: datetime) -> dict[str, str]:
        """Key to reason of what failed lately and should not be tried again yet."""
        sql = "SELECT f.key, f.reason, f.retry_at FROM verdict_failure f JOIN wanted USING (key)"
        return {key: reason for key, reason, retry_at in self._joined(sql, keys) if retry_at > at}

    def keep(self, verdicts: Sequence[CachedVerdict], failures: Sequence[Failure]) -> None:
        """Store what was answered and what was not; an answer takes its key's failure away."""
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
