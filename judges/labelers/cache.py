"""A labeler that takes known answers from the store and asks about every other item once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from typing_extensions import override

from infra.records import content_key, now
from infra.store.tables.verdicts import CachedVerdict, Failure
from judges.judgment.answers import RETRYABLE_REASONS, LabelerAnswer, TokenUsage
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import Judge, JudgeWrapper
from judges.rubrics import Rubric

RETRY_AFTER = timedelta(hours=1)
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT", LabelerAnswer, Comparison, Ranking)
Numbers = tuple[float, ...]


class VerdictStore(Protocol):
    """The methods of the store that a cache needs."""

    def cached(self, keys: Sequence[str]) -> list[CachedVerdict]:
        """Return the stored answers under these keys, in any order."""
        ...

    def recent_failures(self, keys: Sequence[str], at: datetime) -> dict[str, str]:
        """Return key -> reason for the items that failed and must not be retried before `at`."""
        ...

    def keep(self, verdicts: Sequence[CachedVerdict], failures: Sequence[Failure]) -> None:
        """Store answers and failures."""
        ...


@dataclass(frozen=True)
class _Codec(Generic[ResultT]):
    """How results of one mode are stored as numbers and read again."""

    numbers: Callable[[ResultT], Numbers | None]
    """The numbers to store; None for an unscored result."""
    result: Callable[[CachedVerdict], ResultT]
    failure: Callable[[str], ResultT]
    """An unscored result with the given reason."""


def _usage(verdict: CachedVerdict) -> TokenUsage:
    _, _, _, prompt_tokens, completion_tokens, _ = verdict
    return TokenUsage(prompt_tokens, completion_tokens)


def _answer_numbers(answer: LabelerAnswer) -> Numbers | None:
    return None if answer.value is None else (answer.value,)


def _read_answer(verdict: CachedVerdict) -> LabelerAnswer:
    _, numbers, distribution, _, _, raw = verdict
    return LabelerAnswer(numbers[0], "", _usage(verdict), tuple(distribution), raw)


def _comparison_numbers(comparison: Comparison) -> Numbers | None:
    if comparison.shown_first is None or comparison.shown_second is None:
        return None
    return comparison.shown_first, comparison.shown_second, comparison.tie


def _read_comparison(verdict: CachedVerdict) -> Comparison:
    _, (first, second, tie), _, _, _, raw = verdict
    return Comparison(first, second, "", _usage(verdict), tie, raw)


def _ranking_numbers(ranking: Ranking) -> Numbers | None:
    return None if ranking.log_shares is None else (ranking.spread, *ranking.log_shares)


def _read_ranking(verdict: CachedVerdict) -> Ranking:
    _, (spread, *log_shares), _, _, _, raw = verdict
    return Ranking(tuple(log_shares), "", _usage(verdict), spread, raw)


_ANSWERS = _Codec(_answer_numbers, _read_answer, lambda reason: LabelerAnswer(None, reason))
_COMPARISONS = _Codec(
    _comparison_numbers, _read_comparison, lambda reason: Comparison(None, None, reason)
)
_RANKINGS = _Codec(_ranking_numbers, _read_ranking, lambda reason: Ranking(None, reason))


@dataclass
class CachedJudge(JudgeWrapper):
    """A labeler with a persistent cache of its answers.

    The key covers the labeler's name (which contains the digest of its weights), the rubric, the
    elicitation method and the texts in order, that is, everything that an answer depends on. A
    failure is stored with its reason and is retried after an hour; it is never returned as an
    answer.
    """

    inner: Judge
    store: VerdictStore

    @override
    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        keys = [self._key(rubric, method, "one", s.prompt, s.text, s.reference) for s in subjects]
        return self._ask(
            keys, subjects, lambda missing: self.inner.score(rubric, method, missing), _ANSWERS
        )

    @override
    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        keys = [self._key(rubric, method, "two", p.prompt, p.a, p.b, p.reference) for p in pairs]
        return self._ask(
            keys, pairs, lambda missing: self.inner.compare(rubric, method, missing), _COMPARISONS
        )

    @override
    def rank(
        self, rubric: Rubric, method: str, candidate_lists: Sequence[CandidateList]
    ) -> list[Ranking]:
        keys = [
            self._key(rubric, method, "list", x.prompt, x.reference, *x.texts)
            for x in candidate_lists
        ]
        return self._ask(
            keys,
            candidate_lists,
            lambda missing: self.inner.rank(rubric, method, missing),
            _RANKINGS,
        )

    def _key(self, rubric: Rubric, method: str, *texts: str) -> str:
        return content_key(self.name, rubric.digest, method, *texts)

    def _ask(
        self,
        keys: Sequence[str],
        items: Sequence[ItemT],
        ask: Callable[[Sequence[ItemT]], list[ResultT]],
        codec: _Codec[ResultT],
    ) -> list[ResultT]:
        """Return one result per key, in order; items with the same key are asked about once."""
        results = self._stored(keys, codec)
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in results}
        if missing:
            fresh = dict(zip(missing, ask(list(missing.values())), strict=True))
            self._keep(fresh, codec)
            results |= fresh
        return [results[key] for key in keys]

    def _stored(self, keys: Sequence[str], codec: _Codec[ResultT]) -> dict[str, ResultT]:
        """Return key -> result for stored answers and recent failures."""
        results = {verdict[0]: codec.result(verdict) for verdict in self.store.cached(keys)}
        unknown = [key for key in keys if key not in results]
        failures = self.store.recent_failures(unknown, now())
        return results | {key: codec.failure(reason) for key, reason in failures.items()}

    def _keep(self, fresh: dict[str, ResultT], codec: _Codec[ResultT]) -> None:
        """Store new results. Failures that can be retried at once are not stored."""
        verdicts: list[CachedVerdict] = []
        failures: list[Failure] = []
        for key, result in fresh.items():
            numbers, usage = codec.numbers(result), result.usage
            if numbers is not None:
                shares = result.distribution if isinstance(result, LabelerAnswer) else ()
                verdicts.append(
                    (key, numbers, shares, usage.prompt_tokens, usage.completion_tokens, result.raw)
                )
            elif result.reason not in RETRYABLE_REASONS:
                failures.append((key, result.reason, now() + RETRY_AFTER))
        self.store.keep(verdicts, failures)
