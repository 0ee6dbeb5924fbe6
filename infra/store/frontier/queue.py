"""The frontier: which URL is fetched next, and by whom. A URL is leased, and retired only by a
stored result.

Hosts are sharded by registrable domain over workers, so no two workers ever visit one host. Every
operation touches rows through an index, so that its cost does not grow with the number of URLs
(benchmarks/frontier.py). Times come from the caller; randomness from a generator with the given
seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from infra.store.frontier.file import FrontierFile
from infra.store.frontier.records import (
    HostLease,
    HostVisit,
    Lease,
    Limits,
    Link,
    Outcome,
    State,
    host_shard,
    revisit_interval,
    url_key,
)

NEUTRAL_VALUE = 0.5
"""Value of a section that no labeler has judged: neither better nor worse than others."""
_DRAWS = 2**62
SOON_S = 1.0
"""A host whose clock is this near may be leased already; its worker waits."""


class Frontier(FrontierFile):
    """Leasing and retiring URLs. Not safe for use by two threads at a time."""

    _num_workers = 1

    # What a generation starts with.

    def start_generation(self, generation: int, num_workers: int, now: float) -> None:
        """Deal the shards to the workers, give every lease back, and count budgets anew in a new
        generation.
        """
        with self.transaction():
            self.release_all(now)
            self._db.execute(
                "UPDATE host SET worker = shard % ? WHERE worker <> shard % ?",
                [num_workers, num_workers],
            )
            new = self._db.execute(
                "INSERT OR IGNORE INTO generation (generation, started_at) VALUES (?, ?)",
                [generation, now],
            )
            if new.rowcount:
                self._db.execute(
                    "UPDATE host SET pages = 0, bytes = 0, open = 1 WHERE pages > 0 OR open = 0"
                )
                self._db.execute("DELETE FROM domain")
            self._num_workers = num_workers

    def queue_revisits(self, generation: int, now: float) -> int:
        """Put pages that are due again, and were not visited in this generation, back in the queue."""
        with self.transaction():
            queued = self._db.execute(
                "UPDATE url SET state = 0 WHERE (state = 2 OR (state = 3 AND visits < 3)) AND due_at <= ?"
                " AND visited_generation < ?",
                [now, generation],
            ).rowcount
            self._recount()
        return queued

    def _recount(self) -> None:
        """Derive every host's queue length and score from its URLs; linear, once or twice a
        generation.
        """
        self._db.execute(
            "UPDATE host SET pending = q.pending, score = q.score FROM (SELECT host.host_id AS id, count(url.key) AS"
            " pending, coalesce(max(url.priority), 0) AS score FROM host LEFT JOIN url ON url.host_id = host.host_id"
            " AND url.state = 0 GROUP BY host.host_id) q WHERE host.host_id = q.id"
        )

    def set_values(self, values: Iterable[tuple[str, str, float]]) -> None:
        """Take over what labelers thought of (host, section): a value in [0, 1] moves its URLs'
        priorities.
        """
        with self.transaction():
            self._db.executemany(
                "UPDATE section SET value = ?3 WHERE path = ?2"
                " AND host_id = (SELECT host_id FROM host WHERE host = ?1)",
                values,
            )
            self._db.execute(
                "UPDATE url SET priority = weight * (0.5 + (SELECT value FROM section s WHERE s.section_id ="
                " url.section_id)) WHERE state = 0"
            )
            self._recount()

    # URLs in.

    def add(self, links: Sequence[Link], generation: int) -> int:
        """Add the URLs that are not known yet; how many. Runs inside the caller's transaction, if
        there is one.
        """
        added: dict[int, list[float]] = {}
        number = 0
        for link in links:
            host_id = self._host_id(link.host, link.domain)
            section_id, value = self._section(host_id, link.section)
            priority = link.weight * (0.5 + value)
            done = self._db.execute(
                "INSERT OR IGNORE INTO url (key, url, host_id, section_id, kind, state, depth, weight, priority,"
                " generation) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
                [
                    url_key(link.url),
                    link.url,
                    host_id,
                    section_id,
                    link.kind,
                    link.depth,
                    link.weight,
                    priority,
                    generation,
                ],
            )
            if done.rowcount:
                number += 1
                added.setdefault(host_id, []).append(priority)
        self._db.executemany(
            "UPDATE host SET pending = pending + ?2, score = max(CASE WHEN pending > 0 THEN score ELSE 0 END, ?3)"
            " WHERE host_id = ?1",
            [(host_id, len(priorities), max(priorities)) for host_id, priorities in added.items()],
        )
        return number

    def _host_id(self, host: str, domain: str) -> int:
        found = self._db.execute("SELECT host_id FROM host WHERE host = ?", [host]).fetchone()
        if found:
            return int(found[0])
        shard = host_shard(domain)
        worker = shard % self._num_workers
        return int(
            self._db.execute(
                "INSERT INTO host (host, domain, shard, worker, draw) VALUES (?, ?, ?, ?, ?) RETURNING host_id",
                [host, domain, shard, worker, self._random.randrange(_DRAWS)],
            ).fetchone()[0]
        )

    def _section(self, host_id: int, path: str) -> tuple[int, float]:
        sql = "SELECT section_id, value FROM section WHERE host_id = ? AND path = ?"
        found = self._db.execute(sql, [host_id, path]).fetchone()
        if found is None:
            self._db.execute(
                "INSERT INTO section (host_id, path, value) VALUES (?, ?, ?)",
                [host_id, path, NEUTRAL_VALUE],
            )
            found = self._db.execute(sql, [host_id, path]).fetchone()
        return int(found[0]), float(found[1])

    # URLs out.

    def lease(
        self,
        worker: int,
        generation: int,
        num_hosts: int,
        per_host: int,
        limits: Limits,
        now: float,
    ) -> list[HostLease]:
        """Lease URLs of up to `num_hosts` idle hosts of a worker: mostly the best, a fixed share by
        lot.
        """
        with self.transaction():
            self._expire(limits, now)
            room = self._room(generation, limits, now)
            result: list[HostLease] = []
            for _ in range(num_hosts):
                explore = self._random.random() < limits.explore_share
                chosen = self._choose_host(worker, now + SOON_S, explore) if room > 0 else None
                if chosen is None:
                    break
                leased = self._lease_host(chosen, worker, min(per_host, room), limits, now, explore)
                if leased is not None:
                    room -= len(leased.leases)
                    result.append(leased)
        return result

    def _room(self, generation: int, limits: Limits, now: float) -> int:
        """How many more URLs may be handed out in this generation."""
        started, pages, num_bytes = self._db.execute(
            "SELECT started_at, pages, bytes FROM generation WHERE generation = ?", [generation]
        ).fetchone()
        if num_bytes >= limits.num_bytes or now >= started + limits.seconds:
            return 0
        (out,) = self._db.execute(
            "SELECT count(*) FROM url INDEXED BY url_by_lease WHERE state = 1"
        ).fetchone()
        return max(0, limits.pages - int(pages) - int(out))

    def _choose_host(
        self, worker: int, until: float, explore: bool
    ) -> tuple[int, str, str, float] | None:
        where = "worker = ? AND pending > 0 AND busy = 0 AND open = 1 AND not_before <= ?"
        order = "draw" if explore else "score DESC"
        found = self._db.execute(
            f"SELECT host_id, host, domain, not_before FROM host WHERE {where} ORDER BY {order} LIMIT 1",  # noqa: S608
            [worker, until],
        ).fetchone()
        return (
            found
            if found is None
            else (int(found[0]), str(found[1]), str(found[2]), float(found[3]))
        )

    def _lease_host(
        self,
        chosen: tuple[int, str, str, float],
        worker: int,
        count: int,
        limits: Limits,
        now: float,
        explore: bool,
    ) -> HostLease | None:
        """Lease the best URLs of a host, or some in the order of their hashes; None where its
        budget is spent.
        """
        host_id, host, domain, not_before = chosen
        count = min(count, self._host_room(host_id, domain, limits))
        if count <= 0:
            self._db.execute("UPDATE host SET open = 0 WHERE host_id = ?", [host_id])
            return None
        order = "key" if explore else "priority DESC"
        columns = "key, url, kind, depth, weight, visits, etag, last_modified, digest"
        query = (
            f"SELECT {columns} FROM url WHERE host_id = ? AND state = 0 ORDER BY {order} LIMIT ?"  # noqa: S608
        )
        rows = self._db.execute(query, [host_id, count]).fetchall()
        self._db.executemany(
            "UPDATE url SET state = 1, lease_until = ?, lease_worker = ?, attempts = attempts + 1 WHERE key = ?",
            [(now + limits.lease_s, worker, row[0]) for row in rows],
        )
        self._db.execute(
            "UPDATE host SET busy = 1, pending = pending - ?2, draw = ?3, score = coalesce((SELECT priority FROM"
            " url WHERE host_id = ?1 AND state = 0 ORDER BY priority DESC LIMIT 1), 0) WHERE host_id = ?1",
            [host_id, len(rows), self._random.randrange(_DRAWS)],
        )
        return HostLease(host, domain, not_before, tuple(Lease(*row[1:]) for row in rows))

    def _host_room(self, host_id: int, domain: str, limits: Limits) -> int:
        pages, num_bytes = self._db.execute(
            "SELECT pages, bytes FROM host WHERE host_id = ?", [host_id]
        ).fetchone()
        used = self._db.execute(
            "SELECT pages, bytes FROM domain WHERE domain = ?", [domain]
        ).fetchone() or (0, 0)
        if num_bytes >= limits.host_bytes or used[1] >= limits.domain_bytes:
            return 0
        # a domain's hosts are visited side by side: URLs that are out count as if they were fetched
        (out,) = self._db.execute(
            "SELECT count(*) FROM host JOIN url ON url.host_id = host.host_id AND url.state = 1"
            " WHERE host.domain = ? AND host.busy = 1",
            [domain],
        ).fetchone()
        return int(min(limits.host_pages - pages, limits.domain_pages - used[0] - out))

    # URLs back.

    def _give_back(
        self, where: str, parameter: object, now: float, reason: str = "", max_attempts: int = 2**31
    ) -> None:
        """Return leased URLs to the queue (those tried too often are given up), and their hosts
        with them.
        """
        rows = self._db.execute(
            f"SELECT key, host_id, attempts FROM url WHERE state = 1 AND {where}",  # noqa: S608
            [parameter],
        ).fetchall()
        returned: dict[int, int] = {}
        for key, host_id, attempts in rows:
            given_up = attempts >= max_attempts
            returned[host_id] = returned.get(host_id, 0) + (not given_up)
            state = State.FAILED if given_up else State.PENDING
            self._db.execute(
                "UPDATE url SET state = ?, reason = ?, lease_worker = -1 WHERE key = ?",
                [state, reason, key],
            )
        for host_id, number in returned.items():
            self._free_host(host_id, number)
            self._db.execute(
                "UPDATE host SET not_before = max(not_before, ?2 + delay_s) WHERE host_id = ?1",
                [host_id, now],
            )

    def _free_host(self, host_id: int, returned: int) -> None:
        """End the visit to a host, with this many of its URLs back in the queue."""
        best = self._db.execute(
            "SELECT priority FROM url WHERE host_id = ? AND state = 0 ORDER BY priority DESC LIMIT 1",
            [host_id],
        ).fetchone()
        self._db.execute(
            "UPDATE host SET busy = 0, pending = pending + ?2, score = ?3 WHERE host_id = ?1",
            [host_id, returned, best[0] if best else 0.0],
        )

    def _expire(self, limits: Limits, now: float) -> None:
        self._give_back("lease_until < ?", now, now, "its lease ran out", limits.max_attempts)

    def release_worker(self, worker: int, max_attempts: int, now: float) -> None:
        """Give back what a dead worker had leased."""
        with self.transaction():
            self._give_back("lease_worker = ?", worker, now, "the crawl worker died", max_attempts)

    def release_all(self, now: float) -> None:
        """Give everything back, as when the driver is gone; it does not count as a try."""
        self._db.execute("UPDATE url SET attempts = max(0, attempts - 1) WHERE state = 1")
        self._give_back("1 = ?", 1, now)
        self._db.execute("UPDATE host SET busy = 0 WHERE busy = 1")

    def retire(
        self,
        outcomes: Sequence[Outcome],
        visits: Sequence[HostVisit],
        generation: int,
        limits: Limits,
        now: float,
    ) -> None:
        """Record how leases ended; a URL that is not leased any more is left as it is. Part of a
        transaction.
        """
        for outcome in outcomes:
            self._retire_one(outcome, generation, limits, now)
        for visit in visits:
            self._end_visit(visit)

    def _end_visit(self, visit: HostVisit) -> None:
        (host_id,) = self._db.execute(
            "SELECT host_id FROM host WHERE host = ?", [visit.host]
        ).fetchone()
        back = self._db.execute(
            "UPDATE url SET state = 0, attempts = attempts - 1, lease_worker = -1 WHERE host_id = ? AND state = 1",
            [host_id],
        ).rowcount
        self._free_host(host_id, back)
        self._db.execute(
            "UPDATE host SET not_before = ?2, delay_s = ?3 WHERE host_id = ?1",
            [host_id, visit.not_before, visit.delay_s],
        )

    def _retire_one(self, outcome: Outcome, generation: int, limits: Limits, now: float) -> None:
        key = url_key(outcome.url)
        row = self._db.execute(
            "SELECT url.host_id, domain, visits, changes, first_visit, digest, attempts FROM url JOIN host"
            " USING (host_id) WHERE key = ? AND state = 1",
            [key],
        ).fetchone()
        if row is None:
            return
        host_id, domain, visits, changes, first_visit, digest, attempts = row
        if outcome.state == State.PENDING and attempts < limits.max_attempts:
            self._db.execute(
                "UPDATE url SET state = 0, lease_worker = -1, reason = ? WHERE key = ?",
                [outcome.reason, key],
            )
            self._db.execute("UPDATE host SET pending = pending + 1 WHERE host_id = ?", [host_id])
            return
        state = State.FAILED if outcome.state == State.PENDING else outcome.state
        visits, first = visits + 1, first_visit or now
        changes += bool(outcome.digest and digest and outcome.digest != digest)
        interval = revisit_interval(
            first, now, visits, changes, limits.revisit_min_s, limits.revisit_max_s
        )
        self._db.execute(
            "UPDATE url SET state = ?2, reason = ?3, visits = ?4, changes = ?5, attempts = 0, visited_generation = ?6,"
            " first_visit = ?7, last_visit = ?8, due_at = ?9, lease_worker = -1,"
            " etag = CASE WHEN ?10 = '' THEN etag ELSE ?10 END,"
            " last_modified = CASE WHEN ?11 = '' THEN last_modified ELSE ?11 END,"
            " digest = CASE WHEN ?12 = '' THEN digest ELSE ?12 END WHERE key = ?1",
            [
                key,
                state,
                outcome.reason,
                visits,
                changes,
                generation,
                first,
                now,
                now + interval,
                outcome.etag,
                outcome.last_modified,
                outcome.digest,
            ],
        )
        if outcome.num_bytes > 0:
            self._count(host_id, domain, outcome, generation, limits)

    def _count(
        self, host_id: int, domain: str, outcome: Outcome, generation: int, limits: Limits
    ) -> None:
        size = outcome.num_bytes
        self._db.execute(
            "UPDATE generation SET pages = pages + 1, bytes = bytes + ?2 WHERE generation = ?1",
            [generation, size],
        )
        self._db.execute(
            "INSERT INTO domain VALUES (?1, 1, ?2) ON CONFLICT (domain) DO UPDATE SET pages = pages + 1,"
            " bytes = bytes + ?2",
            [domain, size],
        )
        self._db.execute(
            "UPDATE host SET pages = pages + 1, bytes = bytes + ?2, total_pages = total_pages + 1, total_documents ="
            " total_documents + ?3 WHERE host_id = ?1",
            [host_id, size, outcome.is_new_text],
        )
        self._db.execute(
            "UPDATE host SET open = 0 WHERE host_id = ?1 AND total_pages >= ?2 AND total_documents < ?3 * total_pages",
            [host_id, limits.trap_pages, limits.trap_yield],
        )

    # Questions.

    def is_finished(self, generation: int, limits: Limits, now: float) -> bool:
        """Whether nothing is out, and nothing more may or can be handed out."""
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

    def borrow_host(self, host: str, domain: str) -> float | None:
        """Take a host for one request outside its queue; when that may start, or None while a
        worker visits it.

        `retire` with a `HostVisit` hands it back.
        """
        host_id = self._host_id(host, domain)
        taken = self._db.execute(
            "UPDATE host SET busy = 1 WHERE host_id = ? AND busy = 0 RETURNING not_before",
            [host_id],
        ).fetchone()
        return float(taken[0]) if taken else None

    def forget(self, url: str | None, domain: str | None) -> None:
        """Never lease a URL, or anything of a domain, again."""
        with self.transaction():
            if url is not None:
                self._db.execute("UPDATE url SET state = 5 WHERE key = ?", [url_key(url)])
            if domain is not None:
                hosts = "SELECT host_id FROM host WHERE domain = ?"
                self._db.execute(f"UPDATE url SET state = 5 WHERE host_id IN ({hosts})", [domain])  # noqa: S608
            self._recount()
