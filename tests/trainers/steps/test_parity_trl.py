"""Losses and gradients against TRL's trainers on the very same token batches.

TRL pads and masks, we pack and select; what comes out must be the same. Run where TRL is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl", reason="TRL is not installed (pip install 'ratchet-loop[dev]')")
from datasets import Dataset

from infra.models.folders import load_model, load_scalar_model, load_tokenizer
from trainers.batches.packing import make_pack
from trainers.batches.rows import Row, completed_row
from trainers.models.modules import Policy, ScalarModel
from trainers.objectives.advantages import group_relative, leave_one_out
from trainers.objectives.losses import (
    dpo_loss,
    kl_terms,
    kto_loss,
    policy_loss,
    reward_loss,
    row_sums,
)

pytestmark = pytest.mark.timeout(900)
PROMPTS = [(5, 9, 11), (7, 8, 40, 41, 42, 43), (3,), (60, 61)]
CHOSEN = [(20, 21, 22, 256), (30, 31, 256), (33, 34, 35, 36, 37, 256), (44, 256)]
REJECTED = [(50, 51, 256), (52, 53, 54, 55, 56, 57, 256), (58, 256), (59, 60, 61, 256)]
PAD = 256
"""The pad token is the end token, which is trained all the same."""


def moved(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The model with its weights a little moved, so that it differs from the reference."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def right_padded(rows: list[Row]) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))

    def filled(values: Callable[[Row], Any], filling: int) -> torch.Tensor:
        return torch.tensor([[*map(int, values(r)), *[filling] * (width - len(r))] for r in rows])

    return {
        "input_ids": filled(lambda r: r.ids, PAD),
        "attention_mask": filled(lambda r: [1] * len(r), 0),
        "completion_mask": filled(lambda r: r.trained, 0),
    }


@pytest.fixture(scope="module")
def base(tiny_folder: Path) -> Path:
    return tiny_folder


def trl_options(tmp_path: Path, **options: Any) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path),
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "disable_tqdm": True,
        **options,
    }


def compare(
    ours: torch.nn.Module, our_loss: torch.Tensor, theirs: torch.nn.Module, their_loss: torch.Tensor
) -> None:
    """Losses to 1e-6 and every gradient to 1e-5 of the gradient norm."""
    assert float(our_loss.detach()) == pytest.approx(float(their_loss.detach()), abs=1e-6, rel=1e-5)
    our_loss.backward()
    their_loss.backward()
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected.keys()
    norm = float(torch.sqrt(sum(g.square().sum() for g in expected.values())))
    assert norm > 1e-3, "there is something to compare"
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, expected[name], atol=1e-5 * norm), name


def test_sft(base: Path, tmp_path: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    rows = [completed_row(p, c) for p, c in zip(PROMPTS, CHOSEN, strict=True)]
    theirs = moved(load_model(base), 1)
    trainer = SFTTrainer(
        theirs,
        SFTConfig(**trl_options(tmp_path)),
        train_dataset=Dataset.from_dict({"text": ["a"]}),
        processing_class=load_tokenizer(base),
    )
    batch = right_padded(rows)
    mask = batch.pop("completion_mask")
    batch["labels"] = batch["input_ids"].masked_fill(mask == 0, -100)
    their_loss = trainer.compute_loss(theirs, batch)
    ours = Policy(moved(load_model(base), 1))
    pack = make_pack(rows)
    compare(ours.model, -ours(pack, summed=True) / sum(pack.trained_counts), theirs, their_loss)


@pytest.mark.parametrize(("kind", "smoothing"), [("sigmoid", 0.0), ("ipo", 0.0), ("robust", 0.2)])
def test_dpo(base: Path, tmp_path: Path, kind: str, smoothing: float) -> None:
    from trl import DPOConfig, DPOTrainer

    reference, theirs = load_model(base), moved(load_model(base), 2)
    config = DPOConfig(
        **trl_options(tmp_path, beta=0.3, loss_type=[kind], label_smoothing=smoothing)
    )
    data = Dataset.from_dict({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]})
    trainer = DPOTrainer(
        theirs, reference, config, train_dataset=data, processing_class=load_tokenizer(base)
    )
    sides = [
        [completed_row(p, c) for p, c in zip(PROMPTS, side, strict=True)]
        for side in (CHOSEN, REJECTED)
    ]
    their_loss = trainer.compute_loss(theirs, right_padded(sides[0] + sides[1]))

    ours = Policy(moved(load_model(base), 2))
    pack = make_pack([row for pair in zip(*sides, strict=True) for row in pair])
    with torch.no_grad():
        reference_B = row_sums(Policy(load_model(base))(pack).logps_N, pack.trained_counts)
    ratios_B = row_sums(ours(pack).logps_N, pack.trained_counts) - reference_B
    if kind == "ipo":
        ratios_B = ratios_B / torch.tensor(pack.trained_counts)
    preferred = torch.full((4,), 1 - smoothing) if smoothing else None
    loss, count = dpo_loss(ratios_B[0::2], ratios_B[1::2], 0.3, kind, preferred)  # type: ignore[arg-type]
    compare(ours.model, loss / count, theirs, their_loss)


def test_kto(base: Path, tmp_path: Path) -> None:
    from trl import KTOConfig, KTOTrainer

    reference, theirs = load_model(base), moved(load_model(base), 3)
    config = KTOConfig(
        **trl_options(
            tmp_path,
            beta=0.3,
            desirable_weight=1.5,
            undesirable_weight=0.7,
            per_device_train_batch_size=2,
        )
    )
    data = Dataset.from_dict(
        {"prompt": ["a", "b"], "completion": ["b", "c"], "label": [True, False]}
    )
    trainer = KTOTrainer(
        theirs, reference, config, train_dataset=data, processing_class=load_tokenizer(base)
    )
    desirable = torch.tensor([True, False, False, True])
    rows = [completed_row(p, c) for p, c in zip(PROMPTS, CHOSEN, strict=True)]
    mismatched = [
        completed_row(p, c) for p, c in zip(PROMPTS, [*CHOSEN[1:], CHOSEN[0]], strict=True)
    ]
    batch = right_padded(rows) | {"label": desirable}
    batch |= {f"KL_{name}": tensor for name, tensor in right_padded(mismatched).items()}
    their_loss = trainer.compute_loss(theirs, batch)

    ours, fixed = Policy(moved(load_model(base), 3)), Policy(load_model(base))

    def ratios(rows: list[Row]) -> torch.Tensor:
        pack = make_pack(rows)
        with torch.no_grad():
            reference_B = row_sums(fixed(pack).logps_N, pack.trained_counts)
        return row_sums(ours(pack).logps_N, pack.trained_counts) - reference_B

    kl = max(0.0, float(ratios(mismatched).mean().detach()))
    loss, count = kto_loss(ratios(rows), desirable, kl, 0.3, (1.5, 0.7))
    compare(ours.model, loss / count, theirs, their_loss)


@pytest.mark.parametrize("with_margin", [False, True])
def test_reward_model(base: Path, tmp_path: Path, with_margin: bool) -> None:
    from trl import RewardConfig, RewardTrainer

    theirs = moved(load_scalar_model(base, "m", seed=3), 4)
    theirs.config.pad_token_id = (
        0  # TRL finds the last token by the first pad, which the end token must not be
    )
    config = RewardConfig(**trl_options(tmp_path, center_rewards_coefficient=0.02))
    data = Dataset.from_dict({"chosen": ["b"], "rejected": ["c"]})
    tokenizer = load_tokenizer(base)
    trainer = RewardTrainer(theirs, config, train_dataset=data, processing_class=tokenizer)
    theirs.config.pad_token_id = 0
    sides = [
        [completed_row(p, c) for p, c in zip(PROMPTS, side, strict=True)]
        for side in (CHOSEN, REJECTED)
    ]
    batch = right_padded(sides[0] + sides[1])
    mask = batch.pop("completion_mask")
    batch["input_ids"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 0)
    assert mask.shape == batch["input_ids"].shape
    margins = torch.tensor([0.5, 0.0, 1.0, 2.0]) if with_margin else None
    if margins is not None:
        batch["margin"] = margins
    their_loss = trainer.compute_loss(theirs, batch)

    ours = ScalarModel(moved(load_scalar_model(base, "m", seed=3), 4))
    rewards_B = ours.rewards(make_pack([row for pair in zip(*sides, strict=True) for row in pair]))
    loss = reward_loss(rewards_B[0::2], rewards_B[1::2], torch.ones(4), margins, centering=0.02)
    compare(ours.model, loss / 4, theirs, their_loss)


def left_padded_prompts() -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[PAD] * (width - len(p)) + list(p) for p in PROMPTS])
    return ids, torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in PROMPTS])


def right_padded_completions() -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, CHOSEN))
    ids = torch.tensor([[*c, *[PAD] * (width - len(c))] for c in CHOSEN])
    return ids, torch.tensor([[1] * len(c) + [0] * (width - len(c)) for c in CHOSEN])


REWARDS = torch.tensor([1.0, 0.0, 0.5, 3.0])


class Sampled:
    """The same completions, log-probabilities of an older policy and of a reference, for both
    sides."""

    def __init__(self, base: Path) -> None:
        self.pack = make_pack([completed_row(p, c) for p, c in zip(PROMPTS, CHOSEN, strict=True)])
        self.counts = list(self.pack.trained_counts)
        with torch.no_grad():
            self.reference_N = Policy(load_model(base))(self.pack).logps_N
            self.old_N = Policy(moved(load_model(base), 6))(self.pack).logps_N

    def padded(self, values_N: torch.Tensor) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(torch.split(values_N, self.counts), batch_first=True)

    def spread(self, values_B: torch.Tensor) -> torch.Tensor:
        return torch.cat([value.expand(n) for value, n in zip(values_B, self.counts, strict=True)])


def sampling_trainer(kind: Any, model: torch.nn.Module, config: Any, base: Path) -> Any:
    """A TRL trainer that samples; of its losses alone are asked, so rewards and prompts are any."""
    return kind(
        model,
        lambda completions, **_: [0.0] * len(completions),
        config,
        train_dataset=Dataset.from_dict({"prompt": ["a"] * 4}),
        processing_class=load_tokenizer(base),
    )


def trl_inputs(advantages: torch.Tensor) -> dict[str, torch.Tensor]:
    prompt_ids, prompt_mask = left_padded_prompts()
    completion_ids, completion_mask = right_padded_completions()
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": advantages,
        "num_items_in_batch": completion_mask.sum(),
    }


@pytest.mark.parametrize(
    ("loss_type", "corrected"),
    [("dapo", False), ("grpo", False), ("bnpo", True)],
    ids=["token", "completion", "k3 corrected"],
)
def test_grpo(base: Path, tmp_path: Path, loss_type: str, corrected: bool) -> None:
    from trl import GRPOConfig, GRPOTrainer

    theirs = moved(load_model(base), 5)
    config = GRPOConfig(
        **trl_options(
            tmp_path,
            loss_type=loss_type,
            beta=0.04,
            epsilon=0.2,
            epsilon_high=0.3,
            num_generations=4,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=1,
            use_bias_correction_kl=corrected,
            max_completion_length=8,
        )
    )
    trainer = sampling_trainer(GRPOTrainer, theirs, config, base)
    sampled = Sampled(base)
    advantages = group_relative(REWARDS)
    trainer.current_gradient_accumulation_steps = 1
    theirs.train()
    their_loss = trainer._compute_loss(
        theirs,
        trl_inputs(advantages)
        | {
            "old_per_token_logps": sampled.padded(sampled.old_N),
            "ref_per_token_logps": sampled.padded(sampled.reference_N),
        },
    )

    ours = Policy(moved(load_model(base), 5))
    logps_N = ours(sampled.pack).logps_N
    per_completion = loss_type == "grpo"
    weights_N = torch.cat(
        [torch.full((n,), 1 / n if per_completion else 1.0) for n in sampled.counts]
    )
    terms = policy_loss(logps_N, sampled.old_N, sampled.spread(advantages), weights_N, (0.2, 0.3))
    kl_N = kl_terms(
        logps_N, sampled.reference_N, "k3_corrected" if corrected else "k3", sampled.old_N
    )
    loss = terms.loss + 0.04 * (weights_N * kl_N).sum()
    compare(ours.model, loss / (4 if per_completion else len(logps_N)), theirs, their_loss)


def test_rloo(base: Path, tmp_path: Path) -> None:
    from trl import RLOOConfig, RLOOTrainer

    theirs = moved(load_model(base), 5)
    config = RLOOConfig(
        **trl_options(
            tmp_path,
            num_generations=4,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=1,
            epsilon=0.2,
        )
    )
    trainer = sampling_trainer(RLOOTrainer, theirs, config, base)
    sampled = Sampled(base)
    advantages = leave_one_out(REWARDS)
    old_B = row_sums(sampled.old_N, sampled.counts)
    theirs.train()
    their_loss = trainer._compute_loss(theirs, trl_inputs(advantages) | {"old_logps": old_B})

    ours = Policy(moved(load_model(base), 5))
    logps_B = row_sums(ours(sampled.pack).logps_N, sampled.counts)
    terms = policy_loss(logps_B, old_B, advantages, torch.ones(4), (0.2, 0.2))
    compare(ours.model, terms.loss / 4, theirs, their_loss)
