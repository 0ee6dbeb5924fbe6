from __future__ import annotations

import http.client
from email.utils import formatdate
from pathlib import Path

import pytest

from crawlers.reading.parse_body import parse_body
from crawlers.reading.parsed_body import ParseTask
from crawlers.sources.builtin_site import serving, site_folder, write_index
from infra.errors import UserError


def get(port: int, path: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    response.read()
    return response


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    site.mkdir()
    (site / "a.html").write_text("<html><body>a</body></html>")
    write_index(site)
    (tmp_path / "secret").write_text("outside")
    return site


def test_conditional_requests_are_answered_with_304(folder: Path) -> None:
    with serving(folder) as url:
        port = int(url.split(":")[2].strip("/"))
        first = get(port, "/a.html")
        etag, modified = first.getheader("ETag"), first.getheader("Last-Modified")
        assert (first.status, bool(etag), bool(modified)) == (200, True, True)
        assert get(port, "/a.html", {"If-None-Match": str(etag)}).status == 304
        assert get(port, "/a.html", {"If-None-Match": '"other"'}).status == 200
        assert get(port, "/a.html", {"If-Modified-Since": str(modified)}).status == 304
        assert get(port, "/a.html", {"If-Modified-Since": formatdate(0, usegmt=True)}).status == 200
        assert get(port, "/a.html", {"If-Modified-Since": "yesterday"}).status == 200


@pytest.mark.parametrize(
    "path", ["/../secret", "/%2e%2e/secret", "//etc/passwd", "/a.html/..", "/nope"]
)
def test_nothing_outside_the_folder_is_served(folder: Path, path: str) -> None:
    with serving(folder) as url:
        assert get(int(url.split(":")[2].strip("/")), path).status == 404


def test_taken_port_is_a_user_error(folder: Path) -> None:
    with serving(folder) as url, pytest.raises(UserError, match="cannot listen"):
        serving(folder, int(url.split(":")[2].strip("/"))).__enter__()


def test_the_rendered_site_is_rich_enough_on_this_python() -> None:
    folder = site_folder()
    pages = sorted(folder.glob("*.html"))
    assert 200 <= len(pages) <= 350
    texts = [
        parse_body(ParseTask("html", f"http://h/{p.name}", "text/html", True, p.read_bytes())).text
        for p in pages
    ]
    assert 3_000_000 <= sum(map(len, texts)) <= 5_000_000
    assert sum(text.count(">>> ") for text in texts) >= 500
    assert "Disallow: /private/" in (folder / "robots.txt").read_text()
