"""Exporting a model: as a Hugging Face folder, as GGUF, or to an MLflow registry."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from infra.artifacts import atomic_folder, folder_digest, make_folder
from infra.errors import StageError, UserError
from infra.records import Checkpoint

CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf")
PATIENCE_S = 3600


def export_folder(model: Checkpoint, target: Path) -> None:
    """Copy a model's folder, completely or not at all.

    Raises:
        UserError: if the target exists or cannot be made, or the model's files were changed.
    """
    if target.exists():
        raise UserError("target", target, "it exists.", "Give a new folder.")
    if folder_digest(Path(model.path)) != model.digest:
        raise UserError(
            "generation",
            model.generation,
            "its files were changed.",
            "See 'ratchet verify'.",
        )
    make_folder(target.absolute().parent, "target")
    with atomic_folder(target) as scratch:
        for path in sorted(Path(model.path).iterdir()):
            if path.is_file():
                shutil.copyfile(path, scratch / path.name)


def find_converter() -> str:
    """The path of llama.cpp's converter. Raises `UserError` if it is not on the PATH."""
    for name in CONVERTERS:
        if path := shutil.which(name):
            return path
    raise UserError(
        "--gguf",
        "",
        "llama.cpp's convert_hf_to_gguf.py is not on the PATH.",
        "Install llama.cpp, or leave --gguf out.",
    )


def export_gguf(folder: Path) -> Path:
    """Convert an exported folder with llama.cpp's script; returns the path of the GGUF file."""
    converter = find_converter()
    target = folder / "model.gguf"
    command = [converter, str(folder), "--outfile", str(target)]
    if converter.endswith(".py"):
        command.insert(0, sys.executable)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)  # noqa: S603
    if done.returncode != 0 or not target.exists():
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1][:200]
        raise StageError("export", "GGUF", last)
    return target


def register_mlflow(
    model: Checkpoint, folder: Path, server: str, name: str, is_champion: bool
) -> str:
    """Add a version with aliases to a registered model; returns a sentence for the terminal.

    Raises:
        UserError: if mlflow is not installed.
        StageError: if the server refuses.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise UserError(
            "--mlflow",
            server,
            "mlflow is not installed.",
            "Run: pip install 'ratchet-loop[mlflow]'",
        ) from None
    client = MlflowClient(tracking_uri=server, registry_uri=server)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {"digest": model.digest, "generation": str(model.generation), "parent": model.parent}
    try:
        made = client.create_model_version(name, folder.absolute().as_uri(), tags=tags)
        for alias in [f"generation-{model.generation}", *(["champion"] if is_champion else [])]:
            client.set_registered_model_alias(name, alias, made.version)
    except MlflowException as error:
        raise StageError("export", server, str(error).splitlines()[0][:200]) from error
    return f"version {made.version} of {name} at {server}"
