"""A task of lm-evaluation-harness as a suite; runs where lm-eval is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from infra.models.folders import load_model, load_tokenizer
from infra.store import Store
from loop.gate.config import GateConfig, SuiteConfig
from loop.gate.rules import suite_rule
from loop.gate.suites.lm_eval_tasks import LmEvalTask
from loop.gate.suites.scorer import ModelScorer
from tests.infra.support.store_rows import candidate

TASK = """
task: cities
dataset_path: json
dataset_kwargs:
  data_files:
    validation: {data}
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    pytest.importorskip("lm_eval")
    rows = [
        {"question": f"Question {i}:", "choices": ["yes", "no and no"], "answer": i % 2}
        for i in range(12)
    ]
    data = tmp_path / "cities.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    file = tmp_path / "cities.yaml"
    file.write_text(TASK.format(data=data))
    return file


@torch.no_grad()
def plain(folder: Path, context: str, choice: str) -> float:
    """A choice's log-probability by transformers alone, as the harness tokenises: both together."""
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    before, both = tokenizer.encode(context), tokenizer.encode(context + choice)
    logps = model(torch.tensor([both])).logits[0].log_softmax(-1)
    return float(sum(logps[i - 1, both[i]] for i in range(len(before), len(both))))


@pytest.mark.nightly
def test_documents_are_drawn_and_marked_by_the_harness(
    task: Path, tiny_folder: Path, store: Store
) -> None:
    config = SuiteConfig(file=str(task), kind="lm_eval", items=8)
    suite = LmEvalTask(store, suite_rule("cities", config, GateConfig()), config, "salt")
    assert suite.limit == 8
    items = suite.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0)
    assert len({item.item_id for item in items}) == 8
    scorer = ModelScorer([str(tiny_folder)] * 2, 1, 2)
    rows = suite.score(scorer, items)
    assert rows[0] == rows[1]
    choices = (" yes", " no and no")
    logps = [
        [plain(tiny_folder, f"Question {item.content}:", choice) for choice in choices]
        for item in items
    ]
    likeliest = [int(second > first) for first, second in logps]
    assert rows[0] == [
        float(best == item.content % 2) for best, item in zip(likeliest, items, strict=True)
    ]
