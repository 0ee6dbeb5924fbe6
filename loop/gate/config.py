"""The `[gate]` section of a recipe: what is tested, against whom, at which level."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from infra.config import Section
from judges.config import JudgeConfig
from loop.gate.evidence import GateRule
from loop.gate.levels import LevelKind

UnitKind = Literal["document", "page", "domain"]
Role = Literal["primary", "guard", "report"]
Kind = Literal[
    "choice",
    "pairs",
    "executed",
    "judged",
    "lm_eval",
    "distinct_2",
    "self_bleu",
    "word_entropy",
    "length",
    "kl_to_anchor",
]
LOWER_IS_BETTER = ("bits_per_byte", "self_bleu", "length", "kl_to_anchor")
"""Measures of which less is better, text that is longer for no reason among them."""
LABELER_SUITE = "labeler"
"""The suite in which the labeler compares a candidate's answers with the champion's."""
RESERVED = ("bits_per_byte", "executed_examples", "continuations", "sealed_exam", LABELER_SUITE)
"""Names under which the gate stores what every recipe has."""


class SuiteConfig(Section):
    """One suite of items from a file, `[gate.suites.NAME]`."""

    file: str
    """JSON lines: `prompt`, `choices`, `answer` (a place in choices); or `good`, `bad`; or `prompt`
    with a `check`, or alone, perhaps with a `reference`. `unit` ties items together. For `lm_eval`
    a task's name, or its YAML file."""
    kind: Kind
    """How an item is scored; of the last five, from samples of the answers to each prompt."""
    judge: JudgeConfig = JudgeConfig()
    """Who compares answers of kind `judged`; not who labels."""
    role: Role = "guard"
    """A primary suite must show a gain over the champion; a guard, no loss beyond `margin`; or it
    is only reported."""
    margin: float = Field(default=0.2, gt=0, lt=1)
    """How much worse a mean score, in its own unit, a guard lets pass: than the anchor's, than the
    best so far."""
    items: int = Field(default=200, gt=0)
    """Items of one attempt, at most."""
    reuse: bool = True
    """The same items in every attempt, of which only whether it passed may be used; promotions are
    stamped weak."""


class GateConfig(Section):
    """The `[gate]` section: the tests' constants, what they are made on, and the vetoes."""

    level: LevelKind = "strict"
    """`strict`: no false promotion in the life of a run, with chance 1 - alpha. `discovery`: of the
    promotions at most the share alpha is false, in expectation."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    reject_alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance, in one attempt, of rejecting a candidate that is better; what is not rejected is
    held."""
    clip_bits: float = Field(default=0.2, gt=0)
    """B: gains beyond it, in bits per byte, count as it; near twice the gain aimed for has the most
    power."""
    delta0: float = Field(default=0.0, ge=0, lt=1)
    """Smallest mean of the clipped gain, a share of `clip_bits`, that does not count as better."""
    aim_bits: float = Field(default=0.1, gt=0)
    """The gain in bits per byte that the recipe aims for; a budget that could never show it is
    refused."""
    margin_bits: float = Field(default=0.05, gt=0)
    """Bits per byte by which a candidate may be worse than the anchor, and than the best so far."""
    prior_second_moment: float = Field(default=0.1, gt=0, le=1)
    unit: UnitKind = "document"
    """What is independent of the rest: all documents of a page or a domain count as one."""
    unit_documents: int = Field(default=4, gt=0)
    """Documents of one unit that are scored, at most."""
    reuse_documents: bool = False
    """Begin every attempt with the same documents, for sites that bring no new ones; promotions are
    stamped weak, and each attempt needs more of them. Without it a candidate is held when fresh
    documents run out."""
    document_chars: int = Field(default=800, ge=50)
    """Length of the window of a held-out document that is scored."""
    chunk_documents: int = Field(default=8, gt=0)
    """Units drawn and scored between two looks at the evidence."""
    suites: dict[str, SuiteConfig] = {}
    """Further suites by name."""
    labeler_prompts: int = Field(default=16, ge=0)
    """Prompts on which the labeler compares the candidate with the champion; only for the gap
    between its word and the measures. A candidate that it finds better and no primary measure does
    is rejected."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that score; 0: one for each GPU, or one."""
    exam_documents: int = Field(default=40, ge=0)
    """Sealed documents on which a promoted champion is scored beside the anchor; no decision reads
    the result."""
    veto_prompts: int = Field(default=24, ge=0)
    """Executed examples of held-out pages; significantly fewer right answers than the champion's
    are a veto."""
    veto_texts: int = Field(default=8, ge=0)
    """Held-out texts that all models go on with, to see whether the candidate repeats itself or has
    left the anchor."""
    min_distinct_ratio: float = Field(default=0.7, ge=0)
    """Smallest share of the champion's distinct-2 that a candidate must keep."""
    max_kl: float = Field(default=3.0, gt=0)
    """Nats a token by which the candidate's continuations may be likelier under it than under the
    anchor."""

    @field_validator("suites")
    @classmethod
    def _names_are_free(cls, suites: dict[str, SuiteConfig]) -> dict[str, SuiteConfig]:
        for name in suites:
            if name in RESERVED or not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(
                    f"a suite cannot be called {name!r}; use letters, digits, _ and -, and none of "
                    + ", ".join(RESERVED)
                )
        return suites

    def higher_is_better(self, suite: str) -> bool:
        """Whether more is better of what a suite measures."""
        kind = self.suites[suite].kind if suite in self.suites else suite
        return kind not in LOWER_IS_BETTER

    def primary_rule(self, clip: float) -> GateRule:
        """The test that a candidate is better than the champion."""
        return GateRule(self.reject_alpha, clip, self.delta0, self.prior_second_moment)

    def guard_rule(self, clip: float, margin: float) -> GateRule:
        """The test that a candidate is not worse than another model by more than a margin."""
        return GateRule(
            self.reject_alpha, clip, -min(margin / clip, 0.99), self.prior_second_moment
        )
