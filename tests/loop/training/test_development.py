"""The texts by which passages are valued, and how the champion learns them."""

from __future__ import annotations

import json
from pathlib import Path

from crawlers.quality.signals import quality_signals
from infra.records import Document
from infra.store import Store
from loop.recipe.recipe import load_recipe
from loop.training.development import development_rows, tuning_config
from tests.infra.support.store_rows import add_documents, page_row
from tests.loop.gate.suites.test_good_text import LISTING, PROSE
from trainers.config import SftConfig, TrainConfig


def put(store: Store, key: str, text: str, pool: str = "development", generation: int = 1) -> None:
    page = page_row(f"p{key}", f"https://a.org/{key}", "a.org")
    document = Document(key, page.page_id, page.url, "t", text, "en", "x", pool, generation)
    add_documents(store, [document], [page])
    signals = [(key, name, float(value)) for name, value in quality_signals(text).items()]
    with store.database.transaction():
        store.database.connection.executemany("INSERT INTO signal VALUES (?, ?, ?)", signals)


def test_good_documents_of_the_development_pool_are_learned_and_no_others(store: Store) -> None:
    put(store, "good", PROSE)
    put(store, "list", LISTING)
    put(store, "train", PROSE, pool="train")
    put(store, "gate", PROSE, pool="gate")
    put(store, "later", PROSE, generation=2)
    recipe = load_recipe("quickstart", ["aim.balanced=false", "judge.passage_chars=300"])
    rows = development_rows(store, recipe, 1, "salt")
    assert rows
    assert {row["completion"] in PROSE for row in rows} == {True}
    ids = {row["id"] for row in rows}
    assert ids < {row["id"] for row in development_rows(store, recipe, 2, "salt")}
    assert development_rows(store, recipe, 1, "salt") == rows


def test_they_are_no_more_tokens_than_the_labeler_judges(store: Store) -> None:
    for i in range(30):
        put(store, f"d{i}", f"{PROSE} This is page {i} of them.")
    overrides = ["aim.balanced=false", "budget.label_tokens=900"]
    rows = development_rows(store, load_recipe("quickstart", overrides), 1, "salt")
    assert 300 < sum(len(row["completion"]) for row in rows) / 4 < 1200


def test_an_exam_gives_the_right_answers_of_its_development_part(
    store: Store, tmp_path: Path
) -> None:
    put(store, "good", PROSE)
    lines = [{"prompt": f"{i} + 1 =", "gold": f" {i + 1}"} for i in range(120)]
    file = tmp_path / "exam.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    recipe = load_recipe("quickstart", ['aim.kind="exam"', f'aim.exam.file="{file}"'])
    texts = [row["completion"] for row in development_rows(store, recipe, 1, "salt")]
    assert 20 < len(texts) < 55
    assert all(f"{int(t.split()[0]) + 1}" == t.split("= ")[1] for t in texts)


def test_an_exam_gives_no_more_tokens_than_the_labeler_judges(store: Store, tmp_path: Path) -> None:
    """Good texts of pairs are learned, and of executed items those that have a right answer."""
    long = "a long sentence about nothing. " * 20
    lines = [{"good": f"{i} {long}", "bad": f"{i} nothing"} for i in range(200)]
    file = tmp_path / "exam.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    overrides = ['aim.kind="exam"', f'aim.exam.file="{file}"', 'aim.exam.kind="pairs"']
    recipe = load_recipe("quickstart", [*overrides, "budget.label_tokens=2000"])
    rows = development_rows(store, recipe, 1, "salt")
    assert 8 <= len(rows) <= 14, "of about 60 items with 160 tokens each"
    assert all("nothing. " in row["completion"] for row in rows)


def test_the_champion_learns_them_as_the_recipe_trains_on_passages() -> None:
    config = TrainConfig(steps=["sft", "dpo"], sft=SftConfig(learning_rate=3e-4, epochs=2))
    tuning = tuning_config(config)
    assert tuning.steps == ["pretrain"]
    assert (tuning.pretrain.learning_rate, tuning.pretrain.epochs) == (3e-4, 1)
    assert tuning_config(TrainConfig(steps=["dpo"])).pretrain == TrainConfig().pretrain
