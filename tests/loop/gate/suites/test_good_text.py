"""Which held-out documents count as text to aim for, and that a test on them is one of the weighted
mean."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from crawlers.quality.signals import quality_signals
from infra.records import Document, unit_hash
from infra.store import Store
from loop.gate.aim import AimConfig
from loop.gate.config import GateConfig
from loop.gate.evidence import GateRule, judge_gains
from loop.gate.suites.good_text import balanced_weights, good_documents
from loop.gate.suites.held_out_text import HeldOutBits
from tests.infra.support.store_rows import add_documents, candidate, page_row

NUM_RUNS = 1500


def test_a_domain_or_section_larger_than_the_mean_one_is_scaled_down_to_it() -> None:
    groups = [("a", "x")] * 6 + [("a", "y")] * 2 + [("b", "")] * 2
    weights = balanced_weights(groups)
    # 10 documents of 2 domains: 5 for each. 8 of `a` in 2 sections: 4 for each.
    assert weights[0] == pytest.approx(5 / 8 * 4 / 6)
    assert weights[6] == pytest.approx(5 / 8)
    assert weights[8] == 1.0
    assert balanced_weights([("a", "x")] * 7) == [1.0] * 7, "one group has nothing to be beside"
    assert balanced_weights([]) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1))
def test_no_group_weighs_more_than_the_mean_one(groups: list[tuple[str, str]]) -> None:
    weights = balanced_weights(groups)
    assert all(0 < weight <= 1 for weight in weights)
    domains = Counter(domain for domain, _ in groups)
    for domain, size in domains.items():
        own = sum(w for w, group in zip(weights, groups, strict=True) if group[0] == domain)
        assert own <= len(groups) / len(domains) + 1e-9
        assert own <= size + 1e-9


PROSE = (
    "The parser reads one line at a time and keeps what it has seen of the table so far. "
    "When a line ends in a comma, the next one belongs to it, and both are joined before they "
    "are split into fields. Fields in quotes may hold commas of their own. If a quote is left "
    "open at the end of the file, the parser says which line it was opened on. Most files have "
    "a first line with the names of the columns. They are used as keys of the rows that follow."
)
LISTING = "\n".join(f"- entry {i}" for i in range(80))


def stored(store: Store, documents: dict[str, tuple[str, str, str]]) -> None:
    """Held-out documents by id: (domain, section, text), with the signals of their texts."""
    pages = [
        page_row(f"p{key}", f"https://{domain}/{section}/{key}", domain, section=section)
        for key, (domain, section, _) in documents.items()
    ]
    rows = [
        Document(key, f"p{key}", page.url, "t", text, "en", "x", "gate", 1)
        for (key, (_, _, text)), page in zip(documents.items(), pages, strict=True)
    ]
    add_documents(store, rows, pages)
    values = [
        (key, name, float(value))
        for key, (_, _, text) in documents.items()
        for name, value in quality_signals(text).items()
    ]
    with store.database.transaction():
        store.database.connection.executemany("INSERT INTO signal VALUES (?, ?, ?)", values)


def test_documents_that_break_the_quality_rules_are_not_aimed_for(store: Store) -> None:
    stored(store, {"good": ("a", "", PROSE), "list": ("a", "", LISTING)})
    add_documents(store, [Document("bare", "q", "u", "t", PROSE, "en", "x", "gate", 1)])
    strict = good_documents(store, AimConfig(balanced=False), "gate", "s")
    assert strict == ["good"], "nothing is known of a document without signals"
    lenient = AimConfig(policy="lenient-1", balanced=False)
    assert good_documents(store, lenient, "gate", "s") == ["bare", "good", "list"]
    assert good_documents(store, lenient, "sealed", "s") == []


def test_a_run_without_a_good_document_is_told_so(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(store, {"list": ("a", "", LISTING)})
    suite = HeldOutBits(store, GateConfig(), AimConfig(), 10**6, "s")
    assert suite.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0) == []
    shown = capsys.readouterr()
    assert "0 of 1 held-out documents may be scored" in " ".join((shown.out + shown.err).split())


def test_a_section_with_most_pages_does_not_dominate_what_is_scored(store: Store) -> None:
    documents = {f"t{i:03}": ("a", "tags", PROSE) for i in range(160)}
    documents |= {f"b{i:03}": ("a", "blog", PROSE) for i in range(40)}
    stored(store, documents)
    chosen = good_documents(store, AimConfig(), "gate", "s")
    tags = sum(key.startswith("t") for key in chosen)
    assert len(chosen) - tags == 40
    assert 80 <= tags <= 120, "100 of 160 are expected"
    assert chosen == good_documents(store, AimConfig(), "gate", "s")
    assert chosen != good_documents(store, AimConfig(), "gate", "another")
    suite = HeldOutBits(store, GateConfig(chunk_documents=300), AimConfig(), 10**6, "s")
    drawn = suite.draw(store.gate.register_attempt([candidate("a", 1)], "b"), 0)
    assert {item.item_id for item in drawn} == set(chosen)


GROUPS = [("big", "")] * 90 + [("small", "")] * 10
GAINS = {"big": 0.1, "small": -0.5}
"""The mean gain is 0.04 over all documents; 50 of the one and 10 of the other make it 0."""


def gains_of_a_run(run: int, balanced: bool) -> np.ndarray:
    """Gains of 300 drawn documents with noise, of those that would be scored."""
    rng = np.random.default_rng(run)
    drawn = rng.integers(0, len(GROUPS), 300)
    weights = np.array(balanced_weights(GROUPS)) if balanced else np.ones(len(GROUPS))
    positions = np.array([unit_hash(str(run), "aim", i) for i in range(300)])
    kept = drawn[positions < weights[drawn]]
    means = np.array([GAINS[GROUPS[i][0]] for i in kept])
    return np.clip(means + rng.normal(0, 0.2, len(kept)), -1, 1)


@pytest.mark.parametrize(("balanced", "is_bounded"), [(True, True), (False, False)])
def test_without_a_gain_in_the_weighted_mean_promotions_stay_within_the_bound(
    balanced: bool, is_bounded: bool
) -> None:
    threshold = -math.log(0.05)
    passed = sum(
        judge_gains(gains_of_a_run(run, balanced), GateRule(reject_alpha=1e-9), threshold).outcome
        == "pass"
        for run in range(NUM_RUNS)
    )
    p_value = binomtest(passed, NUM_RUNS, 0.05, alternative="greater").pvalue
    assert (p_value > 1e-3) == is_bounded, passed


def test_the_mean_of_scored_documents_is_the_weighted_mean() -> None:
    means = [gains_of_a_run(run, balanced=True).mean() for run in range(300)]
    assert np.mean(means) == pytest.approx(0.0, abs=4 * np.std(means) / math.sqrt(300))
