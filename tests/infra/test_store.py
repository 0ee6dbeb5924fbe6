from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from crawlers.batch import Link, Outcome
from infra.errors import UserError
from infra.records import Checkpoint, Decision, Document, Page, now
from infra.store import Store
from infra.store.reading import open_for_reading
from infra.tables import to_table


def document(name: str, pool: str = "train", generation: int = 1) -> Document:
    return Document(name, f"page-{name}", f"http://h/{name}", name, f"text of {name}", "en", "x", pool, generation)


def page(url: str, generation: int = 1) -> Page:
    return Page(f"p-{url}-{generation}", url, url, 200, "text/html", "e", "", now(), "d", 3, b"abc", generation)


def leased(store: Store, generation: int = 1, count: int = 10, revisit: bool = False) -> list[str]:
    return [lease["url"] for lease in store.lease_urls(generation, count, [], revisit)]


def commit(store: Store, urls: list[str], generation: int = 1, state: str = "done") -> None:
    outcomes = [Outcome(url, state, "", "etag", "", generation) for url in urls]
    store.commit_crawl(
        to_table(Page, [page(url, generation) for url in urls]),
        to_table(Document, [document(url, generation=generation) for url in urls]),
        to_table(Link, [Link("http://h/next", "h", 1)]),
        to_table(Outcome, outcomes),
    )


def test_known_urls_are_not_added_twice(store: Store) -> None:
    assert store.add_urls([("http://h/1", "h", 0), ("http://h/1", "h", 2)], 1) == 1
    assert store.add_urls([("http://h/1", "h", 0), ("http://h/2", "h", 0)], 1) == 1


def test_a_lease_is_exclusive_until_it_is_released(store: Store) -> None:
    store.add_urls([("http://h/1", "h", 0)], 1)
    assert leased(store) == ["http://h/1"]
    assert leased(store) == []
    store.release_all_leases()
    assert leased(store) == ["http://h/1"]


def test_a_batch_holds_one_host_and_never_a_busy_one(store: Store) -> None:
    store.add_urls([("http://a/1", "a", 0), ("http://b/1", "b", 0), ("http://a/2", "a", 1)], 1)
    first = store.lease_urls(1, 10, [], False)
    assert {lease["host"] for lease in first} == {"a"}
    assert [lease["host"] for lease in store.lease_urls(1, 10, ["a"], False)] == ["b"]
    assert store.lease_urls(1, 10, ["a", "b"], False) == []


def test_a_batch_that_keeps_failing_is_given_up(store: Store) -> None:
    store.add_urls([("http://h/1", "h", 0)], 1)
    for _ in range(3):
        store.release_leases(leased(store), max_attempts=3)
    assert leased(store) == []
    assert store.frontier_reasons() == [("http://h/1", "failed", "the crawl process failed")]


def test_a_restarted_driver_does_not_count_as_a_failed_try(store: Store) -> None:
    store.add_urls([("http://h/1", "h", 0)], 1)
    for _ in range(10):
        assert leased(store) == ["http://h/1"]
        store.release_all_leases()


def test_redelivered_batch_changes_nothing(store: Store) -> None:
    store.add_urls([("http://h/1", "h", 0)], 1)
    urls = leased(store)
    commit(store, urls)
    once = store.crawl_counts(1)
    commit(store, urls)
    assert store.crawl_counts(1) == once
    assert once["fetched"] == once["documents"] == 1


def test_links_join_the_frontier_with_the_batch(store: Store) -> None:
    store.add_urls([("http://h/1", "h", 0)], 1)
    commit(store, leased(store))
    assert leased(store) == ["http://h/next"]


def test_revisits_are_due_in_the_next_generation_only_and_carry_validators(store: Store) -> None:
    store.add_urls([("http://h/1", "h", 0)], 1)
    commit(store, leased(store))
    assert leased(store, generation=1, revisit=True) == []
    (again,) = store.lease_urls(2, 10, [], True)
    assert (again["url"], again["etag"]) == ("http://h/1", "etag")


def test_failed_transaction_leaves_nothing(store: Store) -> None:
    store.add_urls([("http://h/1", "h", 0)], 1)
    urls = leased(store)
    bad_links = pa.table({"url": ["x"]})
    with pytest.raises(KeyError):
        store.commit_crawl(
            to_table(Page, [page(urls[0])]),
            to_table(Document, []),
            bad_links,
            to_table(Outcome, [Outcome(urls[0], "done", "", "", "", 1)]),
        )
    assert store.crawl_counts(1)["fetched"] == 0
    store.add_urls([("http://h/2", "h", 0)], 1)  # the store goes on working


def test_documents_of_the_gate_are_burned_once(store: Store) -> None:
    store.add_documents([document(str(i), "gate") for i in range(10)])
    store.register_attempt(1, "candidate-1", "champion")
    first = store.draw_held_out(1, 0, 4, "salt")
    assert store.draw_held_out(1, 0, 4, "other salt") == first, "a resumed attempt draws the same again"
    second = store.draw_held_out(1, 4, 4, "salt")
    store.register_attempt(2, "candidate-2", "champion")
    third = store.draw_held_out(2, 0, 4, "salt")
    names = [d.document_id for d in first + second + third]
    assert len(names) == len(set(names)) == 10


def test_train_documents_are_never_drawn(store: Store) -> None:
    store.add_documents([document("a", "train"), document("b", "sealed")])
    store.register_attempt(1, "c", "champion")
    assert store.draw_held_out(1, 0, 4, "salt") == []


def test_attempts_count_up_and_a_resumed_one_keeps_its_number(store: Store) -> None:
    assert store.register_attempt(1, "a", "z") == 1
    assert store.register_attempt(1, "a", "z") == 1
    assert store.register_attempt(2, "b", "z") == 2


def checkpoint(generation: int) -> Checkpoint:
    return Checkpoint(f"digest-{generation}", "/nowhere", "", generation, "", "", 0, now())


def decision(generation: int, outcome: str) -> Decision:
    return Decision(generation, generation, outcome, "", f"digest-{generation}", "", 0.05, 0.0, 0.0, 0, 0.0, now())


def test_champion_is_the_last_promoted_or_the_anchor(store: Store) -> None:
    for generation in range(4):
        store.add_checkpoint(checkpoint(generation))
    assert store.champion().generation == 0
    store.add_decision(decision(1, "promote"))
    store.add_decision(decision(2, "hold"))
    store.add_decision(decision(3, "reject"))
    assert store.champion().generation == 1


def test_decision_is_made_once(store: Store) -> None:
    store.add_decision(decision(1, "hold"))
    store.add_decision(decision(1, "promote"))
    found = store.decision(1)
    assert found is not None
    assert found.outcome == "hold"


def test_drops_count_once(store: Store) -> None:
    store.note_drops(1, "crawl", [("HTTP 404", "u"), ("HTTP 404", "v")])
    store.note_drops(1, "crawl", [("HTTP 404", "u")])
    store.note_drops(2, "crawl", [("HTTP 404", "u")])
    assert store._rows("SELECT generation, count(*) FROM dropped GROUP BY ALL ORDER BY ALL") == [(1, 2), (2, 1)]


def test_reopened_store_has_what_was_committed(tmp_path: Path) -> None:
    path = str(tmp_path / "ratchet.duckdb")
    first = Store(path, str(tmp_path / "snapshots"))
    first.add_documents([document("a")])
    first.close()
    second = Store(path)
    assert [d.document_id for d in second.documents("train")] == ["a"]
    second.close()


def test_corrupt_database_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "ratchet.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(UserError, match="cannot be opened"):
        Store(str(path))
    assert path.read_bytes().startswith(b"not a database")


def test_snapshot_is_read_and_leaves_out_page_bodies(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "ratchet.duckdb"), str(tmp_path / "snapshots"))
    store.add_documents([document("a")], [page("u")])
    store.publish_snapshot()
    store.add_documents([document("b")])
    store.publish_snapshot()
    latest = tmp_path / "snapshots" / "latest"
    assert duckdb.sql(f"SELECT count(*) FROM '{latest}/document.parquet'").fetchall() == [(2,)]
    assert "body_gzip" not in duckdb.sql(f"SELECT * FROM '{latest}/page.parquet'").columns
    assert len(list((tmp_path / "snapshots").glob("snapshot-*"))) == 1
    store.close()


def test_missing_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"):
        open_for_reading(tmp_path)
