"""Gold files of every known layout, and what goes wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import UserError
from judges.judgment.pairs import Pair
from judges.measuring.datasheet import longer_baseline
from judges.measuring.gold import load_gold
from judges.measuring.probes.making import gold_set
from tests.conftest import SHARED_DATA

LLMBAR = SHARED_DATA / "gold" / "llmbar"
MT_BENCH = {
    "winner": "model_b",
    "conversation_a": [
        {"role": "user", "content": "Q1"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "Q2"},
        {"role": "assistant", "content": "a"},
    ],
    "conversation_b": [
        {"role": "user", "content": "Q1"},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": "Q2"},
        {"role": "assistant", "content": "b"},
    ],
}


def write(path: Path, rows: list[Any]) -> Path:
    lines = path.suffix == ".jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    return path


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"input": "q", "output_1": "a", "output_2": "b", "label": 2}, ("q", "a", "b", "B")),
        (
            {
                "instruction": "q",
                "input": "i",
                "response1": "a",
                "response2": "b",
                "annotator1": 1,
                "annotator2": 1,
                "annotator3": 0,
            },
            ("q\n\ni", "a", "b", "A"),
        ),
        (
            {
                "instruction": "q",
                "input": "",
                "response1": "a",
                "response2": "b",
                "annotator1": 1,
                "annotator2": 2,
                "annotator3": 0,
            },
            ("q", "a", "b", "tie"),
        ),
        (
            {"question": "q", "response_A": "a", "response_B": "b", "label": "B>A"},
            ("q", "a", "b", "B"),
        ),
        ({"prompt": "q", "response 1": "a", "response 2": "b", "label": 2}, ("q", "a", "b", "tie")),
        (
            MT_BENCH,
            ("Q1", "x\n\nUser: Q2\n\nAssistant: a", "y\n\nUser: Q2\n\nAssistant: b", "B"),
        ),
        ({"prompt": "q", "a": "a", "b": "b", "label": "A"}, ("q", "a", "b", "A")),
    ],
    ids=["llmbar", "pandalm", "pandalm split", "judgebench", "auto-j", "mt-bench", "plain"],
)
@pytest.mark.parametrize("name", ["gold.json", "gold.jsonl"])
def test_every_known_layout_is_read(
    tmp_path: Path, name: str, row: Any, expected: tuple[str, ...]
) -> None:
    (gold,) = load_gold(write(tmp_path / name, [row]))
    (pair,) = gold.pairs
    assert (pair.prompt, pair.a, pair.b, pair.truth) == expected


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([{"input": "q", "output_1": "a", "output_2": "b", "label": 3}], "row 1"),
        ([{"prompt": "q", "a": "a", "b": "b", "label": "A"}, {"what": 1}], "row 2"),
        (["no object"], "row 1': it is not a JSON object."),
        ([{"prompt": "q", "a": 5, "b": "b", "label": "A"}], 'the value of "a" is not a string.'),
        ([{"prompt": "q", "a": "a", "b": "b", "label": "C"}], "the label 'C' is not one of A, B"),
        ([{"prompt": "q", "a": "a", "b": "b", "label": ["A"]}], "the label ['A'] is not one of"),
        ([MT_BENCH | {"conversation_a": []}], '"conversation_a" is not a list of turns.'),
        ([MT_BENCH | {"conversation_b": [5]}], "not a JSON object"),
        (
            [MT_BENCH | {"conversation_b": [{"role": "user"}]}],
            'a turn of "conversation_b" has no role or no text.',
        ),
        ([], "no items"),
    ],
)
def test_what_is_no_gold_is_refused_by_item(tmp_path: Path, rows: list[Any], word: str) -> None:
    with pytest.raises(UserError) as caught:
        load_gold(write(tmp_path / "gold.json", rows))
    assert word in str(caught.value)
    assert "Error(" not in str(caught.value)
    assert caught.value.key == "judge.gold"


def test_errors_name_the_key_that_gave_the_gold(tmp_path: Path) -> None:
    for path in (write(tmp_path / "gold.json", [{"what": 1}]), tmp_path / "none"):
        with pytest.raises(UserError) as caught:
            load_gold(path, "--gold")
        assert caught.value.key == "--gold"


def test_a_damaged_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no files of data"):
        load_gold(tmp_path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        load_gold(tmp_path)


def test_halves_are_disjoint_complete_and_pinned_by_the_digest(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "a": "a", "b": "b", "label": "A"} for i in range(200)]
    (gold,) = load_gold(write(tmp_path / "gold.jsonl", rows))
    halves = [gold.half("calibration"), gold.half("test")]
    assert {p.pair_id for p in halves[0]}.isdisjoint(p.pair_id for p in halves[1])
    assert len(halves[0]) + len(halves[1]) == 200
    assert 70 < len(halves[0]) < 130
    rows[7]["label"] = "B"
    (changed,) = load_gold(write(tmp_path / "gold.jsonl", rows))
    assert changed.digest != gold.digest


def test_built_in_pairs_have_the_better_one_on_both_sides() -> None:
    pairs = gold_set("wrong_answer").pairs
    assert {p.truth for p in pairs} == {"A", "B"}
    assert len({p.pair_id for p in pairs}) == len(pairs) == 48


def test_swapping_twice_is_nothing() -> None:
    pair = Pair("i", "q", "a", "b", "A")
    assert pair.swapped() == Pair("i", "q", "b", "a", "B")
    assert pair.swapped().swapped() == pair


@pytest.mark.skipif(not LLMBAR.exists(), reason="LLMBar lies in shared data, which is not here")
def test_llmbar_has_its_published_numbers_of_pairs_and_its_length_bias() -> None:
    sets = {gold.name: gold for gold in load_gold(LLMBAR)}
    counts = {name.removeprefix("llmbar/"): len(gold.pairs) for name, gold in sets.items()}
    assert counts == {
        "Natural": 100,
        "Adversarial/Neighbor": 134,
        "Adversarial/GPTInst": 92,
        "Adversarial/GPTOut": 47,
        "Adversarial/Manual": 46,
    }
    assert longer_baseline(sets["llmbar/Natural"].pairs) == pytest.approx(0.565)
    assert longer_baseline(sets["llmbar/Adversarial/Neighbor"].pairs) == pytest.approx(
        1 - 0.119, abs=0.001
    )
