"""Whether two judges may be the same model: the labeler must neither ask nor decide at the gate.

A model has many names: on a server, on the Hub, in a folder. Where names leave it open, two judges
count as the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from crawlers.fetching.address_check import is_loopback
from crawlers.urls import url_hostname, url_path, url_port
from infra.artifacts import file_digest
from infra.errors import UserError
from infra.models.folders import local_folder
from judges.config import EndpointConfig, JudgeConfig

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - compared, never bound
"""What servers say they listen on; a request to it reaches this machine."""


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


def _addresses(endpoint: EndpointConfig) -> Iterator[tuple[str, int, str]]:
    """(host, port, path) of the servers, the same for all ways to write them."""
    for url in (endpoint.url, *endpoint.more_urls):
        try:
            host, port, path = url_hostname(url), url_port(url), url_path(url)
        except ValueError:  # not a URL
            continue
        name = host.rstrip(".")
        is_own = name == ANY_ADDRESS or is_loopback(name)
        yield "localhost" if is_own else name, port, path.rstrip("/")


def check_other_weights(key: str, judge: JudgeConfig, labeler: JudgeConfig) -> None:
    """Raises `UserError` if two local judges have the same weights under two names.

    Only models that are on this machine already are compared.
    """
    if not judge.kind == labeler.kind == "local":
        return
    own, others = _weights(judge.model), _weights(labeler.model)
    if own and _sizes(own) == _sizes(others) and _digests(own) == _digests(others):
        problem = f"it has the same weights as the labeler ({labeler.model})."
        raise UserError(key, judge.model, problem, "Name another model.")


def _weights(model: str) -> list[Path]:
    folder = local_folder(model)
    return list(folder.glob("*.safetensors")) if folder else []


def _sizes(files: Sequence[Path]) -> list[int]:
    return sorted(file.stat().st_size for file in files)


def _digests(files: Sequence[Path]) -> list[str]:
    return sorted(map(file_digest, files))
