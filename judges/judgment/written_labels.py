"""Reads the label of a written reply, in any language.

A reply has a label only if it says so plainly: as JSON with the key `label`, as the whole reply or
a line of its own, after a last "Answer:", or as the first word before a punctuation mark. What a
model thinks aloud (`<think>`) is not read, nor a reply that was cut off. Everything else has no
label: in "B is better, not A", "a better answer" and "A or B" a rule that looks for labels anywhere
reads what was not said.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import regex

_THOUGHT = regex.compile(
    r"(?is)<(think|thinking|thought|reasoning|reflection)>.*?</\1>|\[THINK\].*?\[/THINK\]"
)
_THOUGHT_END = regex.compile(r"(?i)</(?:think|thinking|thought|reasoning|reflection)>|\[/THINK\]")
_THOUGHT_START = regex.compile(r"(?i)<(?:think|thinking|thought|reasoning|reflection)>|\[THINK\]")
_ANSWER = regex.compile(
    r"(?im)(?:^|(?<=[.!?;。！？；][\s*_]*))\W*(?:(?:my|the|so|therefore|meine?|die|das|also|我的|所以|因此)[\s,，]*)*"
    r"(?:(?:final|last|overall|endgültige[rs]?|abschließende[rs]?|最终|最后的?)\s*)?"
    r"(?:answer|verdict|label|decision|choice|judge?ment|conclusion"
    r"|antwort|urteil|entscheidung|fazit|bewertung|答案|结论|判断|回答|选择|裁决|判定)"
    r"[\s*_]*(?:is|ist|lautet|是|为)?[\s*_]*[:：=]?[\s*_]*(?P<rest>.+)$"
)
_MARKS = r"\s\"'“”„‚‘’«»「」『』`*_~#>()\[\]{}（）【】$\\"
_WRAPPING = regex.compile(rf"^[{_MARKS}]+|[{_MARKS}.,;:!?。．，、；：！？…]+$")
_AFTER_LABEL = regex.compile(
    r"^[\s*_`\"'”’」』)\]）】]*(?:[.,;:!?。．，；：！\n]|[-–—]\s|[-–—]{2}|$)"
)
_FENCE = regex.compile(r"(?s)^```[a-zA-Z]*\s*(.*?)\s*```$")
_REFUSALS = regex.compile(
    r"(?i)\bi can(?:no|['’])t\b|\bi (?:am|['’]m) (?:unable|not able)\b|\bi won['’]t\b|\bas an ai\b"
    r"|\bi['’]m sorry\b|\bich kann (?:das |dies |dabei )?(?:leider )?nicht\b|\bes tut mir leid\b"
    r"|\bals (?:ki|sprachmodell)\b|我(?:无法|不能)|抱歉|对不起"
    r"|作为(?:一个)?(?:人工智能|AI|语言模型)"
)


def read_label(text: str, labels: Sequence[str], is_cut: bool = False) -> tuple[str, str]:
    """Return (label, "") of a reply, or ("", reason): truncated, refusal, off_menu or parse.

    Labels are compared without case and width. `is_cut` says that the reply ended at its limit.
    """
    spoken = without_thoughts(text)
    if spoken is None or (is_cut and spoken.strip()):
        return "", "truncated"
    by_key = {_key(label): label for label in labels}
    label = _structured(spoken, by_key)
    if label is None:
        label = next(filter(None, _plain(spoken, by_key)), "")
    if label:
        return label, ""
    if _REFUSALS.search(spoken):
        return "", "refusal"
    if not regex.search(r"\w", spoken):
        return "", "truncated" if is_cut else "parse"
    return "", "off_menu"


def without_thoughts(text: str) -> str | None:
    """Return the reply without what the model thinks aloud; None if it does not stop thinking."""
    text = _THOUGHT.sub("", text)
    ended = _THOUGHT_END.split(text)[-1]
    return None if _THOUGHT_START.search(ended) else ended


def _key(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _structured(text: str, labels: dict[str, str]) -> str | None:
    """Return the label of a reply in JSON, "" if it has none of ours, None if it is not JSON."""
    body = text.strip()
    fenced = _FENCE.match(body)
    try:
        value: Any = json.loads(fenced.group(1) if fenced else body)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = value.get("label")
    return labels.get(_key(value), "") if isinstance(value, str) else ""


def _plain(text: str, labels: dict[str, str]) -> Iterator[str]:
    """Return the labels that the forms of a plain reply give, the surest form first."""
    answers = [match.group("rest") for match in _ANSWER.finditer(text)]
    if answers:
        yield _alone(answers[-1], labels) or _leading(answers[-1], labels)
    lines = [line for line in text.splitlines() if line.strip()]
    own = [label for line in lines if (label := _alone(line, labels))]
    if len(set(own)) == 1:
        yield own[0]
    if lines and len(set(own)) < 2:
        yield _leading(lines[0], labels)


def _alone(line: str, labels: dict[str, str]) -> str:
    """Return the label that is all of a line but for marks around it, or ""."""
    return labels.get(_key(_WRAPPING.sub("", line)), "")


def _leading(line: str, labels: dict[str, str]) -> str:
    """Return the label before the first punctuation of a line in which no other label stands."""
    start = _key(_WRAPPING.sub("", line, count=1)) if line else ""
    for key in sorted(labels, key=len, reverse=True):
        rest = start[len(key) :]
        if start.startswith(key) and rest and _AFTER_LABEL.match(rest):
            others = [other for other in labels if other != key and _stands_in(other, rest)]
            return "" if others else labels[key]
    return ""


def _stands_in(label: str, text: str) -> bool:
    return regex.search(rf"(?<!\w){regex.escape(label)}(?!\w)", text) is not None
