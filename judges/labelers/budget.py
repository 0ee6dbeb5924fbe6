"""What labels may cost: an estimate before a run, and a limit while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from infra.console import warn
from infra.models.language_model import CompletedText
from judges.config import JudgeConfig
from judges.judgment.answers import Answer
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import Listing, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import AroundJudge, Judge
from judges.labelers.sentinels import EVERY
from judges.making.demonstrations.extractive import SPANS
from judges.making.demonstrations.instructions import QUESTION_TOKENS, SHOWN_CHARS, TRIES
from judges.making.passages.passages import estimated_tokens
from judges.measuring.probes import probe_pairs
from judges.rubrics import LABELED, WAYS, Rubric, load_rubric

Item = TypeVar("Item")
Said = TypeVar("Said", Answer, Comparison, Ranking)
CHARS_OF_FENCES = 250
"""Characters of the note on fences, the fences and a chat template, about."""
CHARS_OF_EXAMPLES = 600
"""Those of the examples before a question is written."""
QUESTION_CHARS = 500
"""The longest question that a checked example makes."""
RIDERS = 8


@dataclass
class BudgetedJudge(AroundJudge):
    """See `judges.judgment.protocol.Judge`.

    Past `soft_tokens` it says so once. What would pass `hard_tokens` is not asked, and unscored
    with the reason `budget`; 0 sets no limit.
    """

    inner: Judge
    soft_tokens: int
    hard_tokens: int
    spent: int = 0
    _was_warned: bool = False

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`."""
        sizes = [len(s.prompt) + len(s.text) + len(s.reference) for s in subjects]
        return self._within(
            subjects,
            sizes,
            lambda some: self.inner.score(rubric, way, some),
            Answer(None, "budget"),
        )

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`."""
        sizes = [2 * (len(p.prompt) + len(p.a) + len(p.b) + len(p.reference)) for p in pairs]
        unasked = Comparison(None, None, "budget")
        return self._within(
            pairs, sizes, lambda some: self.inner.compare(rubric, way, some), unasked
        )

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """See `Judge`."""
        sizes = [len(x.texts) * (len(x.prompt) + sum(map(len, x.texts))) for x in listings]
        return self._within(
            listings,
            sizes,
            lambda some: self.inner.rank(rubric, way, some),
            Ranking(None, "budget"),
        )

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `Judge`; what the budget does not allow is an empty, unfinished text."""
        number = self._affordable([len(p) + 3 * max_new_tokens for p in prompts])
        said = (
            self.inner.complete(prompts[:number], max_new_tokens, temperature, seed)
            if number
            else []
        )
        self._spend(
            sum(estimated_tokens(p) for p in prompts[:number]) + sum(t.num_tokens for t in said)
        )
        return [*said, *[CompletedText("", 0, finished=False)] * (len(prompts) - number)]

    def _within(
        self,
        items: Sequence[Item],
        sizes: Sequence[int],
        ask: Callable[[Sequence[Item]], list[Said]],
        unasked: Said,
    ) -> list[Said]:
        number = self._affordable(sizes)
        said: list[Said] = ask(items[:number]) if number else []
        self._spend(sum(one.num_tokens for one in said))
        return said + [unasked] * (len(items) - number)

    def _affordable(self, sizes: Sequence[int]) -> int:
        """How many of the items, which are so many characters long, the hard budget still pays for."""
        if self.hard_tokens == 0:
            return len(sizes)
        left = self.hard_tokens - self.spent
        for number, size in enumerate(sizes):
            left -= size // 4
            if left < 0:
                return number
        return len(sizes)

    def _spend(self, tokens: int) -> None:
        self.spent += tokens
        if 0 < self.soft_tokens < self.spent and not self._was_warned:
            self._was_warned = True
            warn(
                f"labels have cost {self.spent:,} tokens, more than judge.soft_tokens = {self.soft_tokens:,}"
            )


@dataclass(frozen=True)
class Expense:
    """A step of labeling: how many items it asks about, and what that costs in tokens, about."""

    step: str
    num_items: int
    num_tokens: int


def _chars_asked(rubric: Rubric, way: str, chars: int) -> int:
    """Characters that a model reads to value a text of so many by a rubric, asked in a way."""
    if way == "few_shot" and rubric.few_shot is not None:
        return len(rubric.few_shot.template) + chars
    if way == "likelihood" and rubric.likelihood is not None:
        return len(rubric.likelihood.context) + chars
    if way == "text_given_label" and rubric.text_given_label is not None:
        return (
            len(rubric.text_given_label.positive)
            + len(rubric.text_given_label.negative)
            + 2 * chars
        )
    return sum(
        len(rubric.template) + len(c.question) + CHARS_OF_FENCES + chars for c in rubric.criteria
    )


def _ways(config: JudgeConfig, rubric: Rubric) -> list[str]:
    return rubric.usable(WAYS) if config.kind == "local" else [LABELED]


def _tokens_of(config: JudgeConfig, rubric: Rubric, chars: int) -> int:
    """Tokens of one item of so many characters, by the dearest way of asking."""
    samples = (
        config.endpoint.num_samples
        if config.kind == "endpoint" and config.endpoint.way == "counts"
        else 1
    )
    return samples * max(
        estimated_tokens("x" * _chars_asked(rubric, way, chars)) for way in _ways(config, rubric)
    )


def measuring(config: JudgeConfig) -> Expense:
    """What it costs to measure a labeler on the rubrics of a recipe, which is done once a run."""
    number = tokens = 0
    for rubric in (load_rubric(name) for name in dict.fromkeys(config.rubric_names())):
        for probe in rubric.probes:
            pairs = probe_pairs(probe, config.num_probe_items)
            sizes = [
                len(s.prompt) + len(s.text) + len(s.reference)
                for p in pairs
                for s in (p.good, p.bad)
            ]
            orders = 1 if config.kind == "local" else 3
            for way in _ways(config, rubric):
                number += orders * len(sizes)
                tokens += orders * sum(
                    estimated_tokens("x" * _chars_asked(rubric, way, size)) for size in sizes
                )
            number += 2 * len(sizes)  # the sentinels
            tokens += 2 * sum(_tokens_of(config, rubric, size) for size in sizes)
    return Expense("measuring the labeler (once)", number, tokens)


def estimate(
    config: JudgeConfig, num_passage_tokens: int, num_prompts: int, num_instructions: int
) -> list[Expense]:
    """What a generation's labels cost at most, step by step, once the labeler is measured."""
    passages = max(1, num_passage_tokens // estimated_tokens("x" * config.passage_chars))
    watched = 1 + RIDERS / EVERY
    expenses = []
    for name in config.passage_rubrics:
        cost = passages * _tokens_of(config, load_rubric(name), config.passage_chars)
        expenses.append(Expense(f"passages by {name}", passages, int(watched * cost)))
    answers = load_rubric(config.answer_rubric)
    written = num_instructions * (TRIES + 2 * SPANS)
    fit = num_instructions * (TRIES + 1) * _tokens_of(config, answers, config.passage_chars)
    shown = estimated_tokens("x" * (SHOWN_CHARS + CHARS_OF_EXAMPLES)) + QUESTION_TOKENS
    expenses.append(Expense("questions written, and their fit", written, written * shown + fit))
    number = config.num_completions + config.older_completions
    contests = num_instructions * (
        number if config.kind == "local" else 2 * config.pairs_per_prompt
    )
    chars = 4 * config.completion_tokens
    expenses.append(
        Expense("completions compared", contests, contests * _tokens_of(config, answers, 2 * chars))
    )
    known = (
        2
        * num_prompts
        * _tokens_of(config, load_rubric(config.correctness_rubric), 2 * chars + QUESTION_CHARS)
    )
    expenses.append(Expense("pairs with a known answer", num_prompts, known))
    return expenses


def cost_of(config: JudgeConfig, num_tokens: int) -> float:
    """What tokens cost at the endpoint's price of a prompt token, in its unit."""
    return num_tokens * config.endpoint.prompt_price / 1e6
