"""Files of JSON lines: what counts as a line, and which line an error names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UserError
from infra.json_lines import read_json_lines, without_nan

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(path: Path, data: bytes) -> list[tuple[int, Any]]:
    path.write_bytes(data)
    lines = read_json_lines(path, "a.key", "Give JSON lines.")
    return [(line.number, line.value) for line in lines]


@given(
    values=st.lists(VALUES, max_size=5),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_json_writes_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], ascii_only: bool, end: str
) -> None:
    text = "".join(json.dumps(value, ensure_ascii=ascii_only) + end for value in values)
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    data = text.encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        return  # a lone surrogate has no UTF-8
    assert read(path, data) == list(enumerate(values, start=1))


def test_separators_inside_a_string_do_not_end_a_line(tmp_path: Path) -> None:
    line = json.dumps({"a": "one\u2028two\x85three\x0cfour"}, ensure_ascii=False)
    assert read(tmp_path / "x", f"{line}\n".encode()) == [(1, json.loads(line))]


def test_a_byte_order_mark_and_blank_lines_are_accepted(tmp_path: Path) -> None:
    assert read(tmp_path / "x", b'\xef\xbb\xbf{"a": 1}\n\n  \r\n[2]') == [(1, {"a": 1}), (4, [2])]


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2", "not valid JSON"),
        (b'\n\n"\xff"\n', "line 3", "not valid UTF-8"),
        (b"[" * 100_000, "line 1", "not valid JSON"),
        (b"9" * 5_000, "line 1", "not valid JSON"),
        (b'[{"a": 1, "b": {"c": 1, "c": 2}}]', "line 1", 'the key "c" comes twice'),
        (b'{"a": NaN}', "line 1", "NaN is not a number of JSON"),
        (b"[-Infinity]", "line 1", "-Infinity is not a number of JSON"),
    ],
)
def test_an_error_names_key_file_line_and_remedy(
    tmp_path: Path, data: bytes, line: str, problem: str
) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path / "x.jsonl", data)
    assert all(part in str(error.value) for part in ("a.key", "x.jsonl", line, problem, "Give"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        list(read_json_lines(tmp_path / "none.jsonl", "a.key", "Give JSON lines."))


def test_a_device_is_no_file() -> None:
    """It may have no end: /dev/zero would fill the memory."""
    with pytest.raises(UserError, match=r"/dev/zero.*it is a device and not a file"):
        list(read_json_lines(Path("/dev/zero"), "a.key", "Give JSON lines."))


def test_what_is_no_number_is_null_in_a_file() -> None:
    nan = float("nan")
    value = {"a": nan, "b": (1.5, nan, {"c": [nan, "nan"]}), "d": None}
    assert without_nan(value) == {"a": None, "b": [1.5, None, {"c": [None, "nan"]}], "d": None}
