"""Training speed: tokens a second and peak memory of sft and dpo, ours beside TRL's, and the
machine's ceiling.

    python -m benchmarks.train --data ../shared/data/gold/llmbar --kind sft --turns 3
    python -m benchmarks.train --data ../shared/data/gold/llmbar --kind dpo --turns 3
    python -m benchmarks.train --data ../shared/data/gold/llmbar --kind ppo     (ours alone: seconds
    in each phase)

Every run is a process of its own; systems take turns. All train the same model on the same rows for
one epoch with the same learning rate and about as many optimiser steps; afterwards each model's
loss on the same held-out rows is taken. The ceiling is what a matrix product of the model's shape
reaches in the same precision.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import append
from infra.models.folders import load_tokenizer, resolve_model
from judges.measuring.gold import load_gold
from trainers.batches.rows import RowBuilder
from trainers.engine.memory import parameter_count

NUM_THREADS = 2
ROWS_A_STEP = 8
"""TRL's default batch; a fifth more tokens are allowed in ours, whose steps are never overfull, for
as many steps."""
SYSTEMS: dict[str, dict[str, dict[str, Any]]] = {
    "sft": {
        "ours": {},
        "TRL, default": {},
        "TRL, default, activations kept": {"gradient_checkpointing": False},
        "TRL, packed and padding-free": {
            "packing": True,
            "padding_free": True,
            "gradient_checkpointing": False,
            "per_device_train_batch_size": 2,
        },  # two packs of 512 tokens hold about as many tokens as eight rows
    },
    "dpo": {"ours": {}, "TRL, default": {}},
}


def read_rows(data: Path, count: int) -> list[dict[str, str]]:
    """Prompts with a better and a worse answer, from gold data that a path names."""
    rows = []
    for pair in (pair for one in load_gold(data) for pair in one.pairs if pair.truth in ("A", "B")):
        chosen, rejected = (pair.a, pair.b) if pair.truth == "A" else (pair.b, pair.a)
        if chosen.strip() and rejected.strip():
            rows.append({"prompt": pair.prompt, "chosen": chosen, "rejected": rejected})
    return rows[:: max(1, len(rows) // count)][:count]


def ceiling(width: int, precision: str) -> float:
    """FLOP a second of a matrix product like the model's, the best of several."""
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (
        torch.randn(*shape, device=device, dtype=dtype)
        for shape in ((1024, width), (width, 4 * width))
    )
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        for _ in range(10):
            a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 10 * 2 * 1024 * width * 4 * width / (time.perf_counter() - started))
    return best


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One worker's numbers."""
    with tempfile.TemporaryDirectory() as scratch:
        job_file, result_file = Path(scratch) / "job.json", Path(scratch) / "result.json"
        job_file.write_text(json.dumps(job))
        command = [
            sys.executable,
            "-m",
            "benchmarks.train_worker",
            str(job_file),
            str(NUM_THREADS),
            str(result_file),
        ]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(NUM_THREADS)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr[-3000:])
        result: dict[str, Any] = json.loads(result_file.read_text())
        return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="Gold data with pairs of answers (LLMBar, JSON lines).",
    )
    parser.add_argument("--kind", choices=[*SYSTEMS, "ppo"], default="sft")
    parser.add_argument("--model", default="packaged:smollm2-135m-instruct")
    parser.add_argument("--precision", choices=["float32", "autocast"], default="float32")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--pack-tokens", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(NUM_THREADS)
    folder = resolve_model(options.model, "--model")
    rows = read_rows(options.data, options.rows + options.rows // 4)
    held_out, rows = rows[::5], [row for i, row in enumerate(rows) if i % 5]
    builder = RowBuilder(load_tokenizer(folder), options.max_tokens)
    sides = ("chosen",) if options.kind == "sft" else ("chosen", "rejected")
    tokens = sum(len(builder.demonstration(r["prompt"], r[side])) for r in rows for side in sides)
    job = {
        "kind": options.kind,
        "model": str(folder),
        "rows": rows,
        "held_out": held_out,
        "precision": options.precision,
        "learning_rate": 1e-5 if options.kind == "sft" else 1e-6,
        "max_tokens": options.max_tokens,
        "batch_tokens": tokens * ROWS_A_STEP // len(rows) * 6 // 5,
        "pack_tokens": options.pack_tokens,
    }
    if options.kind == "ppo":
        report_phases(options, run(job | {"system": "ours"}))
        return
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in SYSTEMS[options.kind]}
    for turn in range(options.turns):
        for name, changes in SYSTEMS[options.kind].items():
            system = "ours" if name == "ours" else "trl"
            results[name].append(run(job | {"system": system, "options": changes}))
            print(f"turn {turn + 1}, {name}: {results[name][-1]}", flush=True)
    report(options, folder, tokens, len(rows), results)


def report_phases(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Append how long an iteration of PPO spends on what; the first one warms up."""
    last = results["phases"][-1]
    phases = {
        name.removesuffix("_seconds"): seconds
        for name, seconds in last.items()
        if name.endswith("_seconds")
    }
    whole = sum(phases.values())
    append(
        f"PPO, 135M in {options.precision}: 8 prompts, 4 completions each "
        f"of {last['length']:.0f} tokens; policy,"
        f" critic, reference and reward model in one process, peak {results['peak'] / 1e9:.1f} GB",
        ["phase", "seconds", "share"],
        [[name, f"{seconds:.1f}", f"{seconds / whole:.0%}"] for name, seconds in phases.items()],
    )


def report(
    options: argparse.Namespace,
    folder: Path,
    tokens: int,
    count: int,
    results: dict[str, list[dict[str, Any]]],
) -> None:
    """Append the table."""
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    most, parameters = ceiling(width, options.precision), parameter_count(folder)
    forwards = 6 if options.kind == "sft" else 8  # dpo: the reference's forward pass as well
    lines = []
    for name, taken in results.items():
        ratios = [
            other["seconds"] / own["seconds"]
            for own, other in zip(results["ours"], taken, strict=True)
        ]
        rate = tokens / statistics.median(r["seconds"] for r in taken)
        lines.append(
            [
                name,
                f"{rate:,.0f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                f"{rate * forwards * parameters / most:.0%}",
                f"{max(r['peak'] for r in taken) / 1e9:.2f}",
                str(taken[0]["steps"]),
                f"{statistics.mean(r['held_out'] for r in taken):.4f}",
            ]
        )
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("trl", "transformers", "torch", "deepspeed")
    )
    append(
        f"Training, {options.kind}, {parameters / 1e6:.0f}M in {options.precision}: "
        f"{count} rows, {tokens:,} tokens,"
        f" {options.turns} turns; ceiling {most / 1e9:,.0f} GFLOP/s ({versions})",
        [
            "how",
            "tokens a second",
            "ours is faster by",
            "of the ceiling",
            "peak GB",
            "steps",
            "held-out nats a token",
        ],
        lines,
    )


if __name__ == "__main__":
    main()
