"""How numbers and formulas are written, turned into one plain form that the grammar reads.

Separators of thousands and decimal signs are read by these rules, which never guess:

- Groups of three behind commas, apostrophes, spaces or (two or more) points are thousands; so are
  the groups of India (12,34,567) and groups of four (1,2345,6789).
- A comma and a point in one number: the last one is the decimal sign (1,234.5 and 1.234,5).
- One comma alone separates thousands before exactly three digits (1,234) and is the decimal sign
  otherwise (3,14 and 0,125 and 1234,567). One point alone is the decimal sign.
- In a text that writes decimal commas elsewhere, or is German, one comma alone is the decimal sign,
  and one point before exactly three digits has no reading: it may be either.
- Within brackets a comma separates: (3,14) is a pair.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from judges.verifying.mathematics.chinese import with_digits
from judges.verifying.mathematics.expressions import MAX_FORMULA_CHARS

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+", strict=True))
_SUPERSCRIPT_RUN = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_REFUSED_FORMS = ("<circle>", "<sub>", "<super>", "<fraction>")
"""Characters whose plain form means something else: ① is not 1, and x₂ not x2."""
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("−﹣－", "-"),
        **dict.fromkeys("×·⋅∗∙•", "*"),
        **dict.fromkeys("÷∕⁄", "/"),
        **dict.fromkeys("’‘`´", "'"),
        "٫": ".",
        "٬": "'",
    }
)
_MINUS_WORD = re.compile(
    r"(?i:\b(?:minus|negative|negativ)\s+)(?=[\d.])|[负負](?=[\d零〇一二两三四五六七八九十百千万])"
)
_COMMANDS: tuple[tuple[str, str], ...] = (
    (r"\\(?:left|right|displaystyle|textstyle|limits|[bB]igg?[lr]?)(?![a-zA-Z])", ""),
    (r"\\[()\[\]]", " "),
    (r"\\[dtc]?frac(?![a-zA-Z])", " frac"),
    (r"\\sqrt(?![a-zA-Z])|√", " sqrt"),
    (r"\\(?:cdot|times|ast)(?![a-zA-Z])", "*"),
    (r"\\div(?![a-zA-Z])", "/"),
    (r"\\pm(?![a-zA-Z])|±", "±"),
    (r"\\pi(?![a-zA-Z])|π", " pi "),
    (r"\\infty(?![a-zA-Z])|∞", "oo"),
    (r"\\(ln|log)(?![a-zA-Z])", r" \1"),
    (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])", "°"),
    (r"\\cup(?![a-zA-Z])|∪", "∪"),
    (r"\{,\}", ","),
    (r"\\!", ""),
    (r"\\[,;: ]|\\q?quad(?![a-zA-Z])|~", " "),
    (r"\\([%$€£])", r"\1"),
    (r"\\\{", "⟨"),
    (r"\\\}", "⟩"),
    (r"\*\*", "^"),
    (r"\s*\^\s*", "^"),
)
_TEXT = re.compile(
    r"\\(?:text(?:bf|rm|it|sf|normal)?|math(?:rm|bf|it|sf|bb)|mbox|operatorname)\s*\{([^{}]*)\}"
)
_SHORT_FRACTION = re.compile(r"\bfrac\s*(?:(\d)\s*|\{([^{}]*)\}\s*)(?:(\d)|\{([^{}]*)\})")
_REPEATING = re.compile(r"(?<![\d.])(\d+)\.(\d*)\\(?:overline|dot|bar)\s*\{(\d{1,20})\}")
_SCALE_WORDS = {
    "hundred": 2,
    "thousand": 3,
    "million": 6,
    "billion": 9,
    "trillion": 12,
    "Tausend": 3,
    "Million": 6,
    "Millionen": 6,
    "Mio": 6,
    "Milliarde": 9,
    "Milliarden": 9,
    "Mrd": 9,
    "Billionen": 12,
}
"""German "Billion" is an English trillion; written with a capital it has no reading."""
SCALE_WORD = rf"(?:{'|'.join(sorted(_SCALE_WORDS, key=len, reverse=True))})\b\.?"
_SCALED = re.compile(rf"(?<![\d./])(?<!/ )(\d+(?:\.\d+)?|\([\d+/]+\))\s*({SCALE_WORD})")
_EXPONENT = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)[eE]\+?(-?\d{1,3})(?!\d)")

_GROUPED = (
    r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?",
    r"[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?",
    r"[1-9]\d{0,3}(?:,\d{4}){2,}(?:\.\d+)?",
    r"[1-9]\d{0,2}(?:\.\d{3})+,\d+",
    r"[1-9]\d{0,2}(?:\.\d{3}){2,}",
    r"[1-9]\d{0,2}(?:'\d{3})+(?:[.,]\d+)?",
    r"[1-9]\d{0,2}(?: \d{3})+(?:[.,]\d+)?(?! ?/)",
)
NUMBER = rf"(?<![\d.,'])(?:(?:{'|'.join(_GROUPED)}|\d+(?:[.,]\d+)?)(?![.,']?\d)|\.\d+(?![.,']?\d))"
"""One number in any of the forms that are read."""
_NUMBER = re.compile(NUMBER)
_AMBIGUOUS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
_MIXED = re.compile(r"(?<![\d.)^}])(\d{1,30}) +(\d{1,30}) ?/ ?(\d{1,30})(?![\d.!^]| *\()")
_MIXED_FRACTION = re.compile(r"(?<![\d.)^}])(\d{1,30}) *frac\{ *(\d{1,30}) *\}\{ *(\d{1,30}) *\}")
_DECIMAL_COMMA = re.compile(
    r"(?<![\d.,])(?:\d+,(?:\d{1,2}|\d{4,})|0,\d+|\d{1,3}(?:\.\d{3})+,\d+)(?![\d,])"
)
_GERMAN = re.compile(
    r"\b(?:Antwort|Ergebnis|Lösung|beträgt|lautet|ist|sind|und|oder|nicht|ergibt|also|der|die|das)\b"
)


class AmbiguousError(ValueError):
    """A text can be read in two ways, or has a form that is not read."""


def writes_decimal_commas(text: str) -> bool:
    """Whether a text is in German, or has a number with a decimal comma."""
    return bool(_GERMAN.search(text) or _DECIMAL_COMMA.search(text))


def unicode_plain(text: str) -> str:
    """Return the text with the digits of any script as ASCII, and signs in their plain form."""
    text = _SUPERSCRIPT_RUN.sub(lambda m: "^{" + m[0].translate(_TO_ASCII) + "}", text)
    text = "".join(map(_plain_character, text)).translate(_SIGNS)
    return _MINUS_WORD.sub("-", text)


_TO_ASCII = str.maketrans(_SUPERSCRIPTS)


def _plain_character(character: str) -> str:
    form = unicodedata.decomposition(character)
    if form.startswith("<fraction>"):
        above, _, below = unicodedata.normalize("NFKC", character).partition("⁄")
        return f" {above}/{below}" if below else character
    if form.startswith(_REFUSED_FORMS):
        return "\ufffd"
    digit = unicodedata.decimal(character, None)
    return unicodedata.normalize("NFKC", character) if digit is None else str(digit)


def plain_formula(text: str) -> str:
    """Return the text of one formula without LaTeX's commands; numbers stay as they are.

    Raises:
        AmbiguousError: if it is too long, or has a command that is not read.
    """
    if len(text) > MAX_FORMULA_CHARS:
        raise AmbiguousError("the text is too long")
    text = unicode_plain(text).strip().strip("*_'\" ")
    text = re.sub(r"^\$+(.*?)\$+$", r"\1", text, flags=re.DOTALL)
    text = _REPEATING.sub(_repeating, text)
    for _ in range(3):
        text = _TEXT.sub(r" \1 ", text)
    for pattern, plain in _COMMANDS:
        text = re.sub(pattern, plain, text)
    if "\\" in text or "\ufffd" in text:
        raise AmbiguousError("there is a command or a sign that is not read")
    text = re.sub(r"^\s*–", "-", text)
    text = " ".join(text.split())
    return _SHORT_FRACTION.sub(_full_fraction, text)


def _full_fraction(match: re.Match[str]) -> str:
    return f"frac{{{match[1] or match[2]}}}{{{match[3] or match[4]}}}"


def _repeating(match: re.Match[str]) -> str:
    """Return a repeating decimal, such as 0.1666..., as a fraction."""
    whole, start, period = match.groups()
    if len(whole) + len(start) > MAX_FORMULA_CHARS // 4:
        raise AmbiguousError("the number is too long")
    value = Fraction(f"{whole}.{start or 0}")
    value += Fraction(int(period), 10 ** len(start) * (10 ** len(period) - 1))
    return f"({value})"


def plain_numbers(text: str, comma_decimal: bool = False) -> str:
    """Return a formula with its numbers as the grammar reads them: digits and a decimal point.

    Raises:
        AmbiguousError: if a number can be read in two ways.
    """
    text = _NUMBER.sub(lambda m: _plain_number(m[0], comma_decimal), text)
    text = with_digits(text)
    text = _EXPONENT.sub(r"(\1*10^(\2))", text)
    text = _MIXED_FRACTION.sub(_mixed, _MIXED.sub(_mixed, text))
    return _SCALED.sub(lambda m: f"({m[1]}*10^{_SCALE_WORDS[m[2].rstrip('.')]})", text)


def _plain_number(text: str, comma_decimal: bool) -> str:
    if comma_decimal and _AMBIGUOUS.fullmatch(text):
        if "." in text:
            raise AmbiguousError(f"{text} may be a whole number or a decimal one")
        return text.replace(",", ".")
    if "." in text and "," in text:
        decimal_sign = max(".", ",", key=text.rfind)
        other = "," if decimal_sign == "." else "."
        return text.replace(other, "").replace(decimal_sign, ".")
    text = text.replace("'", "").replace(" ", "")
    if text.count(".") > 1 or text.count(",") > 1 or _is_thousands(text):
        return text.replace(".", "").replace(",", "")
    return re.sub(r"^\.", "0.", text.replace(",", "."))


def _is_thousands(text: str) -> bool:
    """Whether the one comma of a number separates thousands."""
    return re.fullmatch(r"[1-9]\d{0,2},\d{3}", text) is not None


def _mixed(match: re.Match[str]) -> str:
    """Return a mixed number as a sum. Only a proper fraction makes one."""
    whole, above, below = match.groups()
    if not int(above) < int(below):
        raise AmbiguousError(f"{match[0]} is no mixed number")
    return f"({whole}+{above}/{below})"
