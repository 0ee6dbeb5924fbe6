"""Models filed by digest, who was champion when, and what verify, gc and export make of them."""

from __future__ import annotations

import json
import re
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.artifacts import folder_digest
from infra.records import PICKED, RANDOM, now
from infra.store import Store
from loop.audit.reproduce import Reproduction, differing_files
from loop.commands.lineage import reproduced
from loop.commands.main import app
from loop.record.model_folders import file_model, write_model_card, write_provenance
from loop.record.run_folder import Run
from tests.loop.support.decided_runs import add_model, decide_generation, new_run

RESULTS = (("a", None), ("b", ["config.json"]), ("b", None))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Six generations: 1, 2, 4 and 5 were promoted, 3 was rejected, 6 is not decided; the store is
    closed."""
    one = new_run(tmp_path)
    for generation, gain in enumerate([0.2, 0.2, -0.2, 0.2, 0.2], start=1):
        decide_generation(one, generation, {PICKED: gain})
    add_model(one, 6)
    one.store.close()
    return one


def call(run: Run, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "--run", str(run.folder)], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def reopened(run: Run) -> Store:
    return Store(str(run.folder / "ratchet.duckdb"))


def test_a_model_is_filed_by_its_digest_and_nobody_may_write_to_it(run: Run) -> None:
    link = run.model_folder(1, PICKED)
    assert link.is_symlink()
    folder = link.resolve()
    assert folder.name == folder_digest(folder)[:16]
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == 0o444
    assert file_model(run, 1, PICKED) == (folder, folder_digest(folder)), (
        "doing it again changes nothing"
    )


def test_the_same_model_trained_again_is_the_same_folder(run: Run) -> None:
    before = run.model_folder(1, PICKED).resolve()
    again = run.model_folder(9, PICKED)
    again.mkdir()
    for name in ("model.safetensors", "config.json"):
        (again / name).write_bytes((before / name).read_bytes())
    assert file_model(run, 9, PICKED)[0] == before
    assert again.resolve() == before


def test_provenance_says_what_a_model_was_made_from_and_is_no_part_of_its_digest(run: Run) -> None:
    store = reopened(run)
    model = store.training.checkpoint(2)
    assert model is not None
    decision = store.gate.decision(2)
    assert decision is not None
    write_provenance(store, model, decision)
    provenance = json.loads((Path(model.path) / "ratchet.json").read_text())
    assert provenance["recipe"]["name"] == "quickstart"
    assert provenance["parent"] == model.parent
    assert provenance["decision"]["outcome"] == "promote"
    assert len(provenance["tests"][0]["path"]) >= 6
    assert folder_digest(Path(model.path)) == model.digest
    store.close()


def test_provenance_is_json_where_a_test_has_one_unit(run: Run) -> None:
    store = reopened(run)
    store.database.connection.execute("UPDATE gate_test SET standard_error = 'nan'")
    model, decision = store.training.checkpoint(2), store.gate.decision(2)
    assert model is not None
    assert decision is not None
    write_provenance(store, model, decision)
    text = (Path(model.path) / "ratchet.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["tests"][0]["standard_error"] is None
    store.close()


def test_a_model_card_says_what_was_not_measured(run: Run) -> None:
    store = reopened(run)
    again = replace(run, store=store)
    model, decision = store.training.checkpoint(2), store.gate.decision(2)
    assert model is not None
    assert decision is not None
    card = Path(model.path) / "README.md"
    write_model_card(again, model, decision)
    assert re.search(r"held-out documents \| \d\.\d+; .* on \d+ documents \|", card.read_text())
    store.database.connection.execute("DELETE FROM evaluation")
    write_model_card(again, model, decision)
    assert "| bits per byte of held-out documents | not measured |" in card.read_text()
    store.close()


def test_champion_now_and_then(run: Run) -> None:
    code, output = call(run, "champion")
    assert code == 0
    assert "champion: generation 5, picked (evidence" in output
    assert "generation 0 (the anchor)" in call(run, "champion", "--at", "2020-01-01")[1]
    assert "generation 5" in call(run, "champion", "--at", datetime.now(UTC).date().isoformat())[1]
    assert "not a valid date" in call(run, "champion", "--at", "last Tuesday")[1]


def test_a_rollback_is_an_event_like_any_other(run: Run) -> None:
    before = now()
    time.sleep(0.01)
    code, output = call(run, "rollback", "--to", "2", "--reason", "generation 5 is rude")
    assert code == 0, output
    output = call(run, "champion")[1]
    assert "champion: generation 2, picked (generation 5 is rude" in output
    assert "by hand" in output
    assert "generation 5" in call(run, "champion", "--at", before.isoformat())[1].splitlines()[-1]
    assert (run.folder / "champion").resolve() == run.model_folder(2, PICKED).resolve()
    store = reopened(run)
    assert store.registry.champion().generation == 2
    store.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "9", "--reason", "x"], ["no such generation", "0, 1 picked, 2 picked"]),
        (
            ["--to", "5", "--reason", "x"],
            ["champion already", "--to and --arm: generation 0, generation 1, picked"],
        ),
        (
            ["--to", "2", "--arm", "slow", "--reason", "x"],
            ["--arm = 'slow': generation 2 has no such candidate. Name one of picked."],
        ),
        (["--to", "0", "--arm", "slow", "--reason", "x"], ["Leave --arm out."]),
        (["--to", "1", "--reason", " "], ["--reason", "needs a reason"]),
    ],
)
def test_rollbacks_that_make_no_sense(run: Run, arguments: list[str], words: list[str]) -> None:
    code, output = call(run, "rollback", *arguments)
    assert code == 2
    assert "Traceback" not in output
    for word in words:
        assert word in output


def test_commands_name_the_candidate_of_a_generation_that_has_several(tmp_path: Path) -> None:
    one = new_run(tmp_path)
    decide_generation(one, 1, {PICKED: 0.15, RANDOM: 0.2})
    one.store.close()
    assert "champion: generation 1, random (evidence" in call(one, "champion")[1]
    code, output = call(one, "rollback", "--to", "1", "--arm", PICKED, "--reason", "x")
    assert code == 0
    assert "champion: generation 1, picked; before: generation 1, random" in output
    history = call(one, "champion")[1]
    assert "champion: generation 1, picked (x" in history
    assert "candidate" in history
    assert "generation 1, picked in" in call(one, "export", str(tmp_path / "out"))[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chat", "--arm", PICKED], ["--arm = 'picked'", "Add --generation"]),
        (["export", "new", "--arm", PICKED], ["--arm = 'picked'", "Add --generation"]),
        (["lineage", "example.org", "--arm", PICKED], ["'example.org' is no generation"]),
        (["samples", "1", "--arm", "slow"], ["no such candidate. Name one of picked."]),
        (["reproduce", "1", "--arm", "slow"], ["no such candidate. Name one of picked."]),
    ],
)
def test_a_candidate_that_is_not_there_is_named_with_a_remedy(
    run: Run, arguments: list[str], words: list[str]
) -> None:
    code, output = call(run, *arguments)
    assert code == 2
    for word in words:
        assert word in output


def test_a_model_trained_again_is_not_compared_with_a_folder_that_gc_has_deleted(
    run: Run,
) -> None:
    made = run.model_folder(1, PICKED).resolve()
    (same := run.folder / "same").mkdir()
    for name in ("model.safetensors", "config.json"):
        (same / name).write_bytes((made / name).read_bytes())
    assert differing_files(made, same) == []
    assert differing_files(run.folder / "deleted", same) is None
    (same / "config.json").write_text("{ }")
    assert differing_files(made, same) == ["config.json"]
    sentences = [reproduced(Reproduction("a", *rest)) for rest in RESULTS]
    assert sentences == [
        "the same model, bit for bit",
        "a different model; different files: config.json",
        "a different model; its folder was deleted, so its files cannot be compared",
    ]


def test_verify_finds_what_was_changed(run: Run) -> None:
    code, output = call(run, "verify")
    assert code == 0, output
    assert "checked, 0 wrong" in output
    weights = run.model_folder(2, PICKED).resolve() / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"altered")
    store = reopened(run)
    execute = store.database.connection.execute
    execute(
        "UPDATE item_score SET value = value + 0.3 WHERE attempt = 4 AND position = 4"
        " AND model_digest = (SELECT candidate FROM attempt WHERE attempt = 4)"
    )
    execute("DELETE FROM manifest WHERE generation = 5 AND kind = 'passage'")
    store.close()
    code, output = call(run, "verify")
    assert code == 1
    for words in (
        "its files changed",
        "path differs",
        "items were added or removed",
        "decision of attempt 4 about picked",
    ):
        assert words in output


def test_gc_keeps_the_anchor_the_last_champions_and_what_is_not_decided(run: Run) -> None:
    code, output = call(run, "gc", "--keep", "2")
    assert code == 0
    assert "3 would be deleted" in output
    assert run.model_folder(1, PICKED).resolve().is_dir(), "nothing goes without --yes"
    assert "3 deleted" in call(run, "gc", "--keep", "2", "--yes")[1]
    there = [run.model_folder(k, PICKED).exists() for k in range(1, 7)]
    assert there == [False, False, False, True, True, True]
    assert "0 would be deleted" in call(run, "gc", "--keep", "2")[1]
    assert "(deleted by gc)" in call(run, "verify")[1]
    assert "its model was deleted" in call(run, "rollback", "--to", "1", "--reason", "x")[1]
    assert "champion: generation 5" in call(run, "champion")[1]


def test_gc_keeps_what_an_alias_points_to(run: Run) -> None:
    store = reopened(run)
    model = store.training.checkpoint(3)
    assert model is not None
    store.registry.move_alias("best:choices", model, "best accuracy")
    store.close()
    call(run, "gc", "--keep", "1", "--yes")
    assert [run.model_folder(k, PICKED).exists() for k in range(1, 7)] == [
        False,
        False,
        True,
        False,
        True,
        True,
    ]


def test_export_copies_a_whole_model_and_refuses_an_altered_one(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out" / "model"
    code, output = call(run, "export", str(target))
    assert code == 0, output
    assert folder_digest(target) == folder_digest(run.model_folder(5, PICKED).resolve())
    assert "it exists" in call(run, "export", str(target))[1]
    weights = run.model_folder(4, PICKED).resolve() / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"altered")
    code, output = call(run, "export", str(tmp_path / "other"), "--generation", "4")
    assert code == 2
    assert "ratchet verify" in output
    assert not (tmp_path / "other").exists()


def test_gguf_needs_a_converter_and_uses_the_one_on_the_path(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    code, output = call(run, "export", str(tmp_path / "a"), "--gguf")
    assert code == 2
    assert "convert_hf_to_gguf.py is not on the PATH" in output
    script = tools / "convert_hf_to_gguf.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[3]).write_bytes(b'GGUF')")
    script.chmod(0o755)
    assert call(run, "export", str(tmp_path / "b"), "--gguf")[0] == 0
    assert (tmp_path / "b" / "model.gguf").read_bytes() == b"GGUF"
    script.write_text("import sys; sys.exit('no such architecture')")
    code, output = call(run, "export", str(tmp_path / "c"), "--gguf")
    assert code == 1
    assert "no such architecture" in output


def test_every_command_has_help_with_an_example() -> None:
    for command in ("champion", "rollback", "verify", "gc", "export", "plan"):
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert "Example" in result.output, command
