"""Rows that tests put into a store directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from infra.records import PICKED, Checkpoint, Document, Page, now
from infra.store import Store


def page_row(page_id: str, url: str, domain: str, **fields: Any) -> Page:
    """A page that was fetched just now, with other values in the given fields."""
    page = Page(
        page_id,
        url,
        host=domain,
        domain=domain,
        section="",
        kind="page",
        visit=1,
        location="",
        status=200,
        content_type="",
        etag="",
        last_modified="",
        fetched_at=now(),
        digest="",
        num_bytes=1,
        generation=1,
        train="unknown",
        evaluate="unknown",
    )
    return replace(page, **fields)


def add_documents(store: Store, documents: Sequence[Document], pages: Sequence[Page] = ()) -> None:
    """Store documents and their pages that did not come from a crawl."""
    with store.database.transaction():
        store.database.add("page", Page, pages, ["page_id"])
        store.database.add("document", Document, documents, ["document_id"])


def candidate(digest: str, generation: int, arm: str = PICKED) -> Checkpoint:
    """A model without a folder."""
    return Checkpoint(digest, "/none", "", generation, "", "", 0, now(), arm)
