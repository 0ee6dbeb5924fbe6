"""Real Scrapy over a loopback site: both runners keep the same contract."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crawlers.batch import crawl_batch, pool_of
from crawlers.builtin_site import serving, write_index
from crawlers.config import CrawlConfig
from crawlers.crawl import RUNNERS, InProcessRunner, Runner
from crawlers.robots import FORBIDDEN, UNREADABLE
from crawlers.sources import source_of
from crawlers.spider import Lease
from crawlers.urls import host_of
from infra.errors import UserError
from infra.store import Store

PARAGRAPH = "A sentence with several words that says a little about something. " * 8


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    for name in ("one", "two", "three"):
        page = f"<html><head><title>{name}</title></head><body><p>{name}: {PARAGRAPH}</p></body></html>"
        (tmp_path / f"{name}.html").write_text(page)
    (tmp_path / "short.html").write_text("<html><body>too short</body></html>")
    write_index(tmp_path)
    with serving(tmp_path) as url:
        yield url


@pytest.fixture(params=sorted(RUNNERS))
def runner(request: pytest.FixtureRequest) -> Runner:
    return RUNNERS[request.param]()


def lease(url: str, etag: str = "") -> Lease:
    return Lease(url, host_of(url), 0, etag, "")


def test_every_lease_gets_one_outcome_in_order(runner: Runner, site: str) -> None:
    config = CrawlConfig(seeds=[site], timeout_s=60)
    urls = [site, site + "one.html", site + "missing.html", site + "private/notes.html"]
    ok, page, missing, forbidden = runner.fetch([lease(url) for url in urls], config)
    assert [f.url for f in (ok, page, missing, forbidden)] == urls
    assert (ok.status, page.status, missing.status) == (200, 200, 404)
    assert b"A sentence" in page.body
    assert page.etag.startswith('"')
    assert forbidden.failure == FORBIDDEN
    assert forbidden.body == b""


def test_unchanged_page_costs_a_304(runner: Runner, site: str) -> None:
    config = CrawlConfig(seeds=[site], timeout_s=60)
    (first,) = runner.fetch([lease(site + "one.html")], config)
    (again,) = runner.fetch([lease(site + "one.html", first.etag)], config)
    assert (again.status, again.body) == (304, b"")


def test_private_address_is_refused_with_its_reason(runner: Runner, site: str) -> None:
    config = CrawlConfig(seeds=["http://127.0.0.1:1/"], timeout_s=60)
    (fetch,) = runner.fetch([lease(site)], config)
    assert fetch.failure == "forbidden address"


def test_no_request_slips_past_robots_while_it_is_fetched(runner: Runner, site: str) -> None:
    config = CrawlConfig(seeds=[site], timeout_s=60)
    urls = [f"{site}private/{i}.html" for i in range(20)]
    fetches = runner.fetch([lease(url) for url in urls], config)
    assert [f.failure for f in fetches] == [FORBIDDEN] * 20


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, True), (429, False), (503, False)])
def test_unreadable_robots_forbids_and_a_missing_one_allows(tmp_path: Path, status: int, allowed: bool) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/robots.txt" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        (fetch,) = InProcessRunner().fetch([lease(url)], CrawlConfig(seeds=[url], timeout_s=60))
        server.shutdown()
    assert (fetch.status == 200) == allowed
    assert fetch.failure.startswith(UNREADABLE) != allowed


def test_unreachable_site_is_a_failure_with_a_reason(runner: Runner) -> None:
    config = CrawlConfig(seeds=["http://127.0.0.1:9/"], timeout_s=60)
    (fetch,) = runner.fetch([lease("http://127.0.0.1:9/")], config)
    assert fetch.status == 0
    assert fetch.failure.startswith(UNREADABLE)


def test_a_crawl_follows_links_to_the_end_and_counts_what_it_drops(site: str, store: Store) -> None:
    config = CrawlConfig(seeds=[site], timeout_s=60)
    store.add_urls([(site, host_of(site), 0)], 1)
    drops = []
    while leases := store.lease_urls(1, 10, [], False):
        rows = crawl_batch([Lease(**item) for item in leases], RUNNERS["inprocess"](), config, "salt", 1)
        store.commit_crawl(rows.pages, rows.documents, rows.links, rows.outcomes)
        drops += rows.drops
    counts = store.crawl_counts(1)
    assert (counts["fetched"], counts["documents"], counts["forbidden"], counts["waiting"]) == (5, 3, 1, 0)
    assert {reason for reason, _ in drops} == {"too little text", FORBIDDEN}


def test_pools_depend_on_salt_and_url_alone_and_keep_their_shares() -> None:
    config = CrawlConfig(seeds=["http://h/"], gate_share=0.3, sealed_share=0.1)
    pools = [pool_of(f"http://h/{i}", "salt", config) for i in range(5000)]
    assert pools == [pool_of(f"http://h/{i}", "salt", config) for i in range(5000)]
    assert pools != [pool_of(f"http://h/{i}", "other", config) for i in range(5000)]
    assert abs(pools.count("gate") / 5000 - 0.3) < 0.03
    assert abs(pools.count("sealed") / 5000 - 0.1) < 0.02


def test_remote_seed_needs_a_contact() -> None:
    with pytest.raises(UserError, match=r"crawl.contact"):
        source_of(CrawlConfig(seeds=["https://example.org/"]))
    source_of(CrawlConfig(seeds=["https://example.org/"], contact="me@example.org"))
    source_of(CrawlConfig(seeds=["http://localhost:8000/"]))


@pytest.mark.parametrize("seeds", [["builtin:nope"], ["builtin:pydoc", "http://localhost/"], ["nonsense"]])
def test_bad_seeds_are_user_errors(seeds: list[str]) -> None:
    with pytest.raises(UserError, match=r"crawl.seeds"):
        source_of(CrawlConfig(seeds=seeds))
