"""The suites of a recipe: held-out text, the user's exam, and what `[gate.suites]` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.store import Store
from judges.making.context import Verifier
from loop.gate.aim import AimConfig
from loop.gate.config import ANSWERS, BITS, EXAM, RIGHT_ANSWERS, GateConfig, SuiteConfig
from loop.gate.rules import checked_answers, suite_rule
from loop.gate.suites.answers import CheckedAnswers, JudgedAnswers, Referee
from loop.gate.suites.base import Suite
from loop.gate.suites.held_out_text import HeldOutBits
from loop.gate.suites.item_files import FileSuite, GoldBits, RightTextSuite
from loop.gate.suites.items.exam import exam_parts
from loop.gate.suites.items.file_items import FileItem
from loop.gate.suites.items.harness import LM_EVAL
from loop.gate.suites.items.held_out_questions import checked_items, question_items
from loop.gate.suites.items.sources import suite_items
from loop.gate.suites.lm_eval_tasks import LmEvalTask
from loop.gate.suites.variety import VARIETY_MEASURES, SampledAnswers

SEALED_ITEMS = "sealed_items"


@dataclass(frozen=True)
class SuiteMaker:
    """Makes a suite from its configuration; `referees` are the judges of suites of kind judged."""

    store: Store
    config: GateConfig
    salt: str
    verifier: Verifier
    referees: Mapping[str, Referee]

    def make(self, name: str, config: SuiteConfig) -> Suite:
        """The suite of this name."""
        store, salt, rule = self.store, self.salt, suite_rule(name, config, self.config)
        if config.kind == "judged":
            items = suite_items(name, config)
            return JudgedAnswers(store, rule, config, self.referees[name], salt, items)
        if config.kind == LM_EVAL:
            return LmEvalTask(store, rule, config, salt)
        if config.kind in VARIETY_MEASURES:
            return SampledAnswers(store, rule, config, salt)
        return self.right_answers(name, config, suite_items(name, config))

    def right_answers(
        self, name: str, config: SuiteConfig, items: Mapping[str, FileItem]
    ) -> FileSuite:
        """A suite of items that hold the right answer."""
        store, salt, rule = self.store, self.salt, suite_rule(name, config, self.config)
        if config.kind == "executed":
            return CheckedAnswers(store, rule, config, self.verifier, salt, items)
        if config.kind == BITS:
            return GoldBits(store, rule, config, salt, items)
        return RightTextSuite(store, rule, config, salt, items)


def recipe_suites(aim: AimConfig, gate_tokens: int, maker: SuiteMaker) -> list[Suite]:
    """What the aim measures first, then held-out text if it is not that, then the named suites."""
    named = [maker.make(name, suite) for name, suite in maker.config.suites.items()]
    text = HeldOutBits(maker.store, maker.config, aim, gate_tokens, maker.salt)
    if aim.kind == "text":
        return [text, *named]
    if aim.kind == "answers":
        return [*_answer_suites(aim, maker), text, *named]
    return [
        maker.right_answers(EXAM, aim.exam.suite(), exam_parts(aim.exam).gate),
        text,
        *named,
    ]


def _answer_suites(aim: AimConfig, maker: SuiteMaker) -> list[Suite]:
    """The questions about held-out pages: bits of the answers, and reported, which are right."""
    config = aim.answers.suite()
    gold = question_items(maker.store, aim, "gate", maker.salt)
    checked = checked_items(maker.store, aim, "gate", maker.salt)
    return [
        maker.right_answers(ANSWERS, config, gold),
        maker.right_answers(RIGHT_ANSWERS, checked_answers(aim), checked),
    ]


def sealed_part(aim: AimConfig, maker: SuiteMaker) -> FileSuite | None:
    """What is sealed of the exam, or of the questions about pages, as a suite, if there is any."""
    if aim.kind == "answers":
        items = question_items(maker.store, aim, "sealed", maker.salt)
        return maker.right_answers(SEALED_ITEMS, aim.answers.suite(), items) if items else None
    if aim.kind == "text" or not aim.exam.sealed_share:
        return None
    return maker.right_answers(SEALED_ITEMS, aim.exam.suite(), exam_parts(aim.exam).sealed)
