"""What runs inside vLLM's worker, so that the weights it samples with can be compared with the
trainer's, bit for bit.

vLLM imports this module by name in the process that holds its model. Not imported by anything of
ours.
"""

from __future__ import annotations

from typing import Any

from vllm import _custom_ops
from vllm.platforms import current_platform

from trainers.rollouts.weight_checksum import sum_of_bits

if current_platform.is_cpu():
    # On a CPU vLLM would keep weights only in oneDNN's own layout, where they cannot be read back.
    _custom_ops._supports_onednn = False


class HeldWeights:
    """Methods that vLLM adds to its worker."""

    model_runner: Any
    reload_weights: Any

    def take_weights(self, folder: str) -> int:
        """Load the safetensors of a folder in place of the present weights; the sum of bits of what
        is held then.
        """
        self.reload_weights(weights_path=folder)
        return sum_of_bits(dict(self.model_runner.get_model().named_parameters()))
