"""A head distilled from a labeler: what it learns, when it is not used, and its drift."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from infra.store import Store
from judges.judgment.answers import LabelerAnswer
from judges.making.labeling import Labeling
from judges.making.passages.head import MIN_PASSAGES, fit_head, head_drift, head_values, stratified
from judges.making.passages.passage_steps import (
    DISTILLED,
    distil,
    judge_passages,
    measure_surprise,
    selected_passages,
)
from tests.infra.support.store_rows import add_documents
from tests.judges.making.passages.test_samples import sample
from tests.judges.making.test_labeling import TinyChampion, labeling  # noqa: F401 (a fixture)

NO_DRIFT = (math.nan, math.nan)


def world(
    number: int, noise: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    dice = np.random.default_rng(seed)
    vectors = dice.normal(0, 1, (number, 24))
    quality = vectors[:, 3] - vectors[:, 7] + noise * dice.normal(0, 1, number)
    values = quality.argsort().argsort() / (number - 1)
    return vectors, values, ["x" * int(n) for n in dice.integers(10, 900, number)]


def test_a_labelers_ranks_are_learned() -> None:
    vectors, values, texts = world(200)
    head = fit_head(vectors, values, texts, "encoder", 1, NO_DRIFT)
    assert head.admitted
    assert head.correlation_low > 0.8
    fresh, wanted, _ = world(200, seed=1)
    correlation, bias = head_drift(head, fresh, wanted)
    assert correlation > 0.8
    assert abs(bias) < 0.05
    assert 0 <= head_values(head, 100 * fresh).min() <= head_values(head, 100 * fresh).max() <= 1


def test_noise_is_not_admitted_and_neither_is_what_length_alone_tells() -> None:
    vectors, values, texts = world(200)
    shuffled = np.random.default_rng(3).permutation(values)
    assert not fit_head(vectors, shuffled, texts, "e", 1, NO_DRIFT).admitted
    by_length = [("x" * int(1 + 900 * value)) for value in values]
    assert not fit_head(vectors, values, by_length, "e", 1, NO_DRIFT).admitted


def test_a_labeler_that_has_changed_its_mind_is_seen_as_drift() -> None:
    vectors, values, texts = world(200)
    head = fit_head(vectors, values, texts, "e", 1, NO_DRIFT)
    fresh, wanted, _ = world(200, seed=1)
    assert head_drift(head, fresh, 1 - wanted)[0] < -0.8
    assert head_drift(head, fresh, np.ones(200))[1] < -0.3


def test_strata_are_drawn_in_turn() -> None:
    samples = [sample(str(i)) for i in range(50)]
    order = stratified(samples, np.arange(50) / 50, 0)
    assert sorted(s.sample_id for s in order) == sorted(s.sample_id for s in samples)
    assert [int(s.sample_id) // 10 for s in order[:10]] == [0, 1, 2, 3, 4] * 2


class Reader(TinyChampion):
    """Turns a text into vectors that tell how many words it has of one kind; what the labeler of
    these tests likes."""

    def embed(self, texts):
        return [[t.count("good") / 10, t.count("bad") / 10, float(len(t) % 7)] for t in texts]


def rich(labeling: Labeling, number: int) -> Labeling:  # noqa: F811
    dice = np.random.default_rng(4)
    pool = [
        replace(labeling.store.crawl.documents("train")[0], document_id=f"r{i}", text=_text(dice))
        for i in range(number)
    ]
    add_documents(labeling.store, pool)

    class Liking(type(labeling.judge)):  # type: ignore[misc]
        def score(self, rubric, method, subjects):
            return [LabelerAnswer(min(1.0, s.text.count("good") / 40)) for s in subjects]

    judge = Liking(labeling.config.scripted)
    reader = Reader(labeling.champion.model, "reader")  # type: ignore[attr-defined]
    config = labeling.config.model_copy(update={"chunk_size": 32, "passage_rubrics": ["coherence"]})
    return replace(
        labeling,
        judge=judge,
        encoder=reader,
        config=config,
        budget=replace(labeling.budget, label_tokens=9000),
    )


def _text(dice: np.random.Generator) -> str:
    return " ".join(dice.choice(["good", "bad", "word"], 60, p=dice.dirichlet([1, 1, 1])))


@pytest.mark.timeout(300)
def test_a_crawl_is_scored_by_the_head_and_the_next_generation_sees_its_drift(
    labeling: Labeling,  # noqa: F811
) -> None:
    parts = rich(labeling, 400)
    admissions = {a: replace(b, admitted=True) for a, b in parts.admissions().items()}
    judge_passages(parts, admissions)
    measure_surprise(parts)
    distil(parts)
    store: Store = parts.store
    head = store.labelers.head(1)
    assert head is not None
    assert head.admitted
    assert head.num_passages >= MIN_PASSAGES
    scored = {j.subject_id: j.value for j in store.labels.judgments(1, DISTILLED)}
    samples = {s.sample_id: s for s in store.labels.samples(1, "passage")}
    assert len(scored) > head.num_passages, "what was not judged is scored too"
    assert len(samples) == len(scored) + head.num_passages
    assert (
        np.corrcoef([samples[i].completion.count("good") for i in scored], list(scored.values()))[
            0, 1
        ]
        > 0.9
    )
    assert set(store.labelers.surprise(1)) == set(samples)
    chosen = selected_passages(store, parts.config, 1, 20_000, 0)
    assert 0 < sum(s.sample_id in scored for s in chosen) < len(chosen)
    before = store.labels.judgments(1, DISTILLED)
    distil(parts)
    assert store.labels.judgments(1, DISTILLED) == before

    again = rich(replace(parts, generation=2), 400)
    add_documents(
        again.store,
        [
            replace(d, document_id=f"n{d.document_id}", text=d.text + " new", generation=2)
            for d in store.crawl.documents("train")
            if d.document_id.startswith("r")
        ],
    )
    judge_passages(again, admissions)
    measure_surprise(again)
    distil(again)
    second = store.labelers.head(2)
    assert second is not None
    assert second.drift_correlation > 0.8
    assert abs(second.drift_bias) < 0.1
    assert not {s.document_id for s in store.labels.samples(2, "passage")} & {
        s.document_id for s in samples.values()
    }


def test_a_few_passages_make_no_head(labeling: Labeling) -> None:  # noqa: F811
    labeling.run()
    assert labeling.store.labelers.head(1) is None
    assert labeling.store.labelers.surprise(1)
