"""`kill -9` of the driver or of the parsing process at random moments: no URL is lost, and none is
stored twice. `test_commit_faults.py` dies at each border of a commit on purpose."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from infra.store.database import open_database
from tests.crawlers.support.crawling import finish, kill, site, start, write_recipe

pytestmark = pytest.mark.timeout(3000)  # minutes on a fast machine


def stored_urls(run: Path) -> list[str]:
    with open_database(str(run / "ratchet.duckdb"), read_only=True) as store:
        pages = store.sql("SELECT url FROM page WHERE kind = 'page' AND status = 200").fetchall()
        assert store.sql("SELECT count(*) - count(DISTINCT page_id) FROM page").fetchall() == [(0,)]
        documents = store.sql("SELECT count(*), count(DISTINCT url) FROM document").fetchall()[0]
        assert documents[0] == documents[1] == len(pages)
    return [url for (url,) in pages]


def archived_urls(run: Path) -> list[str]:
    stored_urls = []
    for file in sorted((run / "warc").glob("*.warc.gz")):
        with file.open("rb") as stream:
            for record in ArchiveIterator(stream):
                if record.rec_type == "response":
                    stored_urls.append(record.rec_headers.get_header("WARC-Target-URI"))
                    record.content_stream().read()
    return [url for url in stored_urls if not url.endswith("robots.txt")]


@pytest.mark.parametrize(
    ("num_kills", "num_pages"),
    [(10, 150), pytest.param(50, 700, marks=pytest.mark.nightly)],
)
def test_kills_lose_no_url_and_store_none_twice(
    tmp_path: Path, num_kills: int, num_pages: int
) -> None:
    dice = random.Random(7)
    run = tmp_path / "run"
    with site(["127.0.0.1", "127.0.0.2"], num_pages) as served:
        recipe = write_recipe(tmp_path, served.seeds, own_delay_s=0.02, max_depth=20)
        kills = 0
        process = start(recipe, run)
        while kills < num_kills and process.poll() is None:
            # most kills while pages come in, some while it starts up
            time.sleep(dice.choice([0.3, 1.0, 1.5, 2.0]) + dice.random())
            kill(process, whole=dice.random() < 0.6)
            kills += 1
            if process.poll() is not None:
                process.communicate()
                process = start(recipe, run)
        finish(process, timeout=2400)
    assert kills == num_kills, "the crawl was over before it was killed often enough"
    urls = stored_urls(run)
    assert sorted(urls) == sorted(served.urls)
    assert sorted(archived_urls(run)) == sorted(urls), "every body lies in a WARC file, once"
    with sqlite3.connect(run / "frontier.sqlite") as frontier:
        assert frontier.execute("SELECT state, count(*) FROM url GROUP BY state").fetchall() == [
            (2, 2 * num_pages)
        ]
