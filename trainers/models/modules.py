"""The modules that an engine trains: a policy with log-probabilities of packs, and a scalar model
with values.

Both wrap a transformers model and are called with a `Pack`. Shapes: T tokens of a pack, N trained
ones, H hidden features, V vocabulary, B rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infra.errors import UserError
from infra.models.folders import load_model, load_scalar_model
from trainers.batches.packing import Pack, make_pack
from trainers.batches.rows import Row
from trainers.models import attention
from trainers.models.logprobs import TokenLogps, chunked_logps, summed_logps

PACKING_TOLERANCE = 0.05


class PackedModel(nn.Module):
    """A transformers model that runs over packs, and can be switched to padded batches for
    sampling.
    """

    def __init__(self, model: Any, flash: bool = False) -> None:
        super().__init__()
        self.model = model
        self.flash = flash
        attention.register()
        self.packed = True

    @property
    def packed(self) -> bool:
        """Whether attention is between the rows of packs; else the model takes padded batches, to
        sample.
        """
        return self._packed

    @packed.setter
    def packed(self, on: bool) -> None:
        """Whether attention works on packs; if false, the model takes padded batches."""
        self._packed = on
        kind = ("flash_attention_2" if self.flash else attention.NAME) if on else "sdpa"
        self.model.set_attn_implementation(kind)

    def hidden(self, pack: Pack) -> Tensor:
        """Return the last hidden states, [T, H]."""
        bounds = torch.tensor((0, *pack.row_lengths), device=pack.ids_T.device).cumsum(0).int()
        longest = max(pack.row_lengths)
        output = self._decoder()(
            input_ids=pack.ids_T.unsqueeze(0),
            position_ids=pack.positions_T.unsqueeze(0),
            use_cache=False,
            row_lengths=pack.row_lengths,
            cu_seq_lens_q=bounds,
            cu_seq_lens_k=bounds,
            max_length_q=longest,
            max_length_k=longest,
        )
        hidden_TH: Tensor = output.last_hidden_state[0]
        return hidden_TH

    def _decoder(self) -> Any:
        raise NotImplementedError


class Policy(PackedModel):
    """A causal language model."""

    def _decoder(self) -> Any:
        return self.model.get_decoder()

    def forward(
        self, pack: Pack, temperature: float = 1.0, entropy: bool = False, summed: bool = False
    ) -> TokenLogps | Tensor:
        """Return the log-probability of every trained token, in order, or with `summed` their sum,
        which is cheaper.

        The head is computed at these positions only.
        """
        hidden_NH = self.hidden(pack)[pack.before_T]
        head = self.model.get_output_embeddings()
        if summed:
            return summed_logps(head, hidden_NH, pack.ids_T[pack.trained_T])
        return chunked_logps(head, hidden_NH, pack.ids_T[pack.trained_T], temperature, entropy)


class ScalarModel(PackedModel):
    """A decoder with one number per position: a reward model (the last position counts) or a
    critic.
    """

    def _decoder(self) -> Any:
        return self.model.base_model

    def forward(self, pack: Pack) -> Tensor:
        """Return a value for each token of the pack, [T], in float32."""
        hidden_TH = self.hidden(pack)
        with torch.autocast(hidden_TH.device.type, enabled=False):
            values_T1: Tensor = self.model.score(hidden_TH.to(self.model.score.weight.dtype))
        return values_T1.squeeze(-1).float()

    def rewards(self, pack: Pack) -> Tensor:
        """Return a reward for each row, [B]: the value of its last token."""
        values_T: Tensor = self(pack)
        return values_T[pack.last_T]


def load_policy(folder: Path, dtype: str = "float32", flash: bool = False) -> Policy:
    """Load the language model of a folder."""
    return Policy(load_model(folder, "train", dtype), flash)


def load_scalar(
    folder: Path, seed: int = 0, dtype: str = "float32", flash: bool = False
) -> ScalarModel:
    """Load the scalar model of a folder. A language model gets a new head, initialised by
    `seed`.
    """
    return ScalarModel(load_scalar_model(folder, "train", dtype, seed), flash)


@torch.no_grad()
def check_packing(module: PackedModel) -> None:
    """Raise `UserError` for a model whose rows influence each other in a pack, such as one with
    recurrent layers.
    """
    vocabulary = module.model.config.get_text_config().vocab_size
    rows = [Row(tuple(j % vocabulary for j in range(5, 5 + n)), (False,) * n) for n in (6, 9)]
    together_TH = module.hidden(make_pack(rows).to(module.model.device))
    alone_TH = torch.cat([module.hidden(make_pack([row]).to(module.model.device)) for row in rows])
    difference = float((together_TH - alone_TH).abs().max() / alone_TH.abs().max().clamp(min=1e-6))
    if not difference <= PACKING_TOLERANCE:
        raise UserError(
            "model.base",
            type(module.model).__name__,
            f"its rows see each other when they are laid end to end (off by {difference:.2g}).",
            "Choose a decoder whose layers all attend, such as Llama, Qwen, Mistral or Gemma.",
        )
