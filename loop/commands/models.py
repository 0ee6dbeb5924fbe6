"""Commands on the models of a run: who is champion and was, rollback, verify, gc, export, and the
plan of a gate.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from infra.artifacts import folder_size
from infra.console import console, note
from infra.errors import UserError
from infra.records import Checkpoint
from infra.store import Store
from infra.store.tables.registry import CHAMPION
from loop.audit.export import export_folder, export_gguf, register_mlflow
from loop.audit.verify import collect, collectable, verify
from loop.commands.exit_codes import exit_on_error
from loop.commands.run_option import RunOption, folder_of, look_at, open_store
from loop.gate.levels import attempt_level, log_threshold
from loop.gate.power import units_needed
from loop.gate.suites.held_out_text import max_documents
from loop.recipe.recipe import Recipe, load_recipe, stored_recipe
from loop.record.model_folders import link_champion
from loop.show import queries as views
from loop.show import tables

app = typer.Typer()
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: section.key=value (TOML).")
]


def _model(store: Store, generation: int) -> Checkpoint:
    """A generation's model that still lies on disk. Raises `UserError`."""
    model = store.training.checkpoint(generation)
    if model is None:
        known = ", ".join(str(m.generation) for m in store.training.checkpoints())
        raise UserError(
            "generation", generation, "this run has no such generation.", f"There are {known}."
        )
    if not Path(model.path).is_dir():
        raise UserError(
            "generation", generation, "its model was collected or is gone.", "Choose another."
        )
    return model


@app.command(epilog="Examples:  ratchet champion    ratchet champion --at 2026-11-17")
def champion(
    run: RunOption = None,
    at: Annotated[
        str | None, typer.Option(help="Who was it then: a date or time in UTC (ISO 8601).")
    ] = None,
) -> None:
    """Who is champion, or was, since when and why; and the whole history of all aliases."""
    with exit_on_error():
        _, connection = look_at(run)
        found = views.champion_event(connection, None if at is None else _moment(at))
        lines = [
            [
                str(e["number"]),
                e["alias"],
                str(e["generation"]),
                e["digest"][:12],
                f"{e['moved_at']:%Y-%m-%d %H:%M:%S}",
                f"attempt {e['attempt']}" if e["attempt"] else "by hand",
                e["reason"],
            ]
            for e in views.alias_events(connection)
        ]
        title = ["", "alias", "generation", "weights", "since (UTC)", "evidence", "reason"]
        console.print(tables.table("History", title, lines))
        number = found["generation"] if found else 0
        why = (
            f"{found['reason']}, {found['moved_at']:%Y-%m-%d %H:%M:%S} UTC"
            if found
            else "the anchor"
        )
        when = "champion" if at is None else f"champion at {at}"
        console.print(f"{when}: generation {number} ({escape(why)})")


def _moment(text: str) -> datetime:
    """A date means its end: who was champion when that day was over."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            "--at", text, "this is no date.", "Write 2026-11-17 or 2026-11-17T12:00."
        ) from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    is_date = len(text) <= len("2026-11-17")
    return moment.replace(hour=23, minute=59, second=59, microsecond=999999) if is_date else moment


@app.command(epilog='Example:  ratchet rollback --to 1 --reason "generation 2 is rude"')
def rollback(
    to: Annotated[int, typer.Option(help="The generation that is to be champion.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the history.")],
    run: RunOption = None,
) -> None:
    """Make an earlier model the champion again; the next generation is trained from it."""
    with exit_on_error():
        folder = folder_of(run)
        if not reason.strip():
            raise UserError(
                "--reason", reason, "a rollback needs one.", "Say in a few words what is wrong."
            )
        with open_store(folder) as store:
            model, before = _model(store, to), store.registry.champion()
            if model.digest == before.digest:
                raise UserError(
                    "--to",
                    to,
                    "it is champion already.",
                    f"Champion is generation {before.generation}.",
                )
            store.registry.move_alias(CHAMPION, model, reason.strip())
            link_champion(folder, model)
        note(f"champion: generation {to}, before it generation {before.generation}")


@app.command("verify", epilog="Example:  ratchet verify --run runs/quickstart")
def verify_run(run: RunOption = None) -> None:
    """Hash every model and manifest again and recompute all evidence; ends with 1 where anything
    differs.
    """
    with exit_on_error():
        with open_store(folder_of(run)) as store:
            config = stored_recipe(store.run.facts()["recipe"]).gate
            findings = verify(store, config)
        lines = [[f.what, f.problem or "as it was"] for f in findings]
        console.print(tables.table("Verified", ["", ""], lines))
        wrong = sum(bool(f.problem) for f in findings)
        console.print(f"{len(findings)} checked, {wrong} wrong")
    if wrong:
        raise typer.Exit(1)


@app.command(epilog="Examples:  ratchet gc    ratchet gc --keep 5 --yes")
def gc(
    run: RunOption = None,
    keep: Annotated[
        int, typer.Option(min=1, help="Champions to keep, counted back from the present one.")
    ] = 3,
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete them; without it they are only listed.")
    ] = False,
) -> None:
    """Delete models that nothing points to. The anchor, the last champions and every alias's model
    are kept.
    """
    with exit_on_error():
        folder = folder_of(run)
        with open_store(folder) as store:
            models = collectable(store, folder, keep)
            lines = [
                [str(m.generation), m.digest[:12], f"{folder_size(Path(m.path)) / 1e6:,.1f} MB"]
                for m in models
            ]
            console.print(tables.table("To be collected", ["generation", "weights", "size"], lines))
            for model in models if yes else []:
                collect(store, model)
        console.print(f"{len(models)} {'collected' if yes else 'would go; --yes deletes them'}")


@app.command(
    epilog="Examples:  ratchet export out/model    ratchet export out/model --generation 1 --gguf"
)
def export(
    target: Path,
    run: RunOption = None,
    generation: Annotated[int | None, typer.Option(help="Whose model. [the champion]")] = None,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="A GGUF file beside it (needs llama.cpp's converter).")
    ] = False,
    mlflow: Annotated[
        str | None, typer.Option(help="Register it with this MLflow server too (extra mlflow).")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Its name at the MLflow server. [the recipe's]")
    ] = None,
) -> None:
    """Copy a model out as a Hugging Face folder with its card and provenance."""
    with exit_on_error():
        with open_store(folder_of(run)) as store:
            model = store.registry.champion() if generation is None else _model(store, generation)
            is_champion = model.digest == store.registry.champion().digest
            recipe = stored_recipe(store.run.facts()["recipe"])
        export_folder(model, target)
        note(f"generation {model.generation} in {target}")
        if gguf:
            note(f"GGUF in {export_gguf(target)}")
        if mlflow is not None:
            note(register_mlflow(model, target, mlflow, name or recipe.name, is_champion))


@app.command(
    epilog="Examples:  ratchet plan quickstart    ratchet plan my.toml --gain 0.02 --deviation 0.1"
)
def plan(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, or the name of a built-in recipe.")
    ] = "quickstart",
    gain: Annotated[
        float | None, typer.Option(help="Gain in bits per byte. [gate.aim_bits]")
    ] = None,
    deviation: Annotated[
        float | None, typer.Option(help="Standard deviation of a unit's gain. [twice the gain]")
    ] = None,
    set_: SetOption = None,
) -> None:
    """How many held-out units a gain needs before the gate believes it, attempt by attempt."""
    with exit_on_error():
        config = load_recipe(recipe, set_ or [])
        aim = config.gate.aim_bits if gain is None else gain
        spread = 2 * aim if deviation is None else deviation
        if aim <= 0 or spread <= 0:
            raise UserError(
                "--gain",
                f"{aim}, --deviation {spread}",
                "both must be above 0.",
                "Give bits per byte.",
            )
        there = max_documents(config.gate, config.budgets()["gate_tokens"])
        lines = [
            _plan_line(config, attempt, aim, spread, there)
            for attempt in range(1, config.generations + 1)
        ]
        title = f"A gain of {aim:g} bits per byte, deviation {spread:g} between {config.gate.unit}s"
        heads = ["attempt", "level", "needed without noise", "in nine runs of ten", "paid for", ""]
        console.print(tables.table(title, heads, lines))
        pages = config.budgets()["pages"]
        fresh = round(pages * config.crawl.gate_share)
        console.print(
            f"A generation crawls {pages} pages, of which some {fresh} are held out; each is used in one attempt only."
        )


def _plan_line(
    config: Recipe, attempt: int, gain: float, deviation: float, there: int
) -> list[str]:
    """A row of the plan: what an attempt needs beside what is paid for."""
    level = attempt_level(config.gate.level, config.gate.alpha, attempt, 0)
    need = units_needed(
        gain, deviation, config.gate.primary_rule(config.gate.clip_bits), log_threshold(level)
    )
    verdict = "too few"
    if need.usually is not None and need.usually <= there:
        verdict = "enough"
    elif need.at_least is not None and need.at_least <= there:
        verdict = "enough with luck"
    return [
        str(attempt),
        f"{level:.5f}",
        _count(need.at_least),
        _count(need.usually),
        str(there),
        verdict,
    ]


def _count(number: int | None) -> str:
    return "never" if number is None else f"{number:,}"
