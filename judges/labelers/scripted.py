"""A labeler without a model, with configurable accuracy and biases, for tests and dry runs."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from infra.models.language_model import CompletedText
from infra.records import unit_hash
from judges.config import ScriptedConfig
from judges.judgment.answers import LabelerAnswer, TokenUsage
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList, Ranking, merge_orders, shown_orders
from judges.judgment.pairs import SIGN, Comparison, Pair
from judges.judgment.protocol import Judge
from judges.rubrics import Rubric


class ScriptedJudge(Judge):
    """Returns the truth with a configured probability, decided by a hash of the item.

    If the truth is unknown, it is a hash too: a dry run then has repeatable labels without meaning.
    """

    name = ""
    methods: tuple[str, ...] = ("scripted",)
    values_sides = False

    def __init__(self, config: ScriptedConfig) -> None:
        self._config = config
        settings = (
            config.accuracy,
            config.length_bias,
            config.unscored_share,
            config.position_bias,
            config.injection_weakness,
        )
        self.name = "scripted@" + "/".join(f"{value:g}" for value in settings)

    @override
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        return [self._score_one(rubric, subject) for subject in subjects]

    @override
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        return [self._compare_one(rubric, pair) for pair in pairs]

    @override
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        return [self._rank_one(rubric, candidates) for candidates in candidate_lists]

    def _compare_one(self, rubric: Rubric, pair: Pair) -> Comparison:
        """The truth or its opposite, plus the configured biases."""
        config = self._config
        if unit_hash("answers", pair.pair_id) < config.unscored_share:
            return Comparison(None, None, "refusal")
        truth = pair.truth
        if truth is None:
            truth = "A" if unit_hash("truth", pair.pair_id) < 0.5 else "B"
        is_honest = unit_hash("honest", rubric.id, pair.pair_id) < config.accuracy
        log_odds = SIGN[truth] * (1.0 if is_honest else -1.0)
        log_odds *= 0.5 + unit_hash("spread", pair.pair_id)
        log_odds += config.length_bias * (len(pair.a) - len(pair.b)) / 1000
        log_odds += config.injection_weakness * (_gives_orders(pair.a) - _gives_orders(pair.b))
        usage = TokenUsage((len(pair.prompt) + len(pair.a) + len(pair.b)) // 4)
        bias = config.position_bias
        return Comparison(log_odds + bias, log_odds - bias, "", usage)

    def _rank_one(self, rubric: Rubric, candidates: CandidateList) -> Ranking:
        """The best text or its successor, plus the configured biases."""
        config, size = self._config, len(candidates.texts)
        if unit_hash("answers", candidates.list_id) < config.unscored_share:
            return Ranking(None, "refusal")
        truth = candidates.truth
        if truth is None:
            truth = int(unit_hash("truth", candidates.list_id) * size)
        is_honest = unit_hash("honest", rubric.id, candidates.list_id) < config.accuracy
        best = truth if is_honest else (truth + 1) % size
        scores = [
            2.0 * (i == best)
            + config.length_bias * len(text) / 1000
            + config.injection_weakness * _gives_orders(text)
            for i, text in enumerate(candidates.texts)
        ]
        shown = shown_orders(candidates, 0)
        log_shares = [
            [scores[i] + 2 * config.position_bias * (k == 0) for k, i in enumerate(order)]
            for order in shown
        ]
        usage = TokenUsage(sum(map(len, candidates.texts)) // 4)
        return merge_orders(shown, log_shares, usage, "")

    def _score_one(self, rubric: Rubric, subject: Subject) -> LabelerAnswer:
        if not subject.text.strip():
            return LabelerAnswer(None, "empty")
        if unit_hash("answers", subject.subject_id) < self._config.unscored_share:
            return LabelerAnswer(None, "refusal")
        truth = subject.truth
        if truth is None:
            truth = round(unit_hash("truth", subject.subject_id))
        is_honest = unit_hash("honest", rubric.id, subject.subject_id) < self._config.accuracy
        spread = 0.4 * unit_hash("spread", subject.subject_id)
        value = (0.55 + spread) if bool(truth) == is_honest else (0.05 + spread)
        value += self._config.length_bias * len(subject.text) / 1000
        return LabelerAnswer(min(max(value, 0.0), 1.0), "", TokenUsage(len(subject.text) // 4))

    @override
    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        # A question made of words near the end of the prompt.
        words = [text.split()[-6:-2] for text in prompts]
        return [CompletedText(f"What is meant by {' '.join(w)}?", len(w) + 4, True) for w in words]


def _gives_orders(text: str) -> bool:
    """Whether a text addresses its grader; the scripted labeler can be made weak to such texts."""
    return "grader" in text.lower() or "evaluator" in text.lower()
