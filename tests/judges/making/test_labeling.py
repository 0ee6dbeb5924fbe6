"""One generation's labeling without Ray: a scripted labeler, the real sandbox, a real tiny
champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from crawlers.config import CrawlConfig
from infra.models.language_model import CompletedText, LanguageModel
from infra.models.text_size import estimated_tokens
from infra.records import Document, Sample
from infra.store import Store
from infra.store.tables.crawl import CrawlRows
from judges.config import JudgeConfig, ScriptedConfig, SelectionConfig
from judges.judgment.answers import LabelerAnswer
from judges.labelers.scripted import ScriptedJudge
from judges.making.context import HELD_OUT_REASON, LabelBudget
from judges.making.demonstrations.instructions import (
    TRIES_PER_PASSAGE,
    instruction_request,
    read_question,
    write_questions,
)
from judges.making.demonstrations.wordings import wording
from judges.making.labeling import Labeling
from judges.making.passages.extractions import WORSE_TEXT
from judges.making.passages.passage_steps import (
    random_passages,
    selected_passages,
    settle_extractions,
)
from judges.rubrics import load_rubric
from judges.verifying.checks import Claim, verify_claims
from judges.verifying.sandbox import Sandbox
from judges.verifying.verifier import VerifiedDocument, verify_document
from tests.infra.support.store_rows import add_documents
from tests.judges.making.passages.test_samples import sample


@cache
def sandbox() -> Sandbox:
    return Sandbox()


@cache
def verified(document: Document) -> VerifiedDocument:
    """Executed once a session: the tests below label the same documents again and again."""
    return verify_document(document, 1, sandbox())


class SandboxVerifier:
    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        return [verified(document) for document in documents]

    def check(self, claims: Sequence[Claim]) -> list[bool]:
        return verify_claims(claims)


@dataclass
class TinyChampion:
    model: LanguageModel
    digest: str = "tiny"

    def complete(
        self, instructions: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        return self.model.complete(instructions, max_new_tokens, temperature, seed)

    def surprise(self, samples: Sequence[Sample]) -> list[float]:
        return self.model.bits_per_byte([s.completion for s in samples])


class Nothing:
    def shares(self, texts: Sequence[str]) -> list[float]:
        return [0.0] * len(texts)


class Interrupted(ScriptedJudge):
    """Is killed after a number of calls."""

    calls_left = 10**9

    def score(self, *arguments):
        if self.calls_left == 0:
            raise KeyboardInterrupt
        self.calls_left -= 1
        return super().score(*arguments)


@pytest.fixture
def labeling(store: Store, tiny_folder: Path) -> Labeling:
    text = "A line of a page that explains something about widgets.\n" * 12 + "\n>>> 6 * 7\n42\n"
    pools = ["train"] * 6 + ["gate"] * 3
    add_documents(
        store,
        [
            Document(f"d{i}", "p", f"u{i}", "t", f"{i} {text}", "en", "x", pool, 1)
            for i, pool in enumerate(pools)
        ],
    )
    config = JudgeConfig(
        kind="scripted",
        chunk_size=2,
        num_completions=2,
        completion_tokens=4,
        passage_chars=300,
        scripted=ScriptedConfig(accuracy=1.0),
    )
    return Labeling(
        store=store,
        config=config,
        budget=LabelBudget(600, 3, 8),
        generation=1,
        seed=0,
        judge=Interrupted(config.scripted),
        verifier=SandboxVerifier(),
        champion=TinyChampion(LanguageModel(tiny_folder)),
        held_out=Nothing(),
    )


def contents(store: Store) -> dict[str, object]:
    samples = store.labels.samples(1, "passage") + store.labels.samples(1, "demonstration")
    return {
        "samples": sorted(s.sample_id for s in samples),
        "judgments": sorted(
            j.judgment_id
            for r in ("coherence", "informative")
            for j in store.labels.judgments(1, r)
        ),
        "completions": [(c.completion_id, c.text) for c in store.labels.completions(1)],
        "preferences": [p.preference_id for p in store.labels.preferences(1)],
    }


def test_everything_is_made_from_train_documents_only(labeling: Labeling) -> None:
    labeling.run()
    store = labeling.store
    made = store.labels.samples(1, "passage") + store.labels.samples(1, "demonstration")
    assert {s.document_id for s in made} == {f"d{i}" for i in range(6)}
    assert {
        s.completion for s in store.labels.samples(1, "demonstration") if s.origin == "web"
    } == {"42"}
    preferences = store.labels.preferences(1)
    assert preferences
    assert {p.chosen for p in preferences if p.labeler.startswith("verifier")} == {"42"}
    assert (
        0
        < len(selected_passages(store, labeling.config, 1, 10_000, 0))
        < len(store.labels.samples(1, "passage")) + 1
    )


def test_a_second_run_changes_nothing(labeling: Labeling) -> None:
    labeling.run()
    once = contents(labeling.store)
    labeling.run()
    assert contents(labeling.store) == once


@pytest.mark.parametrize("calls", [1, 3, 5, 7, 9, 11])
def test_killed_anywhere_it_goes_on_and_ends_the_same(labeling: Labeling, calls: int) -> None:
    other = Store(":memory:")
    add_documents(other, labeling.store.crawl.documents("train"))
    replace(labeling, store=other, judge=Interrupted(labeling.config.scripted)).run()
    judge = labeling.judge
    assert isinstance(judge, Interrupted)
    judge.calls_left = calls
    with pytest.raises(KeyboardInterrupt):
        labeling.run()
    judge.calls_left = 10**9
    labeling.run()
    assert contents(labeling.store) == contents(other)
    other.close()


def test_a_labeler_that_is_not_admitted_labels_nothing(labeling: Labeling) -> None:
    blind = replace(labeling, judge=ScriptedJudge(ScriptedConfig(accuracy=0.0)))
    blind.run()
    assert not any(a.admitted for a in blind.store.labelers.admissions(blind.judge.name))
    assert blind.store.labels.judgments(1, "coherence") == []
    assert all(p.labeler.startswith("verifier") for p in blind.store.labels.preferences(1)), (
        "executed labels remain"
    )


def test_without_values_and_labels_passages_are_drawn_as_for_the_control(
    labeling: Labeling,
) -> None:
    blind = replace(labeling, judge=ScriptedJudge(ScriptedConfig(accuracy=0.0)))
    blind.run()
    budget = 3 * estimated_tokens("x" * blind.config.passage_chars)
    picked = selected_passages(blind.store, blind.config, 1, budget, 0)
    assert picked
    assert picked == random_passages(blind.store, blind.config, 1, budget, 0)


@dataclass
class Tuned(TinyChampion):
    """Predicts pages with an even number better than the champion does."""

    digest: str = "tuned"
    calls_left: int = 10**9

    def surprise(self, samples: Sequence[Sample]) -> list[float]:
        if self.calls_left == 0:
            raise KeyboardInterrupt
        self.calls_left -= 1
        bits = super().surprise(samples)
        return [b - 0.5 * is_even(s.completion) for b, s in zip(bits, samples, strict=True)]


def is_even(text: str) -> bool:
    return text[:1] in ("0", "2", "4")


def valued(labeling: Labeling, **options: object) -> Labeling:
    """The labeling with a tuned champion, and passages that begin with their page's number."""
    champion = labeling.champion
    assert isinstance(champion, TinyChampion)
    selection = SelectionConfig(temperature=0.01, keep_share=1.0, max_domain_share=1.0)
    config = labeling.config.model_copy(update={"selection": selection, "passage_chars": 1000})
    return replace(labeling, tuned=Tuned(champion.model), config=config, **options)


@pytest.mark.parametrize("sampled", [0, 2])
def test_passages_are_picked_by_their_value_also_those_that_were_not_judged(
    labeling: Labeling, sampled: int
) -> None:
    one = valued(labeling, budget=LabelBudget(500, 3, 0))
    one = replace(one, config=one.config.model_copy(update={"sampled_passages": sampled}))
    one.run()
    store = one.store
    passages = store.labels.samples(1, "passage")
    judged = {j.subject_id for j in store.labels.judgments(1, "coherence")}
    assert len(judged) == sampled < len(passages) == 6
    budget = 3 * max(estimated_tokens(s.completion) for s in passages)
    picked = selected_passages(store, one.config, 1, budget, 0)
    assert sorted(s.completion[0] for s in picked) == ["0", "2", "4"]
    assert {s.sample_id for s in picked} - judged, "some of them were not judged"
    by_labels = SelectionConfig(by="labels", keep_share=1.0)
    config = one.config.model_copy(update={"selection": by_labels})
    labeled = judged or {s.sample_id for s in passages}  # without labels all may be drawn
    assert {s.sample_id for s in selected_passages(store, config, 1, 10_000, 0)} <= labeled


def test_the_control_is_drawn_from_all_passages_with_a_value(labeling: Labeling) -> None:
    one = valued(labeling)
    one.run()
    drawn = {
        s.sample_id
        for seed in range(20)
        for s in random_passages(one.store, one.config, 1, 10_000, seed)
    }
    assert drawn == {s.sample_id for s in one.store.labels.samples(1, "passage")}


def test_killed_while_passages_are_valued_it_goes_on_and_ends_the_same(labeling: Labeling) -> None:
    other = Store(":memory:")
    add_documents(other, labeling.store.crawl.documents("train"))
    whole = valued(labeling, store=other)
    whole.run()
    one = valued(labeling)
    assert isinstance(one.tuned, Tuned)
    one.tuned.calls_left = 1
    with pytest.raises(KeyboardInterrupt):
        one.run()
    assert 0 < len(one.store.labelers.tuned_bits(1)) < 6
    one.tuned.calls_left = 10**9
    one.run()
    assert one.store.labelers.tuned_bits(1) == other.labelers.tuned_bits(1)
    assert contents(one.store) == contents(other)
    other.close()


def test_without_development_texts_passages_are_ranked_by_labels(labeling: Labeling) -> None:
    labeling.run()
    store = labeling.store
    judged = {j.subject_id for j in store.labels.judgments(1, "coherence")}
    assert {s.sample_id for s in store.labels.samples(1, "passage")} == judged
    assert selected_passages(store, labeling.config, 1, 10_000, 0)


def test_text_like_held_out_text_becomes_no_question_and_no_preference(labeling: Labeling) -> None:
    class ALittle:
        def shares(self, texts: Sequence[str]) -> list[float]:
            return [0.1] * len(texts)

    replace(labeling, held_out=ALittle()).run()
    store = labeling.store
    assert store.labels.samples(1, "passage"), "a passage may share a little"
    assert store.labels.preferences(1) == []
    assert all(s.origin == "web" for s in store.labels.samples(1, "demonstration"))
    assert (
        dict(store.database.rows("SELECT reason, count(*) FROM dropped GROUP BY 1"))[
            HELD_OUT_REASON
        ]
        > 0
    )


def test_a_passage_of_held_out_text_is_not_learned_from(labeling: Labeling) -> None:
    held: set[str] = set()

    class Some:
        """Every other text that it is first asked about is held out."""

        def shares(self, texts: Sequence[str]) -> list[float]:
            if not held:
                held.update(texts[::2])
            return [float(text in held) for text in texts]

    replace(labeling, held_out=Some()).run()
    store = labeling.store
    passages = store.labels.samples(1, "passage")
    assert passages
    assert held
    assert not held & {s.completion for s in passages}
    dropped = store.database.rows(
        "SELECT count(*) FROM dropped WHERE reason = ?", [HELD_OUT_REASON]
    )
    assert dropped[0][0] >= len(held)


def test_the_model_before_completes_too_and_its_text_may_only_be_rejected(
    labeling: Labeling, tiny_folder: Path
) -> None:
    replace(labeling, older=TinyChampion(LanguageModel(tiny_folder), "older")).run()
    store = labeling.store
    models = [c.model_digest for c in store.labels.completions(1)]
    assert models.count("older") * 2 == models.count("tiny") > 0
    own = {c.text for c in store.labels.completions(1) if c.model_digest == "tiny"}
    judged = [p for p in store.labels.preferences(1) if not p.labeler.startswith("verifier")]
    assert all(p.chosen in own for p in judged)


def test_a_labeler_that_errs_on_what_was_executed_is_found_out(labeling: Labeling) -> None:
    labeling.run()
    assert labeling.store.labelers.clashes(1)[0] == 0 < labeling.store.labelers.clashes(1)[1]
    other = Store(":memory:")
    add_documents(other, labeling.store.crawl.documents("train"))
    replace(labeling, store=other, judge=ScriptedJudge(ScriptedConfig(accuracy=0.0))).run()
    assert other.labelers.clashes(1)[0] == other.labelers.clashes(1)[1] > 0
    other.close()


def test_questions_must_be_questions_of_their_own() -> None:
    passage = "A hash table stores values under keys."
    assert (
        read_question(CompletedText("What does it do there?\nText:", 5, True), passage) is None
    ), "no shared word"
    assert read_question(
        CompletedText(" What does a hash table of values do?\nText:", 5, True), passage
    )
    assert read_question(CompletedText("Values are stored.", 5, True), passage) is None
    assert read_question(CompletedText(wording(passage).questions[0][1], 5, True), passage) is None
    assert instruction_request(passage).endswith("keys.\nQuestion:")


CHINESE = "长江全长约6300公里，是亚洲最长的河流，发源于青藏高原。"
GERMAN = "Die Donau ist 2850 Kilometer lang und mündet in das Schwarze Meer."
RUSSIAN = "Волга впадает в Каспийское море и имеет длину 3530 километров."


@pytest.mark.parametrize(
    ("passage", "asked", "mark"),
    [
        (CHINESE, "长江有多长？", "问题:"),
        (GERMAN, "Wie lang ist die Donau?", "Frage:"),
        (RUSSIAN, "Куда впадает Волга?", "Question:"),
        ("يبلغ طول نهر النيل 6650 كيلومترا.", "كم يبلغ طول نهر النيل بالكيلومترا؟", "Question:"),
    ],
)
def test_questions_are_asked_and_read_in_the_language_of_the_passage(
    passage: str, asked: str, mark: str
) -> None:
    assert read_question(CompletedText(f" {asked}\n", 5, True), passage) == asked
    assert instruction_request(passage).endswith(mark)
    other = "Wer hat gestern angerufen?" if passage != GERMAN else "今天天气怎么样？"
    assert read_question(CompletedText(other, 5, True), passage) is None, "about something else"
    assert read_question(CompletedText(passage, 5, True), passage) is None, "no question"


def test_the_question_that_fits_best_is_kept() -> None:
    class Writer(ScriptedJudge):
        def complete(self, prompts, max_new_tokens, temperature, seed):
            texts = [
                "Where are values stored?",
                "Are values any good?",
                "nothing",
                "Are values any good?",
            ]
            return [
                CompletedText(texts[i % TRIES_PER_PASSAGE], 5, True) for i in range(len(prompts))
            ]

        def score(self, rubric, method, subjects):
            values = {"Where are values stored?": 0.9, "Are values any good?": 0.6}
            return [LabelerAnswer(values.get(s.prompt, 0.5)) for s in subjects]

    (written,) = write_questions(
        Writer(ScriptedConfig()),
        load_rubric("relevance"),
        "scripted",
        [sample("p", "values under keys")],
        0,
    )
    assert (written.question, written.fits) == ("Where are values stored?", True)


class Reader(ScriptedJudge):
    """Values what its truth table says: the share of words that are no furniture."""

    def score(self, rubric, method, subjects):
        return [
            LabelerAnswer(1 - s.text.split().count("menu") / max(1, len(s.text.split())))
            for s in subjects
        ]


def test_of_two_very_different_texts_of_a_page_the_worse_one_is_not_learned_from(
    labeling: Labeling,
) -> None:
    store = labeling.store
    texts = {d.document_id: d.text for d in store.crawl.documents("train")}
    rows = CrawlRows(
        1,
        CrawlConfig().limits(1),
        other_texts=[("d0", "menu " * 40), ("d1", texts["d1"].replace("A ", ""))],
    )
    store.crawl.commit(rows)
    add_documents(
        store,
        [
            replace(
                store.crawl.documents("gate")[0],
                document_id="d9",
                pool="train",
                text="menu menu menu " * 20,
            )
        ],
    )
    store.crawl.commit(CrawlRows(1, CrawlConfig().limits(1), other_texts=[("d9", texts["d0"])]))
    judge = Reader(labeling.config.scripted)
    one = replace(labeling, judge=judge)
    admissions = one.admissions()
    for admission in admissions.values():
        admissions[admission.rubric] = replace(admission, admitted=True)
    settle_extractions(one, admissions)
    judged = {j.subject_id: round(j.value, 2) for j in store.labels.judgments(1, "extraction")}
    assert judged == {"d0": 1.0, "d1": 0.5, "d9": 0.0}
    assert {d.document_id for d in store.crawl.documents("train")} == set(texts)
    assert dict(
        store.database.rows("SELECT reason, count(*) FROM dropped WHERE stage = 'label' GROUP BY 1")
    ) == {WORSE_TEXT: 1}
    settle_extractions(one, admissions)
    assert len(store.labels.judgments(1, "extraction")) == 3, (
        "once judged, a page is not asked about again"
    )
