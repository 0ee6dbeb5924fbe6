"""Questions about held-out pages as items: what the aim `answers` measures."""

from __future__ import annotations

from infra.records import Sample
from infra.store import Store
from loop.data.questions import QUESTION_KIND
from loop.gate.aim import AimConfig
from loop.gate.suites.good_text import good_documents
from loop.gate.suites.items.file_items import FileItem

POOLS = ("sealed", "gate", "development")
"""A question that pages of several pools give belongs to the first of these."""


def question_items(store: Store, aim: AimConfig, pool: str, salt: str) -> dict[str, FileItem]:
    """The questions by id about the good documents of a pool; those of a page are one unit.

    Of equal questions one is kept, in one pool. The gold text is the answer; it is scored as the
    text that follows the question.
    """
    chosen = _questions(store, aim, pool, salt)
    return {s.sample_id: _gold_item(s, unit) for s, unit in chosen}


def checked_items(store: Store, aim: AimConfig, pool: str, salt: str) -> dict[str, FileItem]:
    """The same questions, whose answers are generated and checked."""
    chosen = _questions(store, aim, pool, salt)
    return {s.sample_id: _checked_item(s, unit) for s, unit in chosen}


def _questions(store: Store, aim: AimConfig, pool: str, salt: str) -> list[tuple[Sample, str]]:
    """(question, URL of its page); a page that has changed since is still one unit."""
    good = set(good_documents(store, aim, pool, salt))
    urls = {d.document_id: d.url for d in store.crawl.documents(pool) if d.document_id in good}
    owners = _owners(store)
    return [
        (sample, urls[sample.document_id])
        for sample in store.labels.pool_samples(QUESTION_KIND, pool)
        if sample.document_id in urls and owners[_content(sample)] == sample.sample_id
    ]


def _owners(store: Store) -> dict[tuple[str, str], str]:
    """The id of the question that stands for all equal ones: the oldest, then by pool.

    So a question that was used once does not come again from another page, in any pool.
    """
    owners: dict[tuple[str, str], str] = {}
    asked = [s for pool in POOLS for s in store.labels.pool_samples(QUESTION_KIND, pool)]
    for sample in sorted(asked, key=lambda sample: sample.generation):
        owners.setdefault(_content(sample), sample.sample_id)
    return owners


def _content(sample: Sample) -> tuple[str, str]:
    return sample.prompt, sample.completion


def _gold_item(sample: Sample, unit: str) -> FileItem:
    if sample.check == "quote":
        prompt, gold = f"{sample.prompt}\nAnswer:", f" {sample.completion}"
    else:
        prompt, gold = f"{sample.prompt}\n", sample.completion
    return FileItem(prompt=prompt, gold=gold, unit=unit)


def _checked_item(sample: Sample, unit: str) -> FileItem:
    return FileItem(
        prompt=sample.prompt, check=sample.check, reference=sample.completion, unit=unit
    )
