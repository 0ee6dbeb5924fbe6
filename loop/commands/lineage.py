"""`ratchet lineage` and `ratchet reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from infra.cluster.connection import ClusterConfig, connect
from infra.console import console, note, plain
from infra.errors import UserError
from loop.audit import lineage
from loop.commands.exit_codes import exit_on_error
from loop.commands.run_option import RunOption, folder_of, look_at, open_store
from loop.show import queries as views
from loop.show import tables

app = typer.Typer()
Row = lineage.Row


@app.command(
    "lineage",
    epilog="Examples:  ratchet lineage 2    ratchet lineage example.org    ratchet lineage https://example.org/a",
)
def show_lineage(
    name: Annotated[
        str,
        typer.Argument(help="A generation, its digest, a URL, a domain, or the id of any record."),
    ],
    run: RunOption = None,
    count: Annotated[int, typer.Option(help="Items to list.")] = 10,
    export: Annotated[
        Path | None, typer.Option(help="Write a generation's data to this folder as Parquet.")
    ] = None,
) -> None:
    """What a generation was made from, down to pages and permissions; or who learned from a page or
    a site.
    """
    with exit_on_error():
        _, connection = look_at(run)
        generation = lineage.generation_of(connection, name)
        if generation is not None:
            _show_sources(connection, generation, count)
            if export is not None:
                note(f"data in {lineage.export_manifest(connection, generation, export)}")
            return
        if export is not None:
            raise UserError(
                "--export", name, "only a generation's data can be exported.", "Name a generation."
            )
        if items := lineage.item_of(connection, name):
            console.print(_items_table(f"Where {escape(plain(name))} was used", items, count))
            return
        items, heirs = lineage.descendants(connection, name)
        if not items and not lineage.known_place(connection, name):
            raise UserError(
                "NAME",
                name,
                "this run knows no such thing.",
                "Give a generation, a URL as it was crawled, a domain, or a record's id.",
            )
        _show_heirs(name, items, heirs, count)


def _show_sources(connection: lineage.Connection, generation: int, count: int) -> None:
    row = views.generation(connection, generation)
    if row["digest"] is None:
        console.print(
            f"generation {generation}, outcome {row['outcome']}: {row['reason']}", markup=False
        )
        return
    items = lineage.items_of(connection, generation)
    parent = f", trained from {row['parent'][:12]}" if row["parent"] else ""
    console.print(
        f"generation {generation}, weights {row['digest'][:12]}{parent}, outcome {row['outcome'] or '-'}"
    )
    sites = [
        [
            plain(s["domain"]),
            str(s["items"]),
            str(s["documents"]),
            f"{s['first'] or ''}",
            f"{s['last'] or ''}",
            plain("; ".join(s["permission"]) or "-"),
        ]
        for s in lineage.sites_of(items)
    ]
    heads = ["domain", "items", "documents", "first fetched", "last fetched", "permission"]
    console.print(tables.table("Sources", heads, sites[: max(count, 1)]))
    judged = [
        [
            j["rubric"],
            j["labeler"],
            j["status"],
            str(j["count"]),
            "-" if j["mean"] is None else f"{j['mean']:.3f}",
        ]
        for j in lineage.judgments_of(connection, generation)
    ]
    console.print(
        tables.table("Judgments", ["rubric", "labeler", "status", "count", "mean"], judged)
    )
    console.print(_items_table("Items", items, count))


def _items_table(title: str, items: list[Row], count: int) -> object:
    lines = [
        [
            str(i["generation"]),
            i["kind"],
            i["item_id"][:12],
            plain(i["url"] or "forgotten or made by a model"),
            f"{i.get('fetched_at') or ''}",
            plain(f"{i.get('permission') or '-'} {i.get('permission_evidence') or ''}"),
            f"{i['warc_file']} {i['warc_offset']}" if i.get("warc_file") else "-",
        ]
        for i in items[:count]
    ]
    heads = ["generation", "kind", "id", "URL", "fetched (UTC)", "permission", "stored at"]
    return tables.table(f"{title} ({min(count, len(items))} of {len(items)})", heads, lines)


def _show_heirs(name: str, items: list[Row], heirs: list[Row], count: int) -> None:
    lines = [
        [
            str(h["generation"]),
            h["digest"][:12],
            str(h["items"]),
            ", ".join(f"generation {g}" for g in h["through"]) or "-",
            h["outcome"] or "-",
        ]
        for h in heirs
    ]
    title = f"Who learned from {escape(plain(name))}"
    console.print(
        tables.table(
            title, ["generation", "weights", "items of its own", "through", "outcome"], lines
        )
    )
    if not heirs:
        console.print("nobody: it was crawled, and nothing of it was trained on")
    elif items:
        console.print(_items_table("Items", items, count))


@app.command("reproduce", epilog="Example:  ratchet reproduce 1 --run runs/quickstart")
def reproduce_generation(generation: int, run: RunOption = None) -> None:
    """Train a generation again from the store and compare the weights; ends with 1 where they
    differ.
    """
    with exit_on_error():
        from loop.audit.reproduce import reproduce  # loads the sandbox

        folder = folder_of(run)
        with open_store(folder) as store, connect(ClusterConfig()) as cluster:
            found = reproduce(store, cluster, generation)
        lines = [["stored", found.stored], ["trained again", found.again]]
        console.print(tables.table(f"Generation {generation}", ["", "digest"], lines))
        if found.differing:
            console.print(f"differ: {', '.join(found.differing)}", markup=False)
        console.print("the same model, bit for bit" if found.is_same else "another model")
    if not found.is_same:
        raise typer.Exit(1)
