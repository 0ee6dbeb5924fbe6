from __future__ import annotations

import pytest

from infra.records import Document
from judges.verifying.checks import is_output
from judges.verifying.examples import find_examples, title_modules, verify_examples
from judges.verifying.sandbox import Sandbox
from judges.verifying.verifier import demonstration, verify_document


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


def labels(text: str, sandbox: Sandbox, title: str = "") -> list[str]:
    return [v.label for v in verify_examples(text, title, sandbox)]


def test_sandbox_runs_python_and_keeps_streams_apart(sandbox: Sandbox) -> None:
    result = sandbox.run(
        "import sys; print(sys.argv[1]); print('e', file=sys.stderr); sys.exit(3)", "word"
    )
    assert (result.stdout, result.stderr, result.ended, result.exit_code) == (
        "word\n",
        "e\n",
        "exited",
        3,
    )


def test_endless_loop_ends_when_its_fuel_does(sandbox: Sandbox) -> None:
    assert sandbox.run("while True: pass").ended == "out_of_fuel"


def test_endless_output_is_capped(sandbox: Sandbox) -> None:
    result = sandbox.run("while True: print('x' * 1000)")
    assert result.ended == "out_of_fuel"
    assert len(result.stdout) <= 2**20


def test_memory_is_capped(sandbox: Sandbox) -> None:
    assert "MemoryError" in sandbox.run("x = 'a' * 10**9").stderr


@pytest.mark.parametrize(
    "attack",
    [
        "open('/etc/passwd').read()",
        "import os; os.listdir('/')",
        "import os; os.system('id')",
        "import subprocess; subprocess.run(['id'])",
        "import socket; socket.create_connection(('127.0.0.1', 80))",
        "import os; print(os.environ['HOME'])",
        "import ctypes",
        "open('/tmp/x', 'w')",
    ],
)
def test_nothing_outside_is_reached(sandbox: Sandbox, attack: str) -> None:
    result = sandbox.run(attack + "\nprint('reached')")
    assert "reached" not in result.stdout
    assert "Error" in result.stderr


def test_right_wrong_and_unverifiable_are_told_apart(sandbox: Sandbox) -> None:
    text = ">>> 1 + 1\n2\n\n>>> 1 + 1\n3\n\n>>> unknown_name\n5\n\n>>> x = 4\n>>> x\n4\n"
    assert labels(text, sandbox) == ["right", "wrong", "unverifiable", "right", "right"]


def test_expected_exceptions_are_right(sandbox: Sandbox) -> None:
    text = (
        ">>> 1 / 0\nTraceback (most recent call last):\n    ...\n"
        "ZeroDivisionError: division by zero\n"
    )
    assert labels(text, sandbox) == ["right"]
    assert labels(">>> 1 / 0\n7\n", sandbox) == ["wrong"]


def test_text_that_runs_on_after_the_output_does_not_make_it_wrong(sandbox: Sandbox) -> None:
    assert labels(">>> 2 * 3\n6\nThe next function is another one.\n", sandbox) == ["right"]
    assert labels(">>> 2 * 3\n7\nThe next function is another one.\n", sandbox) == ["wrong"]


def test_output_that_changes_between_runs_is_unverifiable(sandbox: Sandbox) -> None:
    assert labels(">>> import random\n>>> random.random()\n0.5\n", sandbox)[1] == "unverifiable"


def test_modules_named_in_the_title_are_there(sandbox: Sandbox) -> None:
    text = ">>> mean([1, 3])\n2\n>>> statistics.mean([1, 3])\n2\n"
    assert labels(text, sandbox, "Python: module statistics") == ["right", "right"]
    # A name of the standard library alone is imported; what to import `mean` from is not known.
    assert labels(text, sandbox, "another title") == ["unverifiable", "right"]


def test_endless_example_costs_only_those_after_it(sandbox: Sandbox) -> None:
    assert labels(">>> 1\n1\n\n>>> while True: pass\n\n>>> 2\n2\n", sandbox) == [
        "right",
        "unverifiable",
        "unverifiable",
    ]


def test_malformed_block_hides_no_other(sandbox: Sandbox) -> None:
    text = ">>>broken prompt\n1\n\n>>> 1\n1\n"
    assert [e.source for e in find_examples(text)] == ["1\n"]


def test_one_page_leaves_nothing_behind_for_the_next(sandbox: Sandbox) -> None:
    poison = (
        ">>> import builtins, math; builtins.len = lambda _: 7; math.pi = 7\n\n>>> len('')\n7\n"
    )
    assert labels(poison, sandbox)[1] == "right"
    assert labels(">>> len('')\n7\n\n>>> import math; math.pi\n7\n", sandbox) == ["wrong", "wrong"]


def test_title_words() -> None:
    assert title_modules("Python: module xml.dom. x") == ["Python", "module", "xml.dom", "x"]


def document(text: str, title: str = "t") -> Document:
    return Document("d", "p", "u", title, text, "en", "x", "train", 1)


def test_demonstrations_show_the_statements_before_and_answer_with_the_executed_output(
    sandbox: Sandbox,
) -> None:
    result = verify_document(document(">>> x = 3\n>>> x * 2\n6\n"), 1, sandbox)
    (sample,) = result.demonstrations
    assert sample.prompt.endswith(">>> x = 3\n>>> x * 2")
    assert sample.completion == "6"
    assert [j.status for j in result.judgments] == ["scored", "scored", "scored"]


def test_wrong_examples_make_no_demonstrations(sandbox: Sandbox) -> None:
    items = verify_examples(">>> 1 + 1\n3\n", "", sandbox)
    assert demonstration(document(""), items[0], 1) is None


def test_document_without_examples_is_unscored_with_a_reason(sandbox: Sandbox) -> None:
    (summary,) = verify_document(document("prose"), 1, sandbox).judgments
    assert (summary.status, summary.reason) == ("unscored", "no examples")


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("6", True),
        ("`6`", True),
        ("6\nBecause 2 * 3 is 6.", True),
        ("```\n6\n```", True),
        ("16", False),
        ("", False),
    ],
)
def test_completions_are_compared_by_their_first_lines(completion: str, right: bool) -> None:
    assert is_output("6", completion) == right


def test_equations_that_are_right_become_demonstrations_and_wrong_ones_do_not(
    sandbox: Sandbox,
) -> None:
    result = verify_document(
        document("So 12 * 4 = 48 and 3 + 4 = 8.\n\n>>> x = 2 + 2 == 5\n"), 1, sandbox
    )
    (asked,) = [s for s in result.demonstrations if s.check == "math"]
    assert (asked.prompt, asked.completion) == ("What is 12 * 4?", "48")
    assert [j.value for j in result.judgments if j.rubric == "stated_equation"] == [1.0, 0.0]
