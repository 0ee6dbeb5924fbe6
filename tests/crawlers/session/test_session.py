"""Whole crawls in no time: the session with a table for a network and a clock that jumps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from crawlers.fetching.politeness import audit_requests
from crawlers.fetching.transport import Response
from crawlers.permission.robots import FORBIDDEN
from tests.crawlers.support.worlds import Crawler, html

ROOT = "http://a.example/"


@pytest.fixture
def make_crawler() -> Iterator[Any]:
    made: list[Crawler] = []

    def make(seeds: list[str], answers: dict[str, Any], **config: Any) -> Crawler:
        made.append(Crawler(seeds, answers, **config))
        return made[-1]

    yield make
    for crawler in made:
        crawler.close()


def site(host: str, number: int) -> dict[str, Response]:
    root = f"http://{host}/"
    pages = {f"{root}{i}": html(f"{host.replace('.', '')}x{i}", root) for i in range(number)}
    return {root: html(host.replace(".", ""), *pages), **pages}


def fetched(crawler: Crawler) -> set[str]:
    return {
        u
        for (u,) in crawler.store.database.rows(
            "SELECT url FROM page WHERE status = 200 AND kind = 'page'"
        )
    }


def test_every_page_is_fetched_once_with_a_delay_and_the_auditor_finds_nothing(
    make_crawler: Any,
) -> None:
    crawler = make_crawler([ROOT], site("a.example", 20))
    crawler.crawl()
    assert fetched(crawler) == set(site("a.example", 20))
    assert len(crawler.world.asked) == len(set(crawler.world.asked)) == 21 + 2
    assert audit_requests(crawler.log(), 0.5) == []
    pages = [r for r in crawler.log() if r.kind == "page"]
    assert all(
        later.started_at - earlier.ended_at >= 1 for earlier, later in itertools.pairwise(pages)
    )


def test_four_workers_never_share_a_host_and_violate_nothing(make_crawler: Any) -> None:
    hosts = [f"h{i}.example{i}.org" for i in range(12)]
    answers: dict[str, Response] = {}
    for host in hosts:
        answers |= site(host, 5)
    crawler = make_crawler([f"http://{host}/" for host in hosts], answers)
    crawler.world.addresses = {
        host: [f"93.184.216.{i % 3}"] for i, host in enumerate(hosts)
    }  # four share each address
    crawler.crawl(workers=4)
    assert fetched(crawler) == set(answers)
    log = crawler.log()
    assert audit_requests(log, 0.5) == []
    by_host: dict[str, set[int]] = {}
    for request in log:
        by_host.setdefault(request.host, set()).add(request.worker)
    assert all(len(workers) == 1 for workers in by_host.values())
    assert len({r.worker for r in log}) > 1


def test_slow_hosts_are_left_in_peace_for_five_times_their_latency(make_crawler: Any) -> None:
    crawler = make_crawler([ROOT], site("a.example", 3))
    crawler.world.latency["a.example"] = 4.0
    crawler.crawl()
    log = crawler.log()
    assert min(b.started_at - a.ended_at for a, b in itertools.pairwise(log)) >= 20 - 1e-6


def test_crawl_delay_of_robots_txt_holds_from_the_next_request_on(make_crawler: Any) -> None:
    answers = site("a.example", 3) | {
        f"{ROOT}robots.txt": Response(200, {}, b"User-agent: *\nCrawl-delay: 7\n")
    }
    crawler = make_crawler([ROOT], answers)
    crawler.crawl()
    log = crawler.log()
    assert all(b.started_at - a.ended_at >= 7 - 1e-6 for a, b in itertools.pairwise(log[1:]))
    assert audit_requests(log) == []


def test_what_robots_txt_forbids_is_never_asked(make_crawler: Any) -> None:
    answers = site("a.example", 3) | {
        f"{ROOT}robots.txt": Response(200, {}, b"User-agent: *\nDisallow: /1\n")
    }
    crawler = make_crawler([ROOT], answers)
    crawler.crawl()
    assert f"{ROOT}1" not in crawler.world.asked
    assert (f"{ROOT}1", "forbidden", FORBIDDEN) in crawler.store.crawl.frontier_reasons()


@pytest.mark.parametrize(
    ("status", "allowed"), [(404, True), (403, True), (429, False), (503, False), (0, False)]
)
def test_missing_robots_allows_and_unreadable_robots_forbids(
    make_crawler: Any, status: int, allowed: bool
) -> None:
    crawler = make_crawler([ROOT], site("a.example", 2) | {f"{ROOT}robots.txt": Response(status)})
    crawler.crawl()
    assert bool(fetched(crawler)) == allowed


def test_robots_txt_is_followed_over_five_redirects_also_to_another_host(make_crawler: Any) -> None:
    hops = [
        f"{ROOT}robots.txt",
        "http://b.example/1",
        "http://a.example/2",
        "http://c.example/3",
        "http://b.example/4",
        "http://b.example/5",
    ]
    moved = {a: Response(301, {"location": [b]}) for a, b in itertools.pairwise(hops)}
    final = {hops[-1]: Response(200, {}, b"User-agent: *\nDisallow: /0\n")}
    crawler = make_crawler([ROOT], site("a.example", 2) | moved | final)
    crawler.crawl()
    assert fetched(crawler) == {ROOT, f"{ROOT}1"}
    assert (
        audit_requests([r for r in crawler.log() if r.host == "b.example" or r.host == "c.example"])
        == []
    )


def test_last_good_robots_txt_stands_in_when_the_server_stops_answering(make_crawler: Any) -> None:
    robots = [Response(200, {}, b"User-agent: *\nDisallow: /0\n"), Response(503)]
    crawler = make_crawler(
        [ROOT],
        site("a.example", 2) | {f"{ROOT}robots.txt": lambda now: robots[now > 1_050_000]},
        revisit_min_s=0.0,
    )
    crawler.crawl(1)
    crawler.loop.now += 3 * 86400
    crawler.crawl(2)
    second = {r.url for r in crawler.log() if r.generation == 2 and r.kind == "page"}
    assert second == {ROOT, f"{ROOT}1"}


def test_retry_after_is_waited_for_and_the_page_is_fetched_then(make_crawler: Any) -> None:
    start = 1_000_000.0
    busy = Response(503, {"retry-after": ["90"]})
    answers = site("a.example", 2)
    page = answers[f"{ROOT}1"]
    crawler = make_crawler(
        [ROOT], {**answers, f"{ROOT}1": lambda now: busy if now < start + 60 else page}
    )
    crawler.crawl()
    assert fetched(crawler) == set(answers)
    assert audit_requests(crawler.log()) == []


def test_a_host_that_asks_for_a_long_rest_does_not_hold_up_the_crawl(make_crawler: Any) -> None:
    busy = Response(429, {"retry-after": ["86400"]})
    crawler = make_crawler([ROOT, "http://b.example/"], site("b.example", 3) | {ROOT: busy})
    crawler.crawl()
    assert fetched(crawler) == set(site("b.example", 3))
    assert crawler.loop.now < 1_000_000 + 3600
    assert crawler.store.crawl.counts(1)["waiting"] == 1, "it is asked again another time"


def test_a_failing_page_is_tried_three_times_and_given_up(make_crawler: Any) -> None:
    answers = site("a.example", 2) | {f"{ROOT}1": Response(500)}
    crawler = make_crawler([ROOT], answers)
    crawler.crawl()
    assert crawler.world.asked.count(f"{ROOT}1") == 3
    assert (f"{ROOT}1", "failed", "HTTP 500") in crawler.store.crawl.frontier_reasons()


def test_redirects_return_to_the_frontier_and_pass_every_rule(make_crawler: Any) -> None:
    answers = {
        ROOT: html("root", f"{ROOT}moved", f"{ROOT}away", f"{ROOT}loop"),
        f"{ROOT}moved": Response(302, {"location": ["/private/x"]}),
        f"{ROOT}away": Response(302, {"location": ["http://b.example/"]}),
        f"{ROOT}loop": Response(302, {"location": ["/loop"]}),
        f"{ROOT}private/x": html("secret"),
        "http://b.example/": html("elsewhere"),
        f"{ROOT}robots.txt": Response(200, {}, b"User-agent: *\nDisallow: /private/\n"),
    }
    crawler = make_crawler([ROOT], answers)
    crawler.crawl()
    assert fetched(crawler) == {ROOT}
    assert f"{ROOT}private/x" not in crawler.world.asked
    assert "http://b.example/" not in crawler.world.asked, "another host is out of scope"
    assert crawler.world.asked.count(f"{ROOT}loop") == 1


def test_unchanged_pages_cost_a_304_and_are_asked_less_and_less_often(make_crawler: Any) -> None:
    answers = site("a.example", 1)
    answers[f"{ROOT}0"].headers["etag"] = ['"v1"']
    crawler = make_crawler([ROOT], answers)
    for generation in range(1, 12):
        crawler.crawl(generation)
        crawler.loop.now += 86400.0
    log = [r for r in crawler.log() if r.url == f"{ROOT}0"]
    assert [r.status for r in log][:3] == [200, 304, 304]
    assert 3 <= len(log) < 11, "a page that never changes is left alone for longer than a day"
    assert crawler.store.database.rows("SELECT count(*) FROM document WHERE url LIKE '%/0'") == [
        (1,)
    ]


def test_sitemaps_feeds_and_canonical_links_lead_to_pages(make_crawler: Any) -> None:
    index = b"<sitemapindex><sitemap><loc>http://a.example/map2.xml</loc></sitemap></sitemapindex>"
    second = b"<urlset><url><loc>http://a.example/hidden</loc></url></urlset>"
    feed = b"<rss><channel><item><link>http://a.example/news</link></item></channel></rss>"
    xml = {"content-type": ["application/xml"]}
    answers = {
        ROOT: html(
            "root",
            f"{ROOT}print",
            head='<link rel="alternate" type="application/rss+xml" href="/feed">',
        ),
        f"{ROOT}print": html("twin", head='<link rel="canonical" href="/real">'),
        f"{ROOT}real": html("real"),
        f"{ROOT}hidden": html("hidden"),
        f"{ROOT}news": html("news"),
        f"{ROOT}feed": Response(200, {"content-type": ["application/rss+xml"]}, feed),
        f"{ROOT}map1.xml": Response(200, xml, index),
        f"{ROOT}map2.xml": Response(200, xml, second),
        f"{ROOT}robots.txt": Response(200, {}, b"Sitemap: http://a.example/map1.xml\n"),
    }
    crawler = make_crawler([ROOT], answers)
    crawler.crawl()
    documents = {u for (u,) in crawler.store.database.rows("SELECT url FROM document")}
    assert documents == {ROOT, f"{ROOT}real", f"{ROOT}hidden", f"{ROOT}news"}


def test_nofollow_in_meta_robots_stops_all_links_of_a_page(make_crawler: Any) -> None:
    answers = {
        ROOT: html("root", f"{ROOT}1", head='<meta name="robots" content="nofollow">'),
        f"{ROOT}1": html("one"),
    }
    crawler = make_crawler([ROOT], answers)
    crawler.crawl()
    assert fetched(crawler) == {ROOT}


def test_denied_pages_keep_metadata_and_never_text_or_body(make_crawler: Any) -> None:
    answers = {
        ROOT: html("root", f"{ROOT}no", f"{ROOT}yes"),
        f"{ROOT}no": html("no", head='<meta name="robots" content="noai">'),
        f"{ROOT}yes": html("yes"),
    }
    crawler = make_crawler([ROOT], answers)
    crawler.crawl()
    row = crawler.store.database.rows(
        "SELECT status, train, evaluate, warc_file FROM page WHERE url LIKE '%/no'"
    )
    assert row == [(200, "deny", "deny", "")]
    assert crawler.store.database.rows("SELECT count(*) FROM document WHERE url LIKE '%/no'") == [
        (0,)
    ]
    reason = crawler.store.database.rows(
        "SELECT purpose, reason, evidence FROM permission ORDER BY purpose"
    )
    assert reason == [
        ("evaluate", "meta robots noai", "noai"),
        ("train", "meta robots noai", "noai"),
    ]
    assert ("denied: meta robots noai", 1) in crawler.store.crawl.drop_counts(1)


def test_budgets_of_generation_host_and_domain_hold(make_crawler: Any) -> None:
    answers = (
        site("a.example", 30)
        | site("b.example", 30)
        | site("x.example.org", 30)
        | site("y.example.org", 30)
    )
    seeds = [ROOT, "http://b.example/", "http://x.example.org/", "http://y.example.org/"]
    crawler = make_crawler(seeds, answers, host_pages=8, domain_pages=10)
    crawler.crawl(pages=100)
    counts = dict(
        crawler.store.database.rows(
            "SELECT host, count(*) FROM page WHERE kind = 'page' GROUP BY host"
        )
    )
    assert counts["a.example"] == counts["b.example"] == 8
    assert counts["x.example.org"] + counts["y.example.org"] == 10
    small = make_crawler([ROOT], answers)
    small.crawl(pages=5)
    assert len(fetched(small)) == 5
    brief = make_crawler([ROOT], answers, total_s=10.0)
    brief.crawl()
    assert 2 <= len(fetched(brief)) < 31


def test_a_host_that_brings_the_same_text_for_ever_is_left(make_crawler: Any) -> None:
    class Endless(dict[str, Response]):
        def get(self, url: str, default: Any = None) -> Any:
            if url.endswith("robots.txt") or "tdmrep" in url:
                return default
            number = int(url.rsplit("=", 1)[-1]) if "=" in url else 0
            return html("samesame", f"{ROOT}?p={number + 1}", f"{ROOT}?p={number + 2}")

    crawler = make_crawler([ROOT], {}, trap_pages=40, trap_yield=0.1, max_depth=10**6)
    crawler.world.answers = Endless()
    crawler.crawl(pages=10_000)
    assert 40 <= len(fetched(crawler)) <= 40 + 64


def test_same_crawl_twice_gives_the_same_log(make_crawler: Any) -> None:
    answers = site("a.example", 10) | site("b.example", 10)
    logs = []
    for _ in range(2):
        crawler = make_crawler([ROOT, "http://b.example/"], answers)
        crawler.crawl()
        logs.append(sorted((r.url, r.status, r.kind) for r in crawler.log()))
    assert logs[0] == logs[1]
