"""Whether two judges may be the same model: the labeler must neither ask nor decide at the gate.

A model has many names: on a server, on the Hub, in a folder. Where names leave it open, two judges
count as the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from infra.artifacts import file_digest
from infra.errors import UserError
from infra.models.folders import resolve_model
from judges.config import EndpointConfig, JudgeConfig

LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - compared, never bound
PORTS = {"http": 80, "https": 443}


def same_judge(one: JudgeConfig, other: JudgeConfig) -> str:
    """Why two judges may be the same model, by what the recipe says; empty if they are not."""
    if "scripted" in (one.kind, other.kind):
        is_same = one.kind == other.kind and one.scripted == other.scripted
        return "it also labels the training data" if is_same else ""
    name, other_name = _name(one), _name(other)
    if name and name == other_name:
        return "it also labels the training data"
    are_endpoints = one.kind == other.kind == "endpoint"
    if are_endpoints and not (name and other_name):
        shared = set(_addresses(one.endpoint)) & set(_addresses(other.endpoint))
        if shared:
            return "the labeler is on the same server, and one of the two names no model"
    return ""


def _name(judge: JudgeConfig) -> str:
    """The name of a model without its organisation; for a folder its path, for `tiny` all of it."""
    if judge.kind == "endpoint":
        return judge.endpoint.model.rpartition("/")[2].casefold()
    kind, separator, name = judge.model.partition(":")
    if not separator:
        return str(Path(judge.model).expanduser().resolve())
    return judge.model if kind == "tiny" else name.rpartition("/")[2].casefold()


def _addresses(endpoint: EndpointConfig) -> Iterator[tuple[str, int | None, str]]:
    """(host, port, path) of the servers, the same for all ways to write them."""
    for url in (endpoint.url, *endpoint.more_urls):
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        host = LOOPBACK[0] if host in LOOPBACK or host.startswith("127.") else host
        yield host, parts.port or PORTS.get(parts.scheme), parts.path.rstrip("/")


def check_other_weights(key: str, judge: JudgeConfig, labeler: JudgeConfig) -> None:
    """Raises `UserError` if two local judges have the same weights under two names."""
    if not judge.kind == labeler.kind == "local":
        return
    own, others = _weights(judge.model, key), _weights(labeler.model, "judge.model")
    if _sizes(own) == _sizes(others) and _digests(own) == _digests(others):
        problem = f"it has the same weights as the labeler ({labeler.model})."
        raise UserError(key, judge.model, problem, "Name another model.")


def _weights(model: str, key: str) -> list[Path]:
    return list(resolve_model(model, key).glob("*.safetensors"))


def _sizes(files: Sequence[Path]) -> list[int]:
    return sorted(file.stat().st_size for file in files)


def _digests(files: Sequence[Path]) -> list[str]:
    return sorted(map(file_digest, files))
