"""Pages whose text differs much between two extractors: the labeler decides which text is better.

If the other text is better, the document is set aside, because the difference is then mostly page
boilerplate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from infra.records import Judgment, content_key
from infra.records.labeler import Admission
from judges.judgment.answers import LabelerAnswer
from judges.judgment.elicitation import Subject
from judges.judgment.protocol import Judge
from judges.rubrics import Rubric

EXTRACTION_RUBRIC = "extraction"
"""The rubric name under which these judgments are stored. The rubric that was asked is in their
`detail`."""
WORSE_TEXT = "another reading of the page is better"
Dispute = tuple[str, str, str]
"""(document_id, text, text of the other extractor)"""


def compare_extractions(
    judge: Judge,
    rubric: Rubric,
    admission: Admission,
    disputes: Sequence[Dispute],
    max_chars: int,
    generation: int,
) -> list[Judgment]:
    """Return one judgment per dispute. Its value is the share of the document's text in the sum of
    both values; below 0.5 the other text is better.

    Both texts are judged by their first `max_chars` characters.
    """
    subjects = []
    for document_id, text, other in disputes:
        subjects.append(Subject(document_id, "", text[:max_chars]))
        subjects.append(Subject(content_key(document_id, "other"), "", other[:max_chars]))
    answers = judge.score(rubric, admission.method, subjects)
    sides = list(zip(subjects, answers, strict=True))
    return [
        _judgment(judge.name, rubric, admission, own, other, generation)
        for own, other in zip(sides[::2], sides[1::2], strict=True)
    ]


_Side = tuple[Subject, LabelerAnswer]


def _judgment(
    labeler: str, rubric: Rubric, admission: Admission, own: _Side, other: _Side, generation: int
) -> Judgment:
    (document, own_answer), (other_text, other_answer) = own, other
    is_scored = own_answer.value is not None and other_answer.value is not None
    own_value, other_value = own_answer.value or 0.0, other_answer.value or 0.0
    total = own_value + other_value
    share = own_value / total if total > 0 else 0.5
    return Judgment(
        judgment_id=content_key(document.subject_id, EXTRACTION_RUBRIC, admission.admission_id),
        subject_id=document.subject_id,
        labeler=labeler,
        rubric=EXTRACTION_RUBRIC,
        method=admission.method,
        status="scored" if is_scored else "unscored",
        reason=own_answer.reason or other_answer.reason,
        value=share if is_scored else 0.0,
        detail=rubric.id,
        num_tokens=own_answer.num_tokens + other_answer.num_tokens,
        generation=generation,
        mode="pairwise",
        verdict=("own" if share >= 0.5 else "other") if is_scored else "",
        labels=("own", "other") if is_scored else (),
        distribution=(share, 1 - share) if is_scored else (),
        subject_hashes=(content_key(document.text), content_key(other_text.text)),
        rubric_digest=rubric.digest,
        template_digest=rubric.template_digest("pointwise", admission.method),
        raw=json.dumps([own_answer.value, other_answer.value]),
    )
