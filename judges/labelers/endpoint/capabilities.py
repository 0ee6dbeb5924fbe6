"""What a server supports, tested before it is asked anything.

A single method is used then, so that statistics never mix methods: `logprobs` of the first token if
the server returns them, else `counts` of labels over several sampled answers if it has seeds, else
`text`, the label of one answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.console import warn
from infra.errors import UserError
from judges.labelers.endpoint.answers import ServerReply
from judges.labelers.endpoint.parameters import OLD_LIMIT
from judges.labelers.endpoint.server import FailedRequest, Server, ServerAddress, masked_url

LOGPROBS, COUNTS, TEXT = "logprobs", "counts", "text"
METHODS_BY_WORTH = (LOGPROBS, COUNTS, TEXT)
LOGPROB_LIMITS = (20, 5)
"""Numbers of alternatives to ask for: the protocol's maximum, and the maximum of many servers."""
PROBE_TOKENS = 8
MAX_SCHEMA_TOKENS = 24
_TRIALS = (("seed",), ("temperature",), (OLD_LIMIT,), ("seed", "temperature", OLD_LIMIT))
"""What is left out or renamed if a server refuses a plain question and does not say why."""


@dataclass(frozen=True)
class Capabilities:
    """What a server supports.

    `num_logprobs` is the number of alternatives with log-probabilities, `has_schema` means that
    answers follow a JSON schema, `has_seed` means that samples repeat for the same seed.
    """

    model: str
    num_logprobs: int = 0
    has_schema: bool = False
    has_seed: bool = False

    @property
    def method(self) -> str:
        """The best method that the server supports."""
        return LOGPROBS if self.num_logprobs else COUNTS if self.has_seed else TEXT


async def probe_server(server: Server) -> Capabilities:
    """What a server supports at all of its addresses.

    Raises:
        UserError: if it answers no question, or if its addresses differ.
    """
    made = list[Capabilities]()
    for address in server.addresses:
        with server.only(address):
            made.append(await _tested(server, address, made[0].model if made else ""))
        if made[-1] != made[0]:
            raise UserError(
                "judge.endpoint.more_urls",
                masked_url(address.url),
                f"it supports other things than {masked_url(server.addresses[0].url)}"
                f" ({made[-1]} and {made[0]}).",
                "All addresses must serve one model by one kind of server.",
            )
    return made[0]


async def _tested(server: Server, address: ServerAddress, model: str) -> Capabilities:
    body = await server.model_list()
    names = [] if isinstance(body, FailedRequest) else _model_names(body)
    model = server.config.model or model or (names[0] if names else "")
    if not model:
        problem = "the server lists no models."
        raise UserError("judge.endpoint.model", model, problem, "Give the name of the model.")
    reply = await _first_reply(server, model)
    if isinstance(reply, FailedRequest):
        # A name that is not listed may be an alias, so the server was asked.
        raise _refusal(address, model, names, reply.words)
    reasons_first = server.config.reasoning_tokens > 0
    if reply.has_reasoned and not reasons_first:
        warn(
            f"{model} reasons before it answers; give it tokens for that"
            " (judge.endpoint.reasoning_tokens), or switch it off"
            " (judge.endpoint.enable_thinking = false)"
        )
        reasons_first = True
    schema = {"max_tokens": MAX_SCHEMA_TOKENS, "response_format": menu_schema(("Yes", "No"))}
    chosen = await server.chat(model, "Is water wet?", 1, schema)
    return Capabilities(
        model,
        0 if reasons_first else await _num_logprobs(server, model),
        isinstance(chosen, ServerReply) and _follows_schema(chosen),
        await _repeats(server, model),
    )


async def _first_reply(server: Server, model: str) -> ServerReply | FailedRequest:
    """The reply to a plain question; parameters are left out one at a time until there is one."""
    plain = {"max_tokens": PROBE_TOKENS, "temperature": 0.0}

    async def ask() -> ServerReply | FailedRequest:
        return await server.chat(model, "Say Yes.", 1, plain)

    first = await ask()
    if isinstance(first, ServerReply) or first.status not in (400, 422):
        return first
    for names in _TRIALS:
        with server.parameters.trial(*names):
            reply = await ask()
            if isinstance(reply, ServerReply):
                server.parameters.keep()
                warn(f"the server refuses {' or '.join(names)} without saying so; left out")
                return reply
    return first


def _refusal(address: ServerAddress, model: str, names: Sequence[str], words: str) -> UserError:
    if names and model not in names:
        return UserError(
            "judge.endpoint.model",
            model,
            f"the server does not have this model ({words}).",
            f"Its models: {', '.join(names[:5])}.",
        )
    return UserError(
        "judge.endpoint.url",
        masked_url(address.url),
        f"the server rejects chat completions ({words}).",
        "Give the URL of an OpenAI-compatible API; it usually ends in /v1.",
    )


async def _num_logprobs(server: Server, model: str) -> int:
    for number in LOGPROB_LIMITS:
        options = {"max_tokens": 1, "logprobs": True, "top_logprobs": number}
        reply = await server.chat(model, "Say Yes.", 1, options)
        if isinstance(reply, ServerReply) and reply.alternatives:
            return number
    return 0


async def _repeats(server: Server, model: str) -> bool:
    """Whether two samples with the same seed are equal."""
    options = {"max_tokens": PROBE_TOKENS, "temperature": 1.0}
    both = [await server.chat(model, "Write three random words.", 7, options) for _ in range(2)]
    texts = [outcome.text for outcome in both if isinstance(outcome, ServerReply)]
    return len(texts) == len(both) and texts[0] == texts[1]


def _model_names(body: str) -> list[str]:
    """Return the names in a list of models; what is not one is left out."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    models = value.get("data") if isinstance(value, dict) else None
    rows = models if isinstance(models, list) else []
    return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def menu_schema(labels: Sequence[str]) -> dict[str, Any]:
    """Return the request option that makes a server answer with one of the labels as JSON."""
    label = {"type": "string", "enum": list(labels)}
    schema = {
        "type": "object",
        "properties": {"label": label},
        "required": ["label"],
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema},
    }


def _follows_schema(reply: ServerReply) -> bool:
    try:
        return json.loads(reply.text) in ({"label": "Yes"}, {"label": "No"})
    except (ValueError, RecursionError):
        return False
