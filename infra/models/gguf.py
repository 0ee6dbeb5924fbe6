"""Converts a GGUF file (llama architecture) to a Hugging Face folder with tokenizer and chat
template.

Tensors are dequantised with the `gguf` package and written with safetensors. The GGUF loader of
transformers takes minutes on a slow core, and the model that it gives cannot be saved. Values are
stored as float32, because dequantised Q4_1 values are not exact in bfloat16.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from infra.console import progress

CONTROL_TOKEN = 3
"""`tokenizer.ggml.token_type` of special tokens, such as those for roles and ends."""

_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def hugging_face_name(name: str) -> str:
    """The Hugging Face name of a llama tensor in GGUF, such as `blk.3.attn_q.weight`.

    Raises:
        ValueError: if the tensor is not part of the llama architecture.
    """
    if name in _TOP_NAMES:
        return _TOP_NAMES[name]
    prefix, layer, part, suffix = name.split(".")
    if prefix != "blk":
        raise ValueError(f"unknown tensor {name!r}: only the llama architecture is converted")
    return f"model.layers.{layer}.{_LAYER_NAMES[part]}.{suffix}"


def interleaved_to_halves(weight: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Convert query or key weights from llama.cpp's rotary layout to that of Hugging Face.

    llama.cpp rotates neighbouring rows of a head together, Hugging Face row i with row i +
    head_dim / 2. `weight` has the shape [num_heads * head_dim, hidden].
    """
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, columns))


def _fields(reader: gguf.GGUFReader) -> dict[str, Any]:
    return {key: field.contents() for key, field in reader.fields.items()}


def _config(fields: dict[str, Any], tied: bool) -> LlamaConfig:
    if fields["general.architecture"] != "llama":
        architecture = fields["general.architecture"]
        raise ValueError(f"architecture {architecture!r}: only llama is converted")
    return LlamaConfig(
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=fields["llama.attention.layer_norm_rms_epsilon"],
        rope_theta=fields["llama.rope.freq_base"],
        bos_token_id=fields["tokenizer.ggml.bos_token_id"],
        eos_token_id=fields["tokenizer.ggml.eos_token_id"],
        pad_token_id=fields["tokenizer.ggml.padding_token_id"],
        tie_word_embeddings=tied,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )


def _tokenizer(fields: dict[str, Any]) -> PreTrainedTokenizerFast:
    """The byte-level BPE tokenizer of a GGUF file."""
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    backend = Tokenizer(
        models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    backend.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in control]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokens[fields["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[fields["tokenizer.ggml.eos_token_id"]],
        unk_token=tokens[fields["tokenizer.ggml.unknown_token_id"]],
        pad_token=tokens[fields["tokenizer.ggml.padding_token_id"]],
        chat_template=fields.get("tokenizer.chat_template"),
        model_max_length=fields["llama.context_length"],
        clean_up_tokenization_spaces=False,
    )


def convert_gguf(source: Path, target: Path) -> None:
    """Write the model in the GGUF file `source` into the existing folder `target`."""
    reader = gguf.GGUFReader(source)
    fields = _fields(reader)
    config = _config(fields, tied=all(t.name != "output.weight" for t in reader.tensors))
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    weights: dict[str, torch.Tensor] = {}
    with progress(f"converting {source.name}", total=len(reader.tensors)) as advance:
        for tensor in reader.tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            part = tensor.name.split(".")[-2]
            if part in heads:
                values = interleaved_to_halves(values, heads[part])
            weights[hugging_face_name(tensor.name)] = torch.from_numpy(values)
            advance()
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(target)
    _tokenizer(fields).save_pretrained(target)
    generation = {
        key: getattr(config, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    (target / "generation_config.json").write_text(
        json.dumps(generation, indent=2) + "\n", encoding="utf-8"
    )
