"""The store of a run: DuckDB tables, the crawl's queue in SQLite, and bodies in WARC files."""

from infra.store.store import Store

__all__ = ["Store"]
