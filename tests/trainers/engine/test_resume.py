"""Points to resume from: bit for bit on as many ranks, within rounding on more or fewer, and never
from bad files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from infra.models.folders import load_model
from tests.trainers.engine.test_engine import ROWS
from tests.trainers.support.ranks import job, make_task, run_ranks
from trainers.engine.resume_points import latest_resume_point, write_resume_point
from trainers.task import Task

CONFIG = {
    "batch_tokens": 120,
    "max_tokens": 128,
    "num_workers": 2,
    "precision": "float32",
    "save_steps": 2,
    "sft": {"learning_rate": 1e-3},
    "weight_decay": 0.01,
}
CASES: dict[str, dict[str, Any]] = {
    "stage 1": {"zero_stage": 1},
    "stage 2": {"zero_stage": 2},
    "stage 3": {"zero_stage": 3},
    "stage 2, offloaded": {"zero_stage": 2, "offload_optimizer": True},
    "stage 3, offloaded": {"zero_stage": 3, "offload_optimizer": True},
    "stage 1, bfloat16": {"zero_stage": 1, "precision": "bfloat16"},
    "stage 2, bfloat16": {"zero_stage": 2, "precision": "bfloat16"},
    "stage 3, bfloat16": {"zero_stage": 3, "precision": "bfloat16"},
    "stage 2, adapters": {"zero_stage": 2, "lora_rank": 4},
}


def weights(task: Task) -> dict[str, torch.Tensor]:
    return dict(load_file(Path(task.target) / "model.safetensors"))


def largest_difference(one: Task, other: Task) -> float:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.fixture(scope="module", params=[1, 2], ids=["1 rank", "2 ranks"])
def runs(
    request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Task, Task]]:
    """Every case trained at a stretch, and stopped before step 5 of 8 and run again, which goes on
    after step 4."""
    folder = tmp_path_factory.mktemp(f"resume{request.param}")
    tasks, jobs = {}, []
    for name, settings in CASES.items():
        straight, stopped = (
            make_task("sft", tiny_folder, folder / how / name.replace(", ", "-"), ROWS)
            for how in ("straight", "stopped")
        )
        config = CONFIG | settings
        jobs += [job(straight, config), job(stopped, config, stop_before=5), job(stopped, config)]
        tasks[name] = (straight, stopped)
    run_ranks(request.param, jobs)
    return tasks


@pytest.mark.ray
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_ends_with_the_very_same_weights(
    runs: dict[str, tuple[Task, Task]], name: str
) -> None:
    straight, stopped = runs[name]
    assert largest_difference(straight, stopped) == 0.0
    steps = stopped.metrics()
    assert [s.step for s in steps] == list(range(len(steps))), (
        "steps that were run again are listed once"
    )
    assert [s.loss for s in steps] == [s.loss for s in straight.metrics()]
    assert not stopped.points_folder().exists(), "points go when the task is done"


@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_ranks_and_stages_may_change_on_the_way(tiny_folder: Path, tmp_path: Path) -> None:
    straight = make_task("sft", tiny_folder, tmp_path / "straight", ROWS)
    changing = make_task("sft", tiny_folder, tmp_path / "changing", ROWS)
    run_ranks(
        2, [job(straight, CONFIG | {"zero_stage": 2}), job(changing, CONFIG | {"zero_stage": 2}, 3)]
    )
    run_ranks(1, [job(changing, CONFIG | {"zero_stage": 1}, 5)])
    run_ranks(2, [job(changing, CONFIG | {"zero_stage": 3})])
    assert largest_difference(straight, changing) <= 1e-5


def point(folder: Path, num_steps: int, value: float) -> None:
    tensors = {"weight/a": torch.full((3,), value), "steps": torch.tensor([float(num_steps)])}
    write_resume_point(folder, num_steps, "task", {"model": iter(tensors.items())}, first=True)


def test_a_point_with_an_altered_or_missing_file_is_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point(tmp_path, 2, 1.0)
    point(tmp_path, 4, 2.0)
    latest = latest_resume_point(tmp_path, "task")
    assert latest is not None
    assert latest.num_steps == 4
    assert float(latest.load("model")["weight/a"][0]) == 2.0
    file = tmp_path / "step-00000004" / "model-00000.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    earlier = latest_resume_point(tmp_path, "task")
    assert earlier is not None
    assert earlier.num_steps == 2
    assert "was changed" in capsys.readouterr().out
    (tmp_path / "step-00000002" / "model-00000.safetensors").unlink()
    assert latest_resume_point(tmp_path, "task") is None
    assert "cannot resume" in capsys.readouterr().out


def test_points_of_another_task_are_not_taken_up(tmp_path: Path) -> None:
    point(tmp_path, 2, 1.0)
    assert latest_resume_point(tmp_path, "other") is None


def test_only_the_last_points_are_kept(tmp_path: Path) -> None:
    for num_steps in (2, 4, 6, 8):
        point(tmp_path, num_steps, 1.0)
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-00000006", "step-00000008"]


def test_a_manifest_that_is_garbage_costs_nothing(tmp_path: Path) -> None:
    point(tmp_path, 2, 1.0)
    point(tmp_path, 4, 1.0)
    (tmp_path / "step-00000004" / "point.json").write_text("{")
    latest = latest_resume_point(tmp_path, "task")
    assert latest is not None
    assert latest.num_steps == 2
    (tmp_path / "step-00000002" / "point.json").write_text(json.dumps([1]))
    assert latest_resume_point(tmp_path, "task") is None
    shutil.rmtree(tmp_path / "step-00000002")


def test_adapters_are_merged_into_a_plain_model(tiny_folder: Path, tmp_path: Path) -> None:
    from trainers.models.adapters import add_adapters, merged_weights

    model = add_adapters(load_model(tiny_folder), 4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.tensor([[1, 2, 3, 4]])
    expected = model(input_ids=ids).logits
    with merged_weights(model) as (plain, state):
        plain.save_pretrained(tmp_path / "m", state_dict=state)
    assert torch.allclose(load_model(tmp_path / "m")(input_ids=ids).logits, expected, atol=1e-5)
