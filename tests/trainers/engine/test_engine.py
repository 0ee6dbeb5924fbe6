"""DeepSpeed against plain torch: the same global batch gives the same losses, norms and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from infra.models.folders import load_model, load_tokenizer, resolve_model
from tests.trainers.support.ranks import job, make_task, run_ranks
from trainers.batches.packing import plan_steps
from trainers.batches.rows import Row, RowBuilder
from trainers.config import TrainConfig
from trainers.steps.base import learning_rate_at
from trainers.task import Task

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]
ROWS = [{"prompt": "", "completion": "some text to learn " * n} for n in (1, 5, 2, 7, 3, 4, 6, 2)]
ROWS += [{"prompt": f"question {n}", "completion": "answer " * n} for n in (1, 6, 2, 3, 8, 4)]
COMMON = {
    "batch_tokens": 180,
    "precision": "float32",
    "weight_decay": 0.01,
    "max_tokens": 128,
    "num_workers": 2,
    "sft": {"learning_rate": 1e-3},
    "save_steps": 0,
}
CASES = {
    "llama, stage 1": ("tiny:llama", {"zero_stage": 1, "pack_tokens": 128}),
    "llama, stage 2": ("tiny:llama", {"zero_stage": 2, "pack_tokens": 1024}),
    "llama, stage 3": ("tiny:llama", {"zero_stage": 3, "pack_tokens": 128}),
    "llama, stage 3, offloaded": ("tiny:llama", {"zero_stage": 3, "offload_optimizer": True}),
    "llama, stage 2, recomputed": (
        "tiny:llama",
        {"zero_stage": 2, "activation_checkpointing": True},
    ),
    "qwen, stage 1": ("tiny:qwen", {"zero_stage": 1, "pack_tokens": 1024}),
    "qwen, stage 2": ("tiny:qwen", {"zero_stage": 2, "pack_tokens": 128}),
    "qwen, stage 3": ("tiny:qwen", {"zero_stage": 3, "pack_tokens": 256}),
}


def make_rows(tokenizer: Any) -> list[Row]:
    builder = RowBuilder(tokenizer, 128)
    return [
        builder.demonstration(r["prompt"], r["completion"])
        if r["prompt"]
        else builder.passage(r["completion"])
        for r in ROWS
    ]


def plain_torch(folder: Path, seed: int = 3) -> tuple[list[float], list[float], torch.nn.Module]:
    """The same training in one process without DeepSpeed or packing: padded, one mean over the
    batch's tokens."""
    config = TrainConfig(**COMMON)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    rows = make_rows(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=config.weight_decay)
    plan = plan_steps([len(r) for r in rows], config.batch_tokens, 2, seed)
    model.train()
    losses, norms = [], []
    for number, step in enumerate(plan):
        width = max(len(rows[i]) for i in step)
        ids = torch.tensor([list(rows[i].ids) + [0] * (width - len(rows[i])) for i in step])
        mask = torch.tensor([[1] * len(rows[i]) + [0] * (width - len(rows[i])) for i in step])
        labels = torch.tensor(
            [
                [t if f else -100 for t, f in zip(rows[i].ids, rows[i].trained, strict=True)]
                + [-100] * (width - len(rows[i]))
                for i in step
            ]
        )
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        norms.append(
            float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clipping))
        )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(number, len(plan), 1e-3, config.warmup_share)
        optimizer.step()
        losses.append(float(loss))
    return losses, norms, model


@pytest.fixture(scope="module", params=[1, 2], ids=["1 rank", "2 ranks"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Task]:
    """Every case trained, all in one group of processes."""
    folder = tmp_path_factory.mktemp(f"ranks{request.param}")
    tasks = {
        name: make_task("sft", resolve_model(model, "m"), folder / name.replace(", ", "-"), ROWS)
        for name, (model, _) in CASES.items()
    }
    run_ranks(request.param, [job(tasks[name], COMMON | CASES[name][1]) for name in CASES])
    return tasks


@pytest.fixture(scope="module")
def oracles() -> dict[str, Any]:
    return {name: plain_torch(resolve_model(name, "m")) for name in ("tiny:llama", "tiny:qwen")}


@pytest.mark.parametrize("name", CASES)
def test_zero_equals_plain_torch(
    trained: dict[str, Task], oracles: dict[str, Any], name: str
) -> None:
    task = trained[name]
    losses, norms, model = oracles[CASES[name][0]]
    steps = task.metrics()
    assert len(steps) == len(losses) >= 5
    for step, loss, norm in zip(steps, losses, norms, strict=True):
        assert step.loss == pytest.approx(loss, abs=1e-5)
        assert step.grad_norm == pytest.approx(norm, rel=1e-5, abs=1e-5)
    saved = load_model(Path(task.target))
    for (key, ours), (_, theirs) in zip(
        saved.named_parameters(), model.named_parameters(), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=2e-5), key


def test_learning_rate_warms_up_and_decays_to_a_tenth() -> None:
    rates = [learning_rate_at(step, 20, 1.0, 0.1) for step in range(20)]
    assert rates[0] == 0.5
    assert max(rates) == rates[1] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert learning_rate_at(0, 1, 1.0, 0.1) == 1.0
