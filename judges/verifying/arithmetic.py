"""Arithmetic that pages state: equations such as 12 * 4 = 48, compared as exact numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from judges.verifying.mathematics.values import read_value
from judges.verifying.mathematics.writing import plain_numbers

MAX_EXPRESSION_CHARS = 80
MAX_EQUATIONS_PER_DOCUMENT = 20
_OPERAND = r"\(*\d[\d.,]*\)*"
_EXPRESSION = re.compile(
    rf"(?<![\w.)\]])((?:[-+]?{_OPERAND}\s*(?:[-+*/×÷·^]|\*\*)\s*)+{_OPERAND})\s*$"
)
_STATED = re.compile(r"=[^\S\n]*(-?\d[\d.,]{0,30})(?![\w(])")


@dataclass(frozen=True)
class Equation:
    """A statement `expression` = `stated` in a page. `position` is where it begins in the text."""

    expression: str
    stated: str
    position: int


def find_equations(text: str) -> list[Equation]:
    """Return equations between an expression of numbers and a number, in order.

    Only a bounded part of the text before each equals sign is searched, so the time is linear.
    """
    equations: list[Equation] = []
    for match in _STATED.finditer(text):
        start = max(0, match.start() - MAX_EXPRESSION_CHARS)
        expression = _EXPRESSION.search(text[start : match.start()])
        if expression is not None and len(equations) < MAX_EQUATIONS_PER_DOCUMENT:
            stated = match.group(1).rstrip(".,")
            position = start + expression.start(1)
            equations.append(Equation(expression.group(1).strip(), stated, position))
    return equations


def exact_value(expression: str) -> Fraction | None:
    """Return the value of an expression if it has a rational one, else None."""
    value = read_value(expression)
    number = None if value is None else value.number
    return number if isinstance(number, Fraction) else None


def is_stated_right(stated: str, value: Fraction) -> bool:
    """Whether a stated number equals the value, or the value rounded to the stated decimals."""
    number = exact_value(stated)
    if number is None:
        return False
    decimals = len(plain_numbers(stated).partition(".")[2])
    if number == value:
        return True
    return decimals > 0 and abs(number - value) <= Fraction(1, 2 * 10**decimals)
