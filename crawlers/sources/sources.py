"""Where a crawl's pages come from: the web, the built-in site, WARC files, or a folder of
documents.

A source opens as an `Opening`: seed URLs for the frontier, or captures that are there already. Both
go through the same permission rules, extraction, filters and pools.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import is_loopback
from crawlers.keeping import warc
from crawlers.keeping.warc import Capture
from crawlers.sources.builtin_site import serving, site_folder
from crawlers.urls import BUILTIN, hostname_of, require_urls
from infra.errors import UserError
from infra.plugins import find_class

WARC_SUFFIXES = (".warc", ".warc.gz", ".wet", ".wet.gz", ".warc.wet.gz")
FILE_TYPES = {
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".rst": "text/plain",
}


class Captures(Protocol):
    """One container of answers that were fetched before."""

    @property
    def name(self) -> str:
        """What it is known by, also in a later process."""
        ...

    def read(self, start: int, max_bytes: int) -> Iterator[tuple[Capture, int]]:
        """Captures from a position on, each with the position behind it."""
        ...


@dataclass(frozen=True)
class Opening:
    """What an open source offers: URLs to crawl, or containers to read (never both)."""

    seeds: Sequence[str] = ()
    captures: Sequence[Captures] = ()


class Source(Protocol):
    """Plug-in point: open it, and use what it offers while it is open. Made with the `[crawl]`
    section.
    """

    def open(self) -> AbstractContextManager[Opening]:
        """Canonical seed URLs that are reachable, or captures that are readable, while the context
        lasts.
        """
        ...


class WebSource:
    """Seeds that are somewhere on the network already."""

    def __init__(self, config: CrawlConfig) -> None:
        if not config.seeds:
            raise UserError(
                "crawl.seeds",
                config.seeds,
                "there is nothing to start from.",
                "Give at least one URL.",
            )
        self.seeds = require_urls(config.seeds)
        own = set(config.own_hosts)
        remote = [seed for seed in self.seeds if not is_loopback(hostname_of(seed))]
        if (remote or config.allow_other_hosts) and not config.contact:
            raise UserError(
                "crawl.contact",
                config.contact,
                f"crawling {(remote or self.seeds)[0]} needs a way to reach you.",
                "Set crawl.contact to a URL or e-mail address; it becomes part of the user agent.",
            )
        if config.own_delay_s < config.delay_s and any("/" in host for host in own):
            raise UserError(
                "crawl.own_hosts",
                sorted(own),
                "a host is a name with perhaps a port.",
                "Leave the path out.",
            )

    @contextmanager
    def open(self) -> Iterator[Opening]:
        """See `Source`."""
        yield Opening(seeds=self.seeds)


class BuiltinSource:
    """The built-in site, served on a loopback port that stays the same for the life of a run."""

    def __init__(self, config: CrawlConfig, port: int) -> None:
        if len(config.seeds) > 1:
            problem = "a built-in site stands alone."
            raise UserError("crawl.seeds", config.seeds, problem, "Name it, or URLs, not both.")
        name = config.seeds[0].removeprefix(BUILTIN)
        if name != "pydoc":
            raise UserError(
                "crawl.seeds", BUILTIN + name, "no such built-in site.", "Known: builtin:pydoc."
            )
        self.port = port

    @contextmanager
    def open(self) -> Iterator[Opening]:
        """See `Source`."""
        with serving(site_folder(), self.port) as url:
            yield Opening(seeds=[url])


def _files_below(paths: Sequence[str], suffixes: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """(root, file) for every readable file with one of the suffixes in files and folders, in a
    fixed order.
    """
    found = []
    for name in paths:
        root = Path(name).absolute()
        if not root.exists():
            raise UserError(
                "crawl.paths", name, "there is nothing there.", "Give files or folders that exist."
            )
        files = (
            [root]
            if root.is_file()
            else sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
        )
        found += [
            (root if root.is_dir() else root.parent, f)
            for f in files
            if f.name.lower().endswith(suffixes)
        ]
    if not found:
        problem = f"no file there ends in {', '.join(suffixes)}."
        raise UserError(
            "crawl.paths", list(paths), problem, "Give other paths, or another crawl.source."
        )
    return found


@dataclass(frozen=True)
class WarcFile:
    """A WARC or WET file; positions are byte offsets of records."""

    name: str

    def read(self, start: int, max_bytes: int) -> Iterator[tuple[Capture, int]]:
        """See `Captures`."""
        before: Capture | None = None
        for capture in warc.read(Path(self.name), start, max_bytes):
            if before is not None:
                yield before, capture.offset
            before = capture
        if before is not None:
            yield before, Path(self.name).stat().st_size


@dataclass(frozen=True)
class DocumentFile:
    """An HTML, Markdown or text file as one capture; position 1 is behind it."""

    name: str
    root: str

    def read(self, start: int, max_bytes: int) -> Iterator[tuple[Capture, int]]:
        """See `Captures`."""
        if start > 0:
            return
        path = Path(self.name)
        with path.open("rb") as file:
            body = file.read(max_bytes + 1)
        at = datetime.fromtimestamp(int(path.stat().st_mtime), UTC).replace(tzinfo=None)
        url = "file:///" + quote(str(path.relative_to(self.root)))
        headers = {"content-type": [FILE_TYPES[path.suffix.lower()]]}
        yield Capture(url, 200, headers, body, at, -1, is_text=False), 1


class WarcSource:
    """WARC and WET files, Common Crawl's included."""

    def __init__(self, config: CrawlConfig) -> None:
        self.files = [WarcFile(str(file)) for _, file in _files_below(config.paths, WARC_SUFFIXES)]

    @contextmanager
    def open(self) -> Iterator[Opening]:
        """See `Source`."""
        yield Opening(captures=self.files)


class FilesSource:
    """A folder of HTML, Markdown or text."""

    def __init__(self, config: CrawlConfig) -> None:
        found = _files_below(config.paths, tuple(FILE_TYPES))
        self.files = [DocumentFile(str(file), str(root)) for root, file in found]

    @contextmanager
    def open(self) -> Iterator[Opening]:
        """See `Source`."""
        yield Opening(captures=self.files)


KINDS: dict[str, Any] = {"web": WebSource, "warc": WarcSource, "files": FilesSource}


def source_of(config: CrawlConfig, builtin_port: int = 0) -> Source:
    """The source that a recipe names; `UserError` where it cannot be used."""
    if config.source == "web" and any(seed.startswith(BUILTIN) for seed in config.seeds):
        return BuiltinSource(config, builtin_port)
    kind = KINDS.get(config.source) or _by_dotted_path(config.source)
    source: Source = kind(config)
    return source


def _by_dotted_path(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    remedy = f"Known: {', '.join(KINDS)}; or give the dotted path of a class."
    return find_class(module, attribute, "crawl.source", name, "no such source", remedy)
