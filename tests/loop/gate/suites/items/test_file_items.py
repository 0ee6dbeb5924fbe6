"""What a line of a suite's file may be, and what is said about one that is not valid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import UserError
from loop.gate.suites.items.file_items import read_suite_items


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
        ({"prompt": "p", "choices": ["a", "b"], "answer": True}, "answer: Input should be a valid"),
        ({"prompt": "p", "choices": ["a", "b"], "answer": "0"}, "answer: Input should be a valid"),
        ({"prompt": "p", "choices": ["a", "b"], "answer": 1.0}, "answer: Input should be a valid"),
        ({"prompt": "p", "choices": ["a", "b", "a"], "answer": 1}, "two of the texts"),
        ({"good": "a", "bad": "a"}, "two of the texts"),
        ({"prompt": "p", "choices": ["a", ""], "answer": 0}, "one of the texts"),
        ({"prompt": "p", "check": "math"}, "cannot be checked"),
        ({"prompt": "p", "check": "math", "reference": "x + 1"}, "cannot be checked"),
        ({"prompt": "p", "check": "quote", "reference": " "}, "cannot be checked"),
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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"prompt": "p"}, "it is not an item of kind bits"),
        ({"prompt": "p", "gold": "  "}, "it is not an item of kind bits"),
        ({"good": "a", "bad": "b"}, "it is not an item of kind bits"),
        ({"prompt": "p", "check": "regex:a+", "reference": "a"}, "not an item of kind bits"),
        ({"prompt": "p", "check": "math", "gold": "4"}, "give `choices`"),
        ({"prompt": "p", "gold": "4", "choices": ["a", "b"], "answer": 0}, "give `choices`"),
        ('{"prompt": "p", "gold": " \\ud83d"}', "half of a surrogate pair"),
        ('{"prompt": "p", "reference": "\\udc00"}', "half of a surrogate pair"),
        ('{"id": "\\ud800", "prompt": "p", "gold": " g"}', "half of a surrogate pair"),
        ('{"unit": "\\ud800", "prompt": "p", "gold": " g"}', "half of a surrogate pair"),
        ('{"prompt": "p", "gold": ""}', "Give it a `gold` text"),
    ],
)
def test_an_item_of_bits_needs_one_gold_text(tmp_path: Path, line: object, words: str) -> None:
    file = written(tmp_path, {"prompt": "", "gold": "x"}, line)
    with pytest.raises(UserError) as caught:
        read_suite_items("gate.suites.x.file", file, "bits")
    assert words in str(caught.value)
    assert "line 2" in str(caught.value)


def test_two_items_with_one_id_are_refused_unless_they_are_the_same(tmp_path: Path) -> None:
    file, line = tmp_path / "items.jsonl", '{"id": "a", "prompt": "p", "gold": " g"}\n'
    file.write_text(line + line)
    assert list(read_suite_items("k", file, "bits")) == ["a"]
    file.write_text(line + line.replace(" g", " other"))
    with pytest.raises(UserError, match=r"line 2.*another item has the id 'a' too"):
        read_suite_items("k", file, "bits")


def test_items_are_the_same_by_content_and_not_by_how_they_are_written(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        '{"prompt": "p", "gold": " g"}',
        '{"prompt":"p",  "gold":" g"}',
        '{"gold": " \\u0067", "prompt": "p"}',
        {"id": "other", "unit": "elsewhere", "prompt": "p", "gold": " g"},
        {"id": "new", "prompt": "p", "gold": " h"},
    )
    assert len(read_suite_items("k", file, "bits")) == 2
