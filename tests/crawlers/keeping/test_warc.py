from __future__ import annotations

import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

from crawlers.keeping import warc
from infra.records import now
from tests.infra.support.warc_records import read_record

AT = now().replace(microsecond=0)
headers = st.dictionaries(
    st.from_regex(r"[a-z][a-z-]{0,15}", fullmatch=True),
    st.lists(st.text(max_size=30), max_size=2),
    max_size=5,
)


@given(st.binary(max_size=2000), headers, st.integers(100, 599))
def test_what_is_written_warcio_reads_and_we_do(
    body: bytes, http_headers: dict[str, list[str]], status: int
) -> None:
    packed = warc.response("http://h/x?y=1", AT, "1.2.3.4", status, http_headers, body)
    (record,) = ArchiveIterator(io.BytesIO(packed))
    assert record.rec_headers.get_header("WARC-Target-URI") == "http://h/x?y=1"
    ours = read_record(packed)
    assert (ours.url, ours.status, ours.body, ours.fetched_at) == (
        "http://h/x?y=1",
        status,
        body,
        AT,
    )


def test_revisits_have_their_profile_and_no_body() -> None:
    for status, profile in ((304, warc.NOT_MODIFIED_PROFILE), (200, warc.REVISIT_PROFILE)):
        packed = warc.revisit(
            "http://h/", AT, "", status, {"etag": ['"x"']}, b"same" if status == 200 else b""
        )
        (record,) = ArchiveIterator(io.BytesIO(packed))
        assert record.rec_type == "revisit"
        assert record.rec_headers.get_header("WARC-Profile") == profile
        assert record.content_stream().read() == b""


def test_stored_bodies_are_decoded_so_their_encoding_header_goes() -> None:
    packed = warc.response(
        "http://h/", AT, "", 200, {"content-encoding": ["br"], "x": ["1"]}, b"plain"
    )
    capture = read_record(packed)
    assert capture.body == b"plain"
    assert "content-encoding" not in capture.headers
    assert capture.headers["x"] == ["1"]


def test_a_header_cannot_break_out_of_its_line() -> None:
    packed = warc.response("http://h/", AT, "", 200, {"x": ["a\r\n\r\n<evil>"]}, b"body")
    assert read_record(packed).body == b"body"


def test_files_of_warcio_are_read_from_any_record_on(tmp_path: Path) -> None:
    from warcio.statusandheaders import StatusAndHeaders

    file = tmp_path / "their.warc.gz"
    with file.open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for i in range(4):
            http = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    f"http://h/{i}", "response", io.BytesIO(b"body %d" % i), http_headers=http
                )
            )
    captures = list(warc.read(file))
    assert [(c.url, c.body) for c in captures] == [
        (f"http://h/{i}", b"body %d" % i) for i in range(4)
    ]
    assert [c.url for c in warc.read(file, captures[2].offset)] == ["http://h/2", "http://h/3"]
    assert [len(c.body) for c in warc.read(file, max_bytes=3)] == [4] * 4


def test_a_damaged_file_ends_where_the_damage_begins(tmp_path: Path) -> None:
    file = tmp_path / "torn.warc.gz"
    whole = warc.response("http://h/1", AT, "", 200, {}, b"x" * 500)
    file.write_bytes(whole + whole[: len(whole) // 2])
    assert [c.url for c in warc.read(file)][:1] == ["http://h/1"]
