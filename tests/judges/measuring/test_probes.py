"""Probe pairs are the same in every process: judgments are stored under the keys of their texts."""

from __future__ import annotations

import os
import subprocess
import sys

from judges.measuring.probes import PROBES
from tests import ROOT

SCRIPT = """
from infra.records import content_key
from judges.measuring.probes import PROBES, probe_pairs
for probe in PROBES:
    if probe != "executed_answer":  # which runs the sandbox
        print(probe, content_key(*(repr(pair) for pair in probe_pairs(probe, 24))))
"""


def digests(hash_seed: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_probe_pairs_do_not_depend_on_the_hash_seed() -> None:
    first = digests(1)
    assert len(first) == len(PROBES) - 1
    assert digests(2) == first == digests(3)
