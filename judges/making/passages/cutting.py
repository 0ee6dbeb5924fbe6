"""Passages cut from documents, chosen within a token budget and ranked by their judgments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scipy.stats import rankdata

from infra.models.text_size import TokenCount, estimated_tokens
from infra.records import Document, Judgment, Sample, content_key, unit_hash

MIN_PASSAGE_CHARS = 120


def cut_passages(text: str, max_chars: int) -> list[tuple[int, int]]:
    """Return (start, end) of consecutive passages of at most `max_chars`. Cuts are at line ends if
    possible; passages below `MIN_PASSAGE_CHARS` are left out.
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
    """Return passages within a token budget: first one of each document, then a second one, and so
    on.

    Within a document the order is by hash.
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
    """Return subject id -> mean rank in [0, 1] over the rubrics.

    Subjects that are unscored by any of the rubrics are left out.
    """
    ranks: dict[str, list[float]] = {}
    for rubric_judgments in judgments.values():
        scored = [j for j in rubric_judgments if j.status == "scored"]
        if not scored:
            continue
        shares = rankdata([j.value for j in scored]) / len(scored)
        for judgment, rank in zip(scored, shares, strict=True):
            ranks.setdefault(judgment.subject_id, []).append(float(rank))
    return {
        subject: sum(own_ranks) / len(own_ranks)
        for subject, own_ranks in ranks.items()
        if len(own_ranks) == len(judgments)
    }


def within_budget(
    samples: Iterable[Sample], budget_tokens: int, num_tokens: TokenCount = estimated_tokens
) -> list[Sample]:
    """Return the samples in order, without those that do not fit into the remaining tokens."""
    kept: list[Sample] = []
    left = budget_tokens
    for sample in samples:
        cost = num_tokens(sample.prompt + sample.completion)
        if cost <= left:
            kept.append(sample)
            left -= cost
    return kept
