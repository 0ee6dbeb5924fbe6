"""The parameters of requests, as far as a server takes them.

Servers of one protocol differ: new models of OpenAI take `max_completion_tokens` and no other
temperature than 1, some proxies refuse a `seed`, some want 16 tokens at least, some only stream.
What a server refuses is renamed, raised or dropped, one thing at a time, and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

OLD_LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
DROPPABLE = ("seed", "temperature")
"""What an answer can do without. Log-probabilities and schemas are tested by themselves."""
MAX_LEAST_TOKENS = 4096
_REFUSES = re.compile(
    r"not (?:\w+ )?(?:support|permit|allow|accept|avail|recogni|implement)|n't (?:support|accept)"
    r"|unsupported|unknown|unrecogni[sz]ed|unexpected|extra|invalid|only the default|deprecated"
    r"|instead|must be|should be|below|at least|minimum|no such|only supports?|please enable"
)
_LEAST = re.compile(
    r"(?P<bound>>=|at least|minimum(?: value)?(?: of| is)?|greater than or equal to"
    r"|greater than|larger than|>)\s*:?\s*(?P<number>\d+)"
)
_STRICT = ("greater than", "larger than", ">")
_STREAMS = re.compile(
    r"only.{0,20}stream|stream.{0,30}(?:only|must|required)|enable.{0,20}stream"
    r"|stream.{0,20}(?:true|enabled)"
)


class Parameters:
    """What is sent in place of what is wanted.

    `reasoning_tokens` are added to every limit, `extra` is sent with every question.
    """

    def __init__(self, reasoning_tokens: int = 0, extra: Mapping[str, Any] | None = None) -> None:
        self._reasoning_tokens = reasoning_tokens
        self._extra = dict(extra or {})
        self._names: dict[str, str] = {}
        """What is sent for a parameter; empty if nothing is."""
        self._least_tokens = 0

    def fitted(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters to send."""
        sent = {self._names.get(name, name): value for name, value in wanted.items()}
        sent.pop("", None)
        for name in (OLD_LIMIT, NEW_LIMIT):
            if name in sent:
                sent[name] = max(sent[name] + self._reasoning_tokens, self._least_tokens)
        return self._extra | sent

    def adapt(self, sent: Mapping[str, Any], words: str, named: str = "") -> str:
        """Change what a server refuses, and say what is done instead; empty if nothing helps.

        `words` are the server's, `named` is the parameter that it names apart from them.
        """
        text = words.casefold()
        if not _REFUSES.search(text):
            return ""
        if "stream" not in sent and _STREAMS.search(text):
            self._extra["stream"] = True
            return "the server only streams; its replies are read as streams"
        if number := self._wanted_least(sent, text):
            self._least_tokens = number
            return f"the server wants a limit of {number} tokens at least, and gets it"
        name = _named(sent, text, named)
        return self._renamed(name) if name in (OLD_LIMIT, NEW_LIMIT) else self._dropped(name)

    @contextmanager
    def trial(self, *names: str) -> Iterator[None]:
        """Rename or drop these parameters in the block, and for good if `keep` was called in it."""
        before = dict(self._names)
        for name in names:
            self._names[name] = NEW_LIMIT if name == OLD_LIMIT else ""
        self._is_kept = False
        try:
            yield
        finally:
            if not self._is_kept:
                self._names = before

    def keep(self) -> None:
        """What is tried stays."""
        self._is_kept = True

    def _wanted_least(self, sent: Mapping[str, Any], text: str) -> int:
        """The least limit that a server names, if it is above what was sent."""
        limit = next((sent[name] for name in (OLD_LIMIT, NEW_LIMIT) if name in sent), 0)
        bound = _LEAST.search(text)
        if not bound or "tokens" not in text:
            return 0
        number = int(bound["number"][:6]) + (bound["bound"] in _STRICT)
        return number if limit < number <= MAX_LEAST_TOKENS else 0

    def _renamed(self, name: str) -> str:
        """The two names of the limit are tried one after the other, then none."""
        if name == OLD_LIMIT and OLD_LIMIT not in self._names:
            self._names[OLD_LIMIT] = NEW_LIMIT
            return f"the server refuses {OLD_LIMIT}; {NEW_LIMIT} is sent instead"
        self._names[OLD_LIMIT] = ""
        return f"the server refuses {name}; the length of its answers has no limit of ours"

    def _dropped(self, name: str) -> str:
        if name not in DROPPABLE:
            return ""
        self._names[name] = ""
        return f"the server refuses {name}; it is left out"


def _named(sent: Mapping[str, Any], text: str, named: str) -> str:
    """The parameter that a refusal is about: the one named, else the first in the words."""
    if named in sent:
        return named
    mentions = {
        name: re.search(rf"\b{name}\b", text) for name in (OLD_LIMIT, NEW_LIMIT, *DROPPABLE)
    }
    starts = {name: p.start() for name, p in mentions.items() if p and name in sent}
    return min(starts, key=lambda name: starts[name], default="")
