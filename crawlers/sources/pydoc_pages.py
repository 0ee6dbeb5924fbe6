"""Renders the documentation of the standard library with pydoc.

    python -m crawlers.sources.pydoc_pages FOLDER

pydoc imports each module. Modules whose import opens windows or browsers or prints text are left
out, and so are tests and platform internals. Modules that cannot be imported are skipped.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil
import pydoc
import re
import sys
import warnings
from pathlib import Path

from typing_extensions import override

SKIPPED = re.compile(
    r"(^|\.)(_|test|tests|idlelib|turtledemo|lib2to3|ensurepip|antigravity|this|turtle|tkinter"
    r"|msilib|pip|__main__|distutils|pydoc_data|encodings|nturl2path|winreg|winsound|msvcrt|posix$"
    r"|posixpath|ntpath|sre_|curses)"
)
PACKAGES_WITH_PARTS = (
    "asyncio",
    "collections",
    "concurrent",
    "email",
    "html",
    "http",
    "importlib",
    "json",
    "logging",
    "unittest",
    "urllib",
    "xml",
    "zoneinfo",
)


def module_names() -> list[str]:
    """Names of the standard library's public modules and of the modules in some of its packages."""
    names = {name for name in sys.stdlib_module_names if not SKIPPED.search(name)}
    for package in PACKAGES_WITH_PARTS:
        with contextlib.suppress(ImportError):
            paths = getattr(importlib.import_module(package), "__path__", [])
            modules = pkgutil.walk_packages(paths, f"{package}.", onerror=lambda _: None)
            names.update(info.name for info in modules if not SKIPPED.search(info.name))
    return sorted(names)


class _Writer(pydoc.HTMLDoc):
    """pydoc's HTML writer without links into this machine's file system."""

    @override
    def filelink(self, url: str, path: str) -> str:
        return Path(path).name


def render(name: str) -> str | None:
    """The HTML page of a module; None if it cannot be imported."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            module = importlib.import_module(name)
            writer = _Writer()
            return writer.page(pydoc.describe(module), writer.document(module, name))
    except (Exception, SystemExit):  # an import can raise anything
        return None


def main(folder: Path) -> None:
    """Write one page for each module into a folder."""
    warnings.simplefilter("ignore")
    for name in module_names():
        page = render(name)
        if page is not None:
            (folder / f"{name}.html").write_text(page, encoding="utf-8", errors="replace")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
