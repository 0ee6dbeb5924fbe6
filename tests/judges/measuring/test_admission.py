from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UserError
from infra.models.language_model import ContinuationScore
from judges.config import ScriptedConfig
from judges.judgment.answers import LabelerAnswer
from judges.judgment.elicitation import Subject, requests_for, score_value
from judges.judgment.pairs import Comparison
from judges.labelers.scripted import ScriptedJudge
from judges.labelers.sentinels import KNOWN_ANSWER, WatchedJudge, accuracy_lower_bounds
from judges.measuring.accuracy import longer_baseline
from judges.measuring.admission import (
    admit,
    best_method,
    fit_temperature,
    measure_labeler,
    probe_accuracy,
    probe_batches,
    probe_outcome,
)
from judges.measuring.probes import CONSTANT_REPLY, PROBES, gold_set, probe_pairs, shuffled_words
from judges.rubrics import FOLDER, LABEL_GIVEN_TEXT, METHODS, fill, load_rubric

RUBRICS = sorted(file.stem for file in FOLDER.glob("*.toml"))


def scripted(**dials: float) -> ScriptedJudge:
    return ScriptedJudge(ScriptedConfig(**dials))


def test_known_accuracy_interval_and_auc() -> None:
    chance = probe_accuracy([3, 2, 1, 0], [0, 1, 2, 3])
    assert (chance.value, chance.auc) == (0.5, 0.5)
    assert chance.low < 0.5 < chance.high
    perfect = probe_accuracy([1.0] * 8, [0.0] * 8)
    assert (perfect.value, perfect.auc) == (1.0, 1.0)
    assert math.isclose(perfect.low, 8 / (8 + 1.6449**2), rel_tol=1e-3)  # Wilson's bound for 8 of 8


def test_ties_count_half() -> None:
    assert probe_accuracy([1, 1], [1, 1]).value == 0.5


@pytest.mark.parametrize("probe", PROBES)
def test_probes_are_pairs_that_differ(probe: str) -> None:
    pairs = probe_pairs(probe, 24)
    assert len(pairs) == 24
    assert len({p.good.subject_id for p in pairs}) == 24
    for pair in pairs:
        assert pair.good.text != pair.bad.text
        assert pair.good.reference == pair.bad.reference
        assert (pair.good.truth, pair.bad.truth) == (1.0, 0.0)


@pytest.mark.parametrize("probe", PROBES)
def test_length_says_next_to_nothing_about_a_probe(probe: str) -> None:
    assert longer_baseline(gold_set(probe).pairs) < 0.6


def test_executed_answers_are_what_python_gives() -> None:
    for pair in probe_pairs("executed_answer", 24):
        source = pair.good.prompt.split("? ")[1]
        assert str(eval(source)) == pair.good.text
        assert str(eval(source)) != pair.bad.text


def test_altered_quotes_are_not_in_their_source_and_quotes_are() -> None:
    for pair in probe_pairs("altered_quote", 24):
        assert pair.good.text in pair.good.reference
        assert pair.bad.text not in pair.bad.reference


def test_off_topic_answers_belong_to_another_question() -> None:
    pairs = probe_pairs("off_topic", 24)
    answers = {p.good.prompt: p.good.text for p in pairs}
    for pair in pairs:
        assert pair.good.prompt == pair.bad.prompt
        assert pair.bad.text in answers.values()
        assert pair.bad.text != answers[pair.good.prompt]


@given(st.text(min_size=1))
def test_shuffling_keeps_the_words(text: str) -> None:
    assert sorted(shuffled_words(text, "s").split()) == sorted(text.split())


@pytest.mark.parametrize("rubric", RUBRICS)
def test_perfect_labeler_is_admitted_and_a_blind_one_is_not(rubric: str) -> None:
    assert measure_labeler(scripted(accuracy=1.0), load_rubric(rubric), 24).admission.admitted
    assert not measure_labeler(scripted(accuracy=0.5), load_rubric(rubric), 24).admission.admitted
    assert not measure_labeler(scripted(accuracy=0.0), load_rubric(rubric), 24).admission.admitted


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
    assert not measure_labeler(
        scripted(accuracy=1.0, unscored_share=1.0), load_rubric("coherence"), 16
    ).admission.admitted


class TwoWays(ScriptedJudge):
    """Right with one method and wrong with the other."""

    methods = ("bad", "good")

    def score(self, rubric, method, subjects):
        values = super().score(rubric, method, subjects)
        return values if method == "good" else [LabelerAnswer(1 - (a.value or 0)) for a in values]


def test_the_way_is_chosen_on_the_calibration_half_and_judged_on_the_other() -> None:
    judge, rubric = TwoWays(ScriptedConfig(accuracy=1.0)), load_rubric("relevance")
    admission = measure_labeler(judge, rubric, 24).admission
    assert admission.method == "good"
    assert admission.admitted
    methods = []
    for method in judge.methods:
        batches = probe_batches(rubric, method, 24, shows_both=True)
        rows = {row.judgment_id: row for batch in batches.values() for row in judge.judge(batch)}
        methods.append(probe_outcome(judge.name, method, batches, rows))
    spoiled = replace(
        methods[1],
        results=tuple(
            replace(r, lower=0.4, accuracy=0.0) if r.half == "test" else r
            for r in methods[1].results
        ),
    )
    assert best_method([methods[0], spoiled]) is spoiled
    assert not admit(judge.name, rubric, spoiled).admitted


def test_a_labeler_that_looks_at_both_sides_is_measured_on_both_at_once() -> None:
    class Blind(ScriptedJudge):
        def compare(self, rubric, method, pairs):
            return [Comparison(1.0, 1.0) for _ in pairs]

    rubric = load_rubric("relevance")
    measured = measure_labeler(Blind(ScriptedConfig(accuracy=1.0)), rubric, 24)
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
    measured = measure_labeler(judge, load_rubric("relevance"), 24)
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
    assert 0.0 < score_value(method, scores) < 1.0


def test_what_is_put_into_a_template_is_not_searched_again() -> None:
    assert fill("{prompt}|{text}", prompt="{text}", text="{prompt}") == "{text}|{prompt}"


def test_probability_of_the_label_is_its_softmax() -> None:
    value = score_value(
        "few_shot", [ContinuationScore(math.log(0.3), 1), ContinuationScore(math.log(0.1), 1)]
    )
    assert math.isclose(value, 0.75)


def test_unknown_rubric_and_probe_are_user_errors() -> None:
    with pytest.raises(UserError, match="Known rubrics: coherence"):
        load_rubric("no-such")
    with pytest.raises(UserError, match="--rubric = 'no-such'"):
        load_rubric("no-such", "--rubric")
    with pytest.raises(UserError, match="there is no such probe"):
        probe_pairs("no-such", 8)


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
    measured = measure_labeler(Noisy(ScriptedConfig(accuracy=1.0)), rubric, 24)
    rows = {row.judgment_id: row for row in measured.rows}
    batches = probe_batches(rubric, "scripted", 24, shows_both=True)
    again = probe_outcome(measured.admission.labeler, "scripted", batches, rows)
    assert admit(measured.admission.labeler, rubric, again) == measured.admission
