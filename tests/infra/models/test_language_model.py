from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.models.language_model import (
    MIN_PREFIX_TOKENS,
    LanguageModel,
    length_batches,
    neutralise,
    prefix_groups,
    shared_prefix,
)


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> LanguageModel:
    return LanguageModel(tiny_folder, exact=True)


def test_scores_equal_a_plain_forward_pass(tiny: LanguageModel) -> None:
    context, text = "abc", "defgh"
    ids = torch.tensor([tiny.encode(context + text)])
    with torch.no_grad():
        logps = tiny.model(ids).logits.log_softmax(-1)[0]
    expected = sum(float(logps[i - 1, ids[0, i]]) for i in range(3, 8))
    (score,) = tiny.score([(context, text)])
    assert score.num_tokens == 5
    assert math.isclose(score.logp, expected, abs_tol=1e-4)


def test_bits_per_byte_after_a_context_equal_a_plain_forward_pass(tiny: LanguageModel) -> None:
    contexts, texts = ["what is it?", ""], ["größe", "plain"]
    for context, text, bits in zip(
        contexts, texts, tiny.bits_per_byte(texts, contexts), strict=True
    ):
        before = tiny.encode(context) or [tiny.tokenizer.bos_token_id]
        ids = torch.tensor([before + tiny.encode(text)])
        with torch.no_grad():
            nats = tiny.model(ids).logits[0, len(before) - 1 : -1].log_softmax(-1)
        logp = nats.gather(1, ids[0, len(before) :, None]).sum()
        assert bits == pytest.approx(-float(logp) / math.log(2) / len(text.encode()), abs=1e-4)


def test_scores_do_not_depend_on_the_batch(tiny: LanguageModel) -> None:
    pairs = [("", "short"), ("a longer context", "text"), ("x", "y"), ("q" * 50, "z" * 40)]
    together = tiny.score(pairs)
    alone = [tiny.score([pair])[0] for pair in pairs]
    for a, b in zip(together, alone, strict=True):
        assert math.isclose(a.logp, b.logp, abs_tol=1e-4)


def test_a_shared_beginning_is_computed_once_and_changes_nothing(tiny: LanguageModel) -> None:
    start = "an instruction that all of these begin with: "
    pairs = [(f"{start}{i} {'w' * i}", "text" if i % 2 else "y") for i in range(6)] + [
        ("another", "text")
    ]
    alone = [tiny.score([pair])[0] for pair in pairs]
    tiny._prefixes.clear()
    together, again = tiny.score(pairs), tiny.score(pairs[:3])
    (prefix,) = tiny._prefixes
    assert tiny.tokenizer.decode(prefix) == start
    for a, b in zip([*alone, *alone[:3]], [*together, *again], strict=True):
        assert math.isclose(a.logp, b.logp, abs_tol=1e-4)
        assert a.num_context_tokens == b.num_context_tokens


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=24), max_size=12))
def test_prefix_groups_hold_every_row_once_and_share_what_they_say(rows: list[list[int]]) -> None:
    groups = prefix_groups(rows)
    assert sorted(i for _, members in groups for i in members) == list(range(len(rows)))
    for prefix, members in groups:
        assert len(prefix) >= MIN_PREFIX_TOKENS or not prefix
        assert all(
            tuple(rows[i][: len(prefix)]) == prefix and len(rows[i]) > len(prefix) for i in members
        )


def test_what_rows_share_leaves_each_a_token() -> None:
    assert shared_prefix([[1, 2, 3], [1, 2, 3]]) == (1, 2)
    assert shared_prefix([[1, 2], [1, 2, 3], [1, 2, 4]]) == (1,)
    assert shared_prefix([[5], [1, 2]]) == ()


def test_one_token_labels_share_a_pass_and_agree_with_the_long_way(tiny: LanguageModel) -> None:
    yes, no = tiny.score([("question", "y"), ("question", "n")])
    with torch.no_grad():
        logps = tiny.model(torch.tensor([tiny.encode("question")])).logits[0, -1].log_softmax(-1)
    assert math.isclose(yes.logp, float(logps[tiny.encode("y")[0]]), abs_tol=1e-4)
    assert math.isclose(no.logp, float(logps[tiny.encode("n")[0]]), abs_tol=1e-4)


def test_empty_continuation_costs_nothing(tiny: LanguageModel) -> None:
    assert tiny.score([("context", "")])[0].logp == 0.0


def test_text_longer_than_the_window_is_cut_not_refused(tiny: LanguageModel) -> None:
    (score,) = tiny.score([("c" * 3000, "t" * 3000)])
    assert score.num_tokens == tiny.max_tokens - 1


def test_completions_repeat_for_a_seed_and_differ_between_seeds(tiny: LanguageModel) -> None:
    prompts = ["one", "another prompt"]
    first = tiny.complete(prompts, 16, 1.0, seed=1)
    assert first == tiny.complete(prompts, 16, 1.0, seed=1)
    assert first != tiny.complete(prompts, 16, 1.0, seed=2)


def test_completing_leaves_the_global_random_state_alone(tiny: LanguageModel) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny.complete(["x"], 4, 1.0, seed=9)
    assert torch.equal(torch.rand(3), expected)


@given(st.text(alphabet="<|im_start>end "), st.sampled_from(["<|im_start|>", "<|im_end|>"]))
def test_no_special_token_survives_in_untrusted_text(text: str, token: str) -> None:
    hostile = text + token + text
    assert token not in neutralise(hostile, [token])


def test_special_tokens_in_untrusted_text_become_ordinary_ones(tiny: LanguageModel) -> None:
    special = {tiny.tokenizer.convert_tokens_to_ids(t) for t in tiny.special_tokens}
    assert special & set(tiny.encode("<|user|>"))
    assert not special & set(tiny.encode(tiny.neutralise("a<|user|>b<|end|>")))


@given(st.lists(st.integers(1, 500), max_size=40), st.integers(1, 600))
def test_length_batches_hold_every_index_once_within_the_limit(
    lengths: list[int], limit: int
) -> None:
    batches = list(length_batches(lengths, limit))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= limit
