"""A crawl over four Ray actors, one of them killed on the way; the auditor reads the fetch log
alone."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from crawlers.fetching.politeness import audit_requests
from crawlers.session.outbox import FLUSH_S
from crawlers.urls import registrable_domain, url_host
from infra.records import Request
from infra.records.arrow import from_table
from infra.store.database import open_database
from infra.store.frontier.records import host_shard
from tests.crawlers.support.crawling import finish, site, start, write_recipe
from tests.loop.commands.invoke import invoke

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]
ADDRESSES = [f"127.0.1.{i}" for i in range(1, 13)]
PAGES = 25
DELAY_S = 0.25
ENOUGH = int(FLUSH_S / DELAY_S) + 3
"""Requests to a host after which its worker has committed something: it does so every few seconds.
"""


def num_requests(asked: dict[str, int], address: str) -> int:
    return sum(count for url, count in dict(asked).items() if f"//{address}:" in url)


def crawl_workers() -> list[psutil.Process]:
    """The crawl workers of this machine; the cluster that the tests share has no others."""
    workers = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "CrawlWorker.crawl" in " ".join(process.cmdline()):
                workers.append(process)
    return workers


def has_connection(worker: psutil.Process) -> bool:
    """Whether a worker is connected to one of the site's hosts, so that it has work."""
    with suppress(psutil.Error):
        return any(c.raddr and c.raddr.ip in ADDRESSES for c in worker.net_connections("tcp"))
    return False


def test_four_actors_violate_nothing_and_survive_the_death_of_one(
    ray_cluster: dict[str, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with site(ADDRESSES, PAGES) as served:
        recipe = write_recipe(tmp_path, served.seeds, own_delay_s=DELAY_S)
        process = start(recipe, run, "--actors", "4", environment=ray_cluster)
        killed = False
        deadline = time.monotonic() + 600
        while process.poll() is None and not killed and time.monotonic() < deadline:
            workers = crawl_workers()
            if len(workers) == 4 and all(
                num_requests(served.asked, address) >= ENOUGH for address in ADDRESSES
            ):
                busy = [worker for worker in workers if has_connection(worker)]
                for worker in busy[:1]:
                    worker.kill()
                    killed = True
            time.sleep(0.1)
        output = finish(process)
    assert killed
    assert "died" in output
    with open_database(str(run / "ratchet.duckdb"), read_only=True) as store:
        log = from_table(Request, store.sql("SELECT * FROM request").to_arrow_table())
        pages = store.sql("SELECT url FROM page WHERE kind = 'page' AND status = 200").fetchall()
    assert sorted(url for (url,) in pages) == sorted(served.urls)
    assert audit_requests(log) == []
    # Hosts are dealt out by hash; one of four workers may get none.
    owners = {host_shard(registrable_domain(url_host(seed))) % 4 for seed in served.seeds}
    assert {request.worker for request in log} == owners
    by_host: dict[str, set[int]] = {}
    for request in log:
        by_host.setdefault(request.host, set()).add(request.worker)
    assert all(len(workers) == 1 for workers in by_host.values())
    code, output = invoke("crawl", "audit", "--run", str(run))
    assert code == 0, output
    assert ": 0 violations" in output
