"""Python sessions that give the same output again from what is shown of them alone.

An example of a page often needs what stands before it: an import, a variable. A session is the
example with as much of that as it needs, found by names and then executed: it counts only if a
fresh interpreter gives the same output. The output is what the whole process writes, less what it
writes without the last statement. Code of a page can print what it likes, but nothing that it
prints is read as a result of this program.
"""

from __future__ import annotations

import ast
import builtins
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from judges.verifying.sandbox import Sandbox

MAX_SESSION_CHARS = 600
"""Longest session that is shown."""
MAX_ARGUMENT_BYTES = 60_000
TRACEBACK = "Traceback (most recent call last):\n"
NOT_REPRODUCED = "does not run from its statements alone"
_NOT_IMPORTED = frozenset({"antigravity", "this", "idlelib", "turtledemo"})
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "_"}

PROGRAM = r"""
import sys, json
def run(source, space):
    try:
        exec(compile(source, "<session>", "single", dont_inherit=True), space)
    except BaseException as error:
        text = str(error)
        sys.stdout.write("Traceback (most recent call last):\n" + type(error).__name__)
        sys.stdout.write((": " + text if text else "") + "\n")
    sys.stdout.flush()
def main():
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    for source in json.loads(sys.argv[1]):
        run(source, space)
main()
"""
_NAMES_PROGRAM = r"""
import sys, json, importlib, io, contextlib
names = {}
for name in json.loads(sys.argv[1]):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            module = importlib.import_module(name)
    except BaseException:
        continue
    names[name] = [key for key in vars(module) if not key.startswith("__")]
print(json.dumps(names))
"""


@dataclass(frozen=True)
class ShownSession:
    """Statements with what each of them prints. The last one is the example."""

    statements: tuple[str, ...]
    outputs: tuple[str, ...]

    def shown(self) -> str:
        """Return the session as an interpreter shows it, without the output of the last
        statement.
        """
        lines: list[str] = []
        last = len(self.statements) - 1
        for number, (source, output) in enumerate(zip(self.statements, self.outputs, strict=True)):
            prompts = [">>> ", *["... "] * source.count("\n")]
            parts = zip(prompts, source.rstrip("\n").split("\n"), strict=False)
            lines += [(prompt + line).rstrip() for prompt, line in parts]
            if number != last:
                lines += output.splitlines()
        return "\n".join(lines)


@dataclass(frozen=True)
class _Names:
    """Names in a statement: those that it reads, those that it sets, those whose object it may
    change by a method or an assignment (`x.append(1)`, `x[0] = 1`), and those that it passes on
    (`next(x)`).
    """

    needed: frozenset[str] = frozenset()
    set: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    passed: frozenset[str] = frozenset()


def _names(source: str) -> _Names:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _Names()
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    parts = [node for node in nodes if isinstance(node, ast.Attribute | ast.Subscript)]
    stored = [part for part in parts if not isinstance(part.ctx, ast.Load)]
    methods = [call.func for call in calls if isinstance(call.func, ast.Attribute)]
    return _Names(
        needed=frozenset(name for node in nodes for name in _read(node)),
        set=frozenset(name for node in nodes for name in _set(node)),
        changed=frozenset(filter(None, map(_base, [*stored, *methods]))),
        passed=frozenset(filter(None, (_base(part) for call in calls for part in call.args))),
    )


def _read(node: ast.AST) -> list[str]:
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    is_read = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    return [node.id] if is_read and isinstance(node, ast.Name) else []


def _set(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(a.asname or a.name).split(".")[0] for a in node.names]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    return [node.arg] if isinstance(node, ast.arg) else []


def _base(part: ast.expr) -> str:
    """Return the name that an expression like `x.y[0]` begins with, or ""."""
    while isinstance(part, ast.Attribute | ast.Subscript):
        part = part.value
    return part.id if isinstance(part, ast.Name) else ""


def _united(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def free_modules(sources: Sequence[str]) -> list[str]:
    """Return the modules of the standard library that statements use without an import."""
    names = [_names(source) for source in sources]
    free = _united(n.needed for n in names) - _united(n.set for n in names) - _BUILTINS
    return sorted((free - _NOT_IMPORTED) & sys.stdlib_module_names)


def names_by_module(modules: Sequence[str], sandbox: Sandbox) -> dict[str, list[str]]:
    """Return module -> its names, for the modules that exist in the sandbox. No code of a page
    runs.
    """
    wanted = [module for module in modules if module not in _NOT_IMPORTED]
    if not wanted:
        return {}
    result = sandbox.run(_NAMES_PROGRAM, json.dumps(wanted))
    return dict(json.loads(result.stdout)) if result.ended == "exited" else {}


def process_output(statements: Sequence[str], sandbox: Sandbox) -> str | None:
    """Return all that a fresh interpreter prints for the statements; None if it did not come to its
    end.
    """
    argument = json.dumps(list(statements))
    if len(argument) > MAX_ARGUMENT_BYTES:
        return None
    result = sandbox.run(PROGRAM, argument)
    return result.stdout if (result.ended, result.exit_code) == ("exited", 0) else None


def _imports(statements: Sequence[str], modules: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return import statements for names that the statements need and do not set."""
    used = [_names(source) for source in statements]
    missing = _united(n.needed for n in used) - _united(n.set for n in used) - _BUILTINS
    imports: list[str] = []
    for module, names in modules.items():
        wanted = sorted(missing & set(names))
        if wanted:
            imports.append(f"from {module} import {', '.join(wanted)}\n")
            missing -= set(wanted)
        if module.split(".")[0] in missing:
            imports.append(f"import {module}\n")
            missing -= {module.split(".")[0]}
    known = (missing & sys.stdlib_module_names) - _NOT_IMPORTED
    return (*imports, *(f"import {name}\n" for name in sorted(known)))


def _contexts(sources: Sequence[str], index: int) -> list[tuple[str, ...]]:
    """Return the choices of earlier statements to show with one, from those that its names need to
    all of them.
    """
    names = [_names(source) for source in sources[: index + 1]]
    # What an import sets is a module or a function, which no call changes.
    imported = _united(
        n.set for n, source in zip(names, sources, strict=False) if "import" in source
    )
    few = [n.set | (n.changed - imported) for n in names]
    more = [f | (n.passed - imported) for f, n in zip(few, names, strict=True)]
    choices = [_slice(sources, index, names, few), _slice(sources, index, names, more)]
    return list(dict.fromkeys([*choices, tuple(sources[:index])]))


def _slice(
    sources: Sequence[str], index: int, names: Sequence[_Names], touched: Sequence[frozenset[str]]
) -> tuple[str, ...]:
    """Return the statements before one that touch a name which it, or one of them, needs."""
    needed = names[index].needed
    kept: list[str] = []
    for i in reversed(range(index)):
        if touched[i] & needed:
            kept.append(sources[i])
            needed |= names[i].needed
    return tuple(reversed(kept))


def find_session(
    sources: Sequence[str],
    index: int,
    output: str,
    modules: Mapping[str, Sequence[str]],
    sandbox: Sandbox,
) -> ShownSession | None:
    """Return a session whose last statement is `sources[index]` and prints `output`, or None.

    `modules` maps modules to their names, for names that a page uses without importing them.
    """
    for context in _contexts(sources, index):
        statements = (*context, sources[index])
        statements = (*_imports(statements, modules), *statements)
        if sum(map(len, statements)) > MAX_SESSION_CHARS:
            continue
        session = _reproduced(statements, output, sandbox)
        if session is not None and len(session.shown()) <= MAX_SESSION_CHARS:
            return session
    return None


def _reproduced(statements: tuple[str, ...], output: str, sandbox: Sandbox) -> ShownSession | None:
    """Return the session if a fresh interpreter prints the output for its last statement."""
    total = process_output(statements, sandbox)
    if total is None or not total.endswith(output):
        return None
    before = process_output(statements[:-1], sandbox) if len(statements) > 1 else ""
    if before is None or total != before + output:
        return None
    outputs = _split_outputs(statements[:-1], before, sandbox)
    return None if outputs is None else ShownSession(statements, (*outputs, output))


def _split_outputs(
    statements: Sequence[str], total: str, sandbox: Sandbox
) -> tuple[str, ...] | None:
    """Return what each statement adds to the output of those before it."""
    if not total:
        return ("",) * len(statements)
    outputs: list[str] = []
    printed = ""
    for count in range(1, len(statements) + 1):
        upto = total if count == len(statements) else process_output(statements[:count], sandbox)
        if upto is None or not upto.startswith(printed):
            return None
        outputs.append(upto[len(printed) :])
        printed = upto
    return tuple(outputs)
