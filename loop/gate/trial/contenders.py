"""One attempt at promoting a candidate: who is compared with whom, by what, under which rules."""

from __future__ import annotations

from dataclasses import dataclass

from infra.records import Checkpoint
from infra.store import Store
from judges.making.context import Verifier
from loop.gate.config import GateConfig
from loop.gate.suites.base import Scorer


@dataclass(frozen=True)
class Rivals:
    """Whom a candidate is compared with. `best` is, for each suite that has one, the best model
    promoted so far.
    """

    champion: Checkpoint
    anchor: Checkpoint
    best: dict[str, Checkpoint]

    def models(self, candidate: Checkpoint) -> list[Checkpoint]:
        """What a scorer holds: the candidate first, then the champion, the anchor last."""
        return [candidate, self.champion, *self.best.values(), self.anchor]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What vetoes and tests work with; `number` counts the run's attempts from 1."""

    store: Store
    config: GateConfig
    scorer: Scorer
    verifier: Verifier
    generation: int
    number: int
    candidate: Checkpoint
    rivals: Rivals
    salt: str
