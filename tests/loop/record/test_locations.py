from __future__ import annotations

from pathlib import Path

import pytest

from loop.record.locations import default_root, run_folder


def test_runs_go_below_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RATCHET_RUNS", raising=False)
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert run_folder("name", None) == tmp_path / "runs" / "name"
    assert run_folder("name", "here/there") == tmp_path / "here" / "there"
    assert run_folder("name", "/elsewhere") == Path("/elsewhere")


def test_a_submitted_job_keeps_nothing_in_its_passing_copy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RATCHET_RUNS", raising=False)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert run_folder("name", None) == tmp_path / "ratchet" / "runs" / "name"
    assert run_folder("name", "runs/mine") == tmp_path / "ratchet" / "runs" / "mine"
    assert run_folder("name", "/shared/x") == Path("/shared/x")
    monkeypatch.setenv("RATCHET_RUNS", "/shared/runs")
    assert default_root() == Path("/shared/runs")
