"""The house: who may import whom, and how large its rooms may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("infra", "crawlers", "judges", "trainers", "loop")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_files_and_functions_stay_small(file: Path) -> None:
    source = file.read_text()
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 50, node.name


def test_no_file_of_the_loop_shadows_another_module() -> None:
    for file in (ROOT / "loop").glob("*.py"):
        assert file.stem not in sys.stdlib_module_names


def test_frameworks_live_where_the_map_says() -> None:
    places = {
        "deepspeed": {"trainers/engine/engine.py"},
        "scrapy": {"crawlers/fetching/spider.py"},
    }
    for framework, allowed in places.items():
        using = {
            str(file.relative_to(ROOT))
            for file in FILES
            for node in ast.walk(ast.parse(file.read_text()))
            if (
                isinstance(node, ast.Import)
                and any(a.name.split(".")[0] == framework for a in node.names)
            )
            or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == framework)
        }
        assert using == allowed


def test_run_py_is_one_page_without_classes() -> None:
    source = (ROOT / "loop" / "run.py").read_text()
    assert len(source.splitlines()) <= 70
    assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(ast.parse(source)))


def test_nothing_unpickles_or_trusts_remote_code() -> None:
    for file in FILES:
        source = file.read_text()
        assert "trust_remote_code=True" not in source
        assert "pickle" not in {
            a.name
            for n in ast.walk(ast.parse(source))
            if isinstance(n, ast.Import)
            for a in n.names
        }
        assert "torch.load(" not in source
