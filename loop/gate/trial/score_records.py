"""From scores to the records of the gate: one of each item and model, and means with errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.records import Evaluation, ItemScore
from loop.gate.estimates import clustered_mean_and_error
from loop.gate.suites.base import Item

Rows = Mapping[str, Sequence[float]]
"""The scores of each model, by its digest, in the order of the items."""


@dataclass(frozen=True)
class ScoreRecords:
    """Makes the records of one suite in one attempt."""

    attempt: int
    generation: int
    suite: str

    def item_scores(
        self,
        items: Sequence[Item],
        rows: Rows,
        details: Mapping[str, Sequence[str]] | None = None,
    ) -> list[ItemScore]:
        """The score of each item by each model; `details` are texts by model, such as answers."""
        return [
            ItemScore(
                attempt=self.attempt,
                suite=self.suite,
                item_id=item.item_id,
                position=item.position,
                model_digest=digest,
                value=values[i],
                size=item.size,
                detail=details[digest][i] if details else "",
                unit=item.unit,
            )
            for digest, values in rows.items()
            for i, item in enumerate(items)
        ]

    def means(self, metric: str, rows: Rows, units: Sequence[str]) -> list[Evaluation]:
        """The mean of each model, with its standard error clustered by unit."""
        return [
            self.evaluation(digest, metric, *clustered_mean_and_error(values, units), len(values))
            for digest, values in rows.items()
        ]

    def evaluation(
        self, digest: str, metric: str, value: float, error: float, num_items: int
    ) -> Evaluation:
        """A measure of one model."""
        return Evaluation(
            attempt=self.attempt,
            generation=self.generation,
            suite=self.suite,
            metric=metric,
            model_digest=digest,
            value=value,
            standard_error=error,
            num_items=num_items,
        )
