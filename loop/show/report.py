"""`report.html`: what a run did, in tables and plots, in one file without scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from infra.artifacts import atomic_write, check_folder
from infra.store.queries import generations as generation_queries
from infra.store.queries import labels as label_queries
from infra.store.queries import training as training_queries
from infra.store.reader import QueryRow, Reader
from loop.record.facts import recipe_text
from loop.show import plots, tables, views
from loop.show.judge_plots import sheets_figure
from loop.show.value_features import value_features, value_makers

TEMPLATE = Path(__file__).parent / "report.html.jinja"


def write_report(run: Path, reader: Reader) -> Path:
    """Write `report.html` into the folder of a run; returns its path.

    Raises:
        UserError: if the folder cannot be written, or the run was stopped before it began.
    """
    check_folder(run, "--run")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["number"] = tables.number
    environment.globals["with_error"] = tables.with_error
    environment.globals["with_interval"] = tables.with_interval
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    path = run / "report.html"
    atomic_write(path, template.render(_contents(reader)).encode())
    return path


def _contents(reader: Reader) -> dict[str, Any]:
    """The values that the template shows."""
    facts = generation_queries.run_facts(reader)
    generations = views.measured_generations(reader)
    return {
        "recipe": json.loads(recipe_text(facts)),
        "facts": facts,
        "generations": generations,
        "aim": views.aim_words(generations),
        "details": [_generation(reader, row) for row in generations if row["generation"] > 0],
        "datasheet": label_queries.probe_results(reader),
        "gold_sheets": label_queries.gold_sheets(reader),
        "picking_tests": generation_queries.picking_tests(reader),
        "plots": _plots(reader),
    }


def _plots(reader: Reader) -> dict[str, str | None]:
    sheets = label_queries.gold_sheets(reader)
    return {
        "aim": plots.plot_aim(reader),
        "evidence": plots.plot_evidence(reader),
        "picking_worth": plots.plot_picking_worth(reader),
        "exam": plots.plot_exam(reader),
        "gap": plots.plot_gap(reader),
        "training": plots.plot_training(reader),
        "crawl": plots.plot_crawl(reader),
        "gold": plots.png(sheets_figure(sheets)) if sheets else None,
    }


def _generation(reader: Reader, row: QueryRow) -> dict[str, Any]:
    """Everything that the report shows about one generation."""
    number = row["generation"]
    return {
        "row": row,
        "stages": generation_queries.stages(reader, number),
        "candidates": generation_queries.candidates(reader, number),
        "tests": generation_queries.gate_tests(reader, number),
        "measures": generation_queries.measures(reader, number),
        "data": training_queries.data_facts(reader, number),
        "drops": generation_queries.drops(reader, number),
        "labels": label_queries.judgment_counts(reader, number),
        "label_plot": plots.plot_labels(reader, number),
        "win_rates": label_queries.win_rates(reader, number),
        "clashes": label_queries.clashes(reader, number),
        "value_features": value_features(reader, number),
        "value_makers": value_makers(reader, number),
        "samples": training_queries.trained_samples(reader, number, row["arm"], 6),
        "preferences": training_queries.trained_preferences(reader, number, row["arm"], 4),
    }
