"""Passages cut from documents, chosen for judging within a token budget, and ranked by what was
judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from infra.records import Document, Judgment, Sample, content_key, unit_hash

CHARS_PER_TOKEN = 3.2
"""Measured with SmolLM2's tokenizer on reference pages with code; used for budgets only."""
MIN_PASSAGE_CHARS = 120


def estimated_tokens(text: str) -> int:
    """Tokens that a text will cost, about; budgets are made of these."""
    return int(len(text) / CHARS_PER_TOKEN) + 1


def cut_passages(text: str, max_chars: int) -> list[tuple[int, int]]:
    """(start, end) of consecutive passages of at most `max_chars`; cuts fall between lines where
    they can.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        end = min(start + max_chars, len(text))
        if end < len(text):
            line_end = text.rfind("\n", start + max_chars // 2, end)
            end = line_end + 1 if line_end > 0 else end
        if len(text[start:end].strip()) >= MIN_PASSAGE_CHARS:
            spans.append((start, end))
        start = end
    return spans


def _passage(document: Document, start: int, end: int, generation: int) -> Sample:
    return Sample(
        sample_id=content_key(document.document_id, "passage", start, end),
        document_id=document.document_id,
        kind="passage",
        prompt="",
        completion=document.text[start:end],
        origin="web",
        generation=generation,
        source_start=start,
        source_end=end,
    )


def choose_passages(
    documents: Sequence[Document], max_chars: int, budget_tokens: int, generation: int, salt: str
) -> list[Sample]:
    """Passages within a token budget: one of each document in turn, by hashed order in it, then a
    second one.
    """
    queues = []
    for document in documents:
        spans = cut_passages(document.text, max_chars)
        spans.sort(key=lambda span: unit_hash(salt, document.document_id, span))
        queues.append((document, spans))
    chosen: list[Sample] = []
    spent = 0
    for turn in range(max((len(spans) for _, spans in queues), default=0)):
        for document, spans in queues:
            if turn >= len(spans):
                continue
            sample = _passage(document, *spans[turn], generation)
            cost = estimated_tokens(sample.completion)
            if spent + cost > budget_tokens:
                return chosen
            chosen.append(sample)
            spent += cost
    return chosen


def mean_ranks(judgments: Mapping[str, Sequence[Judgment]]) -> dict[str, float]:
    """Subject to its mean rank in [0, 1] over rubrics; one that any rubric left unscored has no
    rank.
    """
    totals: dict[str, list[float]] = {}
    for of_rubric in judgments.values():
        scored = [j for j in of_rubric if j.status == "scored"]
        ranks = (
            rankdata([j.value for j in scored]) / max(len(scored), 1) if scored else np.array([])
        )
        for judgment, rank in zip(scored, ranks, strict=True):
            totals.setdefault(judgment.subject_id, []).append(float(rank))
    return {
        subject: sum(ranks) / len(ranks)
        for subject, ranks in totals.items()
        if len(ranks) == len(judgments)
    }


def within_budget(samples: Iterable[Sample], budget_tokens: int) -> list[Sample]:
    """The samples in order, leaving out each that the tokens left over cannot pay for."""
    kept: list[Sample] = []
    left = budget_tokens
    for sample in samples:
        cost = estimated_tokens(sample.prompt + sample.completion)
        if cost <= left:
            kept.append(sample)
            left -= cost
    return kept
