"""Preferences by checking, and how often a labeler disagrees with them: a verifier outranks every
judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.records import Completion, Judgment, Preference, Sample, content_key
from judges.judgment.pairs import Pair
from judges.verifying.checks import Claim
from judges.verifying.verifier import LABELER, verified_row

COMPLETION_RUBRIC = "checked_completion"


def claims_of(sample: Sample, completions: Sequence[Completion]) -> list[Claim]:
    """What each completion of a sample's prompt claims."""
    return [Claim(sample.check, sample.completion, c.text) for c in completions]


def checked_preferences(
    sample: Sample, completions: Sequence[Completion], is_right: Sequence[bool], generation: int
) -> list[Preference]:
    """Every right completion over every wrong one, each text once; the shortest right one over the
    first wrong leads.

    Where none is right the sample's own completion takes its place, if it has one.
    """
    right = {c.text: None for c, ok in zip(completions, is_right, strict=True) if ok}
    wrong = {
        c.text: c for c, ok in zip(completions, is_right, strict=True) if not ok and c.text.strip()
    }
    chosen = sorted(right, key=len) or ([sample.completion] if sample.completion else [])
    origin = "model" if right else sample.origin
    pairs = [(better, worse) for better in chosen for worse in wrong.values()]
    return [
        _checked(sample, better, origin, worse, place, generation)
        for place, (better, worse) in enumerate(pairs)
    ]


def _checked(
    sample: Sample, chosen: str, origin: str, wrong: Completion, place: int, generation: int
) -> Preference:
    return Preference(
        preference_id=content_key(sample.sample_id, chosen, wrong.text),
        sample_id=sample.sample_id,
        prompt=sample.prompt,
        chosen=chosen,
        rejected=wrong.text,
        chosen_origin=origin,
        labeler=LABELER,
        probability=1.0,
        margin=1.0,
        generation=generation,
        rejected_model=wrong.model_digest,
        place=place,
    )


def checked_judgments(
    sample: Sample, completions: Sequence[Completion], is_right: Sequence[bool], generation: int
) -> list[Judgment]:
    """The verifier's row on each completion: 1 where it is right, 0 where it is not."""
    way = sample.check.partition(":")[0]
    return [
        verified_row(
            c.completion_id,
            COMPLETION_RUBRIC,
            ok,
            (content_key(sample.prompt), content_key(c.text)),
            generation,
            way=way,
            raw=sample.completion,
        )
        for c, ok in zip(completions, is_right, strict=True)
    ]


def known_pair(preference: Preference) -> Pair:
    """A checked preference as a pair whose truth is known, to ask a labeler about."""
    return Pair(
        content_key(preference.preference_id, "known"),
        preference.prompt,
        preference.chosen,
        preference.rejected,
        "A",
    )
