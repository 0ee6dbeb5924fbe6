"""`ratchet`: look at a run, and talk to what came out of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from infra.console import console, plain
from infra.errors import UserError
from loop.commands import judge_file as _more_judge_commands  # noqa: F401 (registers them)
from loop.commands.crawl import app as crawl_app
from loop.commands.exit_codes import exit_on_error
from loop.commands.judge import app as judge_app
from loop.commands.lineage import app as lineage_app
from loop.commands.models import app as registry_app
from loop.commands.run_option import RunOption, folder_of, look_at, open_store
from loop.show import queries as views
from loop.show import tables
from loop.show.report import write_report

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)
app.add_typer(crawl_app, name="crawl")
app.add_typer(judge_app, name="judge")
app.add_typer(registry_app)
app.add_typer(lineage_app)


@app.command(epilog="Example:  ratchet status --run runs/quickstart")
def status(run: RunOption = None) -> None:
    """Where a run stands: its stages, and what is left to do."""
    with exit_on_error():
        _, connection = look_at(run)
        lines = [
            [
                str(row["generation"]),
                row["name"],
                f"{row['seconds']:.0f} s" if row["finished_at"] else "unfinished",
                ", ".join(f"{k} {v}" for k, v in row["summary"].items()),
            ]
            for row in views.stages(connection)
        ]
        console.print(tables.table("Stages", ["generation", "stage", "time", "numbers"], lines))
        facts = views.run_facts(connection)
        recipe = json.loads(facts["recipe"])
        decided = sum(row["outcome"] is not None for row in views.generations(connection))
        console.print(
            f"recipe {recipe['name']}, started {facts['created_at']} UTC, {decided} generations decided"
        )


@app.command(epilog="Example:  ratchet generations")
def generations(run: RunOption = None) -> None:
    """The table of generations, and the report drawn anew."""
    with exit_on_error():
        folder, connection = look_at(run)
        console.print(tables.generations_table(connection))
        console.print(f"report: {write_report(folder, connection)}", markup=False)


@app.command(epilog="Example:  ratchet show 1")
def show(number: int, run: RunOption = None) -> None:
    """Everything about one generation: decision, stages, labels, data, tests, measures, drops."""
    with exit_on_error():
        _, connection = look_at(run)
        for table in tables.generation_tables(connection, number):
            if table.row_count:
                console.print(table)


@app.command(epilog="Example:  ratchet compare 0 2")
def compare(first: int, second: int, run: RunOption = None) -> None:
    """Two generations side by side."""
    with exit_on_error():
        _, connection = look_at(run)
        a, b = views.generation(connection, first), views.generation(connection, second)
        lines = [[key, _cell(a[key]), _cell(b[key])] for key in a if a[key] != b[key]]
        console.print(tables.table("", ["", f"generation {first}", f"generation {second}"], lines))


def _cell(value: object) -> str:
    return (
        tables.number(value) if isinstance(value, float) else "-" if value is None else str(value)
    )


@app.command(epilog="Example:  ratchet samples 1 --count 5")
def samples(number: int, run: RunOption = None, count: int = 10) -> None:
    """What a generation was trained on, with the page that each sample came from."""
    with exit_on_error():
        _, connection = look_at(run)
        views.generation(connection, number)
        for row in views.trained_samples(connection, number, count):
            value = "" if row["value"] is None else f", valued {row['value']:.3f}"
            console.print(
                f"[bold]{row['kind']}[/bold] from {escape(plain(str(row['url'])))}{value}"
            )
            question = f"{row['prompt']}\n→ " if row["prompt"] else ""
            console.print(plain(f"{question}{row['completion']}\n"), markup=False)
        for row in views.trained_preferences(connection, number, count):
            console.print(
                f"[bold]preference[/bold] by {escape(row['labeler'])}, margin {row['margin']:.3f}"
            )
            both = f"chosen:   {row['chosen']}\nrejected: {row['rejected']}\n"
            console.print(plain(f"{row['prompt']}\n{both}"), markup=False)


@app.command(epilog="Examples:  ratchet replay 1 12    ratchet replay 1 0 --kind dpo --rows 8")
def replay(
    generation: int,
    step: int,
    run: RunOption = None,
    kind: Annotated[
        str | None, typer.Option(help="Count the steps of this kind alone, such as sft.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of the batch to show.")] = 4,
) -> None:
    """A training step again: its batch from the store, its loss by training up to it; ends with 1
    if it differs.
    """
    with exit_on_error():
        from loop.audit.replay_step import replay_step  # loads the sandbox

        with open_store(folder_of(run)) as store:
            found = replay_step(store, generation, step, kind)
        stored, again = found.stored, found.again
        lines = [
            [
                "rows",
                str(len(stored.row_ids)),
                "the same" if stored.row_ids == again.row_ids else "others",
            ],
            ["loss", f"{stored.loss:.7f}", f"{again.loss:.7f}"],
            ["gradient norm", f"{stored.grad_norm:.6f}", f"{again.grad_norm:.6f}"],
        ]
        title = f"Generation {generation}, {stored.kind} step {stored.step}"
        console.print(tables.table(title, ["", "stored", "computed again"], lines))
        for row in found.rows[:rows]:
            console.print(plain(json.dumps(row, ensure_ascii=False)[:400]), markup=False)
    if not found.is_same:
        raise typer.Exit(1)


@app.command(epilog="Example:  ratchet chat --generation 1")
def chat(
    run: RunOption = None,
    generation: Annotated[int | None, typer.Option(help="Whom to talk to. [the champion]")] = None,
    tokens: Annotated[int, typer.Option(help="Longest answer.")] = 128,
) -> None:
    """Talk to a generation; an empty line ends it. Questions may also come on standard input."""
    with exit_on_error():
        _, connection = look_at(run)
        row = views.generation(
            connection, views.champion(connection) if generation is None else generation
        )
        connection.close()
        if row["path"] is None:
            raise UserError(
                "--generation", generation, "it was not trained.", "See 'ratchet generations'."
            )
        from infra.models.language_model import LanguageModel  # loads torch

        model = LanguageModel(Path(row["path"]), "--generation")
        console.print(f"generation {row['generation']} in {row['path']}", markup=False)
        while line := _ask():
            (answer,) = model.complete([model.chat_prompt(line)], tokens, 0.0, 0)
            console.print(plain(answer.text.strip()), markup=False)


def _ask() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
