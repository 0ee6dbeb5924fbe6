"""Demonstrations: executed examples, questions that a passage answers, questions answered by words
of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.console import progress
from infra.records import Sample, content_key
from infra.records.labeler import Admission
from judges.judgment.elicitation import Subject
from judges.judgment.judging import pointwise_rows
from judges.making.context import HELD_OUT_REASON, Admissions, Parts
from judges.making.demonstrations.extractive import write_extractive
from judges.making.demonstrations.instructions import Written, write_questions
from judges.making.demonstrations.prompts import read_prompts
from judges.making.passages.passage_steps import selected_passages
from judges.rubrics import Rubric, load_rubric
from judges.verifying.verifier import DOCUMENT_RUBRIC


def execute_documents(parts: Parts) -> None:
    """Run the `>>>` examples and the equations of train documents that were not run before."""
    documents = parts.store.labels.unlabeled_documents("train", DOCUMENT_RUBRIC)
    with progress("executing examples", total=len(documents)) as advance:
        for chunk in parts.chunks(documents):
            results = parts.verifier.verify(chunk, parts.generation)
            parts.store.labels.add_samples(
                parts.learnable([s for result in results for s in result.demonstrations])
            )
            parts.store.labels.add_judgments([j for result in results for j in result.judgments])
            advance(len(chunk))


def _best_passages(parts: Parts) -> list[Sample]:
    passages = selected_passages(
        parts.store, parts.config, parts.generation, parts.budget.label_tokens, parts.seed
    )
    return passages[: parts.budget.num_instructions]


def write_instructions(parts: Parts, admissions: Admissions) -> None:
    """The labeler writes the question that a good passage answers; the fit is judged before it is
    used.

    A resumed run writes the same questions again (the seed decides), which stores nothing twice.
    """
    rubric = load_rubric(parts.config.answer_rubric)
    admission = admissions[rubric.id]
    if not admission.admitted or parts.budget.num_instructions == 0:
        return
    with progress("writing questions", total=parts.budget.num_instructions) as advance:
        for chunk in parts.chunks(_best_passages(parts)):
            written = write_questions(parts.judge, rubric, admission.way, chunk, parts.seed)
            _keep_questions(parts, rubric, admission, written)
            advance(len(chunk))


def _keep_questions(
    parts: Parts, rubric: Rubric, admission: Admission, written: Sequence[Written]
) -> None:
    """Store the questions that fit as demonstrations, the judgments on all, and why the others were
    dropped.
    """
    asked = [w for w in written if w.question]
    samples = [_instruction(w.passage, w.question, parts.generation) for w in asked]
    overlapping = [share > 0 for share in parts.held_out.shares([s.prompt for s in samples])]
    drops = [("no question written", w.passage.sample_id) for w in written if not w.question]
    drops += [
        ("question does not fit its passage", w.passage.sample_id) for w in asked if not w.fits
    ]
    drops += [
        (HELD_OUT_REASON, s.sample_id)
        for s, is_held_out in zip(samples, overlapping, strict=True)
        if is_held_out
    ]
    kept = zip(samples, asked, overlapping, strict=True)
    parts.store.labels.add_samples([s for s, w, is_held_out in kept if w.fits and not is_held_out])
    parts.store.run.note_drops(parts.generation, "label", drops)
    batch = parts.batch(
        rubric, admission, [Subject(s.sample_id, s.prompt, s.completion) for s in samples]
    )
    parts.store.labels.add_judgments(
        pointwise_rows(parts.judge.name, batch, [w.answer for w in asked])
    )


def _instruction(passage: Sample, question: str, generation: int) -> Sample:
    return Sample(
        sample_id=content_key(passage.sample_id, "instruction", question),
        document_id=passage.document_id,
        kind="demonstration",
        prompt=question,
        completion=passage.completion.strip(),
        origin="model",
        generation=generation,
        source_start=passage.source_start,
        source_end=passage.source_end,
    )


def write_extractive_questions(parts: Parts, admissions: Admissions) -> None:
    """Questions that words of the passage answer; kept where the labeler finds the same words
    again.

    Only an admitted labeler writes them, though what it writes is checked: a bad one mostly wastes
    its tokens.
    """
    if (
        not admissions[load_rubric(parts.config.answer_rubric).id].admitted
        or parts.budget.num_instructions == 0
    ):
        return
    passages = _best_passages(parts)
    with progress("writing questions with short answers", total=len(passages)) as advance:
        for chunk in parts.chunks(passages):
            parts.store.labels.add_samples(
                write_extractive(parts.judge, chunk, parts.seed, parts.generation)
            )
            advance(len(chunk))


def take_prompts(parts: Parts) -> None:
    """The user's own prompts, whose completions can be checked."""
    if parts.config.prompts:
        parts.store.labels.add_samples(read_prompts(Path(parts.config.prompts), parts.generation))
