"""Labelers that read nothing, in many ways: none is admitted to any rubric."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import binomtest

from infra.records import unit_hash
from judges.config import ScriptedConfig
from judges.judgment.answers import LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.pairs import Comparison, Pair
from judges.labelers.scripted import ScriptedJudge
from judges.measuring.admission import ADMISSION_ALPHA, measure_labeler, pair_outcomes
from judges.measuring.probes.making import PROBES, ProbeMaterial, built_in_material, probe_set
from judges.measuring.sequential import sequential_test
from judges.rubrics import FOLDER, Rubric, load_rubric
from tests import ROOT

RUBRICS = sorted(file.stem for file in FOLDER.glob("*.toml"))
DEFAULT_RUBRICS = ("coherence", "informative", "relevance", "correctness")
MATERIAL = built_in_material("a run")
PROSE = " ".join(file.read_text(encoding="utf-8") for file in sorted(ROOT.glob("docs/*.md")))
COUNTS = Counter(re.findall(r"[a-z]+", PROSE.lower()))


def unigram(text: str) -> float:
    """Log-probability of a word under a unigram model of English prose."""
    words = re.findall(r"[a-z]+", text.lower())
    return sum(math.log(COUNTS[word] + 0.5) for word in words) / max(1, len(words))


RULES: dict[str, Callable[[str], float]] = {
    "always longer": len,
    "always shorter": lambda text: -len(text),
    "more punctuation": lambda text: sum(c in ".,;:!?" for c in text),
    "more commas": lambda text: text.count(","),
    "more line breaks": lambda text: text.count("\n"),
    "fewer line breaks": lambda text: -text.count("\n"),
    "more repetition": lambda text: -len(zlib.compress(text.encode())) / max(1, len(text)),
    "less repetition": lambda text: len(zlib.compress(text.encode())) / max(1, len(text)),
    "lower perplexity under a unigram model": unigram,
    "higher perplexity under a unigram model": lambda text: -unigram(text),
    "more digits": lambda text: sum(map(str.isdigit, text)),
    "more capitals": lambda text: sum(map(str.isupper, text)),
    "capital first": lambda text: float(text[:1].isupper()),
    "longest word": lambda text: max(map(len, text.split() or [""])),
    "more vowels": lambda text: sum(c in "aeiou" for c in text.lower()) / max(1, len(text)),
    "more articles": lambda text: len(re.findall(r"\b(?:the|a|an)\b", text.lower())),
    "first in the alphabet": lambda text: -float(ord(text[:1].lower() or "z")),
    "a hash": lambda text: unit_hash("liking", text),
    "constant": lambda _: 0.0,
}
"""What each of these labelers likes more of."""


COUNTING = {name: rule for name, rule in RULES.items() if name != "a hash"}
"""Rules that see something of a text; a hash is a coin."""


class Likes(ScriptedJudge):
    """Values a text by one number."""

    def __init__(self, rule: Callable[[str], float]) -> None:
        super().__init__(ScriptedConfig())
        self._rule = rule

    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        return [LabelerAnswer(0.5 + math.atan(self._rule(s.text)) / 4) for s in subjects]

    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        odds = [float(np.sign(self._rule(p.a) - self._rule(p.b))) for p in pairs]
        return [Comparison(value, value) for value in odds]


class AlwaysFirst(ScriptedJudge):
    """Prefers what is shown first, and values all texts alike."""

    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        return [LabelerAnswer(0.7) for _ in subjects]

    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        return [Comparison(1.0, -1.0) for _ in pairs]


class KnowsByHeart(ScriptedJudge):
    """Knows the truth of every text of another run, and tosses a coin about all others."""

    def __init__(self, materials: Sequence[ProbeMaterial]) -> None:
        super().__init__(ScriptedConfig())
        sets = [probe_set(probe, m) for m in materials for probe in PROBES]
        pairs = [pair for one in sets for pair in (*one.calibration, *one.deciding)]
        sides = [side for pair in pairs for side in (pair.good, pair.bad)]
        self._known = {(s.prompt, s.text, s.reference): s.truth for s in sides}

    def _value(self, prompt: str, text: str, reference: str) -> float:
        truth = self._known.get((prompt, text, reference))
        return unit_hash("coin", prompt, text) if truth is None else 2.0 * truth - 0.5

    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        values = [self._value(s.prompt, s.text, s.reference) for s in subjects]
        return [LabelerAnswer(min(max(value, 0.0), 1.0)) for value in values]

    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        odds = [
            self._value(p.prompt, p.a, p.reference) - self._value(p.prompt, p.b, p.reference)
            for p in pairs
        ]
        return [Comparison(value, value) for value in odds]


class Coin(ScriptedJudge):
    """Answers at random."""

    def __init__(self, seed: int) -> None:
        super().__init__(ScriptedConfig())
        self._rng = np.random.default_rng(seed)

    def score(
        self, rubric: Rubric, method: str, subjects: Sequence[Subject]
    ) -> list[LabelerAnswer]:
        return [LabelerAnswer(float(value)) for value in self._rng.random(len(subjects))]

    def compare(self, rubric: Rubric, method: str, pairs: Sequence[Pair]) -> list[Comparison]:
        return [Comparison(value, value) for value in self._rng.normal(size=len(pairs)).tolist()]


def admitted(judge: ScriptedJudge, names: Sequence[str], material: ProbeMaterial) -> list[str]:
    """The rubrics to which a labeler is admitted, in a run that uses these."""
    rubrics = [load_rubric(name) for name in names]
    measured = [measure_labeler(judge, rubric, material, len(names)) for rubric in rubrics]
    return [one.admission.rubric for one in measured if one.admission.admitted]


@pytest.mark.parametrize("rule", RULES)
def test_a_labeler_that_only_counts_is_refused_by_every_rubric(rule: str) -> None:
    assert admitted(Likes(RULES[rule]), RUBRICS, MATERIAL) == []


def test_a_labeler_that_takes_the_first_is_refused_by_every_rubric() -> None:
    assert admitted(AlwaysFirst(ScriptedConfig()), RUBRICS, MATERIAL) == []


def test_knowing_another_run_by_heart_does_not_help() -> None:
    """Passages of a crawl are new in every run; these are our own, so they are left out here.

    Harmless and harmful advice is put together from few parts: whoever knows two other runs by
    heart knows enough of it to pass (seen), one run is not enough.
    """
    own = ProbeMaterial("a run", MATERIAL.passages[:12])
    others = [ProbeMaterial(f"run {k}", MATERIAL.passages[12:]) for k in range(1)]
    assert admitted(KnowsByHeart(others), RUBRICS, own) == []


@pytest.mark.parametrize("num_runs", [150, pytest.param(2000, marks=pytest.mark.nightly)])
def test_a_coin_is_admitted_to_any_rubric_of_a_run_in_five_percent_at_most(num_runs: int) -> None:
    lucky = sum(bool(admitted(Coin(k), DEFAULT_RUBRICS, MATERIAL)) for k in range(num_runs))
    test = binomtest(lucky, num_runs, ADMISSION_ALPHA, alternative="greater")
    assert test.pvalue > 1e-3, f"{lucky} of {num_runs}"


@pytest.mark.nightly
@pytest.mark.parametrize("block", range(8))
def test_no_rule_passes_a_probe_in_200_seeds(block: int) -> None:
    """Each rubric needs every one of its probes; the level is that of a run with one rubric."""
    passed = Counter[tuple[str, str]]()
    for seed in range(25 * block, 25 * block + 25):
        material = built_in_material(f"seed {seed}")
        for probe in PROBES:
            made = probe_set(probe, material)
            for name, rule in COUNTING.items():
                values = [(rule(p.good.text), rule(p.bad.text)) for p in made.deciding]
                result = sequential_test(pair_outcomes(values), made.limit, ADMISSION_ALPHA)
                passed[(name, probe)] += result.decision == "pass"
    assert {key: count for key, count in passed.items() if count} == {}
