"""Rewards with known answers, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from trainers.rollouts.rewards import RewardRequest


class Letters:
    """The share of small letters among eight characters: 26 of 259 tokens, so a random policy earns
    about a tenth."""

    def rewards(self, requests: Sequence[RewardRequest]) -> list[float | None]:
        return [
            sum(c.isascii() and c.islower() for c in attempt.completion) / 8 for attempt in requests
        ]


class Nothing:
    """Cannot say anything at all."""

    def rewards(self, requests: Sequence[RewardRequest]) -> list[float | None]:
        return [None] * len(requests)


class Silent:
    """Cannot say anything of every second attempt."""

    def rewards(self, requests: Sequence[RewardRequest]) -> list[float | None]:
        return [None if i % 2 else float(len(a.completion)) for i, a in enumerate(requests)]


REWARDERS = {
    "tests.trainers.support.rewarders:Letters": Letters(),
    "tests.trainers.support.rewarders:Silent": Silent(),
    "tests.trainers.support.rewarders:Nothing": Nothing(),
}
