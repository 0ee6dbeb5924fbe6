"""Whether a text denies, compares, doubts or withdraws the answer that it names, or a page number.

"not 42", "不是42", "nicht 42", "more than 42", "42 or 43", "42?" and "42 is wrong" do not give 42.
English, Chinese and German are read. A doubtful text gives no answer: it is better to call a right
answer wrong than a wrong one right.
"""

from __future__ import annotations

import re

WINDOW_CHARS = 80
"""How far before and after an answer its sentence is looked at."""


def _words(*parts: str) -> str:
    return f"(?:{'|'.join(parts)})"


_MARKUP = r"[\s\\$({\[*_]*"
_DENIAL = _words(
    r"\bnot\b",
    r"n't\b",
    r"\bcannot\b",
    r"\bnever\b",
    r"\bneither\b",
    r"\bnor\b",
    r"\bexcept\b",
    r"\bunlike\b",
    r"\brather than\b",
    r"\binstead of\b",
    r"\bwrong\b",
    r"\bincorrect\b",
    r"\bnicht\b",
    r"\bkein\w{0,2}\b",
    r"\bniemals\b",
    r"\bweder\b",
    r"\bnoch\b",
    r"\bstatt\b",
    r"\bfalsch\b",
    r"不|非|没有|绝不|错误|≠|!=",
    r"\\neq?\b",
)
_DENIED = re.compile(rf"(?i:{_DENIAL})(?P<between>[^;:.!?。；：\n]{{0,40}})$")
_RESUMED = re.compile(
    r"(?i:\b(?:but|sondern|that|dass)\b|,[^,]*\b(?:is|are|ist|sind|gives|get)\b)|而是|但|[,，][^,，]*[是为=]"
)
_COMPARED = re.compile(
    "(?i:"
    + _words(
        r"\bat (?:least|most)",
        r"\bthan",
        r"\b(?:anything|everything|nothing|all) but",
        r"\b(?:over|under|above|below|up to|almost|nearly|between|from)",
        r"\b(?:mindestens|höchstens|wenigstens|über|unter|fast|beinahe|knapp|zwischen|bis zu)",
        r"\b(?:mehr|weniger|größer|kleiner|höher) als",
        r"至少|至多|最多|最少|超过|少于|多于|大于|小于|不到|将近|几乎|接近",
        r"\b(?:page|section|step|option|question|problem|chapter|line|figure|table|part|example)",
        r"\b(?:Seite|Abschnitt|Schritt|Frage|Aufgabe|Kapitel|Zeile|Teil|Beispiel)|第",
        r"[<>≤≥]=?",
        r"\\[lg](?:eq?|t)\b",
    )
    + f"){_MARKUP}$"
)
_OR = r"\bor\b|\boder\b|或者?|还是"
_BETWEEN = rf"{_OR}|\band\b|\bund\b|\bto\b|\bbis\b|[和到至~&–—-]"
_OFFERED_BEFORE = re.compile(
    rf"(?i:(?:{_OR})|\d[^.,;:!?\n]{{0,20}}(?:{_BETWEEN})|\d\s*[,、])\s*(?:\w+\s)?{_MARKUP}$"
)
_OFFERED_AFTER = re.compile(
    rf"(?i:^[^.;:!?\n]{{0,25}}?(?:{_OR})|^[^.;:!?\n=]{{0,25}}?(?:{_BETWEEN})[\s\\$(]*\d)"
)
_REJECTED_AFTER = re.compile(
    r"(?i:^[^.!?,;(\n。，]{0,40}?"
    + _words(
        r"\b(?:not|never|nicht|cannot|wrong|incorrect|false|falsch|impossible|unmöglich)\b",
        r"n't\b|\b(?:too|zu) [^\W\d_]{3,7}\b",
        r"不|错",
    )
    + r")|^[^\w\n.;:]{0,6}[?？]|^[^。.\n]{0,4}吗"
)
_UNSURE = re.compile(
    r"(?i:\b(?:don't|do not|doesn't) know\b|\bno idea\b|\bnot sure\b|\bunsure\b|\bunknown\b"
    r"|\b(?:maybe|perhaps|possibly|might|could be|may be|unlikely|doubt\w*|guess)\b"
    r"|\b(?:vielleicht|möglicherweise|womöglich|kaum|unbekannt|könnte)\b"
    r"|\bweiß (?:es )?nicht\b|\bkeine ahnung\b)|不知道|不确定|无法|未知|可能|也许|或许|大概"
)
_UNSURE_AFTER = re.compile(
    r"(?i:[^.!?;\n]{0,12}\b(?:maybe|perhaps|possibly|guess|not sure|unsure|vielleicht)\b)"
)
_WITHDRAWN = re.compile(
    r"(?i:\b(?:wait|actually|correction|sorry|scratch that|oops|nein|korrektur|moment)\b"
    r"|[.!?,]\s+no\b(?=\W))|等等|更正|不，"
)


def is_doubted(before: str, after: str) -> bool:
    """Whether the text around an answer denies, compares, offers, asks or doubts it."""
    before, after = before[-WINDOW_CHARS:], after[:WINDOW_CHARS]
    denied = _DENIED.search(before)
    return (
        (denied is not None and not _RESUMED.search(denied["between"]))
        or _COMPARED.search(before) is not None
        or _OFFERED_BEFORE.search(before) is not None
        or _OFFERED_AFTER.search(after) is not None
        or _REJECTED_AFTER.search(after) is not None
        or _UNSURE.search(before) is not None
        or _UNSURE_AFTER.match(after) is not None
    )


def withdrawal_end(text: str) -> int | None:
    """Return where the first word ends that takes back what was before; None if there is none."""
    match = _WITHDRAWN.search(text)
    return None if match is None else match.end()
