"""Command line options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.errors import UserError

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe file, or the name of a built-in recipe.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: section.key=value (TOML).")
]
RunOption = Annotated[
    str | None, typer.Option("--run", help="Folder of the run. [the newest run below runs/]")
]
ArmOption = Annotated[
    str | None,
    typer.Option(
        "--arm",
        help="A candidate of the generation: picked, random, or a name from the recipe. "
        "[the promoted one, else the first]",
    ),
]
NewRunOption = Annotated[
    str | None,
    typer.Option("--run", help="Folder of the run; an existing run is resumed. [runs/NAME]"),
]


def require_generation(generation: int | None, arm: str | None) -> None:
    """Raises `UserError` for the name of a candidate without its generation."""
    if arm is not None and generation is None:
        problem = "a candidate belongs to a generation, and none is given."
        raise UserError("--arm", arm, problem, "Add --generation, or leave --arm out.")
