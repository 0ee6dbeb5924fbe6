"""Passages: chosen, judged by every admitted rubric, read by the champion, and by a head distilled
from the judge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from infra.console import note, progress, warn
from infra.records import Judgment, Sample, content_key
from infra.store import Store
from judges.config import JudgeConfig
from judges.judgment.elicitation import Subject
from judges.making.context import Admissions, Parts
from judges.making.passages.extractions import EXTRACTION_RUBRIC, WORSE_TEXT, compare_extractions
from judges.making.passages.head import MIN_PASSAGES, drift_of, fit_head, head_values, stratified
from judges.making.passages.passages import choose_passages, estimated_tokens, mean_ranks
from judges.making.passages.selection import Candidate, sample_passages
from judges.rubrics import load_rubric

DISTILLED = "distilled"
"""The rubric that a head's values are filed under: it has learned the mean rank over all rubrics.
"""


def settle_extractions(parts: Parts, admissions: Admissions) -> None:
    """Compare the texts of pages that two extractors read very differently; drop those that lose."""
    rubrics = [load_rubric(name) for name in parts.config.passage_rubrics]
    admitted = [rubric for rubric in rubrics if admissions[rubric.id].admitted]
    disputes = parts.store.labels.disputed_documents("train", EXTRACTION_RUBRIC)
    if not admitted or not disputes:
        return
    rubric, admission = admitted[0], admissions[admitted[0].id]
    with progress(f"comparing extractions by {rubric.id}", total=len(disputes)) as advance:
        for chunk in parts.chunks(disputes):
            parts.store.labels.add_judgments(
                compare_extractions(
                    parts.judge,
                    rubric,
                    admission,
                    chunk,
                    parts.config.passage_chars,
                    parts.generation,
                )
            )
            advance(len(chunk))
    dropped = parts.store.labels.set_aside_disputed(EXTRACTION_RUBRIC, WORSE_TEXT, parts.generation)
    note(f"{dropped:,} of {len(disputes):,} pages with two very different texts are set aside")


def judge_passages(parts: Parts, admissions: Admissions) -> None:
    """Choose passages of documents that have none yet, and judge them by every admitted rubric."""
    samples = _judged_samples(parts)
    for name in parts.config.passage_rubrics:
        rubric = load_rubric(name)
        admission = admissions[rubric.id]
        if not admission.admitted:
            continue
        done = {j.subject_id for j in parts.store.labels.judgments(parts.generation, rubric.id)}
        subjects = [
            Subject(s.sample_id, s.prompt, s.completion) for s in samples if s.sample_id not in done
        ]
        with progress(f"judging passages by {rubric.id}", total=len(subjects)) as advance:
            for part in parts.batch(rubric, admission, subjects).parts(parts.config.chunk_size):
                parts.store.labels.add_judgments(parts.judge.judge(part))
                advance(part.num_items)


def _pool(parts: Parts) -> list[Sample]:
    """All passages that this generation may look at, the same before and after a kill.

    A page may share a little with a held-out one (`crawl.max_overlap`), and one of its passages all
    of that.
    """
    tokens = int(parts.budget.label_tokens * (1 + parts.config.head_factor))
    documents = parts.store.labels.documents_without_samples(
        "train", tokens * 3 // parts.config.passage_chars + 1, parts.generation
    )
    found = choose_passages(
        documents, parts.config.passage_chars, tokens, parts.generation, str(parts.seed)
    )
    return parts.learnable(found)


def _judged_samples(parts: Parts) -> list[Sample]:
    """The passages that the labeler judges: the first ones, or all strata of what the last head
    holds of them.
    """
    samples = parts.store.labels.samples(parts.generation, "passage")
    if samples:
        scored = {j.subject_id for j in parts.store.labels.judgments(parts.generation, DISTILLED)}
        return [s for s in samples if s.sample_id not in scored]
    pool = _pool(parts)
    head = parts.store.labelers.head(parts.generation - 1)
    if head is not None and head.admitted and head.encoder == parts.encoder.digest:
        pool = stratified(pool, head_values(head, _embedded(parts, pool)), parts.seed)
    chosen, spent = [], 0
    for sample in pool:
        spent += estimated_tokens(sample.completion)
        if spent > parts.budget.label_tokens:
            break
        chosen.append(sample)
    parts.store.labels.add_samples(chosen)
    return chosen


def _embedded(parts: Parts, samples: Sequence[Sample]) -> np.ndarray:
    vectors: list[list[float]] = []
    with progress("embedding passages", total=len(samples)) as advance:
        for chunk in parts.chunks(samples):
            vectors += parts.encoder.embed([s.completion for s in chunk])
            advance(len(chunk))
    return np.array(vectors, dtype=np.float64).reshape(len(samples), -1)


def measure_surprise(parts: Parts) -> None:
    """How surprised the champion is at each passage, in bits per byte: what it finds easiest
    teaches it least.
    """
    done = parts.store.labelers.surprise(parts.generation)
    todo = [
        s
        for s in parts.store.labels.samples(parts.generation, "passage")
        if s.sample_id not in done
    ]
    with progress("reading passages", total=len(todo)) as advance:
        for chunk in parts.chunks(todo):
            bits = parts.champion.surprise([s.completion for s in chunk])
            parts.store.labelers.add_surprise(
                parts.generation,
                parts.champion.digest,
                [(s.sample_id, value) for s, value in zip(chunk, bits, strict=True)],
            )
            advance(len(chunk))


def distil(parts: Parts) -> None:
    """Fit a head to the labeler's ranks, see how far the last one has drifted, and score what was
    not judged.
    """
    ranks = judged_ranks(parts.store, parts.config, parts.generation)
    judged = [
        s for s in parts.store.labels.samples(parts.generation, "passage") if s.sample_id in ranks
    ]
    if parts.config.head_factor == 0 or len(judged) < MIN_PASSAGES:
        return
    head = parts.store.labelers.head(parts.generation)
    if head is None:
        vectors, values = _embedded(parts, judged), np.array([ranks[s.sample_id] for s in judged])
        last = parts.store.labelers.head(parts.generation - 1)
        drift = (
            drift_of(last, vectors, values)
            if last and last.encoder == parts.encoder.digest
            else (math.nan,) * 2
        )
        head = fit_head(
            vectors,
            values,
            [s.completion for s in judged],
            parts.encoder.digest,
            parts.generation,
            drift,
        )
        parts.store.labelers.add_head(head)
    told = f"{head.correlation:.2f} [{head.correlation_low:.2f}, {head.correlation_high:.2f}]"
    if not head.admitted:
        warn(
            f"a head on the encoder does NOT tell what the labeler says ({told}, by length {head.by_length:.2f})"
        )
        return
    note(
        f"a head on the encoder ranks passages like the labeler ({told}); it scores what was not judged"
    )
    _score_by_head(parts)


def _score_by_head(parts: Parts) -> None:
    head = parts.store.labelers.head(parts.generation)
    assert head is not None, "the head was stored before"
    known = {s.sample_id for s in parts.store.labels.samples(parts.generation, "passage")}
    rest = [s for s in _pool(parts) if s.sample_id not in known]
    with progress("scoring by the head", total=len(rest)) as advance:
        for chunk in parts.chunks(rest):
            vectors = np.array(parts.encoder.embed([s.completion for s in chunk]))
            rows = [
                Judgment(
                    judgment_id=content_key(s.sample_id, DISTILLED, head.encoder, head.generation),
                    subject_id=s.sample_id,
                    labeler=f"head@{head.encoder[:12]}/{head.generation}",
                    rubric=DISTILLED,
                    way=DISTILLED,
                    status="scored",
                    reason="",
                    value=float(value),
                    detail="",
                    num_tokens=0,
                    generation=parts.generation,
                    mode="pointwise",
                    subject_hashes=(content_key(s.completion),),
                )
                for s, value in zip(chunk, head_values(head, vectors), strict=True)
            ]
            parts.store.labels.add_judgments(rows)
            parts.store.labels.add_samples(chunk)
            advance(len(chunk))
    measure_surprise(parts)


def judged_ranks(store: Store, config: JudgeConfig, generation: int) -> dict[str, float]:
    """Passage to its mean rank over the rubrics by which the labeler judged."""
    judged = {
        name: store.labels.judgments(generation, load_rubric(name).id)
        for name in config.passage_rubrics
    }
    return mean_ranks({name: judgments for name, judgments in judged.items() if judgments})


def selected_passages(
    store: Store, config: JudgeConfig, generation: int, budget_tokens: int, seed: int
) -> list[Sample]:
    """A generation's passages that may be learned from, in the order in which they were drawn."""
    ranks = {j.subject_id: j.value for j in store.labels.judgments(generation, DISTILLED)}
    ranks |= judged_ranks(store, config, generation)
    samples = store.labels.samples(generation, "passage")
    domains, bits = (
        store.labels.sample_domains([s.sample_id for s in samples]),
        store.labelers.surprise(generation),
    )
    candidates = [
        Candidate(
            s, ranks[s.sample_id], domains.get(s.sample_id, ""), bits.get(s.sample_id, math.nan)
        )
        for s in samples
        if s.sample_id in ranks
    ]
    return sample_passages(candidates, config.selection, budget_tokens, str(seed))
