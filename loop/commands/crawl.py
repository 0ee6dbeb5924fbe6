"""`ratchet crawl`: plan, run, audit, look at, forget and export a crawl, without a model and
without a cluster.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from crawlers.fetching.politeness import audit as audit_log
from crawlers.keeping.curate import curate as curate_documents
from crawlers.keeping.curate import overlapping
from crawlers.keeping.held_out import held_out_grams
from crawlers.plan import cost, plan
from crawlers.sources.sources import make_source
from crawlers.urls import canonical_url, registrable_domain
from infra.cluster.connection import connect
from infra.console import console, heading, note, plain, warn
from infra.errors import UserError
from infra.records import Request
from infra.records.arrow import from_table
from infra.store.reading import rows
from loop.commands.exit_codes import exit_on_error
from loop.commands.run_option import RunOption, folder_of, look_at, open_store
from loop.recipe.recipe import load_recipe
from loop.record.run_folder import Run, open_crawl_run
from loop.show import tables
from loop.show.crawl_queries import STATS
from loop.stages.crawl import crawl_generation

app = typer.Typer(no_args_is_help=True, help=__doc__)
Recipe = Annotated[str, typer.Argument(help="A recipe file, or the name of a built-in recipe.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: section.key=value (TOML).")
]


@app.command(
    "plan", epilog="Example:  ratchet crawl plan my.toml --set crawl.contact=me@example.org"
)
def plan_(recipe: Recipe = "quickstart", set_: SetOption = None) -> None:
    """What robots.txt and the sites' preferences allow, and what a generation would cost; fetches
    no page.
    """
    with exit_on_error():
        config = load_recipe(recipe, set_ or [])
        with make_source(config.crawl).open() as opening:
            if opening.captures:
                note(
                    f"{len(opening.captures):,} containers of pages lie there already; nothing is fetched"
                )
                return
            found = plan(config.crawl, opening.seeds)
        lines = [
            [
                p.url,
                str(p.robots_status or "no answer"),
                "yes" if p.allowed else f"no ({p.rule or 'unreadable'})",
                _word(p.train),
                _word(p.evaluate),
                f"{p.delay_s:.1f}",
                str(p.num_sitemaps),
            ]
            for p in found
        ]
        names = ["seed", "robots.txt", "may be fetched", "train", "evaluate", "delay s", "sitemaps"]
        console.print(tables.table("What the sites say", names, lines))
        price = cost(config.crawl, found, config.budgets()["pages"])
        note(
            f"a generation of {config.budgets()['pages']:,} pages: about {price.requests:,} requests, at least"
            f" {price.seconds / 60:,.1f} minutes, about {price.disk_bytes / 1e6:,.0f} MB of bodies"
        )


def _word(word: object) -> str:
    verdict, reason = getattr(word, "verdict", ""), getattr(word, "reason", "")
    return f"{verdict} ({reason})" if verdict != "unknown" else "unknown"


@app.command(epilog="Example:  ratchet crawl run quickstart --run runs/mine --set budget.pages=50")
def run(
    recipe: Recipe = "quickstart",
    run: Annotated[
        str | None, typer.Option(help="Folder of the run; resumed if it is there. [runs/NAME]")
    ] = None,
    set_: SetOption = None,
    actors: Annotated[int, typer.Option(help="Crawl actors in Ray; 0 crawls in this process.")] = 0,
) -> None:
    """Crawl the next generation and choose what is kept; the same command resumes, the loop goes on
    from there.
    """
    with exit_on_error():
        config = load_recipe(recipe, set_ or [])
        if actors == 0:
            with open_crawl_run(config, run, in_actor=False) as current:
                _crawl(current, 0)
            return
        with connect(config.cluster), open_crawl_run(config, run, in_actor=True) as current:
            _crawl(current, actors)


def _crawl(current: Run, num_actors: int) -> None:
    generation = current.next_crawl()
    heading(f"Generation {generation}")
    current.stage(generation, "crawl", lambda: crawl_generation(current, generation, num_actors))
    for url, state, reason in current.store.crawl.frontier_reasons(5):
        note(f"{state}: {plain(url)} ({plain(reason)})")


@app.command(epilog="Example:  ratchet crawl audit --run runs/mine")
def audit(
    run: RunOption = None,
    address_gap: Annotated[
        float, typer.Option(help="Least seconds between two requests to one address.")
    ] = 0.5,
) -> None:
    """Check the fetch log, and nothing but the log, for politeness; exits with 1 where it was
    violated.
    """
    with exit_on_error():
        _, connection = look_at(run)
        log = from_table(Request, connection.sql("SELECT * FROM request").to_arrow_table())
        found = audit_log(log, address_gap)
        hosts, workers = len({r.host for r in log}), len({r.worker for r in log})
        console.print(
            f"{len(log):,} requests to {hosts:,} hosts by {workers} workers: {len(found)} violations"
        )
        for v in found[:20]:
            warn(
                plain(
                    f"{v.rule}: {v.host}, {v.seconds:.3f} s of {v.required_s:.3f} s; {v.first} then {v.second}"
                )
            )
        if found:
            sys.exit(1)


@app.command(epilog="Example:  ratchet crawl stats")
def stats(run: RunOption = None) -> None:
    """Pages, drops by reason, permissions, languages and diversity, generation by generation."""
    with exit_on_error():
        _, connection = look_at(run)
        for title, columns, sql in STATS:
            lines = [[_cell(row[c]) for c in columns] for row in rows(connection, sql)]
            if lines:
                console.print(tables.table(title, columns, lines))


def _cell(value: object) -> str:
    return (
        f"{value:,.2f}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


@app.command(
    epilog="Examples:  ratchet crawl forget https://example.org/page     ratchet crawl forget example.org"
)
def forget(
    what: Annotated[
        str, typer.Argument(metavar="URL|DOMAIN", help="A page, or everything under a domain.")
    ],
    run: RunOption = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Remove text from the store, bodies, exports and future training; lists the generations that
    learned from it.
    """
    with exit_on_error():
        url = canonical_url(what) if "://" in what else None
        domain = None if url else registrable_domain(what.lower())
        if "://" in what and url is None:
            raise UserError(
                "URL",
                what,
                "this is not an http or https URL.",
                "Give the page's address, or a domain.",
            )
        folder = folder_of(run)
        with open_store(folder) as store:
            removed = store.forgetting.forget(url, domain, reason)
            renewed = store.forgetting.renew_exports()
            learned = store.forgetting.learned_from(url, domain)
        shutil.rmtree(
            folder / "work", ignore_errors=True
        )  # training files of earlier generations hold text too
        note(", ".join(f"{name} {count:,}" for name, count in removed.items()) + " forgotten")
        for path in renewed:
            note(f"written again without it: {path}")
        for generation, outcome, items in learned:
            warn(f"generation {generation} ({outcome}) was trained on {items} samples of it")
        if not learned:
            note("no generation was trained on it")


@app.command(epilog="Example:  ratchet crawl export corpus.parquet --held-out benchmark.jsonl")
def export(
    target: Annotated[Path, typer.Argument(help="A file that ends in .parquet or .jsonl.")],
    run: RunOption = None,
    pool: Annotated[str, typer.Option(help="train, gate or sealed.")] = "train",
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Benchmark files that the text must not contain.")
    ] = None,
) -> None:
    """Write the kept documents of a pool, checked once more against everything held out."""
    with exit_on_error():
        if target.suffix not in (".parquet", ".jsonl", ".json"):
            raise UserError(
                "target", target, "the format is not known.", "End it in .parquet or .jsonl."
            )
        if pool not in ("train", "gate", "sealed"):
            raise UserError("--pool", pool, "no such pool.", "Give train, gate or sealed.")
        folder = folder_of(run)
        with open_store(folder) as store:
            store.curation.add_held_out_grams(
                held_out_grams([str(path) for path in held_out or []])
            )
            members = store.curation.pool_members()
            others = [
                i for name, ids in members.items() if name != pool and name != "train" for i in ids
            ]
            overlap = (
                json.loads(store.run.facts().get("recipe", "{}"))
                .get("crawl", {})
                .get("max_overlap", 0.2)
            )
            spoiled = (
                overlapping(store, overlap, members.get(pool, []), others)
                if pool == "train"
                else set()
            )
            count = store.forgetting.export_documents(target.absolute(), pool, sorted(spoiled))
        note(
            f"{count:,} documents of pool {pool} in {target}; {len(spoiled):,} left out for overlap with held-out text"
        )


@app.command(
    epilog="Example:  ratchet crawl curate my.toml --run runs/mine --set crawl.policy=web-1"
)
def curate(recipe: Recipe = "quickstart", run: RunOption = None, set_: SetOption = None) -> None:
    """Decide anew, by the policy of the recipe as it is now, about texts that were filtered;
    nothing is fetched.
    """
    with exit_on_error():
        config = load_recipe(recipe, set_ or [])
        folder = folder_of(run)
        with open_store(folder) as store:
            number = store.curation.reconsider_filtered()
            result = curate_documents(store, config.crawl, store.curation.last_crawled_generation())
        note(
            f"{number:,} filtered texts considered again: "
            + ", ".join(f"{k} {v:,}" for k, v in result.items())
        )
