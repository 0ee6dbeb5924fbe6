"""The value of passages: what it measures, and how it ranks them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from infra.records import Sample
from infra.store import Store
from judges.making.passages.value import passage_values, share_ranks


@pytest.fixture(autouse=True)
def passages(store: Store) -> None:
    """Passages a to e, and a demonstration f."""
    kinds = dict.fromkeys("abcde", "passage") | {"f": "demonstration"}
    store.labels.add_samples(
        [Sample(name, "d", kind, "", name, "web", 1, 0, 1) for name, kind in kinds.items()]
    )


def test_a_value_is_what_the_tuned_champion_saves(store: Store) -> None:
    before = {"a": 1.5, "b": 1.0, "c": 2.0, "d": 1.0, "f": 2.0}
    after = {"a": 1.0, "b": 1.25, "d": math.nan, "e": 1.0, "f": 1.0}
    store.labelers.add_surprise(1, "champion", list(before.items()))
    store.labelers.add_surprise(1, "tuned", list(after.items()), is_tuned=True)
    assert passage_values(store, 1) == {"a": 0.5, "b": -0.25}
    assert passage_values(store, 2) == {}


def test_the_champion_that_completed_is_not_confused_with_the_tuned_one(store: Store) -> None:
    store.labelers.add_surprise(1, "tuned", [("a", 1.0)], is_tuned=True)
    assert store.labelers.completing_champion(1) is None
    store.labelers.add_surprise(1, "champion", [("a", 1.5)])
    assert store.labelers.completing_champion(1) == "champion"
    assert store.labelers.surprise(1) == {"a": 1.5}
    assert store.labelers.tuned_bits(1) == {"a": 1.0}


@given(st.dictionaries(st.text(max_size=3), st.integers(-9, 9), min_size=1))
def test_ranks_keep_the_order_and_ties(values: dict[str, int]) -> None:
    ranks = share_ranks({key: float(value) for key, value in values.items()})
    assert all(0 < rank <= 1 for rank in ranks.values())
    for a in values:
        for b in values:
            assert (values[a] < values[b]) == (ranks[a] < ranks[b])


def test_no_values_have_no_ranks() -> None:
    assert share_ranks({}) == {}


def test_to_first_order_it_is_what_a_step_on_the_passage_does_for_the_development_text(
    tiny_folder: Path,
) -> None:
    """Plain torch: a small step on either text lowers the loss of the other by the same."""
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float64).eval()
    torch.manual_seed(0)
    passage, development = torch.randint(0, 200, (2, 1, 40))
    base = {name: p.detach().clone() for name, p in model.named_parameters()}

    def loss(ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, labels=ids).loss

    def saved(learned: torch.Tensor, read: torch.Tensor, rate: float) -> float:
        model.load_state_dict(base, strict=False)
        before = float(loss(read))
        gradients = torch.autograd.grad(loss(learned), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * gradient
        after = float(loss(read))
        model.load_state_dict(base, strict=False)
        return (before - after) / rate

    value = saved(development, passage, 1e-4)
    assert value == pytest.approx(saved(passage, development, 1e-4), rel=1e-3)
    assert abs(value) > 1e-3
