"""Checks of completions against what is known to be right.

A sample's `check` has the form `NAME` or `NAME:ARGUMENT`:

- `output`: the text begins with the output of executing the prompt's code
- `math`: the final answer is the same number as the reference
- `json:SCHEMA`: the text is JSON that is valid under a JSON Schema
- `regex:PATTERN`: the whole text matches
- `quote`: the text is the reference, ignoring case, punctuation and articles

No text is executed except arithmetic, which runs in the sandbox.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema
import regex

from infra.errors import UserError
from judges.verifying.arithmetic import evaluate, final_answer, number_in
from judges.verifying.sandbox import Sandbox

REGEX_SECONDS = 1.0
MAX_CHARS = 20_000
"""Longer texts are wrong without being checked."""
_ARTICLES = regex.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class Claim:
    """A text to check, the check, and the reference that some checks need."""

    check: str
    reference: str
    text: str


def is_output(reference: str, text: str) -> bool:
    """Whether a text begins with the lines of an output."""
    lines = [line.strip().strip("`").strip() for line in text.strip().splitlines()]
    wanted = [line.strip() for line in reference.strip().splitlines()]
    return bool(wanted) and [line for line in lines if line][: len(wanted)] == wanted


def normalised_answer(text: str) -> str:
    """Return the text in lower case without punctuation and articles, as in SQuAD (Rajpurkar et al.
    2016).
    """
    plain = "".join(" " if c in string.punctuation else c for c in text.lower())
    return " ".join(_ARTICLES.sub(" ", plain).split())


def is_quoted_in(quote: str, source: str) -> bool:
    """Whether a quote occurs in its source, ignoring differences in whitespace."""
    words = quote.split()
    return bool(words) and " ".join(words) in " ".join(source.split())


def is_json(schema: str, text: str) -> bool:
    """Whether a text (without its code fence) is JSON that is valid under the schema."""
    body = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        value = json.loads(body)
        return bool(jsonschema.Draft202012Validator(json.loads(schema)).is_valid(value))
    except (ValueError, RecursionError):
        return False


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches a pattern. False if matching takes longer than a second."""
    flags = regex.V1 | regex.DOTALL
    try:
        match = regex.fullmatch(pattern, text.strip(), flags=flags, timeout=REGEX_SECONDS)
    except TimeoutError:
        return False
    return match is not None


_PLAIN: dict[str, Callable[[str, str, str], bool]] = {
    "output": lambda _, reference, text: is_output(reference, text),
    "quote": lambda _, reference, text: (
        normalised_answer(text.strip().split("\n")[0]) == normalised_answer(reference)
    ),
    "json": lambda schema, _, text: is_json(schema, text),
    "regex": lambda pattern, _, text: matches(pattern, text),
}
CHECKS = (*_PLAIN, "math")


def validate_check(check: str, where: str) -> None:
    """Raise `UserError` for an unknown check or an invalid argument."""
    name, _, argument = check.partition(":")
    if name not in CHECKS:
        raise UserError(
            where, check, "there is no such check.", f"Known checks: {', '.join(sorted(CHECKS))}."
        )
    try:
        if name == "json":
            jsonschema.Draft202012Validator.check_schema(json.loads(argument))
        elif name == "regex":
            regex.compile(argument, flags=regex.V1)
    except (ValueError, jsonschema.SchemaError, regex.error) as error:
        problem = f"its argument is invalid ({str(error).splitlines()[0]})."
        raise UserError(
            where, check, problem, "Give a valid JSON Schema or regular expression."
        ) from None


def answer_at(row: Mapping[str, Any]) -> str:
    """Return the `answer` of a user's line; "" if it has none. Numbers are accepted too.

    Raises `ValueError` for any other value.
    """
    value = row.get("answer", "")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('the value of "answer" is neither a string nor a number')
    return str(value)


def verify_claims(claims: Sequence[Claim], sandbox: Sandbox) -> list[bool]:
    """Return whether each claim is right. The arithmetic of all claims runs in one call."""
    math = [i for i, c in enumerate(claims) if c.check == "math" and len(c.text) <= MAX_CHARS]
    answers = [final_answer(claims[i].text) for i in math]
    values = dict(zip(math, evaluate(answers, sandbox), strict=True))
    results = []
    for i, claim in enumerate(claims):
        name, _, argument = claim.check.partition(":")
        if len(claim.text) > MAX_CHARS:
            results.append(False)
        elif name == "math":
            wanted = number_in(claim.reference)
            results.append(wanted is not None and values[i] == wanted)
        else:
            results.append(_PLAIN[name](argument, claim.reference, claim.text))
    return results
