"""Reads what a server sends: the reply in its body, and the label log-probabilities in the reply.

Nothing of a body is trusted: a part with the wrong type is left out, and a body without a reply
raises `ValueError` with the server's words.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from judges.judgment.answers import NO_USAGE, LabelAnswer, TokenUsage, total_usage
from judges.judgment.written_labels import read_label

Labels = tuple[str, ...]
PSEUDO_COUNT = 0.5
"""Added to every label's count (the Jeffreys prior), so that unanimous samples do not give
certainty."""
MIN_LABEL_MASS = 0.01
"""Minimum probability of the first token that must be on labels. With less, the model answered
something else."""
MIN_PREFIX_CHARS = 3
"""Minimum characters of a token to be recognised as the beginning of a longer label."""
MIN_LOGPROB = -100.0
"""Smaller log-probabilities (nats) stand for "none": some servers send -9999 or minus infinity."""
MAX_SHOWN_CHARS = 200
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Fields of a message in which servers put what a model reasons before its answer."""
NO_LOGPROBS = "the server returns no log-probabilities"


@dataclass(frozen=True)
class ServerReply:
    """One reply: its text, whether it ended at its limit, whether the server refused, the
    (token, log-probability) alternatives for its first token, its token cost, and whether the model
    reasoned before the text.
    """

    text: str
    is_cut: bool = False
    is_refused: bool = False
    alternatives: tuple[tuple[str, float], ...] = ()
    usage: TokenUsage = NO_USAGE
    has_reasoned: bool = False


def parse_reply(body: str) -> ServerReply:
    """Return the reply in a response's body: a JSON object, or the events of a stream.

    Raises `ValueError` with the server's words if there is none.
    """
    value = _streamed(body) if body.lstrip().startswith("data:") else _json_value(body)
    if not isinstance(value, dict):
        raise ValueError(f"no JSON object: {body[:MAX_SHOWN_CHARS]}")
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise ValueError(f"no choices: {server_words(value)}")
    message = choice.get("message")
    written = message.get("content") if isinstance(message, dict) else choice.get("text")
    if message is None and not isinstance(written, str):
        raise ValueError("the message is null")
    finish = choice.get("finish_reason")
    refusal = message.get("refusal") if isinstance(message, dict) else None
    return ServerReply(
        text=_text_in(written),
        is_cut=finish == "length",
        is_refused=bool(refusal) or finish == "content_filter",
        alternatives=_alternatives(choice.get("logprobs")),
        usage=_usage(value.get("usage")),
        has_reasoned=_has_reasoned(message, _text_in(written)),
    )


def _has_reasoned(message: object, text: str) -> bool:
    """Whether a reply begins with reasoning, in a field of its own or as `<think>`."""
    fields = message if isinstance(message, Mapping) else {}
    shown = any(isinstance(fields.get(key), str) and fields[key] for key in REASONING_FIELDS)
    return shown or text.lstrip().casefold().startswith(("<think", "<|channel|>analysis"))


def server_words(value: object) -> str:
    """Return a server's error message, or the beginning of its answer."""
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    words = error if isinstance(error, str) and error else json.dumps(value, ensure_ascii=False)
    return _whole(" ".join(words.split())[:MAX_SHOWN_CHARS])


def _json_value(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError(f"no JSON: {' '.join(body.split())[:MAX_SHOWN_CHARS]}") from None


def _streamed(body: str) -> dict[str, Any]:
    """Return a response put together from the events of a stream."""
    text: list[str] = []
    choice: dict[str, Any] = {}
    usage: Any = None
    for line in body.splitlines():
        event = line.removeprefix("data:").strip()
        if not line.startswith("data:") or event in ("", "[DONE]"):
            continue
        value = _json_value(event)
        if not isinstance(value, dict):
            continue
        if value.get("error"):
            return value
        usage = value.get("usage") or usage
        for part in value.get("choices") or ():
            delta = part.get("delta") if isinstance(part, dict) else None
            if isinstance(delta, dict):
                text.append(_text_in(delta.get("content")))
                choice["finish_reason"] = part.get("finish_reason") or choice.get("finish_reason")
                choice.setdefault("logprobs", part.get("logprobs"))
    if not choice:
        raise ValueError("a stream without a reply")
    choice["message"] = {"content": "".join(text)}
    return {"choices": [choice], "usage": usage}


def _text_in(content: object) -> str:
    """Return the text of a message: a string, or a list of parts with texts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    return _whole(content) if isinstance(content, str) else ""


def _whole(text: str) -> str:
    """Return the text without half surrogates, which JSON can hold and no store can."""
    return text.encode("utf-8", "replace").decode()


def _alternatives(logprobs: object) -> tuple[tuple[str, float], ...]:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content else None
    tops = first.get("top_logprobs") if isinstance(first, dict) else None
    pairs = [
        (top.get("token"), _logprob(top.get("logprob")))
        for top in (tops if isinstance(tops, list) else ())
        if isinstance(top, dict)
    ]
    return tuple(
        (_whole(token), logprob)
        for token, logprob in pairs
        if isinstance(token, str) and logprob is not None
    )


def _logprob(value: object) -> float | None:
    """Return a log-probability (nats), or None if the value does not stand for one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return min(float(value), 0.0) if MIN_LOGPROB < value < math.inf else None


def _usage(value: object) -> TokenUsage:
    counts = value if isinstance(value, Mapping) else {}
    numbers = [counts.get(key) for key in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (
        n if isinstance(n, int) and not isinstance(n, bool) and n > 0 else 0 for n in numbers
    )
    return TokenUsage(prompt, completion)


def read_logprobs(replies: Sequence[ServerReply], labels: Labels) -> LabelAnswer:
    """Read label probabilities from the alternatives for the first token. All spellings of a label
    (case, leading space) are summed.

    A label that is not among the alternatives gets the probability of the least likely alternative,
    which is an upper bound.
    """
    (reply,) = replies
    alternatives, usage = reply.alternatives, reply.usage
    if not alternatives:
        return LabelAnswer(None, "backend", usage, NO_LOGPROBS)
    raw = json.dumps(dict(alternatives))
    masses = [
        sum(math.exp(lp) for token, lp in alternatives if _spells(token, label)) for label in labels
    ]
    floor = math.exp(min(lp for _, lp in alternatives))
    if sum(masses) < MIN_LABEL_MASS:
        return LabelAnswer(None, "off_menu", usage, raw)
    return LabelAnswer(tuple(math.log(mass or floor) for mass in masses), "", usage, raw)


def _spells(token: str, label: str) -> bool:
    start, wanted = token.strip().casefold(), label.casefold()
    return start == wanted or (len(start) >= MIN_PREFIX_CHARS and wanted.startswith(start))


def read_text(replies: Sequence[ServerReply], labels: Labels) -> LabelAnswer:
    """Read the label of one reply; it counts as one vote."""
    return read_counts(replies[:1], labels)


def read_counts(replies: Sequence[ServerReply], labels: Labels) -> LabelAnswer:
    """Read label probabilities from the labels of several samples; samples without a label are
    ignored.
    """
    read = [_label(reply, labels) for reply in replies]
    usage = total_usage([reply.usage for reply in replies])
    raw = json.dumps([reply.text for reply in replies])
    counts = Counter(label for label, _ in read if label)
    if not counts:
        return LabelAnswer(None, read[0][1], usage, raw)
    logps = tuple(math.log(counts[label] + PSEUDO_COUNT) for label in labels)
    return LabelAnswer(logps, "", usage, raw)


def _label(reply: ServerReply, labels: Labels) -> tuple[str, str]:
    """Return (label, "") of a reply, or ("", reason)."""
    if reply.is_refused:
        return "", "refusal"
    return read_label(reply.text, labels, reply.is_cut)
