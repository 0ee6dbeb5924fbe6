"""The frontier from ten thousand to a million URLs: time per operation, memory and disk; DuckDB
beside it.

    python -m benchmarks.frontier [--sizes 10000 100000 1000000]

URLs lie on hosts of a hundred each. Measured are adding in batches of 1,000, leasing 64 URLs of one
host, and retiring them; the peer is the same queue as a DuckDB table without indexes, leased by one
scan.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.results import append
from crawlers.config import CrawlConfig
from infra.store.database import open_database
from infra.store.frontier.queue import Frontier
from infra.store.frontier.records import HostVisit, Link, Outcome, State

PER_HOST = 100
OPERATIONS = 100
DUCKDB_OPERATIONS = 20


def links(start: int, count: int) -> list[Link]:
    """`count` URLs from number `start` on."""
    made = []
    for i in range(start, start + count):
        host = f"www.site{i // PER_HOST}.org"
        url = f"https://{host}/section{i % 7}/a-page-with-a-usual-name-{i}.html"
        made.append(Link(url, host, host[4:], f"section{i % 7}", "page", 1, 1.0 / (1 + i % 5)))
    return made


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(size: int, folder: Path) -> list[str]:
    """One row: microseconds per operation at this size."""
    limits = CrawlConfig().limits(10**9)
    before = psutil.Process().memory_info().rss
    frontier = Frontier(str(folder / f"frontier-{size}.sqlite"))
    frontier.start_generation(1, 4, 0.0)
    adding = []

    def add(batch: list[Link]) -> None:
        with frontier.transaction():
            frontier.add(batch, 1)

    for start in range(0, size, 1000):
        batch = links(start, 1000)
        adding.append(_timed(lambda batch=batch: add(batch)))  # type: ignore[misc]
    leasing, retiring, urls = [], [], 0
    for i in range(OPERATIONS):
        start_time = time.perf_counter()
        (host,) = frontier.lease(i % 4, 1, 1, 64, limits, float(i))
        leasing.append(time.perf_counter() - start_time)
        outcomes = [Outcome(x.url, State.DONE, "", "e", "", "d", 20_000, True) for x in host.leases]
        urls += len(outcomes)

        def retire(
            outcomes: list[Outcome] = outcomes, host_name: str = host.host, now: float = float(i)
        ) -> None:
            with frontier.transaction():
                frontier.retire(outcomes, [HostVisit(host_name, now, 1.0)], 1, limits, now)

        retiring.append(_timed(retire))
    memory = psutil.Process().memory_info().rss - before
    frontier.close()
    disk = sum(f.stat().st_size for f in folder.glob(f"frontier-{size}.sqlite*"))
    per_url = urls / OPERATIONS
    last = adding[-max(1, len(adding) // 10) :]
    return [
        f"{size:,}",
        f"{sum(adding):.1f}",
        f"{statistics.median(last) * 1e3:.1f}",
        f"{statistics.median(leasing) / per_url * 1e6:.0f}",
        f"{statistics.median(retiring) / per_url * 1e6:.0f}",
        f"{memory / 2**20:.0f}",
        f"{disk / 2**20:.0f}",
        f"{duckdb_lease(size) / 64 * 1e6:.0f}",
    ]


def duckdb_lease(size: int) -> float:
    """Median seconds to lease 64 URLs of the best host from a DuckDB table."""
    connection = open_database(":memory:")
    connection.execute(
        "CREATE TABLE url AS SELECT 'https://www.site' || (i // 100) || '.org/page-' || i AS url,"
        " 'www.site' || (i // 100) || '.org' AS host, 1.0 / (1 + i % 5) AS priority, 0 AS state"
        " FROM range(?) t(i)",
        [size],
    )
    seconds = []
    for _ in range(DUCKDB_OPERATIONS):
        start = time.perf_counter()
        rows = connection.execute(
            "WITH best AS (SELECT host FROM url WHERE state = 0"
            " ORDER BY priority DESC, host LIMIT 1)"
            " SELECT url FROM url"
            " WHERE state = 0 AND host = (SELECT host FROM best) ORDER BY priority DESC LIMIT 64"
        ).fetchall()
        connection.execute(
            "UPDATE url SET state = 1 WHERE list_contains(?, url)", [[u for (u,) in rows]]
        )
        seconds.append(time.perf_counter() - start)
    connection.close()
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = [measure(size, Path(name)) for size in options.sizes]
    append(
        "Frontier: time per operation by size",
        [
            "URLs",
            "adding all, s",
            "adding 1,000 near the end, ms",
            "leasing a URL, us",
            "retiring a URL, us",
            "memory, MiB",
            "disk, MiB",
            f"leasing a URL from a DuckDB {version('duckdb')} table, us",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
