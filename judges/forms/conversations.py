"""Conversations as lists of turns, and as texts to judge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ROLES = {
    "user": "User",
    "human": "User",
    "prompter": "User",
    "assistant": "Assistant",
    "gpt": "Assistant",
    "chatgpt": "Assistant",
    "model": "Assistant",
    "bot": "Assistant",
    "system": "System",
}
_DIALOGUE = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


@dataclass(frozen=True)
class Turn:
    """What one side says."""

    role: str
    text: str


def read_turns(value: object, key: str) -> list[Turn]:
    """Return the turns of a list of messages (role and content, or from and value).

    Raises `ValueError` if it is no such list, or is empty.
    """
    if not isinstance(value, list) or not value:
        raise ValueError(f'the value of "{key}" is not a list of turns')
    return [_turn(message, key) for message in value]


def _turn(message: object, key: str) -> Turn:
    if not isinstance(message, Mapping):
        raise ValueError(f'a turn of "{key}" is not a JSON object')
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value", message.get("text")))
    if isinstance(content, list):  # parts of a message, as the protocol of OpenAI has them
        content = "".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping))
    if not isinstance(role, str) or not isinstance(content, str):
        raise ValueError(f'a turn of "{key}" has no role or no text')
    return Turn(_ROLES.get(role.casefold(), role.capitalize()), content)


def dialogue_turns(text: str) -> list[Turn]:
    """Return the turns of a text in which `Human:` and `Assistant:` take turns; else none."""
    parts = _DIALOGUE.split(text)
    if len(parts) < 3 or parts[0].strip():
        return []
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [Turn(_ROLES[role.casefold()], text.strip()) for role, text in pairs]


def prompt_and_reply(turns: Sequence[Turn]) -> tuple[str, str]:
    """Return what precedes the last turn, and the last turn.

    Raises `ValueError` if the last turn is not the assistant's.
    """
    if turns[-1].role != "Assistant":
        raise ValueError("the last turn is not the assistant's")
    return as_prompt(turns[:-1]), turns[-1].text


def prompt_and_replies(a: Sequence[Turn], b: Sequence[Turn]) -> tuple[str, str, str]:
    """Return what two conversations share, and what each goes on with.

    From where they differ, the turns of both sides are judged: a later answer depends on the
    earlier one. Raises `ValueError` if one does not end with the assistant.
    """
    if a[-1].role != "Assistant" or b[-1].role != "Assistant":
        raise ValueError("the last turn is not the assistant's")
    longest = min(len(a), len(b)) - 1
    shared = next((i for i in range(longest) if a[i] != b[i]), longest)
    return as_prompt(a[:shared]), _as_reply(a[shared:]), _as_reply(b[shared:])


def as_prompt(turns: Sequence[Turn]) -> str:
    """Return turns as one text: a single one of the user as it is, others with their roles."""
    if len(turns) == 1 and turns[0].role == "User":
        return turns[0].text
    return "\n\n".join(f"{turn.role}: {turn.text}" for turn in turns)


def _as_reply(turns: Sequence[Turn]) -> str:
    first, rest = turns[0], turns[1:]
    start = first.text if first.role == "Assistant" else f"{first.role}: {first.text}"
    return "\n\n".join([start, *(f"{turn.role}: {turn.text}" for turn in rest)])


def text_or_turns(value: Any, key: str) -> str | list[Turn]:
    """Return a text as it is, a list as its turns. Raises `ValueError` for anything else."""
    if isinstance(value, str):
        return value
    return read_turns(value, key)
