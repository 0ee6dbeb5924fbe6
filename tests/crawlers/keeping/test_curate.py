from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from crawlers.config import CrawlConfig
from crawlers.keeping.curate import CANARY, CONTAMINATED, curate_documents
from crawlers.keeping.duplicates import DUPLICATE
from crawlers.keeping.held_out import held_out_texts
from crawlers.keeping.page_rows import add_document
from crawlers.keeping.pools import choose_pool, pools_by_domain
from crawlers.reading.parse_body import parse_body
from crawlers.reading.parsed_body import ParseTask
from infra.errors import UserError
from infra.records import Document, now
from infra.store import Store
from infra.store.tables.crawl import CrawlRows
from tests.crawlers.support.texts import WORDS
from tests.infra.support.store_rows import page_row
from tests.infra.support.warc_records import body_record

CONFIG = CrawlConfig(policy="lenient-1", min_document_chars=20)


def passage(seed: int, words: int = 200) -> str:
    dice = random.Random(seed)
    return " ".join(dice.choice(WORDS) + str(dice.randrange(50)) for _ in range(words))


def edited(text: str, every: int = 60) -> str:
    return " ".join(f"new{i}" if i % every == 7 else word for i, word in enumerate(text.split()))


def put(
    store: Store,
    name: str,
    text: str,
    pool: str = "train",
    generation: int = 1,
    language: str = "en",
) -> None:
    """A document as a crawl leaves it."""
    parsed = parse_body(
        ParseTask("text", "http://h/", "text/plain; charset=utf-8", False, text.encode())
    )
    page = page_row(f"p-{name}", f"http://h/{name}", "h", visit=0, generation=generation)
    document = Document(
        name,
        page.page_id,
        page.url,
        "t",
        text,
        language,
        "plain-1",
        pool,
        generation,
        status="new",
        text_digest=parsed.text_digest,
    )
    rows = CrawlRows(generation, CONFIG.limits(1), pages=[page], records=[b""])
    add_document(rows, document, parsed)
    store.crawl.commit(rows)


def statuses(store: Store) -> dict[str, str]:
    return dict(store.database.rows("SELECT document_id, status FROM document"))


def test_policy_language_and_canaries_filter_with_their_reasons(store: Store) -> None:
    put(store, "good", passage(1))
    put(store, "short", "too short")
    put(store, "french", passage(2), language="fr")
    put(store, "marked", passage(3) + " BENCHMARK DATA 12345 " + passage(4))
    config = CONFIG.model_copy(update={"languages": ["en"], "canaries": ["BENCHMARK DATA 12345"]})
    assert curate_documents(store, config, 1) == {"contaminated": 1, "filtered": 2, "kept": 1}
    assert statuses(store) == {
        "good": "kept",
        "short": "filtered",
        "french": "filtered",
        "marked": "contaminated",
    }
    assert dict(store.crawl.drop_counts(1)) == {
        "too little text": 1,
        "another language": 1,
        CANARY: 1,
    }


def test_exact_and_near_duplicates_become_one_cluster_of_which_the_longest_is_kept(
    store: Store,
) -> None:
    base = passage(1)
    put(store, "a", base)
    put(store, "b", base.upper())
    put(store, "c", edited(base) + " with some more words at its very end so that it is longer")
    put(store, "other", passage(2))
    curate_documents(store, CONFIG, 1)
    assert statuses(store) == {"a": "duplicate", "b": "duplicate", "c": "kept", "other": "kept"}
    assert store.database.rows(
        "SELECT DISTINCT cluster_size FROM document WHERE cluster_id = 'c'"
    ) == [(3,)]
    assert dict(store.crawl.drop_counts(1)) == {DUPLICATE: 2}


def test_near_duplicates_never_straddle_pools(store: Store) -> None:
    for i in range(30):
        base = passage(i)
        put(store, f"{i}a", base, pool="gate" if i % 2 else "train")
        put(store, f"{i}b", edited(base), pool="train" if i % 2 else "sealed")
    curate_documents(store, CONFIG, 1)
    kept = store.database.rows(
        "SELECT cluster_id, count(*), count(DISTINCT pool) FROM document"
        " WHERE status = 'kept' GROUP BY ALL"
    )
    assert len(kept) == 30
    assert all((n, pools) == (1, 1) for _, n, pools in kept)


def test_clusters_grow_over_generations_and_held_out_texts_stay(store: Store) -> None:
    base = passage(1)
    put(store, "old", base, pool="gate")
    curate_documents(store, CONFIG, 1)
    put(
        store,
        "longer",
        edited(base) + " and it goes on for longer than before",
        pool="gate",
        generation=2,
    )
    put(store, "train", edited(base, 50), generation=2)
    curate_documents(store, CONFIG, 2)
    assert statuses(store) == {"old": "kept", "longer": "duplicate", "train": "duplicate"}
    assert store.database.rows("SELECT DISTINCT cluster_id, cluster_size FROM document") == [
        ("old", 3)
    ]


def test_a_longer_training_text_takes_the_place_of_its_older_twin(store: Store) -> None:
    base = passage(1)
    put(store, "old", base)
    curate_documents(store, CONFIG, 1)
    put(store, "new", base + " and it goes on for longer than before", generation=2)
    curate_documents(store, CONFIG, 2)
    assert statuses(store) == {"old": "duplicate", "new": "kept"}


def test_a_text_between_two_old_clusters_joins_them_to_nothing(store: Store) -> None:
    a, b = passage(1), passage(2)
    put(store, "a", a, pool="train")
    put(store, "b", b, pool="gate")
    curate_documents(store, CONFIG, 1)
    put(store, "both", f"{a} {b}", generation=2)
    store.database.connection.execute(
        "INSERT INTO band SELECT 'both', band, key, 2 FROM band WHERE document_id IN ('a', 'b')"
    )
    curate_documents(store, CONFIG, 2)
    assert statuses(store) == {"a": "kept", "b": "kept", "both": "duplicate"}


def test_training_text_with_held_out_passages_is_contaminated(store: Store) -> None:
    held = passage(1, 300)
    put(store, "held", held, pool="gate")
    put(
        store,
        "copy",
        passage(2, 150) + " " + " ".join(held.split()[:120]) + " " + passage(3, 50),
    )
    put(store, "quote", passage(4, 400) + " " + " ".join(held.split()[:16]))
    put(store, "whole", passage(5, 3000) + " " + held)
    assert curate_documents(store, CONFIG, 1) == {"contaminated": 2, "kept": 2}
    assert statuses(store) == {
        "held": "kept",
        "copy": "contaminated",
        "quote": "kept",
        "whole": "contaminated",
    }
    assert dict(store.crawl.drop_counts(1)) == {CONTAMINATED: 2}


def test_a_new_held_out_text_that_was_trained_on_before_is_no_longer_held_out(store: Store) -> None:
    old = passage(1, 300)
    put(store, "old", old)
    curate_documents(store, CONFIG, 1)
    put(
        store,
        "late",
        passage(2, 100) + " " + " ".join(old.split()[:200]),
        pool="gate",
        generation=2,
    )
    curate_documents(store, CONFIG, 2)
    assert statuses(store) == {"old": "kept", "late": "contaminated"}


def test_phrases_that_many_pages_share_do_not_count(store: Store) -> None:
    boilerplate = passage(99, 60)
    for i in range(20):
        put(
            store,
            f"{i}",
            passage(i, 300) + " " + boilerplate,
            pool="gate" if i % 2 else "train",
        )
    curate_documents(store, CONFIG, 1)
    assert set(statuses(store).values()) == {"kept"}


def test_benchmark_files_are_held_out_too(store: Store, tmp_path: Path) -> None:
    item = passage(1, 60)
    (tmp_path / "bench.jsonl").write_text(
        json.dumps({"question": item, "choices": [passage(2, 40)]}) + "\n"
    )
    put(store, "leak", passage(3, 1500) + " " + item)
    put(store, "clean", passage(4))
    config = CONFIG.model_copy(update={"held_out_files": [str(tmp_path / "bench.jsonl")]})
    curate_documents(store, config, 1)
    assert statuses(store) == {"leak": "contaminated", "clean": "kept"}


@pytest.mark.parametrize("name", ["exam.jsonl", "exam.json", "exam.txt", "exam"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_lines_are_read_as_such_whatever_the_name_of_the_file(
    name: str, mark: str, tmp_path: Path
) -> None:
    """As escapes, the texts of these lines would be the same as no page."""
    lines = [{"prompt": "Wie heißt die größte Stadt?"}, {"prompt": "最大的城市是哪一个？"}]
    file = tmp_path / name
    file.write_text(mark + "\n".join(map(json.dumps, lines)))
    assert list(held_out_texts([str(file)])) == [line["prompt"] for line in lines]


def test_a_text_file_that_begins_like_json_is_a_text_file(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("[1] A note.\n\n{sic} Another one.")
    assert list(held_out_texts([str(file)])) == ["[1] A note.", "{sic} Another one."]


def test_held_out_texts_of_a_package_are_held_out_too(store: Store) -> None:
    item = passage(1, 60)
    put(store, "leak", passage(3, 1500) + " " + item)
    curate_documents(store, CONFIG, 1, [item])
    assert statuses(store) == {"leak": "contaminated"}


@pytest.mark.parametrize("content", ["{broken", None])
def test_an_unreadable_benchmark_file_is_a_user_error(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "bench.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=r"crawl.held_out_files"):
        list(held_out_texts([str(file)]))


def test_curating_again_changes_nothing_and_another_policy_decides_anew(store: Store) -> None:
    put(store, "poor", "word " * 100)
    put(store, "short", "too short")
    assert curate_documents(store, CONFIG.model_copy(update={"policy": "web-1"}), 1) == {
        "filtered": 2
    }
    assert curate_documents(store, CONFIG, 1) == {}
    assert store.curation.reconsider_filtered() == 2
    assert curate_documents(store, CONFIG, 1) == {"filtered": 1, "kept": 1}


def test_diversity_is_the_effective_number(store: Store) -> None:
    for i in range(8):
        put(store, f"{i}", passage(i), language="en" if i < 4 else "de")
    curate_documents(store, CONFIG, 1)
    diversity = store.curation.diversity(1)
    assert diversity["languages"] == 2
    assert diversity["effective_languages"] == pytest.approx(2.0)
    assert diversity["effective_clusters"] == pytest.approx(8.0)
    assert diversity["effective_hosts"] == pytest.approx(1.0)


def test_pools_depend_on_salt_and_place_alone_and_keep_their_shares() -> None:
    config = CrawlConfig(gate_share=0.3, sealed_share=0.1, development_share=0.2)
    urls = [f"http://h{i}.org/x" for i in range(5000)]
    pools = [choose_pool(u, "d", "salt", config, by_domain=False) for u in urls]
    assert pools == [choose_pool(u, "e", "salt", config, by_domain=False) for u in urls]
    assert pools != [choose_pool(u, "d", "other", config, by_domain=False) for u in urls]
    assert abs(pools.count("gate") / 5000 - 0.3) < 0.03
    assert abs(pools.count("sealed") / 5000 - 0.1) < 0.02
    assert abs(pools.count("development") / 5000 - 0.2) < 0.02
    assert set(pools) == {"gate", "sealed", "development", "train"}
    assert len({choose_pool(u, "one.org", "salt", config, by_domain=True) for u in urls}) == 1


def test_whole_domains_go_to_one_pool_where_there_are_many() -> None:
    few, many = ["http://a.org/"], [f"http://a{i}.org/" for i in range(25)]
    config = CrawlConfig()
    assert [pools_by_domain(config, few), pools_by_domain(config, many)] == [False, True]
    assert pools_by_domain(config.model_copy(update={"allow_other_hosts": True}), few)
    assert pools_by_domain(config.model_copy(update={"pool_by": "domain"}), few)
    assert not pools_by_domain(config.model_copy(update={"pool_by": "page"}), many)


def test_forgetting_removes_text_samples_and_bodies_and_names_who_learned(tmp_path: Path) -> None:
    from crawlers.keeping import warc
    from infra.records import Sample

    store = Store(str(tmp_path / "ratchet.duckdb"))
    for name in ("keep", "gone"):
        put(store, name, passage(hash(name) % 1000) + f" secret{name}")
    body = warc.response("http://h/gone", now(), "", 200, {}, b"secretgone body")
    page = page_row("p-more", "http://h/gone", "h")
    store.crawl.commit(
        CrawlRows(1, CONFIG.limits(1), warc.warcinfo("x", now()), pages=[page], records=[body])
    )
    curate_documents(store, CONFIG, 1)
    store.labels.add_samples(
        [Sample(f"s-{n}", n, "passage", "", f"secret{n}", "web", 1, 0, 5) for n in ("keep", "gone")]
    )
    store.training.add_manifest(1, "picked", [("passage", "s-keep"), ("passage", "s-gone")])
    target = tmp_path / "out.jsonl"
    assert store.forgetting.export_documents(target, "train", []) == 2
    removed = store.forgetting.forget("http://h/gone", None, "asked to")
    assert removed == {"pages": 2, "documents": 1, "samples": 1}
    assert store.forgetting.learned_from("http://h/gone", None) == [(1, "picked", "undecided", 1)]
    assert store.forgetting.renew_exports() == [str(target)]
    assert "secretgone" not in target.read_text()
    assert "secretkeep" in target.read_text()
    assert [d.document_id for d in store.crawl.documents("train")] == ["keep"]
    assert store.database.rows("SELECT sample_id FROM sample") == [("s-keep",)]
    assert body_record(store, "p-more") == b""
    put(store, "gone2", passage(7))
    store.crawl.commit(
        CrawlRows(
            2, CONFIG.limits(1), pages=[replace(page, page_id="p-later", visit=2)], records=[body]
        )
    )
    assert store.database.rows("SELECT count(*) FROM page WHERE page_id = 'p-later'") == [(0,)], (
        "it never comes back"
    )
    store.close()
    import gzip

    for file in (tmp_path / "warc").glob("*.gz"):
        assert b"secretgone" not in gzip.decompress(file.read_bytes())
