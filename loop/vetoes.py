"""Vetoes: what speaks against a candidate whatever its scores, found before any held-out document is spent."""

from __future__ import annotations

from pathlib import Path

from infra.artifacts import file_digest
from infra.console import note
from infra.records import Document, Evaluation, ItemScore, Sample, unit_hash
from judges.verifying.checks import Claim
from loop.attempt import Attempt
from loop.evaluation import distinct_n, mean_and_error, window, word_entropy, worse_p_value

EXAMPLES = "executed_examples"
DISTINCT = "distinct_2"
DRIFT = "kl_to_anchor"
CONTINUATIONS = "continuations"
EXAMPLES_ALPHA = 0.05
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "special_tokens_map.json")
TEXT_CHARS = 200


class Vetoes:
    """Checks one candidate; what they read of the gate pool is neither burned nor scored in bits per byte."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._config = attempt, attempt.config

    def found(self) -> list[str]:
        """A sentence for each veto; empty where there is none."""
        checks = (self._tokenizer, self._drift, self._repetition, self._examples)
        return [problem for check in checks if (problem := check())]

    def _tokenizer(self) -> str:
        """Another tokenizer makes bits per byte, and every stored token id, incomparable."""
        own, champion = (Path(m.path) for m in (self._attempt.candidate, self._attempt.rivals.champion))
        for name in TOKENIZER_FILES:
            digests = [file_digest(f / name) if (f / name).exists() else "" for f in (own, champion)]
            if digests[0] != digests[1]:
                return f"the tokenizer changed ({name})"
        return ""

    def _texts(self) -> list[str]:
        """Beginnings of held-out documents, others in each attempt."""
        return [window(d.text, TEXT_CHARS, d.document_id) for d in self._documents("texts")[: self._config.veto_texts]]

    def _documents(self, purpose: str) -> list[Document]:
        documents = self._attempt.store.documents("gate")
        documents.sort(key=lambda d: unit_hash(self._attempt.salt, purpose, self._attempt.number, d.document_id))
        return documents

    def _drift(self) -> str:
        texts = self._texts()
        if not texts:
            return ""
        value = self._attempt.scorer.drift(texts, seed=self._attempt.number)
        self._evaluation(DRIFT, DRIFT, self._attempt.candidate.digest, value, len(texts))
        if not value <= self._config.max_kl:  # NaN is a veto
            return f"KL to the anchor is {value:.2f} nats a token, above {self._config.max_kl:g} (gate.max_kl)"
        return ""

    def _repetition(self) -> str:
        """Texts that both models go on with: the candidate must not have begun to repeat itself."""
        texts = self._texts()
        if not texts:
            return ""
        rows = self._attempt.scorer.continuations(texts, seed=self._attempt.number)
        candidate, champion = (distinct_n(row) for row in rows)
        for digest, value, row in zip(self._pair(), (candidate, champion), rows, strict=True):
            self._evaluation(DISTINCT, DISTINCT, digest, value, len(texts))
            self._evaluation(CONTINUATIONS, "word_entropy", digest, word_entropy(row), len(texts))
            words, error = mean_and_error([len(text.split()) for text in row])
            self._evaluation(CONTINUATIONS, "words", digest, words, len(texts), error)
        if candidate < self._config.min_distinct_ratio * champion:
            return f"distinct-2 fell from {champion:.2f} to {candidate:.2f}"
        return ""

    def _examples(self) -> str:
        """Executed examples of held-out pages: the candidate must not answer significantly fewer right."""
        samples = self._example_samples()
        if not samples:
            note("veto on executed examples: no held-out page has one")
            return ""
        rows = self._attempt.scorer.answers([s.prompt for s in samples])
        right = [
            self._attempt.verifier.check([
                Claim(s.check, s.completion, text) for s, text in zip(samples, texts, strict=True)
            ])
            for texts in rows
        ]  # fmt: skip
        scores = []
        for digest, texts, marks in zip(self._pair(), rows, right, strict=True):
            for i, (sample, text, mark) in enumerate(zip(samples, texts, marks, strict=True)):
                scores.append(ItemScore(
                    self._attempt.number, EXAMPLES, sample.sample_id, i, digest, float(mark), 1, text[:200],
                    sample.document_id,
                ))  # fmt: skip
            mean, error = mean_and_error([float(mark) for mark in marks])
            self._evaluation(EXAMPLES, "accuracy", digest, mean, len(marks), error)
        self._attempt.store.add_item_scores(scores)
        p_value = worse_p_value(right[0], right[1])
        if p_value >= EXAMPLES_ALPHA:
            return ""
        counts = f"{sum(right[0])} of {len(samples)} examples right, the champion {sum(right[1])}"
        return f"answers {counts} (p {p_value:.3f})"

    def _example_samples(self) -> list[Sample]:
        documents = [d for d in self._documents("guard") if ">>>" in d.text][: self._config.veto_prompts]
        results = self._attempt.verifier.verify(documents, self._attempt.generation)
        samples = [s for result in results for s in result.demonstrations]
        samples.sort(key=lambda s: unit_hash(self._attempt.salt, "guard", self._attempt.number, s.sample_id))
        return samples[: self._config.veto_prompts]

    def _pair(self) -> tuple[str, str]:
        return self._attempt.candidate.digest, self._attempt.rivals.champion.digest

    def _evaluation(
        self, suite: str, metric: str, digest: str, value: float, count: int, error: float = float("nan")
    ) -> None:
        row = Evaluation(self._attempt.number, self._attempt.generation, suite, metric, digest, value, error, count)
        self._attempt.store.add_evaluations([row])
