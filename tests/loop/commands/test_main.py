"""The command line and the report on a small run that a test writes, with hostile text in it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.records import (
    Checkpoint,
    Completion,
    Decision,
    Document,
    Evaluation,
    GateTest,
    ItemScore,
    Judgment,
    Preference,
    Sample,
    TrainStep,
    now,
)
from infra.records.labeler import Admission, ProbeResult, WinRate
from infra.store import Store
from infra.store.queries.generations import candidates, sealed_gains
from infra.store.reader import open_reader
from judges.config import ScriptedConfig
from judges.judgment.batches import Batch, pairwise_rows
from judges.judgment.pairs import Comparison, Pair
from judges.labelers.scripted import ScriptedJudge
from judges.measuring.datasheet import measure_on_gold
from judges.measuring.probes.making import gold_set
from judges.rubrics import load_rubric
from loop.commands.main import app
from loop.recipe.recipe import load_recipe
from loop.show.report import write_report
from loop.show.views import generation as generation_row
from tests.infra.support.store_rows import add_documents, candidate

HOLD = """
import sys
from infra.store.database import open_database
connection = open_database(sys.argv[1])
print("open", flush=True)
input()
"""
HOSTILE = "<script>alert(1)</script> [red]markup[/red] [/] \x1b[31m"


def add_scores(store: Store, suite: str, means: Mapping[str, float]) -> None:
    """Nine items of the test that decided, with these means and an error of 0.029,
    and three that were scored after it."""
    for name, mean in means.items():
        values = [mean + 0.1 * (i % 3 - 1) for i in range(9)] + [mean + 1.0] * 3
        store.gate.add_item_scores(
            [
                ItemScore(1, suite, f"h{i}", i, name, value, 10, "", f"h{i}")
                for i, value in enumerate(values)
            ]
        )


def primary_test(suite: str, gain: float, error: float) -> GateTest:
    """The test of the aim that decided, after nine items."""
    path = tuple(0.43 * i for i in range(1, 10))
    counts, evidence = (9, 9), (3.9, 3.69)
    return GateTest(
        1,
        suite,
        "primary",
        "champion",
        "anchor",
        "pass",
        0.2,
        0.0,
        *counts,
        gain,
        error,
        *evidence,
        path,
    )


@pytest.fixture
def run(tmp_path: Path, tiny_folder: Path) -> Path:
    store = Store(str(tmp_path / "ratchet.duckdb"), str(tmp_path / "snapshots"))
    recipe = load_recipe("dry_run", [])
    for key, value in (
        ("recipe", json.dumps(recipe.identity())),
        ("recipe_digest", recipe.digest),
        ("salt", "the-secret-salt"),
        ("created_at", "2026-01-01T00:00:00"),
    ):
        store.run.set_fact(key, value)
    store.training.add_checkpoint(Checkpoint("anchor", str(tiny_folder), "", 0, "", "", 0, now()))
    store.training.add_checkpoint(
        Checkpoint("one", str(tiny_folder), "anchor", 1, "m", "r", 0, now())
    )
    add_documents(
        store, [Document("d", "p", "http://h/<b>", HOSTILE, HOSTILE, "en", "x", "train", 1)]
    )
    store.labels.add_samples([Sample("s", "d", "passage", "", HOSTILE, "web", 1, 0, 5)])
    store.labels.add_judgments(
        [Judgment("j", "s", "judge", "coherence", "likelihood", "scored", "", 0.4, "", 9, 1)]
    )
    store.labels.add_completions([Completion("c", "s", "anchor", 0, HOSTILE, 3, 1)])
    store.labels.add_preferences(
        [Preference("f", "s", HOSTILE, "good", "bad", "web", "verifier", 1.0, 1.0, 1)]
    )
    store.training.add_manifest(1, "picked", [("passage", "s"), ("preference", "f")])
    store.labelers.add_datasheet(
        [
            ProbeResult(
                "r",
                "judge",
                "coherence",
                "likelihood",
                "shuffled_words",
                "test",
                8,
                1.0,
                0.75,
                1.0,
                1.0,
                0.5,
                "pass",
                0.05,
            )
        ],
        [Admission("a", "judge", "coherence", "likelihood", True, "")],
    )
    measured = measure_on_gold(
        ScriptedJudge(ScriptedConfig()), load_rubric("relevance"), gold_set("off_topic")
    )
    store.labelers.add_gold_sheet(measured.sheet, measured.items, measured.rows)
    nothing = float("nan")
    store.labelers.add_win_rate(
        WinRate(1, "judge", "relevance", "one", "anchor", 40, 0.7, 0.55, 0.82, 0.75, 0.52, 0.95, "")
    )
    store.labelers.add_win_rate(
        WinRate(
            1,
            "blind",
            "relevance",
            "one",
            "anchor",
            9,
            0.5,
            0.2,
            0.8,
            nothing,
            nothing,
            nothing,
            "it guesses",
        )
    )
    pairs = [Pair(f"k{i}", "q", "right", "wrong", "A") for i in range(3)]
    batch = Batch(load_rubric("correctness"), "pairwise", "choice", pairs=pairs, generation=1)
    store.labels.add_judgments(
        pairwise_rows("judge", batch, [Comparison(x, x) for x in (1.0, 1.0, -1.0)])
    )
    store.training.add_train_steps(
        [TrainStep(1, "sft", i, 2.0 - i, 1.0, 1e-4, 100, 0.1) for i in range(2)]
    )
    store.gate.register_attempt([candidate("one", 1)], "anchor")
    add_scores(store, "bits_per_byte", {"one": 1.0, "anchor": 1.2})
    for name, bits in (("one", 1.25), ("anchor", 1.4)):
        store.gate.add_evaluations(
            [Evaluation(1, 1, "bits_per_byte", "bits_per_byte", name, bits, 0.01, 12)]
        )
    store.gate.add_evaluations([Evaluation(1, 1, "bits_per_byte", "gain", "one", 0.15, 0.03, 12)])
    store.gate.add_evaluations([Evaluation(1, 1, "labeler", "win_rate", "one", 0.8125, 0.1, 16)])
    store.gate.add_gate_tests([primary_test("bits_per_byte", 0.2, 0.003)])
    why = "evidence of a gain"
    promoted = Decision(
        1, 1, "promote", why, "one", "anchor", 0.025, 3.9, 3.69, 9, 0.2, False, now()
    )
    store.gate.add_decisions([promoted], ["champion"])
    why = "not trained: the share of real text is 0.100, below 0.5 (data.min_real_share)"
    store.gate.add_decisions(
        [Decision(0, 2, "abort", why, "", "one", 0.0, 0.0, 0.0, 0, 0.0, False, now())]
    )
    store.run.note_drops(1, "crawl", [("HTTP 404", "u")])
    store.run.start_stage(1, "crawl")
    store.run.finish_stage(1, "crawl", {"fetched": 3})
    store.close()
    return tmp_path


def ratchet(run: Path, *arguments: str, text: str = "", code: int = 0) -> str:
    result = CliRunner().invoke(app, [*arguments, "--run", str(run)], input=text)
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status"], ["crawl", "fetched 3", "2 generations decided"]),
        (["generations"], ["promote", "1.0000 [0.94, 1.06]", "0.2000 ± 0.003", "report.html"]),
        (
            ["show", "1"],
            [
                "promote",
                "coherence",
                "HTTP 404",
                "evidence of a gain",
                "3.90 / 3.69",
                "0.8125 ± 0.100",
            ],
        ),
        (["show", "2"], ["abort", "real text is 0.100"]),
        (["lineage", "2"], ["abort", "real text is 0.100"]),
        (["compare", "0", "1"], ["promote", "generation 0"]),
        (
            ["samples", "1"],
            ["passage", "http://h/<b>", "<script>alert(1)</script> [red]markup[/red] [/]", "good"],
        ),
    ],
)
def test_commands_show_what_the_store_holds(
    run: Path, arguments: list[str], words: list[str]
) -> None:
    output = ratchet(run, *arguments)
    for word in words:
        assert word in output
    assert "the-secret-salt" not in output


def test_the_aim_is_the_first_measure_and_the_first_chart(run: Path) -> None:
    words = " ".join(ratchet(run, "generations").split())
    assert words.index("aim: bits") < words.index("champion") < words.index("gain")
    with open_reader(run) as reader:
        page = write_report(run, reader).read_text()
    assert page.index("<th>aim: bits per byte of held-out text</th>") < page.index("<th>champion")
    first = page[page.index("<img ") :]
    assert first.startswith('<img alt="the aim by generation: bits per byte of held-out text"')


def test_an_exam_that_is_the_aim_is_shown_in_place_of_held_out_text(run: Path) -> None:
    store = Store(str(run / "ratchet.duckdb"), str(run / "snapshots"))
    recipe = json.loads(store.run.facts()["recipe"])
    recipe["aim"] = {"kind": "exam"}
    store.run.set_fact("recipe", json.dumps(recipe))
    add_scores(store, "exam", {"one": 0.5, "anchor": 0.75})
    store.gate.add_evaluations([Evaluation(1, 1, "exam", "bits", "one", 0.7, 0.1, 12)])
    store.gate.add_gate_tests([primary_test("exam", 0.25, 0.004)])
    store.gate.add_evaluations([Evaluation(1, 1, "sealed_items", "gain", "one", 0.2, 0.04, 40)])
    store.close()
    words = " ".join(ratchet(run, "generations").split())
    assert "0.5000 [0.44, 0.56]" in words
    assert "0.7500" in words
    assert "± 0.004" in words
    with open_reader(run) as reader:
        (sealed,) = sealed_gains(reader)
        page = write_report(run, reader).read_text()
    assert (sealed["suite"], sealed["value"]) == ("sealed_items", 0.2)
    assert "the aim by generation: bits per byte of the exam&#39;s answers" in page


def test_a_line_of_generations_speaks_of_the_items_that_decided(run: Path) -> None:
    """Three more items were scored, which the measures of the gate include."""
    with open_reader(run) as reader:
        row = generation_row(reader, 1)
        (other,) = candidates(reader, 1)
        page = write_report(run, reader).read_text()
    assert (row["num_documents"], row["mean_gain"], row["gain_error"]) == (9, 0.2, 0.003)
    assert row["champion_aim"] - row["aim"] == pytest.approx(row["mean_gain"])
    assert row["aim_error"] == pytest.approx(0.1 * math.sqrt(6 / 8) / 3)
    assert (other["num_documents"], other["gain_error"]) == (9, 0.003)
    assert "<td>1.0000 [0.94, 1.06]</td><td>1.2000</td><td>0.2000 ± 0.003</td>" in page
    assert "1.2500 ± 0.010" in " ".join(ratchet(run, "show", "1").split()), "of all twelve"


def test_one_unit_has_no_error_and_none_is_printed(run: Path) -> None:
    store = Store(str(run / "ratchet.duckdb"), str(run / "snapshots"))
    for table in ("gate_test", "evaluation"):
        store.database.connection.execute(f"UPDATE {table} SET standard_error = 'nan'")
    store.database.connection.execute("UPDATE decision SET num_documents = 1 WHERE generation = 1")
    store.close()
    with open_reader(run) as reader:
        page = write_report(run, reader).read_text()
    output = ratchet(run, "generations") + ratchet(run, "show", "1") + page
    assert "± -" not in output
    assert not re.search(r"\bnan\b", output)
    assert "0.9000 " in output, "the only item"


def test_terminal_controls_in_crawled_text_are_not_passed_on(run: Path) -> None:
    assert "\x1b[31m" not in ratchet(run, "samples", "1")


def test_chat_answers_with_the_champion(run: Path) -> None:
    output = ratchet(run, "chat", "--tokens", "4", text="hello\n\n")
    assert "generation 1" in output
    assert "generation 0" in ratchet(run, "chat", "--generation", "0", "--tokens", "4", text="")


def test_unknown_generation_and_missing_run_are_user_errors(run: Path, tmp_path: Path) -> None:
    assert "no such generation" in ratchet(run, "show", "7", code=2)
    assert "no run here" in ratchet(tmp_path / "nowhere", "status", code=2)


def test_the_report_says_how_far_the_labels_can_be_trusted(run: Path) -> None:
    with open_reader(run) as reader:
        page = " ".join(write_report(run, reader).read_text().split())
    assert "judge is wrong by correctness on 1 of 3 pairs" in page
    assert "errors: 0.75 [0.52, 0.95]" in page
    assert "not possible (it guesses)" in page


def test_report_has_plots_and_nothing_hostile_runs_in_it(run: Path) -> None:
    with open_reader(run) as reader:
        page = write_report(run, reader).read_text()
    assert page.count("data:image/png;base64,") == 7
    assert "built-in/off_topic" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert "the-secret-salt" not in page


def test_a_run_at_work_is_read_from_its_snapshot(run: Path) -> None:
    snapshot = run / "snapshots" / "latest" / "decision.parquet"
    assert snapshot.exists()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run / "ratchet.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        output = ratchet(run, "generations")
    finally:
        holder.communicate("\n", timeout=60)
    assert "the run is working" in output
    assert "promote" in output
