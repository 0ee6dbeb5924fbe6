"""Preferences by execution, and how often a labeler disagrees with them: a verifier outranks every judge."""

from __future__ import annotations

from collections.abc import Sequence

from infra.records import Completion, Judgment, Preference, Sample, content_key
from judges.pairs import Pair
from judges.verifier import LABELER, is_right

COMPLETION_RUBRIC = "executed_completion"


def executed_preference(sample: Sample, completions: Sequence[Completion], generation: int) -> Preference | None:
    """A right completion over a wrong one. Where none is right, the executed output takes its place."""
    right = [c.text for c in completions if is_right(sample.completion, c.text)]
    wrong = [c for c in completions if c.text.strip() and not is_right(sample.completion, c.text)]
    if not wrong:
        return None
    chosen = min(right, key=len) if right else sample.completion
    return Preference(
        preference_id=content_key(sample.sample_id, chosen, wrong[0].text),
        sample_id=sample.sample_id,
        prompt=sample.prompt,
        chosen=chosen,
        rejected=wrong[0].text,
        chosen_origin="model" if right else "web",
        labeler=LABELER,
        probability=1.0,
        margin=1.0,
        generation=generation,
        rejected_model=wrong[0].model_digest,
    )


def executed_judgments(sample: Sample, completions: Sequence[Completion], generation: int) -> list[Judgment]:
    """The verifier's row on each completion: 1 for the executed output, 0 for anything else."""
    rows = []
    for c in completions:
        right = is_right(sample.completion, c.text)
        rows.append(Judgment(
            judgment_id=content_key(c.completion_id, COMPLETION_RUBRIC, LABELER), subject_id=c.completion_id,
            labeler=LABELER, rubric=COMPLETION_RUBRIC, way="executed", status="scored", reason="",
            value=float(right), detail="", num_tokens=0, generation=generation,
            verdict="right" if right else "wrong", labels=("right", "wrong"),
            distribution=(1.0, 0.0) if right else (0.0, 1.0),
            subject_hashes=(content_key(sample.prompt), content_key(c.text)), raw=sample.completion,
        ))  # fmt: skip
    return rows


def known_pair(preference: Preference) -> Pair:
    """An executed preference as a pair whose truth is known, to ask a labeler about."""
    return Pair(content_key(preference.preference_id, "known"), preference.prompt, preference.chosen,
                preference.rejected, "A")  # fmt: skip
