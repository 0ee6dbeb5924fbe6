"""Views of a run as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
from rich.markup import escape
from rich.table import Table

from infra.console import plain
from loop.show import queries as views

TOP_GROUPS = 12
Connection = duckdb.DuckDBPyConnection


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def table(title: str, columns: list[str], lines: list[list[str]]) -> Table:
    """A terminal table; text from the web is shown as text, never as markup."""
    result = Table(title=title, title_justify="left")
    for column in columns:
        result.add_column(column, overflow="fold")
    for line in lines:
        result.add_row(*(escape(plain(cell)) for cell in line))
    return result


def generations_table(connection: duckdb.DuckDBPyConnection) -> Table:
    """The table that a run prints at its end."""
    columns = [
        "gen",
        "outcome",
        "bits/byte",
        "champion before",
        "gain",
        "log E / needed",
        "docs",
        "examples",
        "distinct-2",
    ]
    lines = []
    for row in views.generations(connection):
        decided = row["outcome"] is not None and row["digest"] is not None
        lines.append(
            [
                str(row["generation"]),
                "anchor" if row["generation"] == 0 else row["outcome"] or "undecided",
                f"{number(row['bits'])} ± {number(row['bits_error'], 3)}" if decided else "-",
                number(row["champion_bits"]),
                f"{number(row['mean_gain'])} ± {number(row['gain_error'], 3)}" if decided else "-",
                f"{number(row['log_evidence'], 2)} / {number(row['log_threshold'], 2)}"
                if decided
                else "-",
                str(row["num_documents"]) if decided else "-",
                number(row["accuracy"], 2),
                number(row["distinct_2"], 2),
            ]
        )
    return table("", columns, lines)


def generation_tables(connection: Connection, generation: int) -> Iterator[Table]:
    """Everything about one generation. Raises `UserError` where there is none."""
    row = views.generation(connection, generation)
    facts = [
        [k, number(v) if isinstance(v, float) else str(v)] for k, v in row.items() if v is not None
    ]
    yield table(f"Generation {generation}", ["", ""], facts)
    stages = [
        [r["name"], f"{r['seconds']:.0f}", ", ".join(f"{k} {v}" for k, v in r["summary"].items())]
        for r in views.stages(connection, generation)
    ]
    yield table("Stages", ["stage", "seconds", "numbers"], stages)
    judged = [
        [
            r["rubric"],
            r["labeler"],
            r["method"],
            str(r["scored"]),
            str(r["unscored"]),
            number(r["mean"], 3),
        ]
        for r in views.labels(connection, generation)
    ]
    yield table("Labels", ["rubric", "labeler", "method", "scored", "unscored", "mean"], judged)
    shares = [
        [r["name"].replace("_", " "), number(r["value"], 3), f"{r['low']:g} to {r['high']:g}"]
        for r in views.data_facts(connection, generation)
    ]
    yield table("Training data", ["", "share", "allowed"], shares)
    yield from _gate_tables(connection, generation)
    dropped = [
        [r["stage"], r["reason"], str(r["count"])] for r in views.drops(connection, generation)
    ]
    yield table("Dropped", ["stage", "reason", "count"], dropped)


def _gate_tables(connection: Connection, generation: int) -> Iterator[Table]:
    tests = [
        [
            t["suite"],
            t["role"],
            t["against"],
            t["outcome"],
            with_error(t["mean_gain"], t["standard_error"]),
            f"{number(t['log_evidence'], 2)} / {number(t['log_threshold'], 2)}",
            str(t["num_units"]),
        ]
        for t in views.tests(connection, generation)
    ]
    yield table(
        "Tests",
        ["suite", "role", "against the", "outcome", "gain", "log E / needed", "units"],
        tests,
    )
    measures = [
        [
            m["suite"],
            m["metric"],
            *(with_error(m[k], m[f"{k}_error"]) for k in ("own", "champion", "anchor")),
            str(m["num_items"]),
        ]
        for m in views.measures(connection, generation)
    ]
    yield table(
        "Measures", ["suite", "measure", "candidate", "champion", "anchor", "items"], measures
    )
    for group in ("language", "domain"):
        by_group = [
            [r["name"], str(r["documents"]), with_error(*r["bits"]), with_error(*r["gain"])]
            for r in views.bits_by_group(connection, generation, group)[:TOP_GROUPS]
        ]
        heads = [group, "documents", "bits per byte", "gain over the champion"]
        yield table(f"Bits per byte by {group}", heads, by_group)


def with_error(value: float | None, error: float | None) -> str:
    """A number and its standard error; a dash where there is none."""
    return "-" if value is None else f"{number(value)} ± {number(error, 3)}"
