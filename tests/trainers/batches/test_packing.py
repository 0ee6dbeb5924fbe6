from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UserError
from infra.models.folders import load_model, resolve_model
from trainers.batches.packing import best_fit, lay_out, make_pack, plan_steps, resize_bins
from trainers.batches.rows import Row
from trainers.models.attention import ragged_attention, window_mask
from trainers.models.logprobs import chunked_logps, summed_logps
from trainers.models.modules import Policy, check_packing, load_policy, load_scalar

LENGTHS = st.lists(st.integers(1, 400), min_size=4, max_size=60)


@given(LENGTHS, st.integers(50, 2000), st.integers(1, 4), st.integers(0, 9), st.integers(0, 3))
def test_plan_holds_every_item_once(
    lengths: list[int], tokens: int, ranks: int, seed: int, epoch: int
) -> None:
    plan = plan_steps(lengths, tokens, ranks, seed, epoch)
    assert sorted(i for step in plan for i in step) == list(range(len(lengths)))
    assert all(len(step) >= ranks for step in plan)
    assert plan == plan_steps(lengths, tokens, ranks, seed, epoch)


@given(LENGTHS, st.integers(1, 3))
def test_steps_stay_in_the_token_budget_unless_a_rank_would_starve(
    lengths: list[int], ranks: int
) -> None:
    for step in plan_steps(lengths, 800, ranks, 0)[:-1]:
        assert sum(lengths[i] for i in step) <= 800 or len(step) <= ranks


def test_epochs_have_orders_of_their_own() -> None:
    assert plan_steps([1] * 50, 10, 1, 0, 0) != plan_steps([1] * 50, 10, 1, 0, 1)


@pytest.mark.parametrize("ranks", [2, 3])
def test_too_few_rows_for_the_ranks_is_said(ranks: int) -> None:
    with pytest.raises(ValueError, match="cannot feed"):
        plan_steps([5], 100, ranks, 0)
    with pytest.raises(ValueError, match="cannot feed"):
        lay_out([0], [5], 100, ranks)


@given(LENGTHS, st.integers(100, 900))
def test_best_fit_fills_bins_within_capacity(lengths: list[int], capacity: int) -> None:
    bins = best_fit(range(len(lengths)), lengths, capacity)
    assert sorted(i for b in bins for i in b) == list(range(len(lengths)))
    sizes = [sum(lengths[i] for i in b) for b in bins]
    assert all(size <= capacity or len(b) == 1 for size, b in zip(sizes, bins, strict=True))
    open_bins = sorted(size for size in sizes if size <= capacity)
    assert all(a + b > capacity for a, b in itertools.pairwise(open_bins)), (
        "no two would fit in one"
    )


def test_best_fit_known_answer() -> None:
    bins = best_fit(range(5), [5, 7, 3, 3, 2], 10)
    assert sorted(sorted(b) for b in bins) == [[0, 3, 4], [1, 2]]


@given(LENGTHS, st.integers(100, 900), st.integers(1, 4))
def test_every_rank_has_as_many_packs_and_all_items_are_dealt(
    lengths: list[int], capacity: int, ranks: int
) -> None:
    layout = lay_out(range(len(lengths)), lengths, capacity, ranks)
    assert len(layout) == ranks
    assert len({len(cells) for cells in layout}) == 1, "every rank runs as many passes"
    assert all(cell for cells in layout for cell in cells)
    assert sorted(i for cells in layout for cell in cells for i in cell) == list(
        range(len(lengths))
    )


@given(LENGTHS, st.integers(1, 4))
def test_bins_can_be_made_as_many_as_asked(lengths: list[int], count: int) -> None:
    bins = resize_bins(best_fit(range(len(lengths)), lengths, 500), lengths, count)
    assert len(bins) == count
    assert sorted(i for b in bins for i in b) == list(range(len(lengths)))


def rows(*lengths: int) -> list[Row]:
    generator = torch.Generator().manual_seed(len(lengths))
    made = []
    for length in lengths:
        ids = tuple(torch.randint(0, 250, (length,), generator=generator).tolist())
        flags = torch.rand(length, generator=generator) < 0.6
        made.append(Row(ids, (False, *flags.tolist()[1:-1], True)))
    return made


def test_positions_begin_again_in_every_row() -> None:
    pack = make_pack([Row((7, 8, 9), (False, True, True)), Row((5, 6), (False, True))])
    assert pack.ids_T.tolist() == [7, 8, 9, 5, 6]
    assert pack.positions_T.tolist() == [0, 1, 2, 0, 1]
    assert pack.trained_T.tolist() == [False, True, True, False, True]
    assert pack.last_T.tolist() == [2, 4]
    assert (pack.row_lengths, pack.trained_counts) == ((3, 2), (2, 1))


@pytest.mark.parametrize("name", ["tiny:llama", "tiny:qwen"])
def test_packed_equals_separate_equals_padded(name: str) -> None:
    folder = resolve_model(name, "m")
    policy, plain = load_policy(folder), load_model(folder)
    batch = rows(9, 31, 4, 17)
    packed = policy(make_pack(batch), entropy=True)
    separate = torch.cat([policy(make_pack([row])).logps_N for row in batch])
    assert torch.allclose(packed.logps_N, separate, atol=2e-6)
    for side in ("left", "right"):
        for pad, width in ((256, 31), (0, 40)):
            logps, entropies = padded_logps(plain, batch, side, pad, width)
            assert torch.allclose(packed.logps_N, logps, atol=5e-6)
            assert torch.allclose(packed.entropy_N, entropies, atol=2e-5)


def padded_logps(
    model: torch.nn.Module, batch: list[Row], side: str, pad: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The oracle: transformers over a padded batch, log-softmax over everything, then a plain
    choice."""
    ids, masks = [], []
    for row in batch:
        filling = [pad] * (width - len(row))
        ids.append([*filling, *row.ids] if side == "left" else [*row.ids, *filling])
        masks.append(
            [0] * len(filling) + [1] * len(row)
            if side == "left"
            else [1] * len(row) + [0] * len(filling)
        )
    mask = torch.tensor(masks)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=torch.tensor(ids), attention_mask=mask, position_ids=positions
    ).logits.log_softmax(-1)
    logps, entropies = [], []
    for i, row in enumerate(batch):
        start = width - len(row) if side == "left" else 0
        for t in range(1, len(row)):
            if row.trained[t]:
                before = logits[i, start + t - 1]
                logps.append(before[row.ids[t]])
                entropies.append(-(before.exp() * before).sum())
    return torch.stack(logps), torch.stack(entropies)


def test_gradients_of_a_pack_are_those_of_its_rows(tiny_folder: Path) -> None:
    batch = rows(12, 5, 20)
    packed, separate = load_policy(tiny_folder), load_policy(tiny_folder)
    packed(make_pack(batch)).logps_N.sum().backward()
    for row in batch:
        separate(make_pack([row])).logps_N.sum().backward()
    for (name, a), (_, b) in zip(
        packed.named_parameters(), separate.named_parameters(), strict=True
    ):
        assert torch.allclose(a.grad, b.grad, atol=1e-4, rtol=1e-4), name


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_chunks_give_what_the_whole_gives(
    monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    monkeypatch.setattr("trainers.models.logprobs.CHUNK_TOKENS", 3)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 11, bias=False).double()
    hidden = torch.randn(10, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 11, (10,))
    weights = torch.randn(10)
    chunked = chunked_logps(head, hidden, targets, temperature, entropy=False)
    grads = torch.autograd.grad((weights * chunked.logps_N).sum(), [hidden, head.weight])
    whole = (head(hidden).float() / temperature).log_softmax(-1)[range(10), targets]
    expected = torch.autograd.grad((weights * whole).sum(), [hidden, head.weight])
    assert torch.allclose(chunked.logps_N, whole, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(grads, expected, strict=True))


@pytest.mark.parametrize("bias", [False, True], ids=["plain head", "head with a bias"])
def test_the_sum_and_its_gradient_are_those_of_the_log_softmax(
    monkeypatch: pytest.MonkeyPatch, bias: bool
) -> None:
    monkeypatch.setattr("trainers.models.logprobs.CHUNK_TOKENS", 3)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 11, bias=bias)
    hidden = torch.randn(10, 8, requires_grad=True)
    targets = torch.randint(0, 11, (10,))
    total = summed_logps(head, hidden, targets)
    grads = torch.autograd.grad(0.5 * total, [hidden, head.weight])
    whole = head(hidden).log_softmax(-1)[range(10), targets].sum()
    expected = torch.autograd.grad(0.5 * whole, [hidden, head.weight])
    assert torch.allclose(total, whole, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(grads, expected, strict=True))
    assert float(summed_logps(head, hidden[:0], targets[:0])) == 0.0


def test_the_sum_under_autocast_is_that_of_single_tokens(tiny_folder: Path) -> None:
    policy, pack = load_policy(tiny_folder), make_pack(rows(20, 9))
    with torch.autocast("cpu", torch.bfloat16):
        single, total = policy(pack).logps_N.sum(), policy(pack, summed=True)
    grads = [torch.autograd.grad(x, policy.model.lm_head.weight)[0] for x in (single, total)]
    assert torch.allclose(single, total, atol=1e-2)
    assert torch.allclose(grads[0], grads[1], atol=0.02 * float(grads[0].abs().max()))


def test_nan_at_masked_positions_changes_neither_loss_nor_gradient(tiny_folder: Path) -> None:
    """What is not trained never reaches the loss: its hidden states may be anything."""
    policy = load_policy(tiny_folder)
    row = Row(tuple(range(10, 20)), (False,) * 6 + (True,) * 4)
    pack = make_pack([row])
    before_T = torch.cat([pack.trained_T[1:], pack.trained_T.new_zeros(1)])
    head = policy.model.get_output_embeddings()

    def gradient(dirty: bool) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = policy.hidden(pack).detach()
        if dirty:
            hidden[~before_T] = float("nan")
        hidden.requires_grad_()
        loss = chunked_logps(
            head, hidden[before_T], pack.ids_T[pack.trained_T], 1.0, False
        ).logps_N.sum()
        return loss, torch.autograd.grad(loss, hidden)[0]

    (clean, clean_grad), (loss, grad) = gradient(False), gradient(True)
    assert torch.equal(loss, clean)
    assert torch.equal(grad, clean_grad)


def test_rewards_are_read_at_the_last_real_token(tiny_folder: Path) -> None:
    scalar = load_scalar(tiny_folder, seed=4)
    batch = rows(8, 3, 15)
    together = scalar.rewards(make_pack(batch))
    scalar.packed = False
    for i, row in enumerate(batch):
        hidden = scalar.model.base_model(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1]
        assert torch.allclose(together[i], scalar.model.score(hidden)[0], atol=2e-5)
    again, other = load_scalar(tiny_folder, seed=4), load_scalar(tiny_folder, seed=5)
    assert torch.equal(again.rewards(make_pack(batch)), together)
    assert not torch.equal(other.rewards(make_pack(batch)), together)


def test_a_window_hides_what_is_too_far_back() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 9, 4) for _ in range(3))
    attended, _ = ragged_attention(
        None, query, key, value, None, row_lengths=(6, 3), sliding_window=2
    )
    scores = (query[0, :, :6] @ key[0, :, :6].transpose(1, 2)) * 4**-0.5
    scores = scores.masked_fill(~window_mask(6, 2, torch.device("cpu")), float("-inf"))
    assert torch.allclose(
        attended[0, :6].transpose(0, 1), scores.softmax(-1) @ value[0, :, :6], atol=1e-6
    )
    assert window_mask(3, 2, torch.device("cpu")).tolist() == [
        [True, False, False],
        [True, True, False],
        [False, True, True],
    ]


def test_a_model_whose_rows_see_each_other_is_refused(tiny_folder: Path) -> None:
    class Leaking(Policy):
        def hidden(self, pack: object) -> torch.Tensor:
            return super().hidden(pack).cumsum(0)  # type: ignore[arg-type]

    check_packing(load_policy(tiny_folder))
    with pytest.raises(UserError, match="its rows see each other"):
        check_packing(Leaking(load_model(tiny_folder)))
