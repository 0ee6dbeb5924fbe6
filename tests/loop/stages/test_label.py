"""How many held-out pages have questions, beside what the next attempt needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from infra.records import Document, Sample
from infra.store import Store
from loop.data.questions import QUESTION_KIND
from loop.stages.label import few_questions
from tests.infra.support.store_rows import add_documents, candidate
from tests.loop.support.decided_runs import new_run


def add_pages(store: Store, numbers: Iterable[int]) -> None:
    """Held-out pages with two questions each."""
    for i in numbers:
        name = f"d{i}"
        page = Document(name, "p", f"u{i}", "t", f"text {i}", "en", "x", "gate", 1)
        add_documents(store, [page])
        store.labels.add_samples(
            [
                Sample(f"q{k}{name}", name, QUESTION_KIND, f"{k}{name}?", "7", "web", 1, 0, 0)
                for k in range(2)
            ]
        )


def test_too_few_pages_with_questions_are_reported_with_a_remedy(tmp_path: Path) -> None:
    run = new_run(tmp_path, ["aim.kind=answers"])
    add_pages(run.store, range(10))
    warning = few_questions(run)
    assert "10 pages with questions are left" in warning
    assert "at least 11 to show a gain of 0.1: raise budget.pages" in warning
    add_pages(run.store, range(10, 16))
    assert few_questions(run) == "", "sixteen are enough for the first attempt"
    run.store.gate.register_attempt([candidate("one", 1)], "anchor")
    items = pa.table({"item_id": ["q0d0", "q0d1", "q0d2"], "unit": ["u0", "u1", "u2"]})
    run.store.gate.draw_items(1, "answers", 0, 9, items, "salt", False)
    assert "13 pages with questions are left" in few_questions(run), "three of them are used"
    run.store.close()
