"""Decisions with a scorer whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from infra.records import Checkpoint, Document, Sample, now
from infra.store import Store
from judges.verifying.checks import Claim
from judges.verifying.verifier import VerifiedDocument
from loop.deciding import Trial
from loop.recipe import GateConfig


class KnownScorer:
    """A candidate that needs `gain` bits a byte less, answers `right` prompts right, and repeats itself or not."""

    def __init__(self, gain: float, right: int = 24, repeats: bool = False) -> None:
        self.gain, self.right, self.repeats = gain, right, repeats
        self.texts: list[str] = []

    def bits(self, texts: Sequence[str]) -> list[list[float]]:
        self.texts += texts
        return [[1.0 - self.gain] * len(texts), [1.0] * len(texts)]

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        return [["7" if i < self.right else "no" for i in range(len(prompts))], ["7"] * len(prompts)]

    def continuations(self, texts: Sequence[str], seed: int) -> list[list[str]]:
        varied = [f"word{i} other{i} third{i}" for i in range(len(texts))]
        return [["la la la la"] * len(texts) if self.repeats else varied, varied]


class KnownVerifier:
    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        return [
            VerifiedDocument([], [Sample(f"s{d.document_id}", "", "demonstration", "p", "7", "web", 1, 0, 0, "output")])
            for d in documents
        ]

    def check(self, claims: Sequence[Claim]) -> list[bool]:
        return [claim.text == claim.reference for claim in claims]


def checkpoint(name: str, generation: int) -> Checkpoint:
    return Checkpoint(name, "/none", "", generation, "", "", 0, now())


def trial(store: Store, scorer: KnownScorer, gate_tokens: int = 10_000) -> Trial:
    documents = [Document(str(i), "p", f"u{i}", "t", f"text {i} >>> 7", "en", "x", "gate", 1) for i in range(40)]
    store.add_documents(documents)
    attempt = store.register_attempt(1, "candidate", "champion")
    return Trial(
        store=store, config=GateConfig(), scorer=scorer, verifier=KnownVerifier(), generation=1, attempt=attempt,
        candidate=checkpoint("candidate", 1), champion=checkpoint("champion", 0), gate_tokens=gate_tokens, salt="s",
    )  # fmt: skip


@pytest.mark.parametrize(("gain", "outcome"), [(0.3, "promote"), (-0.3, "reject"), (0.0, "hold")])
def test_outcome_follows_the_evidence(store: Store, gain: float, outcome: str) -> None:
    decision = trial(store, KnownScorer(gain)).run()
    assert decision.outcome == outcome
    assert decision.mean_gain == pytest.approx(gain)
    assert store.decision(1) == decision


def test_it_stops_drawing_when_the_evidence_suffices(store: Store) -> None:
    decision = trial(store, KnownScorer(0.3)).run()
    assert decision.num_documents < 40
    assert len(store.item_scores(1, "bits_per_byte")) == 2 * 16, "two chunks of eight"


def test_it_holds_when_the_budget_is_spent(store: Store) -> None:
    decision = trial(store, KnownScorer(0.3), gate_tokens=1000).run()
    assert (decision.outcome, decision.num_documents) == ("hold", 3)


def test_guard_on_executed_examples_vetoes(store: Store) -> None:
    decision = trial(store, KnownScorer(0.3, right=10)).run()
    assert decision.outcome == "reject"
    assert "10 of 24 examples right, the champion 24" in decision.reason


def test_small_difference_in_examples_is_no_veto(store: Store) -> None:
    assert trial(store, KnownScorer(0.3, right=22)).run().outcome == "promote"


def test_guard_on_repetition_vetoes(store: Store) -> None:
    decision = trial(store, KnownScorer(0.3, repeats=True)).run()
    assert decision.outcome == "reject"
    assert "distinct-2 fell" in decision.reason


def test_resumed_trial_scores_nothing_twice_and_decides_the_same(store: Store) -> None:
    first = trial(store, KnownScorer(0.05))
    first.weigh()
    again = KnownScorer(0.05)
    verdict, _ = replace(first, scorer=again).weigh()
    assert again.texts == []
    assert verdict == first.weigh()[0]
