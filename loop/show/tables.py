"""Tables for the terminal: the generations, and everything about one generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from infra.console import plain
from infra.store.queries import generations as generation_queries
from infra.store.queries import labels as label_queries
from infra.store.queries import training as training_queries
from infra.store.reader import QueryRow, Reader
from loop.show import views
from loop.show.value_features import value_features, value_makers

INTERVAL = 1.96
"""Standard errors of a 95% interval."""
MAX_GROUPS = 12
"""Languages or domains shown, the largest first."""


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table; a dash for None or NaN."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def with_error(value: float | None, error: float | None) -> str:
    """A number and its standard error, if it has one; a dash if there is no number."""
    if value is None or error is None or error != error:
        return number(value)
    return f"{number(value)} ± {number(error, 3)}"


def with_interval(value: float | None, error: float | None) -> str:
    """A number and its 95% interval; a dash if there is none."""
    if value is None or error is None or error != error:
        return number(value)
    low, high = value - INTERVAL * error, value + INTERVAL * error
    return f"{number(value)} [{number(low, 2)}, {number(high, 2)}]"


def cell(value: object) -> str:
    """Any value for a table; a dash for None."""
    if isinstance(value, float):
        return number(value)
    return "-" if value is None else str(value)


def table(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """A terminal table. Text from the web is shown as text, never as markup."""
    result = Table(title=title, title_justify="left")
    for column in columns:
        result.add_column(column, overflow="fold")
    for line in lines:
        result.add_row(*(escape(plain(text)) for text in line))
    return result


def generations_table(reader: Reader) -> Table:
    """The table of generations that a run prints at its end; its first measure is the aim."""
    rows = views.measured_generations(reader)
    columns = [
        "gen",
        "outcome",
        f"aim: {views.aim_words(rows)}",
        "champion before",
        "gain",
        "log E / needed",
        "items",
        "examples",
        "distinct-2",
    ]
    return table("", columns, [_generation_line(row) for row in rows])


def _generation_line(row: QueryRow) -> list[str]:
    outcome = "anchor" if row["generation"] == 0 else row["outcome"] or "undecided"
    accuracy, distinct = number(row["accuracy"], 2), number(row["distinct_2"], 2)
    champion_aim = number(row["champion_aim"])
    if row["outcome"] is None or row["digest"] is None:
        cells = ["-", champion_aim, "-", "-", "-"]
    else:
        cells = [
            with_interval(row["aim"], row["aim_error"]),
            champion_aim,
            with_error(row["mean_gain"], row["gain_error"]),
            _evidence(row),
            str(row["num_documents"]),
        ]
    return [str(row["generation"]), outcome, *cells, accuracy, distinct]


def _evidence(row: QueryRow) -> str:
    """The log evidence of a test, and the threshold that it must reach."""
    return f"{number(row['log_evidence'], 2)} / {number(row['log_threshold'], 2)}"


def generation_tables(reader: Reader, generation: int) -> Iterator[Table]:
    """Everything about one generation.

    Raises:
        UserError: if there is no such generation.
    """
    row = views.generation(reader, generation)
    facts = [[key, cell(value)] for key, value in row.items() if value is not None]
    yield table(f"Generation {generation}", ["", ""], facts)
    yield _candidates_table(reader, generation)
    yield _stages_table(reader, generation)
    yield _labels_table(reader, generation)
    if features := value_features(reader, generation):
        yield _features_table(features)
    if makers := value_makers(reader, generation):
        yield _makers_table(makers)
    yield _data_table(reader, generation)
    yield _tests_table(reader, generation)
    yield _measures_table(reader, generation)
    for group in ("language", "domain"):
        yield _groups_table(reader, generation, group)
    dropped = [
        [r["stage"], r["reason"], str(r["count"])]
        for r in generation_queries.drops(reader, generation)
    ]
    yield table("Dropped", ["stage", "reason", "count"], dropped)


def _candidates_table(reader: Reader, generation: int) -> Table:
    lines = [
        [
            r["arm"],
            r["outcome"] or "undecided",
            with_error(r["mean_gain"], r["gain_error"]),
            cell(r["num_documents"]),
            _evidence(r),
            (r["digest"] or "-")[:12],
            r["reason"] or "",
        ]
        for r in generation_queries.candidates(reader, generation)
        if r["arm"]
    ]
    columns = ["candidate", "outcome", "gain", "items", "log E / needed", "weights", "reason"]
    return table("Candidates", columns, lines)


def _stages_table(reader: Reader, generation: int) -> Table:
    lines = [
        [r["name"], f"{r['seconds']:.0f}", ", ".join(f"{k} {v}" for k, v in r["summary"].items())]
        for r in generation_queries.stages(reader, generation)
    ]
    return table("Stages", ["stage", "seconds", "numbers"], lines)


def _labels_table(reader: Reader, generation: int) -> Table:
    lines = [
        [
            r["rubric"],
            r["labeler"],
            r["method"],
            str(r["scored"]),
            str(r["unscored"]),
            number(r["mean"], 3),
        ]
        for r in label_queries.judgment_counts(reader, generation)
    ]
    columns = ["rubric", "labeler", "method", "scored", "unscored", "mean"]
    return table("Labels", columns, lines)


def _features_table(features: Sequence[QueryRow]) -> Table:
    lines = [[f["name"], str(f["passages"]), with_error(f["slope"], f["error"])] for f in features]
    columns = ["feature", "passages", "slope (bits per byte)"]
    return table("Value of passages over the rank of", columns, lines)


def _makers_table(makers: Sequence[QueryRow]) -> Table:
    lines = [[m["name"], str(m["samples"]), with_error(m["mean"], m["error"])] for m in makers]
    return table("Value by maker", ["maker", "samples", "value (bits per byte)"], lines)


def _data_table(reader: Reader, generation: int) -> Table:
    facts = training_queries.data_facts(reader, generation)
    arms = list(dict.fromkeys(r["arm"] for r in facts))
    by_name: dict[str, dict[str, QueryRow]] = {}
    for r in facts:
        by_name.setdefault(r["name"], {})[r["arm"]] = r
    lines = [
        [name.replace("_", " "), *(_share(by_arm.get(arm)) for arm in arms)]
        for name, by_arm in by_name.items()
    ]
    return table("Training data: share (allowed)", ["", *arms], lines)


def _share(fact: QueryRow | None) -> str:
    if fact is None:
        return "-"
    return f"{number(fact['value'], 3)} ({fact['low']:g} to {fact['high']:g})"


def _tests_table(reader: Reader, generation: int) -> Table:
    lines = [
        [
            r["arm"],
            r["suite"],
            r["role"],
            r["against"],
            r["outcome"],
            with_error(r["mean_gain"], r["standard_error"]),
            _evidence(r),
            str(r["num_units"]),
        ]
        for r in generation_queries.gate_tests(reader, generation)
    ]
    columns = [
        "candidate",
        "suite",
        "role",
        "against the",
        "outcome",
        "gain",
        "log E / needed",
        "units",
    ]
    return table("Tests", columns, lines)


def _measures_table(reader: Reader, generation: int) -> Table:
    """A line for each measure, with a column for each candidate."""
    rows = generation_queries.measures(reader, generation)
    arms = list(dict.fromkeys(r["arm"] for r in rows))
    by_measure: dict[tuple[str, str], dict[str, QueryRow]] = {}
    for r in rows:
        by_measure.setdefault((r["suite"], r["metric"]), {})[r["arm"]] = r
    lines = [_measure_line(key, by_arm, arms) for key, by_arm in by_measure.items()]
    return table("Measures", ["suite", "measure", *arms, "champion", "anchor", "items"], lines)


def _measure_line(
    key: tuple[str, str], by_arm: dict[str, QueryRow], arms: Sequence[str]
) -> list[str]:
    first = next(iter(by_arm.values()))
    own = [
        with_error(by_arm[arm]["own"], by_arm[arm]["own_error"]) if arm in by_arm else "-"
        for arm in arms
    ]
    rivals = [with_error(first[who], first[f"{who}_error"]) for who in ("champion", "anchor")]
    return [*key, *own, *rivals, str(first["num_items"])]


def _groups_table(reader: Reader, generation: int, group: str) -> Table:
    lines = [
        [r["name"], str(r["documents"]), with_error(*r["bits"]), with_error(*r["gain"])]
        for r in views.bits_by_group(reader, generation, group)[:MAX_GROUPS]
    ]
    columns = [group, "documents", "bits per byte", "gain over the champion"]
    return table(f"Bits per byte by {group}", columns, lines)
