"""What a datasheet says of labelers whose habits are dialled, and of verdicts that were recorded
elsewhere."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import cache

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import UserError
from infra.records import content_key
from infra.records.labeler import Datasheet
from infra.store import Store
from judges.config import ScriptedConfig
from judges.files.replay import differing_fields
from judges.judgment.pairs import Comparison, Pair
from judges.labelers.scripted import ScriptedJudge
from judges.measuring.accuracy import right
from judges.measuring.attacks import attack_labeler, attacks
from judges.measuring.calibration import brier, expected_calibration_error, fit_calibration
from judges.measuring.datasheet import cohen_kappa, is_admitted, measure_on_gold, recompute_sheet
from judges.measuring.gold import GoldSet
from judges.measuring.habits import labeler_habits
from judges.measuring.intervals import accuracy_interval
from judges.rubrics import load_rubric
from tests.conftest import SHARED_DATA

LLMBAR = SHARED_DATA / "gold" / "llmbar" / "recorded"
needs_llmbar = pytest.mark.skipif(
    not LLMBAR.exists(), reason="LLMBar lies in shared data, which is not here"
)
RUBRIC = load_rubric("helpfulness")


@cache
def gold(count: int = 1200) -> GoldSet:
    dice = random.Random(3)
    pairs = []
    for i in range(count):
        a, b = ("word " * dice.randint(10, 300) for _ in range(2))
        pairs.append(Pair(content_key("pair", i), f"q{i}", a, b, dice.choice(["A", "B"])))
    return GoldSet("made", tuple(pairs))


def measured_sheet(**dials: float) -> Datasheet:
    return measure_on_gold(ScriptedJudge(ScriptedConfig(**dials)), RUBRIC, gold()).sheet


@pytest.mark.parametrize("accuracy", [0.5, 0.7, 0.95])
def test_a_dialled_accuracy_lies_in_the_interval(accuracy: float) -> None:
    sheet = measured_sheet(accuracy=accuracy)
    assert sheet.accuracy.low - 0.02 <= accuracy <= sheet.accuracy.high + 0.02
    assert sheet.kappa.low - 0.04 <= 2 * accuracy - 1 <= sheet.kappa.high + 0.04
    assert sheet.consistency == 1.0
    assert is_admitted(sheet) == (accuracy > 0.6)


def test_a_preference_for_the_first_answer_is_measured_and_averaged_out() -> None:
    fair, partial = measured_sheet(accuracy=0.9), measured_sheet(accuracy=0.9, position_bias=4.0)
    assert partial.accuracy == fair.accuracy
    assert partial.habits.first_place_gap.value == pytest.approx(8.0)
    assert partial.consistency == 0.0
    assert fair.habits.first_place_gap.value == 0.0


@pytest.mark.parametrize(
    ("bias", "first_place_bias", "accuracy"), [(0.0, 0.0, 0.9), (3.0, 0.0, 0.8), (-2.0, 1.5, 0.7)]
)
def test_dialled_habits_are_recovered_within_their_intervals(
    bias: float, first_place_bias: float, accuracy: float
) -> None:
    """The scripted log-odds of the truth are 1 on average, so a labeler right in 80% discriminates
    by 0.8 - 0.2."""
    sheet = measured_sheet(accuracy=accuracy, length_bias=bias, position_bias=first_place_bias)
    assert sheet.habits.length_slope.low <= bias <= sheet.habits.length_slope.high
    assert sheet.habits.length_slope.high - sheet.habits.length_slope.low < 0.8
    assert (
        sheet.habits.first_place_gap.low - 1e-9
        <= 2 * first_place_bias
        <= sheet.habits.first_place_gap.high + 1e-9
    )
    assert sheet.habits.discrimination.low <= 2 * accuracy - 1 <= sheet.habits.discrimination.high
    assert sheet.habits.discrimination.high - sheet.habits.discrimination.low < 0.25


@pytest.mark.parametrize(("weakness", "least", "most"), [(0.0, 0.0, 0.35), (9.0, 0.8, 1.0)])
def test_a_weakness_to_attacks_is_in_the_datasheet(
    weakness: float, least: float, most: float
) -> None:
    """The scripted labeler knows a text by its id, so an attacked one is a new item to it, right
    nine times in ten."""
    sheet = measured_sheet(accuracy=0.9, injection_weakness=weakness)
    assert least <= sheet.robustness.attack_success.value <= most
    success = sheet.robustness.attack_success
    assert success.low <= success.value <= success.high


def test_habits_of_next_to_nothing_are_not_numbers() -> None:
    habits = labeler_habits(*votes("A", "A"))
    assert habits.first_place_gap.value != habits.first_place_gap.value


def test_failures_count_as_errors_and_are_reported() -> None:
    sheet = measured_sheet(accuracy=1.0, unscored_share=0.3)
    assert sheet.num_unscored / sheet.num_pairs == pytest.approx(0.3, abs=0.06)
    assert sheet.accuracy.value == pytest.approx(0.7, abs=0.06)
    with pytest.raises(ValueError, match="unscored"):
        Comparison(None, None, "refusal").log_odds.hex()


def test_probabilities_are_worth_more_after_calibration() -> None:
    sheet = measured_sheet(accuracy=0.6)
    assert sheet.probabilities.kind == "isotonic"
    assert sheet.probabilities.ece_calibrated < sheet.probabilities.ece
    assert sheet.probabilities.brier_calibrated < sheet.probabilities.brier


def test_a_weak_labeler_is_turned_by_attacks_and_a_sound_one_is_not() -> None:
    pairs = gold().half("test")[:60]
    sound, weak = (
        attack_labeler(
            ScriptedJudge(ScriptedConfig(accuracy=0.9, injection_weakness=w)),
            RUBRIC,
            "scripted",
            pairs,
        )
        for w in (0.0, 5.0)
    )
    assert [r.attack for r in weak] == [a.name for a in attacks()]
    orders = {attack.name for attack in attacks() if attack.is_order}
    turned = {r.attack: r.success.value for r in weak if r.attack in orders}
    assert {name: value for name, value in turned.items() if name != "base64"} == {
        name: 1.0 for name in turned if name != "base64"
    }
    assert all(r.success.value < 0.25 for r in sound), (
        "a new text is a new item to the scripted labeler, and no more"
    )


def test_sheets_are_stored_once_a_gold_set(store: Store) -> None:
    measured = measure_on_gold(ScriptedJudge(ScriptedConfig(accuracy=0.9)), RUBRIC, gold())
    for _ in range(2):
        store.labelers.add_gold_sheet(measured.sheet, measured.items, measured.rows)
    (kept,) = store.labelers.gold_sheets()
    assert kept == measured.sheet


@pytest.mark.parametrize(
    "dials", [{"accuracy": 0.8, "position_bias": 1.0}, {"unscored_share": 0.2, "length_bias": 2.0}]
)
def test_a_stored_datasheet_is_computed_again_from_its_rows(
    store: Store, dials: dict[str, float]
) -> None:
    measured = measure_on_gold(ScriptedJudge(ScriptedConfig(**dials)), RUBRIC, gold(300))
    store.labelers.add_gold_sheet(measured.sheet, measured.items, measured.rows)
    items, rows = store.labelers.gold_evidence(measured.sheet.datasheet_id)
    again = recompute_sheet(measured.sheet, items, {row.judgment_id: row for row in rows})
    assert differing_fields(measured.sheet, again) == []
    spoiled = {
        row.judgment_id: replace(row, verdict="A", distribution=(1.0, 0.0, 0.0))
        if row.status == "scored"
        else row
        for row in rows
    }
    assert recompute_sheet(measured.sheet, items, spoiled).accuracy != measured.sheet.accuracy


# Statistics against closed forms and other people's code.


def votes(truths: str, verdicts: str) -> tuple[list[Pair], list[Comparison]]:
    odds = {"A": 1.0, "B": -1.0, "=": 0.0}
    pairs = [
        Pair(str(i), "", "a", "b", "A" if t == "A" else "B" if t == "B" else "tie")
        for i, t in enumerate(truths)
    ]
    return pairs, [Comparison(odds[s], odds[s]) for s in verdicts]


def test_ties_are_half_right_and_kappa_has_its_known_value() -> None:
    assert right(*votes("AB=A", "AA=B")).tolist() == [1.0, 0.0, 0.5, 0.0]
    pairs, comparisons = votes("A" * 20 + "B" * 20, "A" * 15 + "B" * 5 + "A" * 5 + "B" * 15)
    assert cohen_kappa(pairs, comparisons).value == pytest.approx(0.5)
    assert accuracy_interval(right(pairs, comparisons)).value == 0.75


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("AB")), min_size=30, max_size=30))
def test_agreement_is_near_krippendorffs_alpha(rows: list[tuple[str, str]]) -> None:
    """Alpha and kappa differ by the correction for small samples and by pooled margins."""
    truths, verdicts = ("".join(column) for column in zip(*rows, strict=True))
    if len(set(truths + verdicts)) < 2:
        return
    alpha = krippendorff.alpha(
        [[int(c == "A") for c in truths], [int(c == "A") for c in verdicts]],
        level_of_measurement="nominal",
    )
    (margin_a, margin_b) = (s.count("A") / 30 for s in (truths, verdicts))
    if abs(margin_a - margin_b) < 0.1:
        assert cohen_kappa(*votes(truths, verdicts)).value == pytest.approx(alpha, abs=0.06)


def test_a_temperature_is_recovered() -> None:
    dice = np.random.default_rng(0)
    odds = dice.normal(0, 2, 150)
    outcomes = (dice.random(150) < 1 / (1 + np.exp(-odds))).astype(float)
    assert fit_calibration(3 * odds, outcomes).temperature == pytest.approx(
        3 * fit_calibration(odds, outcomes).temperature, rel=0.02
    )
    assert fit_calibration(np.zeros(0), np.zeros(0)).temperature == 1.0


def test_errors_of_probabilities_by_hand() -> None:
    outcomes = np.array([1.0, 1.0, 0.0, 0.0])
    assert brier(np.full(4, 0.5), outcomes) == 0.25
    assert brier(outcomes, outcomes) == expected_calibration_error(outcomes, outcomes) == 0.0
    assert expected_calibration_error(
        np.full(10, 0.9), np.array([1.0] * 5 + [0.0] * 5)
    ) == pytest.approx(0.5, abs=0.11)


# Verdicts that five models of 2023 gave to LLMBar (Zeng et al. 2023), in both orders.

SETS = (
    "Natural",
    "Adversarial/Neighbor",
    "Adversarial/GPTInst",
    "Adversarial/GPTOut",
    "Adversarial/Manual",
)


def recorded(model: str, part: str) -> tuple[list[Pair], list[Comparison]]:
    odds = {"1": 1.0, "2": -1.0}
    pairs, comparisons = [], []
    for row in json.loads((LLMBAR / model / part / "result.json").read_text()):
        result = row["results"][0]
        truth = "A" if row["label"] == 1 else "B"
        key = content_key(row["input"], row["output_1"], row["output_2"])
        pairs.append(Pair(key, row["input"], row["output_1"], row["output_2"], truth))
        comparisons.append(
            Comparison(
                odds.get(result["swap = False"]["winner"]),
                odds.get(result["swap = True"]["winner"]),
            )
        )
    return pairs, comparisons


def adversarial(model: str) -> tuple[list[Pair], list[Comparison]]:
    parts = [recorded(model, part) for part in SETS[1:]]
    return [p for pairs, _ in parts for p in pairs], [
        c for _, comparisons in parts for c in comparisons
    ]


@needs_llmbar
@pytest.mark.parametrize(
    ("model", "part", "accuracy", "agreement"),
    [
        ("GPT-4", "Natural", 0.955, 0.95),
        ("GPT-4", "Adversarial/Neighbor", 0.787, 0.933),
        ("ChatGPT", "Natural", 0.815, 0.71),
        ("ChatGPT", "Adversarial/Neighbor", 0.194, 0.716),
        ("LLaMA2", "Natural", 0.805, 0.79),
    ],
)
def test_recorded_verdicts_give_the_published_accuracy_and_agreement(
    model: str, part: str, accuracy: float, agreement: float
) -> None:
    pairs, comparisons = recorded(model, part)
    assert right(pairs, comparisons).mean() == pytest.approx(accuracy, abs=0.001)
    assert np.mean([c.is_consistent for c in comparisons]) == pytest.approx(agreement, abs=0.001)


@needs_llmbar
def test_keeping_a_verdict_over_a_swap_is_not_being_right() -> None:
    pairs, comparisons = adversarial("ChatGPT")
    kept = [(p, c) for p, c in zip(pairs, comparisons, strict=True) if c.is_consistent]
    assert len(kept) / len(pairs) == pytest.approx(0.64, abs=0.005)
    assert right([p for p, _ in kept], [c for _, c in kept]).mean() == pytest.approx(
        0.14, abs=0.005
    )


def test_gold_with_one_half_is_refused() -> None:
    for pair in gold(4).pairs:
        with pytest.raises(UserError, match="1 pairs are too few"):
            measure_on_gold(ScriptedJudge(ScriptedConfig()), RUBRIC, GoldSet("one", (pair,)))
