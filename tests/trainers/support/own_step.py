"""A kind of step that a user might write: fine-tuning, backwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainers.batches.packing import Bin, Pack
from trainers.steps.language import SupervisedFineTuning
from trainers.steps.preferences import DirectPreferenceOptimisation


class Backwards(SupervisedFineTuning):
    """Makes its rows less likely."""

    def loss(self, pack: Pack, items: Bin) -> tuple[Tensor, Sequence[Tensor]]:
        return self.engine(pack).logps_N.sum(), ()


class Drifting(DirectPreferenceOptimisation):
    """Loses its weights a little between taking its references and its first update."""

    def prepare(self) -> None:
        super().prepare()
        with torch.no_grad():
            for parameter in self.engine.module.parameters():
                parameter.mul_(1.01)
