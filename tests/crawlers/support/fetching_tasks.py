"""Fetches some URLs as a crawl does, in a process of its own: JSON in, JSON out.

python -m tests.crawlers.support.fetching_tasks '{"config": {...}, "urls": [...]}'
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import ROOT


@dataclass(frozen=True)
class Fetched:
    """What a process saw: an answer for each URL, and its peak memory."""

    answers: list[dict[str, Any]]
    peak_bytes: int


def fetch(urls: list[str], timeout: float = 300, **config: Any) -> Fetched:
    """Answers (status, headers, body, failure) in the order of the URLs."""
    task = json.dumps({"config": {"seeds": urls[:1], **config}, "urls": urls})
    done = subprocess.run(
        [sys.executable, "-m", "tests.crawlers.support.fetching_tasks", task],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    for answer in result["answers"]:
        answer["body"] = base64.b64decode(answer["body"])
    return Fetched(**result)


def _main(task: dict[str, Any]) -> None:
    from crawlers.config import CrawlConfig
    from crawlers.fetching.address_check import socket_policy
    from crawlers.fetching.spider import run_spider
    from crawlers.fetching.transport import Transport

    config = CrawlConfig.model_validate(task["config"])
    answers: list[dict[str, Any]] = []

    async def main(transport: Transport) -> None:
        for url in task["urls"]:
            answer = await transport.fetch(url, {})
            answers.append(
                {
                    "status": answer.status,
                    "headers": answer.headers,
                    "failure": answer.failure,
                    "address": answer.address,
                    "body": base64.b64encode(answer.body).decode(),
                }
            )

    run_spider(
        config, socket_policy(config.seeds, config.allow_addresses, config.allow_ports), main
    )
    status = Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
    json.dump({"answers": answers, "peak_bytes": peak}, sys.stdout)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
