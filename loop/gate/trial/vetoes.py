"""Vetoes: reasons to reject a candidate before any held-out document is used up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from infra.artifacts import file_digest
from infra.console import note
from infra.records import Checkpoint, Document, Sample, unit_hash
from judges.verifying.checks import Claim
from loop.gate.config import GateConfig
from loop.gate.estimates import window, worse_p_value
from loop.gate.suites.base import Item
from loop.gate.suites.variety import DRIFT, TEXT_MEASURES, variety_scores
from loop.gate.trial.context import GateContext
from loop.gate.trial.score_records import ScoreRecords

EXAMPLES_SUITE = "executed_examples"
CONTINUATIONS_SUITE = "continuations"
EXAMPLES_ALPHA = 0.05
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
)
TOKENIZER_VETO = "the tokenizer changed"
TEXT_CHARS = 200
REPETITION = "distinct_2"
"""The measure of the continuations that is a veto; the others are reported."""


class Vetoes:
    """The checks of an attempt's candidates.

    They read documents of the gate pool, but do not use them up and do not score their bits per
    byte. All models are measured at once, for the first candidate that is asked about.
    """

    def __init__(self, context: GateContext) -> None:
        self._context, self._config = context, context.config
        self._means: dict[str, list[float]] = {}

    def reasons(self, candidate: Checkpoint) -> list[str]:
        """One sentence for each veto on a candidate; empty if there is none."""
        index = [one.arm for one in self._context.candidates].index(candidate.arm)
        checks = (self._tokenizer, self._drift, self._repetition, self._examples)
        return [reason for check in checks if (reason := check(index))]

    def report(self) -> None:
        """Measure and store what else is known of the continuations; no veto reads it.

        The scorer still has the texts, unless the run was killed since.
        """
        for name in TEXT_MEASURES if self._texts else ():
            if name != REPETITION:
                self._continued(name)

    def _tokenizer(self, index: int) -> str:
        """The candidate must have the champion's tokenizer."""
        context = self._context
        own, champion = context.candidates[index].path, context.rivals.champion.path
        return tokenizer_reason(Path(own), Path(champion))

    @cached_property
    def _texts(self) -> dict[str, tuple[str, str]]:
        """(unit, beginning) by document id: held-out documents, different ones in each attempt."""
        chosen = self._documents("texts")[: self._config.veto_texts]
        return {d.document_id: (d.url, window(d.text, TEXT_CHARS, d.document_id)) for d in chosen}

    def _documents(self, purpose: str) -> list[Document]:
        """The documents of the gate pool, in an order that depends on purpose and attempt."""
        context = self._context
        documents = context.store.crawl.documents("gate")
        documents.sort(
            key=lambda d: unit_hash(context.salt, purpose, context.number, d.document_id)
        )
        return documents

    def _drift(self, index: int) -> str:
        """The candidate must not have moved too far from the anchor."""
        return drift_reason(self._continued(DRIFT)[index], self._config) if self._texts else ""

    def _repetition(self, index: int) -> str:
        """The candidate's continuations must not have become repetitive."""
        if not self._texts:
            return ""
        means = self._continued(REPETITION)
        champion = means[len(self._context.candidates)]
        return repetition_reason(means[index], champion, self._config)

    def _continued(self, name: str) -> list[float]:
        """The mean of a measure over the continuations that each model writes."""
        if name not in self._means:
            self._means[name] = self._measure(name)
        return self._means[name]

    def _measure(self, name: str) -> list[float]:
        context, units = self._context, {key: unit for key, (unit, _) in self._texts.items()}
        texts = [text for _, text in self._texts.values()]
        rows = variety_scores(name, context.scorer, texts, context.number, asked=False)
        by_model = dict(zip([model.digest for model in context.models], rows, strict=True))
        self._store_scores(f"{CONTINUATIONS_SUITE}/{name}", units, by_model)
        self._store_means(CONTINUATIONS_SUITE, name, units, by_model)
        return [float(np.mean(row)) for row in rows]

    def _examples(self, index: int) -> str:
        """The candidate must not answer significantly fewer executed examples right."""
        right = self._right_answers
        return examples_reason(right[index], right[-1]) if right else ""

    @cached_property
    def _right_answers(self) -> list[list[bool]]:
        """Which examples each candidate and then the champion answer right; empty for none."""
        samples = self._example_samples()
        if not samples:
            note("veto on executed examples: no held-out page has one")
            return []
        answers = self._context.scorer.answers([s.prompt for s in samples])
        right = [self._are_right(samples, texts) for texts in answers]
        self._store_examples(samples, answers, right)
        return right

    def _are_right(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[bool]:
        pairs = zip(samples, texts, strict=True)
        return self._context.verifier.check([Claim(s.check, s.completion, t) for s, t in pairs])

    def _example_samples(self) -> list[Sample]:
        context, limit = self._context, self._config.veto_prompts
        documents = [d for d in self._documents("guard") if ">>>" in d.text][:limit]
        results = context.verifier.verify(documents, context.generation)
        by_id = {s.sample_id: s for result in results for s in result.demonstrations}
        samples = list(by_id.values())
        samples.sort(key=lambda s: unit_hash(context.salt, "guard", context.number, s.sample_id))
        return samples[:limit]

    def _store_examples(
        self,
        samples: Sequence[Sample],
        answers: Sequence[Sequence[str]],
        right: Sequence[Sequence[bool]],
    ) -> None:
        context = self._context
        digests = [*(one.digest for one in context.candidates), context.rivals.champion.digest]
        marks = {d: [float(m) for m in row] for d, row in zip(digests, right, strict=True)}
        texts = {d: [t[:200] for t in row] for d, row in zip(digests, answers, strict=True)}
        units = {s.sample_id: s.document_id for s in samples}
        self._store_scores(EXAMPLES_SUITE, units, marks, texts)
        self._store_means(EXAMPLES_SUITE, "accuracy", units, marks)

    def _store_scores(
        self,
        suite: str,
        units: Mapping[str, str],
        rows: Mapping[str, Sequence[float]],
        details: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Store the score of each item by each model; `units` gives the unit of each item id."""
        items = [Item(item_id, unit, i, 1, None) for i, (item_id, unit) in enumerate(units.items())]
        scores = self._records(suite).item_scores(items, rows, details)
        self._context.store.gate.add_item_scores(scores)

    def _store_means(
        self,
        suite: str,
        metric: str,
        units: Mapping[str, str],
        rows: Mapping[str, Sequence[float]],
    ) -> None:
        """Store the mean of each model, with its standard error clustered by unit."""
        means = self._records(suite).means(metric, rows, list(units.values()))
        self._context.store.gate.add_evaluations(means)

    def _records(self, suite: str) -> ScoreRecords:
        return ScoreRecords(self._context.number, self._context.generation, suite)


def drift_reason(value: float, config: GateConfig) -> str:
    """Why a KL divergence to the anchor (nats a token) is a veto; empty if it is none."""
    if value <= config.max_kl:
        return ""
    bound = f"above {config.max_kl:g} (gate.max_kl)"  # NaN is a veto too
    return f"KL to the anchor is {value:.2f} nats a token, {bound}"


def repetition_reason(own: float, champion: float, config: GateConfig) -> str:
    """Why a candidate's distinct-2 is a veto, beside the champion's; empty if it is none."""
    if own < config.min_distinct_ratio * champion:
        return f"distinct-2 fell from {champion:.2f} to {own:.2f}"
    return ""


def examples_reason(own: Sequence[bool], champion: Sequence[bool]) -> str:
    """Why a candidate's marks on executed examples are a veto; empty if they are none."""
    p_value = worse_p_value(own, champion)
    if p_value >= EXAMPLES_ALPHA:
        return ""
    counts = f"{sum(own)} of {len(own)} examples right, the champion {sum(champion)}"
    return f"answers {counts} (p {p_value:.3f})"


def tokenizer_reason(own: Path, champion: Path) -> str:
    """Why a model's tokenizer is a veto: with another one, bits per byte cannot be compared."""
    for name in TOKENIZER_FILES:
        if _digest_or_empty(own / name) != _digest_or_empty(champion / name):
            return f"{TOKENIZER_VETO} ({name})"
    return ""


def _digest_or_empty(file: Path) -> str:
    return file_digest(file) if file.exists() else ""
