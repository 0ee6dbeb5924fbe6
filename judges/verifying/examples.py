"""`>>>` examples in documents: parsed by doctest, executed in the sandbox and labeled.

Labels: right (the output is as the page states; more text may follow it without an empty line),
wrong (it is not), unverifiable (the example needs something that is missing in the sandbox or on
the page, or its output differs between runs).
"""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from judges.verifying.sandbox import Sandbox

MAX_EXAMPLES_PER_DOCUMENT = 60
MAX_ARGUMENT_BYTES = 60_000
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

_PROGRAM = r"""
import sys, json, io, doctest, contextlib, importlib, random
task = json.loads(sys.argv[1])
random.seed(task["seed"])
space = {"__name__": "__main__", "__builtins__": __builtins__}
for name in task["modules"]:
    try:
        module = importlib.import_module(name)
    except BaseException:
        continue
    space.update({k: v for k, v in vars(module).items() if not k.startswith("__")})
    space[name.split(".")[0]] = sys.modules[name.split(".")[0]]
check = doctest.OutputChecker().check_output
flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
out = sys.stdout
for number, (source, want, exc_msg) in enumerate(task["examples"]):
    buffer, error = io.StringIO(), ""
    try:
        code = compile(source, "<example>", "single", dont_inherit=True)
        with contextlib.redirect_stdout(buffer):
            exec(code, space)
    except BaseException as exception:
        error = type(exception).__name__ + (": " + str(exception) if str(exception) else "")
    got = buffer.getvalue()
    if error:
        ok = exc_msg is not None and check(exc_msg.split(":")[0], error.split(":")[0], flags)
    else:
        lines = want.splitlines(True)[: len(got.splitlines())]
        is_beginning = bool(got) and check("".join(lines), got, flags)
        ok = exc_msg is None and (check(want, got, flags) or is_beginning)
    out.write(json.dumps([number, got[:2000], error[:300], bool(ok)]) + "\n")
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
    """The result of executing an example. `output` is its real output, or ""."""

    example: Example
    label: str
    reason: str
    output: str


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


def _execute(
    examples: Sequence[Example], modules: Sequence[str], sandbox: Sandbox, seed: int
) -> list[list[object]]:
    task = {
        "modules": modules,
        "seed": seed,
        "examples": [[e.source, e.want, e.exception] for e in examples],
    }
    argument = json.dumps(task)
    if len(argument) > MAX_ARGUMENT_BYTES:
        return []
    rows: list[list[object]] = []
    for line in sandbox.run(_PROGRAM, argument).stdout.splitlines():
        row = _read_row(line)
        if row is not None and row[0] == len(rows):
            rows.append(row)
    return rows


def _read_row(line: str) -> list[object] | None:
    """Return the row that the program printed for one example, or None for other output."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, list) and len(row) == 4 else None


def _label(example: Example, first: list[object], second: list[object]) -> VerifiedExample:
    output, error, matches = str(first[1]), str(first[2]), first[3] is True
    if first[1:] != second[1:]:
        return VerifiedExample(example, "unverifiable", "output changes between runs", "")
    if matches:
        return VerifiedExample(example, "right", "", output)
    if error.startswith(_SANDBOX_ERRORS):
        return VerifiedExample(example, "unverifiable", error.split(":")[0], "")
    if _UNSTABLE.search(output) or _UNSTABLE.search(example.want):
        return VerifiedExample(example, "unverifiable", "shows an address", "")
    return VerifiedExample(
        example, "wrong", error.split(":")[0] if error else "other output", output
    )


def verify_examples(text: str, title: str, sandbox: Sandbox) -> list[VerifiedExample]:
    """Execute the examples of one page in one session, twice with different seeds, and return their
    labels.
    """
    examples = find_examples(text)
    if not examples:
        return []
    modules = title_modules(title)
    first = _execute(examples, modules, sandbox, seed=1)
    second = _execute(examples, modules, sandbox, seed=2) if first else []
    num_run = min(len(first), len(second))
    return [
        _label(example, first[i], second[i])
        if i < num_run
        else VerifiedExample(example, "unverifiable", "no result within fuel and memory", "")
        for i, example in enumerate(examples)
    ]
