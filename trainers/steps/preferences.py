"""Preference learning without a reward model: DPO, IPO, their smoothed variants, and KTO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from infra.errors import StageError
from trainers.batches.packing import Bin, Pack, make_pack
from trainers.batches.rows import Row
from trainers.engine.guards import LOGP_TOLERANCE
from trainers.models.logprobs import TokenLogps
from trainers.models.modules import Policy, load_policy
from trainers.objectives.losses import dpo_loss, kto_loss, row_sums
from trainers.steps.base import StepContext, SupervisedStep


class ReferenceStep(SupervisedStep):
    """A step whose loss compares the policy with a reference model.

    The reference's log-probabilities are computed first, in the same packs that will be trained. So
    a policy that is its own reference agrees with it exactly before the first update, in bfloat16
    too.
    """

    def __init__(self, context: StepContext) -> None:
        super().__init__(context)
        self._references: dict[Bin, Tensor] = {}
        self._is_untouched = False

    @override
    def begin(self, number: int) -> None:
        self._is_untouched = number == 0

    @override
    def prepare(self) -> None:
        with self.engine.frozen(), self.engine.autocast():
            if self.task.is_own_reference:
                self.take_references(self.engine)
            else:
                self.take_references(self._other_reference())

    def _other_reference(self) -> Policy:
        return (
            load_policy(self.task.reference_folder, self.engine.dtype).to(self.engine.device).eval()
        )

    def take_references(self, model: Callable[[Pack], TokenLogps]) -> None:
        """Compute the reference's log-probabilities of every row in every pack of this rank."""
        for number in range(self.num_steps):
            for items in self.bins(number):
                pack = self.pack(items)
                self._references[items] = self.ratios(model(pack), pack)

    def ratios(self, logps: TokenLogps, pack: Pack) -> Tensor:
        """Return the log-probability of each row, [B]."""
        return row_sums(logps.logps_N, pack.trained_counts)

    def log_ratios(self, pack: Pack, items: Bin) -> Tensor:
        """Return the log-ratio of policy and reference for each row, [B].

        It is one forward pass, because using a module twice in one backward pass loses gradients
        under ZeRO-2. Raises `StageError` if a policy that is its own reference differs from it
        before the first update: DPO must start at ln 2.
        """
        ratios_B = self.ratios(self.engine(pack), pack) - self._references[items]
        if self._is_untouched and self.task.is_own_reference:
            apart = float(ratios_B.detach().abs().max())
            if apart > LOGP_TOLERANCE * max(pack.trained_counts):
                where = f"{self.task.kind} step 0"
                problem = f"the policy differs from itself by {apart:.2g} nats per completion"
                raise StageError("train", where, problem)
        return ratios_B


class DirectPreferenceOptimisation(ReferenceStep):
    """DPO and IPO against a named reference."""

    section = "dpo"
    sums = ("accuracy", "margin")

    @override
    def make_rows(self, data: Mapping[str, Any]) -> list[Row]:
        return [
            self.builder.demonstration(data["prompt"], data[side])
            for side in ("chosen", "rejected")
        ]

    @override
    def ratios(self, logps: TokenLogps, pack: Pack) -> Tensor:
        sums_B = super().ratios(logps, pack)
        if self.config.dpo.loss != "ipo":
            return sums_B
        return sums_B / torch.tensor(pack.trained_counts, device=sums_B.device)

    @override
    def loss(self, pack: Pack, items: Bin) -> tuple[Tensor, Sequence[Tensor]]:
        config = self.config.dpo
        ratios_B = self.log_ratios(pack, items)
        chosen_P, rejected_P = ratios_B[0::2], ratios_B[1::2]
        preferred_P = None
        if config.smoothed or config.loss == "robust":
            preferred_P = torch.tensor(
                [self.data[i]["probability"] for i in items], device=ratios_B.device
            )
        loss, _ = dpo_loss(chosen_P, rejected_P, config.beta, config.loss, preferred_P)
        margin_P = (chosen_P - rejected_P).detach()
        accuracy = (margin_P > 0).sum() + 0.5 * (margin_P == 0).sum()
        return loss, (accuracy, config.beta * margin_P.sum())


class KahnemanTverskyOptimisation(ReferenceStep):
    """KTO: desirable and undesirable rows, relative to the policy's distance from the reference.

    The distance is estimated once per step and over all ranks, before the update, on prompts with
    the completion of the step's next row.
    """

    section = "kto"
    sums = ("kl",)

    def __init__(self, context: StepContext) -> None:
        super().__init__(context)
        self._kl = 0.0
        self._mismatched: dict[int, list[tuple[list[Row], Tensor]]] = {}

    @override
    def make_rows(self, data: Mapping[str, Any]) -> list[Row]:
        return [self.builder.demonstration(data["prompt"], data["completion"])]

    @override
    def take_references(self, model: Callable[[Pack], TokenLogps]) -> None:
        super().take_references(model)
        for number in range(self.num_steps):
            self._mismatched[number] = []
            for rows in self._mismatched_rows(number):
                pack = make_pack(rows).to(self.engine.device)
                self._mismatched[number].append((rows, self.ratios(model(pack), pack)))

    def _mismatched_rows(self, number: int) -> Iterator[list[Row]]:
        """Yield for each of the rank's packs of a step its prompts, each with the completion of the
        step's next row.
        """
        step = self.plan[number]
        following = dict(zip(step, (*step[1:], step[0]), strict=True))
        for items in self.bins(number):
            yield [
                self.builder.demonstration(
                    self.data[i]["prompt"], self.data[following[i]]["completion"]
                )
                for i in items
            ]

    @override
    def begin(self, number: int) -> None:
        super().begin(number)
        total = torch.zeros(2, dtype=torch.float64)
        with self.engine.frozen():
            for rows, reference_B in self._mismatched[number]:
                pack = make_pack(rows).to(self.engine.device)
                distance_B = self.ratios(self.engine(pack), pack) - reference_B
                total += torch.tensor([float(distance_B.double().sum()), float(distance_B.numel())])
        summed, count = self.engine.total(total).tolist()
        self._kl = max(0.0, summed / count)

    @override
    def loss(self, pack: Pack, items: Bin) -> tuple[Tensor, Sequence[Tensor]]:
        config = self.config.kto
        desirable_B = torch.tensor(
            [bool(self.data[i]["desirable"]) for i in items], device=self.engine.device
        )
        weights = (config.desirable_weight, config.undesirable_weight)
        loss, count = kto_loss(
            self.log_ratios(pack, items), desirable_B, self._kl, config.beta, weights
        )
        return loss, (torch.tensor(self._kl * count),)
