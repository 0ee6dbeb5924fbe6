"""Runs one training, ours or TRL's, in a separate process and measures its time. A file names the
rows and settings. `benchmarks.train` starts it."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

Rows = list[dict[str, str]]


def peak_bytes() -> int:
    """The most memory that this process ever had, on the GPU where there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def held_out_loss(model: Any, tokenizer: Any, rows: Rows, max_tokens: int) -> float:
    """Nats a trained token on rows that nobody was trained on, in float32, one row at a time."""
    from trainers.batches.rows import RowBuilder

    builder, total, count = RowBuilder(tokenizer, max_tokens), 0.0, 0
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        for data in rows:
            row = builder.demonstration(data["prompt"], data["chosen"])
            ids = torch.tensor([row.ids], device=device)
            logps = (
                model(input_ids=ids, attention_mask=torch.ones_like(ids))
                .logits[0]
                .float()
                .log_softmax(-1)
            )
            for t in range(1, len(row)):
                if row.trained[t]:
                    total -= float(logps[t - 1, row.ids[t]])
                    count += 1
    return total / count


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """Our step on one rank, in packs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from infra.models.folders import name_accelerator

    name_accelerator()
    from trainers.config import TrainConfig
    from trainers.engine.engine import one_rank
    from trainers.steps.base import StepContext
    from trainers.steps.running import step_kind
    from trainers.task import Task

    with one_rank(600), tempfile.TemporaryDirectory() as scratch:
        rows = [
            {
                "id": str(i),
                "prompt": r["prompt"],
                "completion": r["chosen"],
                "chosen": r["chosen"],
                "rejected": r["rejected"],
                "probability": 1.0,
            }
            for i, r in enumerate(job["rows"])
        ]
        pq.write_table(pa.Table.from_pylist(rows), Path(scratch) / "rows.parquet")
        data = str(Path(scratch) / "rows.parquet")
        task = Task(job["kind"], job["model"], "", 1, 0, data, reward_model=job["model"])
        rate = {"learning_rate": job["learning_rate"]}
        rl = {"prompts_per_step": 8, "num_completions": 4, "max_new_tokens": 48, "num_steps": 2}
        settings = {
            "sft": rate,
            "dpo": rate,
            "rl": rate | rl,
            "precision": job["precision"],
            "batch_tokens": job["batch_tokens"],
            "pack_tokens": job["pack_tokens"],
            "max_tokens": job["max_tokens"],
            "zero_stage": 1,
            "num_workers": 1,
            "warmup_share": 0.0,
        }
        step = step_kind(job["kind"])(StepContext(task, TrainConfig(**settings)))
        if job["kind"] == "ppo":
            return {
                "phases": [step.run(number).metrics for number in range(step.num_steps)],
                "peak": peak_bytes(),
            }
        engine = step.engines["model"]
        with engine.frozen():
            engine(step.pack(step.plan[0][:1]))  # type: ignore[attr-defined]
        started = time.perf_counter()
        step.prepare()
        losses = [step.run(number).loss for number in range(step.num_steps)]
        seconds = time.perf_counter() - started
    peak = peak_bytes()
    module = engine.module
    module.packed = False
    loss = held_out_loss(module.model, step.tokenizer, job["held_out"], job["max_tokens"])  # type: ignore[attr-defined]
    return {"seconds": seconds, "peak": peak, "held_out": loss, "steps": len(losses)}


def trl(job: dict[str, Any]) -> dict[str, Any]:
    """TRL's trainer, with its defaults but for what the job says."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.trainer_utils import set_seed
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    set_seed(0)
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    rows = [{"prompt": [{"role": "user", "content": r["prompt"]}]} for r in job["rows"]]
    sides = {"sft": {"completion": "chosen"}, "dpo": {"chosen": "chosen", "rejected": "rejected"}}[
        job["kind"]
    ]
    for row, source in zip(rows, job["rows"], strict=True):
        row |= {to: [{"role": "assistant", "content": source[side]}] for to, side in sides.items()}
    with tempfile.TemporaryDirectory() as scratch:
        options = {
            "output_dir": scratch,
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_steps": 1000,
            "learning_rate": job["learning_rate"],
            "bf16": job["precision"] != "float32",
            "num_train_epochs": 1,
            "max_length": job["max_tokens"],
            "use_cpu": not torch.cuda.is_available(),
            "warmup_steps": 0,
            **job["options"],
        }
        Config, Trainer = (
            (SFTConfig, SFTTrainer) if job["kind"] == "sft" else (DPOConfig, DPOTrainer)
        )
        trainer = Trainer(
            model,
            args=Config(**options),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        with torch.no_grad():
            model(input_ids=torch.ones(1, 32, dtype=torch.long, device=model.device))
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    peak = peak_bytes()
    loss = held_out_loss(trainer.model, tokenizer, job["held_out"], job["max_tokens"])
    return {"seconds": seconds, "peak": peak, "held_out": loss, "steps": trainer.state.global_step}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    torch.manual_seed(0)
    work = json.loads(Path(sys.argv[1]).read_text())
    result = ours(work) if work["system"] == "ours" else trl(work)
    Path(sys.argv[3]).write_text(json.dumps(result))
