"""`report.html`: what a run did, in tables and plots, in one file without scripts."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infra.artifacts import atomic_write
from infra.store.reading import rows
from loop.show import queries as views
from loop.show import tables
from loop.show.judge_plots import sheets_figure

matplotlib.use("Agg")
TEMPLATE = Path(__file__).parent / "report.html.jinja"
Connection = duckdb.DuckDBPyConnection
MOST_OUTCOMES = 8
_COLOURS = {"promote": "#1a7f37", "reject": "#cf222e", "hold": "#9a6700", "abort": "#6639ba"}


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return base64.b64encode(buffer.getvalue()).decode()


def _panels(
    count: int, most_columns: int, size: tuple[float, float], share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Axes in rows of at most so many columns, each of a size in inches."""
    columns = min(count, most_columns)
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


def plot_bits(connection: Connection) -> str | None:
    """Bits per byte of candidate and champion in each attempt, on the same documents, with 95%
    intervals.
    """
    decided = [row for row in views.generations(connection) if row["bits"] is not None]
    if not decided:
        return None
    figure, axes = _axes()
    for name, offset, colour in (("champion_bits", -0.06, "#57606a"), ("bits", 0.06, "#0969da")):
        x = [row["generation"] + offset for row in decided]
        error = [1.96 * (row["bits_error"] or 0.0) for row in decided]
        label = "candidate" if name == "bits" else "champion before it"
        axes.errorbar(
            x, [row[name] for row in decided], error, fmt="o", capsize=3, color=colour, label=label
        )
    for row in decided:
        axes.annotate(
            row["outcome"], (row["generation"] + 0.1, row["bits"]), color=_COLOURS[row["outcome"]]
        )
    axes.set_xticks([row["generation"] for row in decided])
    axes.set_xlim(
        min(r["generation"] for r in decided) - 0.5, max(r["generation"] for r in decided) + 0.7
    )
    axes.set(xlabel="generation", ylabel="bits per byte, held-out documents")
    axes.legend(frameon=False)
    return _png(figure)


def plot_evidence(connection: Connection) -> str | None:
    """Log E against units for every test, as a share of what it had to reach: a panel for each
    attempt.
    """
    decided = [row for row in views.generations(connection) if row["attempt"]]
    paths = [
        (row, tests) for row in decided if (tests := views.tests(connection, row["generation"]))
    ]
    if not paths:
        return None
    figure, panels = _panels(len(paths), 3, (4.2, 3.2), share_y=True)
    for axes, (row, tests) in zip(panels, paths, strict=True):
        for test in tests:
            shares = [0.0, *(value / test["log_threshold"] for value in test["path"])]
            style = "-" if test["role"] == "primary" else "--"
            axes.plot(
                shares,
                style,
                marker=".",
                markersize=3,
                label=f"{test['suite']} / {test['against']}",
            )
        axes.axhline(1.0, color="#57606a", linewidth=1)
        axes.set_title(
            f"generation {row['generation']}: {row['outcome']}",
            fontsize=9,
            color=_COLOURS[row["outcome"]],
        )
        axes.set(xlabel="units", ylabel="log evidence / needed")
        axes.legend(frameon=False, fontsize=7)
    return _png(figure)


def plot_exam(connection: Connection) -> str | None:
    """Gain over the anchor of every promoted champion on sealed documents, with 95% intervals."""
    found = rows(
        connection,
        "SELECT generation, value, standard_error, num_items FROM evaluation WHERE suite = 'sealed_exam'"
        " AND metric = 'gain' ORDER BY generation",
    )
    if not found:
        return None
    figure, axes = _axes()
    error = [1.96 * row["standard_error"] for row in found]
    numbers = [row["generation"] for row in found]
    axes.errorbar(
        numbers,
        [row["value"] for row in found],
        error,
        fmt="o-",
        capsize=3,
        color=_COLOURS["promote"],
    )
    axes.axhline(0.0, color="#57606a", linewidth=1)
    axes.set_xticks(numbers)
    axes.set(xlabel="promoted generation", ylabel="bits per byte won over the anchor")
    return _png(figure)


def plot_gap(connection: Connection) -> str | None:
    """What each generation learned from (the labeler's word, the reward) beside what the gate
    measured of it.
    """
    found = views.gaps(connection)
    panels = [
        (key, error, label)
        for key, error, label in (
            ("said", "said_error", "labeler's win rate against the champion"),
            ("reward", None, "reward won in training"),
        )
        if any(row[key] is not None for row in found)
    ]
    if not panels:
        return None
    figure = Figure(figsize=(4.6 * len(panels), 3.2), layout="constrained")
    for axes, (key, error, label) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True
    ):
        other = axes.twinx()
        numbers = [row["generation"] for row in found]
        _with_errors(axes, found, key, error, "o-", "C0")
        _with_errors(other, found, "gain", "gain_error", "s--", _COLOURS["promote"])
        axes.axhline(0.5 if key == "said" else 0.0, color="C0", linewidth=0.6)
        other.axhline(0.0, color=_COLOURS["promote"], linewidth=0.6)
        axes.set_xticks(numbers)
        axes.set_xlabel("generation")
        axes.set_ylabel(label, color="C0")
        other.set_ylabel("gain at the gate, bits per byte", color=_COLOURS["promote"])
    return _png(figure)


def _with_errors(
    axes: Axes, found: list[views.Row], key: str, error: str | None, style: str, colour: str
) -> None:
    """A line over generations with 95% intervals where there are errors."""
    there = [row for row in found if row[key] is not None]
    spread = [1.96 * (row[error] or 0.0) for row in there] if error else None
    axes.errorbar(
        [r["generation"] for r in there],
        [r[key] for r in there],
        spread,
        fmt=style,
        capsize=3,
        color=colour,
    )


def plot_labels(connection: Connection, generation: int) -> str | None:
    """Histograms of the values that labelers gave, by rubric."""
    found = rows(
        connection,
        "SELECT rubric, list(value) AS vals FROM judgment WHERE generation = ? AND status = 'scored'"
        " GROUP BY rubric ORDER BY rubric",
        [generation],
    )
    if not found:
        return None
    figure = Figure(figsize=(2.6 * len(found), 2.4), layout="constrained")
    for axes, row in zip(np.atleast_1d(figure.subplots(1, len(found))), found, strict=True):
        axes.hist(row["vals"], bins=20, color="#0969da")
        axes.set_title(f"{row['rubric']} (n = {len(row['vals'])})", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def plot_crawl(connection: Connection) -> str | None:
    """What became of the pages of each generation: kept, or dropped by reason."""
    found = views.crawl_outcomes(connection)
    if not found:
        return None
    outcomes = list(dict.fromkeys(row["outcome"] for row in found))
    generations = sorted({row["generation"] for row in found})
    shown = outcomes[:MOST_OUTCOMES]
    figure, axes = _axes(height=1.2 + 0.45 * len(generations))
    left = np.zeros(len(generations))
    for outcome in [*shown, *(["other reasons"] if len(outcomes) > len(shown) else [])]:
        pages = np.array(
            [
                sum(
                    r["pages"]
                    for r in found
                    if r["generation"] == g
                    and (
                        r["outcome"] == outcome
                        or (outcome == "other reasons" and r["outcome"] not in shown)
                    )
                )
                for g in generations
            ]
        )
        colour = _COLOURS["promote"] if outcome == "kept" else None
        axes.barh(
            [str(g) for g in generations],
            pages,
            left=left,
            label=f"{outcome} ({pages.sum():,})",
            color=colour,
        )
        left += pages
    axes.invert_yaxis()
    axes.set(xlabel="pages", ylabel="generation")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure)


def plot_training(connection: Connection) -> str | None:
    """Loss by step for each kind of step, a line a generation; for policy gradients the reward,
    which says more.
    """
    query = "SELECT generation, kind, step, loss, metrics FROM train_step ORDER BY generation, kind, step"
    found = rows(connection, query)
    if not found:
        return None
    for row in found:
        metrics = json.loads(row["metrics"])
        row["shown"] = "reward" if {"reward", "kl"} <= metrics.keys() else "loss"
        row["value"] = metrics["reward"] if row["shown"] == "reward" else row["loss"]
    kinds = list(dict.fromkeys(row["kind"] for row in found))
    figure, panels = _panels(len(kinds), 4, (3.2, 2.6))
    for axes, kind in zip(panels, kinds, strict=True):
        of_kind = [row for row in found if row["kind"] == kind]
        for generation in sorted({row["generation"] for row in of_kind}):
            steps = [row for row in of_kind if row["generation"] == generation]
            axes.plot(
                [r["step"] for r in steps],
                [r["value"] for r in steps],
                marker=".",
                label=f"generation {generation}",
            )
        axes.set(title=kind, xlabel="step", ylabel=of_kind[0]["shown"])
        axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def _generation(connection: Connection, row: views.Row) -> dict[str, Any]:
    number = row["generation"]
    return {
        "row": row,
        "stages": views.stages(connection, number),
        "tests": views.tests(connection, number),
        "measures": views.measures(connection, number),
        "data": views.data_facts(connection, number),
        "drops": views.drops(connection, number),
        "labels": views.labels(connection, number),
        "label_plot": plot_labels(connection, number),
        "win_rates": views.win_rates(connection, number),
        "clashes": views.clashes(connection, number),
        "heads": views.heads(connection, number),
        "samples": views.trained_samples(connection, number, 6),
        "preferences": views.trained_preferences(connection, number, 4),
    }


def write_report(run: Path, connection: Connection) -> Path:
    """Write `report.html` into the run's folder from what the store holds; the file's path."""
    facts = views.run_facts(connection)
    recipe = json.loads(facts["recipe"])
    rows_of_all = views.generations(connection)
    sheets = views.gold_sheets(connection)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["number"] = tables.number
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        recipe=recipe,
        facts=facts,
        generations=rows_of_all,
        details=[_generation(connection, row) for row in rows_of_all if row["generation"] > 0],
        datasheet=views.datasheet(connection),
        gold_sheets=sheets,
        plots={
            "bits": plot_bits(connection),
            "evidence": plot_evidence(connection),
            "exam": plot_exam(connection),
            "gap": plot_gap(connection),
            "training": plot_training(connection),
            "crawl": plot_crawl(connection),
            "gold": _png(sheets_figure(sheets)) if sheets else None,
        },
    )
    path = run / "report.html"
    atomic_write(path, page.encode())
    return path
