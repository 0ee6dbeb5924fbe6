"""`ratchet judge`: measure a labeler before it labels, on pairs whose better side is known, and
attack it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from infra.console import console, heading, note, progress, warn
from infra.errors import UserError
from infra.records.labeler import Datasheet, Interval
from judges.config import JudgeConfig
from judges.judgment.protocol import Judge
from judges.measuring.attacks import attack_labeler, attacks
from judges.measuring.gold import GoldSet, load_gold
from judges.measuring.probes import gold_set
from judges.rubrics import Rubric, load_rubric
from loop.commands.exit_codes import exit_on_error
from loop.commands.open_run import open_store
from loop.commands.options import RecipeArgument as Recipe
from loop.commands.options import SetOption
from loop.recipe.recipe import load_recipe
from loop.show import tables
from loop.show.judge_plots import sheets_figure

app = typer.Typer(no_args_is_help=True, help=__doc__)
RubricOption = Annotated[str, typer.Option(help="A built-in rubric, or the path of a TOML file.")]
GoldOption = Annotated[
    Path | None,
    typer.Option(help="A gold file or folder (LLMBar, PandaLM, JudgeBench, ...). [built-in pairs]"),
]
LimitOption = Annotated[
    int, typer.Option(min=0, help="Pairs of each half of each set; 0 takes all.")
]


@app.command(
    epilog="Example:  ratchet judge datasheet --gold LLMBar/Dataset/LLMBar --rubric helpfulness --limit 50"
)
def datasheet(
    recipe: Recipe = "quickstart",
    gold: GoldOption = None,
    rubric: RubricOption = "helpfulness",
    limit: LimitOption = 0,
    run: Annotated[Path | None, typer.Option(help="Store the datasheets in this run.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for datasheet.json and datasheet.png.")
    ] = None,
    set_: SetOption = None,
) -> None:
    """Accuracy and kappa beside trivial baselines, position, length, corruptions: may this labeler
    label?
    """
    from judges.making.cost import prompt_price
    from judges.measuring.datasheet import (  # loads what no other command needs
        is_admitted,
        measure_on_gold,
        pair_methods,
    )

    with exit_on_error():
        config = load_recipe(recipe, set_ or []).judge
        asked, sets, judge = _prepared(config, rubric, gold)
        steps = (len(pair_methods(judge, asked)) + 3) * len(sets)
        with progress(f"measuring {judge.name} by {asked.id}", total=steps) as advance:
            found = [measure_on_gold(judge, asked, one, limit, advance) for one in sets]
        price = prompt_price(config, 1_000_000) / 1e6
        found = [replace(m, sheet=_priced(m.sheet, price)) for m in found]
        sheets = [_priced(m.sheet, price) for m in found]
        _show(sheets)
        if run is not None:
            with open_store(run) as store:
                for sheet, m in zip(sheets, found, strict=True):
                    store.labelers.add_gold_sheet(sheet, m.items, m.rows)
            note(f"stored in {run}")
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            lines = [asdict(sheet) | {"admitted": is_admitted(sheet)} for sheet in sheets]
            (output / "datasheet.json").write_text(json.dumps(lines, indent=1), encoding="utf-8")
            sheets_figure(sheets).savefig(output / "datasheet.png", dpi=130)
            note(f"written: {output / 'datasheet.json'} and datasheet.png")


def _prepared(
    config: JudgeConfig, rubric: str, gold: Path | None
) -> tuple[Rubric, list[GoldSet], Judge]:
    """Rubric and gold first, because they are read in a moment and a model is not."""
    from judges.labelers.backends import make_judge

    asked = load_rubric(rubric)
    sets = [gold_set(probe) for probe in asked.probes] if gold is None else load_gold(gold)
    heading(f"{sum(len(s.pairs) for s in sets):,} gold pairs in {len(sets)} sets")
    return asked, sets, make_judge(config)


def _show(sheets: list[Datasheet]) -> None:
    from judges.measuring.datasheet import is_admitted

    lines = [
        [
            s.gold,
            str(s.num_pairs),
            s.method,
            str(s.accuracy),
            str(s.kappa),
            f"{s.baselines.majority:.3f}",
            f"{s.baselines.longer:.3f}",
            "yes" if is_admitted(s) else "no",
        ]
        for s in sheets
    ]
    names = [
        "gold",
        "pairs",
        "method",
        "accuracy [95%]",
        "kappa [95%]",
        "majority",
        "by length",
        "may label",
    ]
    console.print(tables.table("Beside the trivial baselines", names, lines))
    lines = [
        [
            s.gold,
            _habit(s.habits.first_place_gap),
            _habit(s.habits.length_slope),
            _habit(s.habits.discrimination),
            tables.number(s.consistency, 2),
            tables.number(s.right_if_consistent, 2),
            " ".join(f"{x:.2f}" for x in s.ladder.values()),
            f"{s.robustness.over_empty:.2f}",
            f"{s.robustness.identical_ties:.2f}",
            _share(s.robustness.attack_success),
        ]
        for s in sheets
    ]
    names = [
        "gold",
        "first place gains",
        "per 1,000 chars",
        "right against wrong",
        "same in both orders",
        "right where same",
        "over 25 50 75 100% shuffled",
        "over empty",
        "identical tied",
        "turned by attacks",
    ]
    console.print(tables.table("Habits, in nats and shares", names, lines))
    lines = [
        [
            s.gold,
            f"{s.probabilities.ece:.2f} {s.probabilities.ece_calibrated:.2f}",
            f"{s.probabilities.brier:.2f} {s.probabilities.brier_calibrated:.2f}",
            str(s.num_unscored),
            f"{s.pairs_per_second:.1f}",
            f"{s.tokens_per_thousand:,.0f}",
            f"{s.cost.price_per_thousand:.2f}",
        ]
        for s in sheets
    ]
    names = [
        "gold",
        "ECE before, after",
        "Brier before, after",
        "unscored",
        "pairs/s",
        "tokens per 1,000",
        "cost per 1,000",
    ]
    console.print(tables.table("Calibration and cost", names, lines))
    for sheet in sheets:
        if not is_admitted(sheet):
            warn(
                f"{sheet.gold}: NOT better than a trivial baseline ({sheet.admission_low:.3f} against {sheet.best_baseline:.3f})"
            )


def _share(share: Interval) -> str:
    value, low, high = (tables.number(x, 2) for x in (share.value, share.low, share.high))
    return f"{value} [{low}, {high}]"


def _habit(habit: Interval) -> str:
    return f"{habit.value:+.2f} [{habit.low:+.2f}, {habit.high:+.2f}]"


def _priced(sheet: Datasheet, token_price: float) -> Datasheet:
    """The datasheet with what 1,000 pairs cost."""
    price = token_price * sheet.tokens_per_thousand
    return replace(sheet, cost=replace(sheet.cost, price_per_thousand=price))


@app.command(epilog="Example:  ratchet judge attack --rubric relevance")
def attack(
    recipe: Recipe = "quickstart",
    gold: GoldOption = None,
    rubric: RubricOption = "helpfulness",
    limit: LimitOption = 0,
    way: Annotated[str, typer.Option(help="How to ask. [the one that is right most often]")] = "",
    set_: SetOption = None,
) -> None:
    """How often a text that talks to its grader turns a verdict that was right, attack by attack."""
    from judges.measuring.datasheet import choose_pair_method, pair_methods

    with exit_on_error():
        asked, sets, judge = _prepared(load_recipe(recipe, set_ or []).judge, rubric, gold)
        pairs = [pair for one in sets for pair in one.half("test")[: limit or None]]
        methods = pair_methods(judge, asked)
        if way and way not in methods:
            raise UserError(
                "--way",
                way,
                "this labeler cannot be asked so.",
                f"Give one of {', '.join(methods)}.",
            )
        chosen = way
        if not way:
            calibration = [
                pair for one in sets for pair in one.half("calibration")[: limit or None]
            ]
            chosen, _ = choose_pair_method(judge, asked, methods, calibration)
        with progress(f"attacking {judge.name}", total=len(attacks())) as advance:
            results = attack_labeler(judge, asked, chosen, pairs, advance)
        lines = [[r.attack, str(r.num_pairs), str(r.success)] for r in results]
        console.print(
            tables.table(f"Asked by {chosen}", ["attack", "right before", "turned [95%]"], lines)
        )
