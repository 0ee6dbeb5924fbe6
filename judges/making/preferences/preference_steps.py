"""The labeling steps for preferences: the champion completes prompts, and the completions are
checked by the verifier or compared by the labeler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.console import note, progress
from infra.models.language_model import CompletedText
from infra.records import Completion, Preference, Sample, content_key, unit_hash
from infra.records.labeler import Admission, Interval
from judges.judgment.batches import Batch
from judges.making.context import HELD_OUT_REASON, Admissions, Champion, LabelingContext
from judges.making.preferences.checked import (
    checked_judgments,
    checked_preferences,
    completion_claims,
    known_pair,
)
from judges.making.preferences.judged import (
    ContestPlanner,
    completion_groups,
    distinct_completions,
    make_win_rate,
    preferences_from,
    read_contests,
    wins_over_older,
)
from judges.measuring.intervals import share_interval
from judges.rubrics import load_rubric


def prompts(context: LabelingContext) -> list[Sample]:
    """Return the prompts to complete: the user's own ones, and demonstrations in the order of a
    hash.
    """
    samples = context.store.labels.samples(context.generation, "demonstration")
    samples.sort(key=lambda s: unit_hash(context.seed, s.sample_id))
    checked = [s for s in samples if s.check][: context.budget.num_prompts]
    own = context.store.labels.samples(context.generation, "prompt")
    return own + checked + [s for s in samples if not s.check]


def complete_prompts(context: LabelingContext) -> None:
    """The champion completes each prompt several times, and the previous champion too."""
    _complete_by(context, context.champion, context.config.num_completions)
    if context.older is not None and context.config.older_completions:
        _complete_by(context, context.older, context.config.older_completions)


def _complete_by(context: LabelingContext, model: Champion, number: int) -> None:
    """Store a model's completions of all prompts that it has not completed yet."""
    done = {
        c.sample_id
        for c in context.store.labels.completions(context.generation)
        if c.model_digest == model.digest
    }
    todo = [s for s in prompts(context) if s.sample_id not in done]
    with progress("completing prompts", total=len(todo)) as advance:
        for chunk in context.chunks(todo):
            repeated = [s for s in chunk for _ in range(number)]
            seed = int(content_key(context.seed, context.generation, chunk[0].sample_id)[:8], 16)
            texts = model.complete(
                [s.prompt for s in repeated],
                context.config.completion_tokens,
                context.config.temperature,
                seed,
            )
            context.store.labels.add_completions(
                [
                    _completion(model.digest, sample, i % number, text, context.generation)
                    for i, (sample, text) in enumerate(zip(repeated, texts, strict=True))
                ]
            )
            advance(len(chunk))


def _completion(
    digest: str, sample: Sample, index: int, text: CompletedText, generation: int
) -> Completion:
    return Completion(
        completion_id=content_key(sample.sample_id, digest, generation, index),
        sample_id=sample.sample_id,
        model_digest=digest,
        index=index,
        text=text.text,
        num_tokens=text.num_tokens,
        generation=generation,
    )


def prefer(context: LabelingContext, admissions: Admissions) -> None:
    """Make preferences from completions: by the verifier if they can be checked, else by an
    admitted labeler.
    """
    completions = context.store.labels.completions(context.generation)
    samples = prompts(context)
    checked = [s for s in samples if s.check]
    preferences = _checked(context, checked, completions)
    admission = admissions[load_rubric(context.config.answer_rubric).id]
    if admission.admitted:
        others = [s for s in samples if not s.check]
        preferences |= {s.sample_id: [] for s in others}
        preferences |= _judged(context, admission, others, completions)
    _keep_preferences(context, preferences)
    known = [p for s in checked for p in preferences[s.sample_id][:1]]
    _ask_about_checked(context, known, admissions)


def _checked(
    context: LabelingContext, samples: Sequence[Sample], completions: Sequence[Completion]
) -> dict[str, list[Preference]]:
    """Return prompt id -> preferences by the verifier."""
    by_prompt: dict[str, list[Completion]] = {}
    for completion in completions:
        by_prompt.setdefault(completion.sample_id, []).append(completion)
    preferences: dict[str, list[Preference]] = {}
    drops: list[tuple[str, str]] = []
    generation = context.generation
    for sample in samples:
        own = by_prompt.get(sample.sample_id, [])
        is_right = context.verifier.check(completion_claims(sample, own))
        context.store.labels.add_judgments(checked_judgments(sample, own, is_right, generation))
        preferences[sample.sample_id], unfit = checked_preferences(
            sample, own, is_right, generation
        )
        drops += unfit
    context.store.run.note_drops(generation, "label", drops)
    return preferences


def _judged(
    context: LabelingContext,
    admission: Admission,
    samples: Sequence[Sample],
    completions: Sequence[Completion],
) -> dict[str, list[Preference]]:
    """Return prompt id -> preferences by the labeler, which is asked until the budget is spent."""
    groups = completion_groups(samples, completions, context.champion.digest, context.generation)
    _note_unfit(context, samples, completions)
    rubric = load_rubric(context.config.answer_rubric)
    planner = ContestPlanner(
        context.judge, context.config, rubric, admission, context.seed, context.generation
    )
    rows = {
        j.subject_id: j
        for j in context.store.labels.judgments(context.generation, rubric.id)
        if j.mode == planner.mode
    }
    with progress(
        f"comparing completions by {rubric.id}", total=planner.max_items(groups)
    ) as advance:
        while (batch := planner.next_batch(groups, rows)) is not None:
            for part in batch.chunks(context.config.chunk_size):
                judged = context.judge.judge(part)
                context.store.labels.add_judgments(judged)
                rows |= {j.subject_id: j for j in judged}
                advance(part.num_items)
    if context.older is not None:
        wins, number = wins_over_older(groups, read_contests(groups, rows, admission))
        _note_win_rate(context, admission, context.older.digest, wins, number)
    return preferences_from(groups, rows, admission, context.config.min_margin, context.generation)


def _note_unfit(
    context: LabelingContext, samples: Sequence[Sample], completions: Sequence[Completion]
) -> None:
    """Record the completions that are no side of a preference: empty ones and repetitions."""
    compared = {s.sample_id for s in samples}
    _, drops = distinct_completions([c for c in completions if c.sample_id in compared])
    context.store.run.note_drops(context.generation, "label", drops)


def _note_win_rate(
    context: LabelingContext, admission: Admission, older: str, wins: int, number: int
) -> None:
    """Store and print how often the champion's completions win over those of the previous
    champion.
    """
    if number == 0:
        return
    tested = context.store.labelers.tested_probes(admission.labeler)
    rate = make_win_rate(
        admission, tested, (context.champion.digest, older), (wins, number), context.generation
    )
    context.store.labelers.add_win_rate(rate)
    raw = Interval(rate.measured, rate.measured_low, rate.measured_high)
    corrected = str(Interval(rate.corrected, rate.low, rate.high))
    if rate.reason:
        corrected = f"none: {rate.reason}"
    note(
        f"the champion wins {raw} of {number} pairs against the one before it;"
        f" corrected {corrected}"
    )


def _keep_preferences(
    context: LabelingContext, preferences: Mapping[str, Sequence[Preference]]
) -> None:
    """Store preferences. Prompts without any, and those with held-out text, are recorded as drops.

    Held-out text in one pair removes all preferences of its prompt.
    """
    drops = [
        ("no preference between completions", sample_id)
        for sample_id, ranking in preferences.items()
        if not ranking
    ]
    flat = [p for ranking in preferences.values() for p in ranking]
    shares = context.held_out.shares([f"{p.chosen}\n{p.rejected}" for p in flat])
    overlapping = {p.sample_id: None for p, share in zip(flat, shares, strict=True) if share > 0}
    drops += [(HELD_OUT_REASON, sample_id) for sample_id in overlapping]
    context.store.run.note_drops(context.generation, "label", drops)
    context.store.labels.add_preferences([p for p in flat if p.sample_id not in overlapping])


def _ask_about_checked(
    context: LabelingContext, preferences: Sequence[Preference], admissions: Admissions
) -> None:
    """Ask the labeler about pairs that the verifier decided, and count its errors."""
    rubric = load_rubric(context.config.correctness_rubric)
    method = admissions[rubric.id].method
    if rubric.choice is None and not context.judge.values_sides:
        return
    done = {j.subject_id for j in context.store.labels.judgments(context.generation, rubric.id)}
    pairs = [pair for pair in map(known_pair, preferences) if pair.pair_id not in done]
    batch = Batch(
        rubric,
        "pairwise",
        method,
        pairs=pairs,
        seed=context.seed,
        generation=context.generation,
        key="judge.correctness_rubric",
    )
    with progress("asking about what was checked", total=len(pairs)) as advance:
        for part in batch.chunks(context.config.chunk_size):
            context.store.labels.add_judgments(context.judge.judge(part))
            advance(part.num_items)
    clashes, number = context.store.labelers.clashes(context.generation)
    if number:
        note(
            f"{rubric.id}: the labeler errs on {clashes} of {number} checked pairs"
            f" ({share_interval(clashes, number)})"
        )
