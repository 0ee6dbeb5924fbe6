"""A child process that parses bodies, with a memory limit; it is killed if it takes too long.

Parent and child exchange JSON and raw bytes, never pickles. A hostile page that takes over the
child can therefore only falsify the result for that page.
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

from crawlers.reading.parsed_body import ParsedBody, ParseTask

START_S = 180.0
"""Time limit for starting the child on a loaded machine, in seconds; it imports many libraries."""
ENDING_S = 5.0
OUT_OF_TIME = "extraction took too long"
OUT_OF_MEMORY = "extraction ran out of memory"
DIED = "extraction crashed"
MAX_ANSWER_BYTES = 64 * 2**20
MAX_KILLS = 5
"""A body counts as failed after the child was killed this often from outside, for example by the
kernel when memory is short."""
_KILLED_BY_OTHERS = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)


class _ChildEndedError(Exception):
    """The child ended while it parsed a body; `by_others` if a signal from outside killed it."""

    def __init__(self, by_others: bool) -> None:
        super().__init__(DIED)
        self.by_others = by_others


class ReaderProcess:
    """Parses one body at a time in a child process, which is started again after it died."""

    def __init__(self, product: str, timeout_s: float, memory_bytes: int) -> None:
        self._arguments = (product, str(memory_bytes))
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._lock = threading.Lock()

    def parse(self, task: ParseTask) -> ParsedBody:
        """Parse a body with `crawlers.reading.parse_body.parse_body` in the child.

        If the child crashes or hangs, only this body fails. If it was killed from outside, the body
        is parsed again by a new child.
        """
        with self._lock:
            for _ in range(MAX_KILLS):
                try:
                    return self._ask(self._ready(), task)
                except _ChildEndedError as end:
                    if not end.by_others:
                        break
            return ParsedBody(failure=DIED)

    def _ask(self, pipe: Connection[Any, Any], task: ParseTask) -> ParsedBody:
        head = dict(vars(task))
        body = head.pop("body")
        try:
            pipe.send_bytes(json.dumps(head).encode())
            pipe.send_bytes(body)
            if not pipe.poll(self._timeout_s):
                self.close()
                return ParsedBody(failure=OUT_OF_TIME)
            return _from_json(pipe.recv_bytes(MAX_ANSWER_BYTES))
        except (EOFError, OSError, ValueError, TypeError) as error:
            raise _ChildEndedError(self._end() in _KILLED_BY_OTHERS) from error

    def _end(self) -> int | None:
        """Close, and return the child's exit code if it ended by itself, else None.

        The pipe breaks slightly before the process is gone, so this waits up to `ENDING_S`.
        """
        process = self._process
        with suppress(subprocess.TimeoutExpired):
            if process is not None:
                process.wait(ENDING_S)
        code = process.returncode if process is not None else None
        self.close()
        return code

    def _ready(self) -> Connection[Any, Any]:
        """The pipe to a running child, which is started if necessary.

        Raises:
            RuntimeError: if the child does not start.
        """
        if self._pipe is not None and self._process is not None and self._process.poll() is None:
            return self._pipe
        self.close()
        self._pipe, child_end = Pipe()
        command = [
            sys.executable,
            "-m",
            "crawlers.reading.reader_process",
            str(child_end.fileno()),
            *self._arguments,
        ]
        self._process = subprocess.Popen(  # noqa: S603
            command,
            cwd=Path(__file__).resolve().parents[2],
            pass_fds=[child_end.fileno()],
            stdin=subprocess.DEVNULL,
        )
        child_end.close()
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


def _from_json(data: bytes) -> ParsedBody:
    values: dict[str, Any] = json.loads(data)
    for name in ("links", "feeds", "sitemaps", "meta_robots"):
        values[name] = tuple(values[name])
    values["grams"] = {int(size): hashes for size, hashes in values["grams"].items()}
    return ParsedBody(**values)


def _parse(task: ParseTask, product: str) -> ParsedBody:
    from crawlers.reading.parse_body import parse_body  # loads all parsers: only in the child

    try:
        return parse_body(task, product)
    except MemoryError:
        return ParsedBody(failure=OUT_OF_MEMORY)
    except Exception as error:
        return ParsedBody(failure=f"extraction failed: {type(error).__name__}")


def _serve(descriptor: int, product: str, memory_bytes: int) -> None:
    """The child's main loop: parse bodies until the parent closes its end of the pipe."""
    pipe: Connection[Any, Any] = Connection(descriptor)
    warm_up = ParseTask("html", "http://localhost/", "text/html", True, b"<p>ready</p>")
    _parse(warm_up, product)  # so that lazy imports happen before the memory limit is set
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + _address_space(),) * 2)
    gc.freeze()  # objects of libraries stay for good: the collector need not visit them
    gc.set_threshold(100_000, 50, 100)
    pipe.send_bytes(b"ready")
    while True:
        try:
            head, body = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except EOFError:
            return
        parsed = _parse(ParseTask(**head, body=body), product)
        pipe.send_bytes(json.dumps(vars(parsed)).encode("utf-8", "surrogatepass"))


def _address_space() -> int:
    """Bytes of address space of this process; libraries reserve much more than they use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
