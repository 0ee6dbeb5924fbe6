from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from infra.models.text_size import estimated_tokens
from infra.records import Preference, Sample
from loop.data.curriculum import Curriculum, choose_demonstrations, shown_texts
from trainers.config import TrainConfig


def sample(name: str, kind: str, text: str, origin: str = "web", prompt: str = "") -> Sample:
    check = "output" if kind == "demonstration" and origin == "web" else ""
    return Sample(name, "d", kind, prompt, text, origin, 1, 0, 1, check)


PASSAGE = sample("p0", "passage", "passage " + "x" * 300)
DEMONSTRATIONS = [
    sample(f"e{i}", "demonstration", "6", prompt="what is " + "1 + " * 50) for i in range(40)
]


def test_demonstrations_stay_in_their_share() -> None:
    chosen = choose_demonstrations(DEMONSTRATIONS, 800, 0)
    costs = [estimated_tokens(s.prompt + s.completion) for s in chosen]
    assert 200 - max(costs) < sum(costs) <= 200
    assert chosen == choose_demonstrations(DEMONSTRATIONS[::-1], 800, 0)
    assert chosen != choose_demonstrations(DEMONSTRATIONS, 800, 1)


def test_a_passage_is_shown_by_a_question_that_it_answers_and_by_one_about_it() -> None:
    text = PASSAGE.completion
    answered = sample("i", "demonstration", text, origin="model", prompt="what?")
    quoted = sample("q", "demonstration", "x", origin="model", prompt=f"{text}\n\nwhich letter?")
    assert text in shown_texts([answered])
    assert text in shown_texts([quoted])
    assert shown_texts([DEMONSTRATIONS[0]]) == {"6"}


def test_rows_are_written_under_the_digest(tmp_path: Path) -> None:
    preference = Preference("f", "e0", "prompt", "good", "bad", "web", "l", 1.0, 1.0, 1)
    built = Curriculum([PASSAGE], [preference])
    path = built.write("dpo", tmp_path, TrainConfig())
    row = {"id": "f", "prompt": "prompt", "chosen": "good", "rejected": "bad", "probability": 1.0}
    assert pq.read_table(path).to_pylist() == [row]
    assert built.digest[:12] in path.name
    assert built.items() == [("passage", "p0"), ("preference", "f")]
