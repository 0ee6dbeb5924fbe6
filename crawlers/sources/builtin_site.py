"""The built-in site: documentation of the standard library, rendered by pydoc, served on loopback.

Rendering imports the modules, so it happens once in a separate process
(`crawlers.sources.pydoc_pages`), and the pages are cached. The server sends ETag and Last-Modified,
answers conditional requests with 304, and has a robots.txt that disallows `/private/`.
"""

from __future__ import annotations

import hashlib
import html
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra.artifacts import atomic_folder
from infra.console import note
from infra.errors import StageError, UserError
from infra.models.folders import cache_folder

SITE_VERSION = 1
SERVER_NAME = "ratchet-site"
ROBOTS = "User-agent: *\nDisallow: /private/\n"
MIN_PAGES = 150


def site_folder() -> Path:
    """The folder of the rendered site for this Python version; rendered now if it is missing.

    Raises:
        StageError: if rendering fails.
    """
    folder = cache_folder() / "sites" / f"pydoc-{platform.python_version()}-v{SITE_VERSION}"
    if folder.exists():
        return folder
    note(f"rendering the documentation of the standard library once into {folder}")
    with atomic_folder(folder) as scratch:
        command = [sys.executable, "-m", "crawlers.sources.pydoc_pages", str(scratch)]
        done = subprocess.run(  # noqa: S603
            command,
            cwd=str(Path(__file__).resolve().parents[2]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        pages = len(list(scratch.glob("*.html")))
        if done.returncode != 0 or pages < MIN_PAGES:
            problem = f"rendering gave {pages} pages ({done.stderr[-300:]})"
            raise StageError("crawl", "builtin:pydoc", problem)
        write_index(scratch)
    return folder


def write_index(folder: Path) -> None:
    """Write `index.html` with links to all pages, a disallowed page, and `robots.txt`."""
    names = sorted(p.stem for p in folder.glob("*.html") if p.stem != "index")
    items = "\n".join(
        f'<li><a href="/{html.escape(n)}.html">{html.escape(n)}</a></li>' for n in names
    )
    (folder / "private").mkdir(exist_ok=True)
    (folder / "private" / "notes.html").write_text(
        "<html><head><title>Private</title></head>"
        "<body><p>robots.txt asks not to read this.</p></body></html>",
        encoding="utf-8",
    )
    (folder / "robots.txt").write_text(ROBOTS, encoding="utf-8")
    (folder / "index.html").write_text(
        "<!doctype html><html lang=en><head><title>The Python standard library</title></head><body>"
        f"<h1>The Python standard library</h1><ul>\n{items}\n</ul>"
        '<p><a href="/private/notes.html">notes</a></p></body></html>',
        encoding="utf-8",
    )


class _Handler(BaseHTTPRequestHandler):
    """Serves the files of one folder and nothing else."""

    protocol_version = "HTTP/1.1"
    server_version = SERVER_NAME
    folder: Path
    files: frozenset[str]

    def do_GET(self) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        if name not in self.files:
            self._reply(404, b"not found", "text/plain; charset=utf-8", {})
            return
        path = self.folder / name
        body = path.read_bytes()
        modified = path.stat().st_mtime
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Last-Modified": formatdate(modified, usegmt=True)}
        if self._unchanged(etag, modified):
            self._reply(304, b"", "", headers)
            return
        kind = "text/html" if name.endswith(".html") else "text/plain"
        self._reply(200, body, f"{kind}; charset=utf-8", headers)

    def _unchanged(self, etag: str, modified: float) -> bool:
        if "If-None-Match" in self.headers:
            return etag in [tag.strip() for tag in self.headers["If-None-Match"].split(",")]
        try:
            since = parsedate_to_datetime(self.headers.get("If-Modified-Since", ""))
        except ValueError:
            return False
        return int(modified) <= since.timestamp()

    def _reply(self, status: int, body: bytes, content_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing: the crawl has its own log."""


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a folder on 127.0.0.1 inside the block; yields the URL of its root.

    Port 0 picks a free port.

    Raises:
        UserError: if the port is in use.
    """
    files = frozenset(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    handler = type("FolderHandler", (_Handler,), {"folder": folder, "files": files})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UserError(
            "crawl.seeds",
            f"127.0.0.1:{port}",
            f"the built-in site cannot use this port ({error.strerror}).",
            "Free the port, or start a new run with another --run.",
        ) from None
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
