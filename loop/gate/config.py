"""The `[gate]` section of a recipe: what is tested, against whom, at which level."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from infra.config import Section
from judges.config import JudgeConfig
from loop.gate.evidence import GateRule
from loop.gate.levels import LevelKind

UnitKind = Literal["document", "page", "domain"]
Role = Literal["primary", "guard", "report"]
VarietyKind = Literal["distinct_2", "self_bleu", "word_entropy", "length", "kl_to_anchor"]
Kind = Literal["bits", "choice", "pairs", "executed", "judged", "lm_eval", VarietyKind]
BITS = "bits"
"""Kind of a suite: bits of a gold answer given its prompt, per byte of the answer."""
ANSWERS, RIGHT_ANSWERS = "answers", "right_answers"
"""The suites of questions about held-out pages, for the aim `answers`: bits of the gold
answers and, reported, whether generated answers are right."""
LABELER_SUITE = "labeler"
"""The suite in which the labeler compares a candidate's answers with the champion's."""
EXAM = "exam"
"""The suite of the gate part of the user's exam, `[aim.exam]`."""
RESERVED = (
    "bits_per_byte",
    "executed_examples",
    "continuations",
    "sealed_exam",
    "sealed_items",
    EXAM,
    ANSWERS,
    RIGHT_ANSWERS,
    LABELER_SUITE,
)
"""Names under which the gate stores what every recipe has."""


_SUITE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SMALLEST_WINDOW = 20
"""Fewest characters of one part of a held-out document."""


class SuiteConfig(Section):
    """One suite of items from a file, `[gate.suites.NAME]`."""

    file: str
    """JSON Lines with `prompt`, `choices` and `answer` (an index); or `prompt` and `gold`; or
    `good` and `bad`; or `prompt`, alone or with `check` and `reference`. Items with the same `unit`
    are not independent. For `bits` also `olmo:TASK` or `lm_eval:TASK`. For `lm_eval`, the name of a
    task or its YAML file."""
    kind: Kind
    """How an item is scored. The last five kinds are computed from several sampled answers to each
    prompt."""
    judge: JudgeConfig = JudgeConfig()
    """Judge for kind `judged`; it must not be the labeler."""
    role: Role = "guard"
    """`primary`: must show a gain over the champion. `guard`: must show no loss beyond `margin`.
    `report`: has no influence."""
    margin: float | None = Field(default=None, gt=0, lt=1)
    """How much worse a candidate may be than the anchor and than the best model so far, in the unit
    of the suite's score; unset is `gate.margin_bits` for kind `bits` and 0.2 for all others."""
    items: int = Field(default=200, gt=0)
    """Largest number of items per attempt."""
    reuse: bool = True
    """Use the same items in every attempt; promotions are then marked as weak. Otherwise each item
    is used once."""


class GateConfig(Section):
    """Constants of the tests, their data, and the vetoes."""

    level: LevelKind = "strict"
    """`strict`: the probability of any false promotion in a run is at most `alpha`. `discovery`:
    the expected share of false promotions among all promotions is at most `alpha`."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Error level of the whole run: a probability for `strict`, an expected share for
    `discovery`."""
    reject_alpha: float = Field(default=0.05, gt=0, lt=1)
    """Probability, per test, of rejecting a candidate although its true gain is not below the bound
    of the test."""
    clip_bits: float = Field(default=0.2, gt=0, le=64)
    """B, in bits per byte: gains and losses are clipped at this. About twice `aim_bits` gives the
    most power."""
    delta0: float = Field(default=0.0, ge=0, lt=1)
    """The mean clipped gain must be above this to count as better, as a share of `clip_bits`."""
    aim_bits: float = Field(default=0.1, gt=0)
    """Gain that the recipe aims for, in bits per byte. A recipe whose gate budget could never show
    it is refused."""
    margin_bits: float = Field(default=0.05, gt=0)
    """How much worse a candidate may be than the anchor and than the best model so far, in bits per
    byte."""
    unit: UnitKind = "document"
    """What counts as one independent observation: a document, or all documents of a page or of a
    domain."""
    unit_documents: int = Field(default=4, gt=0)
    """Largest number of documents of one unit that are scored."""
    reuse_documents: bool = False
    """Start every attempt with the same documents, for sites without new ones. Promotions are then
    marked as weak, and later attempts need more evidence. Otherwise a candidate is held when fresh
    documents run out."""
    document_chars: int = Field(default=800, ge=50, le=1_000_000)
    """Length of the parts of a held-out document that are scored, in characters."""
    document_windows: int = Field(default=2, gt=0, le=16)
    """Number of parts of a held-out document that are scored, from as many equal stretches of it.
    Several short parts say more of a document than a long one."""
    chunk_documents: int = Field(default=8, gt=0)
    """Number of units drawn and scored between two looks at the evidence."""
    suites: dict[str, SuiteConfig] = {}
    """Additional suites by name."""
    labeler_prompts: int = Field(default=16, ge=0)
    """Number of prompts on which the labeler compares the candidate with the champion; 0 skips it.
    The result is reported. If the labeler prefers the candidate and no primary measure rose, the
    candidate is rejected."""
    picking_alpha: float = Field(default=0.15, ge=1e-9, lt=1)
    """Largest probability that a verdict on picking is wrong. A generation can at most double the
    evidence, so a verdict needs three generations at 0.15, and five at 0.05."""
    picking_worth_bits: float = Field(default=0.01, ge=0)
    """Smallest gain of picked over random passages that picking is worth, in the unit of the
    primary suite (bits per byte). On evidence that it is less, passages are drawn at random."""
    report_items: int = Field(default=64, ge=0)
    """Largest number of items per attempt of all suites that are only reported, the labeler's among
    them, which share it evenly. They are measured after the decision."""
    num_workers: int = Field(default=0, ge=0)
    """Number of scoring processes; 0 uses one per GPU, or one without GPUs."""
    exam_documents: int = Field(default=40, ge=0)
    """Number of sealed documents on which a promoted champion and the anchor are scored; no
    decision reads the result. 0 scores none; a sealed part of an exam is scored all the same."""
    veto_prompts: int = Field(default=24, ge=0)
    """Number of executed examples of held-out pages. Significantly fewer right answers than the
    champion's are a veto."""
    veto_texts: int = Field(default=8, ge=0)
    """Number of held-out texts that all models continue, to measure repetition and the KL
    divergence to the anchor."""
    min_distinct_ratio: float = Field(default=0.7, ge=0, le=1)
    """Smallest ratio of the candidate's distinct-2 to the champion's; below it is a veto."""
    max_kl: float = Field(default=3.0, gt=0)
    """Largest KL divergence to the anchor on the candidate's own continuations, in nats per token;
    above it is a veto."""

    @model_validator(mode="after")
    def _thresholds_are_below_the_clip(self) -> GateConfig:
        """Gains are clipped, so none can reach a threshold at the clip: a guard would refuse
        nothing, and picking could never be worth it.
        """
        for key in ("margin_bits", "picking_worth_bits"):
            if getattr(self, key) >= self.clip_bits:
                raise ValueError(
                    f"{key} = {getattr(self, key):g} is not below clip_bits = {self.clip_bits:g},"
                    " at which gains are clipped"
                )
        return self

    @model_validator(mode="after")
    def _margins_are_below_the_clip(self) -> GateConfig:
        """What is cut to the clip can never be worse by more than it."""
        for name, suite in self.suites.items():
            if suite.kind == BITS and suite.margin is not None and suite.margin >= self.clip_bits:
                raise ValueError(
                    f"suites.{name}.margin = {suite.margin:g} is not below clip_bits ="
                    f" {self.clip_bits:g}, at which gains are clipped"
                )
        return self

    @model_validator(mode="after")
    def _windows_hold_some_text(self) -> GateConfig:
        chars = self.document_chars // self.document_windows
        if chars < SMALLEST_WINDOW:
            raise ValueError(
                f"document_chars = {self.document_chars} in document_windows ="
                f" {self.document_windows} parts are {chars} characters each; they need at least"
                f" {SMALLEST_WINDOW}"
            )
        return self

    @field_validator("suites")
    @classmethod
    def _names_are_free(cls, suites: dict[str, SuiteConfig]) -> dict[str, SuiteConfig]:
        for name in suites:
            if name in RESERVED or not _SUITE_NAME.fullmatch(name):
                raise ValueError(
                    f"a suite cannot be called {name[:40]!r}; use up to 64 letters from a to z, "
                    f"digits, _ and -, and none of {', '.join(RESERVED)}"
                )
        return suites

    def primary_rule(self, clip: float) -> GateRule:
        """The test that a candidate is better than the champion."""
        return GateRule(self.reject_alpha, clip, self.delta0)

    def guard_rule(self, clip: float, margin: float) -> GateRule:
        """The test that a candidate is not worse than another model by more than a margin."""
        return GateRule(self.reject_alpha, clip, -min(margin / clip, 0.99))
