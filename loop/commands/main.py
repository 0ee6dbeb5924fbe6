"""`ratchet`: look at a run, and talk to the models that it made."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from infra.console import console, plain
from infra.errors import UserError
from loop.commands import crawl, judge, judge_file, lineage, models
from loop.commands.exit_codes import exit_on_error
from loop.commands.naming import model_words
from loop.commands.open_run import find_folder, open_store, read_run
from loop.commands.options import ArmOption, RunOption, require_generation

# Each command imports what it needs when it runs: `--help` and errors must not wait for torch.
app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)
app.add_typer(crawl.app, name="crawl")
judge.app.add_typer(judge_file.app)
app.add_typer(judge.app, name="judge")
app.add_typer(models.app)
app.add_typer(lineage.app)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        console.print(f"ratchet {version('ratchet-loop')}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version_: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Look at a run, and talk to the models that it made."""


@app.command(epilog="Example:  ratchet status --run runs/quickstart")
def status(run: RunOption = None) -> None:
    """The state of a run: its stages with their numbers, also while it is working."""
    with exit_on_error(can_resume=False):
        _, reader = read_run(run)
        from infra.store.queries import generations as queries
        from loop.record.facts import recipe_text
        from loop.show import tables

        facts = queries.run_facts(reader)
        name, started = json.loads(recipe_text(facts))["name"], facts["created_at"]
        lines = [
            [
                str(row["generation"]),
                row["name"],
                f"{row['seconds']:.0f} s" if row["finished_at"] else "unfinished",
                ", ".join(f"{k} {v}" for k, v in row["summary"].items()),
            ]
            for row in queries.stages(reader)
        ]
        console.print(tables.table("Stages", ["generation", "stage", "time", "numbers"], lines))
        decided = sum(row["outcome"] is not None for row in queries.generations(reader))
        console.print(f"recipe {name}, started {started} UTC, {decided} generations decided")


@app.command(epilog="Example:  ratchet generations")
def generations(run: RunOption = None) -> None:
    """The table of generations; also writes the report again."""
    with exit_on_error(can_resume=False):
        folder, reader = read_run(run)
        from infra.store.queries.generations import run_facts
        from loop.record.facts import recipe_text

        recipe_text(run_facts(reader))  # a run that has not begun is refused before the table
        from loop.show import tables
        from loop.show.report import write_report

        console.print(tables.generations_table(reader))
        console.print(f"report: {write_report(folder, reader)}", markup=False)


@app.command(epilog="Example:  ratchet show 1")
def show(number: int, run: RunOption = None) -> None:
    """Everything about one generation: decision, stages, labels, data, tests, measures, drops."""
    with exit_on_error(can_resume=False):
        _, reader = read_run(run)
        from loop.show import tables

        for table in tables.generation_tables(reader, number):
            if table.row_count:
                console.print(table)


@app.command(epilog="Example:  ratchet compare 0 2")
def compare(first: int, second: int, run: RunOption = None) -> None:
    """Two generations side by side."""
    with exit_on_error(can_resume=False):
        _, reader = read_run(run)
        from loop.show import tables, views

        a, b = views.generation(reader, first), views.generation(reader, second)
        lines = [[key, tables.cell(a[key]), tables.cell(b[key])] for key in a if a[key] != b[key]]
        columns = ["", f"generation {first}", f"generation {second}"]
        console.print(tables.table("", columns, lines))


@app.command(epilog="Example:  ratchet samples 1 --count 5")
def samples(
    number: int,
    run: RunOption = None,
    count: Annotated[int, typer.Option(min=1, help="Samples, and preferences, to show.")] = 10,
    arm: ArmOption = None,
) -> None:
    """What a generation was trained on, with the URL that each sample came from."""
    with exit_on_error(can_resume=False):
        _, reader = read_run(run)
        from infra.store.queries.training import trained_preferences, trained_samples
        from loop.show.views import candidate

        name = candidate(reader, number, arm)["arm"]
        for row in trained_samples(reader, number, name, count):
            value = "" if row["value"] is None else f", value {row['value']:.3f}"
            console.print(
                f"[bold]{row['kind']}[/bold] from {escape(plain(str(row['url'])))}{value}"
            )
            question = f"{row['prompt']}\n→ " if row["prompt"] else ""
            console.print(plain(f"{question}{row['completion']}\n"), markup=False)
        for row in trained_preferences(reader, number, name, count):
            labeler = escape(row["labeler"])
            console.print(f"[bold]preference[/bold] by {labeler}, margin {row['margin']:.3f}")
            both = f"chosen:   {row['chosen']}\nrejected: {row['rejected']}\n"
            console.print(plain(f"{row['prompt']}\n{both}"), markup=False)


@app.command(epilog="Examples:  ratchet replay 1 12    ratchet replay 1 0 --kind dpo --rows 8")
def replay(
    generation: int,
    step: int,
    run: RunOption = None,
    kind: Annotated[
        str | None, typer.Option(help="Count only steps of this kind, for example sft.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows of the batch to show.")] = 4,
    arm: ArmOption = None,
) -> None:
    """Compute a training step again: its batch from the store, and its loss.

    Exits with 1 if rows or loss differ from those stored.
    """
    with exit_on_error(can_resume=False):
        from loop.audit.replay_step import replay_step
        from loop.show import tables

        with open_store(find_folder(run)) as store:
            result = replay_step(store, generation, step, kind, arm)
        stored, again = result.stored, result.again
        same_rows = "the same" if stored.row_ids == again.row_ids else "different"
        lines = [
            ["rows", str(len(stored.row_ids)), same_rows],
            ["loss", f"{stored.loss:.7f}", f"{again.loss:.7f}"],
            ["gradient norm", f"{stored.grad_norm:.6f}", f"{again.grad_norm:.6f}"],
        ]
        title = f"Generation {generation}, {stored.arm}, {stored.kind} step {stored.step}"
        console.print(tables.table(title, ["", "stored", "computed again"], lines))
        for row in result.rows[:rows]:
            console.print(plain(json.dumps(row, ensure_ascii=False)[:400]), markup=False)
    if not result.is_same:
        raise typer.Exit(1)


@app.command(epilog="Example:  ratchet chat --generation 1")
def chat(
    run: RunOption = None,
    generation: Annotated[
        int | None, typer.Option(help="The generation to talk to. [the champion]")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Maximum tokens of an answer.")] = 128,
    arm: ArmOption = None,
) -> None:
    """Talk to a generation; an empty line ends it. Questions may also come on standard input."""
    with exit_on_error(can_resume=False):
        require_generation(generation, arm)
        _, reader = read_run(run)
        from loop.show import views

        if generation is None:
            row = views.champion(reader)
        else:
            row = views.candidate(reader, generation, arm)
        reader.close()
        if row["path"] is None:
            remedy = "See 'ratchet generations'."
            raise UserError("--generation", generation, "it was not trained.", remedy)
        from infra.models.language_model import LanguageModel

        model = LanguageModel(Path(row["path"]), "--generation")
        name = model_words(row["generation"], row["arm"])
        console.print(f"{name} in {row['path']}", markup=False)
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
