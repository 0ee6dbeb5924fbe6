"""A labeler that is asked the same thing once: verdicts come from the store where they are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from infra.records import content_key, now
from infra.store.verdicts import Failure, Verdict
from judges.pairs import Comparison, Pair
from judges.protocol import Answer, AroundJudge, Judge
from judges.rubrics import Rubric
from judges.ways import Subject

RETRY_AFTER = timedelta(hours=1)
PASSING = frozenset({"backend", "budget"})
"""Reasons that say nothing about the item: it may be asked again at once."""
Item = TypeVar("Item")
Said = TypeVar("Said", Answer, Comparison)


class VerdictStore(Protocol):
    """The store, as a cache needs it."""

    def cached_verdicts(self, keys: Sequence[str]) -> list[Verdict]:
        """See `infra.store.verdicts`."""
        ...

    def recent_failures(self, keys: Sequence[str], at: datetime) -> dict[str, str]:
        """See `infra.store.verdicts`."""
        ...

    def keep_verdicts(self, verdicts: Sequence[Verdict], failures: Sequence[Failure]) -> None:
        """See `infra.store.verdicts`."""
        ...


@dataclass
class CachedJudge(AroundJudge):
    """See `judges.protocol.Judge`.

    A key covers the labeler's name (with the digest of its weights), rubric, way, and the texts in their order, so
    that anything that could change an answer changes the key. A failure is remembered with its reason, is never
    served as an answer, and is asked about again after an hour.
    """

    judge: Judge
    store: VerdictStore

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`."""
        keys = [content_key(self.name, rubric.digest, way, "one", s.prompt, s.text) for s in subjects]
        return self._ask(
            keys, subjects,
            ask=lambda missing: self.judge.score(rubric, way, missing),
            known=lambda _, value, __, tokens: Answer(value, "", tokens),
            failed=lambda reason: Answer(None, reason),
            values=lambda answer: None if answer.value is None else (answer.value, None),
        )  # fmt: skip

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`."""
        keys = [content_key(self.name, rubric.digest, way, "two", p.prompt, p.a, p.b) for p in pairs]
        return self._ask(
            keys, pairs,
            ask=lambda missing: self.judge.compare(rubric, way, missing),
            known=lambda _, value, second, tokens: Comparison(value, second, "", tokens),
            failed=lambda reason: Comparison(None, None, reason),
            values=lambda said: None if said.shown_first is None else (said.shown_first, said.shown_second),
        )  # fmt: skip

    def _ask(
        self,
        keys: Sequence[str],
        items: Sequence[Item],
        ask: Callable[[Sequence[Item]], list[Said]],
        known: Callable[[str, float, float | None, int], Said],
        failed: Callable[[str], Said],
        values: Callable[[Said], tuple[float, float | None] | None],
    ) -> list[Said]:
        """What is known of the keys, and what the labeler says of the rest, each item once."""
        found = {verdict[0]: known(*verdict) for verdict in self.store.cached_verdicts(keys)}
        failures = self.store.recent_failures([key for key in keys if key not in found], now())
        found |= {key: failed(reason) for key, reason in failures.items()}
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        fresh = dict(zip(missing, ask(list(missing.values())), strict=True)) if missing else {}
        answered: dict[str, tuple[float, float | None] | None] = {key: values(said) for key, said in fresh.items()}
        self.store.keep_verdicts(
            [(key, both[0], both[1], fresh[key].num_tokens) for key, both in answered.items() if both is not None],
            [
                (key, fresh[key].reason, now() + RETRY_AFTER)
                for key, both in answered.items()
                if both is None and fresh[key].reason not in PASSING
            ],
        )
        found |= fresh
        return [found[key] for key in keys]
