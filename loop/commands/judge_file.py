"""`ratchet judge run | replay | cost`: judge a file, recompute aggregates, and estimate costs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.console import console, heading, note, progress, warn
from infra.errors import UserError
from loop.commands.exit_codes import exit_on_error
from loop.commands.judge import GoldOption, LimitOption, RubricOption
from loop.commands.open_run import open_store
from loop.commands.options import RecipeArgument, SetOption
from loop.record.facts import recipe_text
from loop.record.locations import DATABASE, newest_run

if TYPE_CHECKING:
    from infra.records.labeler import Admission, Datasheet, LabelerErrors
    from infra.store import Store
    from judges.config import JudgeConfig
    from judges.files.items import Items
    from judges.judgment.protocol import Judge
    from judges.measuring.gold import GoldSet
    from judges.rubrics import Rubric
    from judges.verifying.checks import Claim
    from loop.recipe.recipe import Recipe

app = typer.Typer()
OutputOption = Annotated[
    Path, typer.Option(help="Folder for the judgments; the same command resumes there.")
]
FolderOption = Annotated[
    Path | None, typer.Option("--run", help="Folder of a run, or of judged items. [newest run]")
]
_SUMMARY, _INPUTS, _JUDGED = "summary.json", "about.json", "judged.jsonl"
Aggregate = tuple[str, int, tuple[str, ...]]
"""(kind, number stored, descriptions of those that differ when they are computed again)."""


@dataclass(frozen=True)
class _Measured:
    """How a labeler did on gold pairs or probes, before it judges a file."""

    method: str
    is_admitted: bool
    description: str
    lower_bound: float
    """Of its accuracy."""
    errors: LabelerErrors | None
    """None if it was measured on probes."""


@dataclass(frozen=True)
class _Labeler:
    """A labeler, the rubric, and the gold pairs on which it is measured."""

    judge: Judge
    config: JudgeConfig
    rubric: Rubric
    gold: list[GoldSet] | None
    """None for the built-in pairs."""
    limit: int


@app.command(
    "run", epilog="Example:  ratchet judge run answers.jsonl --rubric helpfulness --output judged"
)
def run_(
    items: Annotated[Path, typer.Argument(help="JSON lines, JSON, Parquet, or a folder of them.")],
    output: OutputOption,
    recipe: Annotated[str, typer.Option(help="The recipe that names the labeler.")] = "quickstart",
    rubric: RubricOption = "helpfulness",
    gold: GoldOption = None,
    limit: LimitOption = 0,
    form: Annotated[
        str,
        typer.Option(help="Form of the rows: text, pair, messages, chosen, ... [detected]"),
    ] = "",
    anyway: Annotated[
        bool, typer.Option(help="Judge even if the labeler is not admitted.")
    ] = False,
    set_: SetOption = None,
) -> None:
    """Judge the items of a file.

    The labeler is measured first, and refused if it is no better than a trivial rule.
    """
    with exit_on_error():
        from judges.measuring.gold import load_gold
        from judges.rubrics import load_rubric
        from loop.recipe.recipe import load_recipe

        loaded, by = load_recipe(recipe, set_ or []), load_rubric(rubric, "--rubric")
        gold_sets = None if gold is None else load_gold(gold, "--gold")
        to_judge = _read(items, form)
        from infra.store import Store

        inputs = {"items": to_judge.digest, "rubric": "" if to_judge.claims else by.digest}
        _claim_folder(output, inputs)
        store = Store(str(output / DATABASE))
        try:
            errors = None
            if to_judge.claims:
                _verify(store, to_judge.claims, loaded.judge.chunk_size)
            else:
                labeler = _labeler(output, inputs, loaded, by, to_judge, (gold_sets, limit))
                errors = _judge(store, labeler, loaded.seed, to_judge, anyway)
                inputs |= {"labeler": labeler.judge.name}
            about = inputs | {"errors": asdict(errors) if errors else None}
            _finish(store, output, to_judge, about)
        finally:
            store.close()


def _read(path: Path, form: str) -> Items:
    """The items of a file. Raises `UserError` if there is no such file or form."""
    if not path.exists():
        remedy = "Give the path of a file of JSON lines."
        raise UserError("items", path, "there is no such file.", remedy)
    from judges.files.items import read_items  # loads SciPy
    from judges.forms.forms import form_names

    if form and form not in form_names():
        remedy = f"Name one of {', '.join(form_names())}, or leave it out."
        raise UserError("--form", form, "there is no such form.", remedy)
    return read_items(path, form)


def _claim_folder(output: Path, inputs: dict[str, Any]) -> None:
    """Make the folder, and note what it belongs to.

    Raises `UserError` if it holds judgments of other items, by another rubric or labeler.
    """
    from infra.artifacts import atomic_write, make_folder

    make_folder(output, "--output")
    file = output / _INPUTS
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for key, value in inputs.items():
        if known.get(key, value) != value:
            words = {"items": "of other items", "rubric": "by another rubric"}
            problem = f"it holds judgments {words.get(key, f'by {known[key]}, not {value}')}."
            raise UserError("--output", output, problem, "Give another folder.")
    atomic_write(file, json.dumps(known | inputs).encode())


def _labeler(
    output: Path,
    inputs: dict[str, Any],
    recipe: Recipe,
    rubric: Rubric,
    items: Items,
    gold: tuple[list[GoldSet] | None, int],
) -> _Labeler:
    """Load the labeler; the folder belongs to it from then on."""
    from judges.labelers.backends import make_judge

    # A rubric that needs a reference must say so before a model is loaded.
    items.batch(rubric, "", recipe.seed, "--rubric")
    judge = make_judge(recipe.judge, recipe.seed)
    _claim_folder(output, inputs | {"labeler": judge.name})
    return _Labeler(judge, recipe.judge, rubric, *gold)


def _verify(store: Store, claims: list[Claim], chunk_size: int) -> None:
    from judges.files.items import claim_judgments
    from judges.verifying.checks import verify_claims

    with progress("verifying", total=len(claims)) as advance:
        for start in range(0, len(claims), chunk_size):
            part = claims[start : start + chunk_size]
            judgments = claim_judgments(part, verify_claims(part), generation=1)
            store.labels.add_judgments(judgments)
            advance(len(part))


def _judge(
    store: Store, labeler: _Labeler, seed: int, items: Items, anyway: bool
) -> LabelerErrors | None:
    """Measure the labeler, then judge the items that have no judgment yet."""
    config, rubric = labeler.config, labeler.rubric
    measured = _measure(store, labeler, items.mode, anyway)
    judge = _wrapped(store, labeler, measured.lower_bound)
    batch = replace(items.batch(rubric, measured.method, seed), generation=1)
    done = {row.subject_id for row in store.labels.all_judgments(1) if row.status == "scored"}
    store.labels.drop_unscored(1)
    rest = batch.without(done)
    heading(f"{batch.num_items:,} items by {rubric.id}, {batch.mode}, method {measured.method}")
    if rest.num_items < batch.num_items:
        note(f"{batch.num_items - rest.num_items:,} of them were judged before")
    with progress("judging", total=rest.num_items) as advance:
        for chunk in rest.chunks(config.chunk_size):
            store.labels.add_judgments(judge.judge(chunk))
            advance(chunk.num_items)
    return measured.errors


def _wrapped(store: Store, labeler: _Labeler, lower_bound: float) -> Judge:
    """The labeler with its budget, its sentinels and its cache."""
    from judges.labelers.budget import BudgetedJudge
    from judges.labelers.cache import CachedJudge
    from judges.labelers.sentinels import WatchedJudge
    from judges.measuring.probes.making import KNOWN_ANSWER

    config = labeler.config
    budgeted = BudgetedJudge(labeler.judge, config.soft_tokens, config.hard_tokens)
    watched = WatchedJudge(budgeted, {labeler.rubric.id: {KNOWN_ANSWER: lower_bound}})
    return watched if config.kind == "scripted" else CachedJudge(watched, store.verdicts)


def _measure(store: Store, labeler: _Labeler, mode: str, anyway: bool) -> _Measured:
    """Measure the labeler. Raises `UserError` if it is not admitted, unless `anyway`."""
    is_pointwise = mode == "pointwise" and labeler.gold is None
    measured = (_by_probes if is_pointwise else _by_gold)(store, labeler)
    if not measured.is_admitted and not anyway:
        problem = f"{labeler.judge.name} is no better than a trivial rule ({measured.description})."
        remedy = "Choose another labeler or rubric, or add --anyway."
        raise UserError("--rubric", labeler.rubric.id, problem, remedy)
    (note if measured.is_admitted else warn)(f"{labeler.judge.name}: {measured.description}")
    return measured


def _by_probes(store: Store, labeler: _Labeler) -> _Measured:
    admission = _probe_admission(store, labeler)
    bounds = [
        result.lower
        for result in store.labelers.tested_probes(labeler.judge.name)
        if (result.rubric, result.method) == (labeler.rubric.id, admission.method)
    ]
    return _Measured(
        admission.method, admission.admitted, admission.reason, min(bounds), errors=None
    )


def _probe_admission(store: Store, labeler: _Labeler) -> Admission:
    """The stored admission, or a new one."""
    from judges.measuring.admission import measure_labeler
    from judges.measuring.probes.making import built_in_material

    judge, rubric = labeler.judge, labeler.rubric
    known = [a for a in store.labelers.admissions(judge.name) if a.rubric == rubric.id]
    if known:
        return known[0]
    steps = len(rubric.usable_methods(judge.methods))
    with progress("measuring the labeler", total=steps) as advance:
        result = measure_labeler(judge, rubric, built_in_material(), report=advance)
    store.labels.add_judgments(result.rows)
    store.labelers.add_datasheet(result.results, [result.admission])
    return result.admission


def _by_gold(store: Store, labeler: _Labeler) -> _Measured:
    from infra.records.labeler import LabelerErrors
    from judges.measuring.datasheet import is_admitted

    sheets = _gold_sheets(store, labeler)
    errors = LabelerErrors(
        sum(sheet.errors.num_a for sheet in sheets),
        sum(sheet.errors.right_a for sheet in sheets),
        sum(sheet.errors.num_b for sheet in sheets),
        sum(sheet.errors.right_b for sheet in sheets),
    )
    return _Measured(
        method=sheets[0].method,
        is_admitted=all(is_admitted(sheet) for sheet in sheets),
        description="; ".join(f"{sheet.gold} {sheet.accuracy}" for sheet in sheets),
        lower_bound=min(sheet.admission_low for sheet in sheets),
        errors=errors,
    )


def _gold_sheets(store: Store, labeler: _Labeler) -> list[Datasheet]:
    """A datasheet for each gold set; those that are stored are not measured again."""
    from judges.measuring.datasheet import measure_on_gold, pair_methods
    from judges.measuring.probes.making import gold_set

    judge, rubric, sets = labeler.judge, labeler.rubric, labeler.gold
    if sets is None:
        sets = [gold_set(probe) for probe in rubric.probes]
    known = {sheet.gold_digest for sheet in _stored_sheets(store, labeler)}
    unknown = [one for one in sets if one.digest not in known]
    steps = len(unknown) * (len(pair_methods(judge, rubric)) + 3)
    with progress("measuring the labeler", total=steps) as advance:
        for one in unknown:
            result = measure_on_gold(judge, rubric, one, labeler.limit, advance)
            store.labelers.add_gold_sheet(result.sheet, result.items, result.rows)
    digests = {one.digest for one in sets}
    return [s for s in _stored_sheets(store, labeler) if s.gold_digest in digests]


def _stored_sheets(store: Store, labeler: _Labeler) -> list[Datasheet]:
    key = (labeler.rubric.id, labeler.judge.name)
    return [s for s in store.labelers.gold_sheets() if (s.rubric, s.labeler) == key]


def _finish(store: Store, output: Path, items: Items, inputs: dict[str, Any]) -> None:
    """Write judgments, the judged rows and the summary, and show the summary."""
    import pyarrow.parquet as pq

    from infra.artifacts import atomic_write
    from infra.json_lines import without_nan
    from infra.records import Judgment
    from infra.records.arrow import to_table
    from judges.files.items import judged_lines
    from loop.show import tables

    summary = _summary(store, inputs["errors"])
    judgments = store.labels.all_judgments(1)
    pq.write_table(to_table(Judgment, judgments), output / "judgments.parquet")
    lines = (without_nan(line) for line in judged_lines(items, judgments))
    text = "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines)
    atomic_write(output / _JUDGED, text.encode("utf-8", "replace"))
    atomic_write(output / _SUMMARY, json.dumps(without_nan(summary), indent=1).encode())
    atomic_write(output / _INPUTS, json.dumps(inputs).encode())
    console.print(tables.table("Summary", ["", ""], _summary_lines(summary)))
    note(f"written: {output / _JUDGED}, judgments.parquet and {_SUMMARY}")


def _summary(store: Store, errors: dict[str, int] | None) -> dict[str, Any]:
    """The summary of the stored judgments, as plain data."""
    from infra.records.labeler import LabelerErrors
    from judges.files.items import summarise

    known = LabelerErrors(**errors) if errors else None
    return asdict(summarise(store.labels.all_judgments(1), known))


def _summary_lines(summary: dict[str, Any]) -> list[list[str]]:
    counts = ", ".join(f"{name} {number}" for name, number in summary["verdicts"].items())
    lines = [
        ["items", f"{summary['num_items']:,}"],
        ["verdicts", counts or "-"],
        ["mean value [95%]", _interval(summary["value"])],
        ["tokens", f"{summary['num_tokens']:,}"],
    ]
    lines += [
        [f"unscored: {reason}", str(number)] for reason, number in summary["unscored"].items()
    ]
    if summary["win_rate"] is not None:
        corrected = summary["corrected"]
        lines.append(["A wins, by the labeler", _interval(summary["win_rate"])])
        value = _interval(corrected) if corrected else f"none: {summary['reason']}"
        lines.append(["A wins, corrected for its errors", value])
    return lines


def _interval(value: dict[str, float] | None) -> str:
    from infra.records.labeler import Interval

    return "-" if value is None else str(Interval(**value))


@app.command(epilog="Example:  ratchet judge replay --run runs/quickstart")
def replay(run: FolderOption = None) -> None:
    """Compute every aggregate again from the stored judgments.

    Exits with 1 if any of them differs from what was stored.
    """
    with exit_on_error(can_resume=False):
        folder = run or newest_run()
        with open_store(folder) as store:
            from loop.show import tables

            is_judged_file = (folder / _SUMMARY).exists()
            aggregates = _replay_items(store, folder) if is_judged_file else _replay_run(store)
        lines = [
            [kind, str(number), f"{len(differing)} differ" if differing else "all"]
            for kind, number, differing in aggregates
        ]
        columns = ["aggregate", "stored", "the same again"]
        console.print(tables.table("From stored judgments", columns, lines))
        differences = [one for _, _, differing in aggregates for one in differing]
        for one in differences[:10]:
            warn(one)
    if differences:
        raise typer.Exit(1)


def _replay_run(store: Store) -> list[Aggregate]:
    from judges.files.replay import recompute_aggregates
    from loop.recipe.recipe import stored_recipe

    recipe = stored_recipe(recipe_text(store.run.facts()))
    generations = store.labels.labeled_generations()
    results = recompute_aggregates(store, recipe.judge, recipe.seed, generations)
    return [(one.kind, one.num_stored, one.differing) for one in results]


def _replay_items(store: Store, folder: Path) -> list[Aggregate]:
    from judges.files.replay import datasheets

    inputs = json.loads((folder / _INPUTS).read_text(encoding="utf-8"))
    again = json.loads(json.dumps(_summary(store, inputs["errors"])))
    stored = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
    differing = tuple(f"summary: {key}" for key in stored if stored[key] != again.get(key))
    sheets = datasheets(store)
    return [("summary", len(stored), differing), (sheets.kind, sheets.num_stored, sheets.differing)]


@app.command(epilog="Example:  ratchet judge cost my.toml --set judge.endpoint.prompt_price=0.15")
def cost(recipe: RecipeArgument = "quickstart", set_: SetOption = None) -> None:
    """The maximum cost of a generation's labels, by step, before anything is asked."""
    with exit_on_error(can_resume=False):
        from loop.recipe.recipe import load_recipe

        loaded = load_recipe(recipe, set_ or [])
        from judges.making.cost import estimate_costs, largest_price, measuring_cost
        from loop.show import tables

        config, budgets = loaded.judge, loaded.budgets()
        amounts = (budgets["label_tokens"], budgets["prompts"], budgets["instructions"])
        expenses = [measuring_cost(config), *estimate_costs(config, *amounts)]
        total = sum(one.num_tokens for one in expenses)
        lines = [
            [
                one.step,
                f"{one.num_items:,}",
                f"{one.num_tokens:,}",
                f"{largest_price(config, one.num_tokens):.4f}",
            ]
            for one in expenses
        ]
        lines.append(["total", "", f"{total:,}", f"{largest_price(config, total):.4f}"])
        columns = ["step", "items", "tokens", "cost"]
        console.print(tables.table("Labels of a generation, at most", columns, lines))
        limit = config.hard_tokens
        if 0 < limit < total:
            warn(f"judge.hard_tokens = {limit:,} may stop it before; the rest stays unscored")
