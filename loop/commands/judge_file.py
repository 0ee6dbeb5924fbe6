"""`ratchet judge run | replay | cost`: judge a file, compute stored aggregates again, and what
labels cost.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow.parquet as pq
import typer

from infra.artifacts import atomic_write
from infra.console import console, heading, note, progress, warn
from infra.errors import UserError
from infra.records import Judgment, content_key
from infra.records.arrow import to_table
from infra.records.labeler import Datasheet, Interval, LabelerErrors
from infra.store import Store
from judges.config import JudgeConfig
from judges.judgment.protocol import Judge
from judges.rubrics import Rubric, load_rubric
from loop.commands.exit_codes import exit_on_error
from loop.commands.judge import GoldOption, LimitOption, RubricOption
from loop.commands.open_run import open_store
from loop.commands.options import RecipeArgument as Recipe
from loop.commands.options import SetOption
from loop.recipe.recipe import Recipe as RecipeModel
from loop.recipe.recipe import load_recipe, stored_recipe
from loop.record.locations import DATABASE, newest_run
from loop.show import tables

if TYPE_CHECKING:
    from judges.files.items import Items
    from judges.verifying.checks import Claim

OutputOption = Annotated[
    Path, typer.Option(help="Folder for the judgments; the same command goes on there.")
]
RunFolder = Annotated[
    Path | None, typer.Option("--run", help="Folder of a run, or of judged items. [newest run]")
]
app = typer.Typer()
_SUMMARY, _ABOUT = "summary.json", "about.json"


@app.command(
    "run", epilog="Example:  ratchet judge run answers.jsonl --rubric helpfulness --output judged"
)
def run_(
    items: Annotated[
        Path, typer.Argument(help="JSON lines: text; a and b; texts; or check and text.")
    ],
    output: OutputOption,
    recipe: Annotated[str, typer.Option(help="Where the labeler is taken from.")] = "quickstart",
    rubric: RubricOption = "helpfulness",
    gold: GoldOption = None,
    limit: LimitOption = 0,
    anyway: Annotated[
        bool, typer.Option(help="Judge even where the labeler is not admitted.")
    ] = False,
    set_: SetOption = None,
) -> None:
    """Judge the items of a file; the labeler is measured first, and refused where a trivial rule is
    as good.
    """
    from judges.files.items import read_items

    with exit_on_error():
        loaded = load_recipe(recipe, set_ or [])
        found, asked = read_items(items), load_rubric(rubric)
        about = {
            "items": content_key(items.read_bytes()),
            "rubric": "" if found.claims else asked.digest,
        }
        _claim_folder(output, about)
        store = Store(str(output / DATABASE))
        try:
            if found.claims:
                _verify(store, found.claims, loaded.judge.chunk_size)
                errors = None
            else:
                errors = _judge(store, loaded, asked, found, gold, limit, anyway)
            _finish(store, output, about | {"errors": asdict(errors) if errors else None})
        finally:
            store.close()


def _claim_folder(output: Path, about: dict[str, Any]) -> None:
    """Make the folder; `UserError` where it holds judgments on other items or by another rubric."""
    output.mkdir(parents=True, exist_ok=True)
    if (output / _ABOUT).exists():
        known = json.loads((output / _ABOUT).read_text(encoding="utf-8"))
        if any(known.get(key) != value for key, value in about.items()):
            raise UserError(
                "--output",
                output,
                "it holds judgments on other items or by another rubric.",
                "Give another folder.",
            )
    else:
        atomic_write(output / _ABOUT, json.dumps(about).encode())


def _verify(store: Store, claims: list[Claim], chunk_size: int) -> None:
    from judges.files.items import claim_judgments
    from judges.verifying.checks import verify_claims
    from judges.verifying.sandbox import Sandbox

    sandbox = Sandbox()
    with progress("verifying", total=len(claims)) as advance:
        for start in range(0, len(claims), chunk_size):
            part = claims[start : start + chunk_size]
            store.labels.add_judgments(
                claim_judgments(part, verify_claims(part, sandbox), generation=1)
            )
            advance(len(part))


def _judge(
    store: Store,
    recipe: RecipeModel,
    rubric: Rubric,
    items: Items,
    gold: Path | None,
    limit: int,
    anyway: bool,
) -> LabelerErrors | None:
    from judges.labelers.backends import make_judge
    from judges.labelers.budget import BudgetedJudge
    from judges.labelers.cache import CachedJudge
    from judges.labelers.sentinels import KNOWN_ANSWER, WatchedJudge

    config = recipe.judge
    items.batch(
        rubric, "", recipe.seed
    )  # a rubric that needs a reference says so before a model is loaded
    judge: Judge = make_judge(config, recipe.seed)
    method, least, errors = _measured(store, judge, config, rubric, items, gold, limit, anyway)
    budgeted = BudgetedJudge(judge, config.soft_tokens, config.hard_tokens)
    judge = WatchedJudge(budgeted, {rubric.id: {KNOWN_ANSWER: least}})
    if config.kind != "scripted":
        judge = CachedJudge(judge, store.verdicts)
    batch = replace(items.batch(rubric, method, recipe.seed), generation=1)
    done = {row.subject_id for row in store.labels.all_judgments(1) if row.status == "scored"}
    store.labels.drop_unscored(1)
    todo = batch.without(done)
    heading(f"{batch.num_items:,} items by {rubric.id}, {batch.mode}, asked by {method}")
    if todo.num_items < batch.num_items:
        note(f"{batch.num_items - todo.num_items:,} of them were judged before")
    with progress("judging", total=todo.num_items) as advance:
        for part in todo.chunks(config.chunk_size):
            store.labels.add_judgments(judge.judge(part))
            advance(part.num_items)
    return errors


def _measured(
    store: Store,
    judge: Judge,
    config: JudgeConfig,
    rubric: Rubric,
    items: Items,
    gold: Path | None,
    limit: int,
    anyway: bool,
) -> tuple[str, float, LabelerErrors | None]:
    """(elicitation method, lower bound of accuracy, errors on pairs). Raises `UserError` for a
    labeler not admitted.
    """
    if items.mode == "pointwise" and gold is None:
        method, is_fit, told, least = _by_probes(store, judge, config, rubric)
        errors = None
    else:
        sheets = _by_gold(store, judge, rubric, gold, limit)
        method = sheets[0].method
        is_fit, told, errors = _told(sheets)
        least = min(s.admission_low for s in sheets)
    if not is_fit and not anyway:
        raise UserError(
            "--rubric",
            rubric.id,
            f"{judge.name} is no better than a trivial rule ({told}).",
            "Take another labeler or rubric, or add --anyway.",
        )
    (note if is_fit else warn)(f"{judge.name}: {told}")
    return method, least, errors


def _by_probes(
    store: Store, judge: Judge, config: JudgeConfig, rubric: Rubric
) -> tuple[str, bool, str, float]:
    from judges.measuring.admission import measure_labeler

    known = [a for a in store.labelers.admissions(judge.name) if a.rubric == rubric.id]
    if not known:
        with progress(
            "measuring the labeler", total=len(rubric.usable_methods(judge.methods))
        ) as advance:
            found = measure_labeler(judge, rubric, config.num_probe_items, advance)
        store.labels.add_judgments(found.rows)
        store.labelers.add_datasheet(found.results, [found.admission])
        known = [found.admission]
    tested = [
        r.lower
        for r in store.labelers.tested_probes(judge.name)
        if (r.rubric, r.method) == (rubric.id, known[0].method)
    ]
    return known[0].method, known[0].admitted, known[0].reason, min(tested)


def _by_gold(
    store: Store, judge: Judge, rubric: Rubric, gold: Path | None, limit: int
) -> list[Datasheet]:
    from judges.measuring.datasheet import measure_on_gold, pair_methods
    from judges.measuring.gold import load_gold
    from judges.measuring.probes import gold_set

    sets = [gold_set(probe) for probe in rubric.probes] if gold is None else load_gold(gold)
    digests = [one.digest for one in sets]
    known = {
        s.gold_digest
        for s in store.labelers.gold_sheets()
        if (s.rubric, s.labeler) == (rubric.id, judge.name)
    }
    sets = [one for one in sets if one.digest not in known]
    with progress(
        "measuring the labeler", total=len(sets) * (len(pair_methods(judge, rubric)) + 3)
    ) as advance:
        for one in sets:
            found = measure_on_gold(judge, rubric, one, limit, advance)
            store.labelers.add_gold_sheet(found.sheet, found.items, found.rows)
    mine = [
        s for s in store.labelers.gold_sheets() if (s.rubric, s.labeler) == (rubric.id, judge.name)
    ]
    return [s for s in mine if s.gold_digest in digests]


def _told(sheets: list[Datasheet]) -> tuple[bool, str, LabelerErrors]:
    from judges.measuring.datasheet import is_admitted

    told = "; ".join(f"{s.gold} {s.accuracy}" for s in sheets)
    errors = LabelerErrors(
        sum(s.errors.num_a for s in sheets),
        sum(s.errors.right_a for s in sheets),
        sum(s.errors.num_b for s in sheets),
        sum(s.errors.right_b for s in sheets),
    )
    return all(is_admitted(s) for s in sheets), told, errors


def _finish(store: Store, output: Path, about: dict[str, Any]) -> None:
    """Write judgments and summary, and show it."""
    from judges.files.items import summarise

    rows = store.labels.all_judgments(1)
    summary = asdict(summarise(rows, LabelerErrors(**about["errors"]) if about["errors"] else None))
    pq.write_table(to_table(Judgment, rows), output / "judgments.parquet")
    atomic_write(output / _SUMMARY, json.dumps(summary, indent=1).encode())
    atomic_write(output / _ABOUT, json.dumps(about).encode())
    console.print(tables.table("Summary", ["", ""], _lines(summary)))
    note(f"written: {output / 'judgments.parquet'} and {_SUMMARY}")


def _lines(summary: dict[str, Any]) -> list[list[str]]:
    def interval(value: dict[str, float] | None) -> str:
        return "-" if value is None else str(Interval(**value))

    counts = ", ".join(f"{name} {number}" for name, number in summary["verdicts"].items())
    lines = [
        ["items", f"{summary['num_items']:,}"],
        ["verdicts", counts or "-"],
        ["mean value [95%]", interval(summary["value"])],
        ["tokens", f"{summary['num_tokens']:,}"],
    ]
    lines += [
        [f"unscored: {reason}", str(number)] for reason, number in summary["unscored"].items()
    ]
    if summary["win_rate"] is not None:
        lines.append(["A wins, as the labeler says", interval(summary["win_rate"])])
        corrected = (
            interval(summary["corrected"]) if summary["corrected"] else f"none: {summary['why']}"
        )
        lines.append(["A wins, its errors taken out", corrected])
    return lines


@app.command(epilog="Example:  ratchet judge replay --run runs/quickstart")
def replay(run: RunFolder = None) -> None:
    """Compute every aggregate again from the stored judgments; ends with 1 where one comes out
    otherwise.
    """
    with exit_on_error():
        folder = run or newest_run()
        with open_store(folder) as store:
            found = (
                _replay_items(store, folder) if (folder / _SUMMARY).exists() else _replay_run(store)
            )
        lines = [
            [kind, str(number), "all" if not differing else f"{len(differing)} differ"]
            for kind, number, differing in found
        ]
        console.print(
            tables.table(
                "From stored judgments", ["aggregate", "stored", "come out the same"], lines
            )
        )
        wrong = [one for _, _, differing in found for one in differing]
        for one in wrong[:10]:
            warn(one)
    if wrong:
        raise typer.Exit(1)


def _replay_run(store: Store) -> list[tuple[str, int, tuple[str, ...]]]:
    from judges.files.replay import replay as replay_labels

    recipe = stored_recipe(store.run.facts()["recipe"])
    generations = store.labels.labeled_generations()
    return [
        (r.kind, r.num_stored, r.differing)
        for r in replay_labels(store, recipe.judge, recipe.seed, generations)
    ]


def _replay_items(store: Store, folder: Path) -> list[tuple[str, int, tuple[str, ...]]]:
    from judges.files.items import summarise
    from judges.files.replay import datasheets

    errors = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["errors"]
    again = json.loads(
        json.dumps(
            asdict(
                summarise(
                    store.labels.all_judgments(1), LabelerErrors(**errors) if errors else None
                )
            )
        )
    )
    stored = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
    differing = tuple(f"summary: {key}" for key in stored if stored[key] != again.get(key))
    sheets = datasheets(store)
    return [("summary", len(stored), differing), (sheets.kind, sheets.num_stored, sheets.differing)]


@app.command(epilog="Example:  ratchet judge cost my.toml --set judge.endpoint.prompt_price=0.15")
def cost(recipe: Recipe = "quickstart", set_: SetOption = None) -> None:
    """What a generation's labels cost at most, step by step, before anything is asked."""
    from judges.making.cost import estimate_costs, measuring_cost, prompt_price

    with exit_on_error():
        loaded = load_recipe(recipe, set_ or [])
        budgets = loaded.budgets()
        expenses = [
            measuring_cost(loaded.judge),
            *estimate_costs(
                loaded.judge, budgets["label_tokens"], budgets["prompts"], budgets["instructions"]
            ),
        ]
        total = sum(e.num_tokens for e in expenses)
        lines = [
            [
                e.step,
                f"{e.num_items:,}",
                f"{e.num_tokens:,}",
                f"{prompt_price(loaded.judge, e.num_tokens):.4f}",
            ]
            for e in expenses
        ]
        lines.append(["together", "", f"{total:,}", f"{prompt_price(loaded.judge, total):.4f}"])
        console.print(
            tables.table(
                "A generation's labels, at most", ["step", "items", "tokens", "cost"], lines
            )
        )
        limit = loaded.judge.hard_tokens
        if 0 < limit < total:
            warn(f"judge.hard_tokens = {limit:,} may end it before; what is not asked is unscored")
