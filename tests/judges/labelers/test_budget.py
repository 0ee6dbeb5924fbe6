"""The token budget of labels: nothing is asked above the limit, and the estimate is an upper
bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.models.language_model import CompletedText
from infra.records import Judgment
from infra.store import Store
from judges.config import EndpointConfig, JudgeConfig, ScriptedConfig
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import CandidateList
from judges.judgment.pairs import Pair
from judges.labelers.answer_first import AnswerFirstJudge
from judges.labelers.backends import make_judge
from judges.labelers.budget import BudgetedJudge
from judges.labelers.scripted import ScriptedJudge
from judges.labelers.sentinels import WatchedJudge
from judges.making.cost import estimate_costs, largest_price, measuring_cost
from judges.measuring.probes.making import KNOWN_ANSWER
from judges.rubrics import load_rubric

RUBRIC = load_rubric("relevance")
SUBJECTS = [Subject(str(i), "", "x" * 400) for i in range(10)]


def test_what_the_budget_does_not_pay_for_is_unscored_and_not_asked() -> None:
    judge = BudgetedJudge(ScriptedJudge(ScriptedConfig()), 0, 550)
    answers = judge.score(RUBRIC, "scripted", SUBJECTS)
    assert [a.reason for a in answers] == [""] * 5 + ["budget"] * 5
    assert judge.spent == 500
    pairs = [Pair("p", "", "x" * 400, "y" * 400)]
    assert judge.compare(RUBRIC, "scripted", pairs)[0].reason == "budget"
    assert (
        judge.rank(RUBRIC, "scripted", [CandidateList("l", "", ("x" * 400, "y" * 400))])[0].reason
        == "budget"
    )
    assert judge.complete(["x" * 400], 10, 0.0, 0) == [CompletedText("", 0, False)]
    assert judge.spent == 500


def test_a_soft_budget_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    judge = BudgetedJudge(ScriptedJudge(ScriptedConfig()), 150, 0)
    for _ in range(3):
        assert all(a.value is not None for a in judge.score(RUBRIC, "scripted", SUBJECTS))
    assert (
        capsys.readouterr().err.count("judge.soft_tokens")
        + capsys.readouterr().out.count("judge.soft_tokens")
        <= 1
    )


def test_an_empty_purse_is_no_sign_of_a_broken_labeler() -> None:
    judge = WatchedJudge(
        BudgetedJudge(ScriptedJudge(ScriptedConfig(accuracy=1.0)), 0, 1650),
        {RUBRIC.id: {KNOWN_ANSWER: 1.0}},
    )
    reasons = {a.reason for _ in range(8) for a in judge.score(RUBRIC, "scripted", SUBJECTS)}
    assert reasons == {"", "budget"}


@pytest.mark.parametrize("kind", ["local", "endpoint"])
def test_the_estimate_names_every_step_and_grows_with_the_budget(kind: str) -> None:
    config = JudgeConfig.model_validate({"kind": kind, "endpoint": {"prompt_price": 2.0}})
    small, large = (estimate_costs(config, n, 10, 5) for n in (8_000, 80_000))
    assert len({e.step for e in small}) == len(small) == 5
    assert measuring_cost(config).num_tokens > 10_000
    assert sum(e.num_tokens for e in large) > sum(e.num_tokens for e in small) > 0
    assert largest_price(config, 1_000_000) == 2.0
    paid = {"kind": "endpoint", "endpoint": {"prompt_price": 2.0, "completion_price": 8.0}}
    assert largest_price(JudgeConfig.model_validate(paid), 1_000_000) == 8.0
    assert largest_price(JudgeConfig(endpoint=EndpointConfig()), 10**9) == 0


# A labeler that answers first.


class Answering(ScriptedJudge):
    """Remembers the references that it was shown."""

    def __init__(self) -> None:
        super().__init__(ScriptedConfig())
        self.references: list[str] = []
        self.prompts: list[str] = []

    def score(self, rubric, method, subjects):
        self.references += [s.reference for s in subjects]
        return super().score(rubric, method, subjects)

    def compare(self, rubric, method, pairs):
        self.references += [p.reference for p in pairs]
        return super().compare(rubric, method, pairs)

    def complete(self, prompts: Sequence[str], max_new_tokens, temperature, seed):
        self.prompts += prompts
        return [CompletedText(f" own answer to {p.split()[1]} ", 3, True) for p in prompts]


def test_the_labeler_sees_its_own_answer_and_answers_each_prompt_once() -> None:
    inner = Answering()
    judge = AnswerFirstJudge(inner)
    assert judge.name == inner.name + "+answers"
    judge.compare(
        RUBRIC,
        "scripted",
        [Pair("1", "one", "a", "b"), Pair("2", "one", "c", "d"), Pair("3", "two", "a", "b")],
    )
    judge.score(
        RUBRIC, "scripted", [Subject("4", "one", "a"), Subject("5", "two", "a", reference="given")]
    )
    assert inner.references == ["own answer to one"] * 2 + [
        "own answer to two",
        "own answer to one",
        "given",
    ]
    assert len(inner.prompts) == 2


def test_passages_and_sources_are_left_alone() -> None:
    inner = Answering()
    AnswerFirstJudge(inner).score(load_rubric("coherence"), "scripted", [Subject("1", "one", "a")])
    AnswerFirstJudge(inner).score(
        load_rubric("faithfulness"), "scripted", [Subject("1", "one", "a", reference="source")]
    )
    assert inner.references == ["", "source"]
    assert inner.prompts == []


def test_the_recipe_asks_for_it(tmp_path: Path) -> None:
    assert make_judge(JudgeConfig(kind="scripted", answer_first=True)).name.endswith("+answers")


def test_a_resumed_stage_goes_on_with_what_it_has_spent(store: Store) -> None:
    rows = [
        Judgment(f"j{i}", f"s{i}", "me", "r", "m", "scored", "", 0.5, "", 100, generation)
        for i, generation in enumerate([0, 1, 1, 2])
    ]
    store.labels.add_judgments([*rows, replace(rows[1], judgment_id="x", labeler="other")])
    spent = store.labels.judged_tokens(1, "me")
    assert spent == 200
    judge = BudgetedJudge(ScriptedJudge(ScriptedConfig()), 0, 550, spent)
    answers = judge.score(RUBRIC, "scripted", SUBJECTS)
    assert [a.reason for a in answers].count("") == 3


def test_reasons_before_an_answer_are_in_the_estimate() -> None:
    def tokens(**settings: Any) -> int:
        return measuring_cost(
            JudgeConfig.model_validate({"kind": "endpoint", "endpoint": settings})
        ).num_tokens

    assert tokens(method="text") < tokens(method="rationale")
    assert tokens(method="rationale") < tokens(method="rationale", reasoning_tokens=2000)
