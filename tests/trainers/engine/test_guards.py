"""What is refused before anything is trained, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infra.errors import StageError, UserError
from infra.models.folders import load_model
from tests.trainers.support.rewarders import Letters
from trainers.config import TrainConfig
from trainers.engine import guards, memory
from trainers.engine.guards import check_same_weights, parameter_digest
from trainers.engine.memory import (
    RankMemory,
    free_memory,
    parameter_count,
    rank_memory,
    require_memory,
)
from trainers.models.kernels import check_kernels
from trainers.rollouts.rewards import RewardRequest, weighted_sum
from trainers.steps.base import require_finite
from trainers.steps.language import SupervisedFineTuning
from trainers.steps.running import step_kind
from trainers.task import Task

BILLION = 10**9


def test_parameters_are_counted_from_the_headers(tiny_folder: Path) -> None:
    named = dict(
        load_model(tiny_folder).named_parameters()
    )  # tied weights are named, and stored, once
    assert parameter_count(tiny_folder) == sum(p.numel() for p in named.values())


@pytest.mark.parametrize(
    ("settings", "ranks", "half", "expected"),
    [
        ({"zero_stage": 1}, 1, False, RankMemory(20 * BILLION, 0)),
        ({"zero_stage": 1}, 4, True, RankMemory(7 * BILLION, 0)),
        ({"zero_stage": 2}, 4, True, RankMemory(int(5.5 * BILLION), 0)),
        ({"zero_stage": 3}, 4, True, RankMemory(4 * BILLION, 0)),
        ({"zero_stage": 3, "offload_optimizer": True}, 4, True, RankMemory(BILLION, 3 * BILLION)),
    ],
)
def test_memory_of_a_rank_follows_the_zero_paper(
    settings: dict[str, object], ranks: int, half: bool, expected: RankMemory
) -> None:
    """A billion parameters: 2 + 2 + 12 bytes each in half precision, shared out by the stage."""
    assert rank_memory(BILLION, TrainConfig(**settings), ranks, half) == expected  # type: ignore[arg-type]


def test_a_model_that_does_not_fit_is_refused_with_what_would(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_memory(tiny_folder, TrainConfig())
    count = parameter_count(tiny_folder)
    monkeypatch.setattr(memory, "free_memory", lambda: 19 * count)
    with pytest.raises(
        UserError,
        match=r"train.zero_stage = .*GB per rank.*It fits with train.zero_stage = 3, train.pre",
    ):
        require_memory(tiny_folder, TrainConfig(precision="float32"))
    monkeypatch.setattr(memory, "free_memory", lambda: count // 100)
    with pytest.raises(UserError, match=r"such ranks with train.zero_stage = 3"):
        require_memory(tiny_folder, TrainConfig(precision="float32"))


def test_free_memory_is_shared_by_the_ranks_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_host_limits", lambda: iter([8000, 6000]))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert free_memory() == 2000


@pytest.mark.parametrize("key", ["flash_attention", "liger_kernels"])
def test_kernels_that_cannot_run_here_are_refused(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_kernels(TrainConfig())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"train.{key} = 'True': these kernels need CUDA"):
        check_kernels(TrainConfig(**{key: True}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="is not installed"):
        check_kernels(TrainConfig(**{key: True}))


def test_a_rank_with_other_weights_stops_the_run(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_folder)
    check_same_weights(model)
    first = parameter_digest(model)
    model.lm_head.weight.data[0, 0] += 1e-3
    monkeypatch.setattr(guards.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(
        guards.dist, "broadcast_object_list", lambda box, src: box.__setitem__(0, first)
    )
    with pytest.raises(StageError, match="this rank's weights differ from rank 0's"):
        check_same_weights(model)


def test_weights_and_losses_that_are_not_finite_stop_the_run(tiny_folder: Path) -> None:
    model = load_model(tiny_folder)
    model.lm_head.weight.data[0, 0] = float("nan")
    with pytest.raises(StageError, match="not finite"):
        check_same_weights(model)
    task = Task("sft", "", "", 1, 0, "")
    require_finite(task, 3, 1.0)
    with pytest.raises(StageError, match="sft step 3"):
        require_finite(task, 3, float("inf"))


def test_a_step_of_ones_own_is_found_by_its_path() -> None:
    assert step_kind("trainers.steps.language:SupervisedFineTuning") is SupervisedFineTuning
    with pytest.raises(UserError, match="cannot be imported"):
        step_kind("nowhere:Nothing")


def test_sources_of_rewards_are_summed_and_silence_is_no_number() -> None:
    parts = {"one": [1.0, None, 3.0], "two": [10.0, 20.0, None]}
    assert weighted_sum(parts, {"one": 2.0, "two": 0.5}) == [7.0, None, None]
    assert Letters().rewards([RewardRequest("p", "abcd1234")]) == [0.5]
