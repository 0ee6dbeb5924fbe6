"""Starting a worker group with Ray Train: one group runs all training steps of a generation in turn."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from infra.cluster import Cluster
from infra.errors import StageError, UserError
from infra.models import name_accelerator
from infra.records import TrainStep
from trainers.config import TrainConfig
from trainers.tasks import Task


def train_loop(arguments: dict[str, Any]) -> None:
    """What every rank runs: the tasks in turn, skipping those whose target is there already."""
    import torch

    name_accelerator()
    from trainers.engine import prepare_environment
    from trainers.steps import run_task

    config = TrainConfig.model_validate(arguments["config"])
    threads = config.threads_per_worker or max(1, (os.cpu_count() or 1) // int(os.environ["LOCAL_WORLD_SIZE"]))
    torch.set_num_threads(threads)
    prepare_environment(config.timeout_s)
    first = ray.train.get_context().get_world_rank() == 0
    for item in arguments["tasks"]:
        task = Task(**item)
        if Path(task.target).exists():
            continue
        file = task.metrics_file()
        if first:
            file.unlink(missing_ok=True)

        def report(step: TrainStep, file: Path = file) -> None:
            if not first:
                return
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(step)) + "\n")
            print(f"  {step.kind} step {step.step}: loss {step.loss:.4f}, {step.num_tokens} tokens", flush=True)

        run_task(task, config, report)


def scaling(config: TrainConfig, cluster: Cluster) -> ScalingConfig:
    """Ranks and what each needs: a GPU where the cluster has any, else a CPU."""
    num_workers = config.num_workers or max(1, cluster.num_gpus)
    available, what = (cluster.num_gpus, "GPUs") if cluster.num_gpus else (cluster.num_cpus, "CPUs")
    if num_workers > available:
        problem = f"the cluster has {available} {what}, and each worker needs one."
        raise UserError("train.num_workers", num_workers, problem, f"Set it to {available} or less.")
    return ScalingConfig(num_workers=num_workers, use_gpu=cluster.num_gpus > 0)


def run_training(tasks: Sequence[Task], config: TrainConfig, cluster: Cluster, storage: Path, name: str) -> None:
    """Run tasks one after another in one worker group; a task whose target exists is not run again."""
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"config": config.model_dump(), "tasks": [asdict(task) for task in tasks]},
        torch_config=TorchConfig(timeout_s=config.timeout_s),
        scaling_config=scaling(config, cluster),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=config.max_failures),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        failures: dict[int, BaseException] = getattr(error, "worker_failures", {0: error})
        rank, cause = next(iter(failures.items()))
        raise StageError("train", f"{name}, rank {rank}", f"{type(cause).__name__}: {cause}") from error
    missing = [task.kind for task in tasks if not Path(task.target).exists()]
    if missing:
        raise StageError("train", name, f"no model came out of {', '.join(missing)}")
