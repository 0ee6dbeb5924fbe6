"""Bad input ends in a short error that names key, value and remedy, and in the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crawlers.sources.builtin_site import serving, write_index
from tests import ROOT

pytestmark = pytest.mark.timeout(1800)


def run_loop(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `python loop/run.py`."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "loop/run.py", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    return done.returncode, done.stdout + done.stderr


def assert_user_error(outcome: tuple[int, str], *words: str) -> None:
    code, output = outcome
    assert code == 2, output
    assert "Traceback" not in output
    last = [line for line in output.strip().splitlines() if line.startswith("error:")]
    assert last, output
    for word in words:
        assert word in last[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no_such_recipe"], ["recipe", "no_such_recipe", "quickstart"]),
        (
            ["dry_run", "--set", "train.sft.learning_rat=1"],
            ["train.sft.learning_rat", "train.sft.learning_rate"],
        ),
        (["dry_run", "--set", "generations=many"], ["generations", "many"]),
        (
            ["dry_run", "--set", 'crawl.seeds=["not a url"]'],
            ["crawl.seeds", "not a url", "https://"],
        ),
        (["dry_run", "--set", 'crawl.seeds=["https://example.org/"]'], ["crawl.contact"]),
        (["dry_run", "--set", "nonsense"], ["--set", "nonsense", "key=value"]),
    ],
)
def test_mistakes_in_the_recipe_are_found_before_anything_starts(
    arguments: list[str], words: list[str]
) -> None:
    outcome = run_loop(*arguments)
    assert_user_error(outcome, *words)
    assert "starting Ray" not in outcome[1]


def test_help_shows_examples() -> None:
    code, output = run_loop("--help")
    assert code == 0
    assert "ray job submit" in output


@pytest.mark.ray
def test_unreachable_site(tmp_path: Path) -> None:
    seeds = 'crawl.seeds=["http://127.0.0.1:9/"]'
    outcome = run_loop(
        "dry_run", "--run", str(tmp_path / "run"), "--set", seeds, "--set", "crawl.timeout_s=20.0"
    )
    assert_user_error(outcome, "crawl.seeds", "http://127.0.0.1:9/", "could not be read")


@pytest.mark.ray
def test_site_whose_robots_forbid_everything(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    write_index(site)
    (site / "robots.txt").write_text("User-agent: *\nDisallow: /\n")
    with serving(site) as url:
        outcome = run_loop(
            "dry_run", "--run", str(tmp_path / "run"), "--set", f'crawl.seeds=["{url}"]'
        )
    assert_user_error(outcome, "crawl.seeds", url, "robots.txt forbids")


@pytest.mark.ray
def test_model_folder_that_does_not_load(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"garbage")
    outcome = run_loop("dry_run", "--run", str(tmp_path / "run"), "--set", f"model.base={model}")
    assert_user_error(outcome, "model.base", str(model), "does not load")


@pytest.mark.ray
def test_damaged_database_and_foreign_run_are_left_as_they_are(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    damaged = b"this is no database" * 500
    (run / "ratchet.duckdb").write_bytes(damaged)
    assert_user_error(run_loop("dry_run", "--run", str(run)), "--run", str(run), "cannot be opened")
    assert (run / "ratchet.duckdb").read_bytes() == damaged


@pytest.mark.ray
def test_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    nothing = ["--set", 'crawl.seeds=["http://127.0.0.1:9/"]', "--set", "crawl.timeout_s=20.0"]
    run_loop("dry_run", "--run", run, *nothing)
    outcome = run_loop("dry_run", "--run", run, *nothing, "--set", "seed=5")
    assert_user_error(outcome, "--run", run, "another recipe", "seed")
