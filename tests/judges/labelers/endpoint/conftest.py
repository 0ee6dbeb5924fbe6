"""Servers that answer as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.judges.support.fake_server import Reply, Server


@pytest.fixture
def served() -> Iterator[Callable[[Reply], Server]]:
    servers: list[Server] = []

    def serve(reply: Reply) -> Server:
        servers.append(Server(reply))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()
