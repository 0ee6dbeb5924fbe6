"""Reading a server's answers to a label question: into log-probabilities of labels, or into a
reason why not.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from judges.judgment.answers import LabelAnswer, Usage

Labels = tuple[str, ...]
PSEUDO_COUNT = 0.5
"""Added to every label's count, so that unanimous samples do not mean certainty (the Jeffreys
prior)."""
LEAST_MASS = 0.01
"""Share of the first token's probability that must lie on labels; less means that something else
was said."""
LEAST_PREFIX = 3
"""Characters of a longer label that its first token must show to be taken for it."""
NO_LOGPROBS = "the server gives no log-probabilities"
_REFUSALS = re.compile(
    r"\b(?:i can(?:no|')t|i am unable|i'm unable|i won't|as an ai)\b", re.IGNORECASE
)


def first_alternatives(answer: Any) -> list[tuple[str, float]]:
    """(token, log-probability) of the alternatives to the first token; none where the server gives
    none.
    """
    content = getattr(answer.choices[0].logprobs, "content", None) if answer.choices else None
    return [(top.token, top.logprob) for top in content[0].top_logprobs or ()] if content else []


def read_logprobs(answers: Sequence[Any], labels: Labels) -> LabelAnswer:
    """From the alternatives to the first token: all spellings of a label (case, leading blank) are
    summed.

    A label that is not among the alternatives has at most the probability of the least likely of
    them.
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
    if sum(masses) < LEAST_MASS:
        return LabelAnswer(None, "off_menu", usage, raw)
    return LabelAnswer(tuple(math.log(mass or floor) for mass in masses), "", usage, raw)


def _spells(token: str, label: str) -> bool:
    said, wanted = token.strip().casefold(), label.casefold()
    return said == wanted or (len(said) >= LEAST_PREFIX and wanted.startswith(said))


def read_text(answers: Sequence[Any], labels: Labels) -> LabelAnswer:
    """From one answer's last allowed label; it counts as one vote."""
    return read_counts(answers[:1], labels)


def read_counts(answers: Sequence[Any], labels: Labels) -> LabelAnswer:
    """From the labels of several samples; samples without one are left out."""
    found = [_label_in(answer, labels) for answer in answers]
    raw = json.dumps([_text(answer) for answer in answers])
    counts = [sum(label == one for label, _ in found) for one in labels]
    if sum(counts) == 0:
        return LabelAnswer(None, found[0][1], _usage(answers), raw)
    return LabelAnswer(tuple(math.log(n + PSEUDO_COUNT) for n in counts), "", _usage(answers), raw)


def _text(answer: Any) -> str:
    return (answer.choices[0].message.content or "") if answer.choices else ""


def _label_in(answer: Any, labels: Labels) -> tuple[str, str]:
    """(label, "") of a message, or ("", reason)."""
    if not answer.choices:
        return "", "backend"
    choice, text = answer.choices[0], _text(answer)
    words = [word.casefold() for word in re.findall(r"\w+", text)]
    allowed = {label.casefold(): label for label in labels}
    for word in reversed(words):
        if word in allowed:
            return allowed[word], ""
    if (
        getattr(choice.message, "refusal", None)
        or choice.finish_reason == "content_filter"
        or _REFUSALS.search(text)
    ):
        return "", "refusal"
    if choice.finish_reason == "length":
        return "", "truncated"
    return "", "off_menu" if words else "parse"


def _usage(answers: Sequence[Any]) -> Usage:
    counted = [a.usage for a in answers if getattr(a, "usage", None) is not None]
    return Usage(
        sum(u.prompt_tokens or 0 for u in counted), sum(u.completion_tokens or 0 for u in counted)
    )
