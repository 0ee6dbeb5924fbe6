"""Both ways between generations and pages, on a store whose links are known."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from infra.records import (
    ANCHOR_ARM,
    Checkpoint,
    Decision,
    Document,
    Page,
    Permission,
    Preference,
    Sample,
    now,
)
from infra.records.arrow import to_table
from infra.store import Store
from loop.commands.main import app
from loop.recipe.recipe import load_recipe
from tests.infra.support.store_rows import add_documents, page_row

HOSTILE = "[red]x[/red]\x1b[31m'; DROP TABLE page; --"


def page(name: str, domain: str) -> Page:
    return page_row(
        f"page-{name}",
        f"https://{domain}/{name}",
        domain,
        content_type="text/html",
        digest=f"digest-{name}",
        num_bytes=9,
        train="allow",
        warc_file="w.warc.gz",
        warc_offset=77,
    )


def sample(name: str, document: str, generation: int, kind: str = "passage") -> Sample:
    return Sample(
        f"sample-{name}",
        f"document-{document}",
        kind,
        HOSTILE,
        f"text {name}",
        "web",
        generation,
        0,
        4,
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """1 learned from a.org, 2 (of 1) from b.org, 3 (of 0) from both by a preference; c.org was only
    crawled."""
    store = Store(str(tmp_path / "ratchet.duckdb"), str(tmp_path / "snapshots"))
    store.run.set_fact("recipe", json.dumps(load_recipe("quickstart", []).identity()))
    pages = [page("one", "a.org"), page("two", "b.org"), page("three", "c.org")]
    documents = [
        Document(f"document-{n}", p.page_id, p.url, HOSTILE, f"text of {n}", "en", "x", "train", 1)
        for n, p in zip(("one", "two", "three"), pages, strict=True)
    ]
    add_documents(store, documents, pages)
    word = Permission(
        "page-one",
        pages[0].url,
        "train",
        "allow",
        "robots.txt ai-train",
        "Content-Usage: train-ai=y",
        1,
    )
    store.database.insert_new("permission", to_table(Permission, [word]), ["page_id", "purpose"])
    parents = {0: "", 1: "digest0", 2: "digest1", 3: "digest0"}
    for generation, parent in parents.items():
        store.training.add_checkpoint(
            Checkpoint(
                f"digest{generation}",
                "/none",
                parent,
                generation,
                f"manifest{generation}",
                "r",
                0,
                now(),
                "picked" if generation else ANCHOR_ARM,
            )
        )
    control = Checkpoint("control3", "/none", "digest0", 3, "m", "r", 0, now(), "random")
    store.training.add_checkpoint(control)
    store.labels.add_samples(
        [sample("a", "one", 1), sample("b", "two", 2), sample("q", "one", 3, "prompt")]
    )
    store.labels.add_preferences(
        [Preference("preference-p", "sample-q", "q", "good", "bad", "web", "judge", 0.9, 1.0, 3)]
    )
    store.training.add_manifest(1, "picked", [("passage", "sample-a")])
    store.training.add_manifest(2, "picked", [("passage", "sample-b")])
    items = [("preference", "preference-p"), ("passage", "sample-b")]
    store.training.add_manifest(3, "picked", items)
    store.training.add_manifest(3, "random", [("passage", "sample-b")])
    store.gate.add_decisions(
        [
            Decision(
                1,
                1,
                "promote",
                "evidence",
                "digest1",
                "digest0",
                0.025,
                4.0,
                3.7,
                9,
                0.1,
                False,
                now(),
            )
        ],
        ["champion"],
    )
    store.close()
    return tmp_path


def lineage(run: Path, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(
        app, ["lineage", *arguments, "--run", str(run)], env={"COLUMNS": "250"}
    )
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_a_generation_leads_to_its_pages_with_fetch_time_and_permission(run: Path) -> None:
    output = lineage(run, "1")
    for words in (
        "a.org",
        "https://a.org/one",
        "allow",
        "Content-Usage: train-ai=y",
        "w.warc.gz 77",
        "promote",
    ):
        assert words in output
    assert "b.org" not in output
    assert lineage(run, "digest1").splitlines()[2:] == output.splitlines()[2:], (
        "its digest names it too"
    )


def test_a_preference_leads_to_the_page_of_its_prompt(run: Path) -> None:
    output = lineage(run, "3")
    assert "https://a.org/one" in output
    assert "https://b.org/two" in output
    assert "(2 of 2)" in output


@pytest.mark.parametrize("name", ["b.org", "https://b.org/two"])
def test_a_site_leads_to_who_learned_from_it(run: Path, name: str) -> None:
    output = lineage(run, name)
    rows = [line.split("│")[1:-1] for line in output.splitlines() if line.startswith("│")]
    heirs = [[cell.strip() for cell in row] for row in rows if len(row) == 6]
    assert [row[:2] for row in heirs] == [["2", "picked"], ["3", "picked"], ["3", "random"]]
    assert [row[3] for row in heirs] == ["1", "1", "1"]


def test_who_was_trained_from_a_model_learned_what_it_learned(run: Path) -> None:
    rows = [
        line.split("│")[1:-1] for line in lineage(run, "a.org").splitlines() if line.startswith("│")
    ]
    heirs = [[cell.strip() for cell in row] for row in rows if len(row) == 6]
    assert [(row[0], row[1], row[3], row[4]) for row in heirs] == [
        ("1", "picked", "1", "-"),
        ("2", "picked", "0", "generation 1 picked"),
        ("3", "picked", "1", "-"),
    ], "the control of generation 3 has learned nothing of it"


def test_what_was_only_crawled_and_what_is_unknown(run: Path) -> None:
    assert "none: it was crawled" in lineage(run, "c.org")
    output = lineage(run, "d.org", code=2)
    assert "nothing of that name is known" in output
    assert "DROP" in lineage(run, "x'; DROP TABLE page; --", code=2)


@pytest.mark.parametrize("name", ["sample-b", "document-two", "page-two"])
def test_any_record_is_followed_to_its_uses(run: Path, name: str) -> None:
    assert "(3 of 3)" in lineage(run, name)


def test_forgotten_pages_are_still_known_by_who_learned_from_them(run: Path) -> None:
    result = CliRunner().invoke(
        app, ["crawl", "forget", "https://b.org/two", "--reason", "asked to", "--run", str(run)]
    )
    assert result.exit_code == 0, result.output
    output = lineage(run, "https://b.org/two")
    rows = [line.split("│")[1:-1] for line in output.splitlines() if line.startswith("│")]
    candidates = [(row[0].strip(), row[1].strip()) for row in rows if len(row) == 6]
    assert candidates == [("2", "picked"), ("3", "picked"), ("3", "random")]


def test_data_are_exported_as_parquet_named_by_their_manifest(run: Path, tmp_path: Path) -> None:
    lineage(run, "3", "--export", str(tmp_path / "out"))
    file = tmp_path / "out" / "manifest3.parquet"
    rows = pq.read_table(file).to_pylist()
    assert [(row["kind"], row["chosen"], row["completion"]) for row in rows] == [
        ("passage", None, "text b"),
        ("preference", "good", None),
    ]
    assert rows[1]["permission_evidence"] == "Content-Usage: train-ai=y"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["manifest3.parquet"]
    lineage(run, "0", "--export", str(tmp_path / "out"), code=2)
    lineage(run, "a.org", "--export", str(tmp_path / "out"), code=2)


def test_exported_data_load_with_datasets(run: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    lineage(run, "3", "--export", str(tmp_path / "out"))
    loaded = datasets.Dataset.from_parquet(
        str(tmp_path / "out" / "manifest3.parquet"), cache_dir=str(tmp_path)
    )
    assert len(loaded) == 2
    assert loaded[0]["url"] == "https://b.org/two"
