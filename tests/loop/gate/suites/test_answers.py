"""Suites of answers, which a verifier checks or a referee judges. A referee is a labeler that did
not label the training data, and it is measured before it judges."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.errors import UserError
from infra.store import Store
from judges.config import JudgeConfig, ScriptedConfig
from judges.judgment.pairs import Comparison, Pair
from judges.labelers.actors import VerifierWorker
from judges.labelers.scripted import ScriptedJudge
from loop.gate.config import GateConfig, SuiteConfig
from loop.gate.rules import suite_rule
from loop.gate.suites.answers import CheckedAnswers, JudgedAnswers, Referee, measure_referee
from loop.gate.suites.items.sources import suite_items
from loop.recipe.recipe import load_recipe
from tests.infra.support.store_rows import candidate
from tests.loop.gate.trial.test_trial import ANCHOR, KnownScorer, Rivals, checkpoint, trial

SCRIPTED = JudgeConfig(kind="scripted")


class Likes(ScriptedJudge):
    """Finds an answer with `good` in it better, and cannot compare anything with `odd` in it."""

    def __init__(self) -> None:
        super().__init__(ScriptedConfig(accuracy=1.0))
        self.asked: list[Pair] = []

    def compare(self, rubric: Any, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        self.asked += pairs
        return [self._said(pair) for pair in pairs]

    def _said(self, pair: Pair) -> Comparison:
        if "odd" in pair.a + pair.b:
            return Comparison(None, None, "not a label")
        odds = 3.0 * (("good" in pair.a) - ("good" in pair.b))
        return Comparison(odds, odds)


class Answers(KnownScorer):
    """Models whose answers are given, candidate first."""

    def __init__(self, gain: float, *answers: str) -> None:
        super().__init__(gain, others=[1.0] * (len(answers) - 2))
        self._answers = answers

    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        return [
            [answer if "odd" not in prompt else "odd" for prompt in prompts]
            for answer in self._answers
        ]


def suite(tmp_path: Path, prompts: Sequence[str], **options: Any) -> SuiteConfig:
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts))
    return SuiteConfig(
        **{"file": str(file), "kind": "judged", "judge": SCRIPTED, "items": len(prompts)} | options
    )


def referee(store: Store, judge: ScriptedJudge | None = None) -> Referee:
    """`judge` with the datasheet of a scripted one that is nearly always right."""
    return replace(
        measure_referee(ScriptedJudge(ScriptedConfig(accuracy=0.97)), SCRIPTED, store),
        judge=judge or Likes(),
    )


def judged_by(store: Store, config: SuiteConfig, judge: Referee) -> JudgedAnswers:
    return JudgedAnswers(
        store,
        suite_rule("j", config, GateConfig()),
        config,
        judge,
        "salt",
        suite_items("j", config),
    )


PROMPTS = [f"question {i}" for i in range(200)]


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        (("good", "bad", "bad"), "promote"),
        (("bad", "bad", "good"), "reject"),
        (("bad", "bad", "bad"), "promote"),
    ],
)
def test_judged_answers_guard_against_the_anchor(
    store: Store, tmp_path: Path, answers: tuple[str, ...], outcome: str
) -> None:
    """Candidate, champion, anchor: no loss is shown by equal answers, and a loss by worse ones."""
    config = GateConfig(suites={"judged": suite(tmp_path, PROMPTS)})
    rivals = Rivals(checkpoint("champion", 1), ANCHOR, {})
    one = trial(
        store,
        Answers(0.3, *answers),
        config=config,
        rivals=rivals,
        generation=2,
        judges={"judged": referee(store)},
    )
    assert one.run().outcome == outcome, store.gate.gate_tests(1)
    rates = {e.model_digest: e.value for e in store.gate.evaluations() if e.metric == "win_rate"}
    assert rates["champion"] == 0.5
    if answers[0] == "good":
        assert rates["candidate2"] > 0.9
        (corrected,) = [e for e in store.gate.evaluations() if e.metric == "corrected_win_rate"]
        assert corrected.value == pytest.approx(1.0, abs=0.05)
        assert corrected.standard_error > 0


def test_what_cannot_be_compared_is_left_out_for_all_models(store: Store, tmp_path: Path) -> None:
    prompts = ["odd one", *(f"question {i}" for i in range(15))]
    judged = judged_by(store, suite(tmp_path, prompts), referee(store))

    class Odd(Answers):
        def all_answers(self, asked: Sequence[str]) -> list[list[str]]:
            rows = super().all_answers(asked)
            return [[f"{text} {index}" for text in row] for index, row in enumerate(rows)]

    items = judged.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0)
    rows = judged.score(Odd(0.0, "good", "bad", "bad"), items)
    odd = [item.content.prompt for item in items].index("odd one")
    assert all(math.isnan(row[odd]) for row in rows)
    assert sum(math.isnan(value) for row in rows for value in row) == 3


def test_the_same_answer_is_a_tie_that_nobody_is_asked_about(store: Store, tmp_path: Path) -> None:
    judge = Likes()
    judged = judged_by(store, suite(tmp_path, PROMPTS), referee(store, judge))
    items = judged.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0)
    assert judged.score(Answers(0.0, "same", "same"), items) == [[0.5] * len(items)] * 2
    assert judge.asked == []


def test_unscored_items_count_as_drawn_and_decide_nothing(store: Store, tmp_path: Path) -> None:
    prompts = [f"odd {i}" for i in range(60)]
    config = GateConfig(suites={"judged": suite(tmp_path, prompts)})

    class Odd(Answers):
        def all_answers(self, asked: Sequence[str]) -> list[list[str]]:
            return [[f"odd {index}" for _ in asked] for index in range(3)]

    one = trial(store, Odd(0.3, "a", "b", "c"), config=config, judges={"judged": referee(store)})
    decision = one.run()
    assert decision.outcome == "hold"
    assert "judged against the anchor" in decision.reason
    assert len({s.item_id for s in store.gate.item_scores(1, "judged")}) == 60


def test_a_judge_that_guesses_decides_nothing(store: Store, tmp_path: Path) -> None:
    guessing = measure_referee(ScriptedJudge(ScriptedConfig(accuracy=0.5)), SCRIPTED, store)
    config = GateConfig(suites={"judged": suite(tmp_path, PROMPTS)})
    one = trial(
        store, Answers(0.3, "good", "bad", "bad"), config=config, judges={"judged": guessing}
    )
    assert one.run().outcome == "hold"
    assert store.gate.item_scores(1, "judged") == []


def test_who_labels_may_not_judge_at_the_gate(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "What is DNS?"}')
    options = [f'gate.suites.tasks.file="{file}"', 'gate.suites.tasks.kind="judged"']
    with pytest.raises(UserError, match=r"gate\.suites\.tasks\.judge") as caught:
        load_recipe("quickstart", options)
    assert "the labeler must not decide" in str(caught.value)
    load_recipe("quickstart", [*options, 'gate.suites.tasks.judge.model="hub:org/other"'])


def test_answers_are_checked_by_the_verifier(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "checks.jsonl"
    lines = [
        {"prompt": "2 + 3?", "check": "math", "reference": "5"},
        {"prompt": "A colour as JSON", "check": 'json:{"type": "object", "required": ["colour"]}'},
        {"prompt": "Three digits", "check": "regex:[0-9]{3}"},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    config = SuiteConfig(file=str(file), kind="executed")
    suite = CheckedAnswers(
        store, suite_rule("checks", config, GateConfig()), config, VerifierWorker(), "salt"
    )
    items = suite.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0)
    right = {"2 + 3?": "5", "A colour as JSON": '{"colour": "red"}', "Three digits": "123"}

    class Known(KnownScorer):
        def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
            return [[right[prompt] for prompt in prompts], ["none"] * len(prompts)]

    assert suite.score(Known(0.0), items) == [[1.0] * 3, [0.0] * 3]


def test_a_check_that_there_is_not_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "checks.jsonl"
    file.write_text('{"prompt": "x", "check": "taste"}')
    with pytest.raises(UserError, match="line 1") as caught:
        load_recipe("quickstart", [f'gate.suites.x.file="{file}"', 'gate.suites.x.kind="executed"'])
    assert "taste" in str(caught.value)
