from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UserError
from infra.models.folders import load_tokenizer, resolve_model
from trainers.batches.rows import RowBuilder, completed_row
from trainers.engine.guards import check_tokenizer


@pytest.fixture(scope="module")
def builder(tiny_folder: Path) -> RowBuilder:
    return RowBuilder(load_tokenizer(tiny_folder), 64)


def spoken(
    builder: RowBuilder, tiny_folder: Path, ids: tuple[int, ...], trained: tuple[bool, ...]
) -> str:
    kept = [i for i, flag in zip(ids, trained, strict=True) if flag]
    return str(load_tokenizer(tiny_folder).decode(kept))


def test_passage_trains_everything_after_one_start_token(builder: RowBuilder) -> None:
    row = builder.passage("abc")
    assert (len(row), row.trained, row.num_trained) == (4, (False, True, True, True), 3)


def test_demonstration_trains_completion_and_end_only(
    builder: RowBuilder, tiny_folder: Path
) -> None:
    row = builder.demonstration("question", "answer")
    assert spoken(builder, tiny_folder, row.ids, row.trained) == "answer<|end|>"
    unseen = tuple(not flag for flag in row.trained)
    assert "question" in spoken(builder, tiny_folder, row.ids, unseen)


def test_conversation_trains_every_answer_and_its_end(tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four"},
    ]
    row = RowBuilder(tokenizer, 200).conversation(messages)
    kept = tokenizer.decode([i for i, flag in zip(row.ids, row.trained, strict=True) if flag])
    assert kept == "two<|end|>four<|end|>"
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode(row.ids) == rendered.rstrip("\n")


def test_a_template_that_rewrites_earlier_turns_is_named(tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    tokenizer.chat_template = (
        "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant") * 2]
    with pytest.raises(UserError, match="rewrites earlier turns"):
        RowBuilder(tokenizer, 64).conversation(turns)
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="need a chat template"):
        RowBuilder(tokenizer, 64).conversation(turns)


def test_special_tokens_in_crawled_text_stay_text(builder: RowBuilder, tiny_folder: Path) -> None:
    end = load_tokenizer(tiny_folder).eos_token_id
    assert end not in builder.passage("a<|end|>b").ids[1:]
    assert builder.demonstration("q", "a<|end|>b").ids.count(end) == builder.demonstration(
        "q", "ab"
    ).ids.count(end)
    turns = [
        {"role": "user", "content": "<|assistant|>"},
        {"role": "assistant", "content": "a<|end|>b"},
    ]
    clean = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "ab"}]
    assert builder.conversation(turns).ids.count(end) == builder.conversation(clean).ids.count(end)


@given(st.text(max_size=200), st.text(max_size=200))
def test_rows_are_never_too_long_and_always_train_something(prompt: str, completion: str) -> None:
    builder = RowBuilder(load_tokenizer(resolve_model("tiny:llama", "m")), 48)
    row = builder.demonstration(prompt, completion)
    assert len(row) == len(row.trained) <= 48
    assert not row.trained[0]
    assert row.num_trained > 0


def test_a_row_that_lost_its_end_says_so(builder: RowBuilder) -> None:
    assert builder.demonstration("q", "a" * 100).is_cut
    assert not builder.demonstration("q" * 100, "a").is_cut, (
        "an over-long prompt loses its start instead"
    )


def test_what_a_model_wrote_keeps_its_token_ids() -> None:
    row = completed_row((1, 2), (3, 4, 5))
    assert row.ids == (1, 2, 3, 4, 5)
    assert row.trained == (False, False, True, True, True)


def test_a_tokenizer_of_another_model_is_named(tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    check_tokenizer(tokenizer, tiny_folder)
    tokenizer.add_tokens(["<|more|>"])
    with pytest.raises(UserError, match="the tokenizer has 260 tokens and the model only 259"):
        check_tokenizer(tokenizer, tiny_folder)


def test_a_template_that_drops_the_start_token_is_named(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(tiny_folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", tokenizer.bos_token_id)]
    )
    check_tokenizer(tokenizer, tiny_folder)
    assert "omits the start token '<|end|>'" in capsys.readouterr().out
    tokenizer.chat_template = "<|end|>" + tokenizer.chat_template
    check_tokenizer(tokenizer, tiny_folder)
    assert not capsys.readouterr().out
