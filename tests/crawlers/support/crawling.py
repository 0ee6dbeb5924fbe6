"""A site on several loopback addresses, and crawls of it in processes of their own, for tests that
kill them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from tests import ROOT

WORDS = [
    "river",
    "stone",
    "bridge",
    "village",
    "mountain",
    "spring",
    "water",
    "boat",
    "oak",
    "iron",
    "wind",
    "children",
    "north",
    "night",
    "plain",
    "flood",
]


def body(host: str, number: int, pages: int) -> bytes:
    """A page with a text of its own and links to two others, so that all are reached over several
    depths."""
    text = " ".join(
        f"{WORDS[(number * 7 + i) % len(WORDS)]}{number}x{i} of {host}." for i in range(60)
    )
    links = "".join(
        f'<a href="/{n}">{n}</a>' for n in (2 * number + 1, 2 * number + 2) if n < pages
    )
    head = f"<head><title>{number}</title></head>"
    return f"<html>{head}<body><p>{text}</p>{links}</body></html>".encode()


class Site:
    """`pages` pages on each of some addresses 127.0.0.x; counts what it is asked."""

    def __init__(self, addresses: list[str], pages: int) -> None:
        self.asked: dict[str, int] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                host = f"{self.server.server_address[0]}:{self.server.server_address[1]}"
                site.asked[f"http://{host}{self.path}"] = (
                    site.asked.get(f"http://{host}{self.path}", 0) + 1
                )
                name = self.path.strip("/") or "0"
                known = name.isdigit() and int(name) < pages
                data = body(host, int(name), pages) if known else b"no"
                self.send_response(200 if known else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.servers = [ThreadingHTTPServer((address, 0), Handler) for address in addresses]
        self.seeds = [
            f"http://{a}:{s.server_address[1]}/"
            for a, s in zip(addresses, self.servers, strict=True)
        ]
        self.urls = {seed + (str(i) if i else "") for seed in self.seeds for i in range(pages)}
        for server in self.servers:
            server.daemon_threads = True
            threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
            ).start()

    def close(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


@contextmanager
def site(addresses: list[str], pages: int) -> Iterator[Site]:
    made = Site(addresses, pages)
    try:
        yield made
    finally:
        made.close()


def write_recipe(folder: Path, seeds: list[str], **crawl: Any) -> Path:
    """A recipe for a crawl of these seeds."""
    settings = {"seeds": seeds, "policy": "lenient-1", **crawl}
    lines = ['name = "crawl"', "generations = 1", "[budget]", "pages = 100000", "[crawl]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines))
    return path


def start(
    recipe: Path, run: Path, *options: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """`ratchet crawl run` in a process group of its own."""
    command = [
        sys.executable,
        "-m",
        "loop",
        "crawl",
        "run",
        str(recipe),
        "--run",
        str(run),
        *options,
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = 900) -> str:
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output[-4000:]
    return output


def kill(process: subprocess.Popen[str], whole: bool) -> None:
    """`kill -9` of a child that extracts, or of the driver and everything that it started."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        children = psutil.Process(process.pid).children(recursive=True)
        if whole or not children:
            os.killpg(process.pid, signal.SIGKILL)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            process.wait()
        else:
            children[-1].kill()
