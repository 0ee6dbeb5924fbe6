"""Reads a server's answers to a label question: as label log-probabilities, or as a failure
reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from judges.judgment.answers import LabelAnswer, TokenUsage

Labels = tuple[str, ...]
PSEUDO_COUNT = 0.5
"""Added to every label's count (the Jeffreys prior), so that unanimous samples do not give
certainty."""
MIN_LABEL_MASS = 0.01
"""Minimum probability of the first token that must be on labels. With less, the model answered
something else."""
MIN_PREFIX_CHARS = 3
"""Minimum characters of a token to be recognised as the beginning of a longer label."""
NO_LOGPROBS = "the server returns no log-probabilities"
_REFUSALS = re.compile(
    r"\b(?:i can(?:no|')t|i am unable|i'm unable|i won't|as an ai)\b", re.IGNORECASE
)


def first_alternatives(answer: Any) -> list[tuple[str, float]]:
    """Return the (token, log-probability) alternatives for the first token; empty if the server
    returns none.
    """
    content = getattr(answer.choices[0].logprobs, "content", None) if answer.choices else None
    return [(top.token, top.logprob) for top in content[0].top_logprobs or ()] if content else []


def read_logprobs(answers: Sequence[Any], labels: Labels) -> LabelAnswer:
    """Read label probabilities from the alternatives for the first token. All spellings of a label
    (case, leading space) are summed.

    A label that is not among the alternatives gets the probability of the least likely alternative,
    which is an upper bound.
    """
    (answer,) = answers
    alternatives, usage = first_alternatives(answer), _usage(answers)
    if not alternatives:
        return LabelAnswer(None, "backend", usage, NO_LOGPROBS)
    raw = json.dumps(dict(alternatives))
    masses = [
        sum(math.exp(lp) for token, lp in alternatives if _spells(token, label)) for label in labels
    ]
    floor = math.exp(min(lp for _, lp in alternatives))
    if sum(masses) < MIN_LABEL_MASS:
        return LabelAnswer(None, "off_menu", usage, raw)
    return LabelAnswer(tuple(math.log(mass or floor) for mass in masses), "", usage, raw)


def _spells(token: str, label: str) -> bool:
    start, wanted = token.strip().casefold(), label.casefold()
    return start == wanted or (len(start) >= MIN_PREFIX_CHARS and wanted.startswith(start))


def read_text(answers: Sequence[Any], labels: Labels) -> LabelAnswer:
    """Read the last allowed label of one answer; it counts as one vote."""
    return read_counts(answers[:1], labels)


def read_counts(answers: Sequence[Any], labels: Labels) -> LabelAnswer:
    """Read label probabilities from the labels of several samples; samples without a label are
    ignored.
    """
    labels_read = [_read_label(answer, labels) for answer in answers]
    raw = json.dumps([_text(answer) for answer in answers])
    counts = [sum(label == one for label, _ in labels_read) for one in labels]
    if sum(counts) == 0:
        return LabelAnswer(None, labels_read[0][1], _usage(answers), raw)
    return LabelAnswer(tuple(math.log(n + PSEUDO_COUNT) for n in counts), "", _usage(answers), raw)


def _text(answer: Any) -> str:
    return (answer.choices[0].message.content or "") if answer.choices else ""


def _read_label(answer: Any, labels: Labels) -> tuple[str, str]:
    """Return (label, "") of a message, or ("", reason)."""
    if not answer.choices:
        return "", "backend"
    choice, text = answer.choices[0], _text(answer)
    words = [word.casefold() for word in re.findall(r"\w+", text)]
    allowed = {label.casefold(): label for label in labels}
    for word in reversed(words):
        if word in allowed:
            return allowed[word], ""
    if _is_refusal(choice, text):
        return "", "refusal"
    if choice.finish_reason == "length":
        return "", "truncated"
    return "", "off_menu" if words else "parse"


def _is_refusal(choice: Any, text: str) -> bool:
    if getattr(choice.message, "refusal", None) or choice.finish_reason == "content_filter":
        return True
    return _REFUSALS.search(text) is not None


def _usage(answers: Sequence[Any]) -> TokenUsage:
    counted = [a.usage for a in answers if getattr(a, "usage", None) is not None]
    return TokenUsage(
        sum(u.prompt_tokens or 0 for u in counted), sum(u.completion_tokens or 0 for u in counted)
    )
