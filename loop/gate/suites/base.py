"""Suites: what candidate and other models are scored on, drawn attempt by attempt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.errors import UserError
from infra.models.text_size import estimated_tokens
from infra.records import content_key
from infra.store import Store
from judges.verifying.checks import validate_check
from loop.gate.config import GateConfig, Role, SuiteConfig
from loop.gate.estimates import window

BITS = "bits_per_byte"
FILE_KINDS = ("choice", "pairs", "executed")
"""Kinds of suites whose items say what is right; the others' are prompts."""


@dataclass(frozen=True)
class Item:
    """Something to score. Items of one `unit` are not independent; `size` is bytes where scores are
    per byte.
    """

    item_id: str
    unit: str
    position: int
    """Its place in the order in which the attempt has drawn them."""
    size: int
    content: Any


class Scorer(Protocol):
    """Scores several models side by side, the candidate first; see
    `loop.gate.suites.scorer.ModelScorer`.
    """

    def problem(self) -> str:
        """What keeps the candidate from being scored at all; empty where nothing does."""
        ...

    def bits(self, texts: Sequence[str]) -> list[list[float]]:
        """Bits per byte of each text, for each model."""
        ...

    def logps(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Log-probability (nats) of each continuation given its context, for each model."""
        ...

    def answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """What candidate and champion answer to each prompt."""
        ...

    def all_answers(self, prompts: Sequence[str]) -> list[list[str]]:
        """What each model answers to each prompt, at length."""
        ...

    def harness(self, task: str, places: Sequence[int]) -> list[list[float]]:
        """Marks on these documents of a task of lm-evaluation-harness, for each model."""
        ...

    def samples(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[list[str]]]:
        """Several texts for each prompt, for each model: its answers where `asked`, else how it
        goes on with it.
        """
        ...

    def drift(self, prompts: Sequence[str], seed: int, asked: bool) -> list[list[float]]:
        """Nats a token by which a model's own samples are likelier under it than under the last
        model, for each.
        """
        ...


@dataclass(frozen=True)
class Metric:
    """A further number about a candidate on a suite."""

    name: str
    value: float
    standard_error: float
    num_items: int


class Suite(Protocol):
    """A source of items and how they are scored."""

    name: str
    metric: str
    role: Role
    higher_is_better: bool
    clip: float
    """Differences beyond it count as it."""
    margin: float
    limit: int
    """Items of one attempt, at most."""
    reuse: bool

    def draw(self, attempt: int, start: int) -> list[Item]:
        """The next items of an attempt from position `start` on, burned before they are given out;
        whole units.
        """
        ...

    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        """A score of each item, for each model; NaN for all models where an item has no score."""
        ...

    def summarise(self, candidate: Sequence[float]) -> list[Metric]:
        """Numbers about the candidate besides its mean score."""
        ...


class HeldOutText:
    """Windows of held-out documents, by default of those that no attempt has seen: bits per byte."""

    name = metric = BITS
    role: Role = "primary"
    higher_is_better = False

    def __init__(self, store: Store, config: GateConfig, gate_tokens: int, salt: str) -> None:
        self._store, self._config, self._salt = store, config, salt
        self.clip, self.margin = config.clip_bits, config.margin_bits
        self.limit, self.reuse = documents_of(config, gate_tokens), config.reuse_documents

    def draw(self, attempt: int, start: int) -> list[Item]:
        """See `Suite`."""
        config = self._config
        count = min(config.chunk_documents, self.limit - start)
        drawn = self._store.draw_documents(
            attempt,
            start,
            count,
            config.unit,
            config.unit_documents,
            self._salt,
            config.reuse_documents,
        )
        items = []
        for document, unit, place in drawn:
            text = window(document.text, config.document_chars, document.document_id)
            items.append(Item(document.document_id, unit, place, len(text.encode()), text))
        return items

    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        """See `Suite`."""
        return scorer.bits([item.content for item in items])

    def summarise(self, candidate: Sequence[float]) -> list[Metric]:
        """See `Suite`: none."""
        del candidate
        return []


def documents_of(config: GateConfig, gate_tokens: int) -> int:
    """Held-out documents that an attempt may score."""
    return max(1, gate_tokens // estimated_tokens("x" * config.document_chars))


class FileItem(BaseModel):
    """A line of a suite's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = ""
    unit: str = ""
    prompt: str = ""
    choices: tuple[str, ...] = ()
    answer: int = Field(default=-1)
    good: str = ""
    bad: str = ""
    reference: str = ""
    check: str = ""
    """See `judges.verifying.checks`."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> FileItem:
        is_choice = len(self.choices) >= 2 and 0 <= self.answer < len(self.choices)
        is_pair = bool(self.good and self.bad)
        is_prompt = bool(self.prompt and not self.choices and not self.good and not self.bad)
        if is_choice + is_pair + is_prompt != 1 or (self.check and not is_prompt):
            raise ValueError(
                "give `choices` (two or more) with `answer`, or `good` and `bad`, or `prompt` alone or with `check`"
            )
        if self.check:
            validate_check(self.check, "check")
        return self

    @property
    def kind(self) -> str:
        """Of `FILE_KINDS`, or `prompt`."""
        if self.choices or self.good:
            return "choice" if self.choices else "pairs"
        return "executed" if self.check else "prompt"

    @property
    def candidates(self) -> tuple[str, ...]:
        """The texts to choose from."""
        return self.choices or (self.good, self.bad)

    @property
    def right(self) -> int:
        """The place of the right one."""
        return self.answer if self.choices else 0


class NamedSuite:
    """A suite that the recipe names, with all its items at hand: (unit, content) by id, drawn by
    the run's salt.
    """

    higher_is_better = True
    clip = 1.0
    chunk = 32

    def __init__(
        self,
        store: Store,
        name: str,
        config: SuiteConfig,
        salt: str,
        items: Mapping[str, tuple[str, Any]],
    ) -> None:
        self._store, self._salt, self._items = store, salt, items
        self.name, self.role, self.margin, self.reuse = (
            name,
            config.role,
            config.margin,
            config.reuse,
        )
        self.limit = min(config.items, len(items))

    def draw(self, attempt: int, start: int) -> list[Item]:
        """See `Suite`."""
        table = pa.table(
            {"item_id": list(self._items), "unit": [unit for unit, _ in self._items.values()]}
        )
        count = min(self.chunk, self.limit - start)
        drawn = self._store.draw_items(
            attempt, self.name, start, count, table, self._salt, self.reuse
        )
        return [
            Item(item_id, unit, place, 1, self._items[item_id][1]) for item_id, unit, place in drawn
        ]

    def summarise(self, candidate: Sequence[float]) -> list[Metric]:
        """See `Suite`: none."""
        del candidate
        return []


class FileSuite(NamedSuite):
    """Items of a file of JSON lines."""

    def __init__(self, store: Store, name: str, config: SuiteConfig, salt: str) -> None:
        super().__init__(store, name, config, salt, with_units(items_of(name, config)))


def items_of(name: str, config: SuiteConfig) -> dict[str, FileItem]:
    """What the file of a suite holds, by id. Raises `UserError`."""
    return read_items(f"gate.suites.{name}.file", Path(config.file), config.kind)


def with_units(items: Mapping[str, FileItem]) -> dict[str, tuple[str, FileItem]]:
    """Items with their units; one that names none is a unit of its own."""
    return {key: (item.unit or key, item) for key, item in items.items()}


class ItemFile(FileSuite):
    """Multiple choice and minimal pairs: 1 where the right text is the likeliest, else 0.

    Choices are compared by log-probability per byte, pairs by their sums: the two texts of a pair
    are said to differ in little, while choices may differ in length (as in lm-evaluation-harness's
    acc_norm and BLiMP).
    """

    metric = "accuracy"

    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        """See `Suite`."""
        texts = [item.content.candidates for item in items]
        pairs = [
            (item.content.prompt, text)
            for item, of_item in zip(items, texts, strict=True)
            for text in of_item
        ]
        return [self._marks(items, logps) for logps in scorer.logps(pairs)]

    def _marks(self, items: Sequence[Item], logps: Sequence[float]) -> list[float]:
        marks, at = [], 0
        for item in items:
            texts = item.content.candidates
            values = logps[at : at + len(texts)]
            at += len(texts)
            if item.content.kind == "choice":
                values = [v / max(len(t.encode()), 1) for v, t in zip(values, texts, strict=True)]
            best = max(values)
            right = values[item.content.right] == best and list(values).count(best) == 1
            marks.append(float(right))
        return marks


def read_items(key: str, path: Path, kind: str) -> dict[str, FileItem]:
    """Items of a file by their ids; an item without one gets the key of its content. Raises
    `UserError`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            key, path, f"it cannot be read ({error}).", "Give a file of JSON lines."
        ) from None
    items: dict[str, FileItem] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = FileItem.model_validate(json.loads(line))
        except (ValueError, UserError) as error:
            first = (
                error.errors()[0]
                if isinstance(error, ValidationError)
                else {"loc": (), "msg": str(error)}
            )
            where = "".join(f"{place}: " for place in first["loc"])
            problem = f"line {number} is no item ({where}{first['msg'][:120]})."
            remedy = 'Write {"prompt": ..., "choices": [...], "answer": 0}, {"good": ..., "bad": ...} or {"prompt": ...}.'
            raise UserError(key, path, problem, remedy) from None
        if item.kind != (kind if kind in FILE_KINDS else "prompt"):
            raise UserError(
                key,
                path,
                f"line {number} is not of kind {kind}.",
                "Set `kind` to what the file has.",
            )
        items.setdefault(item.id or content_key(line), item)
    if not items:
        raise UserError(key, path, "it has no items.", "Give a file with one JSON object a line.")
    return items


def suite_digest(name: str, config: SuiteConfig) -> str:
    """Key of a suite's items; a run is made with these and no others."""
    items = items_of(name, config)
    return content_key(*(f"{key} {items[key].model_dump_json()}" for key in sorted(items)))
