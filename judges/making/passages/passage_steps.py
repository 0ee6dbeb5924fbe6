"""The labeling steps for passages: choose, judge, and measure what learning them is worth."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from infra.console import note, progress
from infra.models.text_size import TokenCount, estimated_tokens
from infra.records import Sample, unit_hash
from infra.store import Store
from judges.config import JudgeConfig
from judges.judgment.elicitation import Subject
from judges.making.context import Admissions, Champion, LabelingContext
from judges.making.passages.cutting import choose_passages, mean_ranks, within_budget
from judges.making.passages.extractions import EXTRACTION_RUBRIC, WORSE_TEXT, compare_extractions
from judges.making.passages.selection import Candidate, sample_passages
from judges.making.passages.value import passage_values, share_ranks
from judges.rubrics import load_rubric


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
    """Choose passages of documents that have none yet, and judge some by every admitted rubric.

    Passages are only chosen if their labels were shown not to pay (`context.judges_passages`).
    """
    samples = _judged(context, _chosen_passages(context))
    if not context.judges_passages:
        note("passages are not judged: the control has shown that picking does not pay")
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


def _chosen_passages(context: LabelingContext) -> list[Sample]:
    """Return all passages that this generation may use; they are stored before any is judged.

    If values are measured, there are more than the labeler could judge. A page may overlap a little
    with a held-out one (`crawl.max_overlap`), and the whole overlap may be in one passage, so
    passages are tested again.
    """
    if samples := context.store.labels.samples(context.generation, "passage"):
        return samples
    factor = context.config.valued_factor if context.tuned else 1.0
    tokens = int(context.budget.label_tokens * factor)
    documents = context.store.labels.documents_without_samples(
        "train", tokens * 3 // context.config.passage_chars + 1, context.generation
    )
    passages = choose_passages(
        documents, context.config.passage_chars, tokens, context.generation, str(context.seed)
    )
    context.store.labels.add_samples(context.learnable(passages))
    return context.store.labels.samples(context.generation, "passage")


def _judged(context: LabelingContext, samples: Sequence[Sample]) -> list[Sample]:
    """Return the passages that the labeler judges: as many as its budget pays for, by hash.

    If values are measured, a sample of them is enough, because the labels select nothing.
    """
    order = sorted(samples, key=lambda s: unit_hash(context.seed, "judged", s.sample_id))
    if context.tuned:
        order = order[: context.config.sampled_passages]
    return within_budget(order, context.budget.label_tokens)


def measure_passages(context: LabelingContext) -> None:
    """Measure the bits per byte of each passage, by the champion and by the tuned champion."""
    _measure_kind(context, "passage")


def measure_demonstrations(context: LabelingContext) -> None:
    """Measure the same of demonstrations, if there is a tuned champion: what is their value?

    Nothing is selected by it; it shows what each maker of samples brings.
    """
    if context.tuned:
        _measure_kind(context, "demonstration")


def _measure_kind(context: LabelingContext, kind: str) -> None:
    for model in (context.champion, *([context.tuned] if context.tuned else [])):
        _measure_bits(context, kind, model, is_tuned=model is context.tuned)


def _measure_bits(context: LabelingContext, kind: str, model: Champion, is_tuned: bool) -> None:
    table = context.store.labelers
    read = table.tuned_bits if is_tuned else table.surprise
    done = read(context.generation, kind)
    samples = context.store.labels.samples(context.generation, kind)
    todo = [s for s in samples if s.sample_id not in done]
    words = f"reading {kind}s again, tuned" if is_tuned else f"reading {kind}s"
    with progress(words, total=len(todo)) as advance:
        for chunk in context.chunks(todo):
            bits = model.surprise(chunk)
            rows = [(s.sample_id, value) for s, value in zip(chunk, bits, strict=True)]
            table.add_surprise(context.generation, model.digest, rows, is_tuned)
            advance(len(chunk))


def judged_ranks(store: Store, config: JudgeConfig, generation: int) -> dict[str, float]:
    """Return passage id -> mean rank over the rubrics by which the labeler judged."""
    judged = {
        name: store.labels.judgments(generation, load_rubric(name).id)
        for name in config.passage_rubrics
    }
    return mean_ranks({name: judgments for name, judgments in judged.items() if judgments})


def selected_passages(
    store: Store,
    config: JudgeConfig,
    generation: int,
    budget_tokens: int,
    seed: int,
    without: Collection[str] = (),
) -> list[Sample]:
    """Return a generation's passages to train on, in the order in which they were drawn.

    Passages with the texts `without` are left out. Where no passage has a value or a label, they
    are those of the control.
    """
    candidates = _candidates(store, config, generation, without)
    if not candidates:
        return _drawn_from_all(store, generation, budget_tokens, seed, without)
    return sample_passages(candidates, config.selection, budget_tokens, str(seed))


def random_passages(
    store: Store,
    config: JudgeConfig,
    generation: int,
    budget_tokens: int,
    seed: int,
    without: Collection[str] = (),
    num_tokens: TokenCount = estimated_tokens,
) -> list[Sample]:
    """Return passages for the control: as many tokens as `selected_passages`, drawn at random.

    They are drawn from those that selection could choose from. Both are counted by `num_tokens`:
    texts that are alike in characters can differ in tokens, and picking may prefer one kind. Where
    no passage has a value or a label, they are drawn from all, up to the budget.
    """
    pool = [c.sample for c in _candidates(store, config, generation, without)]
    if not pool:
        return _drawn_from_all(store, generation, budget_tokens, seed, without)
    picked = selected_passages(store, config, generation, budget_tokens, seed, without)
    picked_tokens = sum(num_tokens(s.completion) for s in picked)
    return within_budget(_drawn_order(pool, seed), picked_tokens, num_tokens)


def _drawn_from_all(
    store: Store, generation: int, budget_tokens: int, seed: int, without: Collection[str]
) -> list[Sample]:
    samples = _passages(store, generation, without)
    return within_budget(_drawn_order(samples, seed), budget_tokens)


def _drawn_order(samples: Sequence[Sample], seed: int) -> list[Sample]:
    return sorted(samples, key=lambda s: unit_hash(seed, "control", s.sample_id))


def _passages(store: Store, generation: int, without: Collection[str]) -> list[Sample]:
    samples = store.labels.samples(generation, "passage")
    return [s for s in samples if s.completion.strip() not in without]


def _candidates(
    store: Store, config: JudgeConfig, generation: int, without: Collection[str]
) -> list[Candidate]:
    """The passages of a generation that have a rank: by value if it was measured, else by label."""
    values = passage_values(store, generation) if config.selection.by == "value" else {}
    ranks = share_ranks(values) if values else judged_ranks(store, config, generation)
    samples = _passages(store, generation, without)
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
