"""Questions about held-out pages: who makes them, of which pages; and nothing trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest

from infra.records import Document
from infra.store import Store
from judges.making.demonstrations.extractive import find_spans
from judges.verifying.checks import Claim, verify_claims
from judges.verifying.sandbox import Sandbox
from judges.verifying.verifier import VerifiedDocument, verify_document
from loop.data.questions import QUESTION_KIND, HeldOutAsker
from loop.gate.aim import AimConfig
from loop.gate.suites.items.held_out_questions import POOLS, checked_items, question_items
from tests.infra.support.store_rows import add_documents
from tests.judges.making.demonstrations.test_extractive import PASSAGE, Writer

ALL_PAGES = AimConfig(kind="answers", policy="lenient-1", balanced=False)


@cache
def sandbox() -> Sandbox:
    return Sandbox()


@dataclass
class SandboxVerifier:
    calls_left: int = 10**9

    def verify(self, documents: Sequence[Document], generation: int) -> list[VerifiedDocument]:
        if self.calls_left == 0:
            raise KeyboardInterrupt
        self.calls_left -= 1
        return [verify_document(document, generation, sandbox()) for document in documents]

    def check(self, claims: Sequence[Claim]) -> list[bool]:
        return verify_claims(claims)


def pages(store: Store) -> None:
    text = PASSAGE + " It is long enough to be a passage of its own, says the rule.\n"
    pools = ["train", "gate", "gate", "sealed", "development"]
    add_documents(
        store,
        [
            Document(
                f"d{i}", "p", f"u{i}", "t", f"{text}\n>>> {i} * 7\n{i * 7}\n", "en", "x", pool, 1
            )
            for i, pool in enumerate(pools)
        ],
    )


def writer(store: Store, **options: object) -> HeldOutAsker:
    spans = {str(len(s.text)): s.text for s in find_spans(PASSAGE)}
    one = HeldOutAsker(
        store=store,
        verifier=SandboxVerifier(),
        asker=Writer(spans),
        passages_per_page=1,
        passage_chars=900,
        generation=1,
        seed=0,
    )
    return replace(one, **options)


def test_executed_examples_and_the_asker_make_questions_of_held_out_pages_alone(
    store: Store,
) -> None:
    pages(store)
    writer(store).run()
    made = store.labels.samples(1, QUESTION_KIND)
    assert {s.document_id for s in made} == {"d1", "d2", "d3", "d4"}
    by_check = {check: [s for s in made if s.check == check] for check in ("output", "quote")}
    assert sorted(s.completion for s in by_check["output"]) == ["14", "21", "28", "7"]
    assert by_check["quote"]
    assert all(s.completion in PASSAGE for s in by_check["quote"])
    assert store.labels.samples(1, "demonstration") == [], "nothing of it is trained on"
    assert {s.document_id for s in store.labels.pool_samples(QUESTION_KIND, "gate")} == {"d1", "d2"}


def test_without_an_asker_only_examples_are_asked(store: Store) -> None:
    pages(store)
    writer(store, asker=None).run()
    assert {s.check for s in store.labels.samples(1, QUESTION_KIND)} == {"output"}


def test_a_killed_writer_goes_on_and_a_second_run_changes_nothing(store: Store) -> None:
    pages(store)
    with pytest.raises(KeyboardInterrupt):
        writer(store, verifier=SandboxVerifier(calls_left=1)).run()
    first = store.labels.samples(1, QUESTION_KIND)
    assert {s.document_id for s in first} == {"d1", "d2"}
    writer(store).run()
    whole = store.labels.samples(1, QUESTION_KIND)
    assert len(whole) > len(first)
    writer(store).run()
    assert store.labels.samples(1, QUESTION_KIND) == whole


def test_a_question_is_followed_by_its_answer_and_counts_with_its_page(store: Store) -> None:
    pages(store)
    writer(store).run()
    items = question_items(store, ALL_PAGES, "gate", "salt")
    pages_asked = {d.url for d in store.crawl.documents("gate")}
    assert {item.unit for item in items.values()} == pages_asked
    texts = {item.prompt[-20:] + item.gold_text for item in items.values()}
    assert any(text.endswith(">>> 1 * 7\n7") for text in texts)
    assert any("\nAnswer: " in text for text in texts)
    assert items.keys() == checked_items(store, ALL_PAGES, "gate", "salt").keys()
    strict = ALL_PAGES.model_copy(update={"policy": "web-1"})
    assert question_items(store, strict, "gate", "salt") == {}, "no good page, no question"


def test_an_equal_question_of_another_page_is_asked_once_in_one_pool(store: Store) -> None:
    """Else it could decide twice, or be learned from before it decides."""
    for i, (pool, generation) in enumerate(
        [("development", 1), ("gate", 1), ("gate", 1), ("sealed", 2), ("gate", 2)]
    ):
        text = f"A page.\n\n>>> 6 * 7\n42\n\n>>> {i} + 100\n{i + 100}\n"
        document = Document(f"e{i}", "p", f"e{i}", "t", text, "en", "x", pool, generation)
        add_documents(store, [document])
    for generation in (1, 2):
        writer(store, asker=None, generation=generation).run()
    pools = [question_items(store, ALL_PAGES, pool, "s") for pool in POOLS]
    texts = [(item.prompt, item.gold) for items in pools for item in items.values()]
    assert len(texts) == len(set(texts)) == 6, "one for each page, and 6 * 7 once"
    gate = {(item.prompt, item.gold) for item in pools[POOLS.index("gate")].values()}
    assert any(gold == "42" for _, gold in gate), "the gate comes before development"


def test_what_is_checked_is_right_where_the_answer_is_the_gold_one(store: Store) -> None:
    pages(store)
    writer(store).run()
    items = checked_items(store, ALL_PAGES, "gate", "salt")
    claims = [Claim(item.check, item.reference, item.reference) for item in items.values()]
    assert all(verify_claims(claims))


def test_it_says_about_how_many_pages_there_are_questions(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    pages(store)
    writer(store, asker=None).run()
    assert "2 questions about 2 of 2 pages (gate)" in flat(capsys)
    plain = Document("plain", "p", "u", "t", "No example at all.", "en", "x", "gate", 1)
    other = Store(":memory:")
    add_documents(other, [plain])
    writer(other, asker=None).run()
    warning = flat(capsys)
    assert "0 questions about 0 of 1 pages (gate): nothing can be promoted" in warning
    assert "aim.answers.passages_per_page" in warning
    other.close()


def flat(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    return " ".join((shown.out + shown.err).split())
