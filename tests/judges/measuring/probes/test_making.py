"""Probe pairs: true by construction, the same in every process, made anew by every seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.config import read_toml
from infra.errors import UserError
from judges.measuring.accuracy import longer_baseline
from judges.measuring.probes.making import (
    ITEMS_FOLDER,
    MAX_DECIDING,
    NUM_CALIBRATION,
    PROBES,
    Passage,
    ProbeMaterial,
    ProbePair,
    as_gold,
    built_in_material,
    probe_set,
    shuffled_words,
)
from judges.measuring.probes.nuisances import balanced_order, best_rule, signs
from tests import ROOT

SCRIPT = """
from infra.records import content_key
from judges.measuring.probes.making import PROBES, built_in_material, probe_set
for probe in PROBES:
    print(probe, content_key(repr(probe_set(probe, built_in_material("x")))))
"""


def material_in(language: str) -> ProbeMaterial:
    rows = read_toml(Path(__file__).parent / "passages.toml")[language]
    return ProbeMaterial(language, tuple(Passage(**row, language=language) for row in rows))


GERMAN, CHINESE = material_in("de"), material_in("zh")
MATERIALS = [built_in_material(), built_in_material("another"), GERMAN, CHINESE]


def digests(hash_seed: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_pairs_are_the_same_in_every_process() -> None:
    """Judgments are stored under the keys of their texts."""
    first = digests(1)
    assert len(first) == len(PROBES)
    assert digests(2) == first


def all_pairs(probe: str, material: ProbeMaterial) -> list[ProbePair]:
    made = probe_set(probe, material)
    return [*made.calibration, *made.deciding]


@pytest.mark.parametrize("material", MATERIALS, ids=lambda one: one.seed)
@pytest.mark.parametrize("probe", PROBES)
def test_pairs_differ_and_there_are_enough_of_them(probe: str, material: ProbeMaterial) -> None:
    made = probe_set(probe, material)
    assert len(made.calibration) == NUM_CALIBRATION
    assert 32 <= len(made.deciding) <= MAX_DECIDING
    pairs = all_pairs(probe, material)
    assert len({(p.good.subject_id, p.bad.subject_id) for p in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.good.text.strip()
        assert pair.bad.text.strip()
        assert pair.good.text != pair.bad.text
        assert pair.good.prompt == pair.bad.prompt
        assert pair.good.reference == pair.bad.reference
        assert (pair.good.truth, pair.bad.truth) == (1.0, 0.0)


@pytest.mark.parametrize("material", MATERIALS, ids=lambda one: one.seed)
@pytest.mark.parametrize("probe", PROBES)
def test_no_feature_tells_good_from_bad_on_the_pairs_that_decide(
    probe: str, material: ProbeMaterial
) -> None:
    """Nor on any beginning of them, since a test may stop early."""
    made = probe_set(probe, material)
    table = signs([(p.good, p.bad) for p in made.deciding], material.texts)
    assert best_rule(table) <= made.limit
    assert made.limit < (0.68 if material.seed in ("built-in", "another") else 0.95)
    assert longer_baseline([as_gold(pair) for pair in made.deciding]) <= made.limit


@pytest.mark.parametrize("probe", PROBES)
def test_another_seed_makes_other_pairs_that_decide(probe: str) -> None:
    """Facts stay true, so whoever knows them is right."""
    one, other = (set(map(repr, probe_set(probe, m).deciding)) for m in MATERIALS[:2])
    shared = len(one & other) / len(one)
    assert shared < (0.6 if probe in ("wrong_answer", "off_topic", "altered_quote") else 0.2)


def test_what_is_known_word_for_word_only_chooses_the_method() -> None:
    known = {row["safe"] for row in read_toml(ITEMS_FOLDER / "advice.toml")["advice"]}
    made = probe_set("harmful_advice", built_in_material())
    assert known & {p.good.text for p in made.calibration}
    assert not known & {p.good.text for p in made.deciding}


def test_executed_answers_are_what_python_gives() -> None:
    for pair in all_pairs("executed_answer", built_in_material()):
        source = pair.good.prompt.split("? ")[1]
        assert str(eval(source)) == pair.good.text
        assert str(eval(source)) != pair.bad.text


@pytest.mark.parametrize("material", MATERIALS, ids=lambda one: one.seed)
def test_altered_quotes_are_not_in_their_source_and_quotes_are(material: ProbeMaterial) -> None:
    for pair in all_pairs("altered_quote", material):
        assert pair.good.text in pair.good.reference
        assert pair.bad.text not in pair.bad.reference


@pytest.mark.parametrize("material", MATERIALS, ids=lambda one: one.seed)
def test_off_topic_answers_belong_to_another_question(material: ProbeMaterial) -> None:
    answers = {p.instruction: p.text for p in material.passages}
    for pair in all_pairs("off_topic", material):
        assert pair.good.text == answers[pair.good.prompt]
        assert pair.bad.text in answers.values()
        assert pair.bad.text != answers[pair.good.prompt]


@pytest.mark.parametrize("probe", ["boilerplate", "vague"])
def test_what_says_nothing_is_in_the_language_of_the_passage(probe: str) -> None:
    assert all("\u4e00" < p.bad.text[0] < "\u9fff" for p in all_pairs(probe, CHINESE))
    german = " ".join(p.bad.text for p in all_pairs(probe, GERMAN)).split()
    assert sum(word.lower() in ("the", "of", "you") for word in german) == 0


@given(st.text(alphabet="abc ABC.,", min_size=1))
def test_shuffling_keeps_every_character(text: str) -> None:
    shuffled = shuffled_words(text, "s")
    characters = sorted("".join(text.lower().split()))
    assert sorted("".join(shuffled.lower().split())) == characters


def test_shuffling_looks_like_prose() -> None:
    text = "The Moon gives no light of its own. Half of it is always lit, by the Sun."
    shuffled = shuffled_words(text, "seed")
    assert shuffled != text
    assert shuffled[0].isupper()
    assert shuffled.endswith(".")
    assert len(shuffled) == len(text)
    chinese = "月亮自己不发光，它的一半总是被太阳照亮。"
    assert sorted(shuffled_words(chinese, "s")) == sorted(chinese)
    assert shuffled_words(chinese, "s") != chinese


@given(
    st.lists(
        st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=3, max_size=3), min_size=1, max_size=40
    )
)
def test_an_order_has_each_pair_once_and_keeps_the_sums_small(rows: list[list[float]]) -> None:
    import numpy as np

    values = np.array([*rows, *[[-x for x in row] for row in rows]])
    order = balanced_order(values, len(values), "salt")
    assert sorted(order) == list(range(len(values)))
    assert np.abs(np.cumsum(values[order], axis=0)).max() <= 4, "every pair has its opposite"


def test_unknown_probe_is_a_user_error() -> None:
    with pytest.raises(UserError, match="there is no such probe"):
        probe_set("no-such", built_in_material())
