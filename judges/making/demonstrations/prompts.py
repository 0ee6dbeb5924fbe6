"""The user's own prompts with checks, from a JSON lines file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.records import Sample, content_key
from judges.verifying.checks import validate_check

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
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            _PROMPTS_KEY, path, f"the file cannot be read ({error}).", _PROMPTS_FORM
        ) from None
    return [
        _sample(_read_row(line, f"{path}, line {number}"), generation)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _sample(row: dict[str, Any], generation: int) -> Sample:
    check, answer = str(row["check"]), str(row.get("answer", ""))
    validate_check(check, _PROMPTS_KEY)
    return Sample(
        sample_id=content_key("prompt", row["prompt"], check, answer, generation),
        document_id="",
        kind="prompt",
        prompt=str(row["prompt"]),
        completion=answer,
        origin="file",
        generation=generation,
        source_start=-1,
        source_end=-1,
        check=check,
    )


def _read_row(line: str, where: str) -> dict[str, Any]:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise UserError(
            _PROMPTS_KEY, where, f"this is not valid JSON ({error}).", _PROMPTS_FORM
        ) from None
    is_valid = isinstance(row, dict) and all(
        isinstance(row.get(key), str) for key in ("prompt", "check")
    )
    if not is_valid:
        raise UserError(
            _PROMPTS_KEY, where, 'the line needs "prompt" and "check", both strings.', _PROMPTS_FORM
        )
    return row
