"""A kind of step that a user might write: fine-tuning, backwards."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trainers.packing import Bin, Pack
from trainers.steps.language import SupervisedFineTuning


class Backwards(SupervisedFineTuning):
    """Makes its rows less likely."""

    def loss(self, pack: Pack, items: Bin) -> tuple[Tensor, Sequence[Tensor]]:
        return self.engine(pack).logps_N.sum(), ()
