"""The dry run: the whole loop through `ray job submit` on a real local Ray, killed and resumed on
its way.

Real Scrapy over loopback, real DuckDB, DeepSpeed ZeRO-2 with two workers, a scripted labeler and a
model of a hundred thousand parameters: the same code path as on a cluster.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.store.database import open_database
from loop.gate.estimates import windows
from loop.gate.suites.scorer import ModelScorer
from loop.recipe.recipe import load_recipe
from tests import ROOT
from tests.ray_head import PATIENCE_S, RAY, wait_for
from trainers.config import BUILT_IN

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]


def submit(environment: dict[str, str], run: Path) -> subprocess.Popen[str]:
    command = [
        "job",
        "submit",
        "--working-dir",
        ".",
        "--",
        "python",
        "loop/run.py",
        "dry_run",
        "--run",
        str(run),
    ]
    return subprocess.Popen(
        [*RAY, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(environment: dict[str, str], run: Path) -> str:
    """The output of a job that runs to its end.

    Ray can drop the working folder of a job whose driver was killed while the next one begins
    (docs/traps.md). The same command then uploads it again, as a user's would.
    """
    for is_last in (False, False, True):
        job = submit(environment, run)
        output, _ = job.communicate(timeout=PATIENCE_S)
        if is_last or "Failed to download runtime_env file package" not in output:
            break
    assert job.returncode == 0, output[-5000:]
    return output


def ratchet(*arguments: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "loop", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_complete(run: Path) -> None:
    """Two decided generations with a control each, no row stored twice, a report, and a champion
    that plain transformers loads."""
    with open_database(str(run / "ratchet.duckdb"), read_only=True) as store:
        decisions = store.sql(
            "SELECT generation, outcome FROM decision WHERE is_lead ORDER BY generation"
        ).fetchall()
        assert [generation for generation, _ in decisions] == [1, 2]
        unfinished = store.sql("SELECT * FROM stage WHERE finished_at IS NULL").fetchall()
        assert unfinished == []
        assert store.sql("SELECT count(*) FROM stage").fetchall() == [(8,)]
        for table, key in (
            ("page", "page_id"),
            ("document", "document_id"),
            ("sample", "sample_id"),
            ("judgment", "judgment_id"),
            ("completion", "completion_id"),
            ("preference", "preference_id"),
            ("request", "request_id"),
            ("burned", "item_id"),
            ("checkpoint", "digest"),
        ):
            rows, keys = store.sql(
                f"SELECT count(*), count(DISTINCT {key}) FROM {table}"
            ).fetchall()[0]
            assert rows == keys, table
            assert rows > 0 or table in ("completion", "preference"), (
                table
            )  # a small crawl may hold no example
        candidates = store.sql("SELECT generation, arm FROM decision ORDER BY ALL").fetchall()
        assert candidates == [(g, arm) for g in (1, 2) for arm in ("picked", "random")]
        assert store.sql("SELECT count(*) FROM picking_test").fetchall() == [(2,)]
        pools = store.sql(
            "SELECT DISTINCT d.pool FROM manifest m JOIN sample s ON s.sample_id = m.item_id"
            " JOIN document d ON d.document_id = s.document_id"
        ).fetchall()
        assert pools == [("train",)], "nothing held out was trained on"
        unchanged = store.sql(
            "SELECT count(*) FROM page WHERE generation = 2 AND status = 304"
        ).fetchall()[0][0]
        assert unchanged > 0, "the second generation asked earlier pages for changes"
    ratchet(
        "judge", "replay", "--run", str(run)
    )  # ends with 1 where an aggregate does not follow from its rows
    assert "data:image/png;base64" in (run / "report.html").read_text()
    champion = next(iter(sorted((run / "models").glob("generation-*"), reverse=True)))
    assert (champion / "README.md").is_file()
    model = AutoModelForCausalLM.from_pretrained(champion)
    tokenizer = AutoTokenizer.from_pretrained(champion)
    assert model(**tokenizer("hello", return_tensors="pt")).logits.shape[-1] == len(tokenizer)


def drivers(run: Path) -> list[psutil.Process]:
    processes = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "loop/run.py" in words and str(run) in words:
            processes.append(process)
    return processes


def stage_is_done(run: Path, generation: int, name: str) -> bool:
    try:
        stages = pq.read_table(run / "snapshots" / "latest" / "stage.parquet").to_pylist()
    except (OSError, pa.ArrowInvalid):  # there is none yet, or it was replaced just now
        return False
    done = {(row["generation"], row["name"]) for row in stages if row["finished_at"] is not None}
    return (generation, name) in done


def kill_after(job: subprocess.Popen[str], run: Path, generation: int, stage: str) -> None:
    """Kill the driver without a warning as soon as a stage is done and the next has begun."""
    wait_for(
        lambda: stage_is_done(run, generation, stage) or job.poll() is not None,
        f"{stage} of {generation}",
    )
    assert job.poll() is None, job.communicate()[0][-5000:]
    for process in drivers(run):
        process.send_signal(signal.SIGKILL)
    job.communicate(timeout=PATIENCE_S)
    assert job.returncode != 0


def test_whole_loop_through_ray_job_submit_with_its_driver_killed_twice(
    ray_cluster: dict[str, str], tmp_path: Path
) -> None:
    """Killed while it trains generation 1, and while it labels generation 2."""
    run = tmp_path / "run"
    for generation, stage in ((1, "label"), (2, "crawl")):
        kill_after(submit(ray_cluster, run), run, generation, stage)
    assert "Generation 2 of 2" in finish(ray_cluster, run)
    again = finish(ray_cluster, run)
    assert "generation 2 is decided" in again, "a finished run does nothing twice"
    assert_complete(run)
    assert "Generation 1" in ratchet("show", "1", "--run", str(run))
    assert "promote" in ratchet("generations", "--run", str(run))
    assert_replays(run, ray_cluster)
    assert_scores(run)


def assert_scores(run: Path) -> None:
    """What two processes scored between them is what one scores alone."""
    config = load_recipe("dry_run", []).gate
    chars, count = config.document_chars, config.document_windows
    with open_database(str(run / "ratchet.duckdb"), read_only=True) as store:
        rows = store.sql(
            "SELECT s.item_id, s.value, d.text, c.path FROM item_score s"
            " JOIN attempt a USING (attempt) JOIN checkpoint c ON c.digest = a.candidate"
            " JOIN document d ON d.document_id = s.item_id"
            " WHERE s.attempt = 1 AND s.suite = 'bits_per_byte' AND a.arm = 'picked'"
            " AND s.model_digest = a.candidate"
            " ORDER BY s.position"
        ).fetchall()
    assert len(rows) >= 8
    (alone,) = ModelScorer([rows[0][3]], 1, 2).bits(
        [windows(text, chars, count, item) for item, _, text, _ in rows]
    )
    assert [value for _, value, _, _ in rows] == pytest.approx(alone, abs=1e-5)


def assert_replays(run: Path, environment: dict[str, str]) -> None:
    """A step, the evidence and a whole generation come out again as they were stored."""
    with open_database(str(run / "ratchet.duckdb"), read_only=True) as store:
        query = "SELECT kind, max(step) FROM train_step WHERE generation = 1 GROUP BY kind"
        last_steps = dict(store.sql(query).fetchall())
    # A small crawl may hold no example, and few preferences.
    kinds = [kind for kind in BUILT_IN if kind in last_steps]
    assert kinds[0] == "pretrain"
    # All kinds before the last one are trained again on the way to it.
    step = ["replay", "1", str(last_steps[kinds[-1]]), "--kind", kinds[-1]]
    assert "the same" in ratchet(*step, "--run", str(run))
    assert "0 wrong" in ratchet("verify", "--run", str(run))
    for arm in ("picked", "random"):
        options = ["--arm", arm, "--run", str(run)]
        again = ratchet("reproduce", "2", *options, environment=environment)
        assert "the same model, bit for bit" in again
