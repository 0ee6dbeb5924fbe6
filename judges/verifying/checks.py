"""Checks of completions against what is known to be right.

A sample's `check` has the form `NAME` or `NAME:ARGUMENT`:

- `output`: the text begins with the output of executing the prompt's code
- `math`: the final answer has the value of the reference: a number, perhaps with a unit, or numbers
  in brackets (`judges/verifying/mathematics/`)
- `json:SCHEMA`: the text is JSON that is valid under a JSON Schema
- `regex:PATTERN`: the whole text matches
- `quote`: the text is the reference, ignoring case, width, punctuation and articles

No text is executed.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema
import regex
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from infra.errors import UserError
from judges.verifying.mathematics.answers import answer_value
from judges.verifying.mathematics.values import is_same, read_value

REGEX_SECONDS = 1.0
MAX_CHARS = 20_000
"""Longer texts are wrong without being checked."""
_ARTICLES = regex.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = regex.compile(r"(?![-−+](?=\d)|(?<=\d)[.,/:](?=\d)|%)[\p{P}`^~|]")
_SPACED = r"[[\p{L}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]"
"""A letter or digit of a script that writes spaces between words."""
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»〝〞＂", '"') | dict.fromkeys("‘’‚‛‹›´`", "'"))


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
    2016), in any script; the signs within numbers stay.
    """
    plain = _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_ARTICLES.sub(" ", plain).split())


def is_quoted_in(quote: str, source: str) -> bool:
    """Whether whole words of the source are the quote, ignoring differences in whitespace, width
    and quotation marks.
    """
    words, whole = (_folded(text) for text in (quote, source))
    if not words:
        return False
    start = rf"(?<!{_SPACED})" if regex.match(_SPACED, words, regex.V1) else ""
    end = rf"(?!{_SPACED})" if regex.match(_SPACED, words[-1], regex.V1) else ""
    return regex.search(start + regex.escape(words) + end, whole, regex.V1) is not None


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).translate(_QUOTES).split())


def is_json(schema: str, text: str) -> bool:
    """Whether a text (without its code fence) is JSON that is valid under the schema. Numbers that
    are none (NaN) and keys that repeat are no JSON (RFC 8259).
    """
    body = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        value = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_number)
        return bool(jsonschema.Draft202012Validator(json.loads(schema)).is_valid(value))
    except (ValueError, RecursionError, Unresolvable):
        return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches a pattern. False if matching takes longer than a second."""
    flags = regex.V1 | regex.DOTALL
    try:
        match = regex.fullmatch(pattern, text.strip(), flags=flags, timeout=REGEX_SECONDS)
    except TimeoutError:
        return False
    return match is not None


def is_value(reference: str, text: str) -> bool:
    """Whether the final answer of a text has the value of the reference."""
    wanted, answer = read_value(reference), answer_value(text)
    return wanted is not None and answer is not None and is_same(wanted, answer)


_CHECKS: dict[str, Callable[[str, str, str], bool]] = {
    "output": lambda _, reference, text: is_output(reference, text),
    "math": lambda _, reference, text: is_value(reference, text),
    "quote": lambda _, reference, text: (
        normalised_answer(text.strip().split("\n")[0]) == normalised_answer(reference)
    ),
    "json": lambda schema, _, text: is_json(schema, text),
    "regex": lambda pattern, _, text: matches(pattern, text),
}
CHECKS = tuple(_CHECKS)
_WITH_ARGUMENT = ("json", "regex")


def validate_check(check: str, where: str, answer: str) -> None:
    """Raise `UserError` for an unknown check, an invalid argument, or an answer it cannot use."""
    name, colon, argument = check.partition(":")
    if name not in CHECKS:
        raise UserError(
            where, check, "there is no such check.", f"Known checks: {', '.join(sorted(CHECKS))}."
        )
    try:
        if bool(colon and argument) != (name in _WITH_ARGUMENT) or bool(colon) != bool(argument):
            raise ValueError("an argument is missing, or not allowed")
        if name == "json":
            _validate_schema(json.loads(argument))
        elif name == "regex":
            regex.compile(argument, flags=regex.V1)
    except (ValueError, RecursionError, jsonschema.SchemaError, Unresolvable, regex.error) as error:
        problem = f"its argument is invalid ({str(error).splitlines()[0]})."
        remedy = "Give a valid JSON Schema or regular expression to json and regex, else nothing."
        raise UserError(where, check, problem, remedy) from None
    if not _is_usable(name, answer):
        remedy = (
            "Give a number (with a unit of `units.toml`, or in brackets) to math, a text to others."
        )
        raise UserError(where, check, f"the answer {answer!r} cannot be checked by it.", remedy)


def _is_usable(name: str, answer: str) -> bool:
    if name == "math":
        return read_value(answer) is not None
    return name in _WITH_ARGUMENT or bool(normalised_answer(answer))


def _validate_schema(schema: Any) -> None:
    """Raise an error if a value is no JSON Schema, or refers to what is not in it."""
    jsonschema.Draft202012Validator.check_schema(schema)
    resource = DRAFT202012.create_resource(schema)
    resolver = Registry().with_resource("", resource).crawl().resolver("")
    for reference in _references(schema):
        resolver.lookup(reference)


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [reference for item in value for reference in _references(item)]
    if not isinstance(value, dict):
        return []
    own = [v for k, v in value.items() if k in ("$ref", "$dynamicRef") and isinstance(v, str)]
    return own + [reference for item in value.values() for reference in _references(item)]


def answer_at(row: Mapping[str, Any]) -> str:
    """Return the `answer` of a user's line; "" if it has none. Numbers are accepted too.

    Raises `ValueError` for any other value.
    """
    value = row.get("answer", "")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('the value of "answer" is neither a string nor a number')
    return str(value)


def verify_claims(claims: Sequence[Claim]) -> list[bool]:
    """Return whether each claim is right."""
    return [_is_right(claim) for claim in claims]


def _is_right(claim: Claim) -> bool:
    name, _, argument = claim.check.partition(":")
    is_short = len(claim.text) <= MAX_CHARS
    return is_short and _CHECKS[name](argument, claim.reference, claim.text)
