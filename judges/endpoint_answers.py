"""Reading a server's answers to a label question: into log-odds, or into a reason why there are none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Labels = tuple[str, str]
"""The positive label and the negative one."""
PSEUDO_COUNT = 0.5
"""Added to both counts, so that unanimous samples do not mean certainty (the Jeffreys prior)."""
LEAST_MASS = 0.01
"""Share of the first token's probability that must lie on labels; less means that something else was said."""
_REFUSALS = re.compile(r"\b(?:i can(?:no|')t|i am unable|i'm unable|i won't|as an ai)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """Log-odds (nats) of the positive label, or None with the reason."""

    log_odds: float | None
    reason: str = ""
    num_tokens: int = 0
    has_logprobs: bool = False

    @property
    def probability(self) -> float | None:
        """The positive label's share."""
        return None if self.log_odds is None else 1 / (1 + math.exp(-max(-700.0, min(700.0, self.log_odds))))


def read_logprobs(answers: Sequence[Any], labels: Labels) -> Reading:
    """From the alternatives to the first token: all spellings of a label (case, leading blank) are summed.

    A label that is not among the alternatives has at most the probability of the least likely of them.
    """
    (answer,) = answers
    content = getattr(answer.choices[0].logprobs, "content", None) if answer.choices else None
    tokens = _tokens(answers)
    if not content:
        return Reading(None, "no logprobs", tokens)
    alternatives = [(top.token, top.logprob) for top in content[0].top_logprobs or ()]
    if not alternatives:
        return Reading(None, "no logprobs", tokens)
    masses = [sum(math.exp(lp) for token, lp in alternatives if _spells(token, label)) for label in labels]
    floor = math.exp(min(lp for _, lp in alternatives))
    if sum(masses) < LEAST_MASS:
        return Reading(None, "off_menu", tokens, has_logprobs=True)
    positive, negative = (mass or floor for mass in masses)
    return Reading(math.log(positive) - math.log(negative), "", tokens, has_logprobs=True)


def _spells(token: str, label: str) -> bool:
    return token.strip().casefold() == label.casefold()


def read_text(answers: Sequence[Any], labels: Labels) -> Reading:
    """From one answer's last allowed label; it counts as one vote."""
    verdict, reason = _label_in(answers[0], labels)
    votes = {"positive": (1, 0), "negative": (0, 1)}.get(verdict)
    return Reading(_odds(*votes) if votes else None, reason, _tokens(answers))


def read_counts(answers: Sequence[Any], labels: Labels) -> Reading:
    """From the labels of several samples; samples without one are left out."""
    found = [_label_in(answer, labels) for answer in answers]
    positive, negative = (sum(verdict == side for verdict, _ in found) for side in ("positive", "negative"))
    if positive + negative == 0:
        return Reading(None, found[0][1], _tokens(answers))
    return Reading(_odds(positive, negative), "", _tokens(answers))


def _odds(positive: int, negative: int) -> float:
    return math.log((positive + PSEUDO_COUNT) / (negative + PSEUDO_COUNT))


def _label_in(answer: Any, labels: Labels) -> tuple[str, str]:
    """("positive", ""), ("negative", "") or ("", reason) from a message."""
    if not answer.choices:
        return "", "backend"
    choice = answer.choices[0]
    text = choice.message.content or ""
    words = [word.casefold() for word in re.findall(r"\w+", text)]
    allowed = {label.casefold(): side for label, side in zip(labels, ("positive", "negative"), strict=True)}
    for word in reversed(words):
        if word in allowed:
            return allowed[word], ""
    if getattr(choice.message, "refusal", None) or choice.finish_reason == "content_filter" or _REFUSALS.search(text):
        return "", "refusal"
    if choice.finish_reason == "length":
        return "", "truncated"
    return "", "off_menu" if words else "parse"


def _tokens(answers: Sequence[Any]) -> int:
    return sum(a.usage.total_tokens or 0 for a in answers if getattr(a, "usage", None) is not None)
