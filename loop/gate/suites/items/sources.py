"""What the items of a suite are, whatever they come from, and the key of them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.errors import UserError
from infra.records import content_key
from loop.gate.config import BITS, SuiteConfig
from loop.gate.suites.items.file_items import FileItem, read_suite_items
from loop.gate.suites.items.harness import LM_EVAL, gold_items, task_size
from loop.gate.suites.items.olmo_requests import read_requests

OLMO_PREFIX = "olmo:"
LM_EVAL_PREFIX = "lm_eval:"


def is_file(config: SuiteConfig) -> bool:
    """Whether the items come from a file of the user, and not from a package."""
    return has_items(config) and not config.file.startswith((OLMO_PREFIX, LM_EVAL_PREFIX))


def has_items(config: SuiteConfig) -> bool:
    """Whether the items can be read here; lm-evaluation-harness alone knows those of a task."""
    return config.kind != LM_EVAL


def suite_items(name: str, config: SuiteConfig) -> dict[str, FileItem]:
    """The items of a suite by id.

    Raises:
        UserError: if they cannot be read, or one is not valid.
    """
    return items_from(f"gate.suites.{name}.file", config.file, config.kind)


def items_by_suite(suites: Mapping[str, SuiteConfig]) -> dict[str, dict[str, FileItem]]:
    """The items by id of all suites whose items can be read here, by the name of the suite."""
    return {name: suite_items(name, suite) for name, suite in suites.items() if has_items(suite)}


def items_from(key: str, source: str, kind: str) -> dict[str, FileItem]:
    """The items by id of a file; for kind `bits` also of `olmo:TASK` or `lm_eval:TASK`.

    Raises:
        UserError: about `key`, if they cannot be read, or one is not valid.
    """
    if not source:
        raise UserError(key, source, "it is empty.", "Give a file of JSON lines.")
    prefix = next((one for one in (OLMO_PREFIX, LM_EVAL_PREFIX) if source.startswith(one)), "")
    if not prefix:
        return read_suite_items(key, Path(source), kind)
    if kind != BITS:
        problem = f"only suites of kind {BITS} read from a package, and this one is of kind {kind}."
        raise UserError(key, source, problem, f'Set kind = "{BITS}", or give a file.')
    task = source.removeprefix(prefix)
    with _named(source):
        return read_requests(key, task) if prefix == OLMO_PREFIX else gold_items(key, task)


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Errors about a task, by its name alone, become errors about what the recipe says."""
    try:
        yield
    except UserError as error:
        raise UserError(error.key, source, error.problem, error.remedy) from None


def check_task(name: str, config: SuiteConfig) -> None:
    """Load the task of lm-evaluation-harness that a suite names, if it names one.

    Raises:
        UserError: if it cannot be loaded.
    """
    if _is_task(config):
        with _named(config.file):
            task_size(f"gate.suites.{name}.file", _task(config))


def suite_digest(name: str, config: SuiteConfig) -> str:
    """The key of a suite's items; of a task of lm-evaluation-harness that of its name or file.

    It is part of the identity of a run.
    """
    if _is_task(config):
        path = Path(_task(config))
        return content_key(path.read_text(encoding="utf-8") if path.is_file() else config.file)
    items = suite_items(name, config)
    return content_key(*(f"{key} {items[key].model_dump_json()}" for key in sorted(items)))


def _is_task(config: SuiteConfig) -> bool:
    return config.kind == LM_EVAL or (
        config.kind == BITS and config.file.startswith(LM_EVAL_PREFIX)
    )


def _task(config: SuiteConfig) -> str:
    return config.file.removeprefix(LM_EVAL_PREFIX) if config.kind == BITS else config.file
