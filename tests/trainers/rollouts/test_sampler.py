from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.models.folders import load_model, load_tokenizer, resolve_model
from trainers.batches.packing import make_pack
from trainers.batches.rows import completed_row
from trainers.models.modules import load_policy
from trainers.rollouts.sampler import (
    SampleRequest,
    SamplingLimits,
    Trajectory,
    TransformersSampler,
    draw,
)


def sampler(folder: Path, **limits: object) -> TransformersSampler:
    options = {"max_new_tokens": 12, "temperature": 1.0} | limits
    return TransformersSampler(
        load_model(folder), load_tokenizer(folder), SamplingLimits(**options)
    )  # type: ignore[arg-type]


REQUESTS = [
    SampleRequest(prompt, seed)
    for seed, prompt in enumerate(
        [(5, 6, 7), (9,), tuple(range(40, 75)), (5, 6, 7), (100, 101, 102, 103, 104)]
    )
]


@pytest.mark.parametrize("name", ["tiny:llama", "tiny:qwen"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_equal_a_teacher_forced_forward(name: str, temperature: float) -> None:
    folder = resolve_model(name, "m")
    policy = load_policy(folder)
    for trajectory in sampler(folder, temperature=temperature).sample(REQUESTS, 7):
        pack = make_pack([completed_row(trajectory.prompt_ids, trajectory.completion_ids)])
        expected = policy(pack, temperature).logps_N
        assert torch.allclose(torch.tensor(trajectory.logps), expected, atol=1e-5)
        assert trajectory.weight_version == 7
        assert len(trajectory.logps) == len(trajectory.completion_ids)


def test_a_completion_does_not_depend_on_what_it_is_batched_with(tiny_folder: Path) -> None:
    one = sampler(tiny_folder)
    together = one.sample(REQUESTS, 0)
    alone = [one.sample([request], 0)[0] for request in reversed(REQUESTS)][::-1]
    assert [t.completion_ids for t in together] == [t.completion_ids for t in alone]
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(torch.tensor(a.logps), torch.tensor(b.logps), atol=1e-5)
    assert together[0].completion_ids != together[3].completion_ids, "one prompt, two seeds"


class Ends:
    """A model that says one token after another, whatever it is asked."""

    def __init__(self, *tokens: int) -> None:
        self._tokens, self._position = tokens, 0

    def parameters(self) -> object:
        return iter([torch.zeros(1)])

    def __call__(self, input_ids: torch.Tensor, **_: object) -> object:
        logits = torch.full((input_ids.shape[0], 1, 259), -1e4)
        logits[..., self._tokens[min(self._position, len(self._tokens) - 1)]] = 0.0
        self._position += 1
        return type("Output", (), {"logits": logits})()


def trajectory(tiny_folder: Path, *tokens: int, stop: tuple[str, ...] = ()) -> Trajectory:
    limits = SamplingLimits(4, 1.0, stop)
    return TransformersSampler(Ends(*tokens), load_tokenizer(tiny_folder), limits).sample(
        [SampleRequest((1,), 0)], 0
    )[0]


def test_how_a_completion_ends(tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    a, b, end = *tokenizer("ab").input_ids, tokenizer.eos_token_id
    assert trajectory(tiny_folder, a, end, a).completion_ids == (a, end), (
        "the end token is kept, and trained"
    )
    assert trajectory(tiny_folder, a, end, a).finish == "end"
    assert trajectory(tiny_folder, a).finish == "length"
    assert len(trajectory(tiny_folder, a).completion_ids) == 4
    stopped = trajectory(tiny_folder, a, b, b, stop=("bb",))
    assert (stopped.finish, stopped.completion_ids) == ("stop", (a, b, b))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 2.0))
def test_draws_follow_the_distribution(seed: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 6, generator=generator)
    count = 4000
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens, logps = draw(logits.expand(count, -1), uniform, temperature)
    p = (logits[0] / temperature).softmax(-1)
    frequencies = torch.bincount(tokens, minlength=6) / count
    assert torch.allclose(frequencies, p, atol=2 / count), (
        "evenly spread numbers give the distribution itself"
    )
    assert torch.allclose(logps.exp(), p[tokens], atol=1e-6)


def test_the_largest_number_still_draws_a_token() -> None:
    tokens, logps = draw(torch.zeros(1, 5), torch.tensor([1.0 - 1e-17], dtype=torch.float64), 1.0)
    assert int(tokens) == 4
    assert float(logps) == pytest.approx(-math.log(5))
