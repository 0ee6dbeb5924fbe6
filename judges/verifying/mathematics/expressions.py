"""Arithmetic read as exact numbers, in bounded time and memory.

The grammar is `expression.lark`. A value is a `Fraction`, or, where it is irrational, an interval
of mpmath that surely contains it. Every operation refuses numbers of more than `MAX_BITS` bits
before it begins, so no power or factorial can run for long. No text is evaluated as Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import lark
from mpmath.ctx_iv import MPIntervalContext

MAX_FORMULA_CHARS = 400
"""Longer texts have no value."""
MAX_BITS = 4096
"""Of a numerator or a denominator."""
MAX_DIGITS = 1000
"""Of one number as it is written. Python refuses to read more than 4,300."""
MAX_FACTORIAL = 300
MAX_ROOT = 64
PRECISION_BITS = 512
_MAX_WIDTH = "1e-50"
"""How wide the interval of a value may be, relative to values beyond 1."""

Number: TypeAlias = Any
"""A `Fraction`, or an interval of mpmath, which has no types."""

_intervals = MPIntervalContext()
_intervals.prec = PRECISION_BITS


class RefusedError(ValueError):
    """An expression has no value here: it is too large, not real, or not defined."""


def is_equal(left: Number, right: Number) -> bool:
    """Whether two numbers are the same: exactly if both are rational, else to 50 digits.

    Raises:
        RefusedError: if an irrational number is too large for that.
    """
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    return sign(_checked(_as_interval(left) - _as_interval(right))) == 0


def sign(value: Number) -> int:
    """Return -1, 0 or 1; 0 also for an interval around zero."""
    return 1 if value > 0 else -1 if value < 0 else 0


def _bounded(value: Fraction) -> Fraction:
    if _bits(value) > MAX_BITS:
        raise RefusedError("the number is too large")
    return value


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _as_interval(value: Number) -> Number:
    if isinstance(value, Fraction):
        return _intervals.mpf(value.numerator) / _intervals.mpf(value.denominator)
    return value


def _checked(value: Number) -> Number:
    """Return an interval, or refuse one that is infinite or too wide to decide anything."""
    # mpmath writes infinities and "not a number" as a mantissa of 0 with an exponent.
    if any(mantissa == 0 and exponent for _, mantissa, exponent, _ in value._mpi_):
        raise RefusedError("the value is not finite")
    width = _intervals.mpf(_MAX_WIDTH)
    if not (value.delta <= width or value.delta <= width * abs(value)):
        raise RefusedError("the value is not known well enough")
    return value


def _combined(left: Number, right: Number, operation: Callable[[Any, Any], Any]) -> Number:
    """Apply an operation exactly if both numbers are rational, else to intervals."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _bounded(operation(left, right))
    return _checked(operation(_as_interval(left), _as_interval(right)))


def product(left: Number, right: Number) -> Number:
    """Return the product of two numbers.

    Raises:
        RefusedError: if it is too large.
    """
    return _combined(left, right, lambda a, b: a * b)


def _whole_power(base: Number, exponent: int) -> Number:
    """Return a power with an exponent of at least 0."""
    if not isinstance(base, Fraction):
        if exponent > MAX_BITS:
            raise RefusedError("the exponent is too large")
        return _checked(base**exponent)
    if base == exponent == 0:
        raise RefusedError("0 to the power of 0 is not defined")
    if abs(base) not in (0, 1) and (_bits(base) - 1) * exponent > MAX_BITS:
        raise RefusedError("the power is too large")
    return _bounded(base**exponent)


def _root(value: Number, index: int) -> Number:
    """Return a real root; exact if it is rational."""
    if not 0 < index <= MAX_ROOT:
        raise RefusedError("the index of the root is too large")
    if sign(value) < 0:
        if index % 2 == 0:
            raise RefusedError("the root is not real")
        return -_root(-value, index)
    if isinstance(value, Fraction):
        from sympy import integer_nthroot  # here, because it takes half a second to import

        above, is_whole = integer_nthroot(value.numerator, index)
        below, is_too = integer_nthroot(value.denominator, index)
        if is_whole and is_too:
            return Fraction(int(above), int(below))
    elif sign(value) == 0:
        raise RefusedError("the root of what may be zero is not known well enough")
    return _checked(_intervals.exp(_intervals.log(_as_interval(value)) / index))


def _logarithm(value: Number) -> Number:
    if sign(value) <= 0:
        raise RefusedError("the logarithm is not defined")
    if isinstance(value, Fraction) and value == 1:
        return Fraction(0)
    return _checked(_intervals.log(_as_interval(value)))


def _whole_number(token: str, largest: int) -> int:
    """Return a small whole number."""
    if not token.isdigit() or len(token) > len(str(largest)) or int(token) > largest:
        raise RefusedError(f"{token[:20]} is no whole number up to {largest}")
    return int(token)


def _quotient(left: Number, right: Number) -> Number:
    if sign(right) == 0:
        raise RefusedError("division by zero")
    return _combined(left, right, lambda a, b: a / b)


@lark.v_args(inline=True)
class _Evaluation(lark.Transformer[lark.Token, Number]):
    """The values of the grammar's rules, made while the parser runs."""

    def number(self, token: str) -> Number:
        """Digits, perhaps with a decimal point."""
        if len(token) > MAX_DIGITS:
            raise RefusedError("the number has too many digits")
        return _bounded(Fraction(str(token)))

    def add(self, left: Number, right: Number) -> Number:
        """A sum."""
        return _combined(left, right, lambda a, b: a + b)

    def subtract(self, left: Number, right: Number) -> Number:
        """A difference."""
        return _combined(left, right, lambda a, b: a - b)

    def multiply(self, left: Number, right: Number) -> Number:
        """A product."""
        return product(left, right)

    def divide(self, left: Number, right: Number) -> Number:
        """A quotient."""
        return _quotient(left, right)

    def negate(self, value: Number) -> Number:
        """The number with the other sign."""
        return -value

    def factorial(self, token: str) -> Number:
        """The product of the whole numbers up to one."""
        return Fraction(math.factorial(_whole_number(token, MAX_FACTORIAL)))

    def pi(self) -> Number:
        """The circumference of a circle by its diameter."""
        return +_intervals.pi

    def euler(self) -> Number:
        """The base of the natural logarithm."""
        return _intervals.exp(_intervals.mpf(1))

    def raise_to(self, base: Number, exponent: Number) -> Number:
        """A power with a rational exponent."""
        if not isinstance(exponent, Fraction):
            raise RefusedError("the exponent is not rational")
        rooted = _root(base, exponent.denominator) if exponent.denominator > 1 else base
        value = _whole_power(rooted, abs(exponent.numerator))
        return value if exponent >= 0 else _quotient(Fraction(1), value)

    def root(self, value: Number) -> Number:
        """A square root."""
        return _root(value, 2)

    def root_number(self, token: str) -> Number:
        """The square root of a number without brackets."""
        return _root(self.number(token), 2)

    def root_by_index(self, index: str, value: Number) -> Number:
        """A cube root, and so on."""
        return _root(value, _whole_number(index, MAX_ROOT))

    def logarithm(self, value: Number) -> Number:
        """A natural logarithm."""
        return _logarithm(value)

    def logarithm_to_base(self, base: str, value: Number) -> Number:
        """A logarithm to a base."""
        return _quotient(_logarithm(value), _logarithm(self.number(base)))


@cache
def _parser() -> lark.Lark:
    grammar = (Path(__file__).parent / "expression.lark").read_text(encoding="utf-8")
    return lark.Lark(grammar, parser="lalr", transformer=_Evaluation())


def read_expression(text: str) -> Number | None:
    """Return the value of an expression, or None if it has none."""
    if len(text) > MAX_FORMULA_CHARS:
        return None
    try:
        return _parser().parse(text)
    except (lark.exceptions.LarkError, RefusedError):
        return None
