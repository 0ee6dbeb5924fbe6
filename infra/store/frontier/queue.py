"""The frontier: decides which URL is fetched next, and by which worker.

A URL is leased to a worker, and retired only when its result is stored. Hosts are sharded by
registrable domain over the workers, so no two workers visit one host. Every operation finds its
rows through an index, so its cost does not grow with the number of URLs (benchmarks/frontier.py).
The caller passes the time; randomness comes from a generator with a given seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.store.frontier.leases import LeasedQueue
from infra.store.frontier.records import (
    HostVisit,
    Limits,
    Outcome,
    State,
    revisit_interval,
    url_key,
)

_LEASED_URL = """
SELECT url.host_id, domain, visits, changes, first_visit, digest, attempts
FROM url JOIN host USING (host_id)
WHERE key = ? AND state = 1
"""
_RETIRE_URL = """
UPDATE url SET
    state = ?2, reason = ?3, visits = ?4, changes = ?5, attempts = 0, visited_generation = ?6,
    first_visit = ?7, last_visit = ?8, due_at = ?9, lease_worker = -1,
    etag = CASE WHEN ?10 = '' THEN etag ELSE ?10 END,
    last_modified = CASE WHEN ?11 = '' THEN last_modified ELSE ?11 END,
    digest = CASE WHEN ?12 = '' THEN digest ELSE ?12 END
WHERE key = ?1
"""
_RETURN_UNVISITED = """
UPDATE url SET state = 0, attempts = attempts - 1, lease_worker = -1
WHERE host_id = ? AND state = 1
"""
_COUNT_DOMAIN = """
INSERT INTO domain VALUES (?1, 1, ?2)
ON CONFLICT (domain) DO UPDATE SET pages = pages + 1, bytes = bytes + ?2
"""
_COUNT_HOST = """
UPDATE host SET
    pages = pages + 1, bytes = bytes + ?2,
    total_pages = total_pages + 1, total_documents = total_documents + ?3
WHERE host_id = ?1
"""
_CLOSE_TRAP = """
UPDATE host SET open = 0
WHERE host_id = ?1 AND total_pages >= ?2 AND total_documents < ?3 * total_pages
"""


class Frontier(LeasedQueue):
    """The whole frontier. Two threads must not use it at the same time."""

    def start_generation(self, generation: int, num_workers: int, now: float) -> None:
        """Assign hosts to workers and take back all leases; a new generation resets the budgets."""
        with self.transaction():
            self.release_all(now)
            self._db.execute(
                "UPDATE host SET worker = shard % ? WHERE worker <> shard % ?",
                [num_workers, num_workers],
            )
            inserted = self._db.execute(
                "INSERT OR IGNORE INTO generation (generation, started_at) VALUES (?, ?)",
                [generation, now],
            )
            if inserted.rowcount:
                self._db.execute(
                    "UPDATE host SET pages = 0, bytes = 0, open = 1 WHERE pages > 0 OR open = 0"
                )
                self._db.execute("DELETE FROM domain")
            self._num_workers = num_workers

    def retire(
        self,
        outcomes: Sequence[Outcome],
        visits: Sequence[HostVisit],
        generation: int,
        limits: Limits,
        now: float,
    ) -> None:
        """Record how leases ended. Runs inside the caller's transaction.

        URLs that are no longer leased are ignored.
        """
        for outcome in outcomes:
            self._retire_url(outcome, generation, limits, now)
        for visit in visits:
            self._end_visit(visit)

    def _end_visit(self, visit: HostVisit) -> None:
        """Free a host; its URLs that were leased and not fetched go back to the queue."""
        (host_id,) = self._db.execute(
            "SELECT host_id FROM host WHERE host = ?", [visit.host]
        ).fetchone()
        self._free_host(host_id, self._db.execute(_RETURN_UNVISITED, [host_id]).rowcount)
        self._db.execute(
            "UPDATE host SET not_before = ?2, delay_s = ?3 WHERE host_id = ?1",
            [host_id, visit.not_before, visit.delay_s],
        )

    def _retire_url(self, outcome: Outcome, generation: int, limits: Limits, now: float) -> None:
        key = url_key(outcome.url)
        row = self._db.execute(_LEASED_URL, [key]).fetchone()
        if row is None:
            return
        host_id, domain, visits, changes, first_visit, digest, attempts = row
        if outcome.state == State.PENDING and attempts < limits.max_attempts:
            self._try_again(key, host_id, outcome.reason)
            return
        state = State.FAILED if outcome.state == State.PENDING else outcome.state
        visits, first = visits + 1, first_visit or now
        changes += bool(outcome.digest and digest and outcome.digest != digest)
        interval = revisit_interval(
            first, now, visits, changes, limits.revisit_min_s, limits.revisit_max_s
        )
        progress = [key, state, outcome.reason, visits, changes, generation]
        times = [first, now, now + interval]
        headers = [outcome.etag, outcome.last_modified, outcome.digest]
        self._db.execute(_RETIRE_URL, [*progress, *times, *headers])
        if outcome.num_bytes > 0:
            self._count_page(host_id, domain, outcome, generation, limits)

    def _try_again(self, key: int, host_id: int, reason: str) -> None:
        self._db.execute(
            "UPDATE url SET state = 0, lease_worker = -1, reason = ? WHERE key = ?", [reason, key]
        )
        self._db.execute("UPDATE host SET pending = pending + 1 WHERE host_id = ?", [host_id])

    def _count_page(
        self, host_id: int, domain: str, outcome: Outcome, generation: int, limits: Limits
    ) -> None:
        """Charge a page to the budgets, and close its host if it looks like a crawler trap."""
        size = outcome.num_bytes
        self._db.execute(
            "UPDATE generation SET pages = pages + 1, bytes = bytes + ?2 WHERE generation = ?1",
            [generation, size],
        )
        self._db.execute(_COUNT_DOMAIN, [domain, size])
        self._db.execute(_COUNT_HOST, [host_id, size, outcome.is_new_text])
        self._db.execute(_CLOSE_TRAP, [host_id, limits.trap_pages, limits.trap_yield])
