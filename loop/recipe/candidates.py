"""Further candidates of a generation, `[candidates.NAME]`: what they change in the recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from infra.config import Section, validate
from infra.errors import UserError
from infra.records import PICKED, RANDOM
from loop.data.config import DataConfig
from trainers.config import TrainConfig

SHARED_KEYS = ("num_workers", "min_workers", "threads_per_worker", "timeout_s", "max_failures")
"""Keys of `[train]` that belong to the worker group, which trains all candidates in turn."""
RESERVED_ARMS = (PICKED, RANDOM, "control", "anchor", "champion", "best", "tuned")
"""Names that mean other models of a run."""
Changed = TypeVar("Changed", bound=Section)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class CandidateConfig(Section):
    """A further candidate: the recipe with other values of some keys."""

    train: dict[str, Any] = {}
    """Keys of `[train]` with other values, such as `sft.learning_rate` or `steps`."""
    data: dict[str, Any] = {}
    """Keys of `[data]` with other values."""


def check_name(name: str) -> None:
    """Raises `UserError` for a name that is taken, or that could not be a folder's."""
    if name in RESERVED_ARMS:
        problem = "a candidate cannot be called that: another model of the run has this name."
        remedy = f"Choose another one than {', '.join(RESERVED_ARMS)}."
        raise UserError("candidates", name, problem, remedy)
    if not _NAME.fullmatch(name):
        problem = "a candidate cannot be called that."
        remedy = "Use up to 32 small letters, digits, - and _, beginning with a letter."
        raise UserError("candidates", name, problem, remedy)


def changed_sections(
    name: str, config: CandidateConfig, train: TrainConfig, data: DataConfig
) -> tuple[TrainConfig, DataConfig]:
    """The sections of a recipe as a candidate has them.

    Raises:
        UserError: for a key that does not exist, has a wrong value, or belongs to the worker group.
    """
    for key in SHARED_KEYS:
        if key in config.train:
            problem = "all candidates of a generation are trained by one worker group."
            remedy = f"Set train.{key} for the whole recipe."
            raise UserError(f"candidates.{name}.train.{key}", config.train[key], problem, remedy)
    changed_train = _changed(f"candidates.{name}.train", train, config.train)
    changed_data = _changed(f"candidates.{name}.data", data, config.data)
    return changed_train, changed_data


def check_differs(
    name: str, sections: tuple[TrainConfig, DataConfig], others: Mapping[str, tuple[Any, ...]]
) -> None:
    """Raises `UserError` if a candidate would be the same as another one, by their names.

    Keys of a training step that a candidate does not make have no effect on it.
    """
    own = _effect(sections)
    for other, those in others.items():
        if own == _effect(those):
            problem = f"it would be the same as {other}: its keys change nothing that is trained."
            remedy = "Give it a key of [train] or [data] with another value, or leave it out."
            raise UserError("candidates", name, problem, remedy)


def _effect(sections: tuple[Any, ...]) -> tuple[dict[str, Any], DataConfig]:
    train, data = sections
    return train.effect(), data


def _changed(prefix: str, section: Changed, changes: Mapping[str, Any]) -> Changed:
    merged = _merged(section.model_dump(mode="json"), changes)
    return validate(type(section), merged, prefix=f"{prefix}.")


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values with changes at any depth."""
    merged = dict(values)
    for key, change in changes.items():
        value = merged.get(key)
        both = isinstance(value, dict) and isinstance(change, dict)
        merged[key] = _merged(merged[key], change) if both else change
    return merged
