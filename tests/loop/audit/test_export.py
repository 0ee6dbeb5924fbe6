"""A model into an MLflow registry, on a server's own storage; runs where mlflow is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.artifacts import folder_digest
from infra.errors import UserError
from infra.records import Checkpoint, now
from loop.audit.export import export_folder, register_mlflow


def model(tmp_path: Path, content: bytes) -> Checkpoint:
    folder = tmp_path / content.decode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(content)
    return Checkpoint(folder_digest(folder), str(folder), "parent", 2, "m", "r", 0, now())


def test_versions_of_a_registered_model_carry_digest_and_aliases(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    server = f"sqlite:///{tmp_path}/registry.db"
    for number, content in enumerate((b"one", b"two"), start=1):
        target = tmp_path / f"out{number}"
        made = model(tmp_path, content)
        export_folder(made, target)
        assert f"version {number} of quickstart" in register_mlflow(
            made, target, server, "quickstart", number == 2
        )
    client = mlflow.MlflowClient(tracking_uri=server, registry_uri=server)
    champion = client.get_model_version_by_alias("quickstart", "champion")
    assert champion.version in (2, "2")
    assert champion.tags["digest"] == made.digest
    assert Path(champion.source.removeprefix("file://")) == target


def test_without_mlflow_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(UserError, match=r"ratchet-loop\[mlflow\]"):
        register_mlflow(model(tmp_path, b"one"), tmp_path, "sqlite:///x", "name", True)
