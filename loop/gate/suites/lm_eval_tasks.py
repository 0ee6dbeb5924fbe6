"""Tasks of lm-evaluation-harness as suites (the extra `lm-eval`): the harness asks and marks, we
draw and decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.models.language_model import LanguageModel
from infra.records import content_key
from infra.store import Store
from loop.gate.config import SuiteConfig
from loop.gate.suites.base import Item, NamedSuite, Scorer

HARNESS = "lm_eval"


def _manager(key: str, task: str) -> tuple[Any, str]:
    """(task manager, the task's name there) of a built-in task, or of a YAML file. Raises
    `UserError`.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError(
            key, task, "lm-eval is not installed.", "Run: pip install 'ratchet-loop[lm-eval]'"
        ) from None
    path = Path(task)
    if path.suffix not in (".yaml", ".yml"):
        return TaskManager(), task
    if not path.is_file():
        raise UserError(
            key, task, "there is no such file.", "Give a task's name, or its YAML file."
        )
    import yaml

    try:
        name = yaml.safe_load(path.read_text(encoding="utf-8"))["task"]
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        raise UserError(
            key, task, "it names no task.", "Give it `task: NAME`, as lm-eval's own have."
        ) from None
    return TaskManager(include_path=str(path.parent.absolute()), include_defaults=False), str(name)


def task_size(key: str, task: str) -> int:
    """Documents of a task. Raises `UserError` where it cannot be loaded."""
    manager, name = _manager(key, task)
    try:
        loaded = (
            manager.load([name])["tasks"]
            if hasattr(manager, "load")
            else manager.load_task_or_group([name])
        )
        return len(loaded[name].eval_docs)
    except Exception as error:  # whatever a task's own loading raises
        problem = f"the task cannot be loaded ({str(error).splitlines()[0][:150] if str(error) else type(error).__name__})."
        raise UserError(
            key, task, problem, "See 'lm-eval ls tasks', or whether its data can be fetched."
        ) from None


def task_scores(model: LanguageModel, task: str, places: Sequence[int]) -> list[float]:
    """A model's mark on each of these documents of a task, by the task's first metric."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    manager, name = _manager("task", task)
    with redirect_stderr(
        StringIO()
    ):  # a progress bar for each model and chunk, which no option turns off
        found = simple_evaluate(
            model=HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=8),
            # Places that do not rise are mixed up with others' (lm-eval 0.4.13).
            tasks=[name],
            samples={name: sorted(places)},
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=True,
        )
    rows = found["samples"][name]
    marks = {int(row["doc_id"]): float(row[row["metrics"][0]]) for row in rows}
    return [marks[place] for place in places]


class HarnessTask(NamedSuite):
    """See `loop.gate.suites.base.Suite`: the documents of one task, by their places."""

    metric = "score"
    chunk = 64

    def __init__(self, store: Store, name: str, config: SuiteConfig, salt: str) -> None:
        self._task = config.file
        size = task_size(f"gate.suites.{name}.file", config.file)
        super().__init__(
            store, name, config, salt, {str(place): (str(place), place) for place in range(size)}
        )

    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        """See `Suite`."""
        return scorer.harness(self._task, [item.content for item in items])


def task_digest(config: SuiteConfig) -> str:
    """Key of a task: its name, or what its file says."""
    path = Path(config.file)
    return content_key(path.read_text(encoding="utf-8") if path.is_file() else config.file)
