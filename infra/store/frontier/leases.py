"""Leases of the frontier: URLs are given to workers for a limited time, and taken back."""

from __future__ import annotations

from typing import NamedTuple

from infra.store.frontier.records import HostLease, Lease, Limits, State
from infra.store.frontier.urls import MAX_DRAW, UrlQueue

SOON_S = 1.0
"""A host whose next request may start within this time can be leased; its worker waits."""

_IDLE_HOST = """
SELECT host_id, host, domain, not_before FROM host
WHERE worker = ? AND pending > 0 AND busy = 0 AND open = 1 AND not_before <= ?
ORDER BY {order} LIMIT 1
"""
_BEST_HOST = _IDLE_HOST.format(order="score DESC")
_RANDOM_HOST = _IDLE_HOST.format(order="draw")
_PENDING_URLS = """
SELECT key, url, kind, depth, weight, visits, etag, last_modified, digest FROM url
WHERE host_id = ? AND state = 0
ORDER BY {order} LIMIT ?
"""
_BEST_URLS = _PENDING_URLS.format(order="priority DESC")
_RANDOM_URLS = _PENDING_URLS.format(order="key")
_LEASE_URL = """
UPDATE url SET state = 1, lease_until = ?, lease_worker = ?, attempts = attempts + 1 WHERE key = ?
"""
_OCCUPY_HOST = """
UPDATE host SET busy = 1, pending = pending - ?2, draw = ?3, score = coalesce(
    (SELECT priority FROM url WHERE host_id = ?1 AND state = 0 ORDER BY priority DESC LIMIT 1), 0
)
WHERE host_id = ?1
"""
_LEASED_OF_DOMAIN = """
SELECT count(*) FROM host JOIN url ON url.host_id = host.host_id AND url.state = 1
WHERE host.domain = ? AND host.busy = 1
"""
_BEST_PRIORITY = """
SELECT priority FROM url WHERE host_id = ? AND state = 0 ORDER BY priority DESC LIMIT 1
"""


class _Host(NamedTuple):
    host_id: int
    host: str
    domain: str
    not_before: float


class LeasedQueue(UrlQueue):
    """A queue whose URLs are leased to workers."""

    def lease(
        self,
        worker: int,
        generation: int,
        num_hosts: int,
        per_host: int,
        limits: Limits,
        now: float,
    ) -> list[HostLease]:
        """Lease URLs of up to `num_hosts` idle hosts of a worker.

        Most hosts are chosen by priority, a share of `limits.explore_share` at random.
        """
        with self.transaction():
            self._give_back("lease_until < ?", now, now, "its lease ran out", limits.max_attempts)
            room = self._room(generation, limits, now)
            leases: list[HostLease] = []
            for _ in range(num_hosts):
                explore = self._random.random() < limits.explore_share
                host = self._choose_host(worker, now + SOON_S, explore) if room > 0 else None
                if host is None:
                    break
                lease = self._lease_host(host, worker, min(per_host, room), limits, now, explore)
                if lease is not None:
                    room -= len(lease.leases)
                    leases.append(lease)
        return leases

    def borrow_host(self, host: str, domain: str) -> float | None:
        """Reserve a host for one request outside its queue; returns when the request may start.

        None if a worker visits the host. `retire` with a `HostVisit` releases it.
        """
        host_id = self._host_id(host, domain)
        row = self._db.execute(
            "UPDATE host SET busy = 1 WHERE host_id = ? AND busy = 0 RETURNING not_before",
            [host_id],
        ).fetchone()
        return float(row[0]) if row else None

    def release_worker(self, worker: int, max_attempts: int, now: float) -> None:
        """Take back the URLs that a dead worker had leased."""
        with self.transaction():
            self._give_back("lease_worker = ?", worker, now, "the crawl worker died", max_attempts)

    def release_all(self, now: float) -> None:
        """Take back all leased URLs after the driver died; this does not count as an attempt."""
        self._db.execute("UPDATE url SET attempts = max(0, attempts - 1) WHERE state = 1")
        self._give_back("1 = ?", 1, now)
        self._db.execute("UPDATE host SET busy = 0 WHERE busy = 1")

    def is_finished(self, generation: int, limits: Limits, now: float) -> bool:
        """Whether nothing is leased, and nothing more can or may be leased."""
        if self._db.execute(
            "SELECT 1 FROM url INDEXED BY url_by_lease WHERE state = 1 LIMIT 1"
        ).fetchone():
            return False
        if self._room(generation, limits, now) <= 0:
            return True
        waiting = self._db.execute(
            "SELECT 1 FROM host WHERE pending > 0 AND open = 1 AND not_before <= ? LIMIT 1",
            [now + limits.patience_s],
        ).fetchone()
        return waiting is None

    # Leasing.

    def _room(self, generation: int, limits: Limits, now: float) -> int:
        """How many more URLs may be leased in this generation."""
        started, pages, num_bytes = self._db.execute(
            "SELECT started_at, pages, bytes FROM generation WHERE generation = ?", [generation]
        ).fetchone()
        if num_bytes >= limits.num_bytes or now >= started + limits.seconds:
            return 0
        (leased,) = self._db.execute(
            "SELECT count(*) FROM url INDEXED BY url_by_lease WHERE state = 1"
        ).fetchone()
        return max(0, limits.pages - int(pages) - int(leased))

    def _choose_host(self, worker: int, until: float, explore: bool) -> _Host | None:
        """The next idle host of a worker, by priority or at random."""
        row = self._db.execute(_RANDOM_HOST if explore else _BEST_HOST, [worker, until]).fetchone()
        return None if row is None else _Host(int(row[0]), str(row[1]), str(row[2]), float(row[3]))

    def _lease_host(
        self, host: _Host, worker: int, count: int, limits: Limits, now: float, explore: bool
    ) -> HostLease | None:
        """Lease URLs of a host, by priority or at random; None if its budget is spent."""
        count = min(count, self._host_room(host.host_id, host.domain, limits))
        if count <= 0:
            self._db.execute("UPDATE host SET open = 0 WHERE host_id = ?", [host.host_id])
            return None
        query = _RANDOM_URLS if explore else _BEST_URLS
        rows = self._db.execute(query, [host.host_id, count]).fetchall()
        until = now + limits.lease_s
        self._db.executemany(_LEASE_URL, [(until, worker, row[0]) for row in rows])
        draw = self._random.randrange(MAX_DRAW)
        self._db.execute(_OCCUPY_HOST, [host.host_id, len(rows), draw])
        leases = tuple(Lease(*row[1:]) for row in rows)
        return HostLease(host.host, host.domain, host.not_before, leases)

    def _host_room(self, host_id: int, domain: str, limits: Limits) -> int:
        """How many more URLs of a host its budget and its domain's budget allow."""
        pages, num_bytes = self._db.execute(
            "SELECT pages, bytes FROM host WHERE host_id = ?", [host_id]
        ).fetchone()
        domain_pages, domain_bytes = self._db.execute(
            "SELECT pages, bytes FROM domain WHERE domain = ?", [domain]
        ).fetchone() or (0, 0)
        if num_bytes >= limits.host_bytes or domain_bytes >= limits.domain_bytes:
            return 0
        # Several hosts of a domain are visited at once, so leased URLs count as fetched.
        (leased,) = self._db.execute(_LEASED_OF_DOMAIN, [domain]).fetchone()
        return int(min(limits.host_pages - pages, limits.domain_pages - domain_pages - leased))

    # Giving back.

    def _give_back(
        self, where: str, parameter: object, now: float, reason: str = "", max_attempts: int = 2**31
    ) -> None:
        """Return leased URLs to the queue and free their hosts.

        URLs with `max_attempts` attempts or more fail. `where` is an SQL condition on `url`.
        """
        rows = self._db.execute(
            f"SELECT key, host_id, attempts FROM url WHERE state = 1 AND {where}",  # noqa: S608
            [parameter],
        ).fetchall()
        returned: dict[int, int] = {}
        for key, host_id, attempts in rows:
            has_failed = attempts >= max_attempts
            returned[host_id] = returned.get(host_id, 0) + (not has_failed)
            self._db.execute(
                "UPDATE url SET state = ?, reason = ?, lease_worker = -1 WHERE key = ?",
                [State.FAILED if has_failed else State.PENDING, reason, key],
            )
        for host_id, number in returned.items():
            self._free_host(host_id, number)
            self._db.execute(
                "UPDATE host SET not_before = max(not_before, ?2 + delay_s) WHERE host_id = ?1",
                [host_id, now],
            )

    def _free_host(self, host_id: int, returned: int) -> None:
        """End the visit to a host; `returned` of its URLs are in the queue again."""
        best = self._db.execute(_BEST_PRIORITY, [host_id]).fetchone()
        self._db.execute(
            "UPDATE host SET busy = 0, pending = pending + ?2, score = ?3 WHERE host_id = ?1",
            [host_id, returned, best[0] if best else 0.0],
        )
