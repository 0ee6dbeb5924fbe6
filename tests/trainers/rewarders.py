"""Rewards with known answers, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from trainers.rewards import Attempted


class ShareOfA:
    """The share of the letter a among a completion's characters: random policies over bytes earn almost nothing."""

    def rewards(self, attempts: Sequence[Attempted]) -> list[float | None]:
        return [attempt.completion.count("a") / max(len(attempt.completion), 1) for attempt in attempts]


class Silent:
    """Cannot say anything of every second attempt."""

    def rewards(self, attempts: Sequence[Attempted]) -> list[float | None]:
        return [None if i % 2 else float(len(a.completion)) for i, a in enumerate(attempts)]


REWARDERS = {"share_of_a": ShareOfA(), "silent": Silent(), "verifier": ShareOfA()}
