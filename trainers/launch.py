"""Starts a worker group with Ray Train; one group runs all training steps of a generation in
turn.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from infra.cluster.connection import Cluster, unwrap_error
from infra.errors import StageError, UserError
from infra.models.folders import name_accelerator
from trainers.config import TrainConfig
from trainers.engine.metrics import MetricsFile
from trainers.task import Task

RESIZE_AFTER_S = 60
"""Seconds that an elastic group waits for a lost node before it continues with fewer ranks."""


@dataclass(frozen=True)
class TrainJob:
    """A training task and its configuration."""

    task: Task
    config: TrainConfig


def train_loop(arguments: dict[str, Any]) -> None:
    """Run the jobs in turn, on every rank. Those whose target exists are skipped."""
    import torch

    name_accelerator()
    from trainers.engine.engine import prepare_environment
    from trainers.steps.base import StepContext
    from trainers.steps.running import run_task

    config = TrainConfig.model_validate(arguments["jobs"][0]["config"])
    threads = config.threads_per_worker or max(
        1, (os.cpu_count() or 1) // int(os.environ["LOCAL_WORLD_SIZE"])
    )
    torch.set_num_threads(threads)
    prepare_environment(config.timeout_s)
    is_first = ray.train.get_context().get_world_rank() == 0
    for job in arguments["jobs"]:
        task = Task(**job["task"])
        if not Path(task.target).exists():
            config = TrainConfig.model_validate(job["config"])
            context = StepContext(task, config, arguments["rewarders"])
            run_task(context, MetricsFile(task, writes=is_first))


def with_workers(config: TrainConfig, cluster: Cluster) -> TrainConfig:
    """Return the configuration with a fixed number of ranks: one per GPU of the cluster, or one on
    CPUs.

    Raises `UserError` if the cluster is too small and the number of ranks may not change.
    """
    num_workers = config.num_workers or max(1, cluster.num_gpus)
    available, device = (cluster.num_cpus, "CPUs")
    if cluster.num_gpus:
        available, device = (cluster.num_gpus, "GPUs")
    if num_workers > available and not config.min_workers:
        problem = f"the cluster has {available} {device}, and each worker needs one."
        raise UserError(
            "train.num_workers", num_workers, problem, f"Set it to {available} or less."
        )
    return config.model_copy(update={"num_workers": num_workers})


def scaling(config: TrainConfig, cluster: Cluster) -> ScalingConfig:
    """Return Ray's scaling configuration: the number of ranks, and whether each needs a GPU."""
    workers = (config.min_workers, config.num_workers) if config.min_workers else config.num_workers
    return ScalingConfig(num_workers=workers, use_gpu=cluster.num_gpus > 0)


def run_training(
    jobs: Sequence[TrainJob],
    cluster: Cluster,
    storage: Path,
    name: str,
    rewarders: Mapping[str, Any] | None = None,
) -> None:
    """Run jobs one after another in one worker group.

    Configurations come from `with_workers` and are the same in all that belongs to the group. Tasks
    whose target exists are skipped. If a worker dies, the whole group is restarted and continues
    from the last resume point of the current task. Raises `StageError` if training fails, or the
    `UserError` of a worker.
    """
    config = jobs[0].config
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={
            "jobs": [{"task": asdict(job.task), "config": job.config.model_dump()} for job in jobs],
            "rewarders": dict(rewarders or {}),
        },
        torch_config=TorchConfig(timeout_s=config.timeout_s),
        scaling_config=scaling(config, cluster),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=config.max_failures),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    if config.min_workers:
        # After this time without enough nodes, Ray tries a smaller group. `fit` reads the variable.
        os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(RESIZE_AFTER_S)
    try:
        trainer.fit()
    except TrainingFailedError as error:
        failures: dict[int, BaseException] = getattr(error, "worker_failures", {0: error})
        rank, wrapped = next(iter(failures.items()))
        cause = unwrap_error(wrapped)
        if isinstance(cause, UserError | StageError):
            raise cause from error
        raise StageError(
            "train", f"{name}, rank {rank}", f"{type(cause).__name__}: {cause}"
        ) from error
    missing = [job.task.kind for job in jobs if not Path(job.task.target).exists()]
    if missing:
        raise StageError("train", name, f"these steps wrote no model: {', '.join(missing)}")
