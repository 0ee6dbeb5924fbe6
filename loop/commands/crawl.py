"""`ratchet crawl`: plan, run, audit, inspect, forget and export a crawl.

It needs neither a model nor a cluster.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crawlers.config import HELD_OUT_POOLS
from infra.artifacts import make_folder
from infra.console import console, heading, note, plain, warn
from infra.errors import UserError
from loop.commands.exit_codes import exit_on_error
from loop.commands.open_run import find_folder, open_store, read_run
from loop.commands.options import NewRunOption, RecipeArgument, RunOption, SetOption

if TYPE_CHECKING:
    from crawlers.plan import SeedPlan
    from infra.store import Store
    from loop.record.run_folder import Run

app = typer.Typer(no_args_is_help=True, help=__doc__)
MAX_VIOLATIONS_SHOWN = 20


@app.command(
    "plan", epilog="Example:  ratchet crawl plan my.toml --set crawl.contact=me@example.org"
)
def plan_(recipe: RecipeArgument = "quickstart", set_: SetOption = None) -> None:
    """What robots.txt and the sites allow, and what a generation would cost.

    Fetches robots.txt, and no page.
    """
    with exit_on_error(can_resume=False):
        from crawlers.plan import estimate_cost, plan_seeds
        from crawlers.sources.sources import make_source
        from loop.recipe.recipe import load_recipe
        from loop.show import tables

        config = load_recipe(recipe, set_ or [])
        with make_source(config.crawl).open() as contents:
            if contents.captures:
                count = f"{len(contents.captures):,}"
                note(f"{count} files of pages are there already; nothing is fetched")
                return
            seeds = plan_seeds(config.crawl, contents.seeds)
        names = ["seed", "robots.txt", "may be fetched", "train", "evaluate", "delay s", "sitemaps"]
        console.print(tables.table("Permissions", names, [_seed_line(seed) for seed in seeds]))
        pages = config.budgets()["pages"]
        price = estimate_cost(config.crawl, seeds, pages)
        note(
            f"a generation of {pages:,} pages: about {price.requests:,} requests, at least"
            f" {price.seconds / 60:,.1f} minutes, about {price.disk_bytes / 1e6:,.0f} MB of bodies"
        )


def _seed_line(seed: SeedPlan) -> list[str]:
    return [
        seed.url,
        str(seed.robots_status or "no answer"),
        "yes" if seed.allowed else f"no ({seed.rule or 'unreadable'})",
        _statement(seed.train),
        _statement(seed.evaluate),
        f"{seed.delay_s:.1f}",
        str(seed.num_sitemaps),
    ]


def _statement(statement: object) -> str:
    verdict, reason = getattr(statement, "verdict", ""), getattr(statement, "reason", "")
    return f"{verdict} ({reason})" if verdict != "unknown" else "unknown"


@app.command(epilog="Example:  ratchet crawl run quickstart --run runs/mine --set budget.pages=50")
def run(
    recipe: RecipeArgument = "quickstart",
    run: NewRunOption = None,
    set_: SetOption = None,
    actors: Annotated[
        int, typer.Option(min=0, help="Crawl workers in Ray; 0 crawls in this process.")
    ] = 0,
) -> None:
    """Crawl the next generation and choose what is kept.

    The same command resumes it; the loop can go on from there.
    """
    with exit_on_error():
        from loop.recipe.recipe import load_recipe

        config = load_recipe(recipe, set_ or [])
        from infra.cluster.connection import connect  # these load Ray
        from loop.record.run_folder import open_crawl_run

        if actors == 0:
            with open_crawl_run(config, run, in_actor=False) as current:
                _crawl(current, 0)
            return
        with connect(config.cluster), open_crawl_run(config, run, in_actor=True) as current:
            _crawl(current, actors)


def _crawl(current: Run, num_actors: int) -> None:
    from loop.stages.crawl import crawl_generation

    generation = current.next_crawl()
    heading(f"Generation {generation}")
    current.stage(generation, "crawl", lambda: crawl_generation(current, generation, num_actors))
    for url, state, reason in current.store.crawl.frontier_reasons(5):
        note(f"{state}: {plain(url)} ({plain(reason)})")


@app.command(epilog="Example:  ratchet crawl audit --run runs/mine")
def audit(
    run: RunOption = None,
    address_gap: Annotated[
        float, typer.Option(min=0, help="Minimum seconds between two requests to one address.")
    ] = 0.5,
) -> None:
    """Check the fetch log for politeness, from the log alone.

    Exits with 1 if a delay was violated.
    """
    with exit_on_error(can_resume=False):
        _, reader = read_run(run)
        from crawlers.fetching.politeness import audit_requests
        from infra.store.queries.crawl import requests

        log = requests(reader)
        violations = audit_requests(log, address_gap)
        hosts, workers = len({r.host for r in log}), len({r.worker for r in log})
        summary = f"{len(log):,} requests to {hosts:,} hosts by {workers} workers"
        console.print(f"{summary}: {len(violations)} violations")
        for one in violations[:MAX_VIOLATIONS_SHOWN]:
            gap = f"{one.seconds:.3f} s of {one.required_s:.3f} s"
            warn(plain(f"{one.rule}: {one.host}, {gap}; {one.first} then {one.second}"))
        if violations:
            sys.exit(1)


@app.command(epilog="Example:  ratchet crawl stats")
def stats(run: RunOption = None) -> None:
    """Pages, drops by reason, permissions, languages and diversity of each generation."""
    with exit_on_error(can_resume=False):
        _, reader = read_run(run)
        from infra.store.queries.crawl import statistics
        from loop.show import tables

        for title, rows in statistics(reader).items():
            if rows:
                lines = [[_cell(value) for value in row.values()] for row in rows]
                console.print(tables.table(title, list(rows[0]), lines))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@app.command(
    epilog="Examples:  ratchet crawl forget https://example.org/page     "
    "ratchet crawl forget example.org"
)
def forget(
    url_or_domain: Annotated[
        str, typer.Argument(metavar="URL|DOMAIN", help="A page, or everything of a domain.")
    ],
    run: RunOption = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the store.")] = "",
) -> None:
    """Remove text from the store, from bodies and exports, and from future training.

    Lists the generations that were trained on it.
    """
    with exit_on_error(can_resume=False):
        url, domain = _parse_target(url_or_domain)
        folder = find_folder(run)
        with open_store(folder) as store:
            removed = store.forgetting.forget(url, domain, reason)
            renewed = store.forgetting.renew_exports()
            learned = store.forgetting.learned_from(url, domain)
        # The training files of earlier generations hold text too.
        shutil.rmtree(folder / "work", ignore_errors=True)
        note("forgotten: " + ", ".join(f"{name} {count:,}" for name, count in removed.items()))
        for path in renewed:
            note(f"written again without it: {path}")
        for generation, arm, outcome, items in learned:
            candidate = f"generation {generation}, candidate {arm} ({outcome}),"
            warn(f"{candidate} was trained on {items} samples of it")
        if not learned:
            note("no generation was trained on it")
        if not any(removed.values()) and not learned:
            warn(f"this run has nothing of {url or domain!r}; it will not be crawled later either")


def _parse_target(url_or_domain: str) -> tuple[str | None, str | None]:
    """(canonical URL, None) or (None, registrable domain). Raises `UserError`."""
    from crawlers.urls import canonical_url, registrable_domain

    if "://" not in url_or_domain:
        return None, registrable_domain(url_or_domain.lower())
    url = canonical_url(url_or_domain)
    if url is None:
        problem = "this is not an http or https URL."
        remedy = "Give the address of a page, or a domain."
        raise UserError("URL", url_or_domain, problem, remedy)
    return url, None


@app.command(epilog="Example:  ratchet crawl export corpus.parquet --held-out benchmark.jsonl")
def export(
    target: Annotated[Path, typer.Argument(help="A file that ends in .parquet or .jsonl.")],
    run: RunOption = None,
    pool: Annotated[str, typer.Option(help="train, gate or sealed.")] = "train",
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Benchmark files whose text must not be exported.")
    ] = None,
) -> None:
    """Write the kept documents of a pool, checked again against all held-out text."""
    with exit_on_error(can_resume=False):
        if target.suffix not in (".parquet", ".jsonl", ".json"):
            remedy = "Let its name end in .parquet or .jsonl."
            raise UserError("target", target, "the format is not known.", remedy)
        pools = ("train", *HELD_OUT_POOLS)
        if pool not in pools:
            raise UserError("--pool", pool, "no such pool.", f"Give one of {', '.join(pools)}.")
        if target.is_dir():
            raise UserError("target", target, "this is a folder.", "Give the name of a file.")
        with open_store(find_folder(run)) as store:
            make_folder(target.absolute().parent, "target")
            left_out = _held_out_overlaps(store, pool, held_out or [])
            count = store.forgetting.export_documents(target.absolute(), pool, sorted(left_out))
        note(f"{count:,} documents of pool {pool} in {target}")
        note(f"{len(left_out):,} left out because they overlap with held-out text")


def _held_out_overlaps(store: Store, pool: str, files: list[Path]) -> set[str]:
    """Documents of the training pool that overlap too much with held-out text."""
    from crawlers.keeping.curate import overlapping
    from crawlers.keeping.held_out import held_out_grams, held_out_texts

    texts = held_out_texts([str(path) for path in files])
    store.curation.add_held_out_grams(held_out_grams(texts))
    if pool != "train":
        return set()
    members = store.curation.pool_members()
    held_out = [i for name, ids in members.items() if name != "train" for i in ids]
    recipe = json.loads(store.run.facts().get("recipe", "{}"))
    max_overlap = recipe.get("crawl", {}).get("max_overlap", 0.2)
    return overlapping(store, max_overlap, members.get("train", []), held_out)


@app.command(
    epilog="Example:  ratchet crawl curate my.toml --run runs/mine --set crawl.policy=web-1"
)
def curate(
    recipe: RecipeArgument = "quickstart", run: RunOption = None, set_: SetOption = None
) -> None:
    """Decide again about filtered texts, by the policy that the recipe has now.

    Nothing is fetched.
    """
    with exit_on_error(can_resume=False):
        from crawlers.keeping.curate import curate_documents
        from loop.recipe.recipe import load_recipe

        config = load_recipe(recipe, set_ or [])
        with open_store(find_folder(run)) as store:
            number = store.curation.reconsider_filtered()
            generation = store.curation.last_crawled_generation()
            crawl, held_out = config.crawl_config(), config.held_out_items()
            counts = curate_documents(store, crawl, generation, held_out)
        results = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        note(f"{number:,} filtered texts considered again: {results}")
