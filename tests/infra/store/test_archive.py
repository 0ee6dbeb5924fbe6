from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from crawlers.keeping import warc
from infra.records import now
from infra.store import archive
from infra.store.archive import Archive, blank_member
from tests.infra.support.warc_records import packed_record, read_record

OPENING = warc.warcinfo("TestBot", now())


def record(name: str, body: bytes = b"hello") -> bytes:
    return warc.response(
        f"http://h/{name}", now(), "1.2.3.4", 200, {"content-type": ["text/plain"]}, body
    )


def urls(file: Path) -> list[str]:
    with file.open("rb") as stream:
        uris = [r.rec_headers.get_header("WARC-Target-URI") for r in ArchiveIterator(stream)]
    return [url for url in uris if url]


def test_records_are_read_back_by_their_places_and_by_warcio(tmp_path: Path) -> None:
    store = Archive(tmp_path, {})
    locations = store.append([record("a"), record("b", b"x" * 100_000)], OPENING)
    assert [read_record(packed_record(tmp_path, *location)).body for location in locations] == [
        b"hello",
        b"x" * 100_000,
    ]
    assert urls(tmp_path / locations[0][0]) == ["http://h/a", "http://h/b"]
    store.close()


def test_what_was_not_committed_is_cut_off_and_writing_goes_on(tmp_path: Path) -> None:
    first = Archive(tmp_path, {})
    (kept,) = first.append([record("a")], OPENING)
    first.append([record("lost")], OPENING)
    first.close()
    second = Archive(tmp_path, {kept[0]: kept[1] + kept[2]})
    second.append([record("b")], OPENING)
    second.close()
    assert urls(tmp_path / kept[0]) == ["http://h/a", "http://h/b"]


def test_a_file_that_nothing_was_committed_to_goes(tmp_path: Path) -> None:
    first = Archive(tmp_path, {})
    first.append([record("a")], OPENING)
    first.close()
    Archive(tmp_path, {}).close()
    assert list(tmp_path.glob("*.warc.gz")) == []


def test_a_large_file_is_followed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 1000)
    store = Archive(tmp_path, {})
    locations = store.append([record(str(i)) for i in range(8)], OPENING)
    store.close()
    names = sorted({name for name, _, _ in locations})
    assert len(names) > 1
    assert [u for name in names for u in urls(tmp_path / name)] == [
        f"http://h/{i}" for i in range(8)
    ]


def test_a_failed_write_leaves_no_torn_record(tmp_path: Path) -> None:
    store = Archive(tmp_path, {})
    (first,) = store.append([record("a")], OPENING)

    with pytest.raises(TypeError):
        store.append([record("b"), None], OPENING)  # type: ignore[list-item]
    store.close()
    reopened = Archive(tmp_path, {first[0]: first[1] + first[2]})
    reopened.append([record("c")], OPENING)
    reopened.close()
    assert urls(tmp_path / first[0]) == ["http://h/a", "http://h/c"]


def test_blanked_records_are_gone_and_the_others_stay_where_they_are(tmp_path: Path) -> None:
    store = Archive(tmp_path, {})
    body = bytes(range(256)) * 1000
    locations = store.append([record("a"), record("b", body), record("c")], OPENING)
    name, offset, length = locations[1]
    store.blank(name, [(offset, length)])
    assert urls(tmp_path / name) == ["http://h/a", "http://h/c"]
    assert [c.url for c in warc.read(tmp_path / name)] == ["http://h/a", "http://h/c"]
    assert read_record(packed_record(tmp_path, *locations[2])).url == "http://h/c"
    assert b"http://h/b" not in gzip.decompress((tmp_path / name).read_bytes())
    store.close()


@given(st.integers(200, 400_000))
def test_a_blank_has_any_length(length: int) -> None:
    blank = blank_member(length)
    assert len(blank) == length
    assert b"WARC-Type: metadata" in gzip.decompress(blank)
