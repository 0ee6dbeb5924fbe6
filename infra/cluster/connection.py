"""Connects to a Ray cluster (an existing one, or one started here), and starts actors."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import infra.cluster.environment  # noqa: F401  (before anything imports ray)
from infra.config import Section
from infra.console import note
from infra.errors import StageError, UserError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
START_TRIES = 3


class ClusterConfig(Section):
    """The Ray cluster."""

    address: str = "auto"
    """Ray cluster: `auto` joins a running one (also by RAY_ADDRESS) or starts one here, `local`
    always starts one, or `HOST:PORT`."""


@dataclass(frozen=True)
class Cluster:
    """The resources of a cluster."""

    num_cpus: int
    num_gpus: int

    def threads(self, num_actors: int = 1) -> int:
        """Torch threads for each of several actors that share one machine."""
        return max(1, (os.cpu_count() or 1) // num_actors)


def _job_environment() -> dict[str, Any]:
    """The environment of worker processes: our packages on the path, offline settings, few logs."""
    path = os.pathsep.join([str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    keep = {
        k: os.environ[k]
        for k in ("RATCHET_CACHE", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")
        if k in os.environ
    }
    quiet = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore", "RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}
    return {"env_vars": {"PYTHONPATH": path, **quiet, **keep}}


def _init(address: str, **options: Any) -> None:
    """Call `ray.init` with little logging and the environment of worker processes."""
    import ray

    ray.init(
        address=address,
        logging_level=logging.ERROR,
        logging_config=ray.LoggingConfig(log_level="ERROR"),
        runtime_env=_job_environment(),
        **options,
    )


def _start_local() -> None:
    import ray

    note("starting Ray on this machine")
    # This machine is not a preemptible cloud node.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    num_cpus = max(2, os.cpu_count() or 1)
    for attempt in range(1, START_TRIES + 1):
        try:
            _init("local", num_cpus=num_cpus, include_dashboard=False)
            return
        except Exception as error:  # Ray raises plain exceptions if its processes start slowly
            ray.shutdown()
            if attempt == START_TRIES:
                problem = f"did not start in {START_TRIES} tries ({error})"
                raise StageError("start", "Ray", problem) from error
            note(f"Ray did not start ({str(error).splitlines()[0][:120]}); trying again")


def _is_listening(address: str) -> bool:
    """Whether a process listens at an address.

    A killed cluster leaves its address file behind, and Ray would wait ten minutes for it.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError):
        return False
    return True


def _find_cluster(configured: str) -> str | None:
    """The address of the cluster to join; None means that one has to be started here.

    Raises:
        UserError: if no cluster answers at the configured address.
    """
    if configured == "local":
        return None
    address = os.environ.get("RAY_ADDRESS", configured)
    if address == "auto":
        return _running_cluster()
    if "://" in address or _is_listening(address):
        return address
    problem = "no Ray cluster answers at this address."
    remedy = "Start it with 'ray start --head', or set 'auto'."
    raise UserError("cluster.address", address, problem, remedy)


def _running_cluster() -> str | None:
    """The address of the cluster that runs on this machine, if there is one.

    The address file of a killed cluster is deleted, because Ray Train would use it.
    """
    from ray._private.utils import get_ray_address_file, read_ray_address

    announced = read_ray_address()
    if not announced:
        return None
    if _is_listening(announced):
        return str(announced)
    Path(get_ray_address_file(None)).unlink(missing_ok=True)
    return None


def _join(address: str) -> None:
    try:
        _init(address)
    except ConnectionError as error:
        problem = f"the Ray cluster cannot be joined ({str(error).splitlines()[0][:150]})."
        remedy = "Run 'ray stop', then start the cluster again."
        raise UserError("cluster.address", address, problem, remedy) from None


@contextmanager
def connect(config: ClusterConfig) -> Iterator[Cluster]:
    """Connect to Ray inside the block; yields the cluster's resources."""
    import ray

    address = _find_cluster(config.address)
    if address is None:
        _start_local()
    else:
        _join(address)
    try:
        resources = ray.cluster_resources()
        yield Cluster(int(resources.get("CPU", 1)), int(resources.get("GPU", 0)))
    finally:
        ray.shutdown()


@contextmanager
def actors(
    cls: type, count: int, *arguments: Any, num_cpus: float = 1, num_gpus: float = 0
) -> Iterator[list[Any]]:
    """Start `count` actors of a plain class, which are killed at the end of the block."""
    import ray

    remote = ray.remote(cls).options(num_cpus=num_cpus, num_gpus=num_gpus)
    started = [remote.remote(*arguments) for _ in range(count)]
    try:
        yield started
    finally:
        for actor in started:
            ray.kill(actor)


def unwrap_error(error: BaseException) -> BaseException:
    """The exception that a Ray task raised, without Ray's wrapper.

    For a worker process that died, or a cluster that failed, it is a `StageError`.
    """
    import ray.exceptions

    while (
        isinstance(error, ray.exceptions.RayTaskError) and getattr(error, "cause", None) is not None
    ):
        error = error.cause
    if isinstance(error, ray.exceptions.RayActorError | ray.exceptions.WorkerCrashedError):
        reason = str(error).strip().splitlines()[0][:200].rstrip(".")
        return StageError("worker", "a Ray process died, perhaps because memory ran out", reason)
    is_task = isinstance(error, ray.exceptions.RayTaskError)
    if isinstance(error, ray.exceptions.RayError) and not is_task:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        return StageError("cluster", type(error).__name__, reason or "Ray failed")
    return error


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
