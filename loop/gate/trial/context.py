"""What one attempt works with: the candidates of a generation, their rivals, suites and rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.records import Checkpoint, Decision
from infra.store import Store
from infra.store.tables.registry import RegistryTables
from judges.making.context import Verifier
from loop.gate.config import GateConfig
from loop.gate.rules import AttemptRule
from loop.gate.suites.base import Scorer, Suite


@dataclass(frozen=True)
class Rivals:
    """The models that candidates are compared with.

    `best` is, for each suite that has one, the best model promoted so far.
    """

    champion: Checkpoint
    anchor: Checkpoint
    best: dict[str, Checkpoint]

    @classmethod
    def at(
        cls,
        registry: RegistryTables,
        anchor: Checkpoint,
        suites: Iterable[str],
        decision: Decision | None,
    ) -> Rivals:
        """The rivals of now, or those just before a decision that is stored."""
        when = decision.decided_at if decision else None
        best = {name: registry.alias(f"best:{name}", when) for name in suites}
        best_models = {name: model for name, model in best.items() if model}
        return cls(registry.champion(when), anchor, best_models)

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
    def rule(self) -> AttemptRule:
        """What the attempt asks of each candidate that was registered for it."""
        gate = self.store.gate
        promoted, registered = gate.num_promoted(self.number), gate.num_candidates(self.number)
        suites = [suite.rule for suite in self.suites]
        return AttemptRule(self.config, self.number, promoted, registered, suites)

    @property
    def models(self) -> list[Checkpoint]:
        """All models, in the order in which the scorer gives their scores."""
        return self.rivals.models(self.candidates)
