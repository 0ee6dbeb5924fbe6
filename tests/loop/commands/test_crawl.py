"""`ratchet crawl` as a user types it: plan, run, stats, audit, export, forget, curate, and what it
says to mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.store.database import open_database
from tests import ROOT
from tests.crawlers.support.crawling import site, write_recipe
from tests.loop.commands.invoke import invoke


def crawl(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `ratchet crawl` in this process."""
    return invoke("crawl", *arguments)


def crawl_fresh(*arguments: str) -> tuple[int, str]:
    """The same in a process of its own, for commands that run Scrapy: a reactor starts once."""
    command = [sys.executable, "-m", "loop", "crawl", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
    )
    return done.returncode, done.stdout + done.stderr


def test_a_crawl_from_plan_to_forgetting(tmp_path: Path) -> None:
    run, target = str(tmp_path / "run"), tmp_path / "corpus.jsonl"
    with site(["127.0.0.1"], 20) as served:
        recipe = str(write_recipe(tmp_path, served.seeds, max_depth=20, gate_share=0.2))
        code, output = crawl_fresh("plan", recipe)
        assert code == 0, output
        assert "unknown" in output
        assert set(served.asked) == {
            f"{served.seeds[0]}robots.txt",
            f"{served.seeds[0]}.well-known/tdmrep.json",
        }
        code, output = crawl_fresh("run", recipe, "--run", run)
        assert code == 0, output
        assert "fetched 20" in output
        code, output = crawl_fresh("run", recipe, "--run", run)
        assert "Generation 2" in output
    code, output = crawl("stats", "--run", run)
    assert code == 0, output
    assert "Pages" in output
    assert "Diversity" in output
    assert "0 violations" in crawl("audit", "--run", run)[1]
    code, output = crawl("export", str(target), "--run", run)
    assert code == 0, output
    exported = [json.loads(line) for line in target.read_text().splitlines()]
    assert exported
    gone = exported[0]["url"]
    code, output = crawl("forget", gone, "--run", run, "--reason", "asked to")
    assert code == 0, output
    assert "no generation was trained on it" in output
    assert {json.loads(line)["url"] for line in target.read_text().splitlines()} == {
        document["url"] for document in exported[1:]
    }
    code, output = crawl("curate", recipe, "--run", run)
    assert code == 0, output
    with open_database(f"{run}/ratchet.duckdb", read_only=True) as store:
        assert store.execute(
            "SELECT text, status FROM document WHERE url = ?", [gone]
        ).fetchall() == [("", "forgotten")]


def test_the_audit_fails_where_the_log_shows_haste(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    with site(["127.0.0.1"], 5) as served:
        crawl_fresh("run", str(write_recipe(tmp_path, served.seeds)), "--run", run)
    with open_database(f"{run}/ratchet.duckdb") as store:
        store.execute("UPDATE request SET configured_delay_s = 30.0")
    code, output = crawl("audit", "--run", run)
    assert code == 1
    assert "delay" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.toml"], ["recipe", "nowhere.toml"]),
        (["run", "quickstart", "--set", "crawl.polcy=web-1"], ["crawl.polcy", "crawl.policy"]),
        (["run", "quickstart", "--set", "crawl.source=nowhere.Thing"], ["crawl.source"]),
        (["stats", "--run", "/nowhere"], ["--run", "no run"]),
        (["forget", "ftp://x/", "--run", "/nowhere"], ["URL", "http"]),
        (["export", "corpus.csv", "--run", "/nowhere"], ["target", ".parquet"]),
        (["export", "corpus.jsonl", "--run", "/nowhere", "--pool", "all"], ["--pool", "all"]),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(arguments: list[str], words: list[str]) -> None:
    code, output = crawl(*arguments)
    assert code == 2, output
    assert "Traceback" not in output
    for word in words:
        assert word in output


def test_every_command_has_help_with_an_example() -> None:
    for command in ("plan", "run", "audit", "stats", "forget", "export", "curate"):
        code, output = crawl(command, "--help")
        assert code == 0
        assert "Example" in output, command
