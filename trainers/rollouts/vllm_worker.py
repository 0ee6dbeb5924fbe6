"""Code that runs in vLLM's worker process and makes its weights comparable with the trainer's.

vLLM imports this module by name in the process that holds its model. Our own code does not import
it.
"""

from __future__ import annotations

from typing import Any

from vllm import _custom_ops
from vllm.platforms import current_platform

from trainers.rollouts.weight_checksum import bit_sum

if current_platform.is_cpu():
    # On a CPU vLLM would keep weights only in oneDNN's own layout, where they cannot be read back.
    _custom_ops._supports_onednn = False


class HeldWeights:
    """Methods that vLLM adds to its worker."""

    model_runner: Any
    reload_weights: Any

    def take_weights(self, folder: str) -> int:
        """Load the safetensors of a folder in place of the current weights; return the checksum of
        the new ones.
        """
        self.reload_weights(weights_path=folder)
        return bit_sum(dict(self.model_runner.get_model().named_parameters()))
