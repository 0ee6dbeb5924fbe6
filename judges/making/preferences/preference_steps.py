"""Preferences: the champion completes prompts, a verifier decides where it can, an admitted labeler
elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.console import note, progress
from infra.models.language_model import CompletedText
from infra.records import Completion, Preference, Sample, content_key, unit_hash
from infra.records.labeler import Admission
from judges.judgment.judging import Batch
from judges.making.context import HELD_OUT_REASON, Admissions, Champion, Parts
from judges.making.preferences.preferences import (
    checked_judgments,
    checked_preferences,
    claims_of,
    known_pair,
)
from judges.making.preferences.preferring import (
    Contests,
    contests_in,
    groups_of,
    preferences_from,
    win_rate_of,
    wins_over_older,
)
from judges.measuring.intervals import Interval, share_of
from judges.rubrics import load_rubric


def prompts(parts: Parts) -> list[Sample]:
    """The prompts that the champion completes: the user's own, and demonstrations chosen by hash."""
    samples = parts.store.labels.samples(parts.generation, "demonstration")
    samples.sort(key=lambda s: unit_hash(parts.seed, s.sample_id))
    checked = [s for s in samples if s.check][: parts.budget.num_prompts]
    own = parts.store.labels.samples(parts.generation, "prompt")
    return own + checked + [s for s in samples if not s.check]


def complete_prompts(parts: Parts) -> None:
    """The champion completes each prompt several times, and the champion before it once more."""
    _complete_by(parts, parts.champion, parts.config.num_completions)
    if parts.older is not None and parts.config.older_completions:
        _complete_by(parts, parts.older, parts.config.older_completions)


def _complete_by(parts: Parts, model: Champion, number: int) -> None:
    done = {
        c.sample_id
        for c in parts.store.labels.completions(parts.generation)
        if c.model_digest == model.digest
    }
    todo = [s for s in prompts(parts) if s.sample_id not in done]
    with progress("completing prompts", total=len(todo)) as advance:
        for chunk in parts.chunks(todo):
            repeated = [s for s in chunk for _ in range(number)]
            seed = int(content_key(parts.seed, parts.generation, chunk[0].sample_id)[:8], 16)
            texts = model.complete(
                [s.prompt for s in repeated],
                parts.config.completion_tokens,
                parts.config.temperature,
                seed,
            )
            parts.store.labels.add_completions(
                [
                    _completion(model.digest, sample, i % number, text, parts.generation)
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


def prefer(parts: Parts, admissions: Admissions) -> None:
    """Make preferences of the completions: what can be checked by the verifier, the rest by an
    admitted labeler.
    """
    completions = parts.store.labels.completions(parts.generation)
    asked = prompts(parts)
    checked = [s for s in asked if s.check]
    found = _checked(parts, checked, completions)
    admission = admissions[load_rubric(parts.config.answer_rubric).id]
    if admission.admitted:
        others = [s for s in asked if not s.check]
        found |= {s.sample_id: [] for s in others} | _judged(parts, admission, others, completions)
    _keep_preferences(parts, found)
    _ask_what_is_known(parts, [p for s in checked for p in found[s.sample_id][:1]], admissions)


def _checked(
    parts: Parts, samples: Sequence[Sample], completions: Sequence[Completion]
) -> dict[str, list[Preference]]:
    by_prompt: dict[str, list[Completion]] = {}
    for completion in completions:
        by_prompt.setdefault(completion.sample_id, []).append(completion)
    found: dict[str, list[Preference]] = {}
    for sample in samples:
        mine = by_prompt.get(sample.sample_id, [])
        is_right = parts.verifier.check(claims_of(sample, mine))
        parts.store.labels.add_judgments(
            checked_judgments(sample, mine, is_right, parts.generation)
        )
        found[sample.sample_id] = checked_preferences(sample, mine, is_right, parts.generation)
    return found


def _judged(
    parts: Parts, admission: Admission, samples: Sequence[Sample], completions: Sequence[Completion]
) -> dict[str, list[Preference]]:
    """Prompt to preferences by the labeler: asks about what teaches most, until the budget is
    spent.
    """
    groups = groups_of(samples, completions, parts.champion.digest, parts.generation)
    rubric = load_rubric(parts.config.answer_rubric)
    contests = Contests(parts.judge, parts.config, rubric, admission, parts.seed, parts.generation)
    rows = {
        j.subject_id: j
        for j in parts.store.labels.judgments(parts.generation, rubric.id)
        if j.mode == contests.mode
    }
    with progress(
        f"comparing completions by {rubric.id}", total=contests.most_items(groups)
    ) as advance:
        while (batch := contests.next_batch(groups, rows)) is not None:
            for part in batch.parts(parts.config.chunk_size):
                judged = parts.judge.judge(part)
                parts.store.labels.add_judgments(judged)
                rows |= {j.subject_id: j for j in judged}
                advance(part.num_items)
    if parts.older is not None:
        wins, number = wins_over_older(groups, contests_in(groups, rows, admission.temperature))
        _note_win_rate(parts, admission, parts.older.digest, wins, number)
    return preferences_from(groups, rows, admission, parts.config.min_margin, parts.generation)


def _note_win_rate(parts: Parts, admission: Admission, older: str, wins: int, number: int) -> None:
    """How often the champion's completions win over those of the model before it, the labeler's
    errors taken out.
    """
    if number == 0:
        return
    tested = parts.store.labelers.tested_probes(admission.labeler)
    rate = win_rate_of(
        admission, tested, (parts.champion.digest, older), (wins, number), parts.generation
    )
    parts.store.labelers.add_win_rate(rate)
    told = f"none: {rate.why}" if rate.why else str(Interval(rate.corrected, rate.low, rate.high))
    said = Interval(rate.said, rate.said_low, rate.said_high)
    note(f"the champion wins {said} of {number} pairs against the one before it; corrected {told}")


def _keep_preferences(parts: Parts, found: Mapping[str, Sequence[Preference]]) -> None:
    """Store preferences; none between completions, and held-out text among them, are drops with a
    reason.

    One held-out text costs the whole ranking of its prompt.
    """
    drops = [
        ("no preference between completions", sample_id)
        for sample_id, made in found.items()
        if not made
    ]
    flat = [p for made in found.values() for p in made]
    shares = parts.held_out.shares([f"{p.chosen}\n{p.rejected}" for p in flat])
    lost = {p.sample_id: None for p, share in zip(flat, shares, strict=True) if share > 0}
    drops += [(HELD_OUT_REASON, sample_id) for sample_id in lost]
    parts.store.run.note_drops(parts.generation, "label", drops)
    parts.store.labels.add_preferences([p for p in flat if p.sample_id not in lost])


def _ask_what_is_known(
    parts: Parts, preferences: Sequence[Preference], admissions: Admissions
) -> None:
    """Ask the labeler about pairs that were checked: where it disagrees, it errs, and that is
    counted.
    """
    rubric = load_rubric(parts.config.correctness_rubric)
    way = admissions[rubric.id].way
    if rubric.choice is None and not parts.judge.values_sides:
        return
    done = {j.subject_id for j in parts.store.labels.judgments(parts.generation, rubric.id)}
    pairs = [pair for pair in map(known_pair, preferences) if pair.pair_id not in done]
    batch = Batch(
        rubric, "pairwise", way, pairs=pairs, seed=parts.seed, generation=parts.generation
    )
    with progress("asking about what was checked", total=len(pairs)) as advance:
        for part in batch.parts(parts.config.chunk_size):
            parts.store.labels.add_judgments(parts.judge.judge(part))
            advance(part.num_items)
    clashes, number = parts.store.labelers.clashes(parts.generation)
    if number:
        note(
            f"{rubric.id}: the labeler errs on {clashes} of {number} checked pairs ({share_of(clashes, number)})"
        )
