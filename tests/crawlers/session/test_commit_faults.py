"""A crawl that dies at each of its commits, at each of the three borders that a commit crosses.

A commit writes bodies to WARC, then rows to DuckDB, then the queue in SQLite. Here the process
"dies" exactly behind one of these writes; a new one opens the same files and goes on. The real
kills of `test_kill.py` hit these moments only by chance.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warcio.archiveiterator import ArchiveIterator

from infra.store import Store
from infra.store.database import open_database
from tests.crawlers.support.worlds import Crawler, html

PAGES = 32
MIN_DEATHS = 14
HOSTS = ("a.example", "b.example")
SEEDS = [f"http://{host}/0" for host in HOSTS]
URLS = sorted(f"http://{host}/{i}" for host in HOSTS for i in range(PAGES))


class KilledError(BaseException):
    """Stands for the end of the process."""


def site() -> dict[str, Any]:
    """Pages that link to two others each, so that the crawl takes several commits."""
    answers = {}
    for host in HOSTS:
        for i in range(PAGES):
            links = [f"http://{host}/{n}" for n in (2 * i + 1, 2 * i + 2) if n < PAGES]
            answers[f"http://{host}/{i}"] = html(f"{host}-{i}-", *links)
    return answers


def crawler(folder: Path) -> Crawler:
    return Crawler(SEEDS, site(), path=str(folder / "ratchet.duckdb"), max_depth=PAGES)


def after(call: Callable[..., Any], number: int, when: Callable[..., bool]) -> Callable[..., Any]:
    """Do the call, and die behind the `number`th one that counts."""
    left = number

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        result = call(*arguments, **options)
        if when(*arguments):
            left -= 1
            if left == 0:
                raise KilledError
        return result

    return wrapped


def break_at(store: Store, border: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process die at a border of its commit with this number, counted from 1."""
    if border == "bodies written":
        archive = store.crawl.archive
        monkeypatch.setattr(archive, "append", after(archive.append, number, lambda *_: True))
    elif border == "rows half inserted":
        database = store.database
        inserted = after(database.insert_new, number, lambda table, *_: table == "request")
        monkeypatch.setattr(database, "insert_new", inserted)
    else:
        frontier = store.frontier
        monkeypatch.setattr(frontier, "retire", after(frontier.retire, number, lambda *_: True))


def abandon(one: Crawler) -> None:
    """Close the files as the end of a process does: without a last word."""
    one.store.database.connection.close()
    one.store.frontier._db.close()
    one.store.crawl.archive.close()
    tasks = asyncio.all_tasks(one.loop)
    for task in tasks:
        task.cancel()

    async def settle() -> None:
        await asyncio.gather(*tasks, return_exceptions=True)

    one.loop.run_until_complete(settle())
    one.loop.close()


def contents(folder: Path) -> dict[str, Any]:
    """What lies in the three places, in an order of its own."""
    with open_database(str(folder / "ratchet.duckdb"), read_only=True) as store:
        pages = "SELECT url FROM page WHERE kind = 'page' AND status = 200 ORDER BY url"
        texts = "SELECT url, text_digest FROM document ORDER BY url"
        urls, documents = store.sql(pages).fetchall(), store.sql(texts).fetchall()
    bodies = []
    for file in sorted((folder / "warc").glob("*.warc.gz")):
        with file.open("rb") as stream:
            bodies += [
                record.rec_headers.get_header("WARC-Target-URI")
                for record in ArchiveIterator(stream)
                if record.rec_type == "response"
            ]
    with sqlite3.connect(folder / "frontier.sqlite") as frontier:
        states = frontier.execute("SELECT state, count(*) FROM url GROUP BY state").fetchall()
    return {
        "urls": [url for (url,) in urls],
        "documents": documents,
        "bodies": sorted(url for url in bodies if url in URLS),
        "states": states,
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed crawl leaves."""
    folder = tmp_path_factory.mktemp("undisturbed")
    one = crawler(folder)
    one.crawl()
    one.close()
    return contents(folder)


def test_an_undisturbed_crawl_has_each_page_once(undisturbed: dict[str, Any]) -> None:
    assert undisturbed["urls"] == undisturbed["bodies"] == URLS
    assert len(undisturbed["documents"]) == len(URLS)


@pytest.mark.parametrize("border", ["bodies written", "rows half inserted", "queue half updated"])
def test_a_crawl_that_dies_in_every_second_commit_ends_the_same(
    undisturbed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, border: str
) -> None:
    """One commit of each life succeeds, and the next one is its last."""
    deaths, now = 0, 1_000_000.0
    while True:
        one = crawler(tmp_path)
        one.loop.now = now
        one.store.crawl.release_all_leases()
        with monkeypatch.context() as broken:
            break_at(one.store, border, 2, broken)
            try:
                one.crawl()
            except KilledError:
                deaths += 1
                now = one.loop.now
                abandon(one)
                continue
        one.close()
        break
    assert deaths >= MIN_DEATHS
    assert contents(tmp_path) == undisturbed
