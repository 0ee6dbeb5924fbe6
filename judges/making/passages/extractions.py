"""Pages of which two extractors made very different texts: the labeler says which one reads better.

A document whose other text reads better is set aside, because most of what differs then is
furniture of the page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from infra.records import Judgment, content_key
from infra.records.labeler import Admission
from judges.judgment.elicitation import Subject
from judges.judgment.protocol import Judge
from judges.rubrics import Rubric

EXTRACTION_RUBRIC = "extraction"
"""The rubric that these judgments are filed under; they are asked by the rubric that is named in
their detail."""
WORSE_TEXT = "another reading of the page is better"
Dispute = tuple[str, str, str]
"""(document_id, text, another extraction's text)"""


def compare_extractions(
    judge: Judge,
    rubric: Rubric,
    admission: Admission,
    disputes: Sequence[Dispute],
    max_chars: int,
    generation: int,
) -> list[Judgment]:
    """One judgment a dispute: the document's share of the two texts' values, so less than a half
    speaks against it.

    Both texts are judged by their first `max_chars` characters.
    """
    subjects = []
    for document_id, text, other in disputes:
        subjects.append(Subject(document_id, "", text[:max_chars]))
        subjects.append(Subject(content_key(document_id, "other"), "", other[:max_chars]))
    answers = judge.score(rubric, admission.way, subjects)
    judgments = []
    for i, (document_id, _, _) in enumerate(disputes):
        own, other_answer = answers[2 * i], answers[2 * i + 1]
        is_scored = own.value is not None and other_answer.value is not None
        total = (own.value or 0.0) + (other_answer.value or 0.0)
        share = (own.value or 0.0) / total if total > 0 else 0.5
        judgments.append(
            Judgment(
                judgment_id=content_key(document_id, EXTRACTION_RUBRIC, admission.admission_id),
                subject_id=document_id,
                labeler=judge.name,
                rubric=EXTRACTION_RUBRIC,
                way=admission.way,
                status="scored" if is_scored else "unscored",
                reason=own.reason or other_answer.reason,
                value=share if is_scored else 0.0,
                detail=rubric.id,
                num_tokens=own.num_tokens + other_answer.num_tokens,
                generation=generation,
                mode="pairwise",
                verdict=("own" if share >= 0.5 else "other") if is_scored else "",
                labels=("own", "other") if is_scored else (),
                distribution=(share, 1 - share) if is_scored else (),
                subject_hashes=(
                    content_key(subjects[2 * i].text),
                    content_key(subjects[2 * i + 1].text),
                ),
                rubric_digest=rubric.digest,
                template_digest=rubric.template_digest("pointwise", admission.way),
                raw=json.dumps([own.value, other_answer.value]),
            )
        )
    return judgments
