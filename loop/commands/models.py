"""Commands on the models of a run: champion, rollback, verify, gc, export, plan."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from infra.console import console, note
from infra.errors import UserError
from loop.commands.exit_codes import exit_on_error
from loop.commands.naming import model_words
from loop.commands.open_run import find_folder, open_store, read_run
from loop.commands.options import (
    ArmOption,
    RecipeArgument,
    RunOption,
    SetOption,
    require_generation,
)
from loop.record.facts import NO_MODEL_REMEDY, no_such_arm, recipe_text

if TYPE_CHECKING:
    from infra.records import Checkpoint
    from infra.store import Store
    from loop.recipe.recipe import Recipe

app = typer.Typer()


def _require_model(store: Store) -> None:
    """Raises `UserError` for a run that has no model, not even the anchor; it has only crawled."""
    if store.training.checkpoint(0) is None:
        recipe_text(store.run.facts())
        raise UserError("--run", None, "this run has no model yet.", NO_MODEL_REMEDY)


def _model(store: Store, generation: int, arm: str | None) -> Checkpoint:
    """A model of a generation, if its folder is still on disk. Raises `UserError`."""
    _require_model(store)
    model = store.training.checkpoint(generation, arm)
    if model is None:
        arms = [one.arm for one in store.training.candidates(generation)]
        if arm is not None and arms:
            raise no_such_arm(arm, generation, arms)
        names = (f"{m.generation} {m.arm}".strip() for m in store.training.checkpoints())
        remedy = f"There are {', '.join(names)}."
        raise UserError("generation", generation, "this run has no such generation.", remedy)
    if not Path(model.path).is_dir():
        problem = "its model was deleted."
        raise UserError("generation", generation, problem, "Choose another generation.")
    return model


@app.command(epilog="Examples:  ratchet champion    ratchet champion --at 2026-11-17")
def champion(
    run: RunOption = None,
    at: Annotated[
        str | None, typer.Option(help="At this date or time, in UTC (ISO 8601). [now]")
    ] = None,
) -> None:
    """The champion, since when and why; and the history of all aliases."""
    with exit_on_error(can_resume=False):
        moment = None if at is None else _parse_time(at)
        _, reader = read_run(run)
        from infra.store.queries.generations import alias_events
        from loop.show import tables
        from loop.show.views import champion_event, moved_model, require_generations

        require_generations(reader)
        lines = [
            [
                str(event["number"]),
                event["alias"],
                str(event["generation"]),
                moved_model(reader, event)["arm"],
                event["digest"][:12],
                f"{event['moved_at']:%Y-%m-%d %H:%M:%S}",
                f"attempt {event['attempt']}" if event["attempt"] else "by hand",
                event["reason"],
            ]
            for event in alias_events(reader)
        ]
        columns = ["", "alias", "generation", "candidate", "weights", "since (UTC)", "evidence"]
        console.print(tables.table("History", [*columns, "reason"], lines))
        event = champion_event(reader, moment)
        name, why = model_words(0, ""), "the anchor"
        if event:
            since = f"{event['moved_at']:%Y-%m-%d %H:%M:%S} UTC"
            name = model_words(event["generation"], moved_model(reader, event)["arm"])
            why = f"{event['reason']}, {since}"
        when = "champion" if at is None else f"champion at {at}"
        console.print(f"{when}: {name} ({escape(why)})")


def _parse_time(text: str) -> datetime:
    """A time in UTC without a zone; a date means the end of that day. Raises `UserError`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        remedy = "Write 2026-11-17 or 2026-11-17T12:00."
        raise UserError("--at", text, "this is not a valid date.", remedy) from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    is_date = len(text) <= len("2026-11-17")
    return moment.replace(hour=23, minute=59, second=59, microsecond=999999) if is_date else moment


@app.command(epilog='Example:  ratchet rollback --to 1 --reason "generation 2 is rude"')
def rollback(
    to: Annotated[int, typer.Option(help="The generation that becomes the champion again.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the history.")],
    run: RunOption = None,
    arm: ArmOption = None,
) -> None:
    """Make an earlier model the champion again; the next generation is trained from it."""
    with exit_on_error(can_resume=False):
        folder = find_folder(run)
        if not reason.strip():
            remedy = "Write in a few words what is wrong."
            raise UserError("--reason", reason, "a rollback needs a reason.", remedy)
        with open_store(folder) as store:
            from infra.store.tables.registry import CHAMPION_ALIAS
            from loop.record.model_folders import link_champion

            model, before = _model(store, to, arm), store.registry.champion()
            names = [model_words(one.generation, one.arm) for one in (model, before)]
            if model.digest == before.digest:
                others = ", ".join(
                    model_words(one.generation, one.arm)
                    for one in store.training.checkpoints()
                    if one.digest != before.digest
                )
                remedy = f"Name another model with --to and --arm: {others}."
                raise UserError("--to", to, "it is the champion already.", remedy)
            store.registry.move_alias(CHAMPION_ALIAS, model, reason.strip())
            link_champion(folder, model)
        note(f"champion: {names[0]}; before: {names[1]}")


@app.command("verify", epilog="Example:  ratchet verify --run runs/quickstart")
def verify_run(run: RunOption = None) -> None:
    """Hash models and data lists again, and make every test and decision again from the scores.

    Exits with 1 if anything differs from what was stored.
    """
    with exit_on_error(can_resume=False):
        folder = find_folder(run)
        with open_store(folder) as store:
            from loop.audit.verify import verify
            from loop.show import tables

            findings = verify(store, folder)
        lines = [[one.subject, one.problem or "unchanged"] for one in findings]
        console.print(tables.table("Verified", ["", ""], lines))
        wrong = sum(bool(one.problem) for one in findings)
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
        bool, typer.Option("--yes", help="Delete them. Without this option they are only listed.")
    ] = False,
) -> None:
    """Delete models that are no longer needed.

    The anchor, the last champions and the models of all aliases are kept.
    """
    with exit_on_error(can_resume=False):
        folder = find_folder(run)
        with open_store(folder) as store:
            from infra.artifacts import folder_size
            from loop.audit.collecting import collect, collectable
            from loop.show import tables

            _require_model(store)
            models = collectable(store, folder, keep)
            lines = [
                [
                    str(m.generation),
                    m.arm,
                    m.digest[:12],
                    f"{folder_size(Path(m.path)) / 1e6:,.1f} MB",
                ]
                for m in models
            ]
            columns = ["generation", "candidate", "weights", "size"]
            console.print(tables.table("Models that are not needed", columns, lines))
            for model in models if yes else []:
                collect(store, model)
        action = "deleted" if yes else "would be deleted; add --yes to delete them"
        console.print(f"{len(models)} {action}")


@app.command(
    epilog="Examples:  ratchet export out/model    ratchet export out/model --generation 1 --gguf"
)
def export(
    target: Path,
    run: RunOption = None,
    generation: Annotated[
        int | None, typer.Option(help="The generation to export. [the champion]")
    ] = None,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Also write a GGUF file (needs llama.cpp's converter).")
    ] = False,
    mlflow: Annotated[
        str | None, typer.Option(help="Also register it with this MLflow server (extra mlflow).")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Its name at the MLflow server. [the recipe's name]")
    ] = None,
    arm: ArmOption = None,
) -> None:
    """Copy a model as a Hugging Face folder with its model card and provenance."""
    with exit_on_error(can_resume=False):
        with open_store(find_folder(run)) as store:
            from loop.audit.export import export_folder, export_gguf, register_mlflow
            from loop.recipe.recipe import stored_recipe

            _require_model(store)
            current = store.registry.champion()
            require_generation(generation, arm)
            model = current if generation is None else _model(store, generation, arm)
            recipe = stored_recipe(recipe_text(store.run.facts()))
        export_folder(model, target)
        note(f"{model_words(model.generation, model.arm)} in {target}")
        if gguf:
            note(f"GGUF in {export_gguf(target)}")
        if mlflow is not None:
            is_champion = model.digest == current.digest
            note(register_mlflow(model, target, mlflow, name or recipe.name, is_champion))


@app.command(
    epilog="Examples:  ratchet plan quickstart    ratchet plan my.toml --gain 0.02 --deviation 0.1"
)
def plan(
    recipe: RecipeArgument = "quickstart",
    gain: Annotated[
        float | None, typer.Option(help="Gain in bits per byte. [gate.aim_bits]")
    ] = None,
    deviation: Annotated[
        float | None, typer.Option(help="Standard deviation of a unit's gain. [twice the gain]")
    ] = None,
    set_: SetOption = None,
) -> None:
    """How many held-out units the gate needs to accept a gain, for each attempt."""
    with exit_on_error(can_resume=False):
        from loop.recipe.gate_needs import gate_units, held_out_pages
        from loop.recipe.recipe import load_recipe

        config = load_recipe(recipe, set_ or [])
        aim = config.gate.aim_bits if gain is None else gain
        spread = 2 * aim if deviation is None else deviation
        for option, bits in (("--gain", aim), ("--deviation", spread)):
            if not 0 < bits < math.inf:
                problem = "this is not a number above 0."
                raise UserError(option, bits, problem, "Give bits per byte.")
        from loop.show import tables

        available = gate_units(config)
        attempts = range(1, config.generations + 1)
        lines = [_plan_line(config, attempt, aim, spread, available) for attempt in attempts]
        unit = {"text": config.gate.unit, "answers": "page"}.get(config.aim.kind, "item")
        measure = "in the share of right answers" if config.aim.is_share else "bits per byte"
        title = f"A gain of {aim:g} {measure}, deviation {spread:g} between {unit}s"
        columns = ["attempt", "level", "needed without noise", "in 9 runs of 10", "budget", ""]
        console.print(tables.table(title, columns, lines))
        if config.aim.kind != "exam":
            pages, fresh = config.budgets()["pages"], held_out_pages(config)
            console.print(
                f"A generation crawls {pages} pages; about {fresh} are held out. "
                "Each is used in one attempt only."
            )


def _plan_line(
    config: Recipe, attempt: int, gain: float, deviation: float, available: int
) -> list[str]:
    """A row of the plan: the units that an attempt needs, and those that its budget pays for."""
    from loop.gate.power import units_needed
    from loop.recipe.gate_needs import aim_threshold

    threshold = aim_threshold(config, attempt)
    rule = config.gate.primary_rule(config.gate_rules()[0].clip)
    need = units_needed(gain, deviation, rule, threshold)
    verdict = "too few"
    if need.usually is not None and need.usually <= available:
        verdict = "enough"
    elif need.at_least is not None and need.at_least <= available:
        verdict = "enough with luck"
    counts = [_count(need.at_least), _count(need.usually), str(available)]
    return [str(attempt), f"{math.exp(-threshold):.5f}", *counts, verdict]


def _count(number: int | None) -> str:
    return "never" if number is None else f"{number:,}"
