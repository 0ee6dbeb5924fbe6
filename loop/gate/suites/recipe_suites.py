"""The suites of a recipe: held-out text, and what `[gate.suites]` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.store import Store
from judges.making.context import Verifier
from loop.gate.config import GateConfig, SuiteConfig
from loop.gate.suites.answers import CheckedAnswers, JudgedAnswers, Referee
from loop.gate.suites.base import Suite
from loop.gate.suites.held_out_text import HeldOutBits
from loop.gate.suites.item_files import RightTextSuite, suite_items
from loop.gate.suites.lm_eval_tasks import LM_EVAL, LmEvalTask
from loop.gate.suites.variety import VARIETY_MEASURES, SampledAnswers


@dataclass(frozen=True)
class SuiteMaker:
    """Makes a suite from its configuration; `referees` are the judges of suites of kind judged."""

    store: Store
    salt: str
    verifier: Verifier
    referees: Mapping[str, Referee]

    def make(self, name: str, config: SuiteConfig) -> Suite:
        """The suite of this name."""
        store, salt = self.store, self.salt
        if config.kind == "judged":
            items = suite_items(name, config)
            return JudgedAnswers(store, name, config, self.referees[name], salt, items)
        if config.kind == "executed":
            return CheckedAnswers(store, name, config, self.verifier, salt)
        if config.kind == LM_EVAL:
            return LmEvalTask(store, name, config, salt)
        if config.kind in VARIETY_MEASURES:
            return SampledAnswers(store, name, config, salt)
        return RightTextSuite(store, name, config, salt)


def recipe_suites(config: GateConfig, gate_tokens: int, maker: SuiteMaker) -> list[Suite]:
    """Held-out text first, then the suites that the recipe names."""
    named = [maker.make(name, suite) for name, suite in config.suites.items()]
    return [HeldOutBits(maker.store, config, gate_tokens, maker.salt), *named]
