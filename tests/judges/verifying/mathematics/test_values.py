"""Numbers and formulas: how they are written in other countries and scripts, units, and limits."""

from __future__ import annotations

import ast
from decimal import Decimal
from fractions import Fraction

import mpmath
import pytest
import sympy
from babel.numbers import format_decimal
from hypothesis import assume, given
from hypothesis import strategies as st

from judges.verifying.mathematics.chinese import read_numeral
from judges.verifying.mathematics.expressions import (
    MAX_BITS,
    MAX_FORMULA_CHARS,
    read_expression,
)
from judges.verifying.mathematics.units import read_unit, unit_names
from judges.verifying.mathematics.values import is_same, read_value

LOCALES = [
    "en",
    "de",
    "fr",
    "es",
    "it",
    "pt_BR",
    "nl",
    "sv",
    "pl",
    "ru",
    "cs",
    "de_CH",
    "de_AT",
    "hi",
    "en_IN",
    "zh",
    "ja",
    "ko",
    "tr",
    "da",
    "fi",
]


def number(text: str, comma_decimal: bool = False) -> Fraction | None:
    value = read_value(text, comma_decimal)
    return None if value is None else value.number


@given(st.decimals(0, 10**9, places=2), st.sampled_from(LOCALES))
def test_numbers_of_many_countries_are_read_as_cldr_writes_them(
    value: Decimal, locale: str
) -> None:
    text = format_decimal(value, "#,##0.00", locale=locale)
    if locale in ("hi", "en_IN"):
        text = format_decimal(value, "#,##,##0.00", locale=locale)
    assert number(text) == Fraction(value)


@given(st.integers(0, 10**9), st.sampled_from(LOCALES))
def test_a_whole_number_is_never_read_as_another_one_in_a_text_of_its_country(
    value: int, locale: str
) -> None:
    text = format_decimal(value, locale=locale)
    writes_commas = "," in format_decimal(Decimal("0.5"), locale=locale)
    assert number(text, writes_commas) in (Fraction(value), None)
    if value < 1000 or value >= 10**6:
        assert number(text, writes_commas) == value


WRITTEN = {
    "3,14": "3.14",
    "1,234": "1234",
    "1.234": "1.234",
    "0,125": "0.125",
    "1234,567": "1234.567",
    "1,234,567.89": "1234567.89",
    "1.234.567,89": "1234567.89",
    "1 234 567,89": "1234567.89",
    "1\u00a0234\u00a0567,89": "1234567.89",
    "1\u2009234\u2009567,89": "1234567.89",
    "1\u202f234\u202f567,89": "1234567.89",
    "1'234.50": "1234.5",
    "1’234’567,50": "1234567.5",
    "12,34,567": "1234567",
    "1,2345,6789": "123456789",
    r"1{,}234": "1234",
    r"1\,234\,567": "1234567",
    r"1,\!234": "1234",
    "１２３，４５６": "123456",
    "٣٫١٤": "3.14",
    "١٬٢٣٤": "1234",
    "१२३": "123",
    "1e8": "100000000",
    "1.5E-3": "0.0015",
    r"3\times10^{8}": "300000000",
    r"3 \cdot 10^{-2}": "0.03",
    "3×10⁸": "300000000",
    "2.5 million": "2500000",
    "2,5 Mio.": "2500000",
    "3 Milliarden": "3000000000",
    "1 1/2": "1.5",
    "-1 1/2": "-1.5",
    "1½": "1.5",
    "¾": "0.75",
    "2 ⅜": "2.375",
    r"1\frac{1}{2}": "1.5",
    r"\frac12": "0.5",
    r"\dfrac{3}{4}": "0.75",
    r"\tfrac{3}{4}": "0.75",
    r"\left(\frac{1}{2}\right)": "0.5",
    r"0.\overline{3}": "1/3",
    r"0.1\overline{6}": "1/6",
    "50%": "0.5",
    r"12.5\%": "0.125",
    "５０％": "0.5",
    "5‰": "0.005",
    r"\sqrt{16}": "4",
    r"\sqrt[3]{27}": "3",
    "8^(1/3)": "2",
    "2^10": "1024",
    "2**10": "1024",
    "-2^2": "-4",
    "2^3^2": "512",
    "5!": "120",
    r"\(42\)": "42",
    "$42$": "42",
    r"\text{13}": "13",
    r"\mathbf{13}": "13",
    "−5": "-5",
    "minus 5": "-5",
    ".5": "0.5",
    "2(3)": "6",
    "6*7 = 42": "42",
}
"""A form, and its value. Sources: CLDR 46 (number formats), the SI brochure 5.4, GB/T 15835."""


@pytest.mark.parametrize(("text", "value"), WRITTEN.items())
def test_a_form_has_its_value(text: str, value: str) -> None:
    assert number(text) == Fraction(value)


UNREAD = [
    "3.1.2",
    "1,2,3,4",
    "1,234,56",
    "1,23,45",
    "12:00",
    "1:2",
    "①",
    "x₂",
    "1/0",
    "0^0",
    "2^^3",
    "1..2",
    ",5",
    "1'23",
    "5'11",
    "--",
    "()",
    "{}",
    "x",
    "2x",
    "",
    " ",
    "forty-two",
    "1 2",
    "1 2 3",
    "4 10/3",
    "1/2 pi",
    "6*7 = 43",
    "x = y",
    "x = 3, y = 4",
    r"\sqrt{-1}",
    r"\foo{3}",
    r"\int_0^1 x dx",
    r"\sum_{i=1}^{1000000} i",
    r"\lim_{x\to 0} x",
    r"\binom{1000000}{500000}",
    "__import__('os').getcwd()",
    "exec('1')",
    "True",
    "1 if 1 else 2",
    "[x for x in (1,)]",
    "0x10",
    "1j",
    "nan",
    "1_000",
    "1/2 million",
    "5 Billion",
]


@pytest.mark.parametrize("text", UNREAD)
def test_what_has_no_one_reading_has_none(text: str) -> None:
    assert read_value(text) is None


def test_what_may_be_a_whole_number_or_a_decimal_one_has_no_reading_beside_decimal_commas() -> None:
    assert number("1.234", comma_decimal=True) is None
    assert number("1,234", comma_decimal=True) == Fraction("1.234")
    assert number("1.234.567", comma_decimal=True) == 1234567


NUMERALS = {
    "零": 0,
    "十": 10,
    "十五": 15,
    "二十": 20,
    "三百二十五": 325,
    "一百零五": 105,
    "一百五": 150,
    "一千零一十": 1010,
    "三千二": 3200,
    "两万": 20000,
    "两万五": 25000,
    "三十万零五": 300005,
    "一亿二千万": 120000000,
    "一万亿": 10**12,
    "壹佰贰拾叁": 123,
    "伍仟": 5000,
    "壹萬貳仟": 12000,
    "二〇二六": 2026,
    "一九八四": 1984,
    "三点一四": Fraction("3.14"),
    "1.5万": 15000,
    "3千": 3000,
}


@pytest.mark.parametrize(("text", "value"), NUMERALS.items())
def test_a_chinese_numeral_has_its_value(text: str, value: Fraction) -> None:
    assert read_numeral(text) == value
    assert number(text) == value


def test_chinese_fractions_and_signs_have_their_value() -> None:
    assert number("百分之二十") == Fraction(1, 5)
    assert number("千分之五") == Fraction(1, 200)
    assert number("二分之一") == Fraction(1, 2)
    assert number("5分之2") == Fraction(2, 5)
    assert number("三又四分之一") == Fraction(13, 4)
    assert number("负三") == -3


@pytest.mark.parametrize(
    "text", ["两三", "一二三", "百万", "万一", "千", "一千百", "二百零", "十十"]
)
def test_characters_that_make_no_one_numeral_have_no_value(text: str) -> None:
    assert read_numeral(text) is None


def in_chinese(value: int) -> str:
    """Spell a number out, independently of the reader: groups of four, one zero for gaps."""
    groups, result, gap = [], "", False
    while value:
        value, group = divmod(value, 10**4)
        groups.append(group)
    for index in reversed(range(len(groups))):
        group = groups[index]
        if group == 0:
            gap = bool(result)
            continue
        if result and (gap or group < 1000):
            result += "零"
        result += group_in_chinese(group) + ("", "万", "亿")[index]
        gap = False
    return result


def group_in_chinese(group: int) -> str:
    result = ""
    for position, digit in enumerate(f"{group:04d}"):
        if digit != "0":
            zero = "零" if result and f"{group:04d}"[position - 1] == "0" else ""
            result += zero + "零一二三四五六七八九"[int(digit)] + ("千", "百", "十", "")[position]
    return result


@given(st.integers(1, 10**12 - 1))
def test_any_number_spelled_in_chinese_is_read_back(value: int) -> None:
    assert read_numeral(in_chinese(value)) == value


EQUAL_QUANTITIES = [
    ("5 km", "5000 m"),
    ("1 mile", "1609.344 m"),
    ("1 inch", "2.54 cm"),
    ("1 lb", "453.59237 g"),
    ("72 km/h", "20 m/s"),
    ("1 kWh", "3600 kJ"),
    ("1 L", "1000 cm^3"),
    ("1 ha", "10000 m²"),
    ("1 N", r"1 \text{ kg m/s}^2"),
    ("1 Pa", "1 N/m^2"),
    ("2 h", "120 min"),
    ("1 week", "7 Tage"),
    ("5 公里", "5 km"),
    ("三百米", "300 m"),
    ("8 bits", "1 byte"),
    ("$5", "5 dollars"),
    ("5,00 €", "5 euros"),
    (r"90^\circ", "90°"),
    ("20 °C", "20 degrees Celsius"),
    ("1 m", "100 cm"),
]
"""Sources: the SI brochure, NIST SP 811 (the inch, mile and pound are exact)."""


@pytest.mark.parametrize(("one", "other"), EQUAL_QUANTITIES)
def test_equal_quantities_are_the_same(one: str, other: str) -> None:
    left, right = read_value(one), read_value(other)
    assert left is not None
    assert right is not None
    assert is_same(left, right)
    assert is_same(right, left)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("5 km", "5 kg"),
        ("5 km", "5"),
        ("5 km", "5 m"),
        ("5 m", "5 m^2"),
        ("$5", "5 €"),
        ("¥5", "5 yuan"),
        ("20 °C", "20 °F"),
        ("90°", "90"),
        ("5 m/s", "5 m s"),
        ("5", "5000 m"),
    ],
)
def test_other_quantities_differ(reference: str, text: str) -> None:
    left, right = read_value(reference), read_value(text)
    assert left is not None
    assert right is not None
    assert not is_same(left, right)


def test_a_reference_without_a_unit_takes_any() -> None:
    left, right = read_value("5"), read_value("5 km")
    assert left is not None
    assert right is not None
    assert is_same(left, right)


def test_every_unit_has_a_size_and_no_common_word_is_one() -> None:
    assert all(unit.size > 0 for unit in unit_names().values())
    words = [
        "in",
        "a",
        "an",
        "as",
        "at",
        "or",
        "and",
        "to",
        "is",
        "it",
        "on",
        "of",
        "by",
        "we",
        "he",
        "so",
        "no",
        "up",
    ]
    assert [word for word in words if read_unit(word) is not None] == []


@st.composite
def arithmetic(draw: st.DrawFn, depth: int = 3) -> str:
    if depth == 0 or draw(st.booleans()):
        return str(draw(st.integers(0, 99)))
    left, right = draw(arithmetic(depth - 1)), draw(arithmetic(depth - 1))
    sign = draw(st.sampled_from(["+", "-", "*", "/"]))
    return f"({left} {sign} {right})"


def python_value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant):
        return Fraction(node.value)
    assert isinstance(node, ast.BinOp)
    left, right = python_value(node.left), python_value(node.right)
    operations = {ast.Add: "__add__", ast.Sub: "__sub__", ast.Mult: "__mul__"}
    if isinstance(node.op, ast.Div):
        return left / right
    return getattr(left, operations[type(node.op)])(right)


@given(arithmetic())
def test_arithmetic_has_the_value_that_python_gives(text: str) -> None:
    assume(len(text) <= MAX_FORMULA_CHARS)
    try:
        wanted = python_value(ast.parse(text, mode="eval").body)
    except ZeroDivisionError:
        assert read_expression(text) is None
        return
    assert read_expression(text) == wanted


IRRATIONAL = {
    r"\sqrt{8}": sympy.sqrt(8),
    r"\frac{\sqrt{3}}{3}": 1 / sympy.sqrt(3),
    r"2\pi": 2 * sympy.pi,
    r"\frac{\pi}{2} + 1": sympy.pi / 2 + 1,
    "(1+sqrt(5))/2": sympy.GoldenRatio,
    r"\ln 2": None,
    r"\ln{2}": sympy.log(2),
    r"\log_{2}{3}": sympy.log(3, 2),
    "e^2": sympy.exp(2),
    "2^(1/3)": sympy.cbrt(2),
    "√2": sympy.sqrt(2),
}


@pytest.mark.parametrize(("text", "wanted"), IRRATIONAL.items())
def test_irrational_values_are_those_of_sympy(text: str, wanted: sympy.Expr | None) -> None:
    value = number(text)
    if wanted is None:
        assert value is None
        return
    with mpmath.mp.workdps(150):
        low, high = map(mpmath.mp.make_mpf, value._mpi_)
        digits = mpmath.mp.mpf(str(sympy.N(wanted, 150)))
        assert low - mpmath.mp.mpf("1e-140") <= digits <= high + mpmath.mp.mpf("1e-140")
        assert high - low < mpmath.mp.mpf("1e-100")


EQUAL_FORMS = [
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\frac{1}{\sqrt{3}}", r"\frac{\sqrt{3}}{3}"),
    (r"\sqrt{2}\sqrt{2}", "2"),
    ("(sqrt(2)+sqrt(3))^2", r"5+2\sqrt{6}"),
    (r"\log_{2}{8}", "3"),
    (r"\frac12\pi", r"\frac{\pi}{2}"),
    (r"\{1, 2\}", "{2, 1}"),
    (r"\pm 3", r"\{-3, 3\}"),
    (r"\left[0, \infty\right)", "[0, oo)"),
    ("(1; 2,5)", "(1, 2.5)"),
    ("x = 3", "3"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL_FORMS)
def test_forms_of_one_value_are_the_same(one: str, other: str) -> None:
    left, right = read_value(one), read_value(other)
    assert left is not None
    assert right is not None
    assert is_same(left, right)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(1, 2)", "(2, 1)"),
        ("[0, 1)", "(0, 1)"),
        ("(1, 2)", "{1, 2}"),
        ("{1, 2}", "{1, 2, 3}"),
        ("x = 3", "y = 3"),
        (r"\pi", "3.14159265358979"),
        ("1/3", "0.333333333333"),
        (r"\sqrt{2}", "1.41421356"),
        ("10^-300", "0"),
        ("1 + 10^-100", "1"),
        ("(-oo, 3]", "(oo, 3]"),
        ("(3,14)", "3.14"),
    ],
)
def test_other_values_differ(one: str, other: str) -> None:
    left, right = read_value(one), read_value(other)
    assert left is not None
    assert right is not None
    assert not is_same(left, right)


HOSTILE = [
    "9^9^9",
    "9**9**9**9",
    "9^{9^{9^{9}}}",
    "(((2^999)^999)^999)^999",
    "(((e^999)^999)^999)^9999999",
    "5^{5^{5^{5^{5}}}}",
    "9999999999!",
    "3!!!!!",
    r"\sqrt[999999999]{2}",
    "1e999999999",
    "10^(10^10)",
    "2^(1/999999999)",
    "(10^1000 + sqrt(2)) - 10^1000",
    "(" * 390,
    "{" * 390,
    r"\frac" * 70,
    r"\sqrt{" * 50,
    "9" * 399,
    "9" * 100_000,
    "-" * 399 + "1",
    "1+" * 199 + "1",
    "1/" * 199 + "1",
    "pi^" * 130 + "2",
    "2^" * 190 + "2",
    r"\text{" * 60 + "}" * 60,
    "0." + r"\overline{1}" * 30,
    "三" * 390,
    "百分之" * 100,
    "一百万亿" * 90,
    "1,234," * 60,
    "1'234'" * 60,
    "1 " * 190,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_hostile_formulas_stay_within_the_limits(text: str) -> None:
    value = read_value(text)
    if value is not None and isinstance(value.number, Fraction):
        assert value.number.numerator.bit_length() <= MAX_BITS
        assert value.number.denominator.bit_length() <= MAX_BITS


@given(st.text(alphabet="0123456789+-*/^!().,{}[]e πi√%²½三百万分之点\\ =", max_size=60))
def test_any_formula_ends_with_a_bounded_value_or_none(text: str) -> None:
    value = read_value(text)
    for item in () if value is None else value.numbers:
        if isinstance(item, Fraction):
            assert max(item.numerator.bit_length(), item.denominator.bit_length()) <= MAX_BITS
