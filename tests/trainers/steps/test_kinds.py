"""Every kind of step on one rank and on two: what it starts from, what it learns, and that ranks
change nothing."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.models.folders import load_model, load_scalar_model, load_tokenizer
from infra.records import TrainStep
from tests.trainers.support.ranks import job, make_task, run_ranks
from trainers.batches.packing import make_pack
from trainers.batches.rows import RowBuilder
from trainers.models.modules import ScalarModel, load_policy
from trainers.steps.running import STEP_KINDS
from trainers.task import Task

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]
BASE: dict[str, Any] = {
    "num_workers": 2,
    "precision": "float32",
    "batch_tokens": 120,
    "max_tokens": 96,
    "pack_tokens": 128,
    "save_steps": 0,
}
RL = {
    "prompts_per_step": 4,
    "num_completions": 4,
    "max_new_tokens": 6,
    "num_steps": 2,
    "learning_rate": 3e-3,
    "rewards": {"tests.trainers.support.rewarders:Letters": 1.0},
    "num_minibatches": 2,
    "num_epochs": 2,
}


def preference(number: int) -> dict[str, Any]:
    """A prompt with texts of which the one with more of the letter g is the better."""
    rng = random.Random(number)
    good, bad = (
        "".join(rng.choices("gxyz", (share, 1, 1, 1), k=rng.randint(5, 9))) for share in (6, 0.2)
    )
    return {"prompt": f"q{number}", "chosen": good, "rejected": bad, "probability": 0.9}


def ranking(number: int) -> dict[str, Any]:
    one = preference(number)
    pair = {"chosen": 0, "rejected": 1, "probability": 0.9, "margin": 2.0}
    return {
        "prompt": one["prompt"],
        "completions": [one["chosen"], one["rejected"]],
        "pairs": [pair],
    }


PAIRS = [preference(i) for i in range(12)]
DATA: dict[str, list[dict[str, Any]]] = {
    "pretrain": [
        {"prompt": "", "completion": "all of this is learned " * (i % 3 + 1)} for i in range(8)
    ],
    "sft": [{"prompt": f"q{i}", "completion": "an answer " * (i % 3 + 1)} for i in range(8)],
    "dpo": PAIRS,
    "kto": [
        {"prompt": p["prompt"], "completion": p[side], "desirable": side == "chosen"}
        for p in PAIRS
        for side in ("chosen", "rejected")
    ],
    "reward_model": [ranking(i) for i in range(12)],
    **{
        kind: [{"prompt": f"p{i}", "check": ""} for i in range(6)]
        for kind in ("ppo", "grpo", "rloo", "reinforce_pp")
    },
}
SETTINGS: dict[str, dict[str, Any]] = {
    "dpo": {"dpo": {"learning_rate": 1e-3, "epochs": 2}},
    "kto": {"kto": {"learning_rate": 1e-3}},
    "reward_model": {"reward_model": {"learning_rate": 1e-3}},
    **{kind: {"rl": RL} for kind in ("ppo", "grpo", "rloo", "reinforce_pp")},
}
STARTS = {"dpo": math.log(2), "kto": 0.5}


def train_all(tiny: Path, folder: Path, ranks: int) -> dict[str, Task]:
    tasks = {kind: make_task(kind, tiny, folder / kind, DATA[kind]) for kind in DATA}
    run_ranks(ranks, [job(task, BASE | SETTINGS.get(kind, {})) for kind, task in tasks.items()])
    return tasks


@pytest.fixture(scope="module")
def on_one(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    return train_all(tiny_folder, tmp_path_factory.mktemp("one"), 1)


@pytest.fixture(scope="module")
def on_two(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    return train_all(tiny_folder, tmp_path_factory.mktemp("two"), 2)


def test_all_kinds_are_here() -> None:
    assert DATA.keys() == STEP_KINDS.keys()


@pytest.mark.parametrize("kind", DATA)
def test_a_kind_trains_every_row_and_leaves_a_model(
    on_one: dict[str, Task], tiny_folder: Path, kind: str
) -> None:
    task = on_one[kind]
    steps = task.metrics()
    known = {f"{kind}-{i}" for i in range(len(DATA[kind]))}
    seen = [row for step in steps for row in step.row_ids]
    assert set(seen) == known
    assert all(math.isfinite(step.loss) and step.grad_norm >= 0 for step in steps)
    load = load_scalar_model if kind == "reward_model" else load_model
    changed = load(Path(task.target), "m").state_dict()
    start = load_model(tiny_folder).state_dict()
    shared = changed.keys() & start.keys()
    assert len(shared) > 10
    assert any(not torch.equal(changed[name], start[name]) for name in shared)
    assert (
        load_tokenizer(Path(task.target)).chat_template == load_tokenizer(tiny_folder).chat_template
    )


@pytest.mark.parametrize("kind", DATA)
def test_two_ranks_do_what_one_does(
    on_one: dict[str, Task], on_two: dict[str, Task], kind: str
) -> None:
    for one, two in zip(on_one[kind].metrics(), on_two[kind].metrics(), strict=True):
        assert one.row_ids == two.row_ids
        assert two.loss == pytest.approx(one.loss, abs=1e-5)
        assert two.grad_norm == pytest.approx(one.grad_norm, rel=1e-3, abs=1e-5)
        for name, value in json.loads(one.metrics).items():
            if not name.endswith("_seconds"):
                assert json.loads(two.metrics)[name] == pytest.approx(value, abs=1e-4, rel=1e-3), (
                    name
                )


@pytest.mark.parametrize("kind", STARTS)
def test_what_compares_with_itself_starts_where_it_must(on_one: dict[str, Task], kind: str) -> None:
    assert on_one[kind].metrics()[0].loss == pytest.approx(STARTS[kind], abs=1e-6)


def test_the_first_pass_of_a_policy_starts_at_its_reference(on_one: dict[str, Task]) -> None:
    for kind in ("ppo", "grpo", "rloo", "reinforce_pp"):
        first = json.loads(on_one[kind].metrics()[0].metrics)
        assert abs(first["kl"]) < 1e-5
        assert first["sampler_gap"] < 1e-5, "sampler and trainer agree"


@pytest.fixture(scope="module")
def longer(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    """Longer runs with known answers, in one group of one rank."""
    folder = tmp_path_factory.mktemp("longer")
    jobs, tasks = [], {}

    def add(
        name: str, kind: str, rows: list[dict[str, Any]], settings: dict[str, Any], **options: Any
    ) -> Task:
        tasks[name] = make_task(kind, tiny_folder, folder / name, rows, **options)
        jobs.append(job(tasks[name], BASE | {"num_workers": 1, "pack_tokens": 2048} | settings))
        return tasks[name]

    planted = [ranking(i) for i in range(300)]
    settings = {"reward_model": {"learning_rate": 3e-3, "epochs": 2}, "batch_tokens": 800}
    add("planted reward", "reward_model", planted, settings)
    for precision in ("float32", "autocast", "bfloat16"):
        dpo = {"learning_rate": 1e-3}
        add(f"dpo in {precision}", "dpo", PAIRS, {"dpo": dpo, "precision": precision})
    prompts = [{"prompt": f"p{i}", "check": ""} for i in range(8)]
    for kind in ("ppo", "grpo", "rloo", "reinforce_pp"):
        for name, coefficient, steps in (("free", 0.0, 25), ("held", 5.0, 15)):
            rl = RL | {
                "prompts_per_step": 8,
                "num_completions": 8,
                "max_new_tokens": 8,
                "num_steps": steps,
                "num_epochs": 1,
                "num_minibatches": 1,
                "learning_rate": 1e-2,
                "critic_learning_rate": 3e-3,
                "max_kl": 1e3,
                "kl_coefficient": coefficient,
            }
            add(f"{kind} {name}", kind, prompts, {"rl": rl})
    add(
        "unscored",
        "grpo",
        prompts,
        {"rl": RL | {"rewards": {"tests.trainers.support.rewarders:Silent": 1.0}}},
    )
    for stage in (1, 3):
        add(f"ppo on stage {stage}", "ppo", prompts, {"rl": RL, "zero_stage": stage})
    for precision in ("autocast", "bfloat16"):
        add(f"ppo in {precision}", "ppo", prompts, {"rl": RL, "precision": precision})
    passages = make_task("pretrain", tiny_folder, folder / "passages", DATA["pretrain"]).data
    mixed = RL | {"pretrain_coefficient": 5.0, "num_steps": 10}
    add("mixed with passages", "ppo", prompts, {"rl": mixed}, passages=passages)
    own = "tests.trainers.support.own_step:Backwards"
    add("own step", own, DATA["sft"], {"steps": [own], "sft": {"learning_rate": 1e-2}})
    run_ranks(1, jobs)
    return tasks


def test_a_planted_reward_is_recovered(longer: dict[str, Task]) -> None:
    folder = Path(longer["planted reward"].target)
    model, builder = (
        ScalarModel(load_scalar_model(folder, "m")),
        RowBuilder(load_tokenizer(folder), 96),
    )
    held_out = [preference(i) for i in range(1000, 1400)]
    with torch.no_grad():
        rewards = model.rewards(
            make_pack(
                [
                    builder.demonstration(p["prompt"], p[side])
                    for p in held_out
                    for side in ("chosen", "rejected")
                ]
            )
        )
    accuracy = float((rewards[0::2] > rewards[1::2]).float().mean())
    assert accuracy >= 0.95


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
def test_dpo_starts_at_ln_2_in_every_precision_and_learns(
    longer: dict[str, Task], precision: str
) -> None:
    steps = longer[f"dpo in {precision}"].metrics()
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert steps[-1].loss < 0.6


def recent_mean(steps: list[TrainStep], name: str, count: int = 5) -> float:
    return sum(json.loads(step.metrics)[name] for step in steps[-count:]) / count


@pytest.mark.parametrize("kind", ["ppo", "grpo", "rloo", "reinforce_pp"])
def test_a_bandit_is_learned_and_a_large_penalty_holds_the_policy(
    longer: dict[str, Task], kind: str
) -> None:
    """Of 259 tokens 26 are small letters: at random the reward is about 0.1."""
    free, held = longer[f"{kind} free"].metrics(), longer[f"{kind} held"].metrics()
    assert json.loads(free[0].metrics)["reward"] < 0.2
    assert recent_mean(free, "reward") > 0.4
    assert recent_mean(held, "reward") < 0.25
    assert abs(recent_mean(held, "kl")) < 0.5


def test_a_policy_sharded_over_stage_3_is_sampled_and_trained_the_same(
    longer: dict[str, Task],
) -> None:
    for one, three in zip(
        longer["ppo on stage 1"].metrics(), longer["ppo on stage 3"].metrics(), strict=True
    ):
        assert three.loss == pytest.approx(one.loss, abs=1e-5)
        for name in ("reward", "kl", "length", "value_loss"):
            assert json.loads(three.metrics)[name] == pytest.approx(
                json.loads(one.metrics)[name], abs=1e-4, rel=1e-3
            )


@pytest.mark.parametrize("precision", ["autocast", "bfloat16"])
def test_a_policy_is_its_own_reference_in_every_precision(
    longer: dict[str, Task], precision: str
) -> None:
    first = json.loads(longer[f"ppo in {precision}"].metrics()[0].metrics)
    assert abs(first["kl"]) < 1e-5
    assert first["sampler_gap"] < 0.1, "padded and packed round differently"


def language_loss(folder: Path) -> float:
    model, builder = load_policy(folder), RowBuilder(load_tokenizer(folder), 96)
    with torch.no_grad():
        return -float(
            model(make_pack([builder.passage(DATA["pretrain"][2]["completion"])])).logps_N.mean()
        )


def test_passages_that_are_mixed_in_are_learned_beside_the_reward(
    longer: dict[str, Task], tiny_folder: Path
) -> None:
    assert (
        language_loss(Path(longer["mixed with passages"].target)) < language_loss(tiny_folder) - 0.3
    )


def test_a_step_of_ones_own_runs_like_the_built_in_ones(longer: dict[str, Task]) -> None:
    steps = longer["own step"].metrics()
    assert steps[-1].loss < steps[0].loss < 0, "it unlearns, on purpose"
    assert Path(longer["own step"].target).is_dir()


def test_what_has_no_reward_is_counted_and_not_trained(longer: dict[str, Task]) -> None:
    for step in longer["unscored"].metrics():
        assert json.loads(step.metrics)["unscored"] == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_kl": 1e-9, "num_steps": 3}, "above train.rl.max_kl"),
        ({"min_entropy": 100.0}, "below train.rl.min_entropy"),
        ({"min_length": 100.0}, "below train.rl.min_length"),
        (
            {"rewards": {"tests.trainers.support.rewarders:Nothing": 1.0}},
            "no completion of the minibatch has a reward",
        ),
    ],
)
def test_alarms_stop_a_run_before_there_is_a_candidate(
    tiny_folder: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    task = make_task("grpo", tiny_folder, tmp_path, DATA["grpo"])
    with pytest.raises(AssertionError, match=words):
        run_ranks(1, [job(task, BASE | {"num_workers": 1, "rl": RL | change})])
    assert not Path(task.target).exists()


def test_a_policy_that_differs_from_itself_before_its_first_update_is_stopped(
    tiny_folder: Path, tmp_path: Path
) -> None:
    own = "tests.trainers.support.own_step:Drifting"
    task = make_task(own, tiny_folder, tmp_path, PAIRS)
    with pytest.raises(AssertionError, match="the policy differs from itself"):
        run_ranks(1, [job(task, BASE | {"num_workers": 1, "steps": [own]})])
