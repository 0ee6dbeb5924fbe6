"""From what was labeled to training tasks, and who rewards completions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import StageError, UserError
from infra.records import Preference, Sample
from infra.records.labeler import Admission
from infra.store import Store
from judges.config import JudgeConfig, ScriptedConfig
from judges.labelers.actors import JudgeWorker, VerifierWorker
from loop.data.curriculum import Curriculum
from loop.recipe.recipe import Recipe, load_recipe
from loop.training.arms import Arm
from loop.training.plan import TrainingFolders, training_tasks, usable_steps
from loop.training.rewarders import make_rewarder, own_rewarder, reward_names
from trainers.rollouts.rewards import RewardRequest
from trainers.task import read_rows


def sample(name: str, prompt: str, check: str = "", kind: str = "demonstration") -> Sample:
    return Sample(name, "d", kind, prompt, f"answer of {name}", "web", 1, 0, -1, check)


def preference(
    name: str, sample_id: str, chosen: str, rejected: str, pair_index: int
) -> Preference:
    return Preference(
        name, sample_id, "q", chosen, rejected, "model", "j", 0.8, 1.4, 1, "m", pair_index
    )


CURRICULUM = Curriculum(
    samples=[sample("passage", "", kind="passage"), sample("shown", "how?")],
    preferences=[
        preference("p0", "s", "best", "worst", 0),
        preference("p1", "s", "best", "middle", 1),
        preference("p2", "s", "middle", "worst", 2),
        preference("p3", "t", "yes", "no", 0),
    ],
    prompts=[sample("checked", "what?", "output"), sample("open", "why?")],
)
ALL = ["pretrain", "sft", "reward_model", "dpo", "kto", "ppo", "grpo", "rloo", "reinforce_pp"]


def recipe(*overrides: str) -> Recipe:
    return load_recipe("dry_run", ["train.num_workers=1", *overrides])


def test_every_kind_reads_its_own_rows() -> None:
    config = recipe().train
    ids = {kind: [row["id"] for row in CURRICULUM.rows(kind, config)] for kind in ALL}
    assert ids["pretrain"] == ["passage"]
    assert ids["sft"] == ["shown"]
    assert ids["dpo"] == ["p0", "p3"], "the best over the worst of each prompt"
    assert ids["kto"] == ["p0/chosen", "p0/rejected", "p3/chosen", "p3/rejected"]
    assert ids["reward_model"] == ["s", "t"]
    assert ids["ppo"] == ["checked"], "with a verifier, prompts without a check are no use"
    without = recipe('train.steps=["sft", "grpo"]', "train.rl.rewards={judge = 1.0}").train
    assert [row["id"] for row in CURRICULUM.rows("sft", without)] == ["passage", "shown"]
    assert [row["id"] for row in CURRICULUM.rows("grpo", without)] == ["checked", "open"]


def test_a_ranking_is_one_row_with_every_text_once_and_all_its_pairs() -> None:
    row = CURRICULUM.rows("reward_model", recipe().train)[0]
    assert row["completions"] == ["best", "worst", "middle"]
    assert [(p["chosen"], p["rejected"]) for p in row["pairs"]] == [(0, 1), (0, 2), (2, 1)]


def test_tasks_are_a_chain_from_which_the_reward_model_branches_off(
    store: Store, tmp_path: Path
) -> None:
    one = recipe("train.dpo.reference='anchor'", "train.rl.pretrain_coefficient=0.5")
    kinds = usable_steps(store, one, 1, CURRICULUM)
    assert kinds == ALL
    folders = TrainingFolders("champion", "anchor", "candidate", tmp_path)
    tasks = {
        t.kind: t for t in training_tasks(Arm("picked", one, False), 1, CURRICULUM, kinds, folders)
    }
    assert tasks["pretrain"].source == "champion"
    assert tasks["sft"].source == tasks["pretrain"].target
    assert tasks["reward_model"].source == tasks["dpo"].source == tasks["sft"].target
    assert tasks["kto"].source == tasks["dpo"].target
    assert tasks["reinforce_pp"].target == "candidate"
    assert (tasks["dpo"].reference, tasks["kto"].reference) == ("anchor", tasks["sft"].target)
    assert all(
        tasks[kind].reward_model == tasks["reward_model"].target for kind in ("ppo", "grpo", "rloo")
    )
    assert [row["id"] for row in read_rows(tasks["ppo"].passages)] == ["passage"]
    assert not tasks["dpo"].passages
    assert len({t.digest for t in tasks.values()}) == len(ALL)


def test_steps_without_data_and_what_needs_them_are_left_out(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    few = replace(CURRICULUM, preferences=[])
    assert usable_steps(store, recipe(), 1, few) == ["pretrain", "sft"]
    printed = capsys.readouterr().out
    assert "reward_model is left out: it has 0 rows" in printed
    assert "ppo is left out: it needs a reward model" in printed
    with pytest.raises(StageError, match="no training step of the policy"):
        usable_steps(
            store, recipe('train.steps=["reward_model", "dpo"]'), 1, replace(few, samples=[])
        )


def test_a_labeler_that_was_not_admitted_gives_no_reward(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    one = recipe('train.steps=["sft", "grpo"]', "train.rl.rewards={judge = 1.0}")
    assert usable_steps(store, one, 1, CURRICULUM) == ["sft"]
    assert "the labeler is not admitted for relevance" in capsys.readouterr().out
    admission = Admission("a", "scripted", "relevance", "scripted", True, "")
    store.labelers.add_datasheet([], [admission])
    assert usable_steps(store, one, 1, CURRICULUM) == ["sft", "grpo"]


def test_a_verifier_rewards_what_it_finds_right(store: Store) -> None:
    verifier = make_rewarder("verifier", store, recipe(), {"verifier": VerifierWorker()})
    attempts = [
        RewardRequest("what is 2+2?", "4", "output", "4"),
        RewardRequest("what is 2+2?", "5", "output", "4"),
        RewardRequest("sum?", "so it is 12", "math", "12"),
        RewardRequest("who?", "nobody"),
    ]
    assert verifier.rewards(attempts) == [1.0, 0.0, 1.0, None]


def test_an_admitted_labeler_rewards_by_its_values(store: Store) -> None:
    worker = JudgeWorker(JudgeConfig(kind="scripted", scripted=ScriptedConfig()), 0, 1)
    one = recipe("train.rl.rewards={judge = 1.0}")
    store.labelers.add_datasheet(
        [], [Admission("a", "scripted", "relevance", "scripted", True, "")]
    )
    rewards = make_rewarder("judge", store, one, {"judge": worker}).rewards(
        [RewardRequest("q", "one"), RewardRequest("q", "two")]
    )
    assert len(rewards) == 2
    assert all(value is not None and 0 <= value <= 1 for value in rewards)


def test_rewards_of_ones_own(store: Store) -> None:
    name = "tests.trainers.support.rewarders:Letters"
    one = recipe(f'train.rl.rewards={{"{name}" = 1.0}}')
    assert reward_names(one.train) == [name]
    assert make_rewarder(name, store, one, {}).rewards([RewardRequest("p", "abcdefgh")]) == [1.0]
    with pytest.raises(UserError, match="no such source of rewards"):
        own_rewarder("nowhere:Nothing")
