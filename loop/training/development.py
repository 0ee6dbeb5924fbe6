"""The tuned champion: what the champion becomes when it learns the development texts.

The value of a passage is how much better the tuned champion predicts it
(`judges.making.passages.value`). The development texts are neither trained on for a candidate nor
scored at the gate: a pool of documents, or the development part of the user's exam.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.artifacts import atomic_write
from infra.cluster.connection import Cluster
from infra.console import note
from infra.models.text_size import estimated_tokens
from infra.records import Checkpoint, Document, unit_hash
from infra.store import Store
from judges.making.passages.cutting import choose_passages
from loop.gate.suites.good_text import good_documents
from loop.gate.suites.items.file_items import FileItem
from loop.gate.suites.items.held_out_questions import question_items
from loop.recipe.recipe import Recipe, development_items
from loop.record.run_folder import Run
from trainers.config import PretrainConfig, TrainConfig
from trainers.launch import TrainJob, run_training, with_workers
from trainers.task import Task

TUNED_ARM = "tuned"


def tuned_champion(cluster: Cluster, run: Run, generation: int) -> str:
    """The folder of the tuned champion, which is trained unless it is there already.

    Empty if passages are not selected by value, or if there are too few development texts.
    """
    recipe = run.recipe
    if recipe.judge.selection.by != "value":
        return ""
    config = with_workers(tuning_config(recipe.train), cluster)
    rows = development_rows(run.store, recipe, generation, run.salt)
    if len(rows) < config.min_items:
        note("passages are ranked by labels: there are too few development texts to measure values")
        return ""
    task = _task(run, generation, run.store.registry.champion(), rows)
    if not Path(task.target).exists():
        note(f"the champion learns {len(rows):,} development texts, to value passages")
        storage = run.folder / "ray_tune"
        run_training([TrainJob(task, config)], cluster, storage, f"tuned-{generation:03d}")
        shutil.rmtree(storage, ignore_errors=True)
    return task.target


def remove_tuned(run: Run, generation: int) -> None:
    """Delete the tuned champion, once the passages are valued."""
    shutil.rmtree(_folder(run, generation), ignore_errors=True)


def tuning_config(config: TrainConfig) -> TrainConfig:
    """The training of the recipe with one pass over texts as its only step.

    The learning rate is that of the recipe's first step on passages.
    """
    first = "pretrain" if "pretrain" in config.steps or "sft" not in config.steps else "sft"
    rate = getattr(config, first).learning_rate
    schedule = PretrainConfig(learning_rate=rate, epochs=1)
    return config.model_copy(update={"steps": ["pretrain"], "pretrain": schedule, "save_steps": 0})


def development_rows(
    store: Store, recipe: Recipe, generation: int, salt: str
) -> list[dict[str, Any]]:
    """The rows of development text to learn, as `trainers.task.Task.data` has them.

    They are as many tokens as the labeler judges. Items of an exam without a right answer as a text
    are left out; documents are chosen and weighted as at the gate.
    """
    budget, chars = recipe.budgets()["label_tokens"], recipe.judge.passage_chars
    if recipe.aim.kind == "exam":
        return _item_rows(development_items(recipe), budget, salt)
    if recipe.aim.kind == "answers":
        return _item_rows(question_items(store, recipe.aim, "development", salt), budget, salt)
    documents = _development_documents(store, recipe, generation, salt)
    passages = choose_passages(documents, chars, budget, generation, salt)
    return [_row(sample.sample_id, sample.completion) for sample in passages]


def _development_documents(
    store: Store, recipe: Recipe, generation: int, salt: str
) -> list[Document]:
    good = set(good_documents(store, recipe.aim, "development", salt))
    return [
        document
        for document in store.crawl.documents("development")
        if document.document_id in good and document.generation <= generation
    ]


def _item_rows(items: Mapping[str, FileItem], budget: int, salt: str) -> list[dict[str, Any]]:
    """The right texts of items, in an order that the salt decides, up to a budget of tokens."""
    rows, tokens = list[dict[str, Any]](), 0
    for key in sorted(items, key=lambda key: unit_hash(salt, "development", key)):
        text = items[key].right_text
        tokens += estimated_tokens(text)
        if tokens > budget:
            break
        if text:
            rows.append(_row(key, text))
    return rows


def _row(key: str, text: str) -> dict[str, Any]:
    return {"id": key, "prompt": "", "completion": text}


def _folder(run: Run, generation: int) -> Path:
    return run.work_folder(generation) / TUNED_ARM


def _task(run: Run, generation: int, champion: Checkpoint, rows: list[dict[str, Any]]) -> Task:
    """The task of the tuning; writes its data."""
    folder = _folder(run, generation)
    data, sink = folder / "pretrain.parquet", pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    atomic_write(data, sink.getvalue().to_pybytes())
    return Task(
        kind="pretrain",
        source=champion.path,
        target=str(folder / "model"),
        generation=generation,
        arm=TUNED_ARM,
        seed=run.recipe.seed + generation,
        data=str(data),
    )
