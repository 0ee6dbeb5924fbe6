from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.losses import dpo_loss, row_sums, selected_logps, sft_loss


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 6, 11, generator=generator, dtype=torch.float64)
    ids = torch.randint(0, 11, (3, 6), generator=generator)
    trained = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1]], dtype=torch.bool)
    return logits, ids, trained


def test_selected_logps_equal_a_plain_loop() -> None:
    logits, ids, trained = batch()
    expected = [
        float(logits[b, t - 1].log_softmax(-1)[ids[b, t]]) for b in range(3) for t in range(1, 6) if trained[b, t]
    ]
    assert torch.allclose(selected_logps(logits, ids, trained), torch.tensor(expected), atol=1e-6)


def test_rows_are_summed_apart() -> None:
    logits, ids, trained = batch()
    sums = row_sums(selected_logps(logits, ids, trained), trained)
    alone = [selected_logps(logits[i : i + 1], ids[i : i + 1], trained[i : i + 1]).sum() for i in range(3)]
    assert torch.allclose(sums, torch.stack(alone))


def test_nan_at_masked_positions_changes_neither_loss_nor_gradient() -> None:
    logits, ids, trained = batch()
    clean = logits.clone().requires_grad_()
    sft_loss(clean, ids, trained)[0].backward()
    predicting = torch.zeros_like(trained)
    predicting[:, :-1] = trained[:, 1:]
    dirty = logits.masked_fill(~predicting.unsqueeze(-1), float("nan")).requires_grad_()
    loss, count = sft_loss(dirty, ids, trained)
    loss.backward()
    assert count == 6
    assert torch.isfinite(loss)
    assert dirty.grad is not None
    assert torch.equal(dirty.grad, clean.grad)


def test_row_without_trained_tokens_gives_zero() -> None:
    logits, ids, trained = batch()
    assert sft_loss(logits, ids, torch.zeros_like(trained))[1] == 0
    assert float(sft_loss(logits, ids, torch.zeros_like(trained))[0]) == 0.0


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=5), st.floats(0.01, 1.0))
def test_dpo_starts_at_ln_2(logps: list[float], beta: float) -> None:
    values = torch.tensor(logps, dtype=torch.float64)
    loss, count = dpo_loss(values, values - 1, values, values - 1, beta)
    assert float(loss) / count == pytest.approx(math.log(2), abs=1e-9)


def test_dpo_known_answer_and_direction() -> None:
    one = torch.tensor([1.0], dtype=torch.float64)
    zero = torch.zeros_like(one)
    loss, _ = dpo_loss(one, zero, zero, zero, beta=0.5)
    assert float(loss) == pytest.approx(-math.log(1 / (1 + math.exp(-0.5))))
    assert dpo_loss(one, zero, zero, zero, 0.5)[0] < dpo_loss(zero, one, zero, zero, 0.5)[0]
