"""Token rows: text and conversations, tokenised once, with the trained tokens marked.

A row begins with one start token; end tokens are trained, prompts never are. Untrusted text cannot
contain the special tokens of a chat template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from infra.errors import UserError
from infra.models.language_model import chat_prompt, neutralise, special_tokens, start_token


@dataclass(frozen=True)
class Row:
    """Token ids of one sequence, and which of them are trained; the first one never is."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    is_cut: bool = False
    """Whether the row was too long and lost its end."""

    @cached_property
    def num_trained(self) -> int:
        """Number of trained tokens."""
        return sum(self.trained)

    def __len__(self) -> int:
        return len(self.ids)


class RowBuilder:
    """Tokenises samples: one start token, and a trained end token if the text is complete."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._special = special_tokens(tokenizer)
        self._start = start_token(tokenizer)

    def ids(self, text: str) -> list[int]:
        """Return the token ids of trusted text, without special tokens."""
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def prompt(self, prompt: str) -> list[int]:
        """Return a user turn up to where the answer begins. A prompt that is too long loses its
        start.
        """
        before = self.ids(chat_prompt(self._tokenizer, neutralise(prompt, self._special)))
        return before[-(self._max_tokens - 1) :] or [self._start]

    def passage(self, text: str) -> Row:
        """Return a row of plain text with all tokens trained. It is an excerpt, so it has no end
        token.
        """
        ids = [self._start, *self.ids(neutralise(text, self._special))]
        return self._cut(ids, [False] + [True] * (len(ids) - 1))

    def demonstration(self, prompt: str, completion: str) -> Row:
        """Return a chat turn whose completion and end token are trained. A prompt that is too long
        loses its start.
        """
        after = [*self.ids(neutralise(completion, self._special)), self._tokenizer.eos_token_id]
        before = self.prompt(prompt)[-max(1, self._max_tokens - len(after)) :]
        return self._cut(before + after, [False] * len(before) + [True] * len(after))

    def conversation(self, messages: Sequence[Mapping[str, str]]) -> Row:
        """Return several turns in the chat template; all assistant turns and their end tokens are
        trained.

        Raises `UserError` if the template changes earlier turns when later ones follow, because
        then no mask over the whole text is right.
        """
        clean = [
            {"role": m["role"], "content": neutralise(m["content"], self._special)}
            for m in messages
        ]
        ids: list[int] = []
        trained: list[bool] = []
        rendered = ""
        for i, message in enumerate(clean):
            if message["role"] != "assistant":
                continue
            before = self._render(clean[:i], answering=True)
            if not before.startswith(rendered):
                raise UserError(
                    "train.sft",
                    "messages",
                    "the chat template rewrites earlier turns.",
                    "Give one row for each answer, as prompt and completion.",
                )
            asked = self.ids(before[len(rendered) :])
            answer = [*self.ids(message["content"]), self._tokenizer.eos_token_id]
            ids += asked + answer
            trained += [False] * len(asked) + [True] * len(answer)
            rendered = before + message["content"] + self._tokenizer.eos_token
        return self._cut(ids, trained)

    def _render(self, messages: Sequence[Mapping[str, str]], answering: bool) -> str:
        if not self._tokenizer.chat_template:
            raise UserError(
                "model.base",
                "(tokenizer)",
                "conversations need a chat template, and it has none.",
                "Use an instruction-tuned model, or rows of prompt and completion.",
            )
        return str(
            self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=answering
            )
        )

    def _cut(self, ids: Sequence[int], trained: Sequence[bool]) -> Row:
        longest = self._max_tokens
        return Row(tuple(ids[:longest]), tuple(trained[:longest]), is_cut=len(ids) > longest)


def completed_row(prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> Row:
    """Return a prompt with its sampled completion, from token ids; nothing is tokenised again."""
    ids = (*prompt_ids, *completion_ids)
    return Row(ids, (False,) * len(prompt_ids) + (True,) * len(completion_ids))
