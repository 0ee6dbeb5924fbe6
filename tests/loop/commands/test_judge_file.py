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
        ([{"prompt": "only"}], "line 1': the row has prompt; nearest is the form"),
        (["no object"], "line 1': it is not a JSON object."),
        ([{"text": 5}], 'the value of "text" is not a string.'),
        ([{"text": "a", "prompt": 5}], 'the value of "prompt" is not a string.'),
        ([{"a": "x", "b": ["y"]}], 'the value of "b" is not a string.'),
        ([{"a": "x"}], "nearest is the form pair, which needs b."),
        ([{"a": "x", "b": "y", "label": "C"}], "the label 'C' is not one of A, B, tie."),
        ([{"a": "x", "b": "y", "label": ["A"]}], "the label ['A'] is not one of A, B, tie."),
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


def test_ids_and_texts_come_out_with_the_judgments(tmp_path: Path) -> None:
    rows = [{"id": f"n{i}", "prompt": f"q{i % 20}", "text": f"t{i % 20}"} for i in range(25)]
    output = tmp_path / "o"
    arguments = ["--output", str(output), "--rubric", "relevance", "--anyway", *DIALS]
    code, text = judge("run", lines(tmp_path / "rows.jsonl", rows), *arguments)
    assert code == 0, text
    judged = [json.loads(line) for line in (output / "judged.jsonl").read_text().splitlines()]
    assert [(one["id"], one["text"]) for one in judged] == [(r["id"], r["text"]) for r in rows]
    assert judged[0]["value"] == judged[20]["value"], "an equal row is judged once"
    assert json.loads((output / "summary.json").read_text())["num_items"] == 20


def test_a_folder_belongs_to_one_labeler(tmp_path: Path) -> None:
    file = lines(tmp_path / "rows.jsonl", [{"text": "a"}])
    arguments = ["--output", str(tmp_path / "o"), "--rubric", "relevance", "--anyway"]
    assert judge("run", file, *arguments, *DIALS)[0] == 0
    other = ["--recipe", "dry_run", "--set", "judge.scripted.accuracy=0.9"]
    code, text = judge("run", file, *arguments, *other)
    assert code == 2, text
    assert "by scripted@0.95" in text.replace("\n", " ")


def test_a_form_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    file = lines(tmp_path / "rows.jsonl", [{"text": "a"}])
    code, text = judge("run", file, "--output", str(tmp_path / "o"), "--form", "novel", *DIALS)
    assert code == 2
    assert "rewardbench" not in text
    assert "chosen" in text.replace("\n", " ")
