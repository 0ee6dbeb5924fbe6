"""Items from files, and how several models are scored on them: parity with plain transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UserError
from infra.models.folders import load_model, load_tokenizer
from infra.store import Store
from loop.gate.config import SuiteConfig
from loop.gate.estimates import clustered_mean_and_error, mean_and_error
from loop.gate.suites.item_files import RightTextSuite, read_suite_items
from loop.gate.suites.scorer import ModelScorer
from tests.infra.support.store_rows import candidate


def written(tmp_path: Path, *lines: object) -> Path:
    file = tmp_path / "items.jsonl"
    file.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return file


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2': it is not valid JSON"),
        ({"prompt": "p", "choices": ["a"], "answer": 0}, "give `choices` (two or more)"),
        ({"prompt": "p", "choices": ["a", "b"], "answer": 2}, "give `choices` (two or more)"),
        ({"good": "a"}, "give `choices` (two or more)"),
        (
            {"prompt": "p", "choices": ["a", "b"], "answer": 0, "color": 1},
            "line 2': it is not a valid item",
        ),
        ({"good": "a", "bad": "b"}, "line 2': it is not an item of kind choice"),
        (["no object"], "line 2': the line is not a JSON object."),
        ({"prompt": 5}, "prompt: Input should be a valid string"),
        ({"good": "a"}, "(give `choices`"),
        ({"prompt": "p", "check": "magic"}, "there is no such check"),
    ],
)
def test_lines_that_are_not_valid_items_are_named(tmp_path: Path, line: object, words: str) -> None:
    file = written(tmp_path, {"prompt": "p", "choices": ["a", "b"], "answer": 1}, line)
    with pytest.raises(UserError) as caught:
        read_suite_items("gate.suites.x.file", file, "choice")
    assert words in str(caught.value)
    assert "gate.suites.x.file" in str(caught.value)


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    for file in (tmp_path / "nowhere.jsonl", written(tmp_path, "")):
        with pytest.raises(UserError, match=r"gate\.suites"):
            read_suite_items("gate.suites.x.file", file, "choice")


def test_items_keep_their_ids_or_get_the_key_of_their_content(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        {"id": "one", "good": "a", "bad": "b"},
        {"good": "c", "bad": "d"},
        {"good": "c", "bad": "d"},
    )
    items = read_suite_items("k", file, "pairs")
    assert len(items) == 2, "the same line twice is one item"
    assert "one" in items


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
    suite = RightTextSuite(
        store, "x", SuiteConfig(file=str(written(tmp_path, *lines)), kind="choice"), "salt"
    )
    items = suite.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0)
    (own, _) = suite.score(scorer, items)
    per_byte = [plain_logp(tiny_folder, "p", t) / len(t.encode()) for t in (" one", " another one")]
    best = int(per_byte[1] > per_byte[0])
    assert own == [float(item.content.answer == best) for item in items]


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
