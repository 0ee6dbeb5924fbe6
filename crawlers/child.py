"""A child process that digests bodies, with a memory limit, killed where it takes too long.

Parent and child speak in frames of JSON and raw bytes, never pickles, so that a child which a hostile page
has taken over can at worst lie about that page.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from dataclasses import asdict
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from crawlers.digest_records import Digest, DigestTask

START_S = 180.0
"""Allowance for starting a Python process with the extraction libraries on a loaded machine."""
OUT_OF_TIME = "extraction took too long"
OUT_OF_MEMORY = "extraction ran out of memory"
DIED = "extraction crashed"
MAX_ANSWER_BYTES = 64 * 2**20


class DigestChild:
    """Digests one body at a time in a child process, which is started anew after it died."""

    def __init__(self, product: str, timeout_s: float, memory_bytes: int) -> None:
        self._arguments = (product, str(memory_bytes))
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._lock = threading.Lock()

    def digest(self, task: DigestTask) -> Digest:
        """See `crawlers.digest.digest`; a child that dies or hangs is a failure of this body alone."""
        with self._lock:
            pipe = self._ready()
            head = asdict(task)
            body = head.pop("body")
            try:
                pipe.send_bytes(json.dumps(head).encode())
                pipe.send_bytes(body)
                if not pipe.poll(self._timeout_s):
                    return self._failed(OUT_OF_TIME)
                return _from_json(pipe.recv_bytes(MAX_ANSWER_BYTES))
            except (EOFError, OSError, ValueError, TypeError):
                return self._failed(DIED)

    def _failed(self, reason: str) -> Digest:
        self.close()
        return Digest(failure=reason)

    def _ready(self) -> Connection[Any, Any]:
        """The pipe to a child that has said that it is up."""
        if self._pipe is not None and self._process is not None and self._process.poll() is None:
            return self._pipe
        self.close()
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-m", "crawlers.child", str(theirs.fileno()), *self._arguments]
        self._process = subprocess.Popen(  # noqa: S603
            command, cwd=Path(__file__).resolve().parent.parent, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        if not self._pipe.poll(START_S) or self._pipe.recv_bytes(16) != b"ready":
            self.close()
            raise RuntimeError("the extraction process did not start")
        return self._pipe

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _from_json(data: bytes) -> Digest:
    values: dict[str, Any] = json.loads(data)
    for name in ("links", "feeds", "sitemaps"):
        values[name] = tuple(values[name])
    values["grams"] = {int(size): hashes for size, hashes in values["grams"].items()}
    return Digest(**values)


def _answer(task: DigestTask, product: str) -> Digest:
    from crawlers.digest import digest  # in the child alone: it loads every parser

    try:
        return digest(task, product)
    except MemoryError:
        return Digest(failure=OUT_OF_MEMORY)
    except Exception as error:
        return Digest(failure=f"extraction failed: {type(error).__name__}")


def _serve(descriptor: int, product: str, memory_bytes: int) -> None:
    """The child: answer until the parent closes its end."""
    pipe: Connection[Any, Any] = Connection(descriptor)
    _answer(DigestTask("html", "http://localhost/", "text/html", True, b"<p>ready</p>"), product)  # loads what is lazy
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + _address_space(),) * 2)
    pipe.send_bytes(b"ready")
    while True:
        try:
            head, body = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except EOFError:
            return
        answer = _answer(DigestTask(**head, body=body), product)
        pipe.send_bytes(json.dumps(asdict(answer)).encode("utf-8", "surrogatepass"))


def _address_space() -> int:
    """Address space that this process has already, which libraries reserve and mostly do not use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
