"""Distributes rows over steps, ranks and packs, and builds packs as tensors.

An item is one row, or the rows of a pair or ranking, which stay together. The items of a step
depend only on item lengths and the seed. Their layout also depends on the number of ranks, so a run
can continue with more or fewer ranks and every step still has the same items. The number of trained
tokens of a global batch is known before its first forward pass.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.batches.rows import Row

Bin = tuple[int, ...]


@dataclass(frozen=True)
class Pack:
    """Rows concatenated into T tokens, of which N are trained.

    `positions_T` starts at 0 in every row, `trained_T` marks trained tokens. `row_lengths` and
    `trained_counts` have one number per row.
    """

    ids_T: Tensor
    positions_T: Tensor
    trained_T: Tensor
    row_lengths: tuple[int, ...]
    trained_counts: tuple[int, ...]

    def to(self, device: torch.device) -> Pack:
        """Return the pack on a device."""
        ids_T, positions_T, trained_T = (
            x.to(device) for x in (self.ids_T, self.positions_T, self.trained_T)
        )
        return Pack(ids_T, positions_T, trained_T, self.row_lengths, self.trained_counts)

    @property
    def before_T(self) -> Tensor:
        """Marks the position before each trained token, [T]. It is in the same row, because a row's
        first token is never trained.
        """
        return torch.cat([self.trained_T[1:], self.trained_T.new_zeros(1)])

    @property
    def last_T(self) -> Tensor:
        """Index of each row's last token, [B]."""
        return torch.tensor(self.row_lengths, device=self.ids_T.device).cumsum(0) - 1


def make_pack(rows: Sequence[Row]) -> Pack:
    """Return the rows as one pack."""
    return Pack(
        ids_T=torch.tensor([i for row in rows for i in row.ids]),
        positions_T=torch.cat([torch.arange(len(row)) for row in rows]),
        trained_T=torch.tensor([flag for row in rows for flag in row.trained]),
        row_lengths=tuple(len(row) for row in rows),
        trained_counts=tuple(row.num_trained for row in rows),
    )


def plan_steps(
    lengths: Sequence[int], batch_tokens: int, min_items: int, seed: int, epoch: int = 0
) -> list[Bin]:
    """Return steps of about `batch_tokens` tokens that use every item once, shuffled by `seed` and
    `epoch`.

    A step has at least `min_items` items, one per rank; a last step with fewer joins the previous
    one. Raises `ValueError` if there are fewer than `min_items` items.
    """
    if len(lengths) < min_items:
        raise ValueError(f"{len(lengths)} rows cannot feed {min_items} ranks: each needs one")
    order = list(range(len(lengths)))
    random.Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311
    groups: list[list[int]] = [[]]
    tokens = 0
    for index in order:
        if len(groups[-1]) >= min_items and tokens + lengths[index] > batch_tokens:
            groups.append([])
            tokens = 0
        groups[-1].append(index)
        tokens += lengths[index]
    if len(groups) > 1 and len(groups[-1]) < min_items:
        last = groups.pop()
        groups[-1] += last
    return [tuple(group) for group in groups]


def best_fit(items: Sequence[int], lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return bins of at most `capacity` tokens by best-fit decreasing. A longer item gets a bin of
    its own.
    """
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, bin), ascending
    for item in sorted(items, key=lambda i: (-lengths[i], i)):
        position = bisect.bisect_left(room, (lengths[item], -1))
        if position < len(room):
            left, number = room.pop(position)
        else:
            left, number = capacity, len(bins)
            bins.append([])
        bins[number].append(item)
        bisect.insort(room, (left - lengths[item], number))
    return bins


def resize_bins(
    bins: Sequence[Sequence[int]], lengths: Sequence[int], count: int
) -> list[list[int]]:
    """Return `count` bins: the fullest are halved, or the emptiest joined. Needs at least `count`
    items.
    """

    def size(b: Sequence[int]) -> int:
        return sum(lengths[i] for i in b)

    resized = sorted(([*b] for b in bins), key=size)
    while len(resized) > count:
        resized = sorted([resized[0] + resized[1], *resized[2:]], key=size)
    while len(resized) < count:
        largest = max((b for b in resized if len(b) > 1), key=size)
        resized.remove(largest)
        halves: tuple[list[int], list[int]] = ([], [])
        for item in sorted(largest, key=lambda i: (-lengths[i], i)):
            min(halves, key=size).append(item)
        resized += halves
    return resized


def lay_out(
    items: Sequence[int], lengths: Sequence[int], capacity: int, world_size: int
) -> list[list[Bin]]:
    """Return each rank's packs of a step, as bins of items. All ranks have equally many packs and
    about as many tokens.

    Raises `ValueError` if there are fewer items than ranks.
    """
    if len(items) < world_size:
        raise ValueError(f"{len(items)} rows cannot feed {world_size} ranks: each needs one")
    bins = best_fit(items, lengths, capacity)
    wanted = min(-(-len(bins) // world_size), len(items) // world_size) * world_size
    bins = resize_bins(bins, lengths, wanted)
    sizes = [sum(lengths[i] for i in b) for b in bins]
    ranks: list[list[Bin]] = [[] for _ in range(world_size)]
    loads = [0] * world_size
    for number in sorted(range(len(bins)), key=lambda n: (-sizes[n], n)):
        free = [r for r in range(world_size) if len(ranks[r]) < len(bins) // world_size]
        rank = min(free, key=lambda r: (loads[r], r))
        ranks[rank].append(tuple(sorted(bins[number])))
        loads[rank] += sizes[number]
    return ranks
