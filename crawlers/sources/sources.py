"""Sources of pages: the web, the built-in site, WARC files, or a folder of documents.

`Source.open` yields `SourceContents`: seed URLs to crawl, or files with captures to read. Both go
through the same permission rules, extraction, filters and pools.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from typing_extensions import override

from crawlers.config import CrawlConfig
from crawlers.fetching.address_check import is_loopback
from crawlers.keeping import warc
from crawlers.keeping.warc import Capture
from crawlers.sources.builtin_site import serving, site_folder
from crawlers.urls import BUILTIN, require_urls, url_hostname
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
    """A file with responses that were fetched before."""

    @property
    def name(self) -> str:
        """A name that is the same in later processes."""
        ...

    def read(self, start: int, max_bytes: int) -> Iterator[tuple[Capture, int]]:
        """Yield (capture, position after it) from the position `start` on.

        At most `max_bytes` + 1 bytes of a body are read.
        """
        ...


@dataclass(frozen=True)
class SourceContents:
    """What a source contains: URLs to crawl, or files to read (never both)."""

    seeds: Sequence[str] = ()
    captures: Sequence[Captures] = ()


class Source(Protocol):
    """Plug-in point. A source is constructed with the `[crawl]` section of the recipe."""

    def open(self) -> AbstractContextManager[SourceContents]:
        """Canonical seed URLs or captures, which can be read inside the context."""
        ...


class WebSource(Source):
    """Seeds on the network."""

    def __init__(self, config: CrawlConfig) -> None:
        if not config.seeds:
            raise UserError(
                "crawl.seeds",
                config.seeds,
                "a crawl needs at least one seed.",
                "Set crawl.seeds to one or more URLs.",
            )
        self.seeds = require_urls(config.seeds)
        own = set(config.own_hosts)
        remote = [seed for seed in self.seeds if not is_loopback(url_hostname(seed))]
        if (remote or config.allow_other_hosts) and not config.contact:
            raise UserError(
                "crawl.contact",
                config.contact,
                f"crawling {(remote or self.seeds)[0]} needs a contact for site owners.",
                "Set crawl.contact to a URL or e-mail address; it is added to the user agent.",
            )
        if config.own_delay_s < config.delay_s and any("/" in host for host in own):
            raise UserError(
                "crawl.own_hosts",
                sorted(own),
                "a host is `name` or `name:port`.",
                "Remove the path.",
            )

    @override
    @contextmanager
    def open(self) -> Iterator[SourceContents]:
        yield SourceContents(seeds=self.seeds)


class BuiltinSource(Source):
    """The built-in site, served on a loopback port; a run always uses the same port."""

    def __init__(self, config: CrawlConfig, port: int) -> None:
        if len(config.seeds) > 1:
            problem = "the built-in site cannot be combined with other seeds."
            remedy = "Give either builtin:pydoc or URLs."
            raise UserError("crawl.seeds", config.seeds, problem, remedy)
        name = config.seeds[0].removeprefix(BUILTIN)
        if name != "pydoc":
            problem = "there is no built-in site of this name."
            raise UserError("crawl.seeds", BUILTIN + name, problem, "Use builtin:pydoc.")
        self.port = port

    @override
    @contextmanager
    def open(self) -> Iterator[SourceContents]:
        with serving(site_folder(), self.port) as url:
            yield SourceContents(seeds=[url])


def _files_below(paths: Sequence[str], suffixes: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """(root, file) of every file with one of the suffixes in files and folders, in a fixed order.

    Raises:
        UserError: if a path does not exist, or no file has one of the suffixes.
    """
    files: list[tuple[Path, Path]] = []
    for name in paths:
        path = Path(name).absolute()
        if not path.exists():
            problem = "there is no file or folder of this name."
            raise UserError("crawl.paths", name, problem, "Give files or folders that exist.")
        if path.is_file():
            root, inside = path.parent, [path]
        else:
            root = path
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
        files += [(root, file) for file in inside if file.name.lower().endswith(suffixes)]
    if not files:
        problem = f"no file in these paths ends in {', '.join(suffixes)}."
        remedy = "Give other paths, or set another crawl.source."
        raise UserError("crawl.paths", list(paths), problem, remedy)
    return files


@dataclass(frozen=True)
class WarcFile:
    """A WARC or WET file as `Captures`; positions are byte offsets of records."""

    name: str

    def read(self, start: int, max_bytes: int) -> Iterator[tuple[Capture, int]]:
        """Yield (capture, offset of the next record) from an offset on."""
        before: Capture | None = None
        for capture in warc.read(Path(self.name), start, max_bytes):
            if before is not None:
                yield before, capture.offset
            before = capture
        if before is not None:
            yield before, Path(self.name).stat().st_size


@dataclass(frozen=True)
class DocumentFile:
    """An HTML, Markdown or text file as `Captures` with one capture; position 1 is its end."""

    name: str
    root: str

    def read(self, start: int, max_bytes: int) -> Iterator[tuple[Capture, int]]:
        """Yield (capture, 1) if `start` is 0, else nothing."""
        if start > 0:
            return
        path = Path(self.name)
        with path.open("rb") as file:
            body = file.read(max_bytes + 1)
        at = datetime.fromtimestamp(int(path.stat().st_mtime), UTC).replace(tzinfo=None)
        url = "file:///" + quote(str(path.relative_to(self.root)))
        headers = {"content-type": [FILE_TYPES[path.suffix.lower()]]}
        yield Capture(url, 200, headers, body, at, -1, is_text=False), 1


class WarcSource(Source):
    """WARC and WET files, for example of Common Crawl."""

    def __init__(self, config: CrawlConfig) -> None:
        files = _files_below(config.paths, WARC_SUFFIXES)
        self.files = [WarcFile(str(file)) for _, file in files]

    @override
    @contextmanager
    def open(self) -> Iterator[SourceContents]:
        yield SourceContents(captures=self.files)


class FilesSource(Source):
    """HTML, Markdown and text files."""

    def __init__(self, config: CrawlConfig) -> None:
        files = _files_below(config.paths, tuple(FILE_TYPES))
        self.files = [DocumentFile(str(file), str(root)) for root, file in files]

    @override
    @contextmanager
    def open(self) -> Iterator[SourceContents]:
        yield SourceContents(captures=self.files)


SOURCE_KINDS: dict[str, Any] = {"web": WebSource, "warc": WarcSource, "files": FilesSource}


def make_source(config: CrawlConfig, builtin_port: int = 0) -> Source:
    """The source that a recipe names.

    Raises:
        UserError: if the recipe's values do not fit the source.
    """
    if config.source == "web" and any(seed.startswith(BUILTIN) for seed in config.seeds):
        return BuiltinSource(config, builtin_port)
    kind = SOURCE_KINDS.get(config.source) or _by_dotted_path(config.source)
    source: Source = kind(config)
    return source


def _by_dotted_path(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    remedy = f"Use {', '.join(SOURCE_KINDS)}, or the dotted path of a class."
    problem = "there is no source of this name"
    return find_class(module, attribute, "crawl.source", name, problem, remedy)
