"""The structure of the code: which folder imports which, how large it is, and what names mean."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT
from tests.conftest import RAY_FILES

PACKAGES = ("infra", "crawlers", "judges", "trainers", "loop")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
FOLDERS = sorted({file.parent for file in FILES})
OTHER_FILES = sorted(
    file for name in ("tests", "benchmarks") for file in (ROOT / name).rglob("*.py")
)
TEST_FOLDERS = sorted({file.parent for file in (ROOT / "tests").rglob("*.py")})
MAX_ENTRIES = 12
TESTED_ELSEWHERE = (
    "infra/cluster",  # needs Ray, so it is tested by what starts Ray
    "infra/store/queries",  # tested through the commands and the tables that show their rows
    "infra/store/tables",  # tested through the store in tests/infra/store
    "trainers/models",  # tested on packs in tests/trainers/batches, and through the steps
)
"""Folders with more than two modules and no test file at the same path, each with the reason."""
VAGUE_NAMES = {"found", "said", "told", "place", "places", "what", "of"}
"""Names that say nothing about what they hold."""


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imported(file: Path) -> Iterator[str]:
    """The top packages that a file imports, anywhere in it."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("folder", [*FOLDERS, *TEST_FOLDERS], ids=relative)
def test_a_folder_has_few_entries(folder: Path) -> None:
    hidden = {"__init__.py", "__pycache__"}
    entries = [entry.name for entry in folder.iterdir() if entry.name not in hidden]
    assert len(entries) <= MAX_ENTRIES, sorted(entries)


def test_tests_mirror_the_folders() -> None:
    for folder in (ROOT / "tests").rglob("*"):
        if folder.is_dir() and any(folder.glob("test_*.py")):
            code = ROOT / folder.relative_to(ROOT / "tests")
            assert code.is_dir(), f"{relative(folder)} has tests of no folder of the code"
    untested = []
    for folder in FOLDERS:
        modules = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
        if len(modules) > 2 and not any((ROOT / "tests" / relative(folder)).glob("test_*.py")):
            untested.append(relative(folder))
    assert untested == sorted(TESTED_ELSEWHERE)


def test_no_file_of_the_loop_hides_another_module() -> None:
    for file in (ROOT / "loop").rglob("*.py"):
        assert file.stem.startswith("__") or file.stem not in sys.stdlib_module_names
        assert file.stem != "runs"
    assert not list((ROOT / "loop").rglob("runs"))


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("deepspeed", ["trainers/engine/engine.py"]),
        ("scrapy", ["crawlers/fetching/spider.py"]),
    ],
)
def test_a_framework_is_imported_in_one_file(package: str, allowed: list[str]) -> None:
    assert [relative(file) for file in FILES if package in imported(file)] == allowed


def test_duckdb_is_imported_in_infra_only() -> None:
    importing = [file for file in FILES if "duckdb" in imported(file)]
    assert importing
    assert all(file.is_relative_to(ROOT / "infra" / "store") for file in importing)


def test_run_py_is_one_page_without_classes() -> None:
    file = ROOT / "loop" / "run.py"
    assert len(file.read_text().splitlines()) <= 75
    assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(parsed(file)))


def test_nothing_unpickles_or_trusts_remote_code() -> None:
    for file in FILES:
        source = file.read_text()
        assert "trust_remote_code=True" not in source
        assert "torch.load(" not in source
        assert "pickle" not in imported(file)


def test_a_class_name_means_one_thing() -> None:
    files_by_name = defaultdict(list)
    for file in FILES:
        for node in parsed(file).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files_by_name[node.name].append(relative(file))
    assert {name: files for name, files in files_by_name.items() if len(files) > 1} == {}


def assigned(file: Path) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of the constants and type aliases of a module."""
    for node in parsed(file).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id[0].isupper():
                yield target.id, node.value


def test_a_constant_or_alias_means_one_thing() -> None:
    values = defaultdict(set)
    for file in FILES:
        for name, value in assigned(file):
            if not (isinstance(value, ast.Call) and ast.unparse(value.func) == "TypeVar"):
                text = ast.unparse(value)
                values[name].add(f"{relative(file)}: {text}" if "__file__" in text else text)
    classes = {
        node.name for file in FILES for node in parsed(file).body if isinstance(node, ast.ClassDef)
    }
    assert {name: where for name, where in values.items() if len(where) > 1} == {}
    assert classes & values.keys() == set()


def test_a_public_function_means_one_thing() -> None:
    """Commands are named by the user, so `loop/commands/` may repeat a word."""
    files = defaultdict(list)
    for file in FILES:
        for node in parsed(file).body:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            is_command = file.is_relative_to(ROOT / "loop" / "commands")
            if is_function and not is_command and not node.name.startswith("_"):
                files[node.name].append(relative(file))
    repeated = {name: where for name, where in files.items() if len(where) > 1}
    repeated.pop("main", None)  # the entry point of a script
    assert repeated == {}


@pytest.mark.parametrize("file", [*FILES, *OTHER_FILES], ids=relative)
def test_names_say_what_they_hold(file: Path) -> None:
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not node.name.endswith("_of"), f"{node.name} says whose and not what"
            assert node.name not in VAGUE_NAMES, f"line {node.lineno}: {node.name}"
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assert node.id not in VAGUE_NAMES, f"line {node.lineno}: {node.id}"
        elif isinstance(node, ast.arg):
            assert node.arg not in VAGUE_NAMES, f"line {node.lineno}: {node.arg}"


def test_lines_of_sql_are_as_short_as_those_of_python() -> None:
    files = sorted((ROOT / "infra" / "store").rglob("*.sql"))
    lines = [(relative(file), line) for file in files for line in file.read_text().splitlines()]
    assert lines
    assert [(name, line) for name, line in lines if len(line) > 100] == []


def test_formatting_is_skipped_nowhere() -> None:
    assert [relative(file) for file in FILES if "fmt: skip" in file.read_text()] == []


def test_every_test_file_that_starts_ray_is_known_to_the_scheduler() -> None:
    words = (
        "ray_cluster",
        "tests.trainers.support.launching",
        "tests.trainers.support.losing_a_node",
    )
    files = [file for file in (ROOT / "tests").rglob("test_*.py") if file != Path(__file__)]
    starting = [relative(file) for file in files if any(w in file.read_text() for w in words)]
    assert sorted(starting) == sorted(RAY_FILES)
