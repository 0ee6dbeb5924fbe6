"""What a labeler may know of held-out texts: how much of something is in one."""

from __future__ import annotations

from crawlers.config import CrawlConfig
from crawlers.quality.fingerprints import sampled_grams
from crawlers.quality.words import plain_hashes
from infra.records import Document
from infra.store import Store
from infra.store.tables.crawl import CrawlRows
from loop.data.held_out import HeldOutNgrams
from tests.infra.support.store_rows import add_documents

SECRET = " ".join(f"secret{i}" for i in range(60))
PUBLIC = " ".join(f"public{i}" for i in range(60))


def test_only_what_shares_a_run_of_words_with_held_out_text_overlaps(store: Store) -> None:
    texts = {"s": ("gate", SECRET), "p": ("train", PUBLIC)}
    add_documents(
        store,
        [
            Document(key, "page", f"u{key}", "t", text, "en", "x", pool, 1)
            for key, (pool, text) in texts.items()
        ],
    )
    grams = [
        (key, size, hashes)
        for key, (_, text) in texts.items()
        for size, hashes in sampled_grams(plain_hashes(text)).items()
    ]
    store.crawl.commit(CrawlRows(1, CrawlConfig().limits(1), grams=grams))
    copied = "It says: " + " ".join(SECRET.split()[10:50])
    held_out = HeldOutNgrams(store, 1)
    shares = held_out.shares([copied, PUBLIC, "short", "", f"{PUBLIC} {SECRET}", SECRET])
    assert shares[0] > 0.7
    assert shares[1:4] == [0.0] * 3
    assert 0.2 < shares[4] < 0.8
    assert shares[5] == 1.0
    assert held_out.shares([]) == []
    assert HeldOutNgrams(store, 0).shares([SECRET]) == [0.0], "it was crawled later"
