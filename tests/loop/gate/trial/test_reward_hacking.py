"""A score that is learned from rises and nothing else does: by the reward in training, and by the
labeler's word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.records import Evaluation, GateTest, Sample, TrainStep
from infra.store import Store
from loop.gate.config import GateConfig
from loop.gate.suites.answers import labeler_prompts, labeler_suite
from loop.gate.suites.base import Item, Scorer
from loop.gate.trial.reward_hacking import hacking_reason, reward_rise
from tests.loop.gate.suites.test_answers import Answers, referee
from tests.loop.gate.trial.test_trial import trial


def rewards(*values: float, kind: str = "grpo") -> list[TrainStep]:
    return [
        TrainStep(1, kind, i, 0.0, 1.0, 1e-6, 9, 1.0, metrics=json.dumps({"reward": value}))
        for i, value in enumerate(values)
    ]


def word(value: float, error: float, count: int = 16) -> Evaluation:
    return Evaluation(1, 1, "labeler", "win_rate", "candidate", value, error, count)


def primary(gain: float) -> GateTest:
    return GateTest(
        1,
        "bits_per_byte",
        "primary",
        "champion",
        "x",
        "open",
        0.2,
        0.0,
        9,
        9,
        gain,
        0.01,
        0.1,
        3.7,
        (),
    )


@pytest.mark.parametrize(
    ("steps", "words", "gain", "sentence"),
    [
        (
            rewards(0.1, 0.2, 0.3),
            [],
            -0.01,
            "the reward rose from 0.100 to 0.300 in training, and no",
        ),
        (rewards(0.1, 0.2, 0.3), [], 0.01, ""),
        (rewards(0.3, 0.2, 0.1), [], -0.01, ""),
        (rewards(0.1, 0.3), [], -0.01, ""),
        (
            [],
            [word(0.7, 0.05)],
            0.0,
            "the labeler prefers it to the champion (win rate 0.70 ± 0.05), and no primary",
        ),
        ([], [word(0.7, 0.05)], 0.1, ""),
        ([], [word(0.55, 0.05)], -0.1, ""),
        ([], [word(0.74, 0.07, 2)], -0.1, ""),
        ([], [word(0.74, float("nan"), 1)], -0.1, ""),
        ([], [word(0.9, float("nan"))], -0.1, ""),
        (
            rewards(0.1, 0.2, 0.3),
            [word(0.7, 0.05)],
            -0.01,
            "in training and the labeler prefers it",
        ),
    ],
)
def test_only_a_rise_without_a_measure_is_a_hack(
    steps: Sequence[TrainStep], words: Sequence[Evaluation], gain: float, sentence: str
) -> None:
    reason = hacking_reason(steps, words, [primary(gain)], "candidate")
    assert sentence in reason
    assert bool(reason) == bool(sentence)


def test_without_a_measured_item_nothing_is_said() -> None:
    assert hacking_reason(rewards(0.1, 0.2, 0.3), [], [], "candidate") == ""


def test_the_kind_with_most_iterations_counts() -> None:
    steps = [*rewards(0.1, 0.2, 0.3), *rewards(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, kind="ppo")]
    assert reward_rise(steps) == pytest.approx((0.85, 0.45))


@pytest.mark.parametrize(("gain", "outcome"), [(0.3, "promote"), (-0.002, "reject")])
def test_a_candidate_that_only_the_labeler_prefers_is_rejected(
    store: Store, tmp_path: Path, gain: float, outcome: str
) -> None:
    """The candidate answers as the labeler likes it; only the measure tells the two cases apart."""
    store.labels.add_samples(
        [
            Sample(
                f"q{i}",
                f"d{i}",
                "demonstration",
                f"question {i}",
                "answer",
                "model",
                1,
                0,
                0,
                "math" if i < 3 else "",
            )
            for i in range(30)
        ]
    )
    answers = Answers(gain, "good", "bad", "bad")
    config = GateConfig(labeler_prompts=12)
    one = trial(store, answers, config=config)
    suite = labeler_suite(
        store, config, labeler_prompts(store, 1, config.labeler_prompts), referee(store), "s"
    )
    was_undecided, score = list[bool](), suite.score

    def noted_score(scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        was_undecided.append(store.gate.decision(1) is None)
        return score(scorer, items)

    suite.score = noted_score  # type: ignore[method-assign]
    object.__setattr__(one, "suites", [*one.suites, suite])
    decision = one.run()
    assert decision.outcome == outcome
    assert was_undecided[0] == (outcome == "reject"), "a veto reads it, or it comes after"
    assert ("the labeler prefers it to the champion" in decision.reason) == (outcome == "reject")
    drawn = {s.item_id for s in store.gate.item_scores(1, "labeler")}
    assert len(drawn) == 12
    assert not drawn & {"q0", "q1", "q2"}, "what a verifier checks comes last"
    assert set(labeler_prompts(store, 1, 28)) & {"q0", "q1", "q2"}
    assert [t.suite for t in store.gate.gate_tests(1)] == ["bits_per_byte"], (
        "the suite of the labeler is not a test of the gate"
    )
