"""Rows, and the plan that lays them out over steps, ranks and micro-batches.

The plan is a function of row lengths, world size and seed alone, so that every rank makes the same
one and the number of trained tokens of a global batch is known before its first forward pass.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infra.language_model import chat_prompt, neutralise, special_tokens, start_token


@dataclass(frozen=True)
class Row:
    """Token ids of one sequence. Tokens from `first_trained` on are trained; it is at least 1."""

    ids: tuple[int, ...]
    first_trained: int

    @property
    def num_trained(self) -> int:
        """Trained tokens of the row."""
        return len(self.ids) - self.first_trained


@dataclass(frozen=True)
class Pair:
    """A chosen and a rejected row of the same prompt."""

    chosen: Row
    rejected: Row


@dataclass(frozen=True)
class Step:
    """One optimiser step: `cells[rank][micro]` holds row indices; every rank has as many micro-batches."""

    cells: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def indices(self) -> list[int]:
        """Every row of the step."""
        return [index for rank in self.cells for cell in rank for index in cell]


class RowBuilder:
    """Tokenises samples once: one start token, trained end token where the text is complete."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._special = special_tokens(tokenizer)
        self._start = start_token(tokenizer)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def passage(self, text: str) -> Row:
        """Plain text of which every token is trained. It is an excerpt, so no end token follows."""
        ids = [self._start, *self._ids(neutralise(text, self._special))]
        return Row(tuple(ids[: self._max_tokens]), 1)

    def demonstration(self, prompt: str, completion: str) -> Row:
        """A chat turn of which only the completion and its end are trained; an over-long prompt loses its start."""
        before = self._ids(chat_prompt(self._tokenizer, neutralise(prompt, self._special)))
        after = [*self._ids(neutralise(completion, self._special)), self._tokenizer.eos_token_id]
        before = before[-max(1, self._max_tokens - len(after)) :] or [self._start]
        return Row(tuple((before + after)[: self._max_tokens]), len(before))


def plan_steps(
    lengths: Sequence[int], batch_tokens: int, micro_batch_size: int, world_size: int, seed: int
) -> list[Step]:
    """Every row once, shuffled by `seed`, in steps of about `batch_tokens` and at least one row a rank.

    Needs at least `world_size` rows; the rows of a last step that would leave a rank empty join the
    step before.
    """
    if len(lengths) < world_size:
        raise ValueError(f"{len(lengths)} rows cannot feed {world_size} ranks: each needs one")
    order = list(range(len(lengths)))
    random.Random(seed).shuffle(order)  # noqa: S311
    groups: list[list[int]] = [[]]
    tokens = 0
    for index in order:
        if len(groups[-1]) >= world_size and tokens + lengths[index] > batch_tokens:
            groups.append([])
            tokens = 0
        groups[-1].append(index)
        tokens += lengths[index]
    if len(groups) > 1 and len(groups[-1]) < world_size:
        last = groups.pop()
        groups[-1] += last
    return [_lay_out(group, lengths, micro_batch_size, world_size) for group in groups]


def _lay_out(group: Sequence[int], lengths: Sequence[int], micro_batch_size: int, world_size: int) -> Step:
    """Spread a step's rows over cells of similar length, so that every cell holds at least one row."""
    by_length = sorted(group, key=lambda i: (lengths[i], i))
    num_micro = max(1, -(-len(group) // (world_size * micro_batch_size)))
    num_micro = min(num_micro, len(group) // world_size)
    num_cells = num_micro * world_size
    bounds = [round(i * len(by_length) / num_cells) for i in range(num_cells + 1)]
    cells = [tuple(by_length[bounds[i] : bounds[i + 1]]) for i in range(num_cells)]
    return Step(tuple(tuple(cells[rank::world_size]) for rank in range(world_size)))


def pad_rows(rows: Sequence[Row], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """(ids, attention mask, trained), each [B, T], padded on the right."""
    width = max(len(row.ids) for row in rows)
    ids_BT = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask_BT = torch.zeros((len(rows), width), dtype=torch.long)
    trained_BT = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        ids_BT[i, : len(row.ids)] = torch.tensor(row.ids)
        mask_BT[i, : len(row.ids)] = 1
        trained_BT[i, row.first_trained : len(row.ids)] = True
    return ids_BT, mask_BT, trained_BT
