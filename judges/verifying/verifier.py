"""What can be executed is not judged but executed: examples of documents, and completions of
prompts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from infra.records import Document, Judgment, Sample, content_key
from judges.verifying.arithmetic import Equation, evaluate, find_equations, is_stated_right
from judges.verifying.examples import Verified, verify_examples
from judges.verifying.sandbox import Sandbox

LABELER = "verifier/cpython-3.12-wasm"
EXAMPLE_RUBRIC = "executed_example"
DOCUMENT_RUBRIC = "executed_examples"
EQUATION_RUBRIC = "stated_equation"
MAX_OUTPUT_CHARS = 80
MAX_CONTEXT = 3
QUESTION = "What does the last statement of this Python session print?\n\n"


@dataclass(frozen=True)
class VerifiedDocument:
    """Judgments on a document's examples and the demonstrations that the right ones make."""

    judgments: list[Judgment]
    demonstrations: list[Sample]


def verified_row(
    subject_id: str,
    rubric: str,
    is_right: bool | None,
    hashes: tuple[str, ...],
    generation: int,
    *,
    judgment_id: str = "",
    reason: str = "",
    way: str = "executed",
    detail: str = "",
    raw: str = "",
) -> Judgment:
    """The verifier's row on one subject: right, wrong, or None with the reason why neither can be
    said.
    """
    scored = is_right is not None
    return Judgment(
        judgment_id=judgment_id or content_key(subject_id, rubric, LABELER),
        subject_id=subject_id,
        labeler=LABELER,
        rubric=rubric,
        way=way,
        status="scored" if scored else "unscored",
        reason="" if scored else reason,
        value=float(is_right or 0),
        detail=detail,
        num_tokens=0,
        generation=generation,
        verdict="" if not scored else "right" if is_right else "wrong",
        labels=("right", "wrong") if scored else (),
        distribution=() if not scored else (1.0, 0.0) if is_right else (0.0, 1.0),
        subject_hashes=hashes,
        raw=raw,
    )


def _judgment(document: Document, generation: int, item: Verified) -> Judgment:
    detail = {
        "document": document.document_id,
        "number": item.example.number,
        "source": item.example.source[:200],
    }
    return verified_row(
        content_key(document.document_id, item.example.number),
        EXAMPLE_RUBRIC,
        None if item.label == "unverifiable" else item.label == "right",
        (content_key(item.example.source), content_key(item.example.want)),
        generation,
        reason=item.reason,
        detail=json.dumps(detail),
        raw=item.output,
    )


def _summary(document: Document, generation: int, items: Sequence[Verified]) -> Judgment:
    scored = [item for item in items if item.label != "unverifiable"]
    return Judgment(
        judgment_id=content_key(document.document_id, DOCUMENT_RUBRIC, LABELER),
        subject_id=document.document_id,
        labeler=LABELER,
        rubric=DOCUMENT_RUBRIC,
        way="executed",
        status="scored" if scored else "unscored",
        reason="" if scored else ("nothing verifiable" if items else "no examples"),
        value=sum(item.label == "right" for item in scored) / max(len(scored), 1),
        detail="",
        num_tokens=0,
        generation=generation,
    )


def demonstration(
    document: Document, items: Sequence[Verified], index: int, generation: int
) -> Sample | None:
    """The question what an example prints, answered by its executed output; None where it makes no
    question.

    The statements just before it that print nothing (imports, assignments) are shown with it.
    """
    item = items[index]
    output = item.output.strip()
    if (
        item.label != "right"
        or not output
        or len(output) > MAX_OUTPUT_CHARS
        or "\n" in output
        or "'''" in output
    ):
        return None
    shown = [item.example.source]
    for earlier in reversed(items[max(0, index - MAX_CONTEXT) : index]):
        if earlier.label == "unverifiable" or earlier.output.strip():
            break
        shown.insert(0, earlier.example.source)
    session = "".join(
        (">>> " if i == 0 else "... ") + line + "\n"
        for source in shown
        for i, line in enumerate(source.splitlines())
    )
    prompt = QUESTION + session.rstrip("\n")
    if len(prompt) > 500:
        return None
    return Sample(
        sample_id=content_key(document.document_id, "demonstration", prompt),
        document_id=document.document_id,
        kind="demonstration",
        prompt=prompt,
        completion=output,
        origin="web",
        generation=generation,
        source_start=item.example.position,
        source_end=-1,
        check="output",
    )


def _stated(
    document: Document, generation: int, equation: Equation, value: Fraction | None
) -> Judgment:
    """A row on one equation of a page."""
    return verified_row(
        content_key(document.document_id, equation.position),
        EQUATION_RUBRIC,
        None if value is None else is_stated_right(equation.stated, value),
        (content_key(equation.expression), content_key(equation.stated)),
        generation,
        reason="no arithmetic",
        detail=json.dumps({"document": document.document_id, "equation": equation.expression}),
        raw=str(value),
    )


def _asked(document: Document, generation: int, equation: Equation) -> Sample:
    """The demonstration that an equation makes."""
    return Sample(
        sample_id=content_key(document.document_id, "equation", equation.expression),
        document_id=document.document_id,
        kind="demonstration",
        prompt=f"What is {equation.expression}?",
        completion=equation.stated,
        origin="web",
        generation=generation,
        source_start=equation.position,
        source_end=-1,
        check="math",
    )


def verify_equations(document: Document, generation: int, sandbox: Sandbox) -> VerifiedDocument:
    """Execute the equations that a document states outside of its code; the right ones become
    demonstrations.
    """
    found = find_equations(
        "\n".join(line for line in document.text.splitlines() if ">>>" not in line)
    )
    values = evaluate([e.expression for e in found], sandbox)
    judgments = [
        _stated(document, generation, e, value) for e, value in zip(found, values, strict=True)
    ]
    right = [e for e, judgment in zip(found, judgments, strict=True) if judgment.value == 1.0]
    return VerifiedDocument(judgments, [_asked(document, generation, e) for e in right])


def verify_document(document: Document, generation: int, sandbox: Sandbox) -> VerifiedDocument:
    """Execute a document's examples and equations; label each, and make demonstrations of the right
    ones.
    """
    items = verify_examples(document.text, document.title, sandbox)
    judgments = [_judgment(document, generation, item) for item in items]
    judgments.append(_summary(document, generation, items))
    samples = [demonstration(document, items, i, generation) for i in range(len(items))]
    stated = verify_equations(document, generation, sandbox)
    executed = [sample for sample in samples if sample is not None]
    return VerifiedDocument(judgments + stated.judgments, executed + stated.demonstrations)
