"""`ratchet judge` as its user calls it, with the scripted labeler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.store import Store
from infra.store.database import open_database
from loop.record.locations import DATABASE
from tests.loop.commands.invoke import invoke


def judge(*arguments: str) -> tuple[int, str]:
    return invoke("judge", *arguments)


def test_a_datasheet_is_shown_stored_and_drawn(tmp_path: Path) -> None:
    run, output = tmp_path / "run", tmp_path / "sheets"
    run.mkdir()
    Store(str(run / DATABASE)).close()
    gold = tmp_path / "gold.jsonl"
    pairs = [
        {"prompt": f"q{i}", "a": "yes " * 9, "b": "no " * 9, "label": "AB"[i % 2]}
        for i in range(120)
    ]
    gold.write_text("\n".join(map(json.dumps, pairs)))
    code, text = judge(
        "datasheet",
        "dry_run",
        "--gold",
        str(gold),
        "--run",
        str(run),
        "--output",
        str(output),
        "--set",
        "judge.scripted.accuracy=0.95",
    )
    assert code == 0, text
    assert "may label" in text
    (sheet,) = json.loads((output / "datasheet.json").read_text())
    assert sheet["admitted"]
    assert sheet["accuracy"]["value"] > 0.85
    assert (output / "datasheet.png").read_bytes().startswith(b"\x89PNG")
    with open_database(str(run / DATABASE), read_only=True) as store:
        assert store.execute("SELECT gold, accuracy FROM datasheet").fetchall() == [
            (sheet["gold"], sheet["accuracy"])
        ]


def test_what_a_labeler_without_answers_does_not_show_is_a_dash_and_null(tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    pairs = [{"prompt": f"q{i}", "a": "right", "b": "wrong", "label": "A"} for i in range(8)]
    gold.write_text("\n".join(map(json.dumps, pairs)))
    options = ["--output", str(tmp_path), "--set", "judge.scripted.unscored_share=1.0"]
    code, text = judge("datasheet", "dry_run", "--gold", str(gold), *options)
    assert code == 0, text
    assert "nan" not in text.lower()
    assert "NaN" not in (tmp_path / "datasheet.json").read_text()


def test_a_labeler_that_guesses_is_refused_loudly() -> None:
    code, text = judge(
        "datasheet", "dry_run", "--rubric", "relevance", "--set", "judge.scripted.accuracy=0.5"
    )
    assert code == 0, text
    assert "NOT better than a trivial baseline" in text


def test_attacks_are_listed_with_what_they_turned() -> None:
    code, text = judge(
        "attack", "dry_run", "--rubric", "relevance", "--set", "judge.scripted.injection_weakness=9"
    )
    assert code == 0, text
    assert "role tokens" in text
    assert "1.000" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["datasheet", "dry_run", "--gold", "/nowhere"], ["--gold", "/nowhere"]),
        (["datasheet", "dry_run", "--rubric", "beauty"], ["--rubric", "beauty", "helpfulness"]),
        (["datasheet", "dry_run", "--run", "/nowhere", "--limit", "2"], ["--run", "no run"]),
        (["attack", "dry_run", "--method", "dowsing"], ["--method", "dowsing"]),
        (["datasheet", "dry_run", "--set", "judge.kind=oracle"], ["judge.kind", "oracle"]),
        (
            [
                "datasheet",
                "dry_run",
                "--set",
                "judge.kind=endpoint",
                "--set",
                "judge.endpoint.url=file:///etc/passwd",
            ],
            ["judge.endpoint.url"],
        ),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(arguments: list[str], words: list[str]) -> None:
    code, text = judge(*arguments)
    assert code == 2, text
    assert "Traceback" not in text
    for word in words:
        assert word in text


def test_every_command_has_help_with_an_example() -> None:
    for command in ("datasheet", "attack"):
        code, text = judge(command, "--help")
        assert code == 0
        assert "Example" in text
