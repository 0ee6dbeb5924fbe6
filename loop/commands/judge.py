"""`ratchet judge`: measure and attack a labeler before it labels, and judge files with it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.artifacts import make_folder
from infra.console import console, heading, note, progress, warn
from infra.errors import UserError
from infra.json_lines import without_nan
from loop.commands.exit_codes import exit_on_error
from loop.commands.open_run import check_database, open_store
from loop.commands.options import RecipeArgument, SetOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.records.labeler import Datasheet, Interval
    from judges.judgment.pairs import Pair
    from judges.judgment.protocol import Judge
    from judges.measuring.gold import GoldSet
    from judges.rubrics import Rubric

app = typer.Typer(no_args_is_help=True, help=__doc__)
RubricOption = Annotated[str, typer.Option(help="A built-in rubric, or the path of a TOML file.")]
GoldOption = Annotated[
    Path | None,
    typer.Option(help="A gold file or folder (LLMBar, PandaLM, JudgeBench, ...). [built-in pairs]"),
]
LimitOption = Annotated[
    int, typer.Option(min=0, help="Number of pairs of each half of each set; 0 takes all.")
]


@app.command(
    epilog="Example:  ratchet judge datasheet --gold LLMBar/Dataset/LLMBar "
    "--rubric helpfulness --limit 50"
)
def datasheet(
    recipe: RecipeArgument = "quickstart",
    gold: GoldOption = None,
    rubric: RubricOption = "helpfulness",
    limit: LimitOption = 0,
    run: Annotated[Path | None, typer.Option(help="Store the datasheets in this run.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for datasheet.json and datasheet.png.")
    ] = None,
    set_: SetOption = None,
) -> None:
    """Measure a labeler on gold pairs: is it good enough to label?

    Shows accuracy and kappa beside trivial baselines, and habits of position and length.
    """
    with exit_on_error(can_resume=False):
        from loop.recipe.recipe import load_recipe

        config = load_recipe(recipe, set_ or []).judge
        loaded, sets = _read_inputs(rubric, gold)
        if run is not None:
            check_database(run)
        if output is not None:
            make_folder(output, "--output")
        from judges.labelers.backends import make_judge  # these load scikit-learn and torch
        from judges.making.cost import largest_price
        from judges.measuring.datasheet import measure_on_gold, pair_methods

        judge = make_judge(config)
        steps = (len(pair_methods(judge, loaded)) + 3) * len(sets)
        with progress(f"measuring {judge.name} by {loaded.id}", total=steps) as advance:
            results = [measure_on_gold(judge, loaded, one, limit, advance) for one in sets]
        token_price = largest_price(config, 1_000_000) / 1e6
        results = [replace(one, sheet=_with_price(one.sheet, token_price)) for one in results]
        sheets = [one.sheet for one in results]
        _show(sheets)
        if run is not None:
            with open_store(run) as store:
                for one in results:
                    store.labelers.add_gold_sheet(one.sheet, one.items, one.rows)
            note(f"stored in {run}")
        if output is not None:
            _write_sheets(sheets, output)


def _with_price(sheet: Datasheet, token_price: float) -> Datasheet:
    """The datasheet with the price of 1,000 pairs."""
    price = token_price * sheet.tokens_per_thousand
    return replace(sheet, cost=replace(sheet.cost, price_per_thousand=price))


def _write_sheets(sheets: Sequence[Datasheet], output: Path) -> None:
    from judges.measuring.datasheet import is_admitted
    from loop.show.judge_plots import sheets_figure

    rows = [asdict(sheet) | {"admitted": is_admitted(sheet)} for sheet in sheets]
    (output / "datasheet.json").write_text(
        json.dumps(without_nan(rows), indent=1), encoding="utf-8"
    )
    sheets_figure(sheets).savefig(output / "datasheet.png", dpi=130)
    note(f"written: {output / 'datasheet.json'} and datasheet.png")


def _read_inputs(rubric: str, gold: Path | None) -> tuple[Rubric, list[GoldSet]]:
    """Rubric and gold sets, before a labeler is loaded, which takes long."""
    from judges.measuring.gold import load_gold
    from judges.measuring.probes.making import gold_set
    from judges.rubrics import load_rubric

    loaded = load_rubric(rubric, "--rubric")
    sets = (
        [gold_set(probe) for probe in loaded.probes] if gold is None else load_gold(gold, "--gold")
    )
    number = sum(len(one.pairs) for one in sets)
    heading(f"{number:,} gold pairs in {len(sets)} {'set' if len(sets) == 1 else 'sets'}")
    return loaded, sets


def _show(sheets: Sequence[Datasheet]) -> None:
    from judges.measuring.datasheet import is_admitted

    _show_accuracy(sheets)
    _show_habits(sheets)
    _show_calibration(sheets)
    for sheet in sheets:
        if not is_admitted(sheet):
            bound, best = sheet.admission_low, sheet.best_baseline
            warn(
                f"{sheet.gold}: NOT better than a trivial baseline "
                f"(lower bound {bound:.3f}, baseline {best:.3f})"
            )


def _show_accuracy(sheets: Sequence[Datasheet]) -> None:
    from judges.measuring.datasheet import is_admitted
    from loop.show import tables

    lines = [
        [
            sheet.gold,
            str(sheet.num_pairs),
            sheet.method,
            str(sheet.accuracy),
            str(sheet.kappa),
            f"{sheet.baselines.majority:.3f}",
            f"{sheet.baselines.longer:.3f}",
            "yes" if is_admitted(sheet) else "no",
        ]
        for sheet in sheets
    ]
    columns = [
        "gold",
        "pairs",
        "method",
        "accuracy [95%]",
        "kappa [95%]",
        "majority",
        "by length",
        "may label",
    ]
    console.print(tables.table("Accuracy and trivial baselines", columns, lines))


def _show_habits(sheets: Sequence[Datasheet]) -> None:
    from loop.show import tables

    lines = [
        [
            sheet.gold,
            _signed(sheet.habits.first_place_gap),
            _signed(sheet.habits.length_slope),
            _signed(sheet.habits.discrimination),
            tables.number(sheet.consistency, 2),
            tables.number(sheet.right_if_consistent, 2),
            " ".join(map(_digits, sheet.ladder.values())),
            _digits(sheet.robustness.over_empty),
            _digits(sheet.robustness.identical_ties),
            _share(sheet.robustness.attack_success),
        ]
        for sheet in sheets
    ]
    columns = [
        "gold",
        "gain of first place",
        "per 1,000 chars",
        "right against wrong",
        "same in both orders",
        "right where same",
        "over 25 50 75 100% shuffled",
        "over empty",
        "identical tied",
        "changed by attacks",
    ]
    console.print(tables.table("Habits, in nats and shares", columns, lines))


def _show_calibration(sheets: Sequence[Datasheet]) -> None:
    from loop.show import tables

    lines = [
        [
            sheet.gold,
            f"{_digits(probabilities.ece)} {_digits(probabilities.ece_calibrated)}",
            f"{_digits(probabilities.brier)} {_digits(probabilities.brier_calibrated)}",
            str(sheet.num_unscored),
            f"{sheet.pairs_per_second:.1f}",
            f"{sheet.tokens_per_thousand:,.0f}",
            f"{sheet.cost.price_per_thousand:.2f}",
        ]
        for sheet, probabilities in ((one, one.probabilities) for one in sheets)
    ]
    columns = [
        "gold",
        "ECE before, after",
        "Brier before, after",
        "unscored",
        "pairs/s",
        "tokens per 1,000",
        "cost per 1,000",
    ]
    console.print(tables.table("Calibration and cost", columns, lines))


def _share(share: Interval) -> str:
    if not share.is_known:
        return "-"
    return f"{_digits(share.value)} [{_digits(share.low)}, {_digits(share.high)}]"


def _digits(value: float) -> str:
    from loop.show import tables

    return tables.number(value, 2)


def _signed(habit: Interval) -> str:
    if not habit.is_known:
        return "-"
    return f"{habit.value:+.2f} [{habit.low:+.2f}, {habit.high:+.2f}]"


@app.command(epilog="Example:  ratchet judge attack --rubric relevance")
def attack(
    recipe: RecipeArgument = "quickstart",
    gold: GoldOption = None,
    rubric: RubricOption = "helpfulness",
    limit: LimitOption = 0,
    method: Annotated[
        str, typer.Option(help="Elicitation method. [the one with the best accuracy]")
    ] = "",
    set_: SetOption = None,
) -> None:
    """How often an instruction inside a text changes a right verdict, for each kind of attack."""
    with exit_on_error(can_resume=False):
        from loop.recipe.recipe import load_recipe

        config = load_recipe(recipe, set_ or []).judge
        loaded, sets = _read_inputs(rubric, gold)
        from judges.labelers.backends import make_judge  # these load scikit-learn and torch
        from judges.measuring.attacks import attack_labeler, attacks
        from loop.show import tables

        judge = make_judge(config)
        chosen = _choose_method(judge, loaded, method, _half(sets, "calibration", limit))
        with progress(f"attacking {judge.name}", total=len(attacks())) as advance:
            pairs = _half(sets, "test", limit)
            results = attack_labeler(judge, loaded, chosen, pairs, advance)
        lines = [[one.attack, str(one.num_pairs), str(one.success)] for one in results]
        columns = ["attack", "right before", "changed [95%]"]
        console.print(tables.table(f"Method {chosen}", columns, lines))


def _half(sets: Sequence[GoldSet], half: str, limit: int) -> list[Pair]:
    return [pair for one in sets for pair in one.half(half)[: limit or None]]


def _choose_method(judge: Judge, rubric: Rubric, method: str, calibration: Sequence[Pair]) -> str:
    """The given method if the labeler supports it, else the best on the calibration pairs."""
    from judges.measuring.datasheet import choose_pair_method, pair_methods

    methods = pair_methods(judge, rubric)
    if not method:
        return choose_pair_method(judge, rubric, methods, calibration)[0]
    if method not in methods:
        problem = "this labeler does not support it."
        raise UserError("--method", method, problem, f"Give one of {', '.join(methods)}.")
    return method
