"""How varied, how long, and how far from the anchor's is what models write: measures of several
samples a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infra.store import Store
from loop.gate.config import LOWER_IS_BETTER, SuiteConfig
from loop.gate.estimates import distinct_n, hundreds_of_words, self_bleu, word_entropy
from loop.gate.suites.base import FileSuite, Item, Scorer

OF_TEXTS: dict[str, Callable[[Sequence[str]], float]] = {
    "distinct_2": distinct_n,
    "self_bleu": self_bleu,
    "word_entropy": word_entropy,
    "length": hundreds_of_words,
}
"""Measures of the samples of one prompt."""
DRIFT = "kl_to_anchor"
MEASURES = (*OF_TEXTS, DRIFT)
CLIPS = {"word_entropy": 2.0, DRIFT: 2.0}
"""Differences beyond which more does not count, in bits a word and nats a token; of shares it is 1.
"""


def measured(
    name: str, scorer: Scorer, prompts: Sequence[str], seed: int, asked: bool
) -> list[list[float]]:
    """A measure of each prompt's samples, for each model; see `Scorer.samples`."""
    if name == DRIFT:
        return scorer.drift(prompts, seed, asked)
    of = OF_TEXTS[name]
    return [[of(texts) for texts in of_model] for of_model in scorer.samples(prompts, seed, asked)]


class SampledAnswers(FileSuite):
    """Every model answers each prompt several times at temperature 1; how varied, long or far off
    that is.
    """

    chunk = 16

    def __init__(self, store: Store, name: str, config: SuiteConfig, salt: str) -> None:
        super().__init__(store, name, config, salt)
        self.metric: str = config.kind
        self.higher_is_better = config.kind not in LOWER_IS_BETTER
        self.clip = CLIPS.get(config.kind, 1.0)

    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        """See `Suite`."""
        return measured(
            self.metric,
            scorer,
            [item.content.prompt for item in items],
            items[0].position,
            asked=True,
        )
