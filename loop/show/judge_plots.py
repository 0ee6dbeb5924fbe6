"""Plots of datasheets."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from infra.records.labeler import Datasheet


def sheets_figure(sheets: Sequence[Datasheet]) -> Figure:
    """Accuracy with its interval beside the baselines, and the ladder of corruptions."""
    figure = Figure(figsize=(11, 1.6 + 0.55 * len(sheets)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    names = [f"{s.gold} ({s.num_pairs})" for s in sheets]
    rows = range(len(sheets))
    values = [s.accuracy.value for s in sheets]
    spread = [
        [s.accuracy.value - s.accuracy.low for s in sheets],
        [s.accuracy.high - s.accuracy.value for s in sheets],
    ]
    left.errorbar(values, rows, xerr=spread, fmt="o", capsize=3, label="labeler [95%]")
    left.plot(
        [s.baselines.majority for s in sheets], rows, "s", mfc="none", label="always one side"
    )
    left.plot([s.baselines.longer for s in sheets], rows, "^", mfc="none", label="by length alone")
    left.axvline(0.5, lw=0.8, ls=":", color="grey")
    left.set(xlim=(0, 1), xlabel="accuracy", yticks=list(rows), yticklabels=names)
    left.invert_yaxis()
    left.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    for sheet in sheets:
        right.plot(list(sheet.ladder), list(sheet.ladder.values()), "o-", label=sheet.gold)
    right.axhline(0.5, lw=0.8, ls=":", color="grey")
    right.set(ylim=(-0.05, 1.05), xlabel="words shuffled, %", ylabel="original preferred")
    right.legend(fontsize=7, loc="lower right")
    figure.suptitle(f"{sheets[0].labeler}, {sheets[0].rubric}" if sheets else "", fontsize=10)
    return figure
