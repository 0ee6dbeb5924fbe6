"""From a candidate to a decision: burn held-out documents, weigh the evidence, ask the guards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from infra.console import note, progress
from infra.records import Checkpoint, Decision, Document, Evaluation, ItemScore, now, unit_hash
from infra.store import Store
from judges.making.parts import Verifier
from judges.making.passages import estimated_tokens
from judges.verifying.checks import Claim
from loop.evaluation import distinct_n, mean_and_error, window, worse_p_value
from loop.gate import Verdict, attempt_alpha, clipped_gains, judge_gains
from loop.recipe import GateConfig

BITS = "bits_per_byte"
GAIN = "gain"
EXAMPLES = "executed_examples"
DISTINCT = "distinct_2"
GUARD_ALPHA = 0.05


class Scorer(Protocol):
    """Scores candidate and champion side by side; see `loop.evaluation.PairScorer`."""

    def bits(self, texts: Sequence[str]) -> list[list[float]]:
        """Bits per byte of each text, for the candidate and for the champion."""
        ...

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """What each answers to each prompt."""
        ...

    def continuations(self, texts: Sequence[str], seed: int) -> list[list[str]]:
        """How each goes on with each text."""
        ...


@dataclass(frozen=True)
class Trial:
    """One attempt at promoting a candidate."""

    store: Store
    config: GateConfig
    scorer: Scorer
    verifier: Verifier
    generation: int
    attempt: int
    candidate: Checkpoint
    champion: Checkpoint
    gate_tokens: int
    salt: str

    def run(self) -> Decision:
        """Gather the evidence, ask the guards, record and return the decision."""
        verdict, gains = self.weigh()
        vetoes = self.guards()
        outcome, reason = verdict.outcome, "evidence of a gain" if verdict.outcome == "promote" else ""
        if verdict.outcome == "promote" and vetoes:
            outcome, reason = "reject", "guard: " + "; ".join(vetoes)
        elif verdict.outcome == "reject":
            reason = "evidence of a loss"
        elif verdict.outcome == "hold":
            reason = "not enough evidence in the documents there were"
        decision = Decision(
            attempt=self.attempt,
            generation=self.generation,
            outcome=outcome,
            reason=reason,
            candidate=self.candidate.digest,
            champion=self.champion.digest,
            alpha=attempt_alpha(self.config.alpha, self.attempt),
            log_evidence=verdict.log_evidence,
            log_threshold=verdict.log_threshold,
            num_documents=verdict.num_units,
            mean_gain=float(np.mean(gains)) if len(gains) else 0.0,
            decided_at=now(),
        )
        self.store.add_decision(decision)
        return decision

    def weigh(self) -> tuple[Verdict, list[float]]:
        """Draw, burn and score documents chunk by chunk until a threshold is crossed or the budget is spent.

        Chunks scored before a kill are read back, not scored again. Returns the verdict and the gains in
        bits per byte.
        """
        limit = max(1, self.gate_tokens // estimated_tokens("x" * self.config.document_chars))
        pairs = self._stored_bits()
        with progress("deciding on held-out documents", total=limit) as advance:
            advance(len(pairs))
            verdict = self._verdict(pairs)
            while verdict.outcome == "hold" and len(pairs) < limit:
                count = min(self.config.chunk_documents, limit - len(pairs))
                documents = self.store.draw_held_out(self.attempt, len(pairs), count, self.salt)
                if not documents:
                    break
                self._score(documents, start=len(pairs))
                pairs = self._stored_bits()
                verdict = self._verdict(pairs)
                advance(len(documents))
        names = (self.candidate.digest, self.champion.digest)
        for name, bits in zip(names, zip(*pairs, strict=True), strict=False):
            mean, error = mean_and_error(bits)
            self._evaluation(BITS, BITS, name, mean, error, len(bits))
        gains = [champion - candidate for candidate, champion in pairs]
        self._evaluation(BITS, GAIN, self.candidate.digest, *mean_and_error(gains), len(gains))
        return verdict, gains

    def _verdict(self, pairs: Sequence[tuple[float, float]]) -> Verdict:
        candidate, champion = (np.array([pair[i] for pair in pairs], dtype=np.float64) for i in (0, 1))
        return judge_gains(clipped_gains(candidate, champion, self.config.clip_bits), self.config.rule(), self.attempt)

    def _stored_bits(self) -> list[tuple[float, float]]:
        """(candidate, champion) bits per byte in the order drawn."""
        by_position: dict[int, dict[str, float]] = {}
        for score in self.store.item_scores(self.attempt, BITS):
            by_position.setdefault(score.position, {})[score.model_digest] = score.value
        return [(row[self.candidate.digest], row[self.champion.digest]) for _, row in sorted(by_position.items())]

    def _score(self, documents: Sequence[Document], start: int) -> None:
        texts = [window(d.text, self.config.document_chars, d.document_id) for d in documents]
        rows = self.scorer.bits(texts)
        scores = []
        for digest, bits in zip((self.candidate.digest, self.champion.digest), rows, strict=True):
            for i, (document, text) in enumerate(zip(documents, texts, strict=True)):
                size = len(text.encode())
                scores.append(ItemScore(self.attempt, BITS, document.document_id, start + i, digest, bits[i], size, ""))
        self.store.add_item_scores(scores)

    def guards(self) -> list[str]:
        """What speaks against the candidate, whatever the main test says; empty when nothing does."""
        vetoes = []
        if (problem := self._examples_guard()) is not None:
            vetoes.append(problem)
        if (problem := self._distinct_guard()) is not None:
            vetoes.append(problem)
        return vetoes

    def _examples_guard(self) -> str | None:
        """Executed examples of held-out pages: the candidate must not answer significantly fewer right."""
        documents = [d for d in self.store.documents("gate") if ">>>" in d.text]
        documents.sort(key=lambda d: unit_hash(self.salt, "guard", self.attempt, d.document_id))
        results = self.verifier.verify(documents[: self.config.guard_prompts], self.generation)
        samples = [s for result in results for s in result.demonstrations]
        samples.sort(key=lambda s: unit_hash(self.salt, "guard", self.attempt, s.sample_id))
        samples = samples[: self.config.guard_prompts]
        if not samples:
            note("guard on executed examples: no held-out page has one")
            return None
        rows = self.scorer.answers([s.prompt for s in samples])
        right = [
            self.verifier.check([
                Claim(s.check, s.completion, text) for s, text in zip(samples, texts, strict=True)
            ])
            for texts in rows
        ]  # fmt: skip
        scores = []
        for digest, texts, marks in zip((self.candidate.digest, self.champion.digest), rows, right, strict=True):
            for i, (sample, text, mark) in enumerate(zip(samples, texts, marks, strict=True)):
                scores.append(
                    ItemScore(self.attempt, EXAMPLES, sample.sample_id, i, digest, float(mark), 1, text[:200])
                )
            mean, error = mean_and_error([float(mark) for mark in marks])
            self._evaluation(EXAMPLES, "accuracy", digest, mean, error, len(marks))
        self.store.add_item_scores(scores)
        p_value = worse_p_value(right[0], right[1])
        if p_value < GUARD_ALPHA:
            counts = f"{sum(right[0])} of {len(samples)} examples right, the champion {sum(right[1])}"
            return f"answers {counts} (p {p_value:.3f})"
        return None

    def _distinct_guard(self) -> str | None:
        """Texts that both models go on with: the candidate must not have begun to repeat itself."""
        documents = self.store.documents("gate")
        documents.sort(key=lambda d: unit_hash(self.salt, "distinct", self.attempt, d.document_id))
        texts = [window(d.text, 200, d.document_id) for d in documents[: self.config.guard_texts]]
        if not texts:
            return None
        rows = self.scorer.continuations(texts, seed=self.attempt)
        candidate, champion = (distinct_n(row) for row in rows)
        for digest, value in ((self.candidate.digest, candidate), (self.champion.digest, champion)):
            self._evaluation(DISTINCT, DISTINCT, digest, value, float("nan"), len(texts))
        if candidate < self.config.min_distinct_ratio * champion:
            return f"distinct-2 fell from {champion:.2f} to {candidate:.2f}"
        return None

    def _evaluation(self, suite: str, metric: str, digest: str, value: float, error: float, count: int) -> None:
        row = Evaluation(self.attempt, self.generation, suite, metric, digest, value, error, count)
        self.store.add_evaluations([row])
