"""What an installed package needs beside its modules is named in `pyproject.toml`."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import PurePath

from tests import ROOT

PACKAGES = ("infra", "crawlers", "judges", "trainers", "loop")


def test_every_data_file_of_the_packages_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    data = [PurePath(name) for name in listed.stdout.split() if not name.endswith(".py")]
    assert len(data) > 30
    for file in data:
        package, inside = file.parts[0], file.relative_to(file.parts[0])
        matches = [
            pattern
            for pattern in patterns.get(package, [])
            if len(PurePath(pattern).parts) == len(inside.parts) and inside.match(pattern)
        ]
        assert matches, f"{file} is in no pattern of package-data"
