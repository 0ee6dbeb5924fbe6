from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.models import load_tokenizer
from trainers.batches import Row, RowBuilder, pad_rows, plan_steps
from trainers.engine import learning_rate_at

LENGTHS = st.lists(st.integers(1, 400), min_size=4, max_size=60)


@given(LENGTHS, st.integers(50, 2000), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_plan_holds_every_row_once_and_no_empty_cell(
    lengths: list[int], batch_tokens: int, micro: int, ranks: int, seed: int
) -> None:
    plan = plan_steps(lengths, batch_tokens, micro, ranks, seed)
    assert sorted(i for step in plan for i in step.indices) == list(range(len(lengths)))
    for step in plan:
        assert len(step.cells) == ranks
        assert len({len(cells) for cells in step.cells}) == 1, "every rank runs as many passes"
        assert all(cell for cells in step.cells for cell in cells)
    assert plan == plan_steps(lengths, batch_tokens, micro, ranks, seed)


@given(LENGTHS, st.integers(1, 3))
def test_steps_stay_in_the_token_budget_unless_a_rank_would_starve(lengths: list[int], ranks: int) -> None:
    for step in plan_steps(lengths, 800, 2, ranks, 0)[:-1]:
        rows = step.indices
        assert sum(lengths[i] for i in rows) <= 800 or len(rows) <= ranks


def test_too_few_rows_for_the_ranks_is_said() -> None:
    with pytest.raises(ValueError, match="cannot feed"):
        plan_steps([5], 100, 1, 2, 0)


@pytest.fixture(scope="module")
def builder(tiny_folder: Path) -> RowBuilder:
    return RowBuilder(load_tokenizer(tiny_folder), 64)


def test_passage_trains_everything_after_one_start_token(builder: RowBuilder) -> None:
    row = builder.passage("abc")
    assert (len(row.ids), row.first_trained, row.num_trained) == (4, 1, 3)


def test_demonstration_trains_completion_and_end_only(builder: RowBuilder, tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    row = builder.demonstration("question", "answer")
    assert tokenizer.decode(row.ids[row.first_trained :]) == "answer<|end|>"
    assert "question" in tokenizer.decode(row.ids[: row.first_trained])


def test_special_tokens_in_crawled_text_stay_text(builder: RowBuilder, tiny_folder: Path) -> None:
    end = load_tokenizer(tiny_folder).eos_token_id
    assert end not in builder.passage("a<|end|>b").ids[1:]
    assert builder.demonstration("q", "a<|end|>b").ids.count(end) == builder.demonstration("q", "ab").ids.count(end)


@given(st.text(max_size=200), st.text(max_size=200))
def test_rows_are_never_too_long_and_always_train_something(prompt: str, completion: str) -> None:
    from infra.models import resolve_model

    builder = RowBuilder(load_tokenizer(resolve_model("tiny:llama", "m")), 48)
    row = builder.demonstration(prompt, completion)
    assert len(row.ids) <= 48
    assert row.first_trained >= 1
    assert row.num_trained > 0


def test_padding_is_on_the_right_and_never_trained() -> None:
    ids, mask, trained = pad_rows([Row((1, 2, 3), 1), Row((4, 5), 1)], pad_id=9)
    assert ids.tolist() == [[1, 2, 3], [4, 5, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert trained.tolist() == [[False, True, True], [False, True, False]]
    assert trained.dtype == torch.bool


def test_learning_rate_warms_up_and_decays_to_a_tenth() -> None:
    rates = [learning_rate_at(step, 20, 1.0, 0.1) for step in range(20)]
    assert rates[0] == 0.5
    assert max(rates) == rates[1] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert learning_rate_at(0, 1, 1.0, 0.1) == 1.0
