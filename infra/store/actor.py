"""The store as a Ray actor, and a proxy that lets callers use it like the class it wraps.

Stages are written against `Store`. In tests they get the class itself, in a run this proxy.
"""

from __future__ import annotations

from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infra.store import Store


class _Proxy:
    """Calls an actor's methods and waits for the answer."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._actor, name)
        return lambda *args, **kwargs: ray.get(method.remote(*args, **kwargs))

    def __reduce__(self) -> Any:
        return (_Proxy, (self._actor,))


def start_store(path: str, snapshot_folder: str) -> Store:
    """Open the store in an actor on this node, where the run's folder is."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Store).options(num_cpus=0, scheduling_strategy=here).remote(path, snapshot_folder)
    return cast(Store, _Proxy(actor))
