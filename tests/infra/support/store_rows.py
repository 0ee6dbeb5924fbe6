"""Rows that tests put into a store directly."""

from __future__ import annotations

from collections.abc import Sequence

from infra.records import Document, Page
from infra.store import Store


def add_documents(store: Store, documents: Sequence[Document], pages: Sequence[Page] = ()) -> None:
    """Store documents and their pages that did not come from a crawl."""
    with store.database.transaction():
        store.database.add("page", Page, pages, ["page_id"])
        store.database.add("document", Document, documents, ["document_id"])
