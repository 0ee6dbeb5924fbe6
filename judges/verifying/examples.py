"""`>>>` examples in documents: found by doctest's parser, executed in the sandbox, labeled by what
happened.

Labels: right (the output is what the page says; text may follow it without an empty line), wrong
(it is not), unverifiable (the example needs something that the sandbox or the page's context does
not have, or its output changes between runs).
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
        ok = exc_msg is None and (check(want, got, flags) or bool(got) and check("".join(lines), got, flags))
    out.write(json.dumps([number, got[:2000], error[:300], bool(ok)]) + "\n")
    out.flush()
"""


@dataclass(frozen=True)
class Example:
    """One `>>>` statement of a page. `number` is its place among the page's examples."""

    number: int
    source: str
    want: str
    exception: str | None
    position: int


@dataclass(frozen=True)
class Verified:
    """What executing an example gave. `output` is the real output where there was one."""

    example: Example
    label: str
    reason: str
    output: str


def find_examples(text: str) -> list[Example]:
    """The `>>>` examples of a text in order; a malformed block hides no other.

    doctest refuses a text as a whole when one prompt lacks a blank, so blocks between empty lines
    are parsed one by one.
    """
    parser = doctest.DocTestParser()
    found: list[Example] = []
    position = 0
    for block in re.split(r"(\n\s*\n)", text):
        if ">>>" in block:
            try:
                examples = parser.get_examples(block + "\n")
            except ValueError:
                examples = []
            for e in examples:
                found.append(Example(len(found), e.source, e.want, e.exc_msg, position))
        position += len(block)
    return found[:MAX_EXAMPLES_PER_DOCUMENT]


def title_modules(title: str) -> list[str]:
    """Words of a title that may be names of modules; the sandbox imports those that are."""
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
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, list) and len(row) == 4 and row[0] == len(rows):
            rows.append(row)
    return rows


def _label(example: Example, first: list[object], second: list[object]) -> Verified:
    output, error, matches = str(first[1]), str(first[2]), first[3] is True
    if first[1:] != second[1:]:
        return Verified(example, "unverifiable", "output changes between runs", "")
    if matches:
        return Verified(example, "right", "", output)
    if error.startswith(
        (
            "NameError",
            "ImportError",
            "ModuleNotFoundError",
            "SyntaxError",
            "OSError",
            "FileNotFound",
        )
    ):
        return Verified(example, "unverifiable", error.split(":")[0], "")
    if _UNSTABLE.search(output) or _UNSTABLE.search(example.want):
        return Verified(example, "unverifiable", "shows an address", "")
    return Verified(example, "wrong", error.split(":")[0] if error else "other output", output)


def verify_examples(text: str, title: str, sandbox: Sandbox) -> list[Verified]:
    """Execute the examples of one page in one session, twice with different seeds, and label each."""
    examples = find_examples(text)
    if not examples:
        return []
    modules = title_modules(title)
    first = _execute(examples, modules, sandbox, seed=1)
    second = _execute(examples, modules, sandbox, seed=2) if first else []
    verified = []
    for i, example in enumerate(examples):
        if i < len(first) and i < len(second):
            verified.append(_label(example, first[i], second[i]))
        else:
            verified.append(
                Verified(example, "unverifiable", "no result within fuel and memory", "")
            )
    return verified
