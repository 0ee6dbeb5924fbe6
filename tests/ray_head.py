"""A Ray head node on ports of its own, shared by the tests that need a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from infra.cluster.connection import free_port

PATIENCE_S = 1500.0
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def wait_for(condition: Callable[[], bool], description: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{description} did not happen in {PATIENCE_S:.0f} s"
        time.sleep(0.3)


@contextmanager
def head_node() -> Iterator[dict[str, str]]:
    """Start a head node; yields the environment of a process that joins it or submits jobs."""
    port, dashboard = free_port(), free_port()
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_agent_register_timeout_ms": "600000",
        "RAY_worker_register_timeout_seconds": "600",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    make_token = [*RAY, "get-auth-token", "--generate"]
    subprocess.run(make_token, env=environment, capture_output=True, timeout=300, check=False)
    command = [
        *RAY,
        "start",
        "--head",
        "--block",
        "--num-cpus=2",
        f"--port={port}",
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={free_port()}",  # another Ray may have the default
        f"--ray-client-server-port={free_port()}",
        "--object-store-memory=200000000",
        "--disable-usage-stats",
    ]
    quiet = subprocess.DEVNULL
    head = subprocess.Popen(
        command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True
    )

    def answers() -> bool:
        assert head.poll() is None, "the head node ended"
        submit = [*RAY, "job", "submit", "--", "true"]
        done = subprocess.run(submit, env=environment, capture_output=True, timeout=300)
        return done.returncode == 0

    try:
        wait_for(answers, "the answer of the head node")
        yield environment | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        _stop(head)


def _stop(head: subprocess.Popen[bytes]) -> None:
    """End the head node and everything that it started."""
    if head.poll() is None:
        family = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
        for process in reversed(family):
            if process.is_running():
                process.kill()
        psutil.wait_procs(family, timeout=120)
