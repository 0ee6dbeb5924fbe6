"""Tasks of lm-evaluation-harness as suites (the extra `lm-eval`).

The harness builds the questions and scores the answers. We draw the documents and decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from infra.errors import UserError
from infra.records import content_key
from infra.store import Store
from loop.gate.config import SuiteConfig
from loop.gate.suites.base import Item, Scorer
from loop.gate.suites.item_files import NamedSuite

if TYPE_CHECKING:
    from infra.models.language_model import LanguageModel

LM_EVAL = "lm_eval"


def _task_manager(key: str, task: str) -> tuple[Any, str]:
    """(task manager, name of the task) of a built-in task or of a YAML file.

    Raises:
        UserError: if lm-eval is not installed, or the file is missing or names no task.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        remedy = "Run: pip install 'ratchet-loop[lm-eval]'"
        raise UserError(key, task, "lm-eval is not installed.", remedy) from None
    path = Path(task)
    if path.suffix not in (".yaml", ".yml"):
        return TaskManager(), task
    if not path.is_file():
        remedy = "Give the name of a task, or the path of its YAML file."
        raise UserError(key, task, "there is no such file.", remedy)
    name = _task_name(key, path)
    folder = str(path.parent.absolute())
    return TaskManager(include_path=folder, include_defaults=False), name


def _task_name(key: str, path: Path) -> str:
    import yaml

    try:
        return str(yaml.safe_load(path.read_text(encoding="utf-8"))["task"])
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        remedy = "Add a line `task: NAME`, as in lm-eval's own task files."
        raise UserError(key, path, "the file does not name its task.", remedy) from None


def task_size(key: str, task: str) -> int:
    """The number of documents of a task.

    Raises:
        UserError: if the task cannot be loaded.
    """
    manager, name = _task_manager(key, task)
    try:
        if hasattr(manager, "load"):
            loaded = manager.load([name])["tasks"]
        else:
            loaded = manager.load_task_or_group([name])
        return len(loaded[name].eval_docs)
    except Exception as error:  # a task may raise anything while it loads
        reason = str(error).splitlines()[0][:150] if str(error) else type(error).__name__
        problem = f"the task cannot be loaded ({reason})."
        remedy = "See 'lm-eval ls tasks', and check that its data can be downloaded."
        raise UserError(key, task, problem, remedy) from None


def task_scores(model: LanguageModel, task: str, indices: Sequence[int]) -> list[float]:
    """The score of a model on each of these documents of a task, by the task's first metric."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    manager, name = _task_manager("task", task)
    # No option turns off the progress bar of each model and chunk.
    with redirect_stderr(StringIO()):
        results = simple_evaluate(
            model=HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=8),
            tasks=[name],
            # lm-eval 0.4.13 mixes up documents whose indices are not in rising order.
            samples={name: sorted(indices)},
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=True,
        )
    rows = results["samples"][name]
    scores = {int(row["doc_id"]): float(row[row["metrics"][0]]) for row in rows}
    return [scores[index] for index in indices]


class LmEvalTask(NamedSuite):
    """The documents of one task, by their indices."""

    metric = "score"
    chunk = 64

    def __init__(self, store: Store, name: str, config: SuiteConfig, salt: str) -> None:
        self._task = config.file
        size = task_size(f"gate.suites.{name}.file", config.file)
        items = {str(index): (str(index), index) for index in range(size)}
        super().__init__(store, name, config, salt, items)

    @override
    def score(self, scorer: Scorer, items: Sequence[Item]) -> list[list[float]]:
        return scorer.lm_eval(self._task, [item.content for item in items])


def task_digest(config: SuiteConfig) -> str:
    """The key of a task: of its name, or of the text of its file."""
    path = Path(config.file)
    return content_key(path.read_text(encoding="utf-8") if path.is_file() else config.file)
