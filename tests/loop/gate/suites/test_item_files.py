"""Items from files, and how several models are scored on them: parity with plain transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.models.folders import load_model, load_tokenizer
from infra.store import Store
from loop.gate.config import GateConfig, SuiteConfig
from loop.gate.estimates import clustered_mean_and_error, mean_and_error
from loop.gate.rules import suite_rule
from loop.gate.suites.item_files import GoldBits, RightTextSuite
from loop.gate.suites.scorer import ModelScorer
from tests.infra.support.store_rows import candidate


def written(tmp_path: Path, *lines: object) -> Path:
    file = tmp_path / "items.jsonl"
    file.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return file


def plain_logp(folder: Path, context: str, text: str) -> float:
    """Sum of the log-probabilities of a text's tokens by transformers alone, one text at a time."""
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    before = tokenizer.encode(context, add_special_tokens=False) or [tokenizer.bos_token_id]
    after = tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        logps = model(torch.tensor([before + after])).logits[0].log_softmax(-1)
    return float(sum(logps[len(before) + i - 1, token] for i, token in enumerate(after)))


def test_models_are_scored_as_by_plain_transformers(
    tiny_folder: Path, store: Store, tmp_path: Path
) -> None:
    scorer = ModelScorer([str(tiny_folder), str(tiny_folder)], 1, 2)
    assert scorer.problem(0) == ""
    pairs = [("The cat", " sat."), ("", "Some words"), ("A longer context than the others", " x")]
    rows = scorer.logps(pairs)
    assert rows[0] == rows[1]
    assert rows[0] == pytest.approx([plain_logp(tiny_folder, *pair) for pair in pairs], abs=1e-4)
    lines = [
        {"prompt": "p", "choices": [" one", " another one"], "answer": i % 2} for i in range(3)
    ]
    config = SuiteConfig(file=str(written(tmp_path, *lines)), kind="choice")
    suite = RightTextSuite(store, suite_rule("x", config, GateConfig()), config, "salt")
    items = suite.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0)
    (own, _) = suite.score(scorer, items)
    per_byte = [plain_logp(tiny_folder, "p", t) / len(t.encode()) for t in (" one", " another one")]
    best = int(per_byte[1] > per_byte[0])
    assert own == [float(item.content.answer == best) for item in items]


BORDERS = [
    {"prompt": "The capital of France is", "gold": " Paris."},
    {"prompt": "The capital of France is ", "gold": "Paris."},  # the space is the prompt's
    {"prompt": "The capital of France is ", "gold": " Paris."},
    {"prompt": "work", "gold": "ing"},  # one token if both were cut together
    {"prompt": "", "gold": "Paris."},
    {"prompt": "e", "gold": "\u0301 is an accent"},  # a mark that belongs to the letter before
    {"prompt": "Emoji:\n", "gold": "\U0001f600"},
    {"prompt": "2 + 2 =", "choices": [" 5", " 4", " four"], "answer": 2},
    {"prompt": "What is 2 + 2?", "check": "math", "reference": "4"},
    {"prompt": "Say", "reference": " yes"},
]


def test_bits_of_gold_answers_are_those_of_plain_transformers(
    tiny_folder: Path, store: Store, tmp_path: Path
) -> None:
    lines = [item | {"id": str(i)} for i, item in enumerate(BORDERS)]
    config = SuiteConfig(file=str(written(tmp_path, *lines)), kind="bits")
    suite = GoldBits(store, suite_rule("x", config, GateConfig()), config, "salt")
    items = suite.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0)
    own, _ = suite.score(ModelScorer([str(tiny_folder)] * 2, 1, 2), items)
    golds = ["." for _ in BORDERS]
    for item in items:
        line = BORDERS[int(item.item_id)]
        choices = line.get("choices", [])
        golds[int(item.item_id)] = str(
            choices[line["answer"]] if choices else line.get("gold") or line["reference"]
        )
    expected = []
    for item in items:
        gold = golds[int(item.item_id)]
        assert item.size == len(gold.encode())
        logp = plain_logp(tiny_folder, str(BORDERS[int(item.item_id)]["prompt"]), gold)
        expected.append(-logp / math.log(2) / len(gold.encode()))
    assert own == pytest.approx(expected, abs=1e-5)
    assert len(set(golds)) > 6


def test_of_a_long_gold_answer_whole_characters_of_the_beginning_count(
    store: Store, tmp_path: Path
) -> None:
    file = written(tmp_path, {"prompt": "p", "gold": "x" + "\u00e9" * 1500})
    config = SuiteConfig(file=str(file), kind="bits")
    suite = GoldBits(store, suite_rule("x", config, GateConfig()), config, "salt")
    (item,) = suite.all_items()
    assert item.size == 1999, "the next character would be its 2000th and 2001st byte"


def test_clip_and_margin_of_bits_are_those_of_held_out_text() -> None:
    gate = GateConfig(clip_bits=0.3, margin_bits=0.07)
    rule = suite_rule("x", SuiteConfig(file="f", kind="bits"), gate)
    assert (rule.clip, rule.margin, rule.higher_is_better) == (0.3, 0.07, False)
    own = SuiteConfig(file="f", kind="bits", margin=0.01)
    assert suite_rule("x", own, gate).margin == 0.01
    assert suite_rule("x", SuiteConfig(file="f", kind="pairs"), gate).margin == 0.2


def test_what_does_not_load_is_said(tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "does not load" in ModelScorer([str(tmp_path), str(tiny_folder)], 1, 2).problem(0)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=30))
def test_a_unit_for_each_item_gives_the_plain_standard_error(values: list[float]) -> None:
    clustered = clustered_mean_and_error(values, list(range(len(values))))
    assert clustered == pytest.approx(mean_and_error(values), abs=1e-12)


def test_items_of_a_unit_that_say_the_same_count_once() -> None:
    values, units = [1.0, 1.0, 0.0, 0.0, 2.0, 2.0], ["a", "a", "b", "b", "c", "c"]
    mean, error = clustered_mean_and_error(values, units)
    assert (mean, error) == pytest.approx(mean_and_error([1.0, 0.0, 2.0]))
    assert math.isnan(clustered_mean_and_error([1.0, 2.0], ["a", "a"])[1])
