"""Tasks of lm-evaluation-harness (the extra `lm-eval`): their size, gold answers and scores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import UserError
from loop.gate.suites.items.file_items import FileItem

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


def _load_task(key: str, task: str) -> Any:
    """The harness' own object of a task. Raises `UserError` if it cannot be loaded."""
    manager, name = _task_manager(key, task)
    try:
        if hasattr(manager, "load"):
            loaded = manager.load([name])["tasks"]
        else:
            loaded = manager.load_task_or_group([name])
        return loaded[name]
    except Exception as error:  # a task may raise anything while it loads
        raise _not_loaded(key, task, error) from None


def _not_loaded(key: str, task: str, error: Exception) -> UserError:
    reason = str(error).splitlines()[0][:150] if str(error) else type(error).__name__
    problem = f"the task cannot be loaded ({reason})."
    remedy = "See 'lm-eval ls tasks', and check that its data can be downloaded."
    return UserError(key, task, problem, remedy)


def task_size(key: str, task: str) -> int:
    """The number of documents of a task.

    Raises:
        UserError: if the task cannot be loaded.
    """
    loaded = _load_task(key, task)
    try:
        return len(loaded.eval_docs)
    except Exception as error:  # the data are read here
        raise _not_loaded(key, task, error) from None


def gold_items(key: str, task: str) -> dict[str, FileItem]:
    """The prompt and the gold answer of each document of a task that has one, by its index.

    The harness builds the prompts, with the examples in them that the task asks for. Of several
    right answers the first counts.

    Raises:
        UserError: if the task cannot be loaded or has no gold answers.
    """
    loaded = _load_task(key, task)
    try:
        # No option turns off the progress bar.
        with redirect_stderr(StringIO()):
            loaded.build_all_requests(rank=0, world_size=1)
        by_document: dict[int, list[Any]] = {}
        for request in loaded.instances:
            by_document.setdefault(int(request.doc_id), []).append(request)
        pairs = {i: _gold_pair(loaded, requests) for i, requests in by_document.items()}
    except Exception as error:  # a task runs its own functions here
        raise _not_loaded(key, task, error) from None
    items = {
        str(i): FileItem(prompt=pair[0], gold=pair[1])
        for i, pair in pairs.items()
        if pair is not None and pair[1].strip()
    }
    if not items:
        problem = "the task has no gold answers."
        raise UserError(
            key, task, problem, "Name a task of choices, or one whose answer is a text."
        )
    return items


def _gold_pair(task: Any, requests: Sequence[Any]) -> tuple[str, str] | None:
    """(prompt, gold answer) from the requests of one document; None if it has none."""
    first, document = requests[0], requests[0].doc
    if task.OUTPUT_TYPE == "multiple_choice":
        index = _gold_index(task, document)
        right = [request for request in requests if request.idx == index]
        return (str(right[0].args[0]), str(right[0].args[1])) if right else None
    if task.OUTPUT_TYPE == "loglikelihood":
        return str(first.args[0]), str(first.args[1])
    if task.OUTPUT_TYPE == "generate_until":
        target = _first(task.doc_to_target(document))
        return str(first.args[0]), f"{task.config.target_delimiter}{target}"
    return None


def _gold_index(task: Any, document: Any) -> int:
    """The index of the right choice; -1 if there is none.

    Where the choices are the prompts, the harness keeps the index where other tasks keep the text.
    """
    gold = _first(
        task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    )
    if isinstance(gold, int):
        return gold
    choices = list(task.doc_to_choice(document))
    return choices.index(gold) if gold in choices else -1


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


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
