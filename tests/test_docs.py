"""What the documentation says exists: commands, options, recipe keys, files, Python names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from loop.commands.main import app
from loop.recipe.reference import page, section
from tests.doc_checks import (
    ROOT,
    Command,
    command_problems,
    commands,
    description_problem,
    fenced,
    key_problems,
    link_problems,
    named_keys,
    named_paths,
    pages,
    path_problems,
    python_names,
    python_problems,
    recipe_fields,
    toml_problems,
)

PAGES = pages()
CHECKS = (command_problems, key_problems, toml_problems, path_problems, python_problems)
QUICK = (("plan",), ("judge", "cost"))
"""Commands that need no run folder, no model and no cluster, by their first words."""


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_names_exists(name: str) -> None:
    problems = [problem for check in CHECKS for problem in check(PAGES[name])]
    assert problems + link_problems(PAGES[name], (ROOT / name).parent) == []


def test_the_checks_find_something_to_check() -> None:
    text = "\n".join(PAGES.values())
    assert len(commands(text)) > 60
    assert len(named_keys(text)) > 40
    assert len(named_paths(text)) > 40
    assert len(python_names(text)) > 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("`ratchet shwo 1`", "no command shwo"),
        ("`ratchet crawl plann`", "no command plann"),
        ("`ratchet show 1 --colour`", "NoSuchOption"),
        ("`ratchet crawl run my.toml --actor 8`", "NoSuchOption"),
        ("`ratchet show 1 2`", "too many"),
        ("```\nratchet show\n```", "MissingParameter"),
        ("```\nratchet show one\n```", "BadParameter"),
        ("```\nratchet --quiet\n```", "no option --quiet"),
        ("text\n\n    ratchet nothing    # a comment\n", "no command nothing"),
        ("```\n.venv/bin/python loop/run.py quickstart \\\n    --sett a=1\n```", "NoSuchOption"),
        ("```\nray job submit -- python loop/run.py x --where y\n```", "NoSuchOption"),
        ("`python loop/run.py x --set crawl.seed=1`", "there is no such key"),
        ("`python loop/run.py x --set train.zero_stage=9`", "train.zero_stage"),
        ("`make tset`", "no target tset"),
        ("`python -m loop.nothing`", "no module loop.nothing"),
        ("`python -m benchmarks.train --date x`", "no option --date"),
    ],
)
def test_a_wrong_command_is_found(text: str, problem: str) -> None:
    (message,) = command_problems(text)
    assert problem in message


def test_right_commands_are_read_in_full_and_have_no_problem() -> None:
    text = (
        "`make PYTHON=python3.12 run`, `python -m loop.recipe.reference > x`\n\n"
        "```\nratchet show N   # a comment\n```\n"
    )
    assert commands(text) == [
        Command(("ratchet", "show", "N"), is_whole=True),
        Command(("make", "PYTHON=python3.12", "run"), is_whole=False),
        Command(("python", "-m", "loop.recipe.reference"), is_whole=False),
    ]
    assert command_problems(text) == []


@pytest.mark.parametrize(
    "key",
    ["train.sft.epoch", "crawl.delay", "gate.suites.NAME.files", "budget.page = 3", "[train.lora]"],
)
def test_a_wrong_key_is_found(key: str) -> None:
    assert len(key_problems(f"see `{key}`")) == 1


def test_right_keys_have_no_problem() -> None:
    text = "`train.sft.epochs`, `judge.gold.relevance`, `gate.suites.NAME.judge.kind`"
    assert key_problems(f"{text}, `[gate.suites.NAME]`, `[best_of]`") == []


@pytest.mark.parametrize(
    "block",
    [
        "[train]\nstep = []",
        "[train]\nsteps = [",
        "[gate]\nalpha = 2.0",
        '[[criteria]]\nquestion = "Is it so?"',
    ],
)
def test_a_wrong_toml_block_is_found(block: str) -> None:
    assert len(toml_problems(f"```toml\n{block}\n```\n")) == 1
    assert (
        len(
            toml_problems(
                f"- in a list\n\n  ```toml\n  {block.replace(chr(10), chr(10) + '  ')}\n  ```\n"
            )
        )
        == 1
    )


@pytest.mark.parametrize("path", ["loop/nothing.py", "docs/nothing.md", "nothing.py", "nothing/"])
def test_a_wrong_path_is_found(path: str) -> None:
    assert path_problems(f"see `{path}`") == [f"no file {path}"]


def test_a_wrong_link_is_found() -> None:
    wrong = "[a](docs/nothing.md), [b](docs/gate.md#nothing)"
    text = f"{wrong}, [c](docs/gate.md#over-a-whole-run), [d](https://x.org/)"
    assert link_problems(text, ROOT) == [
        "link to docs/nothing.md: no such file",
        "link to docs/gate.md#nothing: no such heading",
    ]


@pytest.mark.parametrize(
    "name", ["trainers.rollouts.rewards.Nobody", "loop.nothing", "judges.nothing.Judge"]
)
def test_a_wrong_python_name_is_found(name: str) -> None:
    assert python_problems(f"see `{name}`") == [f"no Python name {name}"]


def test_the_recipes_page_is_up_to_date() -> None:
    assert PAGES["docs/recipes.md"] == page(), (
        "run: python -m loop.recipe.reference > docs/recipes.md"
    )


def test_every_key_says_what_it_does_and_in_which_unit() -> None:
    fields = dict(recipe_fields())
    assert len(fields) > 200
    assert {
        key: problem for key, field in fields.items() if (problem := description_problem(field))
    } == {}


def drawn_layers(package: str) -> list[str]:
    """The layers of a package in the picture of docs/architecture.md, from the top."""
    picture = fenced(PAGES["docs/architecture.md"])[0][1].splitlines()
    top = next(i for i, line in enumerate(picture) if f"{package}/" in line)
    column = picture[top].index(f"{package}/")
    is_beside = package in ("loop", "infra")
    layers = []
    for line in picture[top if is_beside else top + 1 :]:
        if not re.search(r"\w", line):
            break
        layers.append(re.split(r" {2,}", line[column + (9 if is_beside else 1) :])[0])
    return [layer for layer in layers if layer]


@pytest.mark.parametrize("package", ["crawlers", "judges", "trainers", "loop", "infra"])
def test_the_picture_of_the_architecture_has_the_layers_of_the_contract(package: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (one for one in contracts if one.get("containers") == [package])
    assert drawn_layers(package) == contract["layers"]


def test_missing_descriptions_and_units_are_found() -> None:
    class Wrong(BaseModel):
        bare: int = 0
        short: str = Field(default="", description="Too short")
        unitless: float | None = Field(default=None, description="How long it may take")
        good: float = Field(default=1.0, description="How long it may take, in seconds")

    problems = {name: description_problem(field) for name, field in Wrong.model_fields.items()}
    expected = {
        "bare": "no description",
        "short": "no description",
        "unitless": "no unit",
        "good": "",
    }
    assert problems == expected


def test_the_recipes_page_shows_types_ranges_and_defaults_in_toml() -> None:
    class Some(BaseModel):
        """Some keys."""

        share: float = Field(default=0.5, gt=0, le=1, description="A share.")
        names: list[str] = Field(default=["a"], min_length=1, description="Names.")
        many: int | None = Field(default=None, ge=1_000, description="Many.")

    assert section(Some, "some")[-3:] == [
        "| `share` | number | > 0 and ≤ 1 | `0.5` | A share. |",
        '| `names` | list of strings | at least 1 entry | `["a"]` | Names. |',
        "| `many` | integer | ≥ 1_000 | unset | Many. |",
    ]


def test_every_command_has_help() -> None:
    def paths(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        below = [
            paths(one, (*words, name)) for name, one in getattr(command, "commands", {}).items()
        ]
        return [words, *(path for group in below for path in group)]

    for words in paths(typer.main.get_command(app)):
        result = CliRunner().invoke(app, [*words, "--help"])
        assert result.exit_code == 0, words
        assert "Usage" in result.output


def test_documented_commands_that_need_nothing_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text(
        'name = "x"\ngenerations = 2\n[crawl]\nseeds = ["builtin:pydoc"]\n'
    )
    all_commands = [command for text in PAGES.values() for command in commands(text)]
    documented = {c.words[1:] for c in all_commands if c.is_whole and c.words[0] == "ratchet"}
    chosen = [
        words
        for words in sorted(documented)
        if any(words[: len(quick)] == quick for quick in QUICK)
    ]
    assert len(chosen) >= 3
    for words in chosen:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == 0, (words, result.output)
