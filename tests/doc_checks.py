"""Checks of what the documentation names; each check returns the problems that it found."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

import loop.run
from infra.config import parse_override, validate, with_overrides
from infra.errors import UserError
from judges.rubrics import Rubric
from loop.commands.main import app as ratchet_app
from loop.recipe.recipe import Recipe
from loop.recipe.reference import section_named

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("infra", "crawlers", "judges", "trainers", "loop", "benchmarks")
FOLDERS = (*PACKAGES, "docs", "tests")
SUFFIXES = (".py", ".md", ".toml", ".txt", ".yaml", ".sql")
MINIMAL: dict[str, Any] = {"name": "x", "generations": 1, "crawl": {"seeds": ["builtin:pydoc"]}}
_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?:    .*\n|\n(?=    ))+", re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(
    r"(?:^|-- )(?:\.venv/bin/)?((?:ratchet|python loop/run\.py|python -m \S+|make)(?: .*)?)$"
)
_PLACEHOLDER = re.compile(r"[A-Z]+")


@dataclass(frozen=True)
class Command:
    """A command as the text has it. `is_whole`: it stands in a code block and must be complete."""

    words: tuple[str, ...]
    is_whole: bool


# Reading Markdown.


def pages() -> dict[str, str]:
    """The pages to check, by path."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}


def fenced(text: str) -> list[tuple[str, str]]:
    """(language, content) of each fenced code block."""
    return [(match.group(2), textwrap.dedent(match.group(3))) for match in _FENCED.finditer(text)]


def prose(text: str) -> str:
    """The text without code blocks."""
    return _INDENTED.sub("\n", _FENCED.sub("", text))


def inline_code(text: str) -> list[str]:
    """What stands in single backticks."""
    return _INLINE.findall(prose(text))


def block_lines(text: str) -> Iterator[str]:
    """Lines of code blocks without a language; lines that end in a backslash are joined."""
    blocks = [content for language, content in fenced(text) if language in ("", "bash", "sh")]
    blocks += [
        textwrap.dedent(match.group()) for match in _INDENTED.finditer(_FENCED.sub("", text))
    ]
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()


def commands(text: str) -> list[Command]:
    """The commands of ours that a text names."""
    lines = [(line, True) for line in block_lines(text)] + [
        (code, False) for code in inline_code(text)
    ]
    named = []
    for line, is_whole in lines:
        match = _COMMAND.search(line.strip().split(" # ")[0].split("  #")[0].strip())
        if match:
            words = shlex.split(match.group(1), comments=True)
            end = words.index(">") if ">" in words else len(words)
            named.append(Command(tuple(words[:end]), is_whole))
    return named


# Commands.


def _run_command() -> Any:
    app = typer.Typer()
    app.command()(loop.run.main)
    return typer.main.get_command(app)


def command_problem(command: Command) -> str:
    """What is wrong with a command; empty for nothing."""
    words = list(command.words)
    if words[0] == "make":
        return _make_problem(words[1:])
    if words[0] == "ratchet":
        return _cli_problem(typer.main.get_command(ratchet_app), words[1:], command.is_whole)
    if words[1] == "loop/run.py":
        return _cli_problem(_run_command(), words[2:], command.is_whole)
    return _module_problem(words[2], words[3:], command.is_whole)


def _make_problem(words: list[str]) -> str:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    unknown = [word for word in words if "=" not in word and word not in targets]
    return f"make has no target {unknown[0]}" if unknown else ""


def _module_problem(module: str, words: list[str], is_whole: bool) -> str:
    if module == "loop.commands.main":
        return _cli_problem(typer.main.get_command(ratchet_app), words, is_whole)
    if importlib.util.find_spec(module) is None:
        return f"no module {module}"
    source = Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    unknown = [word for word in words if word.startswith("--") and f'"{word}"' not in source]
    return f"{module} has no option {unknown[0]}" if unknown else ""


def _cli_problem(command: Any, words: list[str], is_whole: bool) -> str:
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    arguments = [
        "1" if _PLACEHOLDER.fullmatch(word) else word for word in words if word != "--help"
    ]
    if hasattr(command, "commands"):
        return f"no option {arguments[0]}" if arguments else ""
    is_whole = is_whole and "--help" not in words
    try:
        if is_whole:
            command.make_context(command.name, arguments)
        else:
            context = command.context_class(command, info_name=command.name)
            _, left, _ = command.make_parser(context).parse_args(arguments)
            if left:
                return f"too many arguments: {left}"
    except (
        Exception
    ) as error:  # typer has its own copy of click, whose exceptions it does not export
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return _overrides_problem([b for a, b in itertools.pairwise(words) if a == "--set"])


def command_problems(text: str) -> list[str]:
    """Unknown commands, options, targets and modules."""
    problems = [(command, command_problem(command)) for command in commands(text)]
    return [f"{shlex.join(command.words)}: {problem}" for command, problem in problems if problem]


# Recipe keys.


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def key_exists(parts: list[str], model: Any = Recipe) -> bool:
    """Whether a recipe has a key or a section; names in a table of sections or values are free."""
    if not parts:
        return True
    if not _is_section(model):
        return False
    field = model.model_fields.get(parts[0])
    if field is None:
        return False
    if get_origin(field.annotation) is dict:
        return len(parts) <= 2 or key_exists(parts[2:], section_named(field.annotation))
    return key_exists(parts[1:], field.annotation)


def named_keys(text: str) -> list[str]:
    """Recipe keys in inline code, such as `section.key`, `section.key = value` and `[section]`."""
    sections = [
        name for name, field in Recipe.model_fields.items() if _is_section(field.annotation)
    ]
    key = re.compile(rf"((?:{'|'.join(sections)})(?:\.[A-Za-z0-9_-]+)+)(?: ?=.*)?")
    section = re.compile(r"\[([a-z_]+(?:\.[A-Za-z_]+)*)\]")
    matches = [key.fullmatch(code) or section.fullmatch(code) for code in inline_code(text)]
    return [match.group(1) for match in matches if match]


def key_problems(text: str) -> list[str]:
    """Recipe keys in inline code that do not exist. Sections of a rubric's file are known too."""
    known = set(Rubric.model_fields)
    keys = [key for key in named_keys(text) if key not in known]
    return [f"no recipe key {key}" for key in keys if not key_exists(key.split("."))]


def _overrides_problem(overrides: list[str]) -> str:
    try:
        for override in overrides:
            parse_override(override)
        validate(Recipe, with_overrides(MINIMAL, overrides))
    except UserError as error:
        return str(error)
    return ""


def toml_problems(text: str) -> list[str]:
    """TOML blocks that are neither a recipe, whole or in part, nor a rubric."""
    problems = []
    for language, content in fenced(text):
        if language != "toml":
            continue
        try:
            data = tomllib.loads(content)
            if "criteria" in data:
                validate(Rubric, data)
            else:
                crawl = MINIMAL["crawl"] | data.get("crawl", {})
                validate(Recipe, MINIMAL | data | {"crawl": crawl})
        except (tomllib.TOMLDecodeError, UserError, ValidationError) as error:
            problems.append(f"{content.splitlines()[0]}: {error}")
    return problems


# Paths and Python names.


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def link_problems(text: str, folder: Path) -> list[str]:
    """Relative links without a file, or a heading in it; `folder` is that of the page."""
    problems = []
    for target in _LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = folder / name
        if not file.exists():
            problems.append(f"link to {target}: no such file")
        elif anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            if anchor not in map(_slug, headings):
                problems.append(f"link to {target}: no such heading")
    return problems


def named_paths(text: str) -> list[str]:
    """Paths of this repository in inline code, and bare names of files and folders."""
    paths = []
    for code in inline_code(text):
        if not re.fullmatch(r"[\w][\w./-]*", code):
            continue
        is_ours = "/" in code.rstrip("/") and code.split("/")[0] in FOLDERS
        is_bare = "/" not in code.rstrip("/") and code.endswith(("/", ".py", ".md", ".txt"))
        if is_ours or is_bare:
            paths.append(code)
    return paths


def path_problems(text: str) -> list[str]:
    """Named paths that do not exist; a bare name may be that of any of our files or folders.

    What git ignores, such as the folder of runs, need not exist.
    """
    return [f"no file {path}" for path in named_paths(text) if not _is_there(path)]


def _is_there(path: str) -> bool:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    if (ROOT / path).exists() or path in [line.lstrip("/") for line in ignored]:
        return True
    if "/" in path.rstrip("/"):
        return False
    return any(next((ROOT / folder).rglob(path.rstrip("/")), None) for folder in FOLDERS)


def python_names(text: str) -> list[str]:
    """Dotted names in our packages, in inline code."""
    pattern = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+")
    names = [code for code in inline_code(text) if pattern.fullmatch(code)]
    return [name for name in names if not name.endswith(SUFFIXES)]


def python_problems(text: str) -> list[str]:
    """Dotted names that cannot be imported and found."""
    return [f"no Python name {name}" for name in python_names(text) if not _is_defined(name)]


def _is_defined(name: str) -> bool:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(value, part):
                return part in getattr(value, "__annotations__", {}) and part == parts[-1]
            value = getattr(value, part)
        return True
    return False


# Descriptions.


def recipe_fields(
    model: type[BaseModel] = Recipe, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a recipe that is not a section itself."""
    for name, field in model.model_fields.items():
        held = field.annotation
        if isinstance(held, type) and issubclass(held, BaseModel):
            if model is Recipe or prefix.count(".") == 1:
                yield from recipe_fields(held, f"{prefix}{name}.")
            else:
                yield prefix + name, field
        elif inner := section_named(held):
            yield from recipe_fields(inner, f"{prefix}{name}.NAME.")
        else:
            yield prefix + name, field


UNITS = re.compile(
    r"\b(seconds|bytes|tokens|nats|bits|characters|number of|share|probability|factor|divisor|"
    r"weight|ratio|rate|temperature|seed|rank|norm|price|cost|log-odds|unit|clip range|decay|"
    r"ports|threads|stage)\b",
    re.IGNORECASE,
)
"""Units, and words for what has none."""


def description_problem(field: FieldInfo) -> str:
    """What is missing in the description of a key."""
    words = field.description or ""
    if len(words.split()) < 3:
        return "no description"
    kinds = {field.annotation, *get_args(field.annotation)}
    is_numeric = bool(kinds & {int, float}) and bool not in kinds
    return "no unit" if is_numeric and not UNITS.search(words) else ""
