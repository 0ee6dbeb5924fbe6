"""The labeling steps for passages: choose, judge, measure surprise, and score by a distilled
head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infra.console import note, progress, warn
from infra.models.text_size import estimated_tokens
from infra.records import Judgment, Sample, content_key, unit_hash
from infra.records.labeler import Head
from infra.store import Store
from judges.config import JudgeConfig
from judges.judgment.elicitation import Subject
from judges.making.context import Admissions, LabelingContext
from judges.making.passages.cutting import choose_passages, mean_ranks, within_budget
from judges.making.passages.extractions import EXTRACTION_RUBRIC, WORSE_TEXT, compare_extractions
from judges.making.passages.head import MIN_PASSAGES, fit_head, head_drift, head_values, stratified
from judges.making.passages.selection import Candidate, sample_passages
from judges.rubrics import load_rubric

DISTILLED = "distilled"
"""The rubric name under which the head's scores are stored; they estimate the mean rank over all
rubrics."""


def settle_extractions(context: LabelingContext, admissions: Admissions) -> None:
    """Compare the two texts of pages whose extractors disagree; set aside those whose other text is
    better.
    """
    rubrics = [load_rubric(name) for name in context.config.passage_rubrics]
    admitted = [rubric for rubric in rubrics if admissions[rubric.id].admitted]
    disputes = context.store.labels.disputed_documents("train", EXTRACTION_RUBRIC)
    if not admitted or not disputes:
        return
    rubric, admission = admitted[0], admissions[admitted[0].id]
    with progress(f"comparing extractions by {rubric.id}", total=len(disputes)) as advance:
        for chunk in context.chunks(disputes):
            context.store.labels.add_judgments(
                compare_extractions(
                    context.judge,
                    rubric,
                    admission,
                    chunk,
                    context.config.passage_chars,
                    context.generation,
                )
            )
            advance(len(chunk))
    dropped = context.store.labels.set_aside_disputed(
        EXTRACTION_RUBRIC, WORSE_TEXT, context.generation
    )
    note(f"{dropped:,} of {len(disputes):,} pages with two very different texts are set aside")


def judge_passages(context: LabelingContext, admissions: Admissions) -> None:
    """Choose passages of documents that have none yet, and judge them by every admitted rubric.

    Passages are only chosen if their labels were shown not to pay (`context.judges_passages`).
    """
    samples = _passages_to_judge(context)
    if not context.judges_passages:
        note("passages are not judged: the control has shown that their labels do not pay")
        return
    for name in context.config.passage_rubrics:
        rubric = load_rubric(name)
        admission = admissions[rubric.id]
        if not admission.admitted:
            continue
        done = {j.subject_id for j in context.store.labels.judgments(context.generation, rubric.id)}
        subjects = [
            Subject(s.sample_id, s.prompt, s.completion) for s in samples if s.sample_id not in done
        ]
        with progress(f"judging passages by {rubric.id}", total=len(subjects)) as advance:
            for part in context.batch(rubric, admission, subjects).chunks(
                context.config.chunk_size
            ):
                context.store.labels.add_judgments(context.judge.judge(part))
                advance(part.num_items)


def _passage_pool(context: LabelingContext) -> list[Sample]:
    """Return all passages that this generation may use; a resumed run gets the same ones.

    A page may overlap a little with a held-out one (`crawl.max_overlap`), and the whole overlap may
    be in one passage, so passages are tested again.
    """
    tokens = int(context.budget.label_tokens * (1 + context.config.head_factor))
    documents = context.store.labels.documents_without_samples(
        "train", tokens * 3 // context.config.passage_chars + 1, context.generation
    )
    passages = choose_passages(
        documents, context.config.passage_chars, tokens, context.generation, str(context.seed)
    )
    return context.learnable(passages)


def _passages_to_judge(context: LabelingContext) -> list[Sample]:
    """Return the passages for the labeler: the first ones of the pool, or with a head of the last
    generation some of each stratum of its scores.
    """
    samples = context.store.labels.samples(context.generation, "passage")
    if samples:
        distilled = context.store.labels.judgments(context.generation, DISTILLED)
        by_head = {j.subject_id for j in distilled}
        return [s for s in samples if s.sample_id not in by_head]
    pool = _passage_pool(context)
    head = context.store.labelers.head(context.generation - 1)
    if head is not None and head.admitted and head.encoder == context.encoder.digest:
        pool = stratified(pool, head_values(head, _embedded(context, pool)), context.seed)
    chosen, spent = [], 0
    for sample in pool:
        spent += estimated_tokens(sample.completion)
        if spent > context.budget.label_tokens:
            break
        chosen.append(sample)
    context.store.labels.add_samples(chosen)
    return chosen


def _embedded(context: LabelingContext, samples: Sequence[Sample]) -> np.ndarray:
    """Return the encoder's vectors, shape (passages, features)."""
    vectors: list[list[float]] = []
    with progress("embedding passages", total=len(samples)) as advance:
        for chunk in context.chunks(samples):
            vectors += context.encoder.embed([s.completion for s in chunk])
            advance(len(chunk))
    return np.array(vectors, dtype=np.float64).reshape(len(samples), -1)


def measure_surprise(context: LabelingContext) -> None:
    """Measure the champion's bits per byte on each passage."""
    done = context.store.labelers.surprise(context.generation)
    todo = [
        s
        for s in context.store.labels.samples(context.generation, "passage")
        if s.sample_id not in done
    ]
    with progress("reading passages", total=len(todo)) as advance:
        for chunk in context.chunks(todo):
            bits = context.champion.surprise([s.completion for s in chunk])
            context.store.labelers.add_surprise(
                context.generation,
                context.champion.digest,
                [(s.sample_id, value) for s, value in zip(chunk, bits, strict=True)],
            )
            advance(len(chunk))


def distil(context: LabelingContext) -> None:
    """Fit a head to the labeler's ranks, measure the last head's drift, and score the unjudged
    passages.
    """
    ranks = judged_ranks(context.store, context.config, context.generation)
    judged = [
        s
        for s in context.store.labels.samples(context.generation, "passage")
        if s.sample_id in ranks
    ]
    if context.config.head_factor == 0 or len(judged) < MIN_PASSAGES:
        return
    head = context.store.labelers.head(context.generation)
    if head is None:
        head = _new_head(context, judged, np.array([ranks[s.sample_id] for s in judged]))
        context.store.labelers.add_head(head)
    correlation = (
        f"{head.correlation:.2f} [{head.correlation_low:.2f}, {head.correlation_high:.2f}]"
    )
    if not head.admitted:
        warn(
            "a head on the encoder does NOT predict the labeler's ranks"
            f" (correlation {correlation}, by length {head.by_length:.2f}); it is not used"
        )
        return
    note(
        f"a head on the encoder predicts the labeler's ranks (correlation {correlation});"
        " it scores the passages that were not judged"
    )
    _score_by_head(context)


def _new_head(
    context: LabelingContext, judged: Sequence[Sample], ranks: NDArray[np.float64]
) -> Head:
    """Fit a head, with the drift of the last generation's head."""
    vectors = _embedded(context, judged)
    last = context.store.labelers.head(context.generation - 1)
    drift = (math.nan, math.nan)
    if last and last.encoder == context.encoder.digest:
        drift = head_drift(last, vectors, ranks)
    texts = [s.completion for s in judged]
    return fit_head(vectors, ranks, texts, context.encoder.digest, context.generation, drift)


def _score_by_head(context: LabelingContext) -> None:
    """Store the head's scores of all passages that were not judged."""
    head = context.store.labelers.head(context.generation)
    assert head is not None, "the head was stored before"
    known = {s.sample_id for s in context.store.labels.samples(context.generation, "passage")}
    rest = [s for s in _passage_pool(context) if s.sample_id not in known]
    with progress("scoring by the head", total=len(rest)) as advance:
        for chunk in context.chunks(rest):
            vectors = np.array(context.encoder.embed([s.completion for s in chunk]))
            values = head_values(head, vectors)
            context.store.labels.add_judgments(
                [
                    _head_judgment(head, sample, float(value), context.generation)
                    for sample, value in zip(chunk, values, strict=True)
                ]
            )
            context.store.labels.add_samples(chunk)
            advance(len(chunk))
    measure_surprise(context)


def _head_judgment(head: Head, sample: Sample, value: float, generation: int) -> Judgment:
    return Judgment(
        judgment_id=content_key(sample.sample_id, DISTILLED, head.encoder, head.generation),
        subject_id=sample.sample_id,
        labeler=f"head@{head.encoder[:12]}/{head.generation}",
        rubric=DISTILLED,
        method=DISTILLED,
        status="scored",
        reason="",
        value=value,
        detail="",
        num_tokens=0,
        generation=generation,
        mode="pointwise",
        subject_hashes=(content_key(sample.completion),),
    )


def judged_ranks(store: Store, config: JudgeConfig, generation: int) -> dict[str, float]:
    """Return passage id -> mean rank over the rubrics by which the labeler judged."""
    judged = {
        name: store.labels.judgments(generation, load_rubric(name).id)
        for name in config.passage_rubrics
    }
    return mean_ranks({name: judgments for name, judgments in judged.items() if judgments})


def selected_passages(
    store: Store, config: JudgeConfig, generation: int, budget_tokens: int, seed: int
) -> list[Sample]:
    """Return a generation's passages to train on, in the order in which they were drawn."""
    candidates = _candidates(store, config, generation)
    return sample_passages(candidates, config.selection, budget_tokens, str(seed))


def random_passages(
    store: Store, config: JudgeConfig, generation: int, budget_tokens: int, seed: int
) -> list[Sample]:
    """Return passages for the control: as many tokens as `selected_passages`, drawn at random.

    They are drawn from those that selection could choose from. Where no passage has a label, they
    are drawn from all, up to the budget.
    """
    candidates = [c.sample for c in _candidates(store, config, generation)]
    if candidates:
        picked = selected_passages(store, config, generation, budget_tokens, seed)
        budget_tokens = sum(estimated_tokens(s.completion) for s in picked)
    pool = candidates or store.labels.samples(generation, "passage")
    drawn = sorted(pool, key=lambda s: unit_hash(seed, "control", s.sample_id))
    return within_budget(drawn, budget_tokens)


def _candidates(store: Store, config: JudgeConfig, generation: int) -> list[Candidate]:
    """The passages of a generation that have a rank."""
    ranks = {j.subject_id: j.value for j in store.labels.judgments(generation, DISTILLED)}
    ranks |= judged_ranks(store, config, generation)
    samples = store.labels.samples(generation, "passage")
    domains, bits = (
        store.labels.sample_domains([s.sample_id for s in samples]),
        store.labelers.surprise(generation),
    )
    return [
        Candidate(
            sample,
            ranks[sample.sample_id],
            domains.get(sample.sample_id, ""),
            bits.get(sample.sample_id, math.nan),
        )
        for sample in samples
        if sample.sample_id in ranks
    ]
