"""How varied, long and far from the anchor's texts are: known answers, and suites that hold a
candidate to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.models.folders import load_model, load_tokenizer
from infra.models.language_model import LanguageModel
from infra.store import Store
from loop.gate.config import GateConfig, Kind, SuiteConfig
from loop.gate.estimates import hundreds_of_words, self_bleu
from loop.gate.rules import suite_rule
from loop.gate.suites.scorer import NUM_SAMPLES, ModelScorer
from loop.gate.suites.variety import TEXT_MEASURES, VARIETY_MEASURES, SampledAnswers, variety_scores
from tests.infra.support.store_rows import candidate
from tests.loop.gate.trial.test_trial import KnownScorer, trial

words = st.lists(
    st.sampled_from(["red", "green", "blue", "one", "two"]), min_size=1, max_size=9
).map(" ".join)


def test_self_bleu_known_answers() -> None:
    assert self_bleu(["a b c d e", "a b c d e"]) == pytest.approx(1.0)
    assert self_bleu(["a b c d e", "v w x y z"]) < 0.1
    assert self_bleu(["only one"]) == 0.0
    assert self_bleu(["", ""]) == 1.0, "a model that writes nothing is not a varied one"
    half = self_bleu(["the cat sat on the mat today", "the cat sat on the red roof"])
    assert 0.1 < half < 0.9


@given(st.lists(words, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_self_bleu_is_a_share_that_order_does_not_change_and_repetition_raises(
    texts: list[str], random: object
) -> None:
    value = self_bleu(texts)
    assert 0.0 <= value <= 1.0 + 1e-9
    assert self_bleu(texts[::-1]) == pytest.approx(value)
    assert self_bleu([*texts, *texts]) == pytest.approx(1.0), "each text is there twice"


def test_length_is_in_hundreds_of_words() -> None:
    assert hundreds_of_words(["one two", "one two three four"]) == pytest.approx(0.03)
    assert hundreds_of_words([]) == 0.0


def test_every_kind_that_a_recipe_may_name_is_measured() -> None:
    others = {"bits", "choice", "pairs", "executed", "judged", "lm_eval"}
    assert set(get_args(Kind)) - others == set(VARIETY_MEASURES)


def test_samples_are_repeatable_and_the_same_for_equal_models(tiny_folder: Path) -> None:
    scorer = ModelScorer([str(tiny_folder)] * 2, 1, 2)
    prompts = ["Some text to go on with", "And another"]
    for asked in (False, True):
        first, second = scorer.samples(prompts, 1, asked)
        assert (
            first
            == second
            == ModelScorer([str(tiny_folder)] * 2, 1, 2).samples(prompts, 1, asked)[0]
        )
        assert [len(texts) for texts in first] == [NUM_SAMPLES] * 2
        assert first != scorer.samples(prompts, 2, asked)[0]
    for name in TEXT_MEASURES:
        rows = variety_scores(name, scorer, prompts, 1, asked=True)
        assert [len(row) for row in rows] == [2, 2]


def test_bits_count_the_bytes_that_the_window_holds(tiny_folder: Path) -> None:
    """A longer text has the bits per byte of what is scored of it, as one window has them."""
    scorer = ModelScorer([str(tiny_folder)] * 2, 1, 2)
    model = scorer._model(0)
    text = "Some words to read, größer und 更长。 " * 2000
    (whole,), _ = scorer.bits([[text]])
    (held,), _ = scorer.bits([[model.held(text)]])
    assert len(model.held(text)) < len(text) / 2
    assert whole == pytest.approx(held)
    assert whole == pytest.approx(model.bits_per_byte([text])[0])


def test_special_tokens_in_items_are_text(tiny_folder: Path) -> None:
    scorer = ModelScorer([str(tiny_folder)] * 2, 1, 2)
    model = scorer._model(0)
    special = next(iter(model.special_tokens))
    (logp, _), *_ = scorer.logps([("A question", f" yes{special}"), ("x", " y")])
    clean = model.neutralise(f" yes{special}")
    assert clean != f" yes{special}"
    assert logp == pytest.approx(model.score([("A question", clean)])[0].logp, abs=1e-4)


def changed(tiny_folder: Path, folder: Path) -> Path:
    """The tiny model with its output scaled: another distribution over the same tokens."""
    model = load_model(tiny_folder)
    with torch.no_grad():
        model.model.norm.weight.mul_(3.0)
    model.save_pretrained(folder)
    load_tokenizer(tiny_folder).save_pretrained(folder)
    return folder


def exact_divergence(own: Path, anchor: Path, prompts: Sequence[str], asked: bool) -> float:
    """KL over the whole vocabulary after each token of the same samples, by plain transformers."""
    writer = LanguageModel(own, "model", exact=True)
    models = [load_model(folder) for folder in (own, anchor)]
    begun = [writer.chat_prompt(p) if asked else p for p in prompts for _ in range(NUM_SAMPLES)]
    divergences = []
    for prompt, sample in zip(
        begun, writer.complete(begun, 96 if asked else 40, 1.0, 1), strict=True
    ):
        before = writer.encode(prompt)
        with torch.no_grad():
            own_TV, anchor_TV = (
                m(torch.tensor([before + list(sample.ids)]))
                .logits[0, len(before) - 1 : -1]
                .log_softmax(-1)
                for m in models
            )
        divergences.append((own_TV.exp() * (own_TV - anchor_TV)).sum(-1))
    return float(torch.cat(divergences).mean())


@pytest.mark.parametrize("asked", [False, True])
def test_drift_is_nothing_from_oneself_and_positive_from_another(
    tiny_folder: Path, tmp_path: Path, asked: bool
) -> None:
    other = changed(tiny_folder, tmp_path / "other")
    prompts = [f"Text number {i}" for i in range(6)]
    rows = ModelScorer([str(other), str(tiny_folder), str(tiny_folder)], 1, 2).drift(
        prompts, 1, asked
    )
    assert rows[1] == rows[2] == [0.0] * 6
    assert min(rows[0]) > 0
    assert sum(rows[0]) / 6 == pytest.approx(
        exact_divergence(other, tiny_folder, prompts, asked), abs=0.04
    )
    same = ModelScorer([str(tiny_folder), str(tiny_folder)], 1, 2).drift(prompts, 1, asked)
    assert same == [[0.0] * 6] * 2


def prompts_file(tmp_path: Path, count: int = 60) -> Path:
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": f"question {i}"}) for i in range(count)))
    return file


def test_scores_of_a_suite_are_those_of_its_samples(
    store: Store, tmp_path: Path, tiny_folder: Path
) -> None:
    config = SuiteConfig(file=str(prompts_file(tmp_path)), kind="self_bleu")
    suite = SampledAnswers(store, suite_rule("s", config, GateConfig()), config, "salt")
    items = suite.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0)[:2]
    scorer = ModelScorer([str(tiny_folder)] * 2, 1, 2)
    samples = scorer.samples([item.content.prompt for item in items], items[0].position, asked=True)
    assert suite.score(scorer, items) == [
        [self_bleu(texts) for texts in of_model] for of_model in samples
    ]
    assert not suite.rule.higher_is_better


class Answering(KnownScorer):
    """A candidate that answers each prompt the same way every time; the others vary."""

    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        rows = super().samples(prompts, seed, asked)
        return [[["always the same words"] * 4 for _ in prompts], *rows[1:]] if asked else rows


@pytest.mark.parametrize("kind", ["distinct_2", "self_bleu"])
def test_a_candidate_that_lost_its_variety_is_stopped_by_a_guard(
    store: Store, tmp_path: Path, kind: str
) -> None:
    config = GateConfig(
        suites={"variety": SuiteConfig(file=str(prompts_file(tmp_path)), kind=kind)}
    )  # type: ignore[arg-type]
    decision = trial(store, Answering(0.3), config=config).run()
    assert decision.outcome == "reject"
    assert "worse by more than the margin on variety against the anchor" in decision.reason


@pytest.mark.parametrize(("kl", "outcome"), [(0.01, "promote"), (1.9, "reject")])
def test_distance_from_the_anchor_can_be_a_guard(
    store: Store, tmp_path: Path, kl: float, outcome: str
) -> None:
    suite = SuiteConfig(file=str(prompts_file(tmp_path, 200)), kind="kl_to_anchor", margin=0.5)
    decision = trial(
        store, KnownScorer(0.3, kl=kl), config=GateConfig(suites={"near": suite})
    ).run()
    assert decision.outcome == outcome, store.gate.gate_tests(1)
