"""A child process that digests bodies, with a memory limit, killed where it takes too long.

Parent and child speak in frames of JSON and raw bytes, never pickles, so that a child which a
hostile page has taken over can at worst lie about that page.
"""

from __future__ import annotations

import gc
import json
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from crawlers.reading.parsed_body import Digest, DigestTask

START_S = 180.0
"""Allowance for starting a Python process with the extraction libraries on a loaded machine."""
ENDING_S = 5.0
OUT_OF_TIME = "extraction took too long"
OUT_OF_MEMORY = "extraction ran out of memory"
DIED = "extraction crashed"
MAX_ANSWER_BYTES = 64 * 2**20
MAX_KILLS = 5
"""Times that somebody else (an operator, the kernel short of memory) may end the child before a
body is given up."""
_KILLED_BY_OTHERS = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)


class _ChildEndedError(Exception):
    """The child is gone in the middle of a body; `by_others` where a signal came from outside."""

    def __init__(self, by_others: bool) -> None:
        super().__init__(DIED)
        self.by_others = by_others


class DigestChild:
    """Digests one body at a time in a child process, which is started anew after it died."""

    def __init__(self, product: str, timeout_s: float, memory_bytes: int) -> None:
        self._arguments = (product, str(memory_bytes))
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._lock = threading.Lock()

    def digest(self, task: DigestTask) -> Digest:
        """See `crawlers.reading.parse_body.digest`; a child that crashes or hangs is a failure of
        this body alone.

        A child that was killed from outside says nothing about the body, which is read again by the
        next one.
        """
        with self._lock:
            for _ in range(MAX_KILLS):
                try:
                    return self._ask(self._ready(), task)
                except _ChildEndedError as end:
                    if not end.by_others:
                        break
            return Digest(failure=DIED)

    def _ask(self, pipe: Connection[Any, Any], task: DigestTask) -> Digest:
        head = dict(vars(task))
        body = head.pop("body")
        try:
            pipe.send_bytes(json.dumps(head).encode())
            pipe.send_bytes(body)
            if not pipe.poll(self._timeout_s):
                self.close()
                return Digest(failure=OUT_OF_TIME)
            return _from_json(pipe.recv_bytes(MAX_ANSWER_BYTES))
        except (EOFError, OSError, ValueError, TypeError) as error:
            raise _ChildEndedError(self._end() in _KILLED_BY_OTHERS) from error

    def _end(self) -> int | None:
        """Close, and say how the child ended if it did so by itself; its pipe closes a little
        before it is gone.
        """
        process = self._process
        with suppress(subprocess.TimeoutExpired):
            if process is not None:
                process.wait(ENDING_S)
        code = process.returncode if process is not None else None
        self.close()
        return code

    def _ready(self) -> Connection[Any, Any]:
        """The pipe to a child that has said that it is up; `RuntimeError` where none comes up."""
        if self._pipe is not None and self._process is not None and self._process.poll() is None:
            return self._pipe
        self.close()
        self._pipe, theirs = Pipe()
        command = [
            sys.executable,
            "-m",
            "crawlers.reading.reader_process",
            str(theirs.fileno()),
            *self._arguments,
        ]
        self._process = subprocess.Popen(  # noqa: S603
            command,
            cwd=Path(__file__).resolve().parents[2],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            if self._pipe.poll(START_S) and self._pipe.recv_bytes(16) == b"ready":
                return self._pipe
        except (EOFError, OSError) as error:
            code = self._end()
            if code in _KILLED_BY_OTHERS:
                raise _ChildEndedError(by_others=True) from error
        self.close()
        raise RuntimeError("the extraction process did not start")

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
    for name in ("links", "feeds", "sitemaps", "meta_robots"):
        values[name] = tuple(values[name])
    values["grams"] = {int(size): hashes for size, hashes in values["grams"].items()}
    return Digest(**values)


def _answer(task: DigestTask, product: str) -> Digest:
    from crawlers.reading.parse_body import digest  # in the child alone: it loads every parser

    try:
        return digest(task, product)
    except MemoryError:
        return Digest(failure=OUT_OF_MEMORY)
    except Exception as error:
        return Digest(failure=f"extraction failed: {type(error).__name__}")


def _serve(descriptor: int, product: str, memory_bytes: int) -> None:
    """The child: answer until the parent closes its end."""
    pipe: Connection[Any, Any] = Connection(descriptor)
    _answer(
        DigestTask("html", "http://localhost/", "text/html", True, b"<p>ready</p>"), product
    )  # loads what is lazy
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + _address_space(),) * 2)
    gc.freeze()  # what libraries keep for good need not be looked through again and again
    gc.set_threshold(100_000, 50, 100)
    pipe.send_bytes(b"ready")
    while True:
        try:
            head, body = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except EOFError:
            return
        answer = _answer(DigestTask(**head, body=body), product)
        pipe.send_bytes(json.dumps(vars(answer)).encode("utf-8", "surrogatepass"))


def _address_space() -> int:
    """Address space that this process has already, which libraries reserve and mostly do not use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
