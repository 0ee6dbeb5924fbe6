"""Commands on a run that has no model yet, and on one that was stopped before it began."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.records import Checkpoint, Document, Sample, now
from infra.store import Store
from infra.store.database import open_database
from loop.recipe.recipe import load_recipe
from loop.record.locations import DATABASE
from tests.infra.support.store_rows import add_documents
from tests.loop.commands.invoke import assert_user_error, invoke

ON_MODELS = [
    ["gc"],
    ["export", "model"],
    ["export", "model", "--generation", "1"],
    ["rollback", "--to", "0", "--reason", "rude"],
]
ON_GENERATIONS = [
    ["chat"],
    ["champion"],
    ["show", "0"],
    ["compare", "0", "1"],
    ["samples", "1"],
    ["lineage", "1"],
]
ON_THE_RECIPE = [
    ["status"],
    ["generations"],
    ["verify"],
    ["replay", "1", "0"],
    ["judge", "replay"],
    ["lineage", "example.org"],
    ["reproduce", "1"],
]


def note_recipe(store: Store) -> None:
    """The facts that a run notes when it begins."""
    recipe = load_recipe("dry_run", [])
    facts = {"recipe": json.dumps(recipe.identity()), "recipe_digest": recipe.digest}
    store.run.set_facts(facts | {"salt": "salt", "created_at": "2026-01-01T00:00:00"})


@pytest.fixture
def stopped(tmp_path: Path) -> str:
    """A run that was killed before it noted anything."""
    Store(str(tmp_path / DATABASE)).close()
    return str(tmp_path)


@pytest.fixture
def crawled(tmp_path: Path) -> str:
    """A run that has only crawled."""
    store = Store(str(tmp_path / DATABASE))
    note_recipe(store)
    store.close()
    return str(tmp_path)


@pytest.mark.parametrize("arguments", [*ON_MODELS, *ON_GENERATIONS, *ON_THE_RECIPE])
def test_a_run_that_was_stopped_before_it_began_says_so(stopped: str, arguments: list[str]) -> None:
    assert_user_error(invoke(*arguments, "--run", stopped), "stopped before it began")


@pytest.mark.parametrize("arguments", [*ON_MODELS, *ON_GENERATIONS, *ON_THE_RECIPE])
@pytest.mark.parametrize("table", ["other (name TEXT)", "migration (id INTEGER, name TEXT)"])
def test_a_database_of_another_program_is_refused_and_left_as_it_is(
    tmp_path: Path, arguments: list[str], table: str
) -> None:
    database = open_database(str(tmp_path / DATABASE))
    database.execute(f"CREATE TABLE {table}")
    database.close()
    before = (tmp_path / DATABASE).read_bytes()
    output = invoke(*arguments, "--run", str(tmp_path))
    assert_user_error(output, "was not made by Ratchet")
    assert (tmp_path / DATABASE).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [DATABASE]


@pytest.mark.parametrize("arguments", ON_MODELS)
def test_a_run_without_a_model_says_so(crawled: str, arguments: list[str]) -> None:
    assert_user_error(invoke(*arguments, "--run", crawled), "no model yet")


@pytest.mark.parametrize("arguments", ON_GENERATIONS)
def test_a_run_without_a_generation_says_so(crawled: str, arguments: list[str]) -> None:
    assert_user_error(invoke(*arguments, "--run", crawled), "no generation yet")


@pytest.mark.parametrize("command", ["status", "generations", "verify"])
def test_a_run_that_has_only_crawled_can_be_looked_at(crawled: str, command: str) -> None:
    code, output = invoke(command, "--run", crawled)
    assert code == 0, output


@pytest.mark.parametrize(
    ("change", "code", "problem"),
    [
        ("DROP TABLE gate_test", 1, "table gate_test"),
        ("DROP TABLE run", 1, "table run"),
        ("ALTER TABLE run DROP COLUMN value", 1, "column value of run"),
        ("UPDATE run SET value = '{' WHERE key = 'recipe'", 2, "not a JSON object"),
        ("DELETE FROM migration WHERE name LIKE 'gate/%'", 2, "list of schema files"),
    ],
)
def test_verify_of_a_damaged_database_ends_without_a_traceback(
    crawled: str, change: str, code: int, problem: str
) -> None:
    connection = open_database(f"{crawled}/{DATABASE}")
    connection.execute(change)
    connection.close()
    actual, output = invoke("verify", "--run", crawled)
    assert (actual, problem in output, "Traceback" in output) == (code, True, False), output


def test_targets_that_cannot_be_written_are_refused(tmp_path: Path, tiny_folder: Path) -> None:
    from infra.artifacts import folder_digest

    run, file = tmp_path / "run", tmp_path / "file"
    file.write_text("a file")
    run.mkdir()
    store = Store(str(run / DATABASE))
    note_recipe(store)
    digest = folder_digest(tiny_folder)
    for generation, model in ((0, digest), (1, "one")):
        store.training.add_checkpoint(
            Checkpoint(model, str(tiny_folder), "", generation, "m", "r", 0, now())
        )
    add_documents(store, [Document("d", "p", "http://h/", "x", "x", "en", "x", "train", 1)])
    store.labels.add_samples([Sample("s", "d", "passage", "", "x", "web", 1, 0, 1)])
    store.training.add_manifest(1, "picked", [("passage", "s")])
    store.close()
    below = str(file / "below")
    assert_user_error(invoke("export", below, "--run", str(run)), "target", "is a file")
    target = f"{below}.jsonl/x.jsonl"
    assert_user_error(invoke("crawl", "export", target, "--run", str(run)), "target", "is a file")
    (tmp_path / "folder.jsonl").mkdir()
    folder = str(tmp_path / "folder.jsonl")
    assert_user_error(invoke("crawl", "export", folder, "--run", str(run)), "target", "a folder")
    lineage = invoke("lineage", "1", "--export", below, "--run", str(run))
    assert_user_error(lineage, "--export", "is a file")
    items = tmp_path / "items.jsonl"
    items.write_text('{"text": "a"}')
    for output in (str(file), below):
        judged = invoke("judge", "run", str(items), "--recipe", "dry_run", "--output", output)
        assert_user_error(judged, "--output", "is a file")
        sheet = invoke("judge", "datasheet", "dry_run", "--limit", "2", "--output", output)
        assert_user_error(sheet, "--output", "is a file")
