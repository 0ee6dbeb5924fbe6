"""What can be checked is not judged: a completion against what is known to be right about it.

A sample's `check` says how, `NAME` or `NAME:ARGUMENT`:

- `output`: begins with the output that executing the prompt's code gave
- `math`: its final answer is the same number as the reference's
- `json:SCHEMA`: is JSON that a JSON Schema allows
- `regex:PATTERN`: matches as a whole
- `quote`: is the reference, apart from case, punctuation and articles

Nothing of the text is executed here but arithmetic, and that in the sandbox.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jsonschema
import regex

from infra.errors import UserError
from judges.verifying.arithmetic import evaluate, final_answer, number_in
from judges.verifying.sandbox import Sandbox

REGEX_SECONDS = 1.0
MAX_CHARS = 20_000
"""Longer texts are not looked into: they are wrong."""
_ARTICLES = regex.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class Claim:
    """A text that claims to be right, the check that says whether it is, and the reference that
    some checks need.
    """

    check: str
    reference: str
    text: str


def is_output(reference: str, text: str) -> bool:
    """Whether a text begins with the lines of an output."""
    lines = [line.strip().strip("`").strip() for line in text.strip().splitlines()]
    wanted = [line.strip() for line in reference.strip().splitlines()]
    return bool(wanted) and [line for line in lines if line][: len(wanted)] == wanted


def normalised_answer(text: str) -> str:
    """Lower case without punctuation and articles, as SQuAD compares answers (Rajpurkar et al.
    2016).
    """
    plain = "".join(" " if c in string.punctuation else c for c in text.lower())
    return " ".join(_ARTICLES.sub(" ", plain).split())


def is_quote_of(quote: str, source: str) -> bool:
    """Whether a quote stands in its source, apart from the blanks."""
    words = quote.split()
    return bool(words) and " ".join(words) in " ".join(source.split())


def is_json(schema: str, text: str) -> bool:
    """Whether a text, out of its code fence, is JSON that the schema allows."""
    body = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        value = json.loads(body)
        return bool(jsonschema.Draft202012Validator(json.loads(schema)).is_valid(value))
    except (ValueError, RecursionError):
        return False


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern matches a text as a whole; one that takes longer than a second does not."""
    try:
        return (
            regex.fullmatch(
                pattern, text.strip(), flags=regex.V1 | regex.DOTALL, timeout=REGEX_SECONDS
            )
            is not None
        )
    except TimeoutError:
        return False


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
    """Raises `UserError` for a check that is unknown or whose argument is broken."""
    name, _, argument = check.partition(":")
    if name not in CHECKS:
        raise UserError(where, check, "no such check.", f"Known: {', '.join(sorted(CHECKS))}.")
    try:
        if name == "json":
            jsonschema.Draft202012Validator.check_schema(json.loads(argument))
        elif name == "regex":
            regex.compile(argument, flags=regex.V1)
    except (ValueError, jsonschema.SchemaError, regex.error) as error:
        problem = f"its argument is broken ({str(error).splitlines()[0]})."
        raise UserError(where, check, problem, "Give a JSON Schema or a pattern.") from None


def verify_claims(claims: Sequence[Claim], sandbox: Sandbox) -> list[bool]:
    """Whether each claim is right; arithmetic of all claims is executed in one go."""
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
