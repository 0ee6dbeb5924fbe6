"""The URLs of the frontier: adds links, and keeps each host's queue length and priority."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from infra.store.frontier.file import FrontierFile
from infra.store.frontier.records import Link, host_shard, url_key

NEUTRAL_VALUE = 0.5
"""Value of a section without judgments."""
MAX_DRAW = 2**62

_ADD_URL = """
INSERT OR IGNORE INTO url
    (key, url, host_id, section_id, kind, state, depth, weight, priority, generation)
VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?)
"""
_ADD_PENDING = """
UPDATE host SET
    pending = pending + ?2,
    score = max(CASE WHEN pending > 0 THEN score ELSE 0 END, ?3)
WHERE host_id = ?1
"""
_ADD_HOST = """
INSERT INTO host (host, domain, shard, worker, draw) VALUES (?, ?, ?, ?, ?) RETURNING host_id
"""
_RECOUNT = """
UPDATE host SET pending = q.pending, score = q.score
FROM (
    SELECT host.host_id AS id, count(url.key) AS pending, coalesce(max(url.priority), 0) AS score
    FROM host LEFT JOIN url ON url.host_id = host.host_id AND url.state = 0
    GROUP BY host.host_id
) q
WHERE host.host_id = q.id
"""
_QUEUE_REVISITS = """
UPDATE url SET state = 0
WHERE (state = 2 OR (state = 3 AND visits < 3)) AND due_at <= ? AND visited_generation < ?
"""
_SET_VALUE = """
UPDATE section SET value = ?3
WHERE path = ?2 AND host_id = (SELECT host_id FROM host WHERE host = ?1)
"""
_SET_PRIORITIES = """
UPDATE url SET priority = weight * (
    0.5 + (SELECT value FROM section s WHERE s.section_id = url.section_id)
)
WHERE state = 0
"""


class UrlQueue(FrontierFile):
    """Queues of URLs by host."""

    _num_workers = 1

    def add(self, links: Sequence[Link], generation: int) -> int:
        """Add the URLs that are new; returns their number.

        Runs inside the caller's transaction, if there is one.
        """
        added: dict[int, list[float]] = {}
        number = 0
        for link in links:
            host_id = self._host_id(link.host, link.domain)
            section_id, value = self._section(host_id, link.section)
            priority = link.weight * (0.5 + value)
            row = (url_key(link.url), link.url, host_id, section_id, link.kind)
            inserted = self._db.execute(
                _ADD_URL, [*row, link.depth, link.weight, priority, generation]
            )
            if inserted.rowcount:
                number += 1
                added.setdefault(host_id, []).append(priority)
        self._db.executemany(
            _ADD_PENDING,
            [(host_id, len(priorities), max(priorities)) for host_id, priorities in added.items()],
        )
        return number

    def queue_revisits(self, generation: int, now: float) -> int:
        """Queue the URLs that are due again and not yet visited in this generation.

        Returns their number.
        """
        with self.transaction():
            queued = self._db.execute(_QUEUE_REVISITS, [now, generation]).rowcount
            self._recount()
        return queued

    def set_values(self, values: Iterable[tuple[str, str, float]]) -> None:
        """Set the values of sections, (host, section, value in [0, 1]), and update priorities."""
        with self.transaction():
            self._db.executemany(_SET_VALUE, values)
            self._db.execute(_SET_PRIORITIES)
            self._recount()

    def forget(self, url: str | None, domain: str | None) -> None:
        """Never lease a URL, or any URL of a domain, again."""
        with self.transaction():
            if url is not None:
                self._db.execute("UPDATE url SET state = 5 WHERE key = ?", [url_key(url)])
            if domain is not None:
                self._db.execute(
                    "UPDATE url SET state = 5"
                    " WHERE host_id IN (SELECT host_id FROM host WHERE domain = ?)",
                    [domain],
                )
            self._recount()

    def _recount(self) -> None:
        """Compute every host's queue length and score from its URLs.

        Takes time linear in the number of URLs, so it runs only once or twice in a generation.
        """
        self._db.execute(_RECOUNT)

    def _host_id(self, host: str, domain: str) -> int:
        """The id of a host, which is added if it is new."""
        row = self._db.execute("SELECT host_id FROM host WHERE host = ?", [host]).fetchone()
        if row is None:
            shard = host_shard(domain)
            worker, draw = shard % self._num_workers, self._random.randrange(MAX_DRAW)
            row = self._db.execute(_ADD_HOST, [host, domain, shard, worker, draw]).fetchone()
        return int(row[0])

    def _section(self, host_id: int, path: str) -> tuple[int, float]:
        """(id, value) of a section, which is added if it is new."""
        sql = "SELECT section_id, value FROM section WHERE host_id = ? AND path = ?"
        row = self._db.execute(sql, [host_id, path]).fetchone()
        if row is None:
            self._db.execute(
                "INSERT INTO section (host_id, path, value) VALUES (?, ?, ?)",
                [host_id, path, NEUTRAL_VALUE],
            )
            row = self._db.execute(sql, [host_id, path]).fetchone()
        return int(row[0]), float(row[1])
