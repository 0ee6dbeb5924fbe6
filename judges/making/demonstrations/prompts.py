"""The user's own prompts with checks, from a JSON lines file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.json_lines import read_json_lines, text_at
from infra.records import Sample, content_key
from judges.verifying.checks import answer_at, validate_check

_PROMPTS_KEY = "judge.prompts"
_PROMPTS_FORM = (
    'Give JSON lines like {"prompt": "...", "check": "json:{...}"},'
    ' with "answer" for math and quote.'
)


def read_prompts(path: Path, generation: int) -> list[Sample]:
    """Return the prompts of a JSON lines file with prompt, check, and an answer if the check needs
    one.

    Raises `UserError` with the line that is not valid.
    """
    lines = read_json_lines(path, _PROMPTS_KEY, _PROMPTS_FORM)
    return [
        _sample(_checked_row(line.value, f"{path}, line {line.number}"), generation)
        for line in lines
    ]


def _sample(row: dict[str, Any], generation: int) -> Sample:
    check, answer = row["check"], answer_at(row)
    return Sample(
        sample_id=content_key("prompt", row["prompt"], check, answer, generation),
        document_id="",
        kind="prompt",
        prompt=row["prompt"],
        completion=answer,
        origin="file",
        generation=generation,
        source_start=-1,
        source_end=-1,
        check=check,
    )


def _checked_row(row: Any, where: str) -> dict[str, Any]:
    """Return the row if its texts are strings and its check is known. Raises `UserError`."""
    try:
        if not isinstance(row, dict):
            raise ValueError("the line is not a JSON object")
        text_at(row, "prompt")
        validate_check(text_at(row, "check"), _PROMPTS_KEY, answer_at(row))
    except UserError as error:  # of the check
        problem = f"{error.problem} ({error.value})"
        raise UserError(_PROMPTS_KEY, where, problem, error.remedy) from None
    except ValueError as error:
        raise UserError(_PROMPTS_KEY, where, f"{error}.", _PROMPTS_FORM) from None
    return row
