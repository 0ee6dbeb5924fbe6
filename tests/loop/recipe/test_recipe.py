from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import UserError
from loop.recipe.recipe import RECIPES, differing_keys, find_recipe, load_recipe, stored_recipe
from trainers.config import BUILT_IN


@pytest.mark.parametrize("name", sorted(p.stem for p in RECIPES.glob("*.toml")))
def test_builtin_recipes_load(name: str) -> None:
    assert load_recipe(name, []).generations >= 1


def test_the_dry_run_covers_every_kind_of_step() -> None:
    assert load_recipe("dry_run", []).train.steps == list(BUILT_IN)


def test_the_dial_moves_every_budget_and_each_can_be_set() -> None:
    one, four = (
        load_recipe("quickstart", []).budgets(),
        load_recipe("quickstart", ["scale=4.0"]).budgets(),
    )
    assert all(four[name] == 4 * amount for name, amount in one.items())
    assert load_recipe("quickstart", ["budget.pages=7"]).budgets()["pages"] == 7


def test_generations_may_grow_and_other_keys_make_another_recipe() -> None:
    base = load_recipe("quickstart", [])
    assert base.digest == load_recipe("quickstart", ["generations=9"]).digest
    other = load_recipe("quickstart", ["train.sft.learning_rate=1e-5"])
    assert base.digest != other.digest
    assert differing_keys(base.identity(), other.identity()) == ["train.sft.learning_rate"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.sft.learning_rat=1", "Did you mean 'train.sft.learning_rate'"),
        ("train.zero_stage=0", r"train\.zero_stage = '0'"),
        ("generations=0", "generations"),
        ("scale=-1", "scale"),
        ('crawl.seeds=["nonsense"]', r"crawl\.seeds = 'nonsense'"),
        ("crawl.seeds=[]", r"crawl\.seeds"),
        ('judge.passage_rubrics=["none"]', r"judge\.passage_rubrics = 'none'"),
        ("crawl.gate_share=0.95", r"crawl\.gate_share"),
        ('name="../x"', "name"),
        ('train.steps=["sft", "dop"]', "no such step: dop. Known steps: pretrain"),
        ('train.steps=["sft", "sft"]', "named twice"),
        ('train.steps=["reward_model"]', "trains no candidate"),
        ('train.steps=["sft", "ppo"]', "uses reward_model, which is not in train.steps"),
        ("train.rl.rewards={nobody = 1.0}", "no such source in rl.rewards: nobody"),
        ("train.min_workers=4", r"train\.min_workers is above"),
    ],
)
def test_bad_values_name_key_and_value(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("quickstart", [override])


def test_unknown_recipe_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="quickstart"):
        find_recipe("nope")
    with pytest.raises(UserError, match="no such file"):
        load_recipe(str(tmp_path / "nope.toml"), [])


def test_gold_is_held_out_from_training_and_checked_before_anything_is_crawled(
    tmp_path: Path,
) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"prompt": "q", "a": "x", "b": "y", "label": "A"}\n')
    named = load_recipe("dry_run", [f'judge.gold.relevance="{gold}"'])
    assert named.crawl_config().held_out_files == [str(gold)]
    with pytest.raises(UserError, match=r"judge\.gold"):
        load_recipe("dry_run", [f'judge.gold.nonsense="{gold}"'])
    with pytest.raises(UserError, match="no gold files"):
        load_recipe("dry_run", [f'judge.gold.relevance="{tmp_path / "none"}"'])


def test_prompts_of_ones_own_are_checked_before_anything_is_crawled(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "What is 1 + 1?", "check": "math", "answer": "2"}\n')
    assert load_recipe("dry_run", [f'judge.prompts="{path}"']).judge.prompts == str(path)
    path.write_text('{"prompt": "x", "check": "regex:("}\n')
    with pytest.raises(UserError, match=r"judge\.prompts"):
        load_recipe("dry_run", [f'judge.prompts="{path}"'])


def test_a_stored_recipe_is_read_back() -> None:
    recipe = load_recipe("dry_run", [])
    again = stored_recipe(json.dumps(recipe.identity()))
    assert again.identity() == recipe.identity()


def test_a_suite_is_held_out_from_training_and_part_of_what_a_run_is(tmp_path: Path) -> None:
    file = tmp_path / "suite.jsonl"
    file.write_text('{"good": "The cats sleep.", "bad": "The cats sleeps."}')
    options = [f'gate.suites.grammar.file="{file}"', 'gate.suites.grammar.kind="pairs"']
    named = load_recipe("quickstart", options)
    assert named.crawl_config().held_out_files == [str(file)]
    before = named.digest
    file.write_text('{"good": "A cat sleeps.", "bad": "A cat sleep."}')
    assert load_recipe("quickstart", options).digest != before
    file.unlink()
    with pytest.raises(UserError, match=r"gate\.suites\.grammar\.file"):
        load_recipe("quickstart", options)
