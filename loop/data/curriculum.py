"""The training data of a generation: passages, demonstrations, preferences and prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.artifacts import atomic_write
from infra.records import Preference, Sample, content_key, unit_hash
from judges.making.demonstrations.extractive import QUESTION_MARGIN
from judges.making.passages.cutting import within_budget
from trainers.config import RL_KINDS, TrainConfig
from trainers.task import file_stem

DEMONSTRATION_SHARE = 0.25
"""Largest share of the tokens of a generation that demonstrations may take."""


@dataclass(frozen=True)
class Curriculum:
    """The data of one generation's training steps. Policy gradients complete the `prompts`."""

    samples: list[Sample]
    preferences: list[Preference]
    prompts: list[Sample] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Key of exactly these data."""
        return manifest_digest(self.items())

    def items(self) -> list[tuple[str, str]]:
        """(kind, id) for the store's manifest."""
        return [
            *[(s.kind, s.sample_id) for s in self.samples],
            *[("preference", p.preference_id) for p in self.preferences],
            *[("prompt", s.sample_id) for s in self.prompts],
        ]

    def rows(self, kind: str, config: TrainConfig) -> list[dict[str, Any]]:
        """The rows that a training step of this kind reads, as `trainers.task.Task.data` has them.

        Passages go to `pretrain`; if the recipe has no such step, they go to `sft`.
        """
        if kind == "pretrain":
            return _language_rows([s for s in self.samples if not s.prompt])
        if kind == "dpo":
            return [_pair(p) for p in self.preferences if p.pair_index == 0]
        if kind == "kto":
            return [row for p in self.preferences if p.pair_index == 0 for row in _sides(p)]
        if kind == "reward_model":
            return _rankings(self.preferences)
        if kind in RL_KINDS:
            needs_check = "verifier" in config.rl.rewards
            return [_prompt(s) for s in self.prompts if s.check or not needs_check]
        only_prompted = "pretrain" in config.steps
        return _language_rows([s for s in self.samples if s.prompt or not only_prompted])

    def write(self, kind: str, folder: Path, config: TrainConfig) -> Path:
        """Write a step's rows as a Parquet file named by this curriculum's digest."""
        path = folder / f"{file_stem(kind)}-{self.digest[:12]}.parquet"
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(self.rows(kind, config)), sink)
        atomic_write(path, sink.getvalue().to_pybytes())
        return path


def manifest_digest(items: Iterable[tuple[str, str]]) -> str:
    """The key of a set of (kind, item id); their order does not matter."""
    return content_key(*(f"{kind} {item}" for kind, item in sorted(set(items))))


def _language_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    return [{"id": s.sample_id, "prompt": s.prompt, "completion": s.completion} for s in samples]


def _pair(p: Preference) -> dict[str, Any]:
    return {
        "id": p.preference_id,
        "prompt": p.prompt,
        "chosen": p.chosen,
        "rejected": p.rejected,
        "probability": p.probability,
    }


def _sides(p: Preference) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{p.preference_id}/{side}",
            "prompt": p.prompt,
            "completion": getattr(p, side),
            "desirable": side == "chosen",
        }
        for side in ("chosen", "rejected")
    ]


def _rankings(preferences: Sequence[Preference]) -> list[dict[str, Any]]:
    """One row for each prompt: its completions, and all known pairs of them."""
    by_prompt: dict[str, list[Preference]] = {}
    for p in preferences:
        by_prompt.setdefault(p.sample_id, []).append(p)
    rows = []
    for sample_id, pairs in by_prompt.items():
        texts = list(dict.fromkeys(text for p in pairs for text in (p.chosen, p.rejected)))
        indices = [
            {
                "chosen": texts.index(p.chosen),
                "rejected": texts.index(p.rejected),
                "probability": p.probability,
                "margin": p.margin,
            }
            for p in pairs
        ]
        rows.append(
            {"id": sample_id, "prompt": pairs[0].prompt, "completions": texts, "pairs": indices}
        )
    return rows


def _prompt(s: Sample) -> dict[str, Any]:
    return {"id": s.sample_id, "prompt": s.prompt, "check": s.check, "reference": s.completion}


def choose_demonstrations(samples: Sequence[Sample], budget_tokens: int, seed: int) -> list[Sample]:
    """Demonstrations in hashed order, for `DEMONSTRATION_SHARE` of a token budget at most."""
    ordered = sorted(samples, key=lambda s: unit_hash(seed, "demonstration", s.sample_id))
    return within_budget(ordered, int(DEMONSTRATION_SHARE * budget_tokens))


def shown_texts(demonstrations: Sequence[Sample]) -> set[str]:
    """The texts of passages that demonstrations show whole.

    They are not drawn as passages too: the same text twice in one epoch is memorised. A passage is
    the answer to a question about it, or stands before a question that words of it answer.
    """
    before = (d.prompt.rpartition(QUESTION_MARGIN)[0] for d in demonstrations)
    return {d.completion for d in demonstrations}.union(before) - {""}


def summary(curriculum: Curriculum) -> str:
    """Counts by kind, for the terminal."""
    counts = Counter(kind for kind, _ in curriculum.items())
    kinds = ("passage", "demonstration", "preference", "prompt")
    return ", ".join(f"{kind}: {counts[kind]}" for kind in kinds if counts[kind])
