"""Starting a worker group with Ray Train: one group runs all training steps of a generation in
turn.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
"""How long an elastic group waits for a lost node to come back before it goes on with fewer ranks.
"""


def train_loop(arguments: dict[str, Any]) -> None:
    """What every rank runs: the tasks in turn, skipping those whose target is there already."""
    import torch

    name_accelerator()
    from trainers.engine.engine import prepare_environment
    from trainers.steps.base import StepContext
    from trainers.steps.running import run_task

    config = TrainConfig.model_validate(arguments["config"])
    threads = config.threads_per_worker or max(
        1, (os.cpu_count() or 1) // int(os.environ["LOCAL_WORLD_SIZE"])
    )
    torch.set_num_threads(threads)
    prepare_environment(config.timeout_s)
    first = ray.train.get_context().get_world_rank() == 0
    for item in arguments["tasks"]:
        task = Task(**item)
        if not Path(task.target).exists():
            run_task(
                StepContext(task, config, arguments["rewarders"]), MetricsFile(task, writes=first)
            )


def with_workers(config: TrainConfig, cluster: Cluster) -> TrainConfig:
    """The configuration with its number of ranks settled: a GPU each where the cluster has any,
    else a CPU.

    Raises `UserError` where there are not as many and their number may not change.
    """
    num_workers = config.num_workers or max(1, cluster.num_gpus)
    available, what = (cluster.num_gpus, "GPUs") if cluster.num_gpus else (cluster.num_cpus, "CPUs")
    if num_workers > available and not config.min_workers:
        problem = f"the cluster has {available} {what}, and each worker needs one."
        raise UserError(
            "train.num_workers", num_workers, problem, f"Set it to {available} or less."
        )
    return config.model_copy(update={"num_workers": num_workers})


def scaling(config: TrainConfig, cluster: Cluster) -> ScalingConfig:
    """A settled configuration's ranks and what each needs."""
    workers = (config.min_workers, config.num_workers) if config.min_workers else config.num_workers
    return ScalingConfig(num_workers=workers, use_gpu=cluster.num_gpus > 0)


def run_training(
    tasks: Sequence[Task],
    config: TrainConfig,
    cluster: Cluster,
    storage: Path,
    name: str,
    rewarders: Mapping[str, Any] | None = None,
) -> None:
    """Run tasks one after another in one worker group, of a configuration that `with_workers` has
    settled.

    A task whose target exists is not run again. A worker that dies takes its group with it, and a
    new one goes on from the last point of the task at hand.
    """
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={
            "config": config.model_dump(),
            "tasks": [asdict(task) for task in tasks],
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
        # A group of another size is tried when the nodes for this one have not come by then. Ray
        # reads it in `fit`.
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
    missing = [task.kind for task in tasks if not Path(task.target).exists()]
    if missing:
        raise StageError("train", name, f"no model came out of {', '.join(missing)}")
