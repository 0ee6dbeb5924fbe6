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
    return {s.sample_id: _gold_item(s) for s in _questions(store, aim, pool, salt)}


def checked_items(store: Store, aim: AimConfig, pool: str, salt: str) -> dict[str, FileItem]:
    """The same questions, whose answers are generated and checked."""
    return {s.sample_id: _checked_item(s) for s in _questions(store, aim, pool, salt)}


def _questions(store: Store, aim: AimConfig, pool: str, salt: str) -> list[Sample]:
    good = set(good_documents(store, aim, pool, salt))
    return [s for s in store.labels.pool_samples(QUESTION_KIND, pool) if s.document_id in good]


def _gold_item(sample: Sample) -> FileItem:
    if sample.check == "quote":
        prompt, gold = f"{sample.prompt}\nAnswer:", f" {sample.completion}"
    else:
        prompt, gold = f"{sample.prompt}\n", sample.completion
    return FileItem(prompt=prompt, gold=gold, unit=sample.document_id)


def _checked_item(sample: Sample) -> FileItem:
    return FileItem(
        prompt=sample.prompt,
        check=sample.check,
        reference=sample.completion,
        unit=sample.document_id,
    )
