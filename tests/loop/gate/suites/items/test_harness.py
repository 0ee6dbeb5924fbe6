"""Tasks of lm-evaluation-harness: gold answers, sizes, and what cannot be loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import UserError
from loop.gate.suites.items.harness import gold_items, task_size
from loop.gate.suites.items.sources import items_from

HEAD = """
task: made
dataset_path: json
dataset_kwargs:
  data_files:
    validation: {data}
validation_split: validation
"""
ROWS = [
    {"q": f"Question {i}:", "choices": ["yes", "no"], "answer": i % 2, "text": f"no {i}"}
    for i in range(4)
]
KINDS = {
    "by index": (
        'output_type: multiple_choice\ndoc_to_text: "{{q}}"\ndoc_to_choice: "{{choices}}"\n'
        'doc_to_target: "{{answer}}"\n',
        [("Question 0:", " yes"), ("Question 1:", " no")],
    ),
    "by text": (
        'output_type: multiple_choice\ndoc_to_text: "{{q}}"\ndoc_to_choice: "{{choices}}"\n'
        'doc_to_target: "{{choices[answer]}}"\ntarget_delimiter: "\\n"\n',
        [("Question 0:", "\nyes"), ("Question 1:", "\nno")],
    ),
    "choices in the prompt": (
        'output_type: multiple_choice\ndoc_to_text: "{{answer}}"\n'
        'doc_to_choice: "{{choices}}"\ndoc_to_target: "{{text}}"\n',
        [("yes", " no 0"), ("no", " no 1")],
    ),
    "generated": (
        'output_type: generate_until\ndoc_to_text: "{{q}}"\ndoc_to_target: "{{text}}"\n',
        [("Question 0:", " no 0"), ("Question 1:", " no 1")],
    ),
    "likelihood": (
        'output_type: loglikelihood\ndoc_to_text: "{{q}}"\ndoc_to_target: " {{text}}"\n',
        [("Question 0:", " no 0"), ("Question 1:", " no 1")],
    ),
}


def task_file(folder: Path, text: str, **options: Any) -> Path:
    data = folder / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)))
    file = folder / "made.yaml"
    metrics = "metric_list:\n  - metric: acc\n" if "multiple_choice" in text else ""
    file.write_text(HEAD.format(data=data) + text + metrics)
    return file


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_the_gold_answer_is_what_the_task_says_is_right(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    text, first = KINDS[kind]
    items = items_from("k", f"lm_eval:{task_file(tmp_path, text)}", "bits")
    assert list(items) == ["0", "1", "2", "3"]
    assert [(item.prompt, item.gold) for item in list(items.values())[:2]] == first


@pytest.mark.nightly
def test_a_task_without_gold_answers_is_named(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    text = 'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: "{{text}}"\n'
    with pytest.raises(UserError, match="no gold answers"):
        gold_items("gate.suites.x.file", str(task_file(tmp_path, text)))


@pytest.mark.nightly
def test_tasks_that_there_are_not_are_named(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    (tmp_path / "empty.yaml").write_text("a: 1")
    for task in (
        "no_such_task_at_all",
        str(tmp_path / "nowhere.yaml"),
        str(tmp_path / "empty.yaml"),
    ):
        with pytest.raises(UserError, match=r"gate\.suites\.x\.file"):
            task_size("gate.suites.x.file", task)


def test_without_the_harness_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.tasks", None)
    with pytest.raises(UserError, match=r"ratchet-loop\[lm-eval\]"):
        task_size("gate.suites.x.file", "arc_easy")
    problem = r"aim\.exam\.file = 'lm_eval:arc_easy': lm-eval is not installed"
    with pytest.raises(UserError, match=problem):
        items_from("aim.exam.file", "lm_eval:arc_easy", "bits")
