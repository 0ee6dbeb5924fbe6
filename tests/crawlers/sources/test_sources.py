from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawlers.config import CrawlConfig
from crawlers.keeping import warc
from crawlers.keeping.curate import curate_documents
from crawlers.sources.ingest import IngestWorker
from crawlers.sources.sources import SOURCE_KINDS, SourceContents, make_source
from infra.errors import UserError
from infra.records import now
from infra.store import Store
from tests.crawlers.reading.test_html_text import ARTICLE
from tests.infra.support.warc_records import body_record, read_record

HEAD = {"content-type": ["text/html; charset=utf-8"]}


def article(name: str, head: str = "") -> bytes:
    own = " ".join(f"{name}{i} is a thing of {name}." for i in range(40))
    return ARTICLE.replace(b"<h1>Bridges</h1>", f"<h1>{name}</h1><p>{own}</p>".encode()).replace(
        b"<head>", b"<head>" + head.encode()
    )


def write_warc(path: Path, pages: dict[str, bytes], status: int = 200) -> None:
    records = [
        warc.response(url, now(), "1.1.1.1", status, HEAD, body) for url, body in pages.items()
    ]
    path.write_bytes(warc.warcinfo("x", now()) + b"".join(records))


def ingest(store: Store, config: CrawlConfig, pages: int = 100, generation: int = 1) -> int:
    store.crawl.start(generation, [], 1)
    with make_source(config).open() as contents:
        number = IngestWorker(config, "salt", store.crawl).ingest(
            contents.captures, generation, config.limits(pages)
        )
    curate_documents(store, config, generation)
    return number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.html").write_bytes(article("alpha"))
    (tmp_path / "sub" / "two.md").write_text(
        "# Two\n\n" + " ".join(f"Sentence {i} about beta is here." for i in range(60))
    )
    (tmp_path / "three.txt").write_text(
        " ".join(f"Sentence {i} about gamma is here." for i in range(60))
    )
    (tmp_path / "four.bin").write_bytes(b"\0")
    return tmp_path


def test_every_source_gives_seeds_or_captures(folder: Path) -> None:
    """The contract of the plug-in point."""
    write_warc(folder / "x.warc.gz", {"http://h/1": article("w")})
    options = {
        "web": {"seeds": ["http://127.0.0.1:1/"]},
        "warc": {"paths": [str(folder)]},
        "files": {"paths": [str(folder)]},
    }
    assert set(options) == set(SOURCE_KINDS)
    for kind, given in options.items():
        config = CrawlConfig(source=kind, **given)  # type: ignore[arg-type]
        with make_source(config).open() as contents:
            assert bool(contents.seeds) != bool(contents.captures)
            for container in contents.captures:
                everything = list(container.read(0, 2**20))
                assert everything
                assert list(container.read(everything[-1][1], 2**20)) == [], (
                    "nothing is behind the last position"
                )
                again = list(container.read(everything[0][1], 2**20))
                assert [c.url for c, _ in again] == [c.url for c, _ in everything[1:]]


class Mine:
    """A source of one's own, by its dotted path."""

    def __init__(self, config: CrawlConfig) -> None:
        self.config = config

    @contextlib.contextmanager
    def open(self) -> Iterator[SourceContents]:
        yield SourceContents(seeds=["http://mine.example/"])


def test_a_source_of_ones_own_by_dotted_path() -> None:
    with make_source(
        CrawlConfig(source="tests.crawlers.sources.test_sources.Mine")
    ).open() as contents:
        assert contents.seeds == ["http://mine.example/"]
    with pytest.raises(UserError, match=r"crawl.source"):
        make_source(CrawlConfig(source="no.such.Thing"))


def test_a_folder_becomes_documents(folder: Path, store: Store) -> None:
    config = CrawlConfig(source="files", paths=[str(folder)], policy="lenient-1")
    assert ingest(store, config) == 3
    rows = store.database.rows("SELECT url, text FROM document WHERE status = 'kept' ORDER BY url")
    assert [url for url, _ in rows] == [
        "file:///one.html",
        "file:///sub/two.md",
        "file:///three.txt",
    ]
    assert "Sentence 7 about beta" in rows[1][1]
    page_id = store.database.value("SELECT page_id FROM page WHERE url LIKE '%one%'")
    assert read_record(body_record(store, page_id)).body == article("alpha")


def test_warc_files_obey_the_same_permission_rules(tmp_path: Path, store: Store) -> None:
    robots = b"User-agent: *\nDisallow: /private/\nContent-Signal: ai-train=no\n"
    write_warc(
        tmp_path / "a.warc.gz",
        {
            "http://open.example/1": article("alpha"),
            "http://shy.example/robots.txt": robots,
            "http://shy.example/private/x": article("beta"),
            "http://shy.example/page": article("gamma"),
            "http://meta.example/page": article("delta", '<meta name="robots" content="noai">'),
        },
    )
    ingest(store, CrawlConfig(source="warc", paths=[str(tmp_path)], policy="lenient-1"))
    assert store.database.rows("SELECT url FROM document") == [("http://open.example/1",)]
    assert dict(store.crawl.drop_counts(1)) == {
        "forbidden by robots.txt": 1,
        "denied: robots.txt ai-train": 1,
        "denied: meta robots noai": 1,
    }


def test_reading_goes_on_where_it_stopped(tmp_path: Path, store: Store) -> None:
    write_warc(
        tmp_path / "a.warc.gz", {f"http://h.example/{i}": article(f"word{i}x") for i in range(10)}
    )
    config = CrawlConfig(source="warc", paths=[str(tmp_path)], policy="lenient-1")
    assert ingest(store, config, pages=4) == 4
    assert ingest(store, config, pages=4, generation=2) == 4
    assert ingest(store, config, pages=40, generation=3) == 2
    assert ingest(store, config, pages=40, generation=4) == 0
    assert store.database.rows(
        "SELECT generation, count(*) FROM page GROUP BY ALL ORDER BY ALL"
    ) == [
        (1, 4),
        (2, 4),
        (3, 2),
    ]


def test_wet_files_give_their_text_as_it_is(tmp_path: Path, store: Store) -> None:
    import io

    from warcio.warcwriter import WARCWriter

    text = " ".join(f"Sentence number {i} is about something." for i in range(60))
    with (tmp_path / "a.warc.wet.gz").open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        writer.write_record(
            writer.create_warc_record(
                "http://h.example/1",
                "conversion",
                io.BytesIO(text.encode()),
                warc_content_type="text/plain",
            )
        )
    ingest(store, CrawlConfig(source="warc", paths=[str(tmp_path)], policy="lenient-1"))
    assert [d[0] for d in store.database.rows("SELECT text FROM document")] == [text]


def test_a_body_over_the_limit_is_counted_and_not_kept(tmp_path: Path, store: Store) -> None:
    write_warc(tmp_path / "a.warc.gz", {"http://h.example/big": b"x" * 5000})
    ingest(store, CrawlConfig(source="warc", paths=[str(tmp_path)], max_body_bytes=1000))
    assert store.crawl.drop_counts(1) == [("body too large", 1)]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"seeds": []}, "crawl.seeds"),
        ({"seeds": ["builtin:nope"]}, "crawl.seeds"),
        ({"seeds": ["builtin:pydoc", "http://localhost/"]}, "crawl.seeds"),
        ({"seeds": ["nonsense"]}, "crawl.seeds"),
        ({"seeds": ["https://example.org/"]}, "crawl.contact"),
        ({"seeds": ["http://localhost/"], "allow_other_hosts": True}, "crawl.contact"),
        ({"source": "warc", "paths": ["/nowhere"]}, "crawl.paths"),
        ({"source": "files", "paths": ["/proc/self/fd"]}, "crawl.paths"),
        ({"source": "files"}, "crawl.paths"),
    ],
)
def test_bad_sources_are_user_errors(options: dict[str, object], key: str) -> None:
    with pytest.raises(UserError, match=key):
        make_source(CrawlConfig(**options))  # type: ignore[arg-type]


def test_a_contact_opens_the_web() -> None:
    make_source(CrawlConfig(seeds=["https://example.org/"], contact="me@example.org"))
    make_source(CrawlConfig(seeds=["http://localhost:8000/"]))
