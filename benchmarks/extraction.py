"""How well the main text is found, on public pages whose articles are known.

    git clone https://github.com/scrapinghub/article-extraction-benchmark     # 181 pages
    python -m benchmarks.extraction article-extraction-benchmark

    git clone https://github.com/mozilla/readability                          # its test pages
    python -m benchmarks.extraction readability/test/test-pages

For Mozilla's pages the known article is what Readability is expected to find, and some hand-made
pages are among them. The measure is the first benchmark's: shingles of four words as bags,
precision and recall averaged over pages, F1 from the two averages, with a bootstrap interval of
95%. Peers are resiliparse and trafilatura alone.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import trafilatura
from resiliparse.extract.html2text import extract_plain_text

from benchmarks.results import append
from crawlers.reading.parse_body import parse_body
from crawlers.reading.parsed_body import ParseTask

SHINGLE_WORDS = 4
RESAMPLES = 1000
_WORD = re.compile(r"\w+")


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = _WORD.findall(text)
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    return Counter(
        shingle for i in range(count) if (shingle := tuple(words[i : i + SHINGLE_WORDS]))
    )


def score(truth: str, extracted: str) -> tuple[float, float]:
    """(precision, recall) of one page; nothing found of nothing is right."""
    a, b = _shingles(truth), _shingles(extracted)
    shared = (a & b).total()
    precision = shared / b.total() if b else float(not a)
    recall = shared / a.total() if a else float(not b)
    return precision, recall


def f1(scores: list[tuple[float, float]]) -> float:
    """From the mean precision and the mean recall."""
    precision, recall = (statistics.mean(column) for column in zip(*scores, strict=True))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def interval(scores: list[tuple[float, float]]) -> tuple[float, float]:
    """The middle 95% of the F1 of resampled pages."""
    dice = random.Random(0)
    values = sorted(f1(dice.choices(scores, k=len(scores))) for _ in range(RESAMPLES))
    return values[int(0.025 * RESAMPLES)], values[int(0.975 * RESAMPLES) - 1]


EXTRACTORS: dict[str, Callable[[bytes], str]] = {
    "resiliparse": lambda body: extract_plain_text(
        body.decode("utf-8", "replace"), main_content=True
    ),
    "trafilatura, precision": lambda body: (
        trafilatura.extract(body, favor_precision=True, include_comments=False) or ""
    ),
    "Ratchet": lambda body: (
        parse_body(ParseTask("html", "http://localhost/", "text/html", False, body)).text
    ),
}


Page = tuple[bytes, str]
"""A page's body and the article in it."""


def article_benchmark(folder: Path) -> list[Page]:
    """Pages of scrapinghub's benchmark."""
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    bodies = {
        key: gzip.decompress((folder / "html" / f"{key}.html.gz").read_bytes()) for key in truth
    }
    return [(bodies[key], item["articleBody"]) for key, item in truth.items()]


def readability_pages(folder: Path) -> list[Page]:
    """Mozilla's test pages."""
    return [
        (
            page.read_bytes(),
            extract_plain_text(page.with_name("expected.html").read_text(encoding="utf-8")),
        )
        for page in sorted(folder.glob("*/source.html"))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    pages = (
        article_benchmark(folder)
        if (folder / "ground-truth.json").is_file()
        else readability_pages(folder)
    )
    if not pages:
        parser.error(
            f"{folder} has neither ground-truth.json nor */source.html; "
            "clone a benchmark and give its folder"
        )
    rows = []
    for name, extract in EXTRACTORS.items():
        scores = [score(truth, extract(body)) for body, truth in pages]
        low, high = interval(scores)
        precision, recall = (statistics.mean(column) for column in zip(*scores, strict=True))
        rows.append(
            [name, f"{f1(scores):.3f} [{low:.3f}, {high:.3f}]", f"{precision:.3f}", f"{recall:.3f}"]
        )
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}" for p in ("resiliparse", "trafilatura")
    )
    append(
        f"Extraction: {len(pages)} pages of {folder.name} ({versions})",
        ["extractor", "F1 [95%]", "precision", "recall"],
        rows,
    )


if __name__ == "__main__":
    main()
