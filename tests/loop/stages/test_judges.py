"""What a labeler costs is counted over the whole run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.judges.support.fake_server import Server, message


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(lambda _: message("Answer: A"))
    yield server
    server.close()


@pytest.mark.timeout(600)
def test_the_limit_of_the_cost_holds_for_all_stages_of_a_run(
    server: Server, ray_cluster: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "tests.loop.support.paying", server.url]
    done = subprocess.run(
        command, env=ray_cluster, capture_output=True, text=True, timeout=500, check=True
    )
    first, second, third = json.loads(done.stdout.splitlines()[-1])
    assert 0 < first < second < 200, "each stage goes on from what was paid before"
    assert "judge.endpoint.max_cost = 200 is reached" in third
    assert 10 * len(server.asked) <= 210, "the third one stops at the limit"
