"""Plots of a run, each as a PNG in base64, or None if there is nothing to show."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infra.store.queries import crawl as crawl_queries
from infra.store.queries import generations as generation_queries
from infra.store.queries import labels as label_queries
from infra.store.queries import training as training_queries
from infra.store.reader import QueryRow, Reader
from loop.show import views
from loop.show.tables import INTERVAL

MAX_OUTCOMES = 8
"""Outcomes of pages shown by name; the others are added up."""
OTHER = "other reasons"
_GREEN, _BLUE, _GREY = "#1a7f37", "#0969da", "#57606a"
_COLOURS = {"promote": _GREEN, "reject": "#cf222e", "hold": "#9a6700", "abort": "#6639ba"}


def png(figure: Figure) -> str:
    """A figure as a PNG in base64."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return base64.b64encode(buffer.getvalue()).decode()


def _panels(
    count: int, max_columns: int, size: tuple[float, float], share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Axes in rows of at most `max_columns`; `size` is that of one panel, in inches."""
    columns = min(count, max_columns)
    lines = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * lines), layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(lines, columns, sharey=share_y)).ravel())
    for axes in panels[:count]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def _axes(width: float = 6.4, height: float = 3.4) -> tuple[Figure, Axes]:
    figure, (axes,) = _panels(1, 1, (width, height))
    return figure, axes


def plot_aim(reader: Reader) -> str | None:
    """The aim by generation: candidate and champion on the same items, with 95% intervals."""
    rows = [r for r in views.measured_generations(reader) if r["aim"] is not None]
    if not rows:
        return None
    figure, axes = _axes()
    errors = [INTERVAL * (r["aim_error"] or 0.0) for r in rows]
    numbers = [r["generation"] for r in rows]
    series = (
        ("champion_aim", "champion before it", -0.06, _GREY),
        ("aim", "candidate", 0.06, _BLUE),
    )
    for key, label, offset, colour in series:
        x, y = [n + offset for n in numbers], [r[key] for r in rows]
        axes.errorbar(x, y, errors, fmt="o", capsize=3, color=colour, label=label)
    for r in rows:
        position = (r["generation"] + 0.1, r["aim"])
        axes.annotate(r["outcome"], position, color=_COLOURS[r["outcome"]])
    axes.set_xticks(numbers)
    axes.set_xlim(min(numbers) - 0.5, max(numbers) + 0.7)
    axes.set(xlabel="generation", ylabel=f"aim: {views.aim_words(rows)}")
    axes.legend(frameon=False)
    return png(figure)


def plot_evidence(reader: Reader) -> str | None:
    """The evidence of every test after each unit, as a share of its threshold."""
    attempts = [r for r in views.measured_generations(reader) if r["attempt"]]
    tests = [(r, generation_queries.gate_tests(reader, r["generation"])) for r in attempts]
    tested = [(row, members) for row, members in tests if members]
    if not tested:
        return None
    figure, panels = _panels(len(tested), 3, (4.2, 3.2), share_y=True)
    for axes, (row, members) in zip(panels, tested, strict=True):
        for test in members:
            shares = [0.0, *(value / test["log_threshold"] for value in test["path"])]
            style = "-" if test["role"] == "primary" else "--"
            label = f"{test['arm']}: {test['suite']} / {test['against']}"
            axes.plot(shares, style, marker=".", markersize=3, label=label)
        axes.axhline(1.0, color=_GREY, linewidth=1)
        title = f"generation {row['generation']}: {row['outcome']}"
        axes.set_title(title, fontsize=9, color=_COLOURS[row["outcome"]])
        axes.set(xlabel="units", ylabel="log evidence / needed")
        axes.legend(frameon=False, fontsize=7)
    return png(figure)


def plot_picking_worth(reader: Reader) -> str | None:
    """The evidence that picking pays, and that it does not, after each unit since the last verdict.

    The tests of one stretch of units share a panel; a verdict ends it.
    """
    rows = generation_queries.picking_tests(reader)
    last = [row for row in rows if row["verdict"] != "open" or row is rows[-1]]
    if not last:
        return None
    figure, panels = _panels(len(last), 3, (4.2, 3.2), share_y=True)
    series = (
        ("pay_path", "picking pays", _GREEN),
        ("useless_path", "they bring too little", "#9a6700"),
        ("cost_path", "they cost", "#cf222e"),
    )
    for axes, row in zip(panels, last, strict=True):
        for key, label, colour in series:
            axes.plot([0.0, *row[key]], label=label, color=colour)
        axes.axhline(row["log_threshold"], color=_GREY, linewidth=1)
        title = f"up to generation {row['generation']}: {row['verdict']}"
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="units", ylabel="log evidence")
        axes.legend(frameon=False, fontsize=7)
    return png(figure)


def plot_exam(reader: Reader) -> str | None:
    """Gain over the anchor of every promoted champion on what is sealed, with 95% intervals."""
    rows = generation_queries.sealed_gains(reader)
    if not rows:
        return None
    figure, axes = _axes()
    errors = [INTERVAL * r["standard_error"] for r in rows]
    numbers, values = [r["generation"] for r in rows], [r["value"] for r in rows]
    axes.errorbar(numbers, values, errors, fmt="o-", capsize=3, color=_GREEN)
    axes.axhline(0.0, color=_GREY, linewidth=1)
    axes.set_xticks(numbers)
    unit = views.gain_unit(views.measured_generations(reader))
    axes.set(xlabel="promoted generation", ylabel=f"gain over the anchor, {unit}")
    return png(figure)


def plot_gap(reader: Reader) -> str | None:
    """What training aimed at (labeler's preference, reward) beside the gain at the gate."""
    rows = views.proxy_gaps(reader)
    candidates = (
        ("win_rate", "win_rate_error", 0.5, "labeler's win rate against the champion"),
        ("reward", None, 0.0, "rise of the reward in training"),
    )
    shown = [one for one in candidates if any(row[one[0]] is not None for row in rows)]
    if not shown:
        return None
    unit = views.gain_unit(views.measured_generations(reader))
    figure = Figure(figsize=(4.6 * len(shown), 3.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(shown)))
    for axes, (key, error, neutral, label) in zip(panels, shown, strict=True):
        gains = axes.twinx()
        _error_line(axes, rows, key, error, "o-", "C0")
        _error_line(gains, rows, "gain", "gain_error", "s--", _GREEN)
        axes.axhline(neutral, color="C0", linewidth=0.6)
        gains.axhline(0.0, color=_GREEN, linewidth=0.6)
        axes.set_xticks([row["generation"] for row in rows])
        axes.set_xlabel("generation")
        axes.set_ylabel(label, color="C0")
        gains.set_ylabel(f"gain at the gate, {unit}", color=_GREEN)
    return png(figure)


def _error_line(
    axes: Axes, rows: list[QueryRow], key: str, error: str | None, style: str, colour: str
) -> None:
    """A line over the generations that have a value, with 95% intervals if there are errors."""
    with_value = [row for row in rows if row[key] is not None]
    x, y = [r["generation"] for r in with_value], [r[key] for r in with_value]
    spread = [INTERVAL * (r[error] or 0.0) for r in with_value] if error else None
    axes.errorbar(x, y, spread, fmt=style, capsize=3, color=colour)


def plot_labels(reader: Reader, generation: int) -> str | None:
    """Histograms of the values that the labeler gave, by rubric."""
    rows = label_queries.judgment_values(reader, generation)
    if not rows:
        return None
    figure = Figure(figsize=(2.6 * len(rows), 2.4), layout="constrained")
    for axes, row in zip(np.atleast_1d(figure.subplots(1, len(rows))), rows, strict=True):
        axes.hist(row["vals"], bins=20, color=_BLUE)
        axes.set_title(f"{row['rubric']} (n = {len(row['vals'])})", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def plot_crawl(reader: Reader) -> str | None:
    """The pages of each generation: kept, or dropped by reason."""
    rows = crawl_queries.outcomes(reader)
    if not rows:
        return None
    numbers = sorted({row["generation"] for row in rows})
    figure, axes = _axes(height=1.2 + 0.45 * len(numbers))
    left = np.zeros(len(numbers))
    for outcome, counts in _pages_by_outcome(rows).items():
        pages = np.array([counts.get(number, 0) for number in numbers])
        colour = _GREEN if outcome == "kept" else None
        label, names = f"{outcome} ({pages.sum():,})", [str(number) for number in numbers]
        axes.barh(names, pages, left=left, label=label, color=colour)
        left += pages
    axes.invert_yaxis()
    axes.set(xlabel="pages", ylabel="generation")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return png(figure)


def _pages_by_outcome(rows: list[QueryRow]) -> dict[str, dict[int, int]]:
    """Pages by outcome and generation; rare outcomes are added up as `OTHER`, which is last."""
    outcomes = list(dict.fromkeys(row["outcome"] for row in rows))
    names = outcomes[:MAX_OUTCOMES]
    if len(outcomes) > MAX_OUTCOMES:
        names.append(OTHER)
    counts: dict[str, dict[int, int]] = {name: {} for name in names}
    for row in rows:
        by_generation = counts[row["outcome"] if row["outcome"] in counts else OTHER]
        number = row["generation"]
        by_generation[number] = by_generation.get(number, 0) + row["pages"]
    return counts


def plot_training(reader: Reader) -> str | None:
    """Loss by step for each kind of step; for policy gradients the reward instead."""
    rows = training_queries.step_metrics(reader)
    if not rows:
        return None
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure, panels = _panels(len(kinds), 4, (3.2, 2.6))
    for axes, kind in zip(panels, kinds, strict=True):
        _plot_kind(axes, kind, [row for row in rows if row["kind"] == kind])
    return png(figure)


def _plot_kind(axes: Axes, kind: str, rows: list[QueryRow]) -> None:
    measure = ""
    for candidate in sorted({(row["generation"], row["arm"]) for row in rows}):
        steps = [row for row in rows if (row["generation"], row["arm"]) == candidate]
        points = [_training_measure(row) for row in steps]
        measure = points[0][0]
        x, y = [row["step"] for row in steps], [value for _, value in points]
        axes.plot(x, y, marker=".", label=f"generation {candidate[0]}, {candidate[1]}")
    axes.set(title=kind, xlabel="step", ylabel=measure)
    axes.legend(frameon=False, fontsize=8)


def _training_measure(row: QueryRow) -> tuple[str, float]:
    """("reward", its mean) for a policy gradient, else ("loss", its value)."""
    metrics = json.loads(row["metrics"])
    if {"reward", "kl"} <= metrics.keys():
        return "reward", metrics["reward"]
    return "loss", row["loss"]
