"""Render the standard library's documentation with pydoc: `python -m crawlers.sources.pydoc_pages
FOLDER`.

Documenting a module imports it. Modules whose import opens windows, browsers or prints are left
out, and so are tests and platform internals; what fails to import on this machine is skipped.
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

SKIPPED = re.compile(
    r"(^|\.)(_|test|tests|idlelib|turtledemo|lib2to3|ensurepip|antigravity|this|turtle|tkinter|msilib|pip|"
    r"__main__|distutils|pydoc_data|encodings|nturl2path|winreg|winsound|msvcrt|posix$|posixpath|ntpath|sre_|curses)"
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
    """Public modules of the standard library, with the parts of its packages, in order."""
    names = {name for name in sys.stdlib_module_names if not SKIPPED.search(name)}
    for package in PACKAGES_WITH_PARTS:
        with contextlib.suppress(ImportError):
            paths = getattr(importlib.import_module(package), "__path__", [])
            found = (
                info.name
                for info in pkgutil.walk_packages(paths, f"{package}.", onerror=lambda _: None)
            )
            names.update(name for name in found if not SKIPPED.search(name))
    return sorted(names)


class _Writer(pydoc.HTMLDoc):
    """pydoc's writer without links into this machine's file system."""

    def filelink(self, url: str, path: str) -> str:  # noqa: ARG002
        """The file's name only; pydoc would link to where it lies on this machine."""
        return Path(path).name


def render(name: str) -> str | None:
    """The HTML page of a module, or None where it cannot be imported here."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            module = importlib.import_module(name)
            writer = _Writer()
            return writer.page(pydoc.describe(module), writer.document(module, name))
    except (Exception, SystemExit):  # any module may fail to import, each in its own way
        return None


def main(folder: Path) -> None:
    """Write one page a module into `folder`."""
    warnings.simplefilter("ignore")
    for name in module_names():
        page = render(name)
        if page is not None:
            (folder / f"{name}.html").write_text(page, encoding="utf-8", errors="replace")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
