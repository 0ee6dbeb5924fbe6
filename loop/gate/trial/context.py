"""What one attempt works with: the candidates of a generation, their rivals, suites and rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra.records import Checkpoint
from infra.store import Store
from judges.making.context import Verifier
from loop.gate.config import GateConfig
from loop.gate.levels import attempt_level
from loop.gate.suites.base import Scorer, Suite


@dataclass(frozen=True)
class Rivals:
    """The models that candidates are compared with.

    `best` is, for each suite that has one, the best model promoted so far.
    """

    champion: Checkpoint
    anchor: Checkpoint
    best: dict[str, Checkpoint]

    def models(self, candidates: Sequence[Checkpoint]) -> list[Checkpoint]:
        """All models for a scorer: the candidates first, then the champion, the anchor last."""
        return [*candidates, self.champion, *self.best.values(), self.anchor]


@dataclass(frozen=True, kw_only=True)
class GateContext:
    """What vetoes and tests need to know; `number` counts the attempts of the run from 1."""

    store: Store
    config: GateConfig
    scorer: Scorer
    verifier: Verifier
    generation: int
    number: int
    candidates: Sequence[Checkpoint]
    """The candidates of the generation. All are scored on the same items."""
    rivals: Rivals
    salt: str
    suites: Sequence[Suite]

    @property
    def level(self) -> float:
        """The level of each candidate's tests: its share of the attempt's level."""
        promoted = self.store.gate.num_promoted(self.number)
        level = attempt_level(self.config.level, self.config.alpha, self.number, promoted)
        return level / len(self.candidates)

    @property
    def models(self) -> list[Checkpoint]:
        """All models, in the order in which the scorer gives their scores."""
        return self.rivals.models(self.candidates)
