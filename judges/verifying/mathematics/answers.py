r"""Where the answer is in a text.

In this order: the last `\\boxed{}`; what follows "####", "the answer is", "die Antwort ist" or
"答案是"; the first line, if it is an answer as a whole; the last number of the text, with its unit.
A text that doubts its answer (`doubts.py`), or gives two, gives none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from judges.verifying.mathematics.doubts import is_doubted, withdrawal_end
from judges.verifying.mathematics.units import read_unit
from judges.verifying.mathematics.values import Value, is_same, read_value
from judges.verifying.mathematics.writing import (
    NUMBER,
    SCALE_WORD,
    unicode_plain,
    writes_decimal_commas,
)

MAX_WITHDRAWALS = 5
MAX_PHRASE_CHARS = 400
"""Of an answer, and of the end of a sentence in which one is looked for."""
MAX_BOXES = MAX_QUANTITIES = 8
"""On one line. A text with more of them lists answers and gives none."""
_NEAR_CHARS = 20
_TAG = re.compile(r"</?[a-zA-Z]{1,12}>")
_BOXED = re.compile(r"\\f?boxed\s*\{")
_NAMED = re.compile(
    r"(?i:\b(?:answer|result|solution)\b[^\n=:.?!]{0,40}?(?:\s(?:is|equals)\b|\s*[:=])"
    r"|\b(?:antwort|ergebnis|lösung)\b[^\n=:.?!]{0,40}?(?:\s(?:ist|lautet|beträgt)\b|\s*[:=]))"
    r"|(?:答案|结果|答)(?:应该)?(?:[是为]|等于|\s*[:=])|####"
)
_LEADING = re.compile(r"[\s*_:]*")
_REASON = re.compile(r"\s*,?\s*(?:\b(?:because|since|as|weil|denn|da)\b|因为).*", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？\n]")
_FORMULA = re.compile(
    r"\$\$?([^$\n]{1,400})\$\$?|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL
)
_AFTER_IS = re.compile(
    r".*(?:=|\bis\b|\bare\b|\bequals\b|\bist\b|\bsind\b|[是为]|等于|:)\s*(.+)", re.DOTALL
)
_UNKNOWNS = re.compile(
    r"(?:[a-zA-Z]|\d[a-zA-Z])\s*[-+*/^][\s\w^*/+()-]*=\s*$"
    r"|[-+*/^]\s*(?:\d*[a-zA-Z]|\d+[a-zA-Z])\s*=\s*$|(?<![\w^])\d[\d.]*[a-zA-Z]\s*=\s*$"
)
"""A side of an equation with operations on unknowns: its other side is no answer."""
_NO_NOUN = (
    r"(?i:or|and|to|not|no|more|less|fewer|oder|und|bis|nicht|mehr|weniger|plus|minus|times|over|mal"
    r"|squared|cubed|dozens?|dutzend|scores?|gross|lakhs?|crores?|quadrillion|tenths?|hundredths?"
    r"|thousandths?|thirds?|quarters?|halves|half|wrong|incorrect|false|falsch)\b"
)
"""Words behind a number that change its meaning."""
_WORD = rf"(?!{_NO_NOUN})[^\W\d_]+"
_NOUN_WORDS = rf"{_WORD}(?: {_WORD}){{0,2}}"
_NOUN = re.compile(
    rf"(?<=[\d)}}%])(?:\s*\\(?:text|mathrm|mbox)\s*\{{\s*{_NOUN_WORDS}\s*\}}|\s+{_NOUN_WORDS})$"
)
_HAN_NUMERAL = r"[零〇一二两三四五六七八九十百千万亿]{2,}"
_QUANTITY = re.compile(
    rf"[-+]?(?:(?:US\$|[$€£¥₹])\s?)?{NUMBER}(?:\s?/\s?\d+|\s\d+/\d+)?(?:[eE][-+]?\d+)?"
    rf"(?:\s?[*x]\s?10\s?\^\s?[({{]?-?\d+[)}}]?)?(?:\s?{SCALE_WORD}|[十百千万亿]+)?|{_HAN_NUMERAL}"
)
_UNIT_WORDS = re.compile(
    r"\s?((?:[^\W\d_]|[°%‰¢$€£¥₹])+)((?:\s?/\s?|\sper\s)[^\W\d_]+)?(\^?\{?[23]\}?)?"
)
_PART_BEFORE = re.compile(
    r"[+*/^√\\_{]\s*$|(?:[\d)}]|\b[a-zA-Z])\s*-\s*$|\d\s+$|[^\W一-鿿]$|\b[a-zA-Z]\)\s*$"
)
_PART_AFTER = re.compile(rf"[^\W一-鿿]|\s*(?:[+*/^!}}\\_]|-\s*\d|[,.]\d|{_NO_NOUN})")
_OPERAND = re.compile(r"(?:[\d)}%]|\b[a-zA-Z])\s*$")
"""What makes a sign behind it an operator."""


@dataclass(frozen=True)
class _Answer:
    """A part of a text that is its answer, and the value; None if it cannot be read."""

    start: int
    end: int
    value: Value | None


def answer_value(text: str) -> Value | None:
    """Return the value of the answer that a text gives; None if it gives none, or a doubtful
    one.
    """
    text = _TAG.sub(" ", unicode_plain(text))
    comma_decimal = writes_decimal_commas(text)
    for _ in range(MAX_WITHDRAWALS):
        answer = _answer(text, comma_decimal)
        if answer is None or answer.value is None:
            return None
        rest = text[answer.end :]
        end = withdrawal_end(rest)
        if end is None or not re.search(r"\d", rest[end:]):
            before, after = text[: answer.start], rest
            return None if end is not None or is_doubted(before, after) else answer.value
        text = rest[end:]
    return None


def _answer(text: str, comma_decimal: bool) -> _Answer | None:
    for search in (_boxed, _named, _first_line, _last_quantity):
        answer = search(text, comma_decimal)
        if answer is not None:
            return answer
    return None


def _boxed(text: str, comma_decimal: bool) -> _Answer | None:
    """Return the content of the last box. Boxes with other values on its line make it unread."""
    starts = [match.span() for match in _BOXED.finditer(text)]
    if not starts:
        return None
    line = text.rfind("\n", 0, starts[-1][0])
    on_line = [span for span in starts if span[0] > line]
    boxes = [_box(text, *span, comma_decimal) for span in on_line[-MAX_BOXES:]]
    last = boxes[-1]
    same = len(on_line) <= MAX_BOXES and all(_are_same(b.value, last.value) for b in boxes)
    return last if same else _Answer(last.start, last.end, None)


def _box(text: str, start: int, inside: int, comma_decimal: bool) -> _Answer:
    """Return the value of a box that is closed within `MAX_PHRASE_CHARS`."""
    depth, stop = 1, min(len(text), inside + MAX_PHRASE_CHARS)
    for index in range(inside, stop):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            value = _read_phrase(text[inside:index], comma_decimal)
            return _Answer(start, index + 1, value)
    return _Answer(start, stop, None)


def _are_same(one: Value | None, other: Value | None) -> bool:
    return one is not None and other is not None and is_same(one, other)


def _named(text: str, comma_decimal: bool) -> _Answer | None:
    """Return what the text calls its answer."""
    matches = list(_NAMED.finditer(text))
    if not matches:
        return None
    leading = _LEADING.match(text, matches[-1].end())
    assert leading is not None
    start = leading.end()
    end = _sentence_end(text, start)
    phrase = text[start:end]
    for shorter in (phrase, _REASON.sub("", phrase)):
        value = _read_phrase(shorter, comma_decimal)
        if value is not None:
            return _Answer(start, start + len(shorter), value)
    return _only_quantity(text, start, end, comma_decimal)


def _sentence_end(text: str, start: int) -> int:
    match = _SENTENCE_END.search(text, start)
    return len(text) if match is None else match.start() + (match[0] in "?？")


def _read_phrase(text: str, comma_decimal: bool) -> Value | None:
    """Return the value of a phrase that is an answer, perhaps with a noun behind it."""
    text = text.strip().strip("*_` ").rstrip(".")
    value = read_value(text, comma_decimal)
    return read_value(_NOUN.sub("", text), comma_decimal) if value is None else value


def _first_line(text: str, comma_decimal: bool) -> _Answer | None:
    """Return the first line, if it is an answer as a whole."""
    start = len(text) - len(text.lstrip())
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    value = read_value(text[start:end], comma_decimal)
    return None if value is None else _Answer(start, end, value)


def _last_quantity(text: str, comma_decimal: bool) -> _Answer | None:
    """Return the last number of a text, from the last sentence that has one."""
    last = 0
    for match in re.finditer(rf"\d|{_HAN_NUMERAL}|\\(?:pi|sqrt)", text):
        last = match.end()
    if last == 0:
        return None
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, last - 1)]
    start, end = (ends[-1] if ends else 0), _sentence_end(text, last)
    return _last_formula(text, start, end, comma_decimal) or _tail(text, start, end, comma_decimal)


def _last_formula(text: str, start: int, end: int, comma_decimal: bool) -> _Answer | None:
    """Return the last formula of a sentence, if no number follows it."""
    formulas = list(_FORMULA.finditer(text, start, end))
    if not formulas or re.search(r"\d", text[formulas[-1].end() : end]):
        return None
    last = formulas[-1]
    inside = next(group for group in last.groups() if group is not None)
    value = read_value(inside, comma_decimal)
    if value is None and (after := _AFTER_IS.fullmatch(inside)) is not None:
        value = read_value(after[1], comma_decimal)
    return _Answer(last.start(), last.end(), value)


def _tail(text: str, start: int, end: int, comma_decimal: bool) -> _Answer:
    """Return what follows the last "is" or "=" of a sentence, else its last number."""
    start = max(start, end - MAX_PHRASE_CHARS)
    after = _AFTER_IS.fullmatch(text, start, end)
    if after is not None:
        value = read_value(after[1], comma_decimal)
        if value is not None:
            unknown = _UNKNOWNS.search(text[start : after.start(1)])
            return _Answer(after.start(1), end, None if unknown else value)
    quantities = list(_QUANTITY.finditer(text, start, end))
    if not quantities:
        return _Answer(start, end, None)
    return _quantity(text, quantities[-1], end, comma_decimal)


def _only_quantity(text: str, start: int, end: int, comma_decimal: bool) -> _Answer:
    """Return the one quantity of a phrase; unread if it has none, or several values."""
    matches = list(_QUANTITY.finditer(text, start, end))
    if not 0 < len(matches) <= MAX_QUANTITIES:
        return _Answer(start, end, None)
    quantities = [_quantity(text, match, end, comma_decimal) for match in matches]
    last = quantities[-1]
    same = all(_are_same(other.value, last.value) for other in quantities)
    return last if same else _Answer(last.start, last.end, None)


def _quantity(text: str, match: re.Match[str], end: int, comma_decimal: bool) -> _Answer:
    """Return a number of a sentence with its unit; unread if it is part of a larger formula."""
    at, stop = match.span()
    unit = _UNIT_WORDS.match(text, stop, end)
    if unit is not None and read_unit(unit[0].strip()) is not None:
        stop = unit.end()
    elif unit is not None and read_unit(unit[1]) is not None:
        stop = unit.end(1)
    alone = _is_alone(text[max(0, at - _NEAR_CHARS) : at], match[0], text[stop:end])
    return _Answer(at, stop, read_value(text[at:stop], comma_decimal) if alone else None)


def _is_alone(before: str, quantity: str, after: str) -> bool:
    """Whether a number is no part of a larger formula or of a word."""
    if quantity[0] in "+-" and _OPERAND.search(before):
        return False
    return not _PART_BEFORE.search(before) and not _PART_AFTER.match(after)
