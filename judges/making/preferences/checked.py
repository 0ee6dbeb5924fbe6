"""Preferences from checks by the verifier, which override those of any labeler."""

from __future__ import annotations

from collections.abc import Sequence

from infra.records import Completion, Judgment, Preference, Sample, content_key
from judges.judgment.pairs import Pair
from judges.verifying.checks import Claim
from judges.verifying.verifier import VERIFIER_NAME, verifier_judgment

COMPLETION_RUBRIC = "checked_completion"


def completion_claims(sample: Sample, completions: Sequence[Completion]) -> list[Claim]:
    """Return the claim of each completion of a sample's prompt."""
    return [Claim(sample.check, sample.completion, c.text) for c in completions]


def checked_preferences(
    sample: Sample, completions: Sequence[Completion], is_right: Sequence[bool], generation: int
) -> list[Preference]:
    """Return all pairs of a right and a wrong completion, each text once.

    The first pair is the shortest right one over the first wrong one. If no completion is right,
    the sample's own completion (if any) is used instead.
    """
    right = {c.text: None for c, ok in zip(completions, is_right, strict=True) if ok}
    wrong = {
        c.text: c for c, ok in zip(completions, is_right, strict=True) if not ok and c.text.strip()
    }
    chosen = sorted(right, key=len) or ([sample.completion] if sample.completion else [])
    origin = "model" if right else sample.origin
    pairs = [(better, worse) for better in chosen for worse in wrong.values()]
    return [
        _checked(sample, better, origin, worse, index, generation)
        for index, (better, worse) in enumerate(pairs)
    ]


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
