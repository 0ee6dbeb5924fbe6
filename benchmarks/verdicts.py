"""How fast a million cached verdicts are looked up: `python -m benchmarks.verdicts`."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.results import append
from infra.records import content_key
from infra.store import Store

BATCH, TURNS = 10_000, 20


def main() -> None:
    dice = random.Random(0)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(str(Path(folder) / "ratchet.duckdb"))
        keys: list[str] = []
        for size in (10_000, 100_000, 1_000_000):
            started = time.perf_counter()
            added = size - len(keys)
            while len(keys) < size:
                fresh = [
                    content_key("verdict", len(keys) + i)
                    for i in range(min(50_000, size - len(keys)))
                ]
                store.verdicts.keep(
                    [(key, (0.5,), (0.5, 0.5), 100, 1, "[-0.7, -0.7]") for key in fresh], []
                )
                keys += fresh
            adding = added / (time.perf_counter() - started)
            rates = []
            for _ in range(TURNS):
                wanted = dice.sample(keys, BATCH // 2) + [
                    content_key("unknown", dice.random()) for _ in range(BATCH // 2)
                ]
                started = time.perf_counter()
                cached = store.verdicts.cached(wanted)
                rates.append(BATCH / (time.perf_counter() - started))
                assert len(cached) == BATCH // 2
            lines.append(
                [
                    f"{size:,}",
                    f"{adding:,.0f}",
                    f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
                ]
            )
        store.close()
    names = [
        "verdicts",
        "added a second",
        f"looked up a second, {BATCH:,} at a time, half of them unknown",
    ]
    append(f"Verdict cache, {TURNS} turns", names, lines)


if __name__ == "__main__":
    main()
