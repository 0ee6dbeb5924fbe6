"""The Ray connection: join the cluster that is there, else start one on this machine; pools of
actors.
"""

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

ROOT = Path(__file__).resolve().parents[2]
START_TRIES = 3


class ClusterConfig(Section):
    """The Ray cluster."""

    address: str = "auto"
    """Ray cluster: `auto` joins a running one (also by RAY_ADDRESS) or starts one here, `local`
    always starts one, or `HOST:PORT`."""


@dataclass(frozen=True)
class Cluster:
    """What there is to work with."""

    num_cpus: int
    num_gpus: int

    def threads(self, num_actors: int = 1) -> int:
        """Torch threads for each of several actors that share one machine."""
        return max(1, (os.cpu_count() or 1) // num_actors)


def _job_environment() -> dict[str, Any]:
    """What every worker process needs: our packages on its path and no model hub to wait for."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    keep = {
        k: os.environ[k]
        for k in ("RATCHET_CACHE", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")
        if k in os.environ
    }
    quiet = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore", "RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}
    return {"env_vars": {"PYTHONPATH": path, **quiet, **keep}}


def _init(address: str, **options: Any) -> None:
    """`ray.init`, quiet, with the environment that every worker process needs."""
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
    # one's own machine is not taken away
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    num_cpus = max(2, os.cpu_count() or 1)
    for attempt in range(1, START_TRIES + 1):
        try:
            _init("local", num_cpus=num_cpus, include_dashboard=False)
            return
        except (
            Exception
        ) as error:  # Ray raises plain exceptions when its processes are slow to come up
            ray.shutdown()
            if attempt == START_TRIES:
                raise StageError(
                    "start", "Ray", f"did not start in {START_TRIES} tries ({error})"
                ) from error
            note(f"Ray did not come up ({str(error).splitlines()[0][:120]}); trying again")


def _answers(address: str) -> bool:
    """Whether something listens there.

    A cluster that was killed leaves its address behind, and Ray waits for it for ten minutes.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError):
        return False
    return True


def _find_cluster(configured: str) -> str | None:
    """The address to join, or None to start a cluster here; `UserError` where a named one does not
    answer.
    """
    if configured == "local":
        return None
    named = os.environ.get("RAY_ADDRESS", configured)
    if named != "auto":
        if "://" in named or _answers(named):
            return named
        problem = "no Ray cluster answers there."
        raise UserError(
            "cluster.address", named, problem, "Start it with 'ray start --head', or set 'auto'."
        )
    return _announced_cluster()


def _announced_cluster() -> str | None:
    """The address of the cluster that was started here and not stopped since.

    A killed cluster's address file is removed: parts of Ray Train would go on asking there.
    """
    from ray._private.utils import get_ray_address_file, read_ray_address

    announced = read_ray_address()
    if not announced:
        return None
    if _answers(announced):
        return str(announced)
    Path(get_ray_address_file(None)).unlink(missing_ok=True)
    return None


def _join(address: str) -> None:
    try:
        _init(address)
    except ConnectionError as error:
        problem = f"the Ray cluster cannot be joined ({str(error).splitlines()[0][:150]})."
        raise UserError(
            "cluster.address", address, problem, "Stop it with 'ray stop' or start it anew."
        ) from None


@contextmanager
def connect(config: ClusterConfig) -> Iterator[Cluster]:
    """Ray for the length of the block."""
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
    """`count` actors of a plain class; they end with the block and give their memory back."""
    import ray

    remote = ray.remote(cls).options(num_cpus=num_cpus, num_gpus=num_gpus)
    started = [remote.remote(*arguments) for _ in range(count)]
    try:
        yield started
    finally:
        for actor in started:
            ray.kill(actor)


def unwrap_error(error: BaseException) -> BaseException:
    """The error that a Ray task raised, out of Ray's wrapping; a dead worker process is a
    `StageError`.
    """
    import ray.exceptions

    while (
        isinstance(error, ray.exceptions.RayTaskError) and getattr(error, "cause", None) is not None
    ):
        error = error.cause
    if isinstance(error, ray.exceptions.RayActorError | ray.exceptions.WorkerCrashedError):
        reason = str(error).strip().splitlines()[0][:200].rstrip(".")
        return StageError("worker", "a Ray process died, perhaps for lack of memory", reason)
    return error


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
