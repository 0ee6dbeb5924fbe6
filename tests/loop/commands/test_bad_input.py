"""Bad input ends in a short error that names key, value and remedy, and in the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crawlers.sources.builtin_site import serving, write_index
from loop.run import app as run_app
from tests import ROOT
from tests.loop.commands.invoke import assert_user_error, invoke

pytestmark = pytest.mark.timeout(1800)
UNREACHABLE = "http://127.0.0.1:9/"


def run_here(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `python loop/run.py`, in this process; Ray must not start."""
    outcome = invoke(*arguments, app=run_app)
    assert "Ray" not in outcome[1]
    return outcome


def run_loop(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and output of `python loop/run.py` on the cluster of this environment."""
    done = subprocess.run(
        [sys.executable, "loop/run.py", *arguments],
        cwd=ROOT,
        env=environment | {"HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    return done.returncode, done.stdout + done.stderr


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
        (["dry_run", "--set", "judge.prompts=nowhere.jsonl"], ["judge.prompts", "nowhere.jsonl"]),
        (["dry_run", "--set", "judge.gold.relevance=nowhere"], ["nowhere"]),
    ],
)
def test_mistakes_in_the_recipe_are_found_before_anything_starts(
    arguments: list[str], words: list[str]
) -> None:
    assert_user_error(run_here(*arguments), *words)


def test_a_model_that_does_not_load_is_found_before_ray_starts(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"garbage")
    run = ["--run", str(tmp_path / "run")]
    outcome = run_here("dry_run", *run, "--set", f"model.base={model}")
    assert_user_error(outcome, "model.base", str(model), "does not load")


def test_a_damaged_database_is_found_before_ray_starts_and_left_as_it_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    damaged = b"this is no database" * 500
    (run / "ratchet.duckdb").write_bytes(damaged)
    outcome = run_here("dry_run", "--run", str(run))
    assert_user_error(outcome, "--run", str(run), "cannot be opened")
    assert (run / "ratchet.duckdb").read_bytes() == damaged


def test_a_file_in_place_of_the_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    outcome = run_here("dry_run", "--run", str(tmp_path / "run"))
    assert_user_error(outcome, "--run", "this is a file")


@pytest.mark.parametrize("name", ["file/run", "x" * 300])
def test_a_run_whose_folder_cannot_be_made_is_refused_before_ray_starts(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("a file")
    assert_user_error(run_here("dry_run", "--run", str(tmp_path / name)), "--run")
    crawl = invoke("crawl", "run", "dry_run", "--run", str(tmp_path / name))
    assert_user_error(crawl, "--run")


@pytest.mark.ray
def test_an_unreachable_site_is_named_and_its_run_belongs_to_its_recipe(
    ray_cluster: dict[str, str], tmp_path: Path
) -> None:
    run = str(tmp_path / "run")
    arguments = ["dry_run", "--run", run, "--set", f'crawl.seeds=["{UNREACHABLE}"]']
    arguments += ["--set", "crawl.timeout_s=20.0"]
    outcome = run_loop(ray_cluster, *arguments)
    assert_user_error(outcome, "crawl.seeds", UNREACHABLE, "could not be read")
    outcome = run_loop(ray_cluster, *arguments, "--set", "seed=5")
    assert_user_error(outcome, "--run", run, "another recipe", "seed")


@pytest.mark.ray
def test_site_whose_robots_forbid_everything(ray_cluster: dict[str, str], tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    write_index(site)
    (site / "robots.txt").write_text("User-agent: *\nDisallow: /\n")
    with serving(site) as url:
        seeds = f'crawl.seeds=["{url}"]'
        outcome = run_loop(ray_cluster, "dry_run", "--run", str(tmp_path / "run"), "--set", seeds)
    assert_user_error(outcome, "crawl.seeds", url, "robots.txt forbids")


def test_python_loop_run_py_works_as_a_script() -> None:
    done = subprocess.run(
        [sys.executable, "loop/run.py", "--help"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "ray job submit" in done.stdout
