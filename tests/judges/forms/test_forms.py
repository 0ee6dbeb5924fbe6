"""Rows of public datasets and of people's own files, as items to judge."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import UserError
from judges.files.items import judged_lines, read_items
from judges.forms.forms import FORMS, form_names, read_item
from judges.forms.rows import FileRow
from judges.judgment.elicitation import Subject
from judges.judgment.pairs import Pair
from judges.measuring.gold import load_gold

USER, GOOD, BAD = (
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "good"},
    {"role": "assistant", "content": "bad"},
)
FOLLOW = [USER, GOOD, {"role": "user", "content": "And?"}]
HUMAN = "\n\nHuman: Why?\n\nAssistant: "


def item(row: dict[str, Any], form: str = "") -> Any:
    return read_item(FileRow("f, row 1", 1, row), form, "items", "Help.")


SYSTEM = {"role": "system", "content": "S"}
SHARED = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "good"}]
IN_PARTS = {"role": "user", "content": [{"type": "text", "text": "Why?"}]}
NEAREST = "the row has chosen, prompt, what; nearest is the form chosen, which needs rejected"
BETTER: dict[str, tuple[dict[str, Any], str]] = {
    "RewardBench": (
        {"id": 1, "prompt": "Why?", "chosen": "good", "rejected": "bad", "subset": "s"},
        "Why?",
    ),
    "UltraFeedback, binarized": (
        {"prompt": "Why?", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": 8.0},
        "Why?",
    ),
    "chosen, without the prompt": ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, "Why?"),
    "chosen, replies alone": ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, "Why?"),
    "Anthropic-HH": ({"chosen": HUMAN + "good", "rejected": HUMAN + "bad"}, "Why?"),
    "Anthropic-HH, two turns": (
        {
            "chosen": HUMAN + "good\n\nHuman: And?\n\nAssistant: good",
            "rejected": HUMAN + "good\n\nHuman: And?\n\nAssistant: bad",
        },
        "User: Why?\n\nAssistant: good\n\nUser: And?",
    ),
    "UltraFeedback": (
        {
            "instruction": "Why?",
            "completions": [
                {"response": "middle", "overall_score": 5.0},
                {"response": "good", "overall_score": 8.5},
                {"response": "bad", "overall_score": 2.0},
            ],
        },
        "Why?",
    ),
    "AlpacaEval, annotated": (
        {"instruction": "Why?", "output_1": "bad", "output_2": "good", "preference": 1.97},
        "Why?",
    ),
    "HelpSteer3": (
        {"context": FOLLOW, "response1": "good", "response2": "bad", "overall_preference": -2},
        "User: Why?\n\nAssistant: good\n\nUser: And?",
    ),
    "LLMBar": ({"input": "Why?", "output_1": "good", "output_2": "bad", "label": 1}, "Why?"),
    "MT-bench, first turn": (
        {"conversation_a": [USER, BAD], "conversation_b": [USER, GOOD], "winner": "model_b"},
        "Why?",
    ),
    "our own": ({"prompt": "Why?", "a": "bad", "b": "good", "label": "B"}, "Why?"),
}


@pytest.mark.parametrize("name", BETTER)
def test_the_better_side_of_a_pair_is_known(name: str) -> None:
    row, prompt = BETTER[name]
    pair = item(row)
    assert isinstance(pair, Pair)
    assert pair.prompt == prompt
    assert {"A": pair.a, "B": pair.b}[pair.truth or ""] == "good"
    assert sorted((pair.a, pair.b)) == ["bad", "good"]


@pytest.mark.parametrize(
    ("row", "prompt", "text"),
    [
        ({"text": "good"}, "", "good"),
        ({"instruction": "Why?", "output": "good", "generator": "g"}, "Why?", "good"),
        ({"prompt": "Why?", "response": "good", "helpfulness": 3}, "Why?", "good"),
        ({"messages": [USER, GOOD]}, "Why?", "good"),
        (
            {"messages": [{"role": "system", "content": "S"}, USER, GOOD]},
            "System: S\n\nUser: Why?",
            "good",
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Why?"},
                    {"from": "gpt", "value": "good"},
                ]
            },
            "Why?",
            "good",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}, GOOD]},
            "Why?",
            "good",
        ),
    ],
)
def test_texts_and_conversations_are_valued_by_their_last_reply(
    row: dict[str, Any], prompt: str, text: str
) -> None:
    subject = item(row)
    assert isinstance(subject, Subject)
    assert (subject.prompt, subject.text) == (prompt, text)


def test_sides_that_differ_early_are_judged_from_there_on() -> None:
    later = [{"role": "user", "content": "And?"}, GOOD]
    pair = item({"chosen": [USER, GOOD, *later], "rejected": [USER, BAD, *later]})
    assert pair.prompt == "Why?"
    assert {pair.a, pair.b} == {
        f"{first}\n\nUser: And?\n\nAssistant: good" for first in ("good", "bad")
    }


def test_the_chosen_side_is_a_as_often_as_b() -> None:
    rows = [{"prompt": str(i), "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(400)]
    first = sum(item(row).truth == "A" for row in rows)
    assert 150 < first < 250


def test_equal_scores_are_a_tie() -> None:
    row = {"instruction": "q", "output_1": "x", "output_2": "y", "preference": 1.5}
    assert item(row).truth == "tie"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"what": 1, "prompt": "q", "chosen": "x"},
            "the row has chosen, prompt, what; nearest is the form chosen, which needs rejected",
        ),
        ({"messages": []}, '"messages" is not a list of turns'),
        ({"messages": [GOOD, USER]}, "the last turn is not the assistant's"),
        ({"messages": "hello"}, '"messages" is not a list of turns'),
        ({"chosen": 5, "rejected": "x"}, '"chosen" is not a list of turns'),
        (
            {"instruction": "q", "completions": [{"response": "x", "overall_score": 1}]},
            "not a list of two",
        ),
        (
            {"instruction": "q", "completions": [{"response": "x"}] * 2},
            '"overall_score" is missing',
        ),
        ({"instruction": "q", "completions": [None, None]}, "is not a JSON object"),
        (
            {"instruction": "q", "output_1": "x", "output_2": "y", "preference": math.nan},
            'the value of "preference" is not a number',
        ),
        ({}, "the row has no keys"),
    ],
)
def test_what_is_wrong_with_a_row_is_named(row: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        item(row)
    assert words in str(caught.value)


def test_a_form_that_is_named_is_used(tmp_path: Path) -> None:
    row = {"text": "t", "prompt": "q", "response": "r"}
    assert item(row).text == "r"
    assert item(row, "text").text == "t"
    with pytest.raises(UserError, match="the form messages needs messages; the row has prompt"):
        item(row, "messages")
    assert len(set(form_names())) == len(FORMS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "response"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.sampled_from(FORMS), st.data())
def test_no_row_of_any_form_ends_in_a_traceback(form: Any, data: st.DataObject) -> None:
    row = {key: data.draw(JSON) for key in form.keys}
    values = {key: value for key, value in row.items() if value is not None}
    with suppress(UserError):
        item(values, form.name)


ROWS = [
    {"id": "x", "prompt": "q", "a": "1", "b": "2", "label": "A"},
    {"id": "y", "prompt": "q\u2028r", "a": "3", "b": "4", "label": None},
    {"id": "z", "prompt": "q", "a": "1", "b": "2", "label": "A"},
]


def written(folder: Path, kind: str) -> Path:
    """The rows as a file or a folder of a kind."""
    table = pa.Table.from_pylist(ROWS)
    file = folder / f"rows.{kind}"
    if kind == "jsonl":
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    elif kind == "json":
        file.write_text(json.dumps({"data": ROWS}))
    elif kind == "parquet":
        pq.write_table(table, file)
    else:  # as datasets.save_to_disk writes it
        file = folder / "saved"
        (file / "train").mkdir(parents=True)
        (file / "dataset_dict.json").write_text('{"splits": ["train"]}')
        (file / "train" / "state.json").write_text("{}")
        (file / "train" / "dataset_info.json").write_text("{}")
        name = str(file / "train" / "data-00000-of-00001.arrow")
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return file


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "folder"])
def test_rows_are_read_from_every_kind_of_file_and_judged_once(tmp_path: Path, kind: str) -> None:
    items = read_items(written(tmp_path, kind))
    assert [pair.prompt for pair in items.pairs] == ["q", "q\u2028r"], "the third is the first"
    assert [pair.truth for pair in items.pairs] == ["A", None]
    lines = list(judged_lines(items, []))
    assert [(line["id"], line["a"]) for line in lines] == [("x", "1"), ("y", "3"), ("z", "1")]


@pytest.mark.parametrize("kind", ["parquet", "folder"])
@given(st.data())
def test_a_damaged_table_is_named(tmp_path_factory: Any, kind: str, data: st.DataObject) -> None:
    path = written(tmp_path_factory.mktemp("damaged"), kind)
    (file,) = [path] if path.is_file() else path.rglob("*.arrow")
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with suppress(UserError):
        read_items(path)


def test_one_gold_file_that_cannot_be_read_is_named_and_skipped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS[:1]), tmp_path / "good.parquet")
    (tmp_path / "bad.jsonl").write_text("{")
    (tmp_path / "other.json").write_text('[{"what": 1}]')
    (gold,) = load_gold(tmp_path)
    assert [pair.truth for pair in gold.pairs] == ["A"]
    shown = " ".join("".join(capfd.readouterr()).split())
    assert "bad.jsonl" in shown
    assert "other.json" in shown
    (tmp_path / "good.parquet").unlink()
    with pytest.raises(UserError, match=r"bad\.jsonl"):
        load_gold(tmp_path)
