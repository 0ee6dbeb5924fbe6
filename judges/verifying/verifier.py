"""The verifier: executes the examples and equations of documents and turns right ones into
samples.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from infra.records import Document, Judgment, Sample, content_key
from judges.verifying.arithmetic import Equation, exact_value, find_equations, is_stated_right
from judges.verifying.examples import VerifiedExample, verify_examples
from judges.verifying.sandbox import Sandbox
from judges.verifying.sessions import NOT_REPRODUCED

VERIFIER_NAME = "verifier/cpython-3.12-wasm"
EXAMPLE_RUBRIC = "executed_example"
DOCUMENT_RUBRIC = "executed_examples"
EQUATION_RUBRIC = "stated_equation"
MAX_OUTPUT_CHARS = 80
NO_OUTPUT, LONG_OUTPUT = "example prints nothing", "example prints more than a short line"
QUESTION = "What does the last statement of this Python session print?\n\n"


@dataclass(frozen=True)
class VerifiedDocument:
    """Judgments on a document's examples and equations, the demonstrations made from right ones,
    and (reason, subject) of those that ran and make none.
    """

    judgments: list[Judgment]
    demonstrations: list[Sample]
    drops: tuple[tuple[str, str], ...] = ()


def verifier_judgment(
    subject_id: str,
    rubric: str,
    is_right: bool | None,
    hashes: tuple[str, ...],
    generation: int,
    *,
    judgment_id: str = "",
    reason: str = "",
    method: str = "executed",
    detail: str = "",
    raw: str = "",
) -> Judgment:
    """Return the verifier's judgment on one subject: right, wrong, or unscored with a reason
    (None).
    """
    scored = is_right is not None
    return Judgment(
        judgment_id=judgment_id or content_key(subject_id, rubric, VERIFIER_NAME),
        subject_id=subject_id,
        labeler=VERIFIER_NAME,
        rubric=rubric,
        method=method,
        status="scored" if scored else "unscored",
        reason="" if scored else reason,
        value=float(is_right or 0),
        detail=detail,
        num_tokens=0,
        generation=generation,
        verdict=("right" if is_right else "wrong") if scored else "",
        labels=("right", "wrong") if scored else (),
        distribution=((1.0, 0.0) if is_right else (0.0, 1.0)) if scored else (),
        subject_hashes=hashes,
        raw=raw,
    )


def _example_id(document: Document, item: VerifiedExample) -> str:
    return content_key(document.document_id, item.example.number)


def _judgment(document: Document, generation: int, item: VerifiedExample) -> Judgment:
    detail = {
        "document": document.document_id,
        "number": item.example.number,
        "source": item.example.source[:200],
    }
    return verifier_judgment(
        _example_id(document, item),
        EXAMPLE_RUBRIC,
        None if item.label == "unverifiable" else item.label == "right",
        (content_key(item.example.source), content_key(item.example.want)),
        generation,
        reason=item.reason,
        detail=json.dumps(detail),
        raw=item.output,
    )


def _summary(document: Document, generation: int, items: Sequence[VerifiedExample]) -> Judgment:
    scored = [item for item in items if item.label != "unverifiable"]
    return Judgment(
        judgment_id=content_key(document.document_id, DOCUMENT_RUBRIC, VERIFIER_NAME),
        subject_id=document.document_id,
        labeler=VERIFIER_NAME,
        rubric=DOCUMENT_RUBRIC,
        method="executed",
        status="scored" if scored else "unscored",
        reason="" if scored else ("nothing verifiable" if items else "no examples"),
        value=sum(item.label == "right" for item in scored) / max(len(scored), 1),
        detail="",
        num_tokens=0,
        generation=generation,
    )


def demonstration(document: Document, item: VerifiedExample, generation: int) -> Sample | None:
    """Return a sample that asks what an example prints, or None if the example is not suitable.

    The prompt is a session that reproduces the output, with all that it needs.
    """
    output = item.output.strip()
    if item.session is None or not _is_short_line(output):
        return None
    prompt = QUESTION + item.session.shown()
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


def _is_short_line(output: str) -> bool:
    if not output or len(output) > MAX_OUTPUT_CHARS:
        return False
    return "\n" not in output and "'''" not in output


def _equation_judgment(
    document: Document, generation: int, equation: Equation, value: Fraction | None
) -> Judgment:
    """Return the judgment on one equation of a page."""
    return verifier_judgment(
        content_key(document.document_id, equation.position),
        EQUATION_RUBRIC,
        None if value is None else is_stated_right(equation.stated, value),
        (content_key(equation.expression), content_key(equation.stated)),
        generation,
        reason="no arithmetic",
        detail=json.dumps({"document": document.document_id, "equation": equation.expression}),
        raw=str(value),
    )


def _equation_sample(document: Document, generation: int, equation: Equation) -> Sample:
    """Return the demonstration that asks for an equation's value."""
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


def verify_equations(document: Document, generation: int) -> VerifiedDocument:
    """Evaluate the equations of a document outside of code; right ones become demonstrations."""
    prose = "\n".join(line for line in document.text.splitlines() if ">>>" not in line)
    equations = find_equations(prose)
    values = [exact_value(e.expression) for e in equations]
    judgments = [
        _equation_judgment(document, generation, e, value)
        for e, value in zip(equations, values, strict=True)
    ]
    right = [e for e, judgment in zip(equations, judgments, strict=True) if judgment.value == 1.0]
    return VerifiedDocument(judgments, [_equation_sample(document, generation, e) for e in right])


def verify_document(document: Document, generation: int, sandbox: Sandbox) -> VerifiedDocument:
    """Execute a document's examples and equations, label them, and make demonstrations of right
    ones.
    """
    items = verify_examples(document.text, document.title, sandbox)
    judgments = [_judgment(document, generation, item) for item in items]
    judgments.append(_summary(document, generation, items))
    samples = [demonstration(document, item, generation) for item in items]
    executed = [sample for sample in samples if sample is not None]
    drops = [
        (reason, _example_id(document, item))
        for item, sample in zip(items, samples, strict=True)
        if sample is None and (reason := _drop_reason(item))
    ]
    equations = verify_equations(document, generation)
    return VerifiedDocument(
        judgments + equations.judgments, executed + equations.demonstrations, tuple(drops)
    )


def _drop_reason(item: VerifiedExample) -> str:
    """Return why an example that ran makes no demonstration; "" if it did not run."""
    if item.label == "right":
        return LONG_OUTPUT if item.output.strip() else NO_OUTPUT
    return f"example {item.reason}" if item.reason == NOT_REPRODUCED else ""
