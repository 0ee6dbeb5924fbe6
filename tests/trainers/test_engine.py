"""DeepSpeed against plain torch: the same global batch gives the same losses, norms and weights."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from infra.models import load_model, load_tokenizer
from trainers.batches import RowBuilder, pad_rows, plan_steps
from trainers.config import TrainConfig
from trainers.engine import learning_rate_at
from trainers.losses import sft_loss
from trainers.tasks import Task

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]
ROWS = [{"prompt": "", "completion": "some text to learn " * n} for n in (1, 5, 2, 7, 3, 4)]
ROWS += [{"prompt": f"question {n}", "completion": "answer " * n} for n in (1, 6, 2)]

WORKER = """
import json, os, sys
import torch, torch.distributed as dist
torch.set_num_threads(1)
dist.init_process_group("gloo")
from dataclasses import asdict
from trainers.config import TrainConfig
from trainers.engine import prepare_environment
from trainers.steps import run_task
from trainers.tasks import Task
job = json.loads(sys.argv[1])
prepare_environment(600)
for item in job["tasks"]:
    task = Task(**item)
    def report(step):
        if dist.get_rank() == 0:
            with task.metrics_file().open("a") as lines:
                lines.write(json.dumps(asdict(step)) + "\\n")
    run_task(task, TrainConfig(**job["config"]), report)
"""


def run_ranks(world_size: int, config: dict[str, object], tasks: list[Task]) -> None:
    """Run tasks in `world_size` processes over gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    job = json.dumps({"config": config, "tasks": [task.__dict__ for task in tasks]})
    processes = []
    for rank in range(world_size):
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
        environment = {k: str(v) for k, v in places.items()} | {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu",
            "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(Path.home()),
        }  # fmt: skip
        command = [sys.executable, "-c", WORKER, job]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    for process in processes:
        output, _ = process.communicate(timeout=1200)
        assert process.returncode == 0, output[-3000:]


def task(kind: str, source: Path, folder: Path, rows: list[dict[str, str]]) -> Task:
    data = folder / f"{kind}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), data)
    return Task(kind, str(source), str(folder / f"{kind}-model"), 1, 3, str(data))


def plain_torch(
    folder: Path, config: TrainConfig, world_size: int, seed: int
) -> tuple[list[float], list[float], torch.nn.Module]:
    """The same training in one process without DeepSpeed: one mean over the tokens of the whole batch."""
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    builder = RowBuilder(tokenizer, config.max_tokens)
    rows = [
        builder.demonstration(r["prompt"], r["completion"]) if r["prompt"] else builder.passage(r["completion"])
        for r in ROWS
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    plan = plan_steps([len(r.ids) for r in rows], config.batch_tokens, config.micro_batch_size, world_size, seed)
    model.train()
    losses, norms = [], []
    for number, layout in enumerate(plan):
        ids, mask, trained = pad_rows([rows[i] for i in layout.indices], tokenizer.pad_token_id)
        total, count = sft_loss(model(input_ids=ids, attention_mask=mask).logits, ids, trained)
        optimizer.zero_grad()
        (total / count).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clipping)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(number, len(plan), config.learning_rate, config.warmup_share)
        optimizer.step()
        losses.append(float(total) / count)
    return losses, norms, model


@pytest.mark.parametrize(("stage", "ranks", "micro"), [(1, 1, 4), (2, 1, 2), (2, 2, 1), (3, 2, 2)])
def test_zero_equals_plain_torch(tiny_folder: Path, tmp_path: Path, stage: int, ranks: int, micro: int) -> None:
    settings = {
        "zero_stage": stage, "micro_batch_size": micro, "batch_tokens": 150, "learning_rate": 1e-3,
        "precision": "float32", "weight_decay": 0.01, "max_tokens": 128,
    }  # fmt: skip
    work = task("sft", tiny_folder, tmp_path, ROWS)
    run_ranks(ranks, settings, [work])
    losses, norms, model = plain_torch(tiny_folder, TrainConfig(**settings), ranks, seed=3)
    steps = work.metrics()
    assert len(steps) == len(losses) >= 3
    for step, loss, norm in zip(steps, losses, norms, strict=True):
        assert step.loss == pytest.approx(loss, abs=1e-5)
        assert step.grad_norm == pytest.approx(norm, rel=1e-4)
    trained = load_model(Path(work.target))
    for (name, ours), (_, theirs) in zip(trained.named_parameters(), model.named_parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-5), name


def test_dpo_after_sft_starts_at_ln_2_and_learns_the_preference(tiny_folder: Path, tmp_path: Path) -> None:
    pairs = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "no"} for i in range(8)]
    sft = task("sft", tiny_folder, tmp_path, ROWS)
    dpo = task("dpo", Path(sft.target), tmp_path, pairs)
    settings = {"batch_tokens": 80, "dpo_learning_rate": 1e-3, "micro_batch_size": 2, "precision": "bfloat16"}
    run_ranks(2, settings, [sft, dpo])
    losses = [step.loss for step in dpo.metrics()]
    assert losses[0] == pytest.approx(0.693147, abs=1e-5), "in bfloat16 too"
    assert losses[-1] < losses[0]
    assert load_tokenizer(Path(dpo.target)).chat_template == load_tokenizer(tiny_folder).chat_template
