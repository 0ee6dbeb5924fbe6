from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from infra.errors import UserError
from infra.models.language_model import ContinuationScore
from judges.config import ScriptedConfig
from judges.judgment.answers import LabelerAnswer
from judges.judgment.elicitation import Subject, requests_for, score_value
from judges.judgment.pairs import Comparison
from judges.judgment.protocol import Judge
from judges.labelers.scripted import ScriptedJudge
from judges.labelers.sentinels import WatchedJudge, accuracy_lower_bounds
from judges.measuring.admission import (
    ADMISSION_ALPHA,
    Probing,
    fit_temperature,
    length_slope,
    measure_labeler,
    measurement,
    stored_rows,
)
from judges.measuring.probes.making import CONSTANT_REPLY, KNOWN_ANSWER, built_in_material
from judges.rubrics import FOLDER, LABEL_GIVEN_TEXT, METHODS, Rubric, fill, load_rubric

RUBRICS = sorted(file.stem for file in FOLDER.glob("*.toml"))
MATERIAL = built_in_material()


def is_admitted(judge: Judge, rubric: Rubric) -> bool:
    """In a run with as many rubrics as there are: a coin is admitted to any in 5% of runs."""
    return measure_labeler(judge, rubric, MATERIAL, len(RUBRICS)).admission.admitted


def scripted(**dials: float) -> ScriptedJudge:
    return ScriptedJudge(ScriptedConfig(**dials))


@pytest.mark.parametrize("rubric", RUBRICS)
def test_perfect_labeler_is_admitted_and_a_blind_one_is_not(rubric: str) -> None:
    assert is_admitted(scripted(accuracy=1.0), load_rubric(rubric))
    assert not is_admitted(scripted(accuracy=0.5), load_rubric(rubric))
    assert not is_admitted(scripted(accuracy=0.0), load_rubric(rubric))


def test_scripted_accuracy_is_what_the_dial_says() -> None:
    judge = scripted(accuracy=0.8)
    subjects = [Subject(str(i), "", "text", float(i % 2)) for i in range(4000)]
    answers = judge.score(load_rubric("coherence"), "scripted", subjects)
    right = sum(
        ((a.value or 0) > 0.5) == bool(s.truth) for a, s in zip(answers, subjects, strict=True)
    )
    assert abs(right / 4000 - 0.8) < 0.03


def test_scripted_length_bias_and_refusals() -> None:
    short, long = Subject("s", "", "a" * 10, 1.0), Subject("s", "", "a" * 2000, 1.0)
    rubric = load_rubric("coherence")
    plain, biased = scripted(accuracy=1.0), scripted(accuracy=1.0, length_bias=0.2)
    assert (
        plain.score(rubric, "scripted", [short])[0].value
        == plain.score(rubric, "scripted", [long])[0].value
    )
    values = [a.value or 0.0 for a in biased.score(rubric, "scripted", [short, long])]
    assert values[1] > values[0]
    refusing = scripted(unscored_share=1.0).score(rubric, "scripted", [short])
    assert refusing == [LabelerAnswer(None, "refusal")]


def test_labeler_that_never_answers_is_not_admitted() -> None:
    silent = scripted(accuracy=1.0, unscored_share=1.0)
    assert not is_admitted(silent, load_rubric("coherence"))


class TwoWays(ScriptedJudge):
    """Right with one method and wrong with the other."""

    methods = ("bad", "good")

    def score(self, rubric, method, subjects):
        values = super().score(rubric, method, subjects)
        return values if method == "good" else [LabelerAnswer(1 - (a.value or 0)) for a in values]


def test_the_way_is_chosen_on_some_pairs_and_judged_on_others() -> None:
    judge, rubric = TwoWays(ScriptedConfig(accuracy=1.0)), load_rubric("relevance")
    measured = measure_labeler(judge, rubric, MATERIAL)
    assert measured.admission.method == "good"
    assert measured.admission.admitted
    tested = {r.method for r in measured.results if r.half == "test"}
    assert tested == {"good"}, "the other way is not asked about the pairs that decide"


class Knows(ScriptedJudge):
    """Right about the first pairs that it is asked, and then a coin."""

    def __init__(self, known: int) -> None:
        super().__init__(ScriptedConfig(accuracy=0.5))
        self.perfect, self.left = ScriptedJudge(ScriptedConfig(accuracy=1.0)), known

    def compare(self, rubric, method, pairs):
        self.left -= len(pairs)
        return (self.perfect if self.left >= 0 else super()).compare(rubric, method, pairs)

    def score(self, rubric, method, subjects):
        self.left -= len(subjects) // 2
        return (self.perfect if self.left >= 0 else super()).score(rubric, method, subjects)


def test_being_right_on_the_pairs_that_choose_the_method_admits_nobody() -> None:
    assert not is_admitted(Knows(24), load_rubric("relevance"))


def test_a_labeler_that_looks_at_both_sides_is_measured_on_both_at_once() -> None:
    class Blind(ScriptedJudge):
        def compare(self, rubric, method, pairs):
            return [Comparison(1.0, 1.0) for _ in pairs]

    rubric = load_rubric("relevance")
    measured = measure_labeler(Blind(ScriptedConfig(accuracy=1.0)), rubric, MATERIAL)
    results, admission = measured.results, measured.admission
    assert not admission.admitted
    assert "off_topic/pairs" in admission.reason
    assert {r.probe for r in results} == {"off_topic", "off_topic/pairs"}


def test_sentinels_are_measured_and_are_no_condition() -> None:
    class Gullible(ScriptedJudge):
        def score(self, rubric, method, subjects):
            answers = super().score(rubric, method, subjects)
            return [
                LabelerAnswer(1.0) if s.text == CONSTANT_REPLY else a
                for s, a in zip(subjects, answers, strict=True)
            ]

    judge = Gullible(ScriptedConfig(accuracy=1.0))
    measured = measure_labeler(judge, load_rubric("relevance"), MATERIAL)
    results, admission = measured.results, measured.admission
    assert admission.admitted
    bounds = accuracy_lower_bounds(
        [r for r in results if r.half == "test"], {"relevance": admission}
    )["relevance"]
    assert bounds["a constant reply"] < 0.1 < 0.7 < bounds["a reply that is cut off"]
    assert bounds[KNOWN_ANSWER] > 0.7
    watched = WatchedJudge(judge, {"relevance": bounds})
    subjects = [Subject(str(i), "q", f"text {i}") for i in range(16)]
    rounds = [watched.score(load_rubric("relevance"), "scripted", subjects) for _ in range(6)]
    assert not any(answer.reason == "quarantined" for answers in rounds for answer in answers)


def test_confidence_is_worth_no_more_than_the_pairs_it_was_measured_on() -> None:
    assert fit_temperature([]) == 1.0
    sharp = fit_temperature([50.0] * 12)
    assert 1 / (1 + math.exp(-50.0 / sharp)) == pytest.approx(13 / 14, abs=0.01)
    assert fit_temperature([3.0, -3.0] * 6) > 50


@pytest.mark.parametrize("method", [method for method in METHODS if method != LABEL_GIVEN_TEXT])
@pytest.mark.parametrize("rubric", RUBRICS)
def test_every_way_asks_about_the_text(rubric: str, method: str) -> None:
    subject = Subject("s", "the prompt", "THE TEXT", reference="THE SOURCE")
    requests = requests_for(load_rubric(rubric), method, subject)
    assert all("THE TEXT" in context + continuation for context, continuation in requests)
    scores = [ContinuationScore(-1.0 - i, 2) for i in range(len(requests))]
    assert 0.0 < score_value(method, "THE TEXT", scores) < 1.0


def test_what_is_put_into_a_template_is_not_searched_again() -> None:
    assert fill("{prompt}|{text}", prompt="{text}", text="{prompt}") == "{text}|{prompt}"


def test_probability_of_the_label_is_its_softmax() -> None:
    scores = [ContinuationScore(math.log(share), 1) for share in (0.3, 0.1)]
    assert math.isclose(score_value("few_shot", "text", scores), 0.75)


def test_repeating_oneself_makes_no_text_likelier() -> None:
    """What a model foresees in the repetition, a compressor foresees too."""
    text = "The Moon gives no light of its own; half of it is always lit by the Sun."
    again = f"{text} {'It is always lit. ' * 20}"
    plain = score_value("likelihood", text, [ContinuationScore(-60.0, 18)])
    repeated = score_value("likelihood", again, [ContinuationScore(-80.0, 120)])
    assert repeated < plain, "per token the repetition would be three times as likely"


def test_the_taste_for_length_is_measured_beside_the_truth() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.normal(0, 0.3, 40)
    odds = 2.0 + 1.5 * lengths + rng.normal(0, 0.1, 40)
    assert length_slope(odds.tolist(), lengths.tolist()) == pytest.approx(1.5, abs=0.1)
    assert length_slope([*odds.tolist(), math.nan], [*lengths.tolist(), 9.0]) == pytest.approx(
        1.5, abs=0.1
    )
    noise = [length_slope(rng.normal(2, 1, 30).tolist(), lengths[:30].tolist()) for _ in range(50)]
    assert sum(value == 0.0 for value in noise) > 25, "what may be noise is not corrected for"
    assert length_slope([1.0] * 20, [0.0] * 20) == 0.0
    assert length_slope([], []) == 0.0


def test_unknown_rubric_is_a_user_error() -> None:
    with pytest.raises(UserError, match="Known rubrics: coherence"):
        load_rubric("no-such")
    with pytest.raises(UserError, match="--rubric = 'no-such'"):
        load_rubric("no-such", "--rubric")


def test_the_rows_that_are_kept_are_those_that_decided() -> None:
    """A labeler whose answers differ a little from one batch to the next, as in bfloat16."""

    class Noisy(ScriptedJudge):
        calls = 0

        def score(self, rubric, method, subjects):
            self.calls += 1
            return [
                replace(a, value=(a.value or 0) * (1 - 0.001 * self.calls))
                for a in super().score(rubric, method, subjects)
            ]

    rubric = load_rubric("coherence")
    measured = measure_labeler(Noisy(ScriptedConfig(accuracy=1.0)), rubric, MATERIAL)
    rows = {row.judgment_id: row for row in measured.rows}
    labeler = measured.admission.labeler
    probing = Probing(rubric, MATERIAL, ADMISSION_ALPHA, shows_both=True)
    results, admission = measurement(labeler, probing, ["scripted"], stored_rows(labeler, rows))
    assert admission == measured.admission
    assert results == measured.results
