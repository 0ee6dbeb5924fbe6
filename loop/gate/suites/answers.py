"""Suites on which every model answers prompts: checked by a verifier, or judged by somebody who did
not label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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
from judges.measuring.probes import gold_set
from judges.measuring.win_rates import corrected_win_rate
from judges.rubrics import Rubric, load_rubric
from judges.verifying.checks import Claim
from loop.gate.config import GateConfig, SuiteConfig
from loop.gate.suites.base import (
    FileItem,
    FileSuite,
    HeldOutText,
    Item,
    ItemFile,
    Metric,
    NamedSuite,
    Scorer,
    Suite,
    items_of,
    with_units,
)
from loop.gate.suites.lm_eval_tasks import HARNESS, HarnessTask
from loop.gate.suites.variety import MEASURES, SampledAnswers
from loop.gate.trial.reward_hacking import LABELER

CHAMPION = 1
"""Its place among the models that a scorer holds."""


@dataclass(frozen=True)
class Referee:
    """A judge with what it was measured to be worth by one rubric, asked in one method."""

    judge: Judge
    rubric: Rubric
    method: str
    errors: LabelerErrors
    is_admitted: bool
    """Whether it is better than chance."""

    @property
    def told(self) -> str:
        """What it was measured on, for the terminal."""
        right, pairs = (
            self.errors.right_a + self.errors.right_b,
            self.errors.num_a + self.errors.num_b,
        )
        return f"{self.judge.name} by {self.rubric.id}, right on {right} of {pairs} pairs"


def measured(judge: Judge, config: JudgeConfig, store: Store) -> Referee:
    """Measure a judge on the constructed pairs of its answer rubric; the datasheet is stored."""
    rubric = load_rubric(config.answer_rubric)
    pairs = tuple(pair for probe in rubric.probes for pair in gold_set(probe).pairs)
    found = measure_on_gold(judge, rubric, GoldSet("built-in/" + "+".join(rubric.probes), pairs))
    store.add_gold_sheet(found.sheet, found.items, found.rows)
    sheet = found.sheet
    return Referee(judge, rubric, sheet.method, sheet.errors, is_admitted(sheet))


class CheckedAnswers(FileSuite):
    """1 where a verifier finds an answer right: outputs, arithmetic, JSON, patterns, quotes."""

    metric = "accuracy"
    chunk = 16

    def __init__(
        self, store: Store, name: str, config: SuiteConfig, verifier: Verifier, salt: str
    ) -> None:
        super().__init__(store, name, config, salt)
        self._verifier = verifier

    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        """See `Suite`."""
        wanted = [item.content for item in items]
        return [
            [
                float(mark)
                for mark in self._verifier.check(
                    [
                        Claim(item.check, item.reference, text)
                        for item, text in zip(wanted, texts, strict=True)
                    ]
                )
            ]
            for texts in scorer.all_answers([item.prompt for item in wanted])
        ]


class JudgedAnswers(NamedSuite):
    """Every model answers each prompt; its score is the probability that its answer beats the
    champion's.

    The champion scores one half. A judge that is not admitted to the rubric decides nothing: no
    item is drawn. An answer that the judge cannot compare leaves its item out, for all models.
    """

    metric = "win_rate"
    clip = 0.5
    chunk = 16

    def __init__(
        self,
        store: Store,
        name: str,
        config: SuiteConfig,
        referee: Referee,
        salt: str,
        items: Mapping[str, FileItem],
    ) -> None:
        super().__init__(store, name, config, salt, with_units(items))
        self._referee = referee
        if referee.is_admitted:
            note(f"{name} is judged by {referee.told}")
        else:
            warn(f"{name} decides nothing: {referee.told} is no better than chance")
            self.limit = 0

    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        """See `Suite`; NaN where the judge could not say."""
        answers = scorer.all_answers([item.content.prompt for item in items])
        rows = [self._against(items, texts, answers[CHAMPION]) for texts in answers]
        unscored = np.isnan(np.array(rows)).any(axis=0)
        return [
            [math.nan if lost else value for value, lost in zip(row, unscored, strict=True)]
            for row in rows
        ]

    def _against(
        self, items: Sequence[Item], texts: Sequence[str], champion: Sequence[str]
    ) -> list[float]:
        """Probabilities that texts beat the champion's; the same text is a tie without asking."""
        pairs = [
            Pair(item.item_id, item.content.prompt, text, other, reference=item.content.reference)
            for item, text, other in zip(items, texts, champion, strict=True)
            if text != other
        ]
        said = iter(
            self._referee.judge.compare(self._referee.rubric, self._referee.method, pairs)
            if pairs
            else []
        )
        return [
            0.5 if text == other else _share(next(said))
            for text, other in zip(texts, champion, strict=True)
        ]

    def summarise(self, candidate: Sequence[float]) -> list[Metric]:
        """See `Suite`: the candidate's win rate with the judge's errors taken out, where they allow
        it.
        """
        wins, losses = sum(v > 0.5 for v in candidate), sum(v < 0.5 for v in candidate)
        if wins + losses == 0:
            return []
        found = corrected_win_rate(wins, wins + losses, self._referee.errors)
        if found.corrected is None:
            note(f"no corrected win rate on {self.name}: {found.reason}")
            return []
        error = (found.corrected.high - found.corrected.low) / (2 * 1.96)
        return [Metric("corrected_win_rate", found.corrected.value, error, wins + losses)]


def _share(said: Comparison) -> float:
    if not said.is_scored:
        return math.nan
    first, _, tie = said.distribution
    return first + tie / 2


def labelers_prompts(store: Store, generation: int, count: int) -> dict[str, FileItem]:
    """Up to `count` prompts of a generation by id, those first whose answers nothing but the
    labeler tells apart.
    """
    asked = store.samples(generation, "prompt") + store.samples(generation, "demonstration")
    asked.sort(key=lambda s: (bool(s.check), unit_hash("labeler", s.sample_id)))
    return {s.sample_id: FileItem(prompt=s.prompt, unit=s.document_id) for s in asked[:count]}


def labeler_suite(
    store: Store, config: GateConfig, items: Mapping[str, FileItem], labeler: Referee, salt: str
) -> JudgedAnswers:
    """The labeler's own word on a candidate, which decides nothing."""
    suite = SuiteConfig(file="", kind="judged", role="report", items=config.labeler_prompts)
    return JudgedAnswers(store, LABELER, suite, labeler, salt, items)


def suites_of(
    store: Store,
    config: GateConfig,
    gate_tokens: int,
    salt: str,
    verifier: Verifier,
    judges: Mapping[str, Referee],
) -> list[Suite]:
    """Held-out text, and what the recipe names besides."""
    named: list[Suite] = []
    for name, suite in config.suites.items():
        if suite.kind == "judged":
            named.append(
                JudgedAnswers(store, name, suite, judges[name], salt, items_of(name, suite))
            )
        elif suite.kind == HARNESS:
            named.append(HarnessTask(store, name, suite, salt))
        elif suite.kind == "executed":
            named.append(CheckedAnswers(store, name, suite, verifier, salt))
        elif suite.kind in MEASURES:
            named.append(SampledAnswers(store, name, suite, salt))
        else:
            named.append(ItemFile(store, name, suite, salt))
    return [HeldOutText(store, config, gate_tokens, salt), *named]
