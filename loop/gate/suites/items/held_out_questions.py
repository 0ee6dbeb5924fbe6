"""Questions about held-out pages as items: what the aim `answers` measures."""

from __future__ import annotations

from infra.records import Sample
from infra.store import Store
from loop.data.questions import QUESTION_KIND
from loop.gate.aim import AimConfig
from loop.gate.suites.good_text import good_documents
from loop.gate.suites.items.file_items import FileItem


def question_items(store: Store, aim: AimConfig, pool: str, salt: str) -> dict[str, FileItem]:
    """The questions by id about the good documents of a pool; those of a document are one unit.

    The gold text is the answer; it is scored as the text that follows the question.
    """
    good = set(good_documents(store, aim, pool, salt))
    samples = store.labels.pool_samples(QUESTION_KIND, pool)
    return {s.sample_id: gold_item(s) for s in samples if s.document_id in good}


def gold_item(sample: Sample) -> FileItem:
    """A question with its answer as the text that follows it."""
    if sample.check == "quote":
        prompt, gold = f"{sample.prompt}\nAnswer:", f" {sample.completion}"
    else:
        prompt, gold = f"{sample.prompt}\n", sample.completion
    return FileItem(prompt=prompt, gold=gold, unit=sample.document_id)


def checked_items(store: Store, aim: AimConfig, pool: str, salt: str) -> dict[str, FileItem]:
    """The same questions, whose answers are generated and checked."""
    good = set(good_documents(store, aim, pool, salt))
    return {
        s.sample_id: FileItem(
            prompt=s.prompt, check=s.check, reference=s.completion, unit=s.document_id
        )
        for s in store.labels.pool_samples(QUESTION_KIND, pool)
        if s.document_id in good
    }
