"""`ratchet judge run | replay | cost` as their user calls them, with the scripted labeler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infra.store.database import open_database
from loop.record.locations import DATABASE
from tests.loop.commands.test_judge import judge

DIALS = ["--recipe", "dry_run", "--set", "judge.scripted.accuracy=0.95"]


def lines(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def pairs(number: int) -> list[dict[str, object]]:
    return [
        {"prompt": f"q{i}", "a": f"one {i}", "b": f"other {i}", "label": "A" if i % 3 else "B"}
        for i in range(number)
    ]


@pytest.mark.timeout(600)
def test_pairs_are_judged_summed_up_and_computed_again(tmp_path: Path) -> None:
    file, gold, output = (
        lines(tmp_path / "pairs.jsonl", pairs(90)),
        lines(tmp_path / "gold.jsonl", pairs(200)),
        tmp_path / "o",
    )
    code, text = judge("run", file, "--output", str(output), "--gold", gold, *DIALS)
    assert code == 0, text
    assert "corrected for its errors" in text
    summary = json.loads((output / "summary.json").read_text())
    assert summary["num_items"] == 90
    assert summary["win_rate"]["value"] == pytest.approx(2 / 3, abs=0.1)
    assert summary["corrected"]["low"] < 2 / 3 < summary["corrected"]["high"]
    table = pq.read_table(output / "judgments.parquet")
    assert table.num_rows == 90
    assert {"distribution", "subject_hashes", "raw", "template_digest"} <= set(table.column_names)
    code, text = judge("run", file, "--output", str(output), "--gold", gold, *DIALS)
    assert "90 of them were judged before" in text
    code, text = judge("replay", "--run", str(output))
    assert code == 0, text
    code, text = judge("run", file, "--output", str(output), "--rubric", "relevance", *DIALS)
    assert code == 2, "a folder holds the judgments of one rubric on one file"
    assert "another rubric" in text.replace("\n", " ")
    with open_database(str(output / DATABASE)) as store:
        store.execute("UPDATE judgment SET verdict = 'B' WHERE generation = 1")
    code, text = judge("replay", "--run", str(output))
    assert code == 1
    assert "summary: verdicts" in text


def test_texts_lists_and_checks_are_told_apart(tmp_path: Path) -> None:
    for name, rows, verdict in (
        ("texts", [{"text": f"text {i}", "prompt": "q"} for i in range(20)], "Yes"),
        ("lists", [{"prompt": f"q{i}", "texts": ["a", "b", f"c{i}"]} for i in range(12)], "C"),
        ("checks", [{"check": "math", "answer": "4", "text": t} for t in ("2 + 2", "5")], "right"),
    ):
        output = tmp_path / name
        code, text = judge(
            "run",
            lines(tmp_path / f"{name}.jsonl", rows),
            "--output",
            str(output),
            "--rubric",
            "relevance",
            "--anyway",
            *DIALS,
        )
        assert code == 0, text
        summary = json.loads((output / "summary.json").read_text())
        assert summary["num_items"] == len(rows)
        assert verdict in summary["verdicts"]


def test_a_labeler_that_guesses_judges_nothing_unless_told_to(tmp_path: Path) -> None:
    file = lines(tmp_path / "pairs.jsonl", pairs(6))
    guessing = [
        "--recipe",
        "dry_run",
        "--rubric",
        "relevance",
        "--set",
        "judge.scripted.accuracy=0.5",
    ]
    code, text = judge("run", file, "--output", str(tmp_path / "o"), *guessing)
    assert code == 2
    assert "no better than a trivial rule" in text
    assert not (tmp_path / "o" / "summary.json").exists()
    code, text = judge("run", file, "--output", str(tmp_path / "o"), "--anyway", *guessing)
    assert code == 0, text


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": "a"}, {"a": "x", "b": "y"}], "different kinds"),
        ([{"prompt": "only"}], 'line 1\': the key "text" is missing.'),
        (["no object"], "the line is not a JSON object."),
        ([{"text": 5}], 'the value of "text" is not a string.'),
        ([{"text": "a", "prompt": None}], 'the value of "prompt" is not a string.'),
        ([{"a": "x", "b": ["y"]}], 'the value of "b" is not a string.'),
        ([{"a": "x"}], 'the key "b" is missing.'),
        ([{"a": "x", "b": "y", "label": "C"}], "the label 'C' is not one of A, B, tie."),
        ([{"a": "x", "b": "y", "label": ["A"]}], 'the value of "label" is not a string.'),
        ([{"texts": "abc"}], 'the value of "texts" is not a list of strings.'),
        ([{"texts": ["a", 1]}], 'the value of "texts" is not a list of strings.'),
        ([{"check": "math", "text": 4}], 'the value of "text" is not a string.'),
        ([{"check": "math", "text": "4", "answer": {}}], "neither a string nor a number."),
        ([{"check": 4, "text": "4"}], 'the value of "check" is not a string.'),
        ([{"texts": ["one"]}], "2 to 5"),
        ([{"check": "magic", "text": "x"}], "magic"),
        ([], "no items"),
    ],
)
def test_bad_items_are_named(tmp_path: Path, rows: list[Any], words: str) -> None:
    code, text = judge(
        "run", lines(tmp_path / "bad.jsonl", rows), "--output", str(tmp_path / "o"), *DIALS
    )
    assert code == 2, text
    assert words in text.replace("\n", " ")
    assert "Traceback" not in text


def test_a_rubric_that_needs_a_reference_says_so(tmp_path: Path) -> None:
    code, text = judge(
        "run",
        lines(tmp_path / "x.jsonl", [{"text": "a"}]),
        "--output",
        str(tmp_path / "o"),
        "--rubric",
        "faithfulness",
        *DIALS,
    )
    assert code == 2, text
    assert "--rubric = 'faithfulness'" in text
    assert "needs a reference" in text.replace("\n", " ")


def test_the_cost_is_shown_before_anything_is_asked() -> None:
    code, text = judge(
        "cost",
        "quickstart",
        "--set",
        "judge.endpoint.prompt_price=1000",
        "--set",
        "judge.hard_tokens=10",
    )
    assert code == 0, text
    assert "passages by" in text
    assert "total" in text
    assert "judge.hard_tokens" in text
