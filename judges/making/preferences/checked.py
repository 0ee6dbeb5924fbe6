"""Preferences from checks by the verifier, which override those of any labeler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from infra.records import (
    Completion,
    Judgment,
    Preference,
    Sample,
    content_key,
    side_key,
    sides_flaw,
)
from judges.judgment.pairs import Pair
from judges.verifying.checks import Claim
from judges.verifying.verifier import VERIFIER_NAME, verifier_judgment

COMPLETION_RUBRIC = "checked_completion"


def completion_claims(sample: Sample, completions: Sequence[Completion]) -> list[Claim]:
    """Return the claim of each completion of a sample's prompt."""
    return [Claim(sample.check, sample.completion, c.text) for c in completions]


def checked_preferences(
    sample: Sample, completions: Sequence[Completion], is_right: Sequence[bool], generation: int
) -> tuple[list[Preference], list[tuple[str, str]]]:
    """Return all pairs of a right and a wrong completion, each text once, and the drops: (reason,
    pair) of those that make no preference.

    The first pair is the shortest right one over the first wrong one. If no completion is right,
    the sample's own completion (if any) is used instead.
    """
    right, wrong = (
        _first_by_text(c for c, ok in zip(completions, is_right, strict=True) if ok is wanted)
        for wanted in (True, False)
    )
    chosen = sorted((c.text for c in right), key=len)
    origin = "model" if right else sample.origin
    if not chosen and sample.completion:
        chosen = [sample.completion]
    preferences: list[Preference] = []
    drops: list[tuple[str, str]] = []
    for better, worse in product(chosen, wrong):
        flaw = sides_flaw(better, worse.text)
        if flaw:
            drops.append((flaw, content_key(sample.sample_id, better, worse.text)))
        else:
            index = len(preferences)
            preferences.append(_checked(sample, better, origin, worse, index, generation))
    return preferences, drops


def _first_by_text(completions: Iterable[Completion]) -> list[Completion]:
    """Return the first completion of each text."""
    by_text: dict[str, Completion] = {}
    for completion in completions:
        by_text.setdefault(side_key(completion.text), completion)
    return list(by_text.values())


def _checked(
    sample: Sample, chosen: str, origin: str, wrong: Completion, index: int, generation: int
) -> Preference:
    return Preference(
        preference_id=content_key(sample.sample_id, chosen, wrong.text),
        sample_id=sample.sample_id,
        prompt=sample.prompt,
        chosen=chosen,
        rejected=wrong.text,
        chosen_origin=origin,
        labeler=VERIFIER_NAME,
        probability=1.0,
        margin=1.0,
        generation=generation,
        rejected_model=wrong.model_digest,
        pair_index=index,
    )


def checked_judgments(
    sample: Sample, completions: Sequence[Completion], is_right: Sequence[bool], generation: int
) -> list[Judgment]:
    """Return the verifier's judgment on each completion: 1 if it is right, else 0."""
    method = sample.check.partition(":")[0]
    return [
        verifier_judgment(
            c.completion_id,
            COMPLETION_RUBRIC,
            ok,
            (content_key(sample.prompt), content_key(c.text)),
            generation,
            method=method,
            raw=sample.completion,
        )
        for c, ok in zip(completions, is_right, strict=True)
    ]


def known_pair(preference: Preference) -> Pair:
    """Return a checked preference as a pair with known truth, to ask a labeler about."""
    return Pair(
        content_key(preference.preference_id, "known"),
        preference.prompt,
        preference.chosen,
        preference.rejected,
        "A",
    )
