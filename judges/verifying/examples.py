"""`>>>` examples in documents: parsed by doctest, executed in the sandbox and labeled.

Labels: right (the output is as the page states; more text may follow it without an empty line, and
a fresh session gives it again), wrong (it is not), unverifiable (the example needs something that
is missing in the sandbox or on the page, or its output differs between runs).

All examples of a page run in one session first. What that session reports could be forged by the
page's own code, so it only proposes: outputs are compared here, and an example is right only if a
session of its own reproduces it (`judges/verifying/sessions.py`).
"""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from judges.verifying.sandbox import Sandbox
from judges.verifying.sessions import (
    MAX_ARGUMENT_BYTES,
    NOT_REPRODUCED,
    TRACEBACK,
    ShownSession,
    find_session,
    free_modules,
    names_by_module,
)

MAX_EXAMPLES_PER_DOCUMENT = 60
_TITLE_WORD = re.compile(r"[A-Za-z_][\w.]*")
_SANDBOX_ERRORS = (
    "NameError",
    "ImportError",
    "ModuleNotFoundError",
    "SyntaxError",
    "OSError",
    "FileNotFound",
)
_UNSTABLE = re.compile(r" at 0x[0-9a-fA-F]+")

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
_PROGRAM = r"""
import sys, json, io, contextlib, importlib, random
task = json.loads(sys.argv[1])
random.seed(task["seed"])
space = {"__name__": "__main__", "__builtins__": __builtins__}
for name in task["modules"]:
    module = importlib.import_module(name)
    if name not in task["free"]:
        space.update({k: v for k, v in vars(module).items() if not k.startswith("__")})
    space[name.split(".")[0]] = sys.modules[name.split(".")[0]]
out = sys.stdout
for number, source in enumerate(task["examples"]):
    buffer, error = io.StringIO(), ""
    try:
        code = compile(source, "<example>", "single", dont_inherit=True)
        with contextlib.redirect_stdout(buffer):
            exec(code, space)
    except BaseException as exception:
        error = type(exception).__name__ + (": " + str(exception) if str(exception) else "")
    out.write(json.dumps([number, buffer.getvalue()[:2000], error[:300]]) + "\n")
    out.flush()
"""


@dataclass(frozen=True)
class Example:
    """One `>>>` statement of a page. `number` is its index among the page's examples."""

    number: int
    source: str
    want: str
    exception: str | None
    position: int


@dataclass(frozen=True)
class VerifiedExample:
    """The result of executing an example. `output` is its real output, or "". `session` reproduces
    a right one.
    """

    example: Example
    label: str
    reason: str
    output: str
    session: ShownSession | None = None


def find_examples(text: str) -> list[Example]:
    """Return the `>>>` examples of a text, in order. A malformed block does not affect the others.

    doctest rejects a whole text if one prompt lacks a space, so blocks between empty lines are
    parsed separately.
    """
    parser = doctest.DocTestParser()
    examples: list[Example] = []
    position = 0
    for block in re.split(r"(\n\s*\n)", text):
        if ">>>" in block:
            for e in _parse_block(parser, block):
                examples.append(Example(len(examples), e.source, e.want, e.exc_msg, position))
        position += len(block)
    return examples[:MAX_EXAMPLES_PER_DOCUMENT]


def _parse_block(parser: doctest.DocTestParser, block: str) -> list[doctest.Example]:
    try:
        return parser.get_examples(block + "\n")
    except ValueError:
        return []


def title_modules(title: str) -> list[str]:
    """Return words of a title that may be module names; the sandbox imports those that exist."""
    return [word.strip(".") for word in _TITLE_WORD.findall(title)][:8]


@dataclass(frozen=True)
class _Row:
    """What the page's session reports of one example; it may be forged."""

    output: str
    error: str

    @property
    def printed(self) -> str:
        """What an interpreter would show."""
        return self.output + (f"{TRACEBACK}{self.error}\n" if self.error else "")


def _execute(
    examples: Sequence[Example],
    modules: Mapping[str, Sequence[str]],
    free: Sequence[str],
    sandbox: Sandbox,
    seed: int,
) -> list[_Row]:
    task = {
        "modules": list(modules),
        "free": list(free),
        "seed": seed,
        "examples": [e.source for e in examples],
    }
    argument = json.dumps(task)
    if len(argument) > MAX_ARGUMENT_BYTES:
        return []
    rows: list[_Row] = []
    for line in sandbox.run(_PROGRAM, argument).stdout.splitlines():
        numbered = _read_row(line)
        if numbered is not None and numbered[0] == len(rows):
            rows.append(numbered[1])
    return rows


def _read_row(line: str) -> tuple[int, _Row] | None:
    """Return number and row that the program printed for one example, or None for other output."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match row:
        case [int(number), str(output), str(error)]:
            return number, _Row(output, error)
        case _:
            return None


def is_as_stated(example: Example, output: str, error: str) -> bool:
    """Whether an output, and the error after it, are what the page states."""
    check = doctest.OutputChecker().check_output
    if error:
        wanted = example.exception
        return wanted is not None and check(wanted.split(":")[0], error.split(":")[0], _FLAGS)
    if example.exception is not None:
        return False
    beginning = example.want.splitlines(keepends=True)[: len(output.splitlines())]
    return check(example.want, output, _FLAGS) or (
        bool(output) and check("".join(beginning), output, _FLAGS)
    )


def _label(example: Example, first: _Row, second: _Row) -> VerifiedExample:
    output, error = first.output, first.error
    if first != second:
        return VerifiedExample(example, "unverifiable", "output changes between runs", "")
    if is_as_stated(example, output, error):
        return VerifiedExample(example, "right", "", output)
    if error.startswith(_SANDBOX_ERRORS):
        return VerifiedExample(example, "unverifiable", error.split(":")[0], "")
    if _UNSTABLE.search(output) or _UNSTABLE.search(example.want):
        return VerifiedExample(example, "unverifiable", "shows an address", "")
    return VerifiedExample(
        example, "wrong", error.split(":")[0] if error else "other output", output
    )


def verify_examples(text: str, title: str, sandbox: Sandbox) -> list[VerifiedExample]:
    """Execute the examples of one page in one session, twice with different seeds, and each right
    one in a session of its own; return their labels.
    """
    examples = find_examples(text)
    if not examples:
        return []
    sources = [e.source for e in examples]
    free = free_modules(sources)
    modules = names_by_module(list(dict.fromkeys([*title_modules(title), *free])), sandbox)
    free = [name for name in free if name not in title_modules(title)]
    first = _execute(examples, modules, free, sandbox, seed=1)
    second = _execute(examples, modules, free, sandbox, seed=2) if first else []
    num_run = min(len(first), len(second))
    named = {module: () if module in free else names for module, names in modules.items()}

    def verified(i: int) -> VerifiedExample:
        if i >= num_run:
            reason = "no result within fuel, memory and time"
            return VerifiedExample(examples[i], "unverifiable", reason, "")
        labeled = _label(examples[i], first[i], second[i])
        if labeled.label != "right" or not first[i].printed:
            return labeled
        session = find_session(sources, i, first[i].printed, named, sandbox)
        if session is None:
            return VerifiedExample(examples[i], "unverifiable", NOT_REPRODUCED, "")
        return replace(labeled, session=session)

    return [verified(i) for i in range(len(examples))]
