from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.errors import StageError
from infra.models.text_size import estimated_tokens
from infra.records import Preference, Sample
from loop.data.curriculum import build_curriculum
from trainers.config import TrainConfig


def sample(name: str, kind: str, text: str, origin: str = "web", prompt: str = "") -> Sample:
    check = "output" if kind == "demonstration" and origin == "web" else ""
    return Sample(name, "d", kind, prompt, text, origin, 1, 0, 1, check)


PASSAGES = [sample(f"p{i}", "passage", f"passage {i} " + "x" * 300) for i in range(10)]
DEMONSTRATIONS = [
    sample(f"e{i}", "demonstration", "6", prompt="what is " + "1 + " * 50) for i in range(40)
]


def test_tokens_stay_in_the_budget_and_demonstrations_in_their_share() -> None:
    built = build_curriculum(PASSAGES, DEMONSTRATIONS, [], [], 800, 0, 1)
    costs = {s.sample_id: estimated_tokens(s.prompt + s.completion) for s in built.samples}
    assert sum(costs.values()) <= 800
    assert sum(c for name, c in costs.items() if name.startswith("e")) <= 200
    assert [s.sample_id for s in built.samples if s.kind == "passage"] == [
        f"p{i}" for i in range(6)
    ], "best first"


def test_an_instruction_takes_the_place_of_its_passage() -> None:
    instruction = sample(
        "i", "demonstration", PASSAGES[0].completion, origin="model", prompt="what?"
    )
    built = build_curriculum(PASSAGES[:2], [instruction], [], [], 10_000, 0, 1)
    assert [s.sample_id for s in built.samples] == ["i", "p1"]


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(StageError, match="nothing to train on"):
        build_curriculum([], [], [], [], 1000, 0, 1)


def test_rows_are_written_under_the_digest(tmp_path: Path) -> None:
    preference = Preference("f", "e0", "prompt", "good", "bad", "web", "l", 1.0, 1.0, 1)
    built = build_curriculum(PASSAGES[:1], [], [preference], [], 1000, 0, 1)
    path = built.write("dpo", tmp_path, TrainConfig())
    row = {"id": "f", "prompt": "prompt", "chosen": "good", "rejected": "bad", "probability": 1.0}
    assert pq.read_table(path).to_pylist() == [row]
    assert built.digest[:12] in path.name
    assert built.items() == [("passage", "p0"), ("preference", "f")]
    assert built.digest == build_curriculum(PASSAGES[:1], [], [preference], [], 1000, 0, 1).digest
