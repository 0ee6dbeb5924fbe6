"""One generation's labeling: calibrate, judge passages, execute examples, write instructions, rank completions.

Every step first asks the store what is already done and commits in chunks, so that a killed run
repeats at most one chunk and stores no row twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from infra.console import note, progress, warn
from infra.language_model import CompletedText
from infra.records import Admission, Completion, Document, Preference, Sample, content_key, unit_hash
from infra.store import Store
from judges.cache import CachedJudge
from judges.calibration import calibrate
from judges.config import JudgeConfig
from judges.extractions import EXTRACTION_RUBRIC, WORSE_TEXT, compare_extractions
from judges.instructions import Written, write_questions
from judges.judging import Batch, pointwise_rows
from judges.passages import choose_passages, mean_ranks, select_passages
from judges.preferences import executed_judgments, executed_preference, known_pair
from judges.preferring import Contests, groups_of, preferences_from
from judges.protocol import Judge
from judges.rubrics import Rubric, load_rubric
from judges.sentinels import WatchedJudge, least_accuracies
from judges.verifier import DOCUMENT_RUBRIC, VerifiedDocument
from judges.ways import Subject

Item = TypeVar("Item")
HELD_OUT = "overlaps with held-out text"


class Verifier(Protocol):
    """Executes the examples of documents."""

    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        """One result a document, in order."""
        ...


class Champion(Protocol):
    """The model that completes prompts."""

    digest: str

    def complete(
        self, instructions: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """One completion an instruction."""
        ...


class HeldOut(Protocol):
    """Knows the texts that nothing may be learned from."""

    def overlapping(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it shares a longer run of words with a held-out one."""
        ...


@dataclass(frozen=True)
class LabelBudget:
    """What a generation may spend on labels."""

    label_tokens: int
    num_prompts: int
    num_instructions: int


@dataclass(frozen=True)
class Labeling:
    """The parts that one generation's labeling works with."""

    store: Store
    config: JudgeConfig
    budget: LabelBudget
    generation: int
    seed: int
    judge: Judge
    verifier: Verifier
    champion: Champion
    held_out: HeldOut
    older: Champion | None = None

    def run(self) -> None:
        """All steps in order."""
        admissions = self.admissions()
        watched = replace(self, judge=self.watched_judge(admissions))
        watched.settle_extractions(admissions)
        watched.judge_passages(admissions)
        watched.execute_examples()
        watched.write_instructions(admissions)
        watched.complete_prompts()
        watched.prefer(admissions)

    def watched_judge(self, admissions: dict[str, Admission]) -> Judge:
        """The labeler with sentinels in its batches, and asked nothing twice."""
        tested = self.store.tested_probes(self.judge.name)
        watched = WatchedJudge(self.judge, least_accuracies(tested, admissions))
        if self.config.kind == "scripted":  # it answers by an item's name, and a cache goes by its text
            return watched
        return CachedJudge(watched, self.store)

    def admissions(self) -> dict[str, Admission]:
        """Rubric id to admission; measured once a run for each labeler and rubric."""
        known = {a.rubric: a for a in self.store.admissions(self.judge.name)}
        missing = [r for r in map(load_rubric, self.config.rubric_names()) if r.id not in known]
        with progress("measuring the labeler", total=len(missing) * len(self.judge.ways)) as advance:
            for rubric in missing:
                results, admission = calibrate(self.judge, rubric, self.config.num_probe_items, advance)
                self.store.add_datasheet(results, [admission])
                known[rubric.id] = admission
        for admission in known.values():
            if admission.admitted:
                note(f"{admission.rubric}: admitted, asking by {admission.way} ({admission.reason})")
            else:
                warn(f"{admission.rubric}: NOT admitted, no better than chance ({admission.reason})")
        return known

    def settle_extractions(self, admissions: dict[str, Admission]) -> None:
        """Compare the texts of pages that two extractors read very differently; drop those that lose."""
        rubrics = [load_rubric(name) for name in self.config.passage_rubrics]
        admitted = [rubric for rubric in rubrics if admissions[rubric.id].admitted]
        disputes = self.store.disputed_documents("train", EXTRACTION_RUBRIC)
        if not admitted or not disputes:
            return
        rubric, admission = admitted[0], admissions[admitted[0].id]
        with progress(f"comparing extractions by {rubric.id}", total=len(disputes)) as advance:
            for chunk in self._chunks(disputes):
                self.store.add_judgments(compare_extractions(
                    self.judge, rubric, admission, chunk, self.config.passage_chars, self.generation
                ))  # fmt: skip
                advance(len(chunk))
        dropped = self.store.set_aside_disputed(EXTRACTION_RUBRIC, WORSE_TEXT, self.generation)
        note(f"{dropped:,} of {len(disputes):,} pages with two very different texts are set aside")

    def judge_passages(self, admissions: dict[str, Admission]) -> None:
        """Choose passages of documents that have none yet, and judge them by every admitted rubric."""
        samples = self.store.samples(self.generation, "passage")
        if not samples:
            count = self.budget.label_tokens * 3 // self.config.passage_chars + 1
            documents = self.store.documents_without_samples("train", count)
            samples = choose_passages(
                documents, self.config.passage_chars, self.budget.label_tokens, self.generation, str(self.seed)
            )
            self.store.add_samples(samples)
        for name in self.config.passage_rubrics:
            rubric = load_rubric(name)
            admission = admissions[rubric.id]
            if not admission.admitted:
                continue
            done = {j.subject_id for j in self.store.judgments(self.generation, rubric.id)}
            todo = [s for s in samples if s.sample_id not in done]
            with progress(f"judging passages by {rubric.id}", total=len(todo)) as advance:
                subjects = [Subject(s.sample_id, s.prompt, s.completion) for s in todo]
                for part in self._batch(rubric, admission, subjects).parts(self.config.chunk_size):
                    self.store.add_judgments(self.judge.judge(part))
                    advance(part.num_items)

    def execute_examples(self) -> None:
        """Run the `>>>` examples of train documents that were not run before."""
        documents = self.store.unlabeled_documents("train", DOCUMENT_RUBRIC)
        with progress("executing examples", total=len(documents)) as advance:
            for chunk in self._chunks(documents):
                results = self.verifier.verify(chunk, self.generation)
                self.store.add_samples([s for result in results for s in result.demonstrations])
                self.store.add_judgments([j for result in results for j in result.judgments])
                advance(len(chunk))

    def write_instructions(self, admissions: dict[str, Admission]) -> None:
        """The labeler writes the question that a good passage answers; the fit is judged before it is used.

        A resumed run writes the same questions again (the seed decides), which stores nothing twice.
        """
        rubric = load_rubric(self.config.answer_rubric)
        admission = admissions[rubric.id]
        if not admission.admitted or self.budget.num_instructions == 0:
            return
        ranked = ranked_passages(self.store, self.config, self.generation, self.budget.label_tokens)
        with progress("writing questions", total=self.budget.num_instructions) as advance:
            for chunk in self._chunks(ranked[: self.budget.num_instructions]):
                written = write_questions(self.judge, rubric, admission.way, chunk, self.seed)
                self._keep_questions(rubric, admission, written)
                advance(len(chunk))

    def _keep_questions(self, rubric: Rubric, admission: Admission, written: Sequence[Written]) -> None:
        """Store the questions that fit as demonstrations, the judgments on all, and why the others were dropped."""
        asked = [w for w in written if w.question]
        drops = [("no question written", w.passage.sample_id) for w in written if not w.question]
        drops += [("question does not fit its passage", w.passage.sample_id) for w in asked if not w.fits]
        samples = [self._instruction(w.passage, w.question) for w in asked]
        overlapping = self.held_out.overlapping([s.prompt for s in samples])
        drops += [(HELD_OUT, s.sample_id) for s, bad in zip(samples, overlapping, strict=True) if bad]
        fitting = zip(samples, asked, overlapping, strict=True)
        self.store.add_samples([s for s, w, is_held_out in fitting if w.fits and not is_held_out])
        self.store.note_drops(self.generation, "label", drops)
        batch = self._batch(rubric, admission, [Subject(s.sample_id, s.prompt, s.completion) for s in samples])
        self.store.add_judgments(pointwise_rows(self.judge.name, batch, [w.answer for w in asked]))

    def prompts(self) -> list[Sample]:
        """The demonstrations whose prompts the champion completes, a fixed choice by hash."""
        samples = self.store.samples(self.generation, "demonstration")
        samples.sort(key=lambda s: unit_hash(self.seed, s.sample_id))
        executed = [s for s in samples if s.origin == "web"][: self.budget.num_prompts]
        return executed + [s for s in samples if s.origin == "model"]

    def complete_prompts(self) -> None:
        """The champion completes each prompt several times, and the champion before it once more."""
        self._complete_by(self.champion, self.config.num_completions)
        if self.older is not None and self.config.older_completions:
            self._complete_by(self.older, self.config.older_completions)

    def _complete_by(self, model: Champion, number: int) -> None:
        done = {c.sample_id for c in self.store.completions(self.generation) if c.model_digest == model.digest}
        todo = [s for s in self.prompts() if s.sample_id not in done]
        with progress("completing prompts", total=len(todo)) as advance:
            for chunk in self._chunks(todo):
                repeated = [s for s in chunk for _ in range(number)]
                seed = int(content_key(self.seed, self.generation, chunk[0].sample_id)[:8], 16)
                texts = model.complete(
                    [s.prompt for s in repeated], self.config.completion_tokens, self.config.temperature, seed
                )
                self.store.add_completions([
                    self._completion(model.digest, sample, i % number, text)
                    for i, (sample, text) in enumerate(zip(repeated, texts, strict=True))
                ])  # fmt: skip
                advance(len(chunk))

    def prefer(self, admissions: dict[str, Admission]) -> None:
        """Make preferences of the completions: executed prompts by the verifier, others by an admitted judge."""
        completions = self.store.completions(self.generation)
        by_prompt: dict[str, list[Completion]] = {}
        for completion in completions:
            by_prompt.setdefault(completion.sample_id, []).append(completion)
        prompts = self.prompts()
        executed = [s for s in prompts if s.origin == "web"]
        found: dict[str, Preference | None] = {}
        for sample in executed:
            mine = by_prompt.get(sample.sample_id, [])
            self.store.add_judgments(executed_judgments(sample, mine, self.generation))
            found[sample.sample_id] = executed_preference(sample, mine, self.generation)
        admission = admissions[load_rubric(self.config.answer_rubric).id]
        if admission.admitted:
            others = [s for s in prompts if s.origin != "web"]
            found |= dict.fromkeys(s.sample_id for s in others) | self._judged(admission, others, completions)
        self._keep_preferences(found)
        self._ask_what_is_known([p for s in executed if (p := found[s.sample_id]) is not None], admissions)

    def _judged(
        self, admission: Admission, prompts: Sequence[Sample], completions: Sequence[Completion]
    ) -> dict[str, Preference]:
        """Prompt to preference by the labeler: asks about what teaches most, until the budget is spent."""
        groups = groups_of(prompts, completions, self.champion.digest, self.generation)
        rubric = load_rubric(self.config.answer_rubric)
        contests = Contests(self.judge, self.config, rubric, admission, self.seed, self.generation)
        rows = {j.subject_id: j for j in self.store.judgments(self.generation, rubric.id) if j.mode == contests.mode}
        with progress(f"comparing completions by {rubric.id}", total=contests.most_items(groups)) as advance:
            while (batch := contests.next_batch(groups, rows)) is not None:
                for part in batch.parts(self.config.chunk_size):
                    judged = self.judge.judge(part)
                    self.store.add_judgments(judged)
                    rows |= {j.subject_id: j for j in judged}
                    advance(part.num_items)
        return preferences_from(groups, rows, admission, self.config.min_margin, self.generation)

    def _keep_preferences(self, found: Mapping[str, Preference | None]) -> None:
        """Store preferences; none between completions, and held-out text among them, are drops with a reason."""
        made = {sample_id: p for sample_id, p in found.items() if p is not None}
        drops = [("no preference between completions", sample_id) for sample_id, p in found.items() if p is None]
        overlapping = self.held_out.overlapping([f"{p.chosen}\n{p.rejected}" for p in made.values()])
        kept = []
        for (sample_id, preference), is_held_out in zip(made.items(), overlapping, strict=True):
            if is_held_out:
                drops.append((HELD_OUT, sample_id))
            else:
                kept.append(preference)
        self.store.note_drops(self.generation, "label", drops)
        self.store.add_preferences(kept)

    def _ask_what_is_known(self, preferences: Sequence[Preference], admissions: dict[str, Admission]) -> None:
        """Ask the labeler about pairs that were executed: where it disagrees, it errs, and that is counted."""
        rubric = load_rubric(self.config.correctness_rubric)
        way = admissions[rubric.id].way
        done = {j.subject_id for j in self.store.judgments(self.generation, rubric.id)}
        pairs = [pair for pair in map(known_pair, preferences) if pair.pair_id not in done]
        with progress("asking about what was executed", total=len(pairs)) as advance:
            batch = Batch(rubric, "pairwise", way, pairs=pairs, seed=self.seed, generation=self.generation)
            for part in batch.parts(self.config.chunk_size):
                self.store.add_judgments(self.judge.judge(part))
                advance(part.num_items)
        clashes, number = self.store.clashes(self.generation)
        if number:
            note(f"{rubric.id}: the labeler errs on {clashes} of {number} pairs that were executed")

    def _chunks(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        size = self.config.chunk_size
        return [items[i : i + size] for i in range(0, len(items), size)]

    def _batch(self, rubric: Rubric, admission: Admission, subjects: Sequence[Subject]) -> Batch:
        return Batch(rubric, "pointwise", admission.way, subjects=subjects, seed=self.seed, generation=self.generation)

    def _instruction(self, passage: Sample, question: str) -> Sample:
        return Sample(
            sample_id=content_key(passage.sample_id, "instruction", question),
            document_id=passage.document_id,
            kind="demonstration",
            prompt=question,
            completion=passage.completion.strip(),
            origin="model",
            generation=self.generation,
            source_start=passage.source_start,
            source_end=passage.source_end,
        )

    def _completion(self, digest: str, sample: Sample, index: int, text: CompletedText) -> Completion:
        return Completion(
            completion_id=content_key(sample.sample_id, digest, self.generation, index),
            sample_id=sample.sample_id,
            model_digest=digest,
            index=index,
            text=text.text,
            num_tokens=text.num_tokens,
            generation=self.generation,
        )


def ranked_passages(store: Store, config: JudgeConfig, generation: int, budget_tokens: int) -> list[Sample]:
    """A generation's passages that may be learned from, best first: the kept share, within a token budget."""
    samples = store.samples(generation, "passage")
    judged = {name: store.judgments(generation, load_rubric(name).id) for name in config.passage_rubrics}
    ranks = mean_ranks({name: judgments for name, judgments in judged.items() if judgments})
    return select_passages(samples, ranks, config.keep_share, budget_tokens)
