"""The value of an answer: a number, perhaps with a unit, or numbers in brackets.

- A reference with a unit wants a unit of the same dimension: 5 km is 5000 m, and not 5 kg or 5.
- A reference without a unit takes the number, with any unit or none: it does not ask for one.
- 50% is 0.5. Brackets must be the same kind; a set {1, 2} has no order, a pair (1, 2) has.
- "x = 3" is 3, but not y = 3. In 6 * 7 = 42 all sides must be equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from judges.verifying.mathematics.expressions import (
    Number,
    RefusedError,
    is_equal,
    product,
    read_expression,
)
from judges.verifying.mathematics.units import Unit, read_unit
from judges.verifying.mathematics.writing import AmbiguousError, plain_formula, plain_numbers

MAX_ITEMS = 20
SET = "{}"
_OPENING, _CLOSING = "([{⟨", ")]}⟩"
_VARIABLE = re.compile(r"([a-zA-Z](?:_\{?\w\}?)?)\s*=\s*(?=[^=])(.*)", re.DOTALL)
_CURRENCY = re.compile(r"([-+]?)\s*(US\$|[$€£¥₹])\s*(?=[\d.])(.*)")
_UNIT_START = re.compile(
    r"(?<=[\d)}!\sie零〇一二两三四五六七八九十百千万亿])\s*(?=[^\W\d_]|[°%‰¢$€£¥₹])"
)
MAX_UNIT_STARTS = 8
_INFINITE = {"oo": "infinity", "+oo": "infinity", "-oo": "-infinity"}


@dataclass(frozen=True)
class Value:
    """Numbers with their brackets ("" for one number), a unit, and the variable that is named."""

    numbers: tuple[Number, ...]
    brackets: str = ""
    unit: Unit | None = None
    variable: str = ""

    @property
    def number(self) -> Number | None:
        """The number, if it is one without a unit."""
        return self.numbers[0] if not self.brackets and self.unit is None else None


def read_value(text: str, comma_decimal: bool = False) -> Value | None:
    """Return the value of a text that is an answer as a whole, or None if it has none.

    `comma_decimal` says that the text around it writes decimal commas.
    """
    try:
        return _value(plain_formula(text).rstrip(" .。,;"), comma_decimal)
    except AmbiguousError:
        return None


def _value(text: str, comma_decimal: bool) -> Value | None:
    named = _VARIABLE.fullmatch(text)
    if named is not None:
        value = _value(named[2], comma_decimal)
        return None if value is None or value.variable else replace(value, variable=named[1])
    if "=" in text:
        return _equal_sides(text.split("="), comma_decimal)
    if "±" in text:
        return _both_signs(text, comma_decimal)
    if len(text) > 2 and text[0] in _OPENING and _closes_at_end(text):
        items = list(_items(text[1:-1]))
        if len(items) > 1 or text[0] in "⟨":
            return _collection(text[0] + text[-1], items)
    return _quantity(text, comma_decimal)


def _equal_sides(sides: Sequence[str], comma_decimal: bool) -> Value | None:
    """Return the value of an equation of numbers, if it is true."""
    values = [_value(side.strip(), comma_decimal) for side in sides[:MAX_ITEMS]]
    known = [value for value in values if value is not None]
    is_true = len(known) == len(sides) and all(is_same(a, b) for a, b in pairwise(known))
    return known[-1] if is_true else None


def _both_signs(text: str, comma_decimal: bool) -> Value | None:
    """Return the set of a number with both signs."""
    before, _, after = text.partition("±")
    value = None if before.strip() else _quantity(after.strip(), comma_decimal)
    if value is None or value.unit is not None:
        return None
    return Value((value.numbers[0], -value.numbers[0]), SET)


def _closes_at_end(text: str) -> bool:
    """Whether the first bracket of a text is closed by its last character."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0:
            return index == len(text) - 1
    return False


def _items(text: str) -> Iterator[str]:
    """Yield what separators outside of inner brackets separate."""
    separator = ";" if ";" in text else ","
    depth = start = 0
    for index, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == separator and depth == 0:
            yield text[start:index].strip()
            start = index + 1
    yield text[start:].strip()


def _collection(brackets: str, items: Sequence[str]) -> Value | None:
    if len(items) > MAX_ITEMS:
        return None
    brackets = SET if brackets in ("⟨⟩", SET) else brackets
    numbers = [_end(item) if len(items) == 2 else _number(item) for item in items]
    known = tuple(number for number in numbers if number is not None)
    return Value(known, brackets) if len(known) == len(items) else None


def _end(text: str) -> Number | None:
    """Return an end of an interval, which may be infinite."""
    return _INFINITE.get(text.replace(" ", "")) or _number(text)


def _number(text: str, comma_decimal: bool = False) -> Number | None:
    return read_expression(plain_numbers(text, comma_decimal))


def _quantity(text: str, comma_decimal: bool) -> Value | None:
    currency = _CURRENCY.fullmatch(text)
    if currency is not None:
        text = f"{currency[1]}{currency[3]} {currency[2]}"
    number = _number(text, comma_decimal)
    if number is not None:
        return Value((number,))
    starts = list(_UNIT_START.finditer(text))[:MAX_UNIT_STARTS]
    for start in starts:
        unit = read_unit(text[start.end() :])
        number = _number(text[: start.start()].rstrip(), comma_decimal) if unit else None
        if unit is not None and number is not None:
            return _with_unit(number, unit)
    return None


def _with_unit(number: Number, unit: Unit) -> Value:
    if not unit.dimensions:
        return Value((product(number, unit.size),))
    return Value((number,), unit=unit)


def is_same(reference: Value, answer: Value) -> bool:
    """Whether an answer has the value of the reference. What is too close to tell has not."""
    if reference.brackets != answer.brackets:
        return False
    if reference.variable and answer.variable and reference.variable != answer.variable:
        return False
    try:
        return _has_same_numbers(reference, answer)
    except RefusedError:
        return False


def _has_same_numbers(reference: Value, answer: Value) -> bool:
    if reference.unit is not None:
        return _is_same_quantity(reference, answer, reference.unit)
    if reference.brackets == SET:
        return _is_subset(reference, answer) and _is_subset(answer, reference)
    same = map(_is_same_number, reference.numbers, answer.numbers)
    return len(reference.numbers) == len(answer.numbers) and all(same)


def _is_same_quantity(reference: Value, answer: Value, unit: Unit) -> bool:
    """Whether an answer is as much as a reference with a unit."""
    if answer.unit is None or answer.unit.dimensions != unit.dimensions:
        return False
    left = product(reference.numbers[0], unit.size)
    return is_equal(left, product(answer.numbers[0], answer.unit.size))


def _is_subset(left: Value, right: Value) -> bool:
    return all(any(_is_same_number(a, b) for b in right.numbers) for a in left.numbers)


def _is_same_number(left: Number, right: Number) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        return bool(left == right)
    return is_equal(left, right)
