"""Suites on sampled texts: how varied and how long they are, and how far the model has drifted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from typing_extensions import override

from infra.store import Store
from loop.gate.config import SuiteConfig
from loop.gate.estimates import distinct_n, hundreds_of_words, self_bleu, word_entropy
from loop.gate.rules import SuiteRule
from loop.gate.suites.base import Item, Scorer
from loop.gate.suites.item_files import FileSuite

TEXT_MEASURES: dict[str, Callable[[Sequence[str]], float]] = {
    "distinct_2": distinct_n,
    "self_bleu": self_bleu,
    "word_entropy": word_entropy,
    "length": hundreds_of_words,
}
"""Measures of the texts that were sampled for one prompt."""
DRIFT = "kl_to_anchor"
VARIETY_MEASURES = (*TEXT_MEASURES, DRIFT)


def variety_scores(
    name: str, scorer: Scorer, prompts: Sequence[str], seed: int, asked: bool
) -> list[list[float]]:
    """One measure of the texts sampled for each prompt, one row for each model.

    With `asked` the texts are answers to the prompts, otherwise continuations of them.
    """
    if name == DRIFT:
        return scorer.drift(prompts, seed, asked)
    measure = TEXT_MEASURES[name]
    rows = scorer.samples(prompts, seed, asked)
    return [[measure(texts) for texts in by_prompt] for by_prompt in rows]


class SampledAnswers(FileSuite):
    """Every model answers each prompt several times at temperature 1; one measure is taken."""

    chunk = 16

    def __init__(self, store: Store, rule: SuiteRule, config: SuiteConfig, salt: str) -> None:
        super().__init__(store, rule, config, salt)
        self.metric: str = config.kind

    @override
    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        prompts = [item.content.prompt for item in items]
        return variety_scores(self.metric, scorer, prompts, items[0].position, asked=True)
