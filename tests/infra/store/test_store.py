from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from crawlers.config import CrawlConfig
from crawlers.keeping import warc
from infra.cluster.proxy import GroupedActor
from infra.errors import UserError
from infra.records import Checkpoint, Decision, Document, Judgment, Page, Sample, now
from infra.store import Store
from infra.store.actor import GROUPS
from infra.store.database import STORE_SCHEMA_FOLDER, TableGroup, open_database
from infra.store.frontier.records import HostVisit, Link, Outcome, State
from infra.store.reader import open_reader
from infra.store.tables.crawl import CrawlRows
from tests.infra.support.store_rows import add_documents, candidate, page_row
from tests.infra.support.warc_records import body_record, read_record


def document(name: str, pool: str = "train", generation: int = 1) -> Document:
    return Document(
        name,
        f"page-{name}",
        f"http://h/{name}",
        name,
        f"text of {name}",
        "en",
        "x",
        pool,
        generation,
    )


def page(url: str, generation: int = 1, visit: int = 0) -> Page:
    return page_row(
        f"p-{url}-{visit}",
        url,
        "h",
        visit=visit,
        content_type="text/html",
        etag="e",
        digest="d",
        num_bytes=3,
        generation=generation,
    )


LIMITS = CrawlConfig().limits(100)
BODY = warc.response("http://h/1", now(), "", 200, {}, b"body")


def link(url: str) -> Link:
    return Link(url, "h", "h", "", "page", 0, 1.0)


def leased(store: Store, generation: int = 1) -> list[str]:
    return [
        x.url for host in store.crawl.lease_hosts(0, generation, 5, 10, LIMITS) for x in host.leases
    ]


def crawl_rows(urls: list[str], generation: int = 1) -> CrawlRows:
    return CrawlRows(
        generation,
        LIMITS,
        warcinfo=warc.warcinfo("x", now()),
        pages=[page(url, generation) for url in urls],
        records=[BODY for _ in urls],
        documents=[document(url, generation=generation) for url in urls],
        links=[link("http://h/next")],
        outcomes=[Outcome(url, State.DONE, "", "etag", "", "d", 3, True) for url in urls],
        visits=[HostVisit("h", 0.0, 0.0)],
        drops=[("HTTP 404", "http://h/gone")],
    )


@pytest.fixture
def crawl(store: Store) -> Store:
    store.crawl.start(1, [link("http://h/1")], 1)
    return store


def test_redelivered_results_change_nothing(crawl: Store) -> None:
    rows = crawl_rows(leased(crawl))
    crawl.crawl.commit(rows)
    once = (crawl.crawl.counts(1), crawl.crawl.drop_counts(1))
    size = sum(f.stat().st_size for f in crawl.crawl.archive.folder.glob("*"))
    crawl.crawl.commit(rows)
    assert (crawl.crawl.counts(1), crawl.crawl.drop_counts(1)) == once
    assert sum(f.stat().st_size for f in crawl.crawl.archive.folder.glob("*")) == size, (
        "no body is stored twice"
    )
    assert once[0]["fetched"] == once[0]["documents"] == 1


def test_links_join_the_frontier_with_the_results(crawl: Store) -> None:
    crawl.crawl.commit(crawl_rows(leased(crawl)))
    assert leased(crawl) == ["http://h/next"]


def test_a_process_that_dies_between_rows_and_frontier_loses_nothing(
    crawl: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = crawl_rows(leased(crawl))
    with monkeypatch.context() as broken:
        broken.setattr(crawl.frontier, "retire", raiser(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            crawl.crawl.commit(rows)
    crawl.crawl.release_all_leases()
    assert leased(crawl) == ["http://h/1"], "it is fetched again"
    crawl.crawl.commit(rows)
    assert crawl.crawl.counts(1)["fetched"] == 1
    assert leased(crawl) == ["http://h/next"]


def raiser(error: type[BaseException]) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_failed_rows_leave_nothing(crawl: Store) -> None:
    rows = crawl_rows(leased(crawl))
    rows.signals = [("x", "no number", "many")]  # type: ignore[list-item]
    with pytest.raises(pa.ArrowInvalid):
        crawl.crawl.commit(rows)
    assert crawl.crawl.counts(1)["fetched"] == 0
    crawl.crawl.release_all_leases()
    crawl.crawl.commit(crawl_rows(leased(crawl)))  # the store goes on working
    assert crawl.crawl.counts(1)["fetched"] == 1


def test_bodies_are_read_back_after_reopening(tmp_path: Path) -> None:
    path = str(tmp_path / "ratchet.duckdb")
    first = Store(path)
    first.crawl.start(1, [link("http://h/1")], 1)
    first.crawl.commit(crawl_rows(leased(first)))
    first.close()
    second = Store(path)
    assert read_record(body_record(second, "p-http://h/1-0")).body == b"body"
    assert body_record(second, "no such page") == b""
    second.close()


def test_labelers_values_reach_the_frontier_drawn_towards_the_middle(store: Store) -> None:
    add_documents(
        store, [document("a")], [replace(page("http://h/s/a"), page_id="page-a", section="s")]
    )
    store.labels.add_samples(
        [Sample(f"s{i}", "a", "passage", "", "x", "web", 1, 0, 1) for i in range(8)]
    )
    judged = [("scored", 1.0)] * 8 + [("unscored", 0.0)]
    store.labels.add_judgments(
        [
            Judgment(f"j{i}", f"s{i % 8}", "l", "r", "w", s, "", v, "", 1, 1)
            for i, (s, v) in enumerate(judged)
        ]
    )
    assert store.crawl.section_values() == [("h", "s", pytest.approx(0.9))]


def draw(store: Store, attempt: int, start: int, salt: str = "salt") -> list[Document]:
    drawn = store.gate.draw_documents(attempt, start, 4, "document", 4, salt, held_out(store))
    return [document for document, _, _ in drawn]


def plan(store: Store, attempt: int, limit: int, reuse: bool = False) -> int:
    return store.gate.plan_documents(attempt, limit, "document", 4, held_out(store), reuse)


def held_out(store: Store) -> list[str]:
    return [document.document_id for document in store.crawl.documents("gate")]


def test_documents_of_the_gate_are_burned_once(store: Store) -> None:
    add_documents(store, [document(str(i), "gate") for i in range(10)])
    store.gate.register_attempt([candidate("candidate-1", 1)], "champion")
    first = draw(store, 1, 0)
    assert draw(store, 1, 0, "other salt") == first, "a resumed attempt draws the same again"
    second = draw(store, 1, 4)
    store.gate.register_attempt([candidate("candidate-2", 2)], "champion")
    third = draw(store, 2, 0)
    names = [d.document_id for d in first + second + third]
    assert len(names) == len(set(names)) == 10


def test_planned_units_are_what_is_left_and_what_the_limit_pays_for(store: Store) -> None:
    add_documents(store, [document(str(i), "gate") for i in range(10)])
    assert plan(store, 1, 100) == 10
    draw(store, 1, 0)
    add_documents(store, [document(f"later {i}", "gate") for i in range(3)])
    assert plan(store, 1, 100) == 10, "the first call has fixed it"
    assert store.gate.planned_units(1, "bits_per_byte") == 10
    assert plan(store, 2, 100) == 9, "four are used"
    assert plan(store, 3, 100, reuse=True) == 13
    assert plan(store, 4, 5) == 5
    assert store.gate.planned_units(5, "bits_per_byte") == 0


def test_planned_units_of_several_items_are_estimated_from_the_items_of_a_unit(
    store: Store,
) -> None:
    units = [f"u{i // 3}" for i in range(12)]
    items = pa.table({"item_id": [f"i{i}" for i in range(12)], "unit": units})
    assert store.gate.plan_items(1, "suite", 12, items, reuse=False) == 4
    assert store.gate.plan_items(2, "suite", 7, items, reuse=False) == 3
    assert store.gate.plan_items(3, "suite", 0, items, reuse=False) == 0
    assert store.gate.plan_items(4, "suite", 7, items.slice(0, 0), reuse=False) == 0


def test_train_documents_are_never_drawn(store: Store) -> None:
    add_documents(store, [document("a", "train"), document("b", "sealed")])
    store.gate.register_attempt([candidate("c", 1)], "champion")
    assert draw(store, 1, 0) == []


def test_attempts_count_up_and_a_resumed_one_keeps_its_number(store: Store) -> None:
    assert store.gate.register_attempt([candidate("a", 1)], "z") == 1
    assert store.gate.register_attempt([candidate("a", 1)], "z") == 1
    assert store.gate.register_attempt([candidate("b", 2)], "z") == 2


def checkpoint(generation: int) -> Checkpoint:
    return Checkpoint(f"digest-{generation}", "/nowhere", "", generation, "", "", 0, now())


def decision(generation: int, outcome: str) -> Decision:
    digest = f"digest-{generation}"
    return Decision(
        generation, generation, outcome, "", digest, "", 0.05, 0.0, 0.0, 0, 0.0, False, now()
    )


def with_models(store: Store) -> None:
    for generation in range(4):
        store.training.add_checkpoint(checkpoint(generation))


def test_champion_is_the_last_promoted_or_the_anchor(store: Store) -> None:
    with_models(store)
    assert store.registry.champion().generation == 0
    store.gate.add_decisions([decision(1, "promote")], ["champion", "best:suite"])
    store.gate.add_decisions([decision(2, "hold")])
    store.gate.add_decisions([decision(3, "reject")])
    assert store.registry.champion().generation == 1
    best = store.registry.alias("best:suite")
    assert best is not None
    assert best.generation == 1
    assert store.registry.alias("best:other") is None


def test_history_says_who_was_champion_when(store: Store) -> None:
    with_models(store)
    before = now()
    store.gate.add_decisions([decision(1, "promote")], ["champion"])
    between = now()
    store.gate.add_decisions([decision(2, "promote")], ["champion"])
    store.registry.move_alias("champion", checkpoint(1), "generation 2 is rude")
    assert store.registry.champion().generation == 1
    assert store.registry.alias_event("champion", before) is None
    event = store.registry.alias_event("champion", between)
    assert event is not None
    assert event.generation == 1
    history = [
        (e.number, e.alias, e.generation, e.reason, e.attempt)
        for e in store.registry.alias_history()
    ]
    assert history == [
        (1, "champion", 1, "", 1),
        (2, "champion", 2, "", 2),
        (3, "champion", 1, "generation 2 is rude", 0),
    ]


def test_a_second_word_moves_no_alias(store: Store) -> None:
    with_models(store)
    store.gate.add_decisions([decision(1, "hold")])
    store.gate.add_decisions([decision(1, "promote")], ["champion"])
    assert store.registry.champion().generation == 0
    assert store.registry.alias_history() == []


def test_decision_is_made_once(store: Store) -> None:
    store.gate.add_decisions([decision(1, "hold")])
    store.gate.add_decisions([decision(1, "promote")])
    stored = store.gate.decision(1)
    assert stored is not None
    assert stored.outcome == "hold"


def test_drops_count_once(store: Store) -> None:
    store.run.note_drops(1, "crawl", [("HTTP 404", "u"), ("HTTP 404", "v")])
    store.run.note_drops(1, "crawl", [("HTTP 404", "u")])
    store.run.note_drops(2, "crawl", [("HTTP 404", "u")])
    assert store.database.rows(
        "SELECT generation, count(*) FROM dropped GROUP BY ALL ORDER BY ALL"
    ) == [
        (1, 2),
        (2, 1),
    ]


def test_reopened_store_has_what_was_committed(tmp_path: Path) -> None:
    path = str(tmp_path / "ratchet.duckdb")
    first = Store(path, str(tmp_path / "snapshots"))
    add_documents(first, [document("a")])
    first.close()
    second = Store(path)
    assert [d.document_id for d in second.crawl.documents("train")] == ["a"]
    second.close()


def test_corrupt_database_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "ratchet.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(UserError, match="cannot be opened"):
        Store(str(path))
    assert path.read_bytes().startswith(b"not a database")


def test_snapshot_is_read_and_leaves_out_what_only_curation_needs(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "ratchet.duckdb"), str(tmp_path / "snapshots"))
    add_documents(store, [document("a")], [page("u")])
    store.publish_snapshot()
    add_documents(store, [document("b")])
    store.publish_snapshot()
    latest = tmp_path / "snapshots" / "latest"
    assert open_database(":memory:").sql(
        f"SELECT count(*) FROM '{latest}/document.parquet'"
    ).fetchall() == [(2,)]
    assert not (latest / "gram.parquet").exists()
    assert len(list((tmp_path / "snapshots").glob("snapshot-*"))) == 1
    store.close()


def test_missing_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"):
        open_reader(tmp_path)


def test_the_proxy_of_the_store_has_all_its_groups(store: Store) -> None:
    groups = [name for name, value in vars(store).items() if isinstance(value, TableGroup)]
    assert sorted(groups) == sorted(GROUPS)


def test_every_group_has_schema_files_of_its_own(store: Store) -> None:
    schemas = {value.schema for value in vars(store).values() if isinstance(value, TableGroup)}
    assert schemas == {folder.name for folder in STORE_SCHEMA_FOLDER.iterdir() if folder.is_dir()}
    for schema in schemas:
        assert list((STORE_SCHEMA_FOLDER / schema).glob("*.sql")), schema


def test_a_group_is_called_through_its_actor_as_in_this_process(store: Store) -> None:
    actor = GroupedActor(lambda: store)
    actor.call("run", "set_fact", ("key", "value"), {})
    assert actor.call("run", "facts", (), {}) == store.run.facts() == {"key": "value"}
    actor.call("", "publish_snapshot", (), {})


def test_facts_are_set_all_or_none(store: Store) -> None:
    store.run.set_facts({"a": "1", "b": "2"})
    with pytest.raises(Exception, match="NOT NULL"):
        store.run.set_facts({"a": "3", "c": None})  # type: ignore[dict-item]
    assert store.run.facts() == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ("name TEXT", ["0001_initial.sql"]),
        ("name TEXT", ["gate/0001_candidates.sql"]),
        ("name TEXT, digest TEXT", ["gate/0001_initial.sql", "a"]),
        ("name TEXT, digest TEXT", ["gate/0001_candidates.sql", "of a file with other columns"]),
    ],
)
def test_a_run_of_another_version_is_refused_and_left_as_it_is(
    tmp_path: Path, columns: str, row: list[str]
) -> None:
    path = tmp_path / "ratchet.duckdb"
    with open_database(str(path)) as old:
        old.execute(f"CREATE TABLE migration ({columns})")
        old.execute(f"INSERT INTO migration VALUES ({', '.join('?' * len(row))})", row)
        old.execute("CREATE TABLE judgment (judgment_id TEXT, way TEXT)")
    before = path.read_bytes()
    for open_it in (lambda: Store(str(path)), lambda: open_reader(tmp_path)):
        with pytest.raises(UserError, match="another version"):
            open_it()
    assert path.read_bytes() == before
