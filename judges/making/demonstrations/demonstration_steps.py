"""The labeling steps for demonstrations: executed examples, questions about passages, and the
user's prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.console import progress
from infra.records import Sample, content_key
from infra.records.labeler import Admission
from judges.judgment.batches import pointwise_rows
from judges.judgment.elicitation import Subject
from judges.making.context import HELD_OUT_REASON, Admissions, LabelingContext
from judges.making.demonstrations.extractive import write_extractive
from judges.making.demonstrations.instructions import WrittenQuestion, write_questions
from judges.making.demonstrations.prompts import read_prompts
from judges.making.passages.passage_steps import selected_passages
from judges.rubrics import Rubric, load_rubric
from judges.verifying.verifier import DOCUMENT_RUBRIC


def execute_documents(context: LabelingContext) -> None:
    """Execute the `>>>` examples and equations of train documents that were not executed before."""
    documents = context.store.labels.unlabeled_documents("train", DOCUMENT_RUBRIC)
    with progress("executing examples", total=len(documents)) as advance:
        for chunk in context.chunks(documents):
            results = context.verifier.verify(chunk, context.generation)
            context.store.labels.add_samples(
                context.learnable([s for result in results for s in result.demonstrations])
            )
            drops = [drop for result in results for drop in result.drops]
            context.store.run.note_drops(context.generation, "label", drops)
            context.store.labels.add_judgments([j for result in results for j in result.judgments])
            advance(len(chunk))


def _best_passages(context: LabelingContext) -> list[Sample]:
    """Return the first selected passages, as many as instructions are wanted."""
    passages = selected_passages(
        context.store, context.config, context.generation, context.budget.label_tokens, context.seed
    )
    return passages[: context.budget.num_instructions]


def write_instructions(context: LabelingContext, admissions: Admissions) -> None:
    """The labeler writes a question that a selected passage answers; its fit is judged.

    A resumed run writes the same questions again because of the seed, so nothing is stored twice.
    """
    rubric = load_rubric(context.config.answer_rubric)
    admission = admissions[rubric.id]
    if not admission.admitted or context.budget.num_instructions == 0:
        return
    with progress("writing questions", total=context.budget.num_instructions) as advance:
        for chunk in context.chunks(_best_passages(context)):
            written = write_questions(context.judge, rubric, admission.method, chunk, context.seed)
            _keep_questions(context, rubric, admission, written)
            advance(len(chunk))


def _keep_questions(
    context: LabelingContext,
    rubric: Rubric,
    admission: Admission,
    written: Sequence[WrittenQuestion],
) -> None:
    """Store fitting questions as demonstrations, the judgments on all questions, and reasons for
    drops.
    """
    asked = [w for w in written if w.question]
    samples = [_instruction(w.passage, w.question, context.generation) for w in asked]
    is_held_out = [share > 0 for share in context.held_out.shares([s.prompt for s in samples])]
    drops = [("no question written", w.passage.sample_id) for w in written if not w.question]
    drops += [
        ("question does not fit its passage", w.passage.sample_id) for w in asked if not w.fits
    ]
    drops += [
        (HELD_OUT_REASON, s.sample_id)
        for s, held_out in zip(samples, is_held_out, strict=True)
        if held_out
    ]
    candidates = zip(samples, asked, is_held_out, strict=True)
    context.store.labels.add_samples(
        [s for s, w, held_out in candidates if w.fits and not held_out]
    )
    context.store.run.note_drops(context.generation, "label", drops)
    subjects = [Subject(s.sample_id, s.prompt, s.completion) for s in samples]
    batch = context.batch(rubric, admission, subjects)
    rows = pointwise_rows(context.judge.name, batch, [w.answer for w in asked])
    context.store.labels.add_judgments(rows)


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


def write_extractive_questions(context: LabelingContext, admissions: Admissions) -> None:
    """Write questions that are answered by words of the passage, kept if the labeler answers with
    the same words.

    Only an admitted labeler writes them. The result is checked anyway, but a bad labeler would
    waste tokens.
    """
    if (
        not admissions[load_rubric(context.config.answer_rubric).id].admitted
        or context.budget.num_instructions == 0
    ):
        return
    passages = _best_passages(context)
    with progress("writing questions with short answers", total=len(passages)) as advance:
        for chunk in context.chunks(passages):
            context.store.labels.add_samples(
                write_extractive(context.judge, chunk, context.seed, context.generation)
            )
            advance(len(chunk))


def take_prompts(context: LabelingContext) -> None:
    """Store the user's own prompts, whose completions can be checked."""
    if context.config.prompts:
        context.store.labels.add_samples(
            read_prompts(Path(context.config.prompts), context.generation)
        )
