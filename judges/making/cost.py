"""Estimates of what labels cost in tokens, before a labeler is asked anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra.models.text_size import estimated_tokens
from judges.config import JudgeConfig
from judges.labelers.sentinels import ITEMS_PER_CHECK, SENTINELS_PER_CHECK
from judges.making.demonstrations.extractive import SPANS_PER_PASSAGE
from judges.making.demonstrations.instructions import (
    QUESTION_TOKENS,
    SHOWN_CHARS,
    TRIES_PER_PASSAGE,
)
from judges.measuring.admission import NUM_SENTINEL_PAIRS
from judges.measuring.probes.making import ProbePair, built_in_material, probe_set
from judges.rubrics import LABEL_GIVEN_TEXT, METHODS, Rubric, load_rubric

FENCE_CHARS = 250
"""Approximate characters of the fence note, the fences and a chat template."""
FEW_SHOT_CHARS = 600
"""Approximate characters of the examples before a question is written."""
MAX_EXAMPLE_CHARS = 500
"""Length of the longest question made from an executed example."""


@dataclass(frozen=True)
class Expense:
    """One step of labeling: how many items it asks about, and its estimated tokens."""

    step: str
    num_items: int
    num_tokens: int


def _tokens_in_chars(num_chars: int) -> int:
    return estimated_tokens("x" * num_chars)


def _prompt_chars(rubric: Rubric, method: str, chars: int) -> int:
    """Return how many characters a model reads to value a text of `chars` characters."""
    if method == "few_shot" and rubric.few_shot is not None:
        return len(rubric.few_shot.template) + chars
    if method == "likelihood" and rubric.likelihood is not None:
        return len(rubric.likelihood.context) + chars
    if method == "text_given_label" and rubric.text_given_label is not None:
        contexts = rubric.text_given_label
        return len(contexts.positive) + len(contexts.negative) + 2 * chars
    return sum(
        len(rubric.template) + len(c.question) + FENCE_CHARS + chars for c in rubric.criteria
    )


def _methods(config: JudgeConfig, rubric: Rubric) -> list[str]:
    return rubric.usable_methods(METHODS) if config.kind == "local" else [LABEL_GIVEN_TEXT]


def _item_tokens(config: JudgeConfig, rubric: Rubric, chars: int) -> int:
    """Return the tokens for one item of `chars` characters with the most expensive method."""
    is_counting = config.kind == "endpoint" and config.endpoint.method == "counts"
    samples = config.endpoint.num_samples if is_counting else 1
    longest = max(
        _tokens_in_chars(_prompt_chars(rubric, method, chars))
        for method in _methods(config, rubric)
    )
    return samples * (longest + _answer_tokens(config) * len(rubric.criteria))


def _answer_tokens(config: JudgeConfig) -> int:
    """Tokens that a server writes to answer; other labelers write nothing."""
    return config.endpoint.answer_tokens if config.kind == "endpoint" else 0


def _sizes(pairs: Sequence[ProbePair]) -> list[int]:
    """Return the characters of both sides of each pair."""
    return [
        len(side.prompt) + len(side.text) + len(side.reference)
        for pair in pairs
        for side in (pair.good, pair.bad)
    ]


def measuring_cost(config: JudgeConfig) -> Expense:
    """Return the largest cost of measuring a labeler on a recipe's rubrics, once per run.

    Most labelers are admitted or refused after a small part of the pairs.
    """
    number = tokens = 0
    orders = 1 if config.kind == "local" else 3
    for rubric in (load_rubric(name) for name in dict.fromkeys(config.rubric_names())):
        sets = [probe_set(probe, built_in_material()) for probe in rubric.probes]
        sizes = [size for one in sets for size in _sizes(one.calibration)]
        for method in _methods(config, rubric):
            number += orders * len(sizes)
            tokens += orders * sum(
                _tokens_in_chars(_prompt_chars(rubric, method, size)) + _answer_tokens(config)
                for size in sizes
            )
        deciding = [size for one in sets for size in _sizes(one.deciding)]
        sentinels = 2 * deciding[: 2 * NUM_SENTINEL_PAIRS]
        number += orders * len(deciding) + len(sentinels)
        tokens += orders * sum(_item_tokens(config, rubric, size) for size in deciding)
        tokens += sum(_item_tokens(config, rubric, size) for size in sentinels)
    return Expense("measuring the labeler (once)", number, tokens)


def estimate_costs(
    config: JudgeConfig, num_passage_tokens: int, num_prompts: int, num_instructions: int
) -> list[Expense]:
    """Return the maximum cost of one generation's labels per step, without `measuring_cost`."""
    num_passages = max(1, num_passage_tokens // _tokens_in_chars(config.passage_chars))
    return [
        *(_passage_cost(config, name, num_passages) for name in config.passage_rubrics),
        _question_cost(config, num_instructions),
        _completion_cost(config, num_instructions),
        _known_pairs_cost(config, num_prompts),
    ]


def _passage_cost(config: JudgeConfig, rubric: str, number: int) -> Expense:
    tokens = number * _item_tokens(config, load_rubric(rubric), config.passage_chars)
    with_sentinels = 1 + SENTINELS_PER_CHECK / ITEMS_PER_CHECK
    return Expense(f"passages by {rubric}", number, int(with_sentinels * tokens))


def _question_cost(config: JudgeConfig, num_instructions: int) -> Expense:
    rubric = load_rubric(config.answer_rubric)
    number = num_instructions * (TRIES_PER_PASSAGE + 2 * SPANS_PER_PASSAGE)
    written = _tokens_in_chars(SHOWN_CHARS + FEW_SHOT_CHARS) + QUESTION_TOKENS
    num_fits = num_instructions * (TRIES_PER_PASSAGE + 1)
    fit = num_fits * _item_tokens(config, rubric, config.passage_chars)
    return Expense("questions written, and their fit", number, number * written + fit)


def _completion_cost(config: JudgeConfig, num_instructions: int) -> Expense:
    per_prompt = 2 * config.pairs_per_prompt
    if config.kind == "local":
        per_prompt = config.num_completions + config.older_completions
    number = num_instructions * per_prompt
    chars = 2 * 4 * config.completion_tokens
    tokens = number * _item_tokens(config, load_rubric(config.answer_rubric), chars)
    return Expense("completions compared", number, tokens)


def _known_pairs_cost(config: JudgeConfig, num_prompts: int) -> Expense:
    chars = 2 * 4 * config.completion_tokens + MAX_EXAMPLE_CHARS
    tokens = 2 * num_prompts * _item_tokens(config, load_rubric(config.correctness_rubric), chars)
    return Expense("pairs with a known answer", num_prompts, tokens)


def largest_price(config: JudgeConfig, num_tokens: int) -> float:
    """Return the largest price of tokens at the endpoint, in the currency of its prices."""
    prices = config.endpoint.prompt_price, config.endpoint.completion_price
    return num_tokens * max(prices) / 1e6
