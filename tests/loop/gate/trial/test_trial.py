"""Decisions with a scorer whose answers are known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.records import Checkpoint, Decision, Document, Sample, TrainStep, now, unit_hash
from infra.store import Store
from judges.verifying.checks import Claim
from judges.verifying.verifier import VerifiedDocument
from loop.gate.aim import AimConfig, ExamConfig
from loop.gate.config import GateConfig, SuiteConfig
from loop.gate.evidence import log_evidence_path
from loop.gate.suites.items.exam import exam_parts
from loop.gate.suites.recipe_suites import SuiteMaker, recipe_suites, sealed_part
from loop.gate.trial.context import GateContext, Rivals
from loop.gate.trial.sealed_exam import SealedExam
from loop.gate.trial.suite_tests import SuiteTest
from loop.gate.trial.trial import run_attempt
from tests.infra.support.store_rows import add_documents, candidate, page_row


class KnownScorer:
    """A candidate that needs `gain` bits a byte less than the champion, answers `right` prompts
    right, and so on.

    Models are candidate, champion, others, anchor; `others` are their bits per byte.
    """

    def __init__(self, gain: float, right: int = 24, **options: Any) -> None:
        self.gain, self.right = gain, right
        self.repeats: bool = options.get("repeats", False)
        self.others: list[float] = options.get("others", [1.0])
        self.whole: str = options.get("problem", "")
        self.kl: float = options.get("kl", 0.1)
        self.marks: list[list[bool]] = options.get("marks", [])
        self.texts: list[str] = []

    num_candidates = 1

    def problem(self, candidate: int) -> str:
        return self.whole

    def keep(self, candidates: Sequence[int]) -> None:
        self.num_candidates = len(candidates)

    def bits(self, documents: Sequence[Sequence[str]]) -> list[list[float]]:
        self.texts += map("".join, documents)
        return [[value] * len(documents) for value in (1.0 - self.gain, 1.0, *self.others)]

    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """The first of each two texts is likelier where a model's mark for that item says so."""
        rows = []
        for right in self.marks:
            rows.append([])
            for (prompt, _), (_, second) in zip(pairs[::2], pairs[1::2], strict=True):
                good = right[int(prompt)]
                rows[-1] += [-1.0, -2.0] if good else [-2.0 * len(second), -1.0]
        return rows

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        return [
            ["7" if i < self.right else "no" for i in range(len(prompts))],
            ["7"] * len(prompts),
        ]

    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        varied = [[f"word{i} other{i} third{i}", f"{i}a {i}b {i}c"] for i in range(len(prompts))]
        return [
            [["la la la la"] * 2] * len(prompts) if self.repeats else varied,
            varied,
            *[varied for _ in self.others],
        ]

    def drift(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[float]]:
        return [[value] * len(prompts) for value in (self.kl, 0.0, *[0.0 for _ in self.others])]


class KnownVerifier:
    """Finds one example on each page, and one that all pages have."""

    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        return [
            VerifiedDocument(
                [],
                [
                    Sample(name, "", "demonstration", "p", "7", "web", 1, 0, 0, "output")
                    for name in (f"s{d.document_id}", "shared")
                ],
            )
            for d in documents
        ]

    def check(self, claims: Sequence[Claim]) -> list[bool]:
        return [claim.text == claim.reference for claim in claims]


def checkpoint(name: str, generation: int) -> Checkpoint:
    return Checkpoint(name, "/none", "", generation, "", "", 0, now())


ALL_TEXT = AimConfig(policy="lenient-1")
"""These documents have no page and no signals."""
ANCHOR = checkpoint("anchor", 0)


def used_units(store: Store) -> set[str]:
    """Units of the gate pool that an attempt has drawn."""
    rows = store.database.rows("SELECT DISTINCT unit FROM burned WHERE suite = 'bits_per_byte'")
    return {unit for (unit,) in rows}


class Attempt(GateContext):
    """An attempt with one candidate."""

    @property
    def candidate(self) -> Checkpoint:
        return self.candidates[0]

    def run(self) -> Decision:
        return run_attempt(self)


def trial(store: Store, scorer: KnownScorer, gate_tokens: int = 20_000, **options: Any) -> Attempt:
    config = options.pop("config", GateConfig())
    if not store.crawl.documents("gate"):
        documents = [
            Document(str(i), f"p{i}", f"u{i}", "t", f"text {i} >>> 7", "en", "x", "gate", 1)
            for i in range(80)
        ]
        add_documents(store, documents)
    generation = options.pop("generation", 1)
    rivals = options.pop("rivals", Rivals(ANCHOR, ANCHOR, {}))
    candidate = checkpoint(f"candidate{generation}", generation)
    store.training.add_checkpoint(ANCHOR)
    store.training.add_checkpoint(candidate)
    attempt = store.gate.register_attempt([candidate], rivals.champion.digest)
    return Attempt(
        store=store,
        config=config,
        scorer=scorer,
        suites=recipe_suites(
            options.pop("aim", ALL_TEXT),
            gate_tokens,
            SuiteMaker(store, config, "s", KnownVerifier(), options.pop("judges", {})),
        ),
        verifier=KnownVerifier(),
        generation=generation,
        number=attempt,
        candidates=[candidate],
        rivals=rivals,
        salt="s",
    )


@pytest.mark.parametrize(("gain", "outcome"), [(0.3, "promote"), (-0.3, "reject"), (0.0, "hold")])
def test_outcome_follows_the_evidence(store: Store, gain: float, outcome: str) -> None:
    decision = trial(store, KnownScorer(gain)).run()
    assert decision.outcome == outcome
    assert decision.mean_gain == pytest.approx(gain)
    assert store.gate.decision(1) == decision
    (test,) = store.gate.gate_tests(1)
    assert len(test.path) == decision.num_documents
    assert store.registry.champion().digest == ("candidate1" if outcome == "promote" else "anchor")


class PerText(KnownScorer):
    """A candidate whose gain depends on the text."""

    def __init__(self, gain_of: Callable[[str], float], **options: Any) -> None:
        super().__init__(0.0, **options)
        self.gain_of = gain_of

    def bits(self, documents: Sequence[Sequence[str]]) -> list[list[float]]:
        rows = super().bits(documents)
        return [[1.0 - self.gain_of("".join(parts)) for parts in documents], *rows[1:]]


def lucky(text: str) -> float:
    """No true gain: as often better as worse, by the text."""
    return 0.15 if unit_hash("luck", text) < 0.5 else -0.15


def test_a_candidate_that_is_the_champion_is_held(store: Store) -> None:
    assert trial(store, KnownScorer(0.0)).run().outcome == "hold"


@pytest.mark.parametrize("salt", ["a", "b", "c", "d"])
def test_a_lucky_seed_is_not_promoted(store: Store, salt: str) -> None:
    scorer = PerText(lambda text: lucky(salt + text))
    assert trial(store, scorer).run().outcome in ("hold", "reject")


def test_a_collapsed_candidate_is_rejected(store: Store) -> None:
    decision = trial(store, KnownScorer(0.3, repeats=True)).run()
    assert decision.outcome == "reject"
    assert "distinct-2" in decision.reason


def test_a_poisoned_candidate_better_on_text_and_worse_on_a_guard_is_rejected(
    store: Store, tmp_path: Path
) -> None:
    config = GateConfig(suites={"choices": suite_file(tmp_path)})
    marks = [[False] * 300, [True] * 300, [True] * 300]
    decision = trial(store, KnownScorer(0.3, marks=marks), config=config).run()
    assert decision.outcome == "reject"
    assert "choices" in decision.reason


def test_a_contaminated_candidate_that_knows_what_earlier_attempts_drew_gains_nothing(
    store: Store,
) -> None:
    trial(store, KnownScorer(0.0), gate_tokens=5_000).run()
    drawn = {s.item_id for s in store.gate.item_scores(1, "bits_per_byte")}
    known = {d.text for d in store.crawl.documents("gate") if d.document_id in drawn}
    assert len(known) > 10
    scorer = PerText(lambda text: 0.5 if text in known else 0.0)
    assert trial(store, scorer, generation=2).run().outcome == "hold"
    assert not known & set(scorer.texts)


def test_a_reward_hacked_candidate_is_rejected(store: Store) -> None:
    steps = [
        TrainStep(
            1, "grpo", i, 0.0, 1.0, 1e-6, 9, 1.0, metrics=json.dumps({"reward": 0.2 + 0.1 * i})
        )
        for i in range(6)
    ]
    store.training.add_train_steps(steps)
    assert trial(store, KnownScorer(0.3)).run().outcome == "promote", (
        "a reward that rises with the measure is no hack"
    )
    other = Store(":memory:")
    other.training.add_train_steps(steps)
    decision = trial(other, KnownScorer(-0.002)).run()
    assert decision.outcome == "reject"
    assert (
        "the reward rose from 0.250 to 0.650 in training, and no primary measure rose"
        in decision.reason
    )
    other.close()


def test_the_small_stage_spares_one_suite_where_the_beginning_of_another_shows_a_loss(
    store: Store, tmp_path: Path
) -> None:
    config = GateConfig(suites={"choices": suite_file(tmp_path)})
    marks = [[False] * 300, [True] * 300, [True] * 300]
    decision = trial(store, KnownScorer(0.02, marks=marks), config=config).run()
    assert decision.outcome == "reject"
    assert decision.num_documents == 8, "one draw; such a gain would have taken all that there are"
    assert len(used_units(store)) == 8


def test_reports_are_written_for_a_rejected_candidate_too(store: Store, tmp_path: Path) -> None:
    config = GateConfig(
        suites={"choices": suite_file(tmp_path).model_copy(update={"role": "report"})}
    )
    marks = [[False] * 300, [True] * 300, [True] * 300]
    one = trial(store, KnownScorer(-0.3, marks=marks), config=config)
    assert one.run().outcome == "reject"
    values = {
        e.model_digest: e.value
        for e in store.gate.evaluations()
        if e.metric == "accuracy" and e.suite == "choices"
    }
    assert values == {"candidate1": 0.0, "anchor": 1.0}


def test_continuations_are_stored_text_by_text_with_errors(store: Store) -> None:
    one = trial(store, KnownScorer(0.3))
    one.run()
    for name in ("distinct_2", "self_bleu", "word_entropy", "length", "kl_to_anchor"):
        scores = store.gate.item_scores(1, f"continuations/{name}")
        assert len(scores) == 8 * 2
        (own,) = [
            e
            for e in store.gate.evaluations()
            if e.metric == name and e.model_digest == "candidate1"
        ]
        assert own.standard_error >= 0
        mine = [s.value for s in scores if s.model_digest == "candidate1"]
        assert own.value == pytest.approx(sum(mine) / len(mine))


@pytest.mark.parametrize("name", ["bits_per_byte", "labeler", "a/b", ""])
def test_a_suite_cannot_take_a_name_of_the_gates_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a suite cannot be called"):
        GateConfig(suites={name: suite_file(tmp_path)})


def test_it_stops_drawing_when_the_evidence_suffices(store: Store) -> None:
    decision = trial(store, KnownScorer(0.3)).run()
    assert decision.num_documents == 16, "two chunks of eight"
    assert len(store.gate.item_scores(1, "bits_per_byte")) == 2 * 16, (
        "the champion is the anchor: two models"
    )


def test_it_holds_when_the_budget_is_spent(store: Store) -> None:
    decision = trial(store, KnownScorer(0.3), gate_tokens=1000).run()
    assert (decision.outcome, decision.num_documents) == ("hold", 3)
    assert "bits_per_byte against the champion" in decision.reason


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        (KnownScorer(0.3, right=10), "10 of 24 examples right, the champion 24"),
        (KnownScorer(0.3, repeats=True), "distinct-2 fell"),
        (KnownScorer(0.3, kl=7.0), "KL to the anchor is 7.00"),
        (KnownScorer(0.3, kl=float("nan")), "KL to the anchor is nan"),
    ],
)
def test_vetoes_reject_before_a_held_out_document_is_spent(
    store: Store, scorer: KnownScorer, words: str
) -> None:
    decision = trial(store, scorer).run()
    assert decision.outcome == "reject"
    assert words in decision.reason
    assert scorer.texts == []
    assert used_units(store) == set()


def test_a_candidate_that_is_not_whole_aborts(store: Store) -> None:
    decision = trial(store, KnownScorer(0.3, problem="the candidate completes nothing")).run()
    assert (decision.outcome, decision.reason) == ("abort", "the candidate completes nothing")
    assert store.registry.champion().generation == 0


def test_a_changed_tokenizer_is_a_veto(store: Store, tmp_path: Path) -> None:
    own, champion = tmp_path / "own", tmp_path / "champion"
    for folder, content in ((own, "{}"), (champion, '{"a": 1}')):
        folder.mkdir()
        (folder / "tokenizer.json").write_text(content)
    one = trial(store, KnownScorer(0.3))
    changed = replace(
        one,
        candidates=[replace(one.candidate, path=str(own))],
        rivals=replace(one.rivals, champion=replace(ANCHOR, path=str(champion))),
    )
    assert "the tokenizer changed (tokenizer.json)" in changed.run().reason


def test_small_difference_in_examples_is_no_veto(store: Store) -> None:
    assert trial(store, KnownScorer(0.3, right=22)).run().outcome == "promote"


def rivals_with_best() -> Rivals:
    """After a rollback: the champion is not the best model that there was."""
    return Rivals(checkpoint("champion", 2), ANCHOR, {"bits_per_byte": checkpoint("best", 1)})


@pytest.mark.parametrize(
    ("best", "anchor", "outcome", "against"),
    [(0.8, 1.2, "promote", ""), (0.4, 1.2, "reject", "best"), (0.8, 0.3, "reject", "anchor")],
)
def test_better_than_the_champion_is_not_enough_where_it_is_worse_than_the_anchor_or_the_best(
    store: Store, best: float, anchor: float, outcome: str, against: str
) -> None:
    one = trial(
        store, KnownScorer(0.2, others=[best, anchor]), rivals=rivals_with_best(), generation=3
    )
    decision = one.run()
    assert decision.outcome == outcome
    assert against in decision.reason
    tests = {test.against: test for test in store.gate.gate_tests(1)}
    assert set(tests) == {"champion", "anchor", "best"}
    assert tests["anchor"].bound == pytest.approx(-0.05)


def test_the_best_so_far_moves_only_to_what_is_better(store: Store) -> None:
    one = trial(
        store, KnownScorer(0.2, others=[0.78, 1.2]), rivals=rivals_with_best(), generation=3
    )
    assert one.run().outcome == "promote"
    assert store.registry.alias("champion") == one.candidate
    assert store.registry.alias("best:bits_per_byte") is None, (
        "0.80 bits, and the best so far has 0.78"
    )
    other = trial(
        store, KnownScorer(0.3, others=[0.78, 1.2]), rivals=rivals_with_best(), generation=4
    )
    assert other.run().outcome == "promote"
    assert store.registry.alias("best:bits_per_byte") == other.candidate


def test_resumed_trial_scores_nothing_twice_and_decides_the_same(store: Store) -> None:
    first = trial(store, KnownScorer(0.03))
    tests = SuiteTest(first, first.suites[0], first.candidate).run()
    again = KnownScorer(0.03)
    resumed = replace(first, scorer=again)
    assert SuiteTest(resumed, resumed.suites[0], first.candidate).run() == tests
    assert again.texts == []


def test_levels_fall_with_attempts_and_rise_with_promotions_in_discovery(store: Store) -> None:
    for level, second in (("strict", 0.05 / 6), ("discovery", 0.05 / 3)):
        inner = Store(":memory:")
        config = GateConfig(level=level)
        one = trial(inner, KnownScorer(0.3), config=config)
        assert one.rule.level == 0.025
        assert one.run().outcome == "promote"
        two = trial(inner, KnownScorer(0.3), config=config, generation=2)
        assert two.rule.level == pytest.approx(second)
        inner.close()


def domain_documents(store: Store) -> None:
    pages = [
        page_row(
            f"p{i}",
            f"http://d{i % 5}.org/{i}",
            f"d{i % 5}.org",
            train="yes",
            evaluate="yes",
        )
        for i in range(60)
    ]
    documents = [
        Document(
            str(i), f"p{i}", f"http://d{i % 5}.org/{i}", "t", f"text {i}", "en", "x", "gate", 1
        )
        for i in range(60)
    ]
    add_documents(store, documents, pages)


def test_domains_are_drawn_whole_and_never_again(store: Store) -> None:
    domain_documents(store)
    config = GateConfig(unit="domain", unit_documents=3, chunk_documents=2)
    decision = trial(store, KnownScorer(0.0), config=config).run()
    assert decision.outcome == "hold"
    scores = store.gate.item_scores(1, "bits_per_byte")
    assert {score.unit for score in scores} == {f"d{i}.org" for i in range(5)}
    assert len(scores) == 2 * 5 * 3
    assert store.gate.gate_tests(1)[0].num_units == 5
    assert used_units(store) == {f"d{i}.org" for i in range(5)}
    later = trial(store, KnownScorer(0.3), config=config, generation=2).run()
    assert (later.outcome, later.num_documents) == ("hold", 0), "nothing that is fresh is left"


def suite_file(tmp_path: Path, count: int = 300) -> SuiteConfig:
    file = tmp_path / "suite.jsonl"
    lines = [
        {"id": f"i{i}", "prompt": str(i), "choices": ["right", "wrong"], "answer": 0}
        for i in range(count)
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return SuiteConfig(file=str(file), kind="choice", role="guard", margin=0.2, items=count)


@pytest.mark.parametrize(("share", "outcome"), [(0.9, "promote"), (0.2, "reject"), (0.62, "hold")])
def test_a_guard_from_a_file_decides_along_with_the_primary(
    store: Store, tmp_path: Path, share: float, outcome: str
) -> None:
    config = GateConfig(suites={"choices": suite_file(tmp_path)})
    champion = [i % 10 < 9 for i in range(300)]
    candidate = [(i * 7) % 100 < share * 100 for i in range(300)] if share < 0.9 else champion
    if share == 0.62:
        candidate = [right and i % 9 not in (0, 3) for i, right in enumerate(champion)]
    decision = trial(
        store, KnownScorer(0.3, marks=[candidate, champion, champion]), config=config
    ).run()
    assert decision.outcome == outcome, store.gate.gate_tests(1)
    assert decision.is_weak == (outcome == "promote"), (
        "the file's items are used again in every attempt"
    )
    if outcome == "reject":
        assert "worse by more than the margin on choices against the anchor" in decision.reason
    if outcome == "hold":
        assert "choices against the anchor" in decision.reason


def test_reused_items_are_the_same_in_every_attempt_and_need_more_each_time(
    store: Store, tmp_path: Path
) -> None:
    config = GateConfig(suites={"choices": suite_file(tmp_path)})
    marks = [[True] * 300] * 3
    for generation in (1, 2):
        trial(store, KnownScorer(0.3, marks=marks), config=config, generation=generation).run()
    first, second = ([s.item_id for s in store.gate.item_scores(k, "choices")] for k in (1, 2))
    assert second[: len(first)] == first
    one, two = (next(t for t in store.gate.gate_tests(k) if t.suite == "choices") for k in (1, 2))
    assert two.log_threshold - one.log_threshold == pytest.approx(2 * math.log(3))


def test_items_that_are_not_reused_are_fresh_in_every_attempt(store: Store, tmp_path: Path) -> None:
    config = GateConfig(
        suites={"choices": suite_file(tmp_path).model_copy(update={"reuse": False})}
    )
    marks = [[True] * 300] * 3
    for generation in (1, 2):
        assert (
            not trial(store, KnownScorer(0.3, marks=marks), config=config, generation=generation)
            .run()
            .is_weak
        )
    drawn = [{s.item_id for s in store.gate.item_scores(k, "choices")} for k in (1, 2)]
    assert drawn[0]
    assert drawn[1]
    assert not drawn[0] & drawn[1]


def test_held_out_documents_may_be_used_again_at_a_price(store: Store) -> None:
    config = GateConfig(reuse_documents=True)
    decisions = [trial(store, KnownScorer(0.3), config=config, generation=k).run() for k in (1, 2)]
    assert [d.outcome for d in decisions] == ["promote", "promote"]
    assert all(d.is_weak for d in decisions)
    first, second = (
        {s.item_id for s in store.gate.item_scores(k, "bits_per_byte")} for k in (1, 2)
    )
    assert first <= second, "the same documents, and more of them"
    assert decisions[1].log_threshold == pytest.approx(math.log(6 / 0.05) + math.log(3))


def test_a_suite_that_is_only_reported_decides_nothing(store: Store, tmp_path: Path) -> None:
    config = GateConfig(
        suites={"choices": suite_file(tmp_path).model_copy(update={"role": "report"})}
    )
    marks = [[False] * 300, [True] * 300, [True] * 300]
    one = trial(store, KnownScorer(0.3, marks=marks), config=config)
    decision = one.run()
    assert decision.outcome == "promote"
    assert not decision.is_weak
    values = {
        e.model_digest: e.value
        for e in store.gate.evaluations()
        if e.suite == "choices" and e.metric == "accuracy"
    }
    assert values == {"candidate1": 0.0, "anchor": 1.0}


def exam(one: Attempt, aim: AimConfig = ALL_TEXT) -> SealedExam:
    decision = one.store.gate.decision(one.generation)
    assert decision is not None
    maker = SuiteMaker(one.store, one.config, "s", KnownVerifier(), {})
    return SealedExam(
        store=one.store,
        config=one.config,
        aim=aim,
        scorer=one.scorer,
        decision=decision,
        anchor=ANCHOR,
        salt="s",
        part=sealed_part(aim, maker),
    )


def test_the_sealed_exam_is_scored_once_and_read_by_no_decision(store: Store) -> None:
    sealed = [
        Document(f"s{i}", f"q{i}", f"v{i}", "t", f"sealed {i}", "en", "x", "sealed", 1)
        for i in range(12)
    ]
    add_documents(store, sealed)
    one = trial(store, KnownScorer(0.3), config=GateConfig(exam_documents=10))
    assert one.run().outcome == "promote"
    assert not any("sealed" in text for text in one.scorer.texts)  # type: ignore[attr-defined]
    assert exam(one).is_due()
    exam(one).run()
    assert not exam(one).is_due()
    values = {
        (e.metric, e.model_digest): e.value
        for e in store.gate.evaluations()
        if e.suite == "sealed_exam"
    }
    assert values[("gain", "candidate1")] == pytest.approx(0.3)
    assert values[("bits_per_byte_sealed", "anchor")] == pytest.approx(1.0)
    drawn = [s.item_id for s in store.gate.item_scores(1, "sealed_exam")]
    assert len(set(drawn)) == 10
    later = trial(store, KnownScorer(0.3), generation=2)
    assert later.run().outcome == "promote"
    exam(later).run()
    assert set(drawn) <= {s.item_id for s in store.gate.item_scores(2, "sealed_exam")}, (
        "the same ones in each generation"
    )


def test_who_was_not_promoted_sits_no_exam(store: Store) -> None:
    one = trial(store, KnownScorer(0.0))
    assert one.run().outcome == "hold"
    assert not exam(one).is_due()


def test_a_run_without_sealed_documents_has_no_exam(store: Store) -> None:
    one = trial(store, KnownScorer(0.3))
    one.run()
    exam(one).run()
    assert [e for e in store.gate.evaluations() if e.suite == "sealed_exam"] == []


def test_scores_that_are_no_numbers_abort(store: Store) -> None:
    decision = trial(store, KnownScorer(float("nan"))).run()
    assert (decision.outcome, decision.reason) == (
        "abort",
        "the candidate's scores on bits_per_byte are not finite",
    )


def test_a_document_forgotten_in_the_middle_of_an_attempt_is_passed_over(store: Store) -> None:
    first = trial(store, KnownScorer(0.0), gate_tokens=2_000)
    SuiteTest(first, first.suites[0], first.candidate).run()
    drawn = [s.item_id for s in store.gate.item_scores(1, "bits_per_byte")]
    store.database.connection.execute(
        "DELETE FROM item_score WHERE item_id IN (?, ?)", [drawn[-1], drawn[-2]]
    )
    store.database.connection.execute(
        "UPDATE document SET status = 'forgotten' WHERE document_id = ?", [drawn[-1]]
    )
    resumed = trial(store, KnownScorer(0.0), gate_tokens=20_000)
    (test,) = SuiteTest(resumed, resumed.suites[0], first.candidate).run()
    assert drawn[-1] not in {s.item_id for s in store.gate.item_scores(1, "bits_per_byte")}
    assert test.num_items > len(drawn) // 2, "it went on to documents that are there"


class SeveralScorer(KnownScorer):
    """Candidates with these gains; those in `sick` do not load, those in `repeating` repeat."""

    def __init__(self, gains: Sequence[float], sick: Sequence[int] = (), **options: Any) -> None:
        super().__init__(0.0, **options)
        self.gains, self.sick = list(gains), sick
        self.num_candidates = len(gains)
        self.repeating: Sequence[int] = options.get("repeating", ())

    def problem(self, candidate: int) -> str:
        return "the candidate does not load" if candidate in self.sick else ""

    def keep(self, candidates: Sequence[int]) -> None:
        super().keep(candidates)
        self.gains = [self.gains[i] for i in candidates]

    def bits(self, documents: Sequence[Sequence[str]]) -> list[list[float]]:
        self.texts += map("".join, documents)
        count = len(documents)
        return [[1.0 - gain] * count for gain in self.gains] + [[1.0] * count] * 2

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        return [["7"] * len(prompts)] * (len(self.gains) + 1)

    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        *_, varied = super().samples(prompts, seed, asked)
        repeated = [["la la la la"] * 2] * len(prompts)
        own = [repeated if i in self.repeating else varied for i in range(len(self.gains))]
        return [*own, varied, varied]

    def drift(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[float]]:
        return [[0.1] * len(prompts)] * len(self.gains) + [[0.0] * len(prompts)] * 2


def several(store: Store, scorer: SeveralScorer, arms: Sequence[str]) -> GateContext:
    """An attempt with these candidates."""
    one = trial(store, scorer, generation=9)
    candidates = [candidate(f"{arm}-model", 1, arm) for arm in arms]
    for model in candidates:
        store.training.add_checkpoint(model)
    number = store.gate.register_attempt(candidates, "anchor")
    return replace(one, candidates=candidates, number=number, generation=1)


def outcomes(store: Store) -> dict[str, tuple[str, str]]:
    return {one.arm: (one.outcome, one.reason) for one in store.gate.decisions(1)}


def test_the_better_of_two_that_pass_is_promoted(store: Store) -> None:
    decision = run_attempt(several(store, SeveralScorer([0.2, 0.3]), ["picked", "random"]))
    assert (decision.arm, decision.outcome, decision.is_lead) == ("random", "promote", True)
    held = "evidence of a gain, but random gained more on the same 16 items"
    assert outcomes(store)["picked"] == ("hold", held)
    assert store.registry.champion().digest == "random-model"
    assert store.gate.num_promoted(99) == 1
    assert store.training.checkpoint(1) == store.training.checkpoint(1, "random")


class FadingScorer(SeveralScorer):
    """The first candidate gains 0.2 on the first 16 documents and loses 0.5 on all others."""

    def bits(self, documents: Sequence[Sequence[str]]) -> list[list[float]]:
        before = len(self.texts)
        _, *others = super().bits(documents)
        gains = [0.2 if before + i < 16 else -0.5 for i in range(len(documents))]
        return [[1.0 - gain for gain in gains], *others]


def test_those_that_pass_are_compared_on_the_same_items(store: Store) -> None:
    context = several(store, FadingScorer([0.0, 0.06]), ["picked", "random"])
    decision = run_attempt(context)
    means = {one.arm: (one.num_documents, one.mean_gain) for one in store.gate.decisions(1)}
    assert means["picked"][0] == 16 < means["random"][0], "the first one's test stopped earlier"
    assert means["picked"][1] > means["random"][1], "and its mean until then is the larger one"
    assert (decision.arm, decision.outcome) == ("random", "promote")
    assert f"on the same {means['random'][0]} items" in outcomes(store)["picked"][1]


def test_candidates_share_their_items_and_the_level(store: Store) -> None:
    scorer = SeveralScorer([0.3, 0.0])
    context = several(store, scorer, ["picked", "random"])
    run_attempt(context)
    alone = trial(Store(":memory:"), KnownScorer(0.3))
    whole = alone.rule.level * (2 / 6)
    assert context.rule.level == pytest.approx(whole / 2), "attempt 2, and half of it"
    assert len(scorer.texts) == len(set(scorer.texts)), "no text is scored twice"
    tests = {(t.arm, t.outcome): t for t in store.gate.gate_tests(context.number)}
    assert set(tests) == {("picked", "pass"), ("random", "open")}
    drawn = {s.item_id for s in store.gate.item_scores(context.number, "bits_per_byte")}
    assert len(drawn) == len(used_units(store)) == len(tests[("random", "open")].path)


def test_a_candidate_that_fails_leaves_the_other_its_chance(store: Store) -> None:
    run_attempt(several(store, SeveralScorer([-0.3, 0.3]), ["picked", "random"]))
    assert {arm: outcome for arm, (outcome, _) in outcomes(store).items()} == {
        "picked": "reject",
        "random": "promote",
    }


def test_a_candidate_that_cannot_be_scored_does_not_stop_the_others(store: Store) -> None:
    scorer = SeveralScorer([0.3, 0.3, 0.1], sick=[0])
    decision = run_attempt(several(store, scorer, ["picked", "random", "slow"]))
    assert decision.arm == "random"
    assert outcomes(store)["picked"] == ("abort", "the candidate does not load")


def test_all_candidates_may_be_unfit(store: Store) -> None:
    scorer = SeveralScorer([0.3, 0.3], sick=[0, 1])
    decision = run_attempt(several(store, scorer, ["picked", "random"]))
    assert (decision.arm, decision.outcome) == ("picked", "abort")
    assert store.registry.champion().generation == 0


def test_a_veto_is_about_one_candidate(store: Store) -> None:
    scorer = SeveralScorer([0.3, 0.3], repeating=[1])
    run_attempt(several(store, scorer, ["picked", "random"]))
    (picked, _), (drawn, reason) = (outcomes(store)[arm] for arm in ("picked", "random"))
    assert (picked, drawn) == ("promote", "reject")
    assert "distinct-2" in reason


def test_scores_that_are_not_finite_abort_one_candidate(store: Store) -> None:
    scorer = SeveralScorer([float("nan"), 0.3])
    run_attempt(several(store, scorer, ["picked", "random"]))
    assert outcomes(store)["picked"][0] == "abort"
    assert outcomes(store)["random"][0] == "promote"


def test_an_attempt_that_is_resumed_has_the_same_candidates(store: Store) -> None:
    pair = [candidate("a", 1), candidate("b", 1, "random")]
    assert store.gate.register_attempt(pair, "c") == store.gate.register_attempt(pair[::-1], "c")
    with pytest.raises(AssertionError):
        store.gate.register_attempt(pair[:1], "c")


def report_config(tmp_path: Path, **options: Any) -> GateConfig:
    """Two suites that are only reported, with 300 items each."""
    suite = suite_file(tmp_path).model_copy(update={"role": "report"})
    return GateConfig(suites={"one": suite, "two": suite}, **options)


RIGHT = [[True] * 300] * 3


def test_what_is_only_reported_is_measured_after_the_decision_within_its_budget(
    store: Store, tmp_path: Path
) -> None:
    config, scorer = report_config(tmp_path), KnownScorer(0.3, marks=RIGHT)
    with pytest.raises(KeyboardInterrupt):
        interrupted(trial(store, scorer, config=config), "one").run()
    decision = store.gate.decision(1)
    assert decision is not None
    assert not store.gate.item_scores(1, "one")
    assert not store.gate.item_scores(1, "continuations/self_bleu")
    assert trial(store, scorer, config=config).run() == decision
    counts = [len({s.item_id for s in store.gate.item_scores(1, name)}) for name in ("one", "two")]
    assert counts == [32, 32], "they share the 64 items of gate.report_items"
    assert store.gate.item_scores(1, "continuations/self_bleu")


def test_reports_that_a_kill_has_cut_off_are_completed_and_nothing_is_drawn_twice(
    store: Store, tmp_path: Path
) -> None:
    config, scorer = report_config(tmp_path), KnownScorer(0.3, marks=RIGHT)
    with pytest.raises(KeyboardInterrupt):
        interrupted(trial(store, scorer, config=config), "two").run()
    first = {s.item_id for s in store.gate.item_scores(1, "one")}
    assert len(first) == 32
    assert not store.gate.item_scores(1, "two")
    decision = store.gate.decision(1)
    resumed = trial(store, scorer, config=config)
    assert resumed.run() == resumed.run() == decision
    assert {s.item_id for s in store.gate.item_scores(1, "one")} == first
    assert len({s.item_id for s in store.gate.item_scores(1, "two")}) == 32
    reported = [e for e in store.gate.evaluations() if (e.suite, e.metric) == ("two", "accuracy")]
    assert len(reported) == 2


def interrupted(one: Attempt, name: str) -> Attempt:
    """The trial, stopped where it would score the first item of a suite."""

    def stop(*_: Any) -> list[list[float]]:
        raise KeyboardInterrupt

    (suite,) = [suite for suite in one.suites if suite.name == name]
    suite.score = stop  # type: ignore[method-assign]
    return one


def test_a_candidate_that_was_never_tested_is_not_reported_on(store: Store, tmp_path: Path) -> None:
    one = trial(store, KnownScorer(0.3, repeats=True, marks=RIGHT), config=report_config(tmp_path))
    assert one.run().outcome == "reject"
    assert not store.gate.item_scores(1, "one")


def test_a_report_with_scores_that_are_no_numbers_changes_nothing(
    store: Store, tmp_path: Path
) -> None:
    one = trial(store, KnownScorer(0.3, marks=RIGHT), config=report_config(tmp_path))
    for suite in one.suites[1:]:
        suite.score = lambda _, items: [[math.nan] * len(items), *[[1.0] * len(items)] * 2]  # type: ignore[method-assign]
    assert one.run().outcome == "promote"
    assert not [e for e in store.gate.evaluations() if e.suite == "one"]
    assert store.registry.champion().digest == "candidate1"


def test_the_planned_units_are_fixed_before_the_first_draw(
    store: Store,
) -> None:
    """Documents that come while an attempt is stopped do not move its goal."""
    config = GateConfig(chunk_documents=4)
    first = trial(store, KnownScorer(0.02), gate_tokens=20_000, config=config)
    SuiteTest(first, first.suites[0], first.candidate).begin()
    assert store.gate.planned_units(1, "bits_per_byte") == 79 == first.suites[0].limit
    add_documents(
        store,
        [
            Document(f"n{i}", f"m{i}", f"w{i}", "t", f"new {i}", "en", "x", "gate", 1)
            for i in range(50)
        ],
    )
    resumed = trial(store, KnownScorer(0.02), gate_tokens=40_000, config=config)
    resumed.run()
    assert store.gate.planned_units(1, "bits_per_byte") == 79
    (test,) = store.gate.gate_tests(1)
    assert test.path != pytest.approx(log_evidence_path(np.full(len(test.path), 0.1), 0.0))


class ExamScorer(KnownScorer):
    """A candidate that needs `exam_gain` bits a byte less on gold answers, `gain` less on text."""

    def __init__(self, gain: float, exam_gain: float) -> None:
        super().__init__(gain)
        self.exam_gain = exam_gain
        self.prompts: set[str] = set()

    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        self.prompts |= {prompt for prompt, _ in pairs}
        bits = (1.0 - self.exam_gain, 1.0, *self.others)
        return [[-b * math.log(2) * len(text.encode()) for _, text in pairs] for b in bits]


class AnsweringScorer(ExamScorer):
    """All of its models answer 7."""

    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        return [["7"] * len(prompts)] * (2 + len(self.others))


def with_questions(store: Store) -> AimConfig:
    """A store whose held-out documents have a question each, and the aim of answering them."""
    trial(store, KnownScorer(0.0), generation=9)  # adds the documents
    pools = [("gate", d) for d in store.crawl.documents("gate")]
    sealed = [
        Document(f"s{i}", f"ps{i}", f"us{i}", "t", f"sealed {i}", "en", "x", "sealed", 1)
        for i in range(20)
    ]
    add_documents(store, sealed)
    for _, document in [*pools, *(("sealed", d) for d in sealed)]:
        key = document.document_id
        question = Sample(f"q{key}", key, "question", f"What is {key}?", "7", "web", 1, 0, 0)
        store.labels.add_samples([replace(question, check="output")])
    return AimConfig(kind="answers", policy="lenient-1", balanced=False)


def test_answers_about_held_out_pages_decide_and_right_ones_are_reported(store: Store) -> None:
    aim = with_questions(store)
    scorer = AnsweringScorer(gain=0.0, exam_gain=0.3)
    one = trial(store, scorer, aim=aim)
    assert one.run().outcome == "promote"
    number = one.number
    tests = {(test.suite, test.role) for test in store.gate.gate_tests(number)}
    assert tests == {("answers", "primary"), ("bits_per_byte", "guard")}
    values = {e.metric: e.value for e in store.gate.evaluations() if e.suite == "right_answers"}
    assert values["accuracy"] == 1.0, "the known scorer answers 7"
    asked = {s.item_id for s in store.gate.item_scores(number, "answers")}
    assert exam(one, aim).is_due()
    exam(one, aim).run()
    sealed = {s.item_id for s in store.gate.item_scores(number, "sealed_items")}
    assert sealed == {f"qs{i}" for i in range(20)}
    assert not sealed & asked
    again = trial(store, scorer, aim=aim, generation=2)
    again.run()
    assert not asked & {s.item_id for s in store.gate.item_scores(again.number, "answers")}


def exam_aim(tmp_path: Path, **options: Any) -> AimConfig:
    lines = [{"id": str(i), "prompt": f"{i} + 1 =", "gold": f" {i + 1}"} for i in range(200)]
    file = tmp_path / "exam.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return AimConfig(kind="exam", policy="lenient-1", exam=ExamConfig(file=str(file), **options))


def test_the_exam_decides_and_held_out_text_is_a_guard(store: Store, tmp_path: Path) -> None:
    aim = exam_aim(tmp_path)
    parts = exam_parts(aim.exam)
    scorer = ExamScorer(gain=0.0, exam_gain=0.3)
    one = trial(store, scorer, aim=aim)
    decision = one.run()
    assert (decision.outcome, decision.is_weak) == ("promote", True)
    assert decision.mean_gain == pytest.approx(0.3)
    tests = {(test.suite, test.role) for test in store.gate.gate_tests(1)}
    assert tests == {("exam", "primary"), ("bits_per_byte", "guard")}
    assert scorer.prompts <= {item.prompt for item in parts.gate.values()}
    values = {(e.suite, e.metric): e.value for e in store.gate.evaluations() if e.suite == "exam"}
    assert values[("exam", "gain")] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("gain", "exam_gain", "outcome"), [(0.3, 0.0, "hold"), (-0.3, 0.3, "reject")]
)
def test_text_alone_promotes_nobody_and_forbids_a_loss(
    store: Store, tmp_path: Path, gain: float, exam_gain: float, outcome: str
) -> None:
    scorer = ExamScorer(gain, exam_gain)
    assert trial(store, scorer, aim=exam_aim(tmp_path)).run().outcome == outcome


def test_the_sealed_part_of_the_exam_is_scored_for_a_promoted_candidate_only(
    store: Store, tmp_path: Path
) -> None:
    aim = exam_aim(tmp_path)
    sealed = {item.prompt for item in exam_parts(aim.exam).sealed.values()}
    scorer = ExamScorer(0.0, 0.3)
    one = trial(store, scorer, aim=aim)
    assert one.run().outcome == "promote"
    assert not scorer.prompts & sealed
    assert exam(one, aim).is_due()
    exam(one, aim).run()
    assert sealed <= scorer.prompts
    assert not exam(one, aim).is_due()
    values = {
        (e.metric, e.model_digest): e.value
        for e in store.gate.evaluations()
        if e.suite == "sealed_items"
    }
    assert values[("gain", "candidate1")] == pytest.approx(0.3)
    assert values[("bits_sealed", "anchor")] == pytest.approx(1.0)
