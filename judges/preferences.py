"""Preferences between completions of one prompt: by execution where there is a right answer, else by a judge."""

from __future__ import annotations

from collections.abc import Sequence

from infra.records import Completion, Preference, Sample, content_key
from judges.answers import Answer
from judges.verifier import LABELER, is_right


def _preference(
    sample: Sample, chosen: str, rejected: str, origin: str, labeler: str, probability: float, margin: float,
    generation: int,
) -> Preference:  # fmt: skip
    return Preference(
        preference_id=content_key(sample.sample_id, chosen, rejected),
        sample_id=sample.sample_id,
        prompt=sample.prompt,
        chosen=chosen,
        rejected=rejected,
        chosen_origin=origin,
        labeler=labeler,
        probability=probability,
        margin=margin,
        generation=generation,
    )


def executed_preference(sample: Sample, completions: Sequence[Completion], generation: int) -> Preference | None:
    """A right completion over a wrong one. Where none is right, the executed output takes its place."""
    right = [c.text for c in completions if is_right(sample.completion, c.text)]
    wrong = [c.text for c in completions if c.text.strip() and not is_right(sample.completion, c.text)]
    if not wrong:
        return None
    chosen = min(right, key=len) if right else sample.completion
    origin = "model" if right else "web"
    return _preference(sample, chosen, wrong[0], origin, LABELER, 1.0, 1.0, generation)


def judged_preference(
    sample: Sample,
    completions: Sequence[Completion],
    answers: Sequence[Answer],
    labeler: str,
    min_margin: float,
    generation: int,
) -> Preference | None:
    """The completion valued highest over the one valued lowest; None within `min_margin`, which is no tie won."""
    scored = [(a.value, c.text) for a, c in zip(answers, completions, strict=True) if a.value is not None]
    scored = [(value, text) for value, text in scored if text.strip()]
    if len(scored) < 2:
        return None
    (low, rejected), (high, chosen) = min(scored), max(scored)
    margin = high - low
    if margin < min_margin or chosen == rejected:
        return None
    probability = high / (high + low)
    return _preference(sample, chosen, rejected, "model", labeler, probability, margin, generation)
