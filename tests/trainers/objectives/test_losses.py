from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.objectives.losses import (
    dpo_loss,
    kl_terms,
    kto_loss,
    policy_loss,
    reward_loss,
    row_sums,
    value_loss,
)

FLOATS = st.lists(st.floats(-50, 0), min_size=1, max_size=5)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_rows_are_summed_apart() -> None:
    assert row_sums(tensor(1, 2, 3, 4), [1, 0, 3]).tolist() == [1, 0, 9]


@given(FLOATS, st.floats(0.01, 1.0), st.sampled_from(["sigmoid", "robust"]))
def test_dpo_starts_at_ln_2(logps: list[float], beta: float, kind: str) -> None:
    ratios = torch.zeros(len(logps), dtype=torch.float64)
    preferred = torch.full_like(ratios, 0.9) if kind == "robust" else None
    loss, count = dpo_loss(ratios, ratios, beta, kind, preferred)  # type: ignore[arg-type]
    assert float(loss) / count == pytest.approx(math.log(2), abs=1e-9)


def test_dpo_known_answer_and_direction() -> None:
    one, zero = tensor(1.0), tensor(0.0)
    loss, _ = dpo_loss(one, zero, beta=0.5)
    assert float(loss) == pytest.approx(-math.log(1 / (1 + math.exp(-0.5))))
    assert dpo_loss(one, zero, 0.5)[0] < dpo_loss(zero, one, 0.5)[0]


@given(st.floats(-5, 5), st.floats(0.5, 1.0), st.floats(0.05, 1.0))
def test_smoothing_is_the_expected_loss_over_who_is_right(
    margin: float, preferred: float, beta: float
) -> None:
    side, zero = tensor(margin), tensor(0.0)
    right, wrong = dpo_loss(side, zero, beta)[0], dpo_loss(zero, side, beta)[0]
    smoothed, _ = dpo_loss(side, zero, beta, "sigmoid", tensor(preferred))
    assert float(smoothed) == pytest.approx(
        preferred * float(right) + (1 - preferred) * float(wrong)
    )


@given(st.floats(-5, 5), st.floats(0.6, 1.0), st.floats(0.05, 1.0))
def test_the_robust_loss_is_unbiased_under_flipped_labels(
    margin: float, preferred: float, beta: float
) -> None:
    side, zero = tensor(margin), tensor(0.0)
    as_labeled, flipped = (
        float(dpo_loss(a, b, beta, "robust", tensor(preferred))[0])
        for a, b in ((side, zero), (zero, side))
    )
    clean = float(dpo_loss(side, zero, beta)[0])
    assert preferred * as_labeled + (1 - preferred) * flipped == pytest.approx(clean, abs=1e-6)


def test_ipo_is_least_at_its_target_margin() -> None:
    target = tensor(1 / (2 * 0.1))
    assert float(dpo_loss(target, tensor(0.0), 0.1, "ipo")[0]) == 0.0
    assert float(dpo_loss(tensor(0.0), tensor(0.0), 0.1, "ipo")[0]) == pytest.approx(25.0)


def test_kto_known_answers() -> None:
    ratios = tensor(2.0, 2.0)
    desirable = torch.tensor([True, False])
    loss, count = kto_loss(ratios, desirable, kl=1.0, beta=0.5, weights=(1.0, 3.0))
    expected = (1 - 1 / (1 + math.exp(-0.5))) + 3 * (1 - 1 / (1 + math.exp(0.5)))
    assert (float(loss), count) == (pytest.approx(expected), 2)


def test_reward_loss_weighs_margins_and_centres() -> None:
    chosen, rejected = tensor(1.0, 2.0), tensor(0.0, 3.0)

    def one(difference: float) -> float:
        return math.log(1 + math.exp(-difference))

    weights = tensor(0.5, 1.0)
    assert float(reward_loss(chosen, rejected, weights)) == pytest.approx(0.5 * one(1) + one(-1))
    with_margin = reward_loss(chosen, rejected, weights, margins_P=tensor(0.5, 0.0))
    assert float(with_margin) == pytest.approx(0.5 * one(0.5) + one(-1))
    centred = reward_loss(chosen, rejected, weights, centering=0.1)
    assert float(centred) == pytest.approx(0.5 * (one(1) + 0.1) + one(-1) + 2.5)


def test_a_policy_update_begins_at_ratio_one() -> None:
    logps = tensor(-1.0, -2.0).requires_grad_()
    terms = policy_loss(logps, logps.detach(), tensor(1.0, -2.0), torch.ones(2), (0.2, 0.2))
    assert (float(terms.loss), float(terms.clipped), float(terms.moved)) == (1.0, 0.0, 0.0)
    terms.loss.backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [-1.0, 2.0], "the policy gradient: minus the advantage"


def test_clipping_stops_the_gradient_on_the_side_that_gains() -> None:
    logps = tensor(0.5, 0.5, -0.5, -0.5).requires_grad_()
    terms = policy_loss(
        logps, torch.zeros(4), tensor(1.0, -1.0, 1.0, -1.0), torch.ones(4), (0.2, 0.3)
    )
    terms.loss.backward()
    assert logps.grad is not None
    assert float(terms.clipped) == 2
    assert float(logps.grad[0]) == 0.0, "already far more likely, and rewarded"
    assert float(logps.grad[3]) == 0.0, "already far less likely, and punished"
    assert float(logps.grad[1]) == pytest.approx(math.exp(0.5))
    assert float(logps.grad[2]) == pytest.approx(-math.exp(-0.5))
    assert float(terms.loss.detach()) == pytest.approx(-1.3 + math.exp(0.5) - math.exp(-0.5) + 0.8)


def test_value_loss_takes_the_worse_of_free_and_held() -> None:
    loss, count = value_loss(tensor(1.0, 0.0), tensor(0.0, 0.0), tensor(1.0, 1.0), clip=0.2)
    assert (float(loss), count) == (pytest.approx(0.5 * (0.8**2 + 1.0)), 2)
    assert float(value_loss(tensor(1.0), tensor(0.0), tensor(1.0), clip=0.0)[0]) == 0.0


class ExactPolicies:
    """Two policies over sequences of four tokens of eight; everything is summed over all 4,096
    sequences."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.sequences = torch.tensor(list(itertools.product(range(8), repeat=4)))
        self.logits = (
            0.7 * torch.randn(4, 8, 8, dtype=torch.float64)
        ).requires_grad_()  # by place and token before
        self.reference = 0.7 * torch.randn(4, 8, 8, dtype=torch.float64)

    def logps(self, logits: torch.Tensor) -> torch.Tensor:
        table = logits.log_softmax(-1)
        before = torch.cat([torch.zeros_like(self.sequences[:, :1]), self.sequences[:, :-1]], dim=1)
        return torch.stack([table[t, before[:, t], self.sequences[:, t]] for t in range(4)], dim=1)

    def exact(self) -> torch.Tensor:
        ours, theirs = self.logps(self.logits).sum(1), self.logps(self.reference).sum(1)
        return (ours.exp() * (ours - theirs)).sum()

    def estimated(self, kind: str, corrected: bool = False) -> tuple[float, torch.Tensor]:
        """(expected value, expected gradient of the estimate with the sequences held as drawn)."""
        ours, theirs = self.logps(self.logits), self.logps(self.reference)
        terms = kl_terms(ours.flatten(), theirs.flatten(), kind).reshape(ours.shape)  # type: ignore[arg-type]
        expected = (ours.sum(1).detach().exp() * terms.sum(1)).sum()
        return float(expected), torch.autograd.grad(expected, self.logits)[0]


@pytest.fixture(scope="module")
def exact() -> ExactPolicies:
    return ExactPolicies()


def test_kl_estimators_against_the_exact_sum(exact: ExactPolicies) -> None:
    truth = exact.exact()
    for kind in ("k1", "k3", "k3_corrected"):
        assert exact.estimated(kind)[0] == pytest.approx(float(truth), abs=1e-9), kind
    assert exact.estimated("k2")[0] != pytest.approx(float(truth), abs=1e-3), "k2 is biased"


def test_gradients_of_kl_estimators_against_the_exact_sum() -> None:
    """Of sequences of one token, where a token's estimate has no influence on later ones."""
    torch.manual_seed(1)
    logits = torch.randn(8, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(8, dtype=torch.float64).log_softmax(-1)

    def gradient(kind: str) -> torch.Tensor:
        ours = logits.log_softmax(-1)
        terms = kl_terms(ours, reference, kind)  # type: ignore[arg-type]
        return torch.autograd.grad((ours.detach().exp() * terms).sum(), logits)[0]

    ours = logits.log_softmax(-1)
    truth = torch.autograd.grad((ours.exp() * (ours - reference)).sum(), logits)[0]
    other = torch.autograd.grad(
        (reference.exp() * (reference - logits.log_softmax(-1))).sum(), logits
    )[0]
    assert torch.allclose(gradient("k2"), truth, atol=1e-12), "k2 has the right gradient"
    assert torch.allclose(gradient("k3_corrected"), truth, atol=1e-12), "so has the corrected k3"
    assert torch.allclose(gradient("k1"), torch.zeros(8, dtype=torch.float64), atol=1e-12), (
        "k1 has none at all"
    )
    assert torch.allclose(gradient("k3"), other, atol=1e-12), "k3 has that of the other direction"
    assert not torch.allclose(other, truth, atol=1e-3)


def test_summed_over_a_sequence_k2_has_the_gradient_of_each_tokens_own_divergence(
    exact: ExactPolicies,
) -> None:
    """Estimates at each token leave out what a token changes about later ones; that is the price of
    all of them."""
    ours, theirs = exact.logps(exact.logits), exact.logps(exact.reference)
    before = torch.cat([torch.zeros_like(exact.sequences[:, :1]), exact.sequences[:, :-1]], dim=1)
    table, reference = exact.logits.log_softmax(-1), exact.reference.log_softmax(-1)
    divergence = (table.exp() * (table - reference)).sum(-1)
    weights = ours.sum(1).detach().exp()
    own = sum((weights * divergence[t, before[:, t]]).sum() for t in range(4))
    truth = torch.autograd.grad(own, exact.logits)[0]
    for kind in ("k2", "k3_corrected"):
        assert torch.allclose(exact.estimated(kind)[1], truth, atol=1e-10), kind
    assert theirs.shape == ours.shape
