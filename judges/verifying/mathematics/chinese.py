"""Chinese numerals as digits: 三百二十五, 两万五, 壹佰, 百分之二十, 二分之一, 1.5万.

Numerals with two readings (两三, "two or three") are left as they are, so nothing reads them.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import prod

_DIGITS = {
    **dict(zip("零一二三四五六七八九", range(10), strict=True)),
    **dict(zip("零壹贰叁肆伍陆柒捌玖", range(10), strict=True)),
    **dict(zip("〇壹貳參肆伍陸柒捌玖", range(10), strict=True)),
    "两": 2,
    "兩": 2,
}
_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_MYRIADS = {"亿": 10**8, "億": 10**8, "万": 10**4, "萬": 10**4}
_SIZES = {**_UNITS, **_MYRIADS}
_ZEROS = "零〇"
MAX_NUMERAL_CHARS = 40

_ANY = "".join([*_DIGITS, *_UNITS, *_MYRIADS])
_SCALES = "".join([*_UNITS, *_MYRIADS])
_NUMERAL = (
    rf"(?:[{_ANY}]+(?:[点點][{''.join(_DIGITS)}]+)?|(?:\d+(?:\.\d+)?[{_SCALES}]+)+|\d+(?:\.\d+)?)"
)
_PERCENT = re.compile(rf"([百千])分之({_NUMERAL})")
_MIXED = re.compile(rf"({_NUMERAL})又({_NUMERAL})分之({_NUMERAL})")
_FRACTION = re.compile(rf"({_NUMERAL})分之({_NUMERAL})")
_ALONE = re.compile(rf"(?<![\d./{_ANY}])({_NUMERAL})(?![\d.{_ANY}点點])")


def with_digits(text: str) -> str:
    """Return the text with its Chinese numerals as digits; those with no one reading stay."""
    if not any(character in _ANY for character in text) and "分之" not in text:
        return text
    text = _MIXED.sub(lambda m: _sum(m, *map(read_numeral, m.groups())), text)
    text = _PERCENT.sub(
        lambda m: _ratio(m, Fraction(100 if m[1] == "百" else 1000), read_numeral(m[2])), text
    )
    text = _FRACTION.sub(lambda m: _ratio(m, read_numeral(m[1]), read_numeral(m[2])), text)
    return _ALONE.sub(lambda m: _decimal(m, read_numeral(m[1])), text)


def _sum(
    match: re.Match[str], whole: Fraction | None, below: Fraction | None, above: Fraction | None
) -> str:
    if whole is None or below is None or above is None:
        return match[0]
    return f"({whole}+({above})/({below}))"


def _ratio(match: re.Match[str], below: Fraction | None, above: Fraction | None) -> str:
    return match[0] if below is None or above is None else f"(({above})/({below}))"


def _decimal(match: re.Match[str], value: Fraction | None) -> str:
    if value is None:
        return match[0]
    return str(value) if value.denominator == 1 else f"({value})"


def read_numeral(text: str) -> Fraction | None:
    """Return the value of one numeral in Chinese characters, digits, or both; None if it is none.

    >>> read_numeral("两万五")
    Fraction(25000, 1)
    """
    if not 0 < len(text) <= MAX_NUMERAL_CHARS:
        return None
    if text[0].isascii():
        return _scaled_digits(text)
    whole, point, decimals = text.replace("點", "点").partition("点")
    number = _whole(whole)
    if number is None or not point:
        return number
    return number + Fraction(int(_joined(decimals)), 10 ** len(decimals))


def _joined(text: str) -> str:
    """Return digits that are named one after the other, as in 二〇二六."""
    return "".join(str(_DIGITS[character]) for character in text)


def _scaled_digits(text: str) -> Fraction | None:
    """Return the value of digits with units behind them, as in 1.5万 and 13万2千."""
    total, unit = Fraction(0), None
    for digits, scales in re.findall(rf"(\d+(?:\.\d+)?)([{_SCALES}]*)", text):
        scale = prod(_SIZES[character] for character in scales)
        part = Fraction(digits) * scale
        if unit is not None and part >= unit:
            return None
        total, unit = total + part, scale
    return total


def _whole(text: str) -> Fraction | None:
    if all(character in _DIGITS for character in text):
        is_sequence = len(text) == 1 or len(text) >= 4 or any(z in text[1:] for z in _ZEROS)
        return Fraction(int(_joined(text))) if is_sequence else None
    value = _with_myriads(text)
    return None if value is None else Fraction(value)


def _with_myriads(text: str) -> int | None:
    """Return the value of a numeral, from its highest unit on."""
    for signs, size in (("亿億", 10**8), ("万萬", 10**4)):
        at = max(text.rfind(sign) for sign in signs)
        if at >= 0:
            above = _with_myriads(text[:at]) if at else None
            below = _tail(text[at + 1 :], size)
            return None if above is None or below is None else above * size + below
    return _section(text)


def _tail(text: str, size: int) -> int | None:
    """Return what follows a unit of some size; 五 after 万 means 5,000, 零五 means 5."""
    if not text:
        return 0
    if len(text) == 1 and text in _DIGITS and text not in _ZEROS:
        return _DIGITS[text] * size // 10
    below = _with_myriads(text)
    return below if below is not None and below < size else None


def _section(text: str) -> int | None:
    """Return the value of a numeral below 10,000."""
    value, unit, after_zero = 0, 10**4, False
    rest = text
    while rest:
        if rest[0] in _ZEROS:
            if after_zero or len(rest) == 1:
                return None
            after_zero, rest = True, rest[1:]
            continue
        step = _next_digit(rest, unit, after_zero)
        if step is None:
            return None
        added, unit, length = step
        value, after_zero, rest = value + added, False, rest[length:]
    return value


def _next_digit(rest: str, unit: int, after_zero: bool) -> tuple[int, int, int] | None:
    """Return (value, its unit, its length) of the next digit with its unit; None if it has no
    place here.
    """
    digit, length = _DIGITS.get(rest[0], 1), int(rest[0] in _DIGITS)
    own = _UNITS.get(rest[length : length + 1], 1)
    if own >= unit or (length == 0 and own != 10):
        return None
    if own == 1:
        if len(rest) > 1:
            return None
        colloquial = unit not in (10, 10**4) and not after_zero
        return digit * (unit // 10 if colloquial else 1), 1, 1
    return digit * own, own, length + 1
