"""What a generation is trained on: selected passages, demonstrations and preferences within its budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from infra.artifacts import atomic_write
from infra.errors import StageError
from infra.records import Preference, Sample, content_key, unit_hash
from judges.making.passages import estimated_tokens, within_budget

DEMONSTRATION_SHARE = 0.25
"""Largest share of the tokens of a generation that demonstrations may take."""


@dataclass(frozen=True)
class Curriculum:
    """The data of one generation's training steps."""

    samples: list[Sample]
    preferences: list[Preference]

    @property
    def digest(self) -> str:
        """Key of exactly these data."""
        return content_key(*[s.sample_id for s in self.samples], "|", *[p.preference_id for p in self.preferences])

    def items(self) -> list[tuple[str, str]]:
        """(kind, id) for the store's manifest."""
        return [(s.kind, s.sample_id) for s in self.samples] + [
            ("preference", p.preference_id) for p in self.preferences
        ]

    def rows(self, kind: str) -> list[dict[str, str]]:
        """What a training step of this kind reads."""
        if kind == "dpo":
            return [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in self.preferences]
        return [{"prompt": s.prompt, "completion": s.completion} for s in self.samples]

    def write(self, kind: str, folder: Path) -> Path:
        """Write a step's rows as a Parquet file named by this curriculum's digest."""
        path = folder / f"{kind}-{self.digest[:12]}.parquet"
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(self.rows(kind)), sink)
        atomic_write(path, sink.getvalue().to_pybytes())
        return path


def choose_demonstrations(samples: Sequence[Sample], budget_tokens: int, seed: int) -> list[Sample]:
    """Demonstrations in hashed order within a token budget."""
    ordered = sorted(samples, key=lambda s: unit_hash(seed, "demonstration", s.sample_id))
    return within_budget(ordered, budget_tokens)


def build_curriculum(
    passages: Sequence[Sample],
    demonstrations: Sequence[Sample],
    preferences: Sequence[Preference],
    budget_tokens: int,
    seed: int,
    generation: int,
) -> Curriculum:
    """Passages first, demonstrations for at most a quarter of the tokens, and every preference.

    `passages` come best first. An instruction whose passage is trained on as well is left out: the same
    text twice in one epoch is memorised sooner than learned from.
    """
    chosen = choose_demonstrations(
        [d for d in demonstrations if d.check], int(DEMONSTRATION_SHARE * budget_tokens), seed
    )
    left = budget_tokens - sum(estimated_tokens(s.prompt + s.completion) for s in chosen)
    instructions = {d.completion: d for d in demonstrations if not d.check}
    samples = within_budget((instructions.get(p.completion.strip(), p) for p in passages), left)
    if not samples and not chosen:
        problem = "the labeler left nothing to train on; crawl more pages or lower the bar"
        raise StageError("train", f"generation {generation}", problem)
    return Curriculum(samples + chosen, list(preferences))


def summary(curriculum: Curriculum) -> str:
    """Counts for the terminal, as JSON-like words."""
    kinds = {kind: sum(k == kind for k, _ in curriculum.items()) for kind in ("passage", "demonstration", "preference")}
    return json.dumps(kinds).strip("{}").replace('"', "")
