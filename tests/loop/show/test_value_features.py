"""What the value of passages goes with, on stores whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from infra.records import Judgment, Sample
from infra.store import Store
from infra.store.reader import open_reader
from loop.show.value_features import clustered_slope, value_features, value_makers


def test_the_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    x = rng.random(50)
    y = 2 * x + rng.normal(0, 0.1, 50)
    slope, _ = clustered_slope(x.tolist(), y.tolist(), range(50))
    assert slope == pytest.approx(np.polyfit(x, y, 1)[0])


def test_its_error_is_that_of_a_bootstrap_over_clusters() -> None:
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(60), 4)
    x = np.repeat(rng.random(60), 4) + rng.normal(0, 0.1, 240)
    y = x + np.repeat(rng.normal(0, 0.3, 60), 4) + rng.normal(0, 0.1, 240)
    _, error = clustered_slope(x.tolist(), y.tolist(), clusters.tolist())
    members = [np.flatnonzero(clusters == c) for c in range(60)]
    slopes = []
    for _ in range(2000):
        rows = np.concatenate([members[c] for c in rng.integers(0, 60, 60)])
        slopes.append(np.polyfit(x[rows], y[rows], 1)[0])
    assert error == pytest.approx(np.std(slopes), rel=0.15)
    _, naive = clustered_slope(x.tolist(), y.tolist(), range(240))
    assert naive < 0.8 * error, "points of a cluster are not independent"


@pytest.mark.parametrize("x", [[], [1.0] * 20, list(range(5))])
def test_too_few_or_equal_points_have_no_slope(x: list[float]) -> None:
    assert all(map(math.isnan, clustered_slope(x, [float(i) for i in range(len(x))], x)))


def judgment(subject: str, rubric: str, value: float) -> Judgment:
    return Judgment(
        judgment_id=f"{rubric}/{subject}",
        subject_id=subject,
        labeler="l",
        rubric=rubric,
        method="m",
        status="scored",
        reason="",
        value=value,
        detail="",
        num_tokens=0,
        generation=1,
        mode="pointwise",
    )


def test_a_rubric_that_predicts_value_is_told_from_a_coin_and_from_its_inverse(
    tmp_path: Path,
) -> None:
    file = tmp_path / "ratchet.duckdb"
    store, rng = Store(str(file)), np.random.default_rng(2)
    values = rng.random(120)
    names = [f"s{i:03}" for i in range(120)]
    store.labels.add_samples(
        [
            Sample(n, f"d{i}", "passage", "", f"text {n}", "web", 1, 0, 0)
            for i, n in enumerate(names)
        ]
    )
    store.labelers.add_surprise(1, "c", [(n, 2.0) for n in names])
    tuned = [(n, 2.0 - v) for n, v in zip(names, values.tolist(), strict=True)]
    store.labelers.add_surprise(1, "t", tuned, is_tuned=True)
    coin = rng.random(120)
    store.labels.add_judgments(
        [judgment(n, "good", v) for n, v in zip(names, values.tolist(), strict=True)]
        + [judgment(n, "inverted", 1 - v) for n, v in zip(names, values.tolist(), strict=True)]
        + [judgment(n, "coin", v) for n, v in zip(names, coin.tolist(), strict=True)]
    )
    store.close()
    with open_reader(tmp_path) as reader:
        rows = {row["name"]: row for row in value_features(reader, 1)}
        assert value_features(reader, 2) == []
    assert rows["rubric good"]["slope"] == pytest.approx(1.0, abs=0.1)
    assert rows["rubric inverted"]["slope"] == pytest.approx(-1.0, abs=0.1)
    coin_row = rows["rubric coin"]
    assert abs(coin_row["slope"]) < 3 * coin_row["error"] < 0.5
    assert rows["rubric good"]["passages"] == 120
    assert math.isnan(rows["surprise"]["slope"]), "it is the same for all"


def test_makers_are_ranked_by_the_mean_value_of_their_samples(tmp_path: Path) -> None:
    made = [
        ("passage", "web", ""),
        ("demonstration", "web", "output"),
        ("demonstration", "web", "math"),
        ("demonstration", "model", "quote"),
        ("demonstration", "model", ""),
    ]
    store = Store(str(tmp_path / "ratchet.duckdb"))
    for rank, (kind, origin, check) in enumerate(made):
        names = [f"{rank}/{i}" for i in range(4)]
        store.labels.add_samples(
            [Sample(n, f"d{n}", kind, "", "text", origin, 1, 0, 0, check) for n in names]
        )
        store.labelers.add_surprise(1, "c", [(n, 2.0) for n in names])
        tuned = [(n, 2.0 - rank + 0.1 * (-1) ** i) for i, n in enumerate(names)]
        store.labelers.add_surprise(1, "t", tuned, is_tuned=True)
    store.close()
    with open_reader(tmp_path) as reader:
        rows = value_makers(reader, 1)
        assert value_makers(reader, 2) == []
        assert sum(row["passages"] for row in value_features(reader, 1)) == 3 * 4
    assert [row["name"] for row in rows] == [
        "questions",
        "questions with short answers",
        "stated equations",
        "executed examples",
        "passages",
    ]
    assert [row["mean"] for row in rows] == pytest.approx([4, 3, 2, 1, 0], abs=1e-9)
    assert all(row["error"] == pytest.approx(0.1 / 3**0.5) for row in rows)
