"""A labeler that is asked the same thing once: verdicts come from the store where they are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from infra.records import content_key, now
from infra.store.tables.verdicts import Failure, Verdict
from judges.judgment.answers import PASSING, Answer, Usage
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import Listing, Ranking
from judges.judgment.pairs import Comparison, Pair
from judges.judgment.protocol import AroundJudge, Judge
from judges.rubrics import Rubric

RETRY_AFTER = timedelta(hours=1)
Item = TypeVar("Item")
Said = TypeVar("Said", Answer, Comparison, Ranking)
Numbers = tuple[float, ...]


class VerdictStore(Protocol):
    """The store, as a cache needs it."""

    def cached(self, keys: Sequence[str]) -> list[Verdict]:
        """See `infra.store.tables.verdicts`."""
        ...

    def recent_failures(self, keys: Sequence[str], at: datetime) -> dict[str, str]:
        """See `infra.store.tables.verdicts`."""
        ...

    def keep(self, verdicts: Sequence[Verdict], failures: Sequence[Failure]) -> None:
        """See `infra.store.tables.verdicts`."""
        ...


@dataclass
class CachedJudge(AroundJudge):
    """See `judges.judgment.protocol.Judge`.

    A key covers the labeler's name (with the digest of its weights), rubric, way, and the texts in
    their order, so that anything that could change an answer changes the key. A failure is
    remembered with its reason, is never served as an answer, and is asked about again after an
    hour.
    """

    inner: Judge
    store: VerdictStore

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`."""
        keys = [self._key(rubric, way, "one", s.prompt, s.text, s.reference) for s in subjects]
        return self._ask(
            keys,
            subjects,
            ask=lambda missing: self.inner.score(rubric, way, missing),
            known=lambda numbers, shares, usage, raw: Answer(numbers[0], "", usage, shares, raw),
            failed=lambda reason: Answer(None, reason),
            numbers=lambda a: None if a.value is None else (a.value,),
        )

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`."""
        keys = [self._key(rubric, way, "two", p.prompt, p.a, p.b, p.reference) for p in pairs]
        return self._ask(
            keys,
            pairs,
            ask=lambda missing: self.inner.compare(rubric, way, missing),
            known=lambda numbers, _, usage, raw: Comparison(
                numbers[0], numbers[1], "", usage, numbers[2], raw
            ),
            failed=lambda reason: Comparison(None, None, reason),
            numbers=lambda c: (
                None
                if c.shown_first is None or c.shown_second is None
                else (c.shown_first, c.shown_second, c.tie)
            ),
        )

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:
        """See `Judge`."""
        keys = [self._key(rubric, way, "list", x.prompt, x.reference, *x.texts) for x in listings]
        return self._ask(
            keys,
            listings,
            ask=lambda missing: self.inner.rank(rubric, way, missing),
            known=lambda numbers, _, usage, raw: Ranking(numbers[1:], "", usage, numbers[0], raw),
            failed=lambda reason: Ranking(None, reason),
            numbers=lambda r: None if r.log_shares is None else (r.spread, *r.log_shares),
        )

    def _key(self, rubric: Rubric, way: str, *parts: str) -> str:
        return content_key(self.name, rubric.digest, way, *parts)

    def _ask(
        self,
        keys: Sequence[str],
        items: Sequence[Item],
        ask: Callable[[Sequence[Item]], list[Said]],
        known: Callable[[Numbers, Numbers, Usage, str], Said],
        failed: Callable[[str], Said],
        numbers: Callable[[Said], Numbers | None],
    ) -> list[Said]:
        """What is known of the keys, and what the labeler says of the rest, each item once."""
        found = {
            key: known(tuple(values), tuple(shares), Usage(read, written), raw)
            for key, values, shares, read, written, raw in self.store.cached(keys)
        }
        failures = self.store.recent_failures([key for key in keys if key not in found], now())
        found |= {key: failed(reason) for key, reason in failures.items()}
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        fresh = dict(zip(missing, ask(list(missing.values())), strict=True)) if missing else {}
        verdicts: list[Verdict] = []
        failed_now: list[Failure] = []
        for key, said in fresh.items():
            values = numbers(said)
            if values is not None:
                shares = said.distribution if isinstance(said, Answer) else ()
                verdicts.append(
                    (
                        key,
                        values,
                        shares,
                        said.usage.prompt_tokens,
                        said.usage.completion_tokens,
                        said.raw,
                    )
                )
            elif said.reason not in PASSING:
                failed_now.append((key, said.reason, now() + RETRY_AFTER))
        self.store.keep(verdicts, failed_now)
        found |= fresh
        return [found[key] for key in keys]
