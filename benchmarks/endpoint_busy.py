"""How busy a labeler behind a server keeps that server: `python -m benchmarks.endpoint_busy
[--concurrency 4]`.

llama.cpp's own server (from the wheel xllamacpp) serves the packaged model with one slot, so that
it works on one request at a time. It says in every answer how long it worked; the sum over the time
from the first question to the last answer is how busy it was. The rest is what a client costs that
lets it wait. Beside it the plain way: one question after another.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.results import append
from infra.models.folders import packaged_file
from judges.config import EndpointConfig
from judges.labelers.endpoint.judge import EndpointJudge
from judges.labelers.endpoint.server import FailedRequest, Server
from judges.measuring.probes.making import gold_set
from judges.rubrics import load_rubric

SERVER = Path(__file__).parent.parent / "tests" / "judges" / "support" / "llama_server.py"
START_S = 300


class WatchedServer(Server):
    """Adds up how long the server says that it worked."""

    worked_s = 0.0

    async def _request(self, call: Any) -> str | FailedRequest:
        body = await super()._request(call)
        if isinstance(body, str):
            timings = json.loads(body).get("timings", {})
            self.worked_s += sum(timings.get(k, 0.0) for k in ("prompt_ms", "predicted_ms")) / 1000
        return body


def start_server() -> tuple[subprocess.Popen[bytes], str]:
    """A server with one slot, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    model = packaged_file("smollm2-135m-instruct")
    assert model is not None, "the packaged model is not installed"
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(model), str(port), "1"], stdout=-3, stderr=-3
    )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).read()
            return process, f"http://127.0.0.1:{port}/v1"
        time.sleep(0.5)
    raise SystemExit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    rubric, pairs = load_rubric("relevance"), gold_set("off_topic").pairs
    process, url = start_server()
    busy: dict[int, list[float]] = {options.concurrency: [], 1: []}
    rates: dict[int, list[float]] = {options.concurrency: [], 1: []}
    try:
        for turn in range(options.turns):
            for concurrency in busy:
                seed = (
                    100 * turn + concurrency
                )  # other fences, so that the server knows none of the prompts
                config = EndpointConfig(url=url, concurrency=concurrency, method="logprobs")
                server = WatchedServer(config)
                judge = EndpointJudge(config, seed=seed, server=server)
                server.worked_s, started = 0.0, time.perf_counter()
                judge.compare(rubric, judge.methods[0], pairs)
                wall = time.perf_counter() - started
                busy[concurrency].append(server.worked_s / wall)
                rates[concurrency].append(2 * len(pairs) / wall)
    finally:
        process.kill()
    lines = [
        [
            str(n),
            f"{statistics.median(busy[n]):.1%} ({min(busy[n]):.1%} to {max(busy[n]):.1%})",
            f"{statistics.median(rates[n]):.1f}",
        ]
        for n in busy
    ]
    questions = f"{2 * len(pairs)} questions a turn"
    title = f"How busy a local server is kept: llama.cpp, one slot, 135M, {questions}"
    append(
        f"{title}, {options.turns} turns",
        ["questions at a time", "server busy", "questions a second"],
        lines,
    )


if __name__ == "__main__":
    main()
