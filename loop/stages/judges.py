"""Labelers as actors, for the stages that ask them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.cluster.connection import Cluster, actors
from infra.store import Store
from judges.config import JudgeConfig
from judges.labelers.actors import JudgeWorker, RemoteJudge
from loop.record.spending import Spending

JUDGE_GPUS = 0.7
"""Share of a GPU for each judge that needs one; the rest is for the champion."""


@contextmanager
def remote_judge(
    cluster: Cluster,
    store: Store,
    config: JudgeConfig,
    seed: int,
    max_workers: int = 1,
    num_gpus: float = JUDGE_GPUS,
    num_cpus: float = 1,
) -> Iterator[RemoteJudge]:
    """A labeler in actors that end with the block.

    A model has one for each GPU, at most `max_workers`. A server is asked by one alone, so that
    `judge.endpoint.concurrency` and `max_cost` hold for the run.
    """
    is_model = config.kind == "local"
    count = max(1, min(cluster.num_gpus, max_workers)) if is_model else 1
    gpus = num_gpus if is_model and cluster.num_gpus else 0.0
    spending = Spending(store, config)
    arguments = config, seed, cluster.threads(), spending.amount
    with actors(JudgeWorker, count, *arguments, num_cpus=num_cpus, num_gpus=gpus) as workers:
        yield RemoteJudge(workers, spending.amount, spending.pay)
