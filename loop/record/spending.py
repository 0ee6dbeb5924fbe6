"""What a run has paid for its labelers, over all stages and resumed runs."""

from __future__ import annotations

from dataclasses import dataclass

from infra.records import content_key
from infra.store import Store
from judges.config import JudgeConfig

FACT = "spent/"


@dataclass(frozen=True)
class Spending:
    """What a run has paid for one server; 0 for a labeler that costs nothing."""

    store: Store
    config: JudgeConfig

    @property
    def _fact(self) -> str:
        # An address may hold a password, and facts are shown.
        return FACT + content_key(self.config.endpoint.url)[:12]

    @property
    def amount(self) -> float:
        """In the currency of the recipe's prices."""
        return float(self.store.run.facts().get(self._fact, 0.0))

    def pay(self, amount: float) -> None:
        """Add an amount to what was paid before."""
        if amount > 0.0:
            self.store.run.set_fact(self._fact, repr(self.amount + amount))
