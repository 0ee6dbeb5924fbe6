"""Which candidates a generation trains, and what the data of the control are."""

from __future__ import annotations

import json

import pytest

from infra.errors import StageError, UserError
from infra.models.text_size import TokenCount, estimated_tokens
from infra.records import Document, Judgment, Sample
from infra.store import Store
from judges.making.passages.passage_steps import random_passages, selected_passages
from judges.rubrics import load_rubric
from loop.data.curriculum import Curriculum
from loop.recipe.recipe import Recipe, load_recipe
from loop.training.arms import Arm, find_arm, generation_arms
from loop.training.plan import arm_curriculum
from tests.infra.support.store_rows import add_documents

SLOW = "candidates.slow.train.sft.learning_rate=1e-5"


def names(arms: list[Arm]) -> list[tuple[str, bool]]:
    return [(arm.name, arm.is_random) for arm in arms]


def recipe(*overrides: str) -> Recipe:
    return load_recipe("quickstart", list(overrides))


def test_a_generation_has_a_control_unless_the_recipe_has_none() -> None:
    both = [("picked", False), ("random", True)]
    assert names(generation_arms(recipe(), 1, picking_pays=True)) == both
    assert names(generation_arms(recipe("control=none"), 1, picking_pays=True)) == both[:1]


def test_a_control_may_come_in_every_third_generation() -> None:
    third = recipe("control_every=3")
    assert [len(generation_arms(third, k, picking_pays=True)) for k in range(1, 7)] == [1, 1, 2] * 2


def test_picking_that_does_not_pay_is_left_to_the_arm_that_may_show_that_it_does() -> None:
    keeps = recipe("judge.stop_when_useless=false", SLOW)
    expected = [("random", True), ("picked", False), ("slow", True)]
    assert names(generation_arms(keeps, 1, picking_pays=False)) == expected
    stops = recipe("judge.stop_when_useless=true")
    assert names(generation_arms(stops, 1, picking_pays=False)) == [("random", True)]


@pytest.mark.parametrize(("level", "count"), [("strict", 1), ("discovery", 2)])
def test_strict_spends_no_labels_once_picking_is_known_to_be_useless(
    level: str, count: int
) -> None:
    own = recipe(f"gate.level={level}")
    assert len(generation_arms(own, 1, picking_pays=False)) == count


def test_a_further_candidate_has_the_recipe_with_its_own_keys() -> None:
    slow = find_arm(recipe(SLOW), 1, "slow", picking_pays=True)
    assert slow.recipe.train.sft.learning_rate == 1e-5
    assert slow.recipe.train.sft.epochs == recipe().train.sft.epochs
    assert slow.recipe.data == recipe().data


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("candidates.slow.train.sft.learning_rat=1e-5", "candidates.slow.train.sft.learning_rat"),
        ("candidates.slow.train.sft.learning_rate=-1", "candidates.slow.train.sft.learning_rate"),
        ("candidates.slow.data.earlier_share=2", "candidates.slow.data.earlier_share"),
        ("candidates.slow.train.num_workers=3", "candidates.slow.train.num_workers"),
        ("candidates.slow.crawl.seeds=1", "candidates.slow.crawl"),
        ("candidates.random.train.batch_tokens=64", "candidates"),
        ("candidates.Slow.train.batch_tokens=64", "candidates"),
        ("candidates.slow.train={}", "candidates"),
        ("candidates.slow.train.kto.beta=0.5", "candidates"),
        ("candidates.slow.train.save_steps=7", "candidates"),
        ("candidates=[{}]", "candidates"),
    ],
)
def test_a_candidate_that_cannot_be_made_is_refused_by_its_key(override: str, key: str) -> None:
    with pytest.raises(UserError) as error:
        recipe(override)
    assert error.value.key == key


@pytest.mark.parametrize("name", ["picked", "random", "anchor", "champion", "best", "tuned"])
def test_a_candidate_cannot_have_the_name_of_another_model(name: str) -> None:
    with pytest.raises(UserError, match=rf"candidates = '{name}'.*Choose another one than picked"):
        recipe(f"candidates.{name}.train.sft.learning_rate=1e-5")


def test_two_candidates_that_would_be_the_same_are_refused() -> None:
    with pytest.raises(UserError, match=r"candidates = 'other'.*the same as slow"):
        recipe(SLOW, "candidates.other.train.sft.learning_rate=1e-5")
    recipe(SLOW, "candidates.other.train.sft.learning_rate=2e-5")


def test_a_step_of_the_users_own_may_read_any_key() -> None:
    own = 'candidates.own.train.steps=["sft", "dpo", "mine:Step"]'
    recipe(
        own,
        'candidates.two.train.steps=["sft", "dpo", "mine:Step"]',
        "candidates.two.train.kto.beta=0.5",
    )


def judged(store: Store, count: int = 40) -> None:
    """Passages of several lengths; the longer ones have the higher values."""
    add_documents(store, [Document("d", "p", "http://h/", "t", "x", "en", "x", "train", 1)])
    samples = [
        Sample(f"s{i}", "d", "passage", "", "word " * (20 + 5 * i), "web", 1, 0, 1)
        for i in range(count)
    ]
    rubric = load_rubric("coherence").id
    store.labels.add_samples(samples)
    store.labels.add_judgments(
        [
            Judgment(f"j{i}", f"s{i}", "judge", rubric, "choice", "scored", "", i / count, "", 1, 1)
            for i in range(count)
        ]
    )


def num_tokens(samples: list[Sample]) -> int:
    return sum(estimated_tokens(sample.completion) for sample in samples)


def cjk_tokens(text: str) -> int:
    """Counts as a tokenizer does that has a token for a word, and one for each odd character."""
    return sum(1 if word.isascii() else len(word) for word in text.split())


@pytest.mark.parametrize("num_tokens", [estimated_tokens, cjk_tokens])
def test_the_control_has_as_many_tokens_of_other_passages(
    store: Store, num_tokens: TokenCount
) -> None:
    judged(store)
    config = recipe("judge.selection.temperature=0.01", "judge.selection.keep_share=0.5").judge
    picked = selected_passages(store, config, 1, 900, 0)
    drawn = random_passages(store, config, 1, 900, 0, num_tokens=num_tokens)
    shortest = min(num_tokens(s.completion) for s in store.labels.samples(1, "passage"))
    totals = [sum(num_tokens(s.completion) for s in arm) for arm in (picked, drawn)]
    assert 0 <= totals[0] - totals[1] < 2 * shortest
    assert {s.sample_id for s in picked} != {s.sample_id for s in drawn}
    again = random_passages(store, config, 1, 900, 0, num_tokens=num_tokens)
    assert drawn == again, "a resumed run draws the same"


def test_without_values_and_labels_both_arms_draw_the_same_from_all_passages(store: Store) -> None:
    judged(store)
    store.database.connection.execute("DELETE FROM judgment")
    config = recipe().judge
    drawn = random_passages(store, config, 1, 900, 0)
    assert selected_passages(store, config, 1, 900, 0) == drawn
    assert 0 < sum(estimated_tokens(s.completion) for s in drawn) <= 900
    one, other = both_arms(store)
    assert one.digest == other.digest, "a second candidate would be the same"


def both_arms(store: Store, *overrides: str) -> list[Curriculum]:
    own = recipe("budget.train_tokens=600", *overrides)
    arms = generation_arms(own, 1, picking_pays=True)
    return [arm_curriculum(store, arm, 1, estimated_tokens) for arm in arms]


def example(name: str) -> Sample:
    return Sample(name, "d", "demonstration", "1 + 1?", "2", "web", 1, 0, 1, "math")


def question(about: Sample, check: str = "") -> Sample:
    """A question that a passage answers, or one that words of it answer if they are checked."""
    text = about.completion.strip()
    prompt, answer = (f"{text}\n\nWhich?", "word") if check else ("What?", text)
    name = f"{about.sample_id}-asked{check}"
    return Sample(name, "d", "demonstration", prompt, answer, "model", 1, 0, 1, check)


def split(curriculum: Curriculum) -> tuple[list[Sample], list[Sample]]:
    """Its passages and its other samples."""
    kinds = ([s for s in curriculum.samples if (s.kind == "passage") is b] for b in (True, False))
    passages, others = kinds
    return passages, others


def read_tokens(curriculum: Curriculum, own: Recipe) -> int:
    """The tokens of all rows that the training steps of a recipe read."""
    rows = {r["id"]: r for step in own.train.steps for r in curriculum.rows(step, own.train)}
    return sum(estimated_tokens(r["prompt"] + r["completion"]) for r in rows.values())


@pytest.mark.parametrize("check", ["", "quote"])
@pytest.mark.parametrize("steps", [["pretrain"], ["pretrain", "sft"], ["sft"], ["mine:Own"]])
def test_two_arms_train_as_many_tokens_and_differ_in_their_passages_alone(
    store: Store, steps: list[str], check: str
) -> None:
    judged(store)
    best = store.labels.samples(1, "passage")[-2:]
    store.labels.add_samples([example("q"), *(question(one, check) for one in best)])
    override = f"train.steps={json.dumps(steps)}"
    own = recipe(override)
    picked, drawn = both_arms(store, override)
    assert picked.digest != drawn.digest
    assert split(picked)[1] == split(drawn)[1]
    tokens = [read_tokens(curriculum, own) for curriculum in (picked, drawn)]
    counted = [
        sum(estimated_tokens(s.prompt + s.completion) for s in c.samples) for c in (picked, drawn)
    ]
    assert tokens == counted, "what no step reads is neither chosen nor counted"
    assert abs(tokens[0] - tokens[1]) < 2 * 32
    assert max(tokens) <= 600


def test_a_passage_that_a_question_shows_is_in_neither_arm(store: Store) -> None:
    judged(store)
    passages = store.labels.samples(1, "passage")
    store.labels.add_samples([question(one) for one in passages[:5]])
    for curriculum in both_arms(store, 'train.steps=["pretrain", "sft"]'):
        alone, asked = split(curriculum)
        assert asked
        assert not {s.completion for s in asked} & {s.completion.strip() for s in alone}


def test_nothing_to_train_on_is_an_error(store: Store) -> None:
    with pytest.raises(StageError, match="nothing to train on"):
        both_arms(store)
