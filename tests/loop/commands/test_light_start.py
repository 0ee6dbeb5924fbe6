"""Help, errors and a misspelt recipe are answered without the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests import ROOT
from tests.loop.commands.invoke import HEAVY

SCRIPT = """
import json, sys
sys.argv = ["command", *json.loads(sys.argv[1])]
from {module} import app
code = 0
try:
    app()
except SystemExit as error:
    code = error.code or 0
print()
print(json.dumps([code, [name for name in json.loads(sys.stdin.read()) if name in sys.modules]]))
"""


def run_fresh(module: str, *arguments: str) -> tuple[str, int, list[str]]:
    """(output, exit code, heavy modules loaded) of a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module), json.dumps(arguments)],
        cwd=ROOT,
        input=json.dumps(HEAVY),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    code, heavy = json.loads(done.stdout.strip().splitlines()[-1])
    return done.stdout, code, heavy


@pytest.mark.parametrize(
    ("module", "arguments", "code", "words"),
    [
        ("loop.commands.main", ["--version"], 0, "ratchet"),
        ("loop.commands.main", ["--help"], 0, "lineage"),
        ("loop.commands.main", ["judge", "--help"], 0, "datasheet"),
        ("loop.commands.main", ["status", "--run", "/nowhere"], 2, "no run here"),
        ("loop.commands.main", ["crawl", "run", "quickstrat"], 2, "no such recipe"),
        ("loop.commands.main", ["judge", "datasheet", "--rubric", "nope"], 2, "no such rubric"),
        ("loop.commands.main", ["judge", "datasheet", "--gold", "nosuch"], 2, "no gold files"),
        ("loop.commands.main", ["judge", "attack", "--gold", "nosuch"], 2, "no gold files"),
        ("loop.commands.main", ["judge", "run", "no.jsonl", "--output", "x"], 2, "no such file"),
        (
            "loop.commands.main",
            ["judge", "run", "no.jsonl", "--output", "x", "--gold", "nosuch"],
            2,
            "no gold files",
        ),
        ("loop.commands.main", ["judge", "cost", "quickstrat"], 2, "no such recipe"),
        ("loop.commands.main", ["plan", "--gain", "nan"], 2, "--gain"),
        ("loop.commands.main", ["plan", "--deviation", "-1"], 2, "--deviation"),
        ("loop.run", ["--help"], 0, "ray job submit"),
        ("loop.run", ["quickstart", "--set", "train.sft.epoch=1"], 2, "train.sft.epochs"),
        ("loop.run", ["quickstart", "--set", "gate.suites.x.kind=odd"], 2, "gate.suites.x"),
        ("loop.run", ["dry_run", "--run", "README.md"], 2, "this is a file"),
        ("loop.run", ["dry_run", "--set", "model.base=/nope"], 2, "model.base"),
        ("loop.run", ["quickstart", "--set", "judge.model=/nope"], 2, "judge.model"),
        ("loop.run", ["dry_run", "--set", "crawl.held_out_files=['/nope']"], 2, "held_out_files"),
        ("loop.run", ["dry_run", "--set", "judge.prompts=/nope"], 2, "judge.prompts"),
        ("loop.run", ["dry_run", "--set", "train.steps=['no:Class']"], 2, "train.steps"),
        ("loop.run", ["dry_run", "--set", "train.rl.rewards={'no:Class'=1}"], 2, "rl.rewards"),
    ],
)
def test_an_answer_needs_none_of_the_heavy_libraries(
    module: str, arguments: list[str], code: int, words: str
) -> None:
    output, exit_code, heavy = run_fresh(module, *arguments)
    assert exit_code == code, output
    assert words in output
    assert heavy == []


def test_the_check_sees_a_heavy_module() -> None:
    assert "scipy" in HEAVY
    script = SCRIPT.format(module="loop.commands.main").replace(
        "import json, sys", "import json, sys, scipy"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(["--version"])],
        cwd=ROOT,
        input=json.dumps(HEAVY),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert json.loads(done.stdout.strip().splitlines()[-1])[1] == ["scipy"]
