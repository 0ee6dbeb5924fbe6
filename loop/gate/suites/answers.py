"""Suites on answers to prompts: checked by a verifier, or compared by a judge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from infra.console import note, warn
from infra.records import unit_hash
from infra.records.labeler import LabelerErrors
from infra.store import Store
from judges.config import JudgeConfig
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge
from judges.making.context import Verifier
from judges.measuring.datasheet import is_admitted, measure_on_gold
from judges.measuring.gold import GoldSet
from judges.measuring.probes.making import gold_set
from judges.measuring.win_rates import corrected_win_rate
from judges.rubrics import Rubric, load_rubric
from judges.verifying.checks import Claim
from loop.gate.config import LABELER_SUITE, GateConfig, SuiteConfig
from loop.gate.rules import SuiteRule, suite_rule
from loop.gate.suites.base import Item, Metric, Scorer
from loop.gate.suites.item_files import FileSuite, NamedSuite, with_units
from loop.gate.suites.items.file_items import FileItem


@dataclass(frozen=True)
class Referee:
    """A judge of answers, with its measured errors for one rubric and elicitation method."""

    judge: Judge
    rubric: Rubric
    method: str
    errors: LabelerErrors
    is_admitted: bool
    """Whether it is better than chance."""

    @property
    def description(self) -> str:
        """The judge, its rubric and its accuracy, for the terminal."""
        right = self.errors.right_a + self.errors.right_b
        pairs = self.errors.num_a + self.errors.num_b
        return f"{self.judge.name} by {self.rubric.id}, right on {right} of {pairs} pairs"


def measure_referee(judge: Judge, config: JudgeConfig, store: Store) -> Referee:
    """Measure a judge on the constructed pairs of its answer rubric; store the datasheet."""
    rubric = load_rubric(config.answer_rubric)
    pairs = tuple(pair for probe in rubric.probes for pair in gold_set(probe).pairs)
    gold = GoldSet("built-in/" + "+".join(rubric.probes), pairs)
    measured = measure_on_gold(judge, rubric, gold)
    store.labelers.add_gold_sheet(measured.sheet, measured.items, measured.rows)
    sheet = measured.sheet
    return Referee(judge, rubric, sheet.method, sheet.errors, is_admitted(sheet))


class CheckedAnswers(FileSuite):
    """1 if a verifier finds the answer right: output, arithmetic, JSON, pattern or quote."""

    metric = "accuracy"
    chunk = 16

    def __init__(
        self,
        store: Store,
        rule: SuiteRule,
        config: SuiteConfig,
        verifier: Verifier,
        salt: str,
        items: Mapping[str, FileItem] | None = None,
    ) -> None:
        super().__init__(store, rule, config, salt, items)
        self._verifier = verifier

    @override
    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        answers = scorer.all_answers([item.content.prompt for item in items])
        return [self._marks(items, texts) for texts in answers]

    def _marks(self, items: Sequence[Item], texts: Sequence[str]) -> list[float]:
        claims = [
            Claim(item.content.check, item.content.reference, text)
            for item, text in zip(items, texts, strict=True)
        ]
        return [float(is_right) for is_right in self._verifier.check(claims)]


class JudgedAnswers(NamedSuite):
    """Every model answers each prompt; its score is the probability that it beats the champion.

    The champion's own score is one half. If the judge is not admitted for the rubric, no item is
    drawn, and a suite that must pass blocks promotion. An item with an answer that the judge could
    not compare has no score for any model.
    """

    metric = "win_rate"
    chunk = 16

    def __init__(
        self,
        store: Store,
        rule: SuiteRule,
        config: SuiteConfig,
        referee: Referee,
        salt: str,
        items: Mapping[str, FileItem],
    ) -> None:
        super().__init__(store, rule, config, salt, with_units(items))
        self._referee = referee
        if referee.is_admitted:
            note(f"{rule.name} is judged by {referee.description}")
        else:
            warn(
                f"{rule.name} is not scored: {referee.description}, which is no better than chance"
            )
            self.limit = 0

    @override
    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        answers = scorer.all_answers([item.content.prompt for item in items])
        rows = np.array(
            [self._win_shares(items, texts, answers[scorer.num_candidates]) for texts in answers]
        )
        rows[:, np.isnan(rows).any(axis=0)] = math.nan
        return [[float(value) for value in row] for row in rows]

    def _win_shares(
        self, items: Sequence[Item], texts: Sequence[str], champion: Sequence[str]
    ) -> list[float]:
        """Probability that each text beats the champion's; equal texts tie without a question."""
        referee = self._referee
        pairs = [
            Pair(item.item_id, item.content.prompt, text, other, reference=item.content.reference)
            for item, text, other in zip(items, texts, champion, strict=True)
            if text != other
        ]
        compared = referee.judge.compare(referee.rubric, referee.method, pairs) if pairs else []
        comparisons = iter(compared)
        return [
            0.5 if text == other else _win_share(next(comparisons))
            for text, other in zip(texts, champion, strict=True)
        ]

    @override
    def summarise(self, candidate: Sequence[float]) -> list[Metric]:
        """The candidate's win rate corrected for the errors of the judge, if that is possible."""
        wins, losses = sum(v > 0.5 for v in candidate), sum(v < 0.5 for v in candidate)
        if wins + losses == 0:
            return []
        rate = corrected_win_rate(wins, wins + losses, self._referee.errors)
        if rate.corrected is None:
            note(f"no corrected win rate on {self.name}: {rate.reason}")
            return []
        error = (rate.corrected.high - rate.corrected.low) / (2 * 1.96)
        return [Metric("corrected_win_rate", rate.corrected.value, error, wins + losses)]


def _win_share(comparison: Comparison) -> float:
    """Probability of the first text, with ties counted half; NaN if it is unscored."""
    if not comparison.is_scored:
        return math.nan
    first, _, tie = comparison.distribution
    return first + tie / 2


def labeler_prompts(store: Store, generation: int, count: int) -> dict[str, FileItem]:
    """Up to `count` prompts of a generation by id, those without a check first.

    Answers to prompts with a check are verified, so the labeler is needed least there.
    """
    samples = store.labels.samples(generation, "prompt") + store.labels.samples(
        generation, "demonstration"
    )
    samples.sort(key=lambda s: (bool(s.check), unit_hash("labeler", s.sample_id)))
    return {s.sample_id: FileItem(prompt=s.prompt, unit=s.document_id) for s in samples[:count]}


def labeler_suite(
    store: Store, config: GateConfig, items: Mapping[str, FileItem], labeler: Referee, salt: str
) -> JudgedAnswers:
    """The labeler compares candidate and champion. It is reported and never decides."""
    suite = SuiteConfig(file="", kind="judged", role="report", items=config.labeler_prompts)
    rule = suite_rule(LABELER_SUITE, suite, config)
    return JudgedAnswers(store, rule, suite, labeler, salt, items)
