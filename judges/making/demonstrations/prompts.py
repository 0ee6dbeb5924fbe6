"""Prompts of one's own, whose completions can be checked, from a JSON lines file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.records import Sample, content_key
from judges.verifying.checks import validate_check

_PROMPTS_KEY = "judge.prompts"
_PROMPTS_FORM = 'Give JSON lines like {"prompt": "...", "check": "json:{...}"}, with "answer" for math and quote.'


def read_prompts(path: Path, generation: int) -> list[Sample]:
    """Prompts of a JSON lines file: prompt, check, and the answer where the check needs one. Raises
    `UserError`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            _PROMPTS_KEY, path, f"it cannot be read ({error}).", _PROMPTS_FORM
        ) from None
    samples = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _read_row(line, f"{path}, line {number}")
        check, answer = str(row["check"]), str(row.get("answer", ""))
        validate_check(check, _PROMPTS_KEY)
        samples.append(
            Sample(
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
        )
    return samples


def _read_row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(_PROMPTS_KEY, where, f"it is no JSON ({error}).", _PROMPTS_FORM) from None
    if (
        not isinstance(row, dict)
        or not isinstance(row.get("prompt"), str)
        or not isinstance(row.get("check"), str)
    ):
        raise UserError(
            _PROMPTS_KEY, where, 'it needs "prompt" and "check", both texts.', _PROMPTS_FORM
        )
    return row
