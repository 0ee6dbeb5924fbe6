"""Documents per CPU-second from a WARC file to filtered, deduplicated rows, against datatrove.

    python -m venv /tmp/datatrove
    /tmp/datatrove/bin/pip install 'datatrove[processing,io]' spacy orjson xxhash lxml_html_clean
    python -m benchmarks.documents --datatrove /tmp/datatrove/bin/python [--pages 3000] [--repeats
    3]
    python -m benchmarks.documents --datatrove /tmp/datatrove/bin/python --warc CC-MAIN-...warc.gz

The same file goes through the same steps on both sides: extraction (trafilatura in precision mode
there, the cascade here), Gopher quality and repetition, C4, FineWeb, personal data, MinHash of 14
bands of 8 on word 5-grams, clusters, one kept of each. datatrove writes JSON lines, Ratchet its
DuckDB rows. Left out there are language identification, whose model must be downloaded, and exact
hashes, n-grams, permissions and bodies, which only Ratchet has. CPU time is user and system of
everything that a side starts, imports included.

Without --warc the file's pages are made up: of every ten, four are articles, three are lists, stubs
and other pages that filters drop, two are pages of code (the built-in site), and one repeats an
article with some words changed. The ratio is given in pages read and in documents kept, since
Ratchet's policy keeps pages of code that datatrove's filters, which know prose alone, drop.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import append
from crawlers.keeping import warc

ROOT = Path(__file__).resolve().parent.parent
NAVIGATION = (
    "<nav><ul>"
    + "".join(f'<li><a href="/s{i}">Section {i}</a></li>' for i in range(30))
    + "</ul></nav>"
)
FOOTER = (
    "<footer><p>All rights reserved. Privacy policy. Terms of use. "
    "Subscribe to our newsletter.</p></footer>"
)


def _wrap(number: int, inner: str) -> bytes:
    head = f"<html><head><title>Page {number}</title><meta charset=utf-8></head><body>"
    return f"{head}{NAVIGATION}<main>{inner}</main>{FOOTER}</body></html>".encode()


def pages(count: int) -> list[bytes]:
    """The bodies of the file."""
    from crawlers.sources.builtin_site import site_folder
    from tests.crawlers.support.texts import KINDS, paragraph

    code = sorted(site_folder().glob("*.html"))
    made: list[bytes] = []
    articles: list[list[str]] = []
    for i in range(count):
        dice = random.Random(i)
        kind = i % 10
        if kind < 4:
            articles.append(
                [paragraph(dice, dice.randint(3, 8)) for _ in range(dice.randint(5, 14))]
            )
            made.append(_wrap(i, "<h1>Title</h1>" + "".join(f"<p>{p}</p>" for p in articles[-1])))
        elif kind < 7:
            text = KINDS[dice.randrange(len(KINDS))](dice)
            made.append(_wrap(i, "".join(f"<p>{line}</p>" for line in text.split("\n"))))
        elif kind < 9:
            made.append(code[dice.randrange(len(code))].read_bytes())
        else:
            words = "</p><p>".join(dice.choice(articles)).split(" ")
            words[dice.randrange(len(words))] = "changed"
            made.append(_wrap(i, "<h1>Title</h1><p>" + " ".join(words) + "</p>"))
    return made


def write_warc(path: Path, count: int) -> None:
    """The file that both sides read."""
    from infra.records import now

    headers = {"content-type": ["text/html; charset=utf-8"]}
    with path.open("wb") as file:
        file.write(warc.warcinfo("benchmark", now()))
        for i, body in enumerate(pages(count)):
            file.write(
                warc.response(f"http://site{i % 50}.example.org/{i}", now(), "", 200, headers, body)
            )


def ours(warc_file: str, folder: str) -> None:
    """Our side, in this process."""
    from crawlers.config import CrawlConfig
    from crawlers.keeping.curate import curate_documents
    from crawlers.sources.ingest import IngestWorker
    from crawlers.sources.sources import WarcFile
    from infra.store import Store

    config = CrawlConfig(source="warc", paths=[warc_file])
    store = Store(f"{folder}/ratchet.duckdb")
    store.crawl.start(1, [], 1)
    IngestWorker(config, "salt", store.crawl).ingest([WarcFile(warc_file)], 1, config.limits(10**9))
    curate_documents(store, config, 1)
    kept = store.crawl.counts(1)["documents"]
    store.close()
    print(json.dumps(kept))


def _run(command: list[str]) -> tuple[int, float, float]:
    """(documents kept, CPU seconds, wall seconds) of a command and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-3000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout.strip().splitlines()[-1]), cpu, time.perf_counter() - start


def compare(datatrove: str, warc_file: str, count: int, repeats: int) -> None:
    """Take turns on one file: the one given, or one of `count` made-up pages."""
    cpu: dict[str, list[float]] = {"datatrove": [], "ratchet": []}
    kept: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        file = Path(warc_file).resolve() if warc_file else Path(name) / "pages.warc.gz"
        if warc_file:
            count = sum(capture.status == 200 for capture in warc.read(file))
        else:
            write_warc(file, count)
        for turn in range(repeats):
            for side in cpu:
                folder = Path(name) / f"{side}-{turn}"
                folder.mkdir()
                command = [
                    datatrove,
                    str(ROOT / "benchmarks" / "documents_datatrove.py"),
                    str(file.parent),
                    file.name,
                    str(folder),
                ]
                if side == "ratchet":
                    command = [
                        sys.executable,
                        "-m",
                        "benchmarks.documents",
                        "--ours",
                        str(file),
                        str(folder),
                    ]
                kept[side], seconds, _ = _run(command)
                cpu[side].append(seconds)
    version = subprocess.run(
        [datatrove, "-c", "import importlib.metadata as m; print(m.version('datatrove'))"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    ratios = [a / b for a, b in zip(cpu["datatrove"], cpu["ratchet"], strict=True)]
    more = kept["ratchet"] / kept["datatrove"]
    rows = [
        [
            name,
            f"{count / statistics.median(cpu[side]):.1f}",
            str(kept[side]),
            f"{kept[side] / statistics.median(cpu[side]):.1f}",
            _spread(by),
            _spread([r * factor for r in by]),
        ]
        for name, side, by, factor in (
            (f"datatrove {version}", "datatrove", [1.0], 1.0),
            ("Ratchet", "ratchet", ratios, more),
        )
    ]
    append(
        f"Documents: {count} {'given' if warc_file else 'made-up'} pages from WARC to rows, "
        f"{repeats} turns",
        [
            "pipeline",
            "pages per CPU-second",
            "documents kept",
            "documents per CPU-second",
            "ratio in pages",
            "ratio in documents",
        ],
        rows,
    )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datatrove", default="")
    parser.add_argument("--pages", type=int, default=3000)
    parser.add_argument(
        "--warc", default="", help="a WARC file of your own instead of made-up pages"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ours", nargs=2, default=None)
    options = parser.parse_args()
    if options.ours:
        ours(*options.ours)
    elif options.datatrove:
        compare(options.datatrove, options.warc, options.pages, options.repeats)
    else:
        parser.error("--datatrove PYTHON is the interpreter of an environment that has datatrove")


if __name__ == "__main__":
    main()
