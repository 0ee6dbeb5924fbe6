"""The store as a Ray actor. Stages are written against `Store`: a run gives them this proxy."""

from __future__ import annotations

from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infra.cluster.proxy import GroupedActor, GroupProxy
from infra.store.database import open_database
from infra.store.store import Store

GROUPS = (
    "run",
    "crawl",
    "curation",
    "forgetting",
    "labels",
    "labelers",
    "verdicts",
    "training",
    "registry",
    "gate",
)


class StoreProxy(GroupProxy):
    """An actor that looks like a `Store`: its groups, and the methods of the store itself."""

    def __init__(self, actor: Any) -> None:
        super().__init__(actor, "")
        for group in GROUPS:
            setattr(self, group, GroupProxy(actor, group))

    def __reduce__(self) -> Any:
        return (StoreProxy, (self._actor,))


def start_store(path: str, snapshot_folder: str) -> Store:
    """Open the store in an actor on this node, where the run's folder is.

    The file is opened here first: an error in the constructor of an actor loses its type.
    """
    open_database(path).close()
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor_class = ray.remote(GroupedActor).options(num_cpus=0, scheduling_strategy=here)
    return cast(Store, StoreProxy(actor_class.remote(Store, path, snapshot_folder)))
