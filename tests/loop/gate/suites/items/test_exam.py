"""The parts of the user's exam: who is in which, and what is said if one is empty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import UserError
from loop.gate.aim import ExamConfig
from loop.gate.suites.items.exam import exam_parts


def exam_file(folder: Path, count: int, unit: int = 1) -> Path:
    """An exam of so many items; `unit` of them belong together."""
    lines = [
        {"id": f"i{i}", "unit": f"u{i // unit}", "prompt": f"{i} + 1 =", "gold": f" {i + 1}"}
        for i in range(count)
    ]
    file = folder / "exam.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def test_every_item_is_in_one_part_of_about_its_share(tmp_path: Path) -> None:
    parts = exam_parts(ExamConfig(file=str(exam_file(tmp_path, 1000))))
    members = [set(parts.development), set(parts.gate), set(parts.sealed)]
    assert set.union(*members) == {f"i{i}" for i in range(1000)}
    assert sum(map(len, members)) == 1000
    for part, share in zip(members, (300, 500, 200), strict=True):
        assert abs(len(part) - share) < 60, "four standard deviations"


def test_items_of_a_unit_are_in_the_same_part(tmp_path: Path) -> None:
    parts = exam_parts(ExamConfig(file=str(exam_file(tmp_path, 300, unit=3))))
    units = [
        {item.unit for item in part.values()}
        for part in (parts.development, parts.gate, parts.sealed)
    ]
    assert all(units)
    assert sum(map(len, units)) == 100


def test_an_item_stays_in_its_part_when_the_exam_grows(tmp_path: Path) -> None:
    before = exam_parts(ExamConfig(file=str(exam_file(tmp_path, 100))))
    after = exam_parts(ExamConfig(file=str(exam_file(tmp_path, 400))))
    assert set(before.gate) < set(after.gate)
    assert set(before.sealed) < set(after.sealed)
    assert set(before.development) < set(after.development)


def test_a_part_without_items_is_named(tmp_path: Path) -> None:
    config = ExamConfig(file=str(exam_file(tmp_path, 6, unit=6)))
    with pytest.raises(UserError, match=r"aim\.exam\.file.*part has no items"):
        exam_parts(config)
    alone = ExamConfig(file=config.file, development_share=0.0, sealed_share=0.0)
    assert len(exam_parts(alone).gate) == 6


def test_no_content_is_in_two_parts(tmp_path: Path) -> None:
    file = exam_file(tmp_path, 100)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    copies = [line | {"id": f"copy of {line['id']}", "unit": line["id"]} for line in lines]
    file.write_text("\n".join(map(json.dumps, lines + copies)))
    parts = exam_parts(ExamConfig(file=str(file)))
    prompts = [
        item.prompt
        for part in (parts.development, parts.gate, parts.sealed)
        for item in part.values()
    ]
    assert len(prompts) == len(set(prompts)) == 100
