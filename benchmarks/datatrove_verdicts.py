"""Verdicts of datatrove's filters on the made-up texts of the tests, recorded for the tests to
compare with.

python -m venv /tmp/datatrove && /tmp/datatrove/bin/pip install 'datatrove[processing]' spacy nltk
/tmp/datatrove/bin/python benchmarks/datatrove_verdicts.py >
tests/crawlers/quality/datatrove_verdicts.json
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from tests.crawlers.support.texts import texts

FILTERS = {
    "gopher_quality": GopherQualityFilter(),
    "gopher_repetition": GopherRepetitionFilter(),
    "c4": C4QualityFilter(filter_no_terminal_punct=False),
    "fineweb": FineWebQualityFilter(),
}


def reason(name: str, text: str) -> str:
    """Why a filter drops a text, "" where it keeps it."""
    verdict = FILTERS[name].filter(Document(text=text, id="0"))
    return "" if verdict is True else verdict[1] if isinstance(verdict, tuple) else "dropped"


if __name__ == "__main__":
    rows = [{name: reason(name, text) for name in FILTERS} for text in texts()]
    version = importlib.metadata.version("datatrove")
    json.dump({"datatrove": version, "verdicts": rows}, sys.stdout, indent=0)
