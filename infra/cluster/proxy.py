"""Actors that look like the plain class they wrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray


class RemoteProxy:
    """Calls the methods of an actor and waits for each answer.

    `facts` are attributes whose values are known here, without a call.
    """

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


class GroupedActor:
    """Inside an actor: an object whose methods are in groups, such as `store.labels.samples`."""

    def __init__(self, make: Any, *arguments: Any) -> None:
        self._object = make(*arguments)

    def call(self, group: str, method: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Call a method of a group, or of the object itself if `group` is empty."""
        owner = getattr(self._object, group) if group else self._object
        return getattr(owner, method)(*args, **kwargs)


class GroupProxy:
    """One group of a `GroupedActor`; an empty name stands for the object itself."""

    def __init__(self, actor: Any, group: str) -> None:
        self._actor = actor
        self._group = group

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        call = self._actor.call
        return lambda *args, **kwargs: ray.get(call.remote(self._group, name, args, kwargs))

    def __reduce__(self) -> Any:
        return (GroupProxy, (self._actor, self._group))
