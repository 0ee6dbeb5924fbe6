"""Vetoes: what speaks against a candidate whatever its scores, found before any held-out document
is spent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from infra.artifacts import file_digest
from infra.console import note
from infra.records import Document, Evaluation, ItemScore, Sample, unit_hash
from judges.verifying.checks import Claim
from loop.gate.estimates import clustered_mean_and_error, window, worse_p_value
from loop.gate.suites.variety import DRIFT, OF_TEXTS, measured
from loop.gate.trial.contenders import Attempt

EXAMPLES = "executed_examples"
CONTINUATIONS = "continuations"
EXAMPLES_ALPHA = 0.05
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
)
TEXT_CHARS = 200


class Vetoes:
    """Checks one candidate; what they read of the gate pool is neither burned nor scored in bits
    per byte.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._config = attempt, attempt.config

    def found(self) -> list[str]:
        """A sentence for each veto; empty where there is none."""
        checks = (self._tokenizer, self._drift, self._repetition, self._examples)
        return [problem for check in checks if (problem := check())]

    def _tokenizer(self) -> str:
        """Another tokenizer makes bits per byte, and every stored token id, incomparable."""
        own, champion = (
            Path(m.path) for m in (self._attempt.candidate, self._attempt.rivals.champion)
        )
        for name in TOKENIZER_FILES:
            digests = [
                file_digest(f / name) if (f / name).exists() else "" for f in (own, champion)
            ]
            if digests[0] != digests[1]:
                return f"the tokenizer changed ({name})"
        return ""

    @cached_property
    def _texts(self) -> dict[str, tuple[str, str]]:
        """(unit, beginning) of held-out documents, others in each attempt, by id."""
        chosen = self._documents("texts")[: self._config.veto_texts]
        return {d.document_id: (d.url, window(d.text, TEXT_CHARS, d.document_id)) for d in chosen}

    def _documents(self, purpose: str) -> list[Document]:
        documents = self._attempt.store.documents("gate")
        documents.sort(
            key=lambda d: unit_hash(
                self._attempt.salt, purpose, self._attempt.number, d.document_id
            )
        )
        return documents

    def _drift(self) -> str:
        if not self._texts:
            return ""
        value = self._continued(DRIFT)[0]
        if not value <= self._config.max_kl:  # NaN is a veto
            return f"KL to the anchor is {value:.2f} nats a token, above {self._config.max_kl:g} (gate.max_kl)"
        return ""

    def _repetition(self) -> str:
        """Texts that all models go on with: the candidate must not have begun to repeat itself."""
        if not self._texts:
            return ""
        candidate, champion = {name: self._continued(name)[:2] for name in OF_TEXTS}["distinct_2"]
        if candidate < self._config.min_distinct_ratio * champion:
            return f"distinct-2 fell from {champion:.2f} to {candidate:.2f}"
        return ""

    def _continued(self, name: str) -> list[float]:
        """Each model's mean of a measure over its continuations of the texts."""
        attempt, units = self._attempt, {key: unit for key, (unit, _) in self._texts.items()}
        texts = [text for _, text in self._texts.values()]
        rows = measured(name, attempt.scorer, texts, attempt.number, asked=False)
        digests = [model.digest for model in attempt.rivals.models(attempt.candidate)]
        self._keep(
            CONTINUATIONS,
            f"{CONTINUATIONS}/{name}",
            name,
            units,
            dict(zip(digests, rows, strict=True)),
        )
        return [float(np.mean(row)) for row in rows]

    def _examples(self) -> str:
        """Executed examples of held-out pages: the candidate must not answer significantly fewer
        right.
        """
        samples = self._example_samples()
        if not samples:
            note("veto on executed examples: no held-out page has one")
            return ""
        rows = self._attempt.scorer.answers([s.prompt for s in samples])
        right = [
            self._attempt.verifier.check(
                [Claim(s.check, s.completion, text) for s, text in zip(samples, texts, strict=True)]
            )
            for texts in rows
        ]
        pair = self._attempt.candidate.digest, self._attempt.rivals.champion.digest
        marks = {
            digest: [float(mark) for mark in of_model]
            for digest, of_model in zip(pair, right, strict=True)
        }
        details = {
            digest: [text[:200] for text in texts] for digest, texts in zip(pair, rows, strict=True)
        }
        self._keep(
            EXAMPLES,
            EXAMPLES,
            "accuracy",
            {s.sample_id: s.document_id for s in samples},
            marks,
            details,
        )
        p_value = worse_p_value(right[0], right[1])
        if p_value >= EXAMPLES_ALPHA:
            return ""
        counts = f"{sum(right[0])} of {len(samples)} examples right, the champion {sum(right[1])}"
        return f"answers {counts} (p {p_value:.3f})"

    def _example_samples(self) -> list[Sample]:
        documents = [d for d in self._documents("guard") if ">>>" in d.text][
            : self._config.veto_prompts
        ]
        results = self._attempt.verifier.verify(documents, self._attempt.generation)
        samples = list(
            {s.sample_id: s for result in results for s in result.demonstrations}.values()
        )
        samples.sort(
            key=lambda s: unit_hash(self._attempt.salt, "guard", self._attempt.number, s.sample_id)
        )
        return samples[: self._config.veto_prompts]

    def _keep(
        self,
        suite: str,
        items: str,
        metric: str,
        units: Mapping[str, str],
        rows: Mapping[str, Sequence[float]],
        details: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Store each item's score by each model, as suite `items`, and the means with their errors,
        as `suite`.
        """
        attempt, ids = self._attempt, list(units)
        attempt.store.add_item_scores(
            [
                ItemScore(
                    attempt.number,
                    items,
                    ids[i],
                    i,
                    digest,
                    value,
                    1,
                    details[digest][i] if details else "",
                    units[ids[i]],
                )
                for digest, values in rows.items()
                for i, value in enumerate(values)
            ]
        )
        attempt.store.add_evaluations(
            [
                Evaluation(
                    attempt.number,
                    attempt.generation,
                    suite,
                    metric,
                    digest,
                    *clustered_mean_and_error(values, list(units.values())),
                    len(values),
                )
                for digest, values in rows.items()
            ]
        )
