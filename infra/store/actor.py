"""The store as a Ray actor, and a proxy that lets callers use it like the class it wraps.

Stages are written against `Store`. In tests they get the class itself, in a run this proxy.
"""

from __future__ import annotations

from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infra.store import Store
from infra.store.connection import connect


class RemoteProxy:
    """Calls an actor's methods and waits for the answer. `facts` are attributes that need no call."""

    def __init__(self, actor: Any, facts: dict[str, Any]) -> None:
        self._actor = actor
        self._facts = facts

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._facts:
            return self._facts[name]
        method = getattr(self._actor, name)
        return lambda *args, **kwargs: ray.get(method.remote(*args, **kwargs))

    def __reduce__(self) -> Any:
        return (RemoteProxy, (self._actor, self._facts))


def remote_proxy(actor: Any, **facts: Any) -> RemoteProxy:
    """An actor that looks like the class it wraps; cast it to that class or to its protocol."""
    return RemoteProxy(actor, facts)


def start_store(path: str, snapshot_folder: str) -> Store:
    """Open the store in an actor on this node, where the run's folder is.

    The file is opened here first: an error in an actor's constructor comes back without its type.
    """
    connect(path).close()
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = (
        ray.remote(Store)
        .options(num_cpus=0, scheduling_strategy=here)
        .remote(path, snapshot_folder)
    )
    return cast(Store, remote_proxy(actor))
