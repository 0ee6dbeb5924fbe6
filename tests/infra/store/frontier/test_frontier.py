"""The frontier alone: leases, priorities, budgets, revisits. Times are given, nothing waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.config import CrawlConfig
from infra.store.frontier.queue import Frontier
from infra.store.frontier.records import (
    NUM_SHARDS,
    HostLease,
    HostVisit,
    Lease,
    Limits,
    Link,
    Outcome,
    Robots,
    State,
    host_shard,
    revisit_interval,
)

LIMITS = replace(CrawlConfig().limits(10_000), explore_share=0.0, lease_s=100.0)


def link(url: str, weight: float = 1.0, domain: str = "") -> Link:
    host = url.split("/")[2]
    return Link(
        url,
        host,
        domain or host,
        url.split("/")[3] if url.count("/") > 3 else "",
        "page",
        0,
        weight,
    )


@pytest.fixture
def frontier() -> Iterator[Frontier]:
    made = Frontier(":memory:")
    made.start_generation(1, 1, 0.0)
    yield made
    made.close()


def lease(
    frontier: Frontier,
    now: float = 0.0,
    limits: Limits = LIMITS,
    worker: int = 0,
    per_host: int = 10,
) -> list[str]:
    return [x.url for host in hosts(frontier, now, limits, worker, per_host) for x in host.leases]


def hosts(
    frontier: Frontier,
    now: float = 0.0,
    limits: Limits = LIMITS,
    worker: int = 0,
    per_host: int = 10,
    generation: int = 1,
) -> list[HostLease]:
    return frontier.lease(worker, generation, 100, per_host, limits, now)


def outcome(
    url: str, state: State = State.DONE, digest: str = "d", size: int = 10, new: bool = True
) -> Outcome:
    return Outcome(url, state, "", "etag", "", digest, size, new)


def retire(frontier: Frontier, urls: list[str], now: float = 0.0, **changes: object) -> None:
    ends = [HostVisit(host, now, 0.0) for host in sorted({u.split("/")[2] for u in urls})]
    outcomes = [replace(outcome(u), **changes) for u in urls]  # type: ignore[arg-type]
    frontier.retire(outcomes, ends, 1, LIMITS, now)


def test_known_urls_are_not_added_twice(frontier: Frontier) -> None:
    assert frontier.add([link("http://h/1"), link("http://h/1", 2.0)], 1) == 1
    assert frontier.add([link("http://h/1"), link("http://h/2")], 1) == 1


def test_a_leased_url_is_out_until_its_lease_runs_out(frontier: Frontier) -> None:
    frontier.add([link("http://h/1")], 1)
    assert lease(frontier, 0.0) == ["http://h/1"]
    assert lease(frontier, 99.0) == []
    assert lease(frontier, 101.0) == ["http://h/1"]


def test_only_a_result_retires_a_url(frontier: Frontier) -> None:
    frontier.add([link("http://h/1")], 1)
    retire(frontier, lease(frontier))
    assert lease(frontier, 1e6) == []
    assert frontier.counts() == {"done": 1}
    retire(frontier, ["http://h/1"])
    assert frontier.progress(1) == (1, 10), "a redelivered result counts once"


def test_a_host_has_one_visitor_and_its_unused_leases_come_back(frontier: Frontier) -> None:
    frontier.add([link("http://h/1"), link("http://h/2"), link("http://g/1")], 1)
    first = hosts(frontier, per_host=1)
    assert sorted(h.host for h in first) == ["g", "h"]
    assert hosts(frontier) == []
    frontier.retire([], [HostVisit("h", 7.0, 2.0)], 1, LIMITS, 0.0)
    assert hosts(frontier, now=1.0) == [], "its clock stands at 7"
    (again,) = hosts(frontier, now=7.0)
    assert (again.not_before, len(again.leases)) == (7.0, 2)


def test_better_urls_and_hosts_come_first(frontier: Frontier) -> None:
    frontier.add(
        [link("http://h/low", 0.1), link("http://h/high", 5.0), link("http://g/middle", 1.0)], 1
    )
    assert [(h.host, [x.url for x in h.leases]) for h in hosts(frontier)] == [
        ("h", ["http://h/high", "http://h/low"]),
        ("g", ["http://g/middle"]),
    ]


def test_what_labelers_valued_moves_a_section_up(frontier: Frontier) -> None:
    frontier.add([link("http://h/dull/1"), link("http://h/good/1"), link("http://h/dull/2")], 1)
    frontier.set_values([("h", "dull", 0.1), ("h", "good", 0.9)])
    assert lease(frontier)[0] == "http://h/good/1"
    frontier.release_all(0.0)
    frontier.add([link("http://h/good/2")], 1)
    assert set(lease(frontier)[:2]) == {"http://h/good/1", "http://h/good/2"}, (
        "new links of the section are worth as much"
    )


def test_exploration_visits_what_priority_would_leave() -> None:
    shares = {}
    for share in (0.0, 0.5):
        frontier = Frontier(":memory:", seed=1)
        frontier.start_generation(1, 1, 0.0)
        frontier.add([link(f"http://h{i}/", 1.0 if i < 50 else 0.01) for i in range(100)], 1)
        got = frontier.lease(0, 1, 40, 1, replace(LIMITS, explore_share=share), 0.0)
        shares[share] = sum(int(h.host[1:]) >= 50 for h in got) / 40
        frontier.close()
    assert shares[0.0] == 0.0
    assert 0.1 < shares[0.5] < 0.45


def test_domains_are_dealt_whole_and_every_worker_sees_only_its_own(frontier: Frontier) -> None:
    links = [
        link(f"http://{sub}.d{i}.org/", domain=f"d{i}.org")
        for i in range(60)
        for sub in ("www", "blog")
    ]
    frontier.start_generation(2, 4, 0.0)
    frontier.add(links, 2)
    seen: dict[str, set[int]] = {}
    for worker in range(4):
        for host in hosts(frontier, worker=worker, generation=2):
            seen.setdefault(host.domain, set()).add(worker)
    assert len(seen) == 60
    assert all(len(workers) == 1 for workers in seen.values())
    assert set().union(*seen.values()) == {0, 1, 2, 3}


@given(st.text(min_size=1))
def test_every_domain_has_one_shard(domain: str) -> None:
    assert 0 <= host_shard(domain) < NUM_SHARDS
    assert host_shard(domain) == host_shard(domain)


def test_a_failing_url_is_given_up_after_its_tries(frontier: Frontier) -> None:
    frontier.add([link("http://h/1")], 1)
    for attempt in range(LIMITS.max_attempts):
        assert lease(frontier, float(attempt)) == ["http://h/1"]
        retire(frontier, ["http://h/1"], state=State.PENDING, num_bytes=0)
    assert lease(frontier, 10.0) == []
    assert frontier.counts() == {"failed": 1}


def test_a_worker_that_keeps_dying_on_a_url_gives_it_up_and_a_restarted_driver_does_not_count(
    frontier: Frontier,
) -> None:
    frontier.add([link("http://h/1")], 1)
    for _ in range(10):
        assert lease(frontier) == ["http://h/1"]
        frontier.release_all(0.0)
    for _ in range(3):
        assert lease(frontier) == ["http://h/1"]
        frontier.release_worker(0, 3, 0.0)
    assert lease(frontier) == []
    assert frontier.reasons(5) == [("http://h/1", "failed", "the crawl worker died")]


def test_a_dead_visitor_leaves_the_hosts_clock_running(frontier: Frontier) -> None:
    frontier.add([link("http://h/1"), link("http://h/2")], 1)
    hosts(frontier, per_host=1)
    frontier.retire([], [HostVisit("h", 3.0, 30.0)], 1, LIMITS, 0.0)
    hosts(frontier, now=5.0)
    frontier.release_worker(0, 3, 10.0)
    assert hosts(frontier, now=20.0) == []
    assert len(hosts(frontier, now=40.0)) == 1


def test_budgets_of_pages_bytes_and_time(frontier: Frontier) -> None:
    frontier.add([link(f"http://h{i}/") for i in range(20)], 1)
    few = replace(LIMITS, pages=5)
    assert len(lease(frontier, limits=few)) == 5
    assert lease(frontier, limits=few) == []
    assert not frontier.is_finished(1, few, 0.0)
    frontier.release_all(0.0)
    assert lease(frontier, limits=replace(LIMITS, seconds=50.0), now=60.0) == []
    assert frontier.is_finished(1, replace(LIMITS, seconds=50.0), 60.0)
    retire(frontier, lease(frontier, limits=few, now=1e3), now=1e3, num_bytes=1000)
    assert frontier.is_finished(1, few, 1e3)
    assert frontier.is_finished(1, replace(LIMITS, num_bytes=5000), 1e3)


def test_a_new_generation_has_new_budgets_and_revisits_what_is_due(frontier: Frontier) -> None:
    frontier.add([link("http://h/1"), link("http://h/2")], 1)
    retire(frontier, lease(frontier), now=0.0)
    limits = replace(LIMITS, host_pages=2)
    frontier.start_generation(2, 1, 10.0)
    assert frontier.queue_revisits(2, 10.0) == 0, "an hour has not passed"
    assert frontier.queue_revisits(2, 4000.0) == 2
    (host,) = hosts(frontier, 4000.0, limits, generation=2)
    assert {(x.visit, x.etag, x.digest) for x in host.leases} == {(1, "etag", "d")}


def test_a_url_that_failed_is_tried_again_in_two_more_generations(frontier: Frontier) -> None:
    frontier.add([link("http://h/1")], 1)
    tried = 0
    for generation in range(1, 8):
        now = generation * 1e8
        frontier.start_generation(generation, 1, now)
        frontier.queue_revisits(generation, now)
        for host in frontier.lease(0, generation, 5, 5, LIMITS, now):
            tried += 1
            ends = [HostVisit(host.host, now, 0.0)]
            frontier.retire(
                [outcome("http://h/1", State.FAILED, size=0)], ends, generation, LIMITS, now
            )
    assert tried == 3


@given(st.integers(1, 50), st.data())
def test_revisit_interval_shrinks_with_changes_and_stays_in_bounds(
    checks: int, data: st.DataObject
) -> None:
    changes = data.draw(st.integers(0, checks))
    day = 86400.0
    value = revisit_interval(0.0, checks * day, checks + 1, changes, 3600.0, 90 * day)
    assert 3600.0 <= value <= 90 * day
    if changes:
        assert value <= revisit_interval(
            0.0, checks * day, checks + 1, changes - 1, 3600.0, 90 * day
        )


def test_revisit_interval_known_answers() -> None:
    day = 86400.0
    assert revisit_interval(0.0, 0.0, 1, 0, 3600.0, 90 * day) == 3600.0
    assert revisit_interval(0.0, 10 * day, 11, 10, 3600.0, 90 * day) == pytest.approx(
        day / 3.09, rel=0.01
    )
    assert revisit_interval(0.0, 10 * day, 11, 0, 3600.0, 90 * day) == pytest.approx(
        day / 0.0465, rel=0.01
    )


def test_a_trap_is_closed_and_a_good_host_is_not(frontier: Frontier) -> None:
    limits = replace(LIMITS, trap_pages=10, trap_yield=0.5)
    for host, new in (("trap", False), ("good", True)):
        urls = [f"http://{host}/{i}" for i in range(12)]
        frontier.add([link(u) for u in urls], 1)
        leased = [x.url for h in frontier.lease(0, 1, 1, 10, limits, 0.0) for x in h.leases]
        frontier.retire(
            [outcome(u, new=new) for u in leased], [HostVisit(host, 0.0, 0.0)], 1, limits, 0.0
        )
    assert {u.split("/")[2] for u in lease(frontier, limits=limits)} == {"good"}


def test_a_borrowed_host_is_taken_once(frontier: Frontier) -> None:
    assert frontier.borrow_host("h", "h") == 0.0
    assert frontier.borrow_host("h", "h") is None
    frontier.retire([], [HostVisit("h", 9.0, 1.0)], 1, LIMITS, 0.0)
    assert frontier.borrow_host("h", "h") == 9.0


def test_what_is_forgotten_is_never_leased_again(frontier: Frontier) -> None:
    frontier.add([link("http://h/1"), link("http://h/2"), link("http://g/1", domain="g.org")], 1)
    frontier.forget("http://h/1", None)
    frontier.forget(None, "g.org")
    assert lease(frontier) == ["http://h/2"]
    assert frontier.add([link("http://h/1")], 1) == 0


def test_robots_answers_are_kept(frontier: Frontier) -> None:
    answer = Robots("http://h", 5.0, 200, b"x", 5.0, b"x", b"[]")
    frontier.keep_robots(answer)
    assert frontier.robots("http://h") == answer
    assert frontier.robots("http://g") is None


def test_a_failed_transaction_changes_nothing(frontier: Frontier) -> None:
    def fail() -> None:
        with frontier.transaction():
            frontier.add([link("http://h/1")], 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert frontier.counts() == {}
    assert frontier.add([link("http://h/1")], 1) == 1


def test_leases_survive_closing_the_file(tmp_path: object) -> None:
    path = f"{tmp_path}/frontier.sqlite"
    first = Frontier(path)
    first.start_generation(1, 1, 0.0)
    first.add([link("http://h/1")], 1)
    assert lease(first) == ["http://h/1"]
    first.close()
    second = Frontier(path)
    assert lease(second, 1.0) == []
    second.start_generation(1, 1, 2.0)
    assert [x for h in hosts(second, 2.0) for x in h.leases] == [
        Lease("http://h/1", "page", 0, 1.0, 0, "", "", "")
    ]
    second.close()
