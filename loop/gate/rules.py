"""What the recipe fixes of each suite before anything is scored: its role, clip, margin and items.

A gate test and a later check of it read the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loop.gate.aim import AimConfig
from loop.gate.config import (
    ANSWERS,
    BITS,
    EXAM,
    RIGHT_ANSWERS,
    GateConfig,
    Role,
    SuiteConfig,
)
from loop.gate.levels import attempt_level, log_threshold, num_outcomes

BITS_PER_BYTE = "bits_per_byte"
"""The suite of held-out text, and its metric."""
DEFAULT_MARGIN = 0.2
"""Margin of suites whose score is a share."""
LOWER_IS_BETTER = (BITS, "self_bleu", "length", "kl_to_anchor")
"""Kinds of suites of which less is better, text that is longer for no reason among them."""
CLIPS = {"judged": 0.5, "word_entropy": 2.0, "kl_to_anchor": 2.0}
"""Largest difference that counts by kind of suite: in probability of a win, in bits a word and in
nats a token. For shares it is 1, for bits per byte `gate.clip_bits`."""


@dataclass(frozen=True)
class SuiteRule:
    """How a suite takes part in a decision."""

    name: str
    role: Role
    clip: float
    """Larger differences between two models are cut to this, in the unit of the suite."""
    margin: float
    """How much worse than the anchor or the best model a candidate may be."""
    reuse: bool
    """Whether every attempt uses the same items."""
    higher_is_better: bool

    @property
    def sign(self) -> float:
        """What a difference of scores is multiplied with, so that more is better."""
        return 1.0 if self.higher_is_better else -1.0


def suite_rule(name: str, suite: SuiteConfig, gate: GateConfig) -> SuiteRule:
    """The rule of a suite that is configured as `[gate.suites.NAME]`."""
    is_bits = suite.kind == BITS
    default = gate.margin_bits if is_bits else DEFAULT_MARGIN
    return SuiteRule(
        name=name,
        role=suite.role,
        clip=gate.clip_bits if is_bits else CLIPS.get(suite.kind, 1.0),
        margin=default if suite.margin is None else suite.margin,
        reuse=suite.reuse,
        higher_is_better=suite.kind not in LOWER_IS_BETTER,
    )


def text_rule(aim: AimConfig, gate: GateConfig) -> SuiteRule:
    """The rule of held-out text, which is a guard if it is not the aim."""
    role: Role = "primary" if aim.kind == "text" else "guard"
    return SuiteRule(
        BITS_PER_BYTE, role, gate.clip_bits, gate.margin_bits, gate.reuse_documents, False
    )


def checked_answers(aim: AimConfig) -> SuiteConfig:
    """The suite that reports, for the aim `answers`, which generated answers are right."""
    return aim.answers.suite().model_copy(update={"kind": "executed", "role": "report"})


def recipe_rules(aim: AimConfig, gate: GateConfig) -> list[SuiteRule]:
    """The rules of all suites of a recipe, in order: that of the aim, held-out text, the named."""
    named = [suite_rule(name, suite, gate) for name, suite in gate.suites.items()]
    rest = [text_rule(aim, gate), *(one for one in named if one.name != EXAM)]
    if aim.kind == "text":
        return rest
    if aim.kind == "exam":
        return [suite_rule(EXAM, aim.exam.suite(), gate), *rest]
    asked = suite_rule(ANSWERS, aim.answers.suite(), gate)
    return [asked, suite_rule(RIGHT_ANSWERS, checked_answers(aim), gate), *rest]


@dataclass(frozen=True)
class AttemptRule:
    """What an attempt asks of each of its candidates."""

    config: GateConfig
    number: int
    num_promoted: int
    """Promotions before this attempt."""
    num_candidates: Sequence[int]
    """Candidates that were registered for each attempt up to this one, in order; those of an
    attempt share its level, also if some cannot be scored."""
    rules: Sequence[SuiteRule]

    @property
    def level(self) -> float:
        """The level of each candidate's tests: its share of the attempt's level."""
        config = self.config
        level = attempt_level(config.level, config.alpha, self.number, self.num_promoted)
        return level / self.num_candidates[-1]

    @property
    def deciding(self) -> list[SuiteRule]:
        """The rules of the suites that decide."""
        return [rule for rule in self.rules if rule.role != "report"]

    def threshold(self, rule: SuiteRule) -> float:
        """The log evidence that a test on a suite needs."""
        num_reused = sum(one.reuse for one in self.deciding)
        outcomes = [num_outcomes(count, num_reused) for count in self.num_candidates[:-1]]
        return log_threshold(self.level, outcomes if rule.reuse else ())
