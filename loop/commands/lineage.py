"""`ratchet lineage` and `ratchet reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from infra.console import console, note, plain
from infra.errors import UserError
from loop.commands.exit_codes import exit_on_error
from loop.commands.naming import model_words
from loop.commands.open_run import find_folder, open_store, read_run
from loop.commands.options import ArmOption, RunOption

if TYPE_CHECKING:
    from rich.table import Table

    from infra.store.reader import QueryRow, Reader
    from loop.audit.reproduce import Reproduction

app = typer.Typer()


@app.command(
    "lineage",
    epilog="Examples:  ratchet lineage 2    ratchet lineage example.org    "
    "ratchet lineage https://example.org/a",
)
def show_lineage(
    name: Annotated[
        str,
        typer.Argument(help="A generation, its digest, a URL, a domain, or the id of any record."),
    ],
    run: RunOption = None,
    count: Annotated[int, typer.Option(min=1, help="Maximum number of items to list.")] = 10,
    export: Annotated[
        Path | None, typer.Option(help="Write a candidate's data to this folder as Parquet.")
    ] = None,
    arm: ArmOption = None,
) -> None:
    """What a generation was made from, or which generations learned from a page or a site."""
    with exit_on_error(can_resume=False):
        _, reader = read_run(run)
        from infra.store.queries.generations import run_facts
        from loop.audit.lineage import MIN_DIGEST_CHARS, export_manifest, find_generation
        from loop.record.facts import recipe_text
        from loop.show.views import candidate as candidate_row
        from loop.show.views import generation as generation_row

        recipe_text(run_facts(reader))
        generation = find_generation(reader, name)
        if generation is None and name.isdecimal() and len(name) < MIN_DIGEST_CHARS:
            generation_row(reader, int(name))  # says which generations there are
        for option, value in (("--export", export), ("--arm", arm)):
            if generation is None and value is not None:
                problem = f"{name!r} is no generation, and only a generation has candidates."
                remedy = f"Name a generation, or leave {option} out."
                raise UserError(option, value, problem, remedy)
        if generation is None:
            _show_uses(reader, name, count)
            return
        number, named_arm = generation
        candidate = candidate_row(reader, number, arm or named_arm)
        _show_sources(reader, candidate, count)
        if export is not None:
            note(f"data in {export_manifest(reader, candidate, export)}")


def _show_uses(reader: Reader, name: str, count: int) -> None:
    """Where a record, a page or a site was used."""
    from infra.store.queries import lineage as queries
    from loop.audit.lineage import descendants

    if items := queries.record_items(reader, name):
        console.print(_items_table(f"Uses of {escape(plain(name))}", items, count))
        return
    items, heirs = descendants(reader, name)
    if not items and not queries.was_visited(reader, name):
        problem = "nothing of that name is known in this run."
        remedy = "Give a generation, a URL as it was crawled, a domain, or the id of a record."
        raise UserError("NAME", name, problem, remedy)
    _show_heirs(name, items, heirs, count)


def _show_sources(reader: Reader, candidate: QueryRow, count: int) -> None:
    """The sites, judgments and items that a candidate was made from."""
    from infra.store.queries import lineage as queries
    from loop.audit.lineage import summarize_sites
    from loop.show import tables

    name = model_words(candidate["generation"], candidate["arm"])
    outcome = candidate["outcome"] or "-"
    if candidate["digest"] is None:
        console.print(f"{name}, outcome {outcome}: {candidate['reason']}", markup=False)
        return
    parent = f", trained from {candidate['parent'][:12]}" if candidate["parent"] else ""
    weights = f"weights {candidate['digest'][:12]}{parent}"
    console.print(f"{name}, {weights}, outcome {outcome}")
    generation = candidate["generation"]
    items = queries.candidate_items(reader, generation, candidate["arm"])
    sites = [
        [
            plain(site["domain"]),
            str(site["items"]),
            str(site["documents"]),
            f"{site['first'] or ''}",
            f"{site['last'] or ''}",
            plain("; ".join(site["permission"]) or "-"),
        ]
        for site in summarize_sites(items)
    ]
    columns = ["domain", "items", "documents", "first fetched", "last fetched", "permission"]
    console.print(tables.table("Sources", columns, sites[:count]))
    judged = [
        [
            row["rubric"],
            row["labeler"],
            row["status"],
            str(row["count"]),
            tables.number(row["mean"], 3),
        ]
        for row in queries.judgments(reader, generation)
    ]
    columns = ["rubric", "labeler", "status", "count", "mean"]
    console.print(tables.table("Judgments", columns, judged))
    console.print(_items_table("Items", items, count))


def _items_table(title: str, items: list[QueryRow], count: int) -> Table:
    from loop.show import tables

    lines = [
        [
            str(item["generation"]),
            item["arm"],
            item["kind"],
            item["item_id"][:12],
            plain(item["url"] or "forgotten or made by a model"),
            f"{item.get('fetched_at') or ''}",
            plain(f"{item.get('permission') or '-'} {item.get('permission_evidence') or ''}"),
            f"{item['warc_file']} {item['warc_offset']}" if item.get("warc_file") else "-",
        ]
        for item in items[:count]
    ]
    columns = [
        "generation",
        "candidate",
        "kind",
        "id",
        "URL",
        "fetched (UTC)",
        "permission",
        "stored at",
    ]
    return tables.table(f"{title} ({min(count, len(items))} of {len(items)})", columns, lines)


def _show_heirs(name: str, items: list[QueryRow], heirs: list[QueryRow], count: int) -> None:
    from loop.show import tables

    lines = [
        [
            str(row["generation"]),
            row["arm"],
            row["digest"][:12],
            str(row["items"]),
            ", ".join(f"generation {source}" for source in row["through"]) or "-",
            row["outcome"] or "-",
        ]
        for row in heirs
    ]
    title = f"Generations that learned from {escape(plain(name))}"
    columns = ["generation", "candidate", "weights", "own items", "through", "outcome"]
    console.print(tables.table(title, columns, lines))
    if not heirs:
        console.print("none: it was crawled, and nothing of it was trained on")
    elif items:
        console.print(_items_table("Items", items, count))


def reproduced(result: Reproduction) -> str:
    """Whether a model came out again and, if it did not, in which files it differs."""
    if result.is_same:
        return "the same model, bit for bit"
    if result.differing is None:
        return "a different model; its folder was deleted, so its files cannot be compared"
    return f"a different model; different files: {', '.join(result.differing)}"


@app.command(
    "reproduce",
    epilog="Examples:  ratchet reproduce 1    ratchet reproduce 1 --arm random",
)
def reproduce_generation(generation: int, run: RunOption = None, arm: ArmOption = None) -> None:
    """Train a candidate of a generation again from the store and compare the weights.

    Exits with 1 if they differ. Equal bit for bit on the same processor, on CPU in float32.
    """
    with exit_on_error(can_resume=False):
        folder = find_folder(run)
        with open_store(folder) as store:
            from loop.audit.reproduce import past_training, reproduce
            from loop.show import tables

            past = past_training(store, generation, arm)
            from infra.cluster.connection import ClusterConfig, connect

            with connect(ClusterConfig()) as cluster:
                result = reproduce(store, cluster, past)
        lines = [["stored", result.stored], ["trained again", result.again]]
        console.print(
            tables.table(model_words(generation, past.arm.name).capitalize(), ["", "digest"], lines)
        )
        console.print(reproduced(result), markup=False)
    if not result.is_same:
        raise typer.Exit(1)
