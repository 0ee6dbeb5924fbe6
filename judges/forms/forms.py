"""The forms of the rows that people judge: ours, and those of public datasets.

A row is a text to value, a pair to compare (with the better side, if it is known), a list to rank,
or a claim to verify. The form is recognised by the row's keys, or named.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.errors import UserError
from infra.json_lines import text_at, value_at
from infra.records import content_key
from judges.forms.conversations import (
    Turn,
    dialogue_turns,
    prompt_and_replies,
    prompt_and_reply,
    read_turns,
    text_or_turns,
)
from judges.forms.rows import FileRow
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import MAX_TEXTS, CandidateList
from judges.judgment.pairs import Pair, Side
from judges.verifying.checks import Claim, answer_at, validate_check

Values = Mapping[str, Any]
JudgedItem = Subject | Pair | CandidateList | Claim
AB: Mapping[object, Side] = {"A": "A", "B": "B", "tie": "tie"}
SCORES = ("overall_score", "fine-grained_score", "score")
"""Keys under which UltraFeedback has the score of a completion."""


@dataclass(frozen=True)
class Form:
    """A form of rows: the keys that it needs, and how an item is read from them."""

    name: str
    keys: frozenset[str]
    read: Callable[[Values], JudgedItem]


def read_item(row: FileRow, form: str, key: str, remedy: str) -> JudgedItem:
    """Return the item of a row; `form` is the name of its form, or empty to recognise it.

    Raises:
        UserError: about `key`, if the row has no known form, or is not valid in it.
    """
    try:
        return _form(row.value, form).read(row.value)
    except UserError as error:  # of a check
        problem = f"{error.problem} ({error.value})"
        raise UserError(key, row.where, problem, error.remedy) from None
    except ValueError as error:
        raise UserError(key, row.where, f"{error}.", remedy) from None


def form_names() -> list[str]:
    """Return the names of all forms."""
    return [form.name for form in FORMS]


def _form(values: Values, name: str) -> Form:
    if name:
        form = next(form for form in FORMS if form.name == name)
        if missing := sorted(form.keys - values.keys()):
            raise ValueError(f"the form {name} needs {', '.join(missing)}; {_shown(values)}")
        return form
    for form in FORMS:
        if form.keys <= values.keys():
            return form
    nearest = min(FORMS, key=lambda f: (len(f.keys - values.keys()), -len(f.keys & values.keys())))
    lacking = ", ".join(sorted(nearest.keys - values.keys()))
    raise ValueError(f"{_shown(values)}; nearest is the form {nearest.name}, which needs {lacking}")


def _shown(values: Values) -> str:
    names = sorted(values)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"the row has {', '.join(names[:12]) or 'no keys'}{more}"


def labelled_pair(prompt: str, a: str, b: str, truth: Side | None, reference: str = "") -> Pair:
    """Return a pair whose id is the key of its texts."""
    return Pair(content_key(prompt, a, b, reference), prompt, a, b, truth, reference)


def preferred_pair(prompt: str, better: str, worse: str) -> Pair:
    """Return a pair with the better text on a side that a hash chooses."""
    if int(content_key(prompt, *sorted((better, worse)))[:8], 16) % 2:
        return labelled_pair(prompt, better, worse, "A")
    return labelled_pair(prompt, worse, better, "B")


def _side(sides: Mapping[Any, Side], label: object) -> Side:
    """The side that a label names, also where a number is written as a string."""
    by_text = {str(one): side for one, side in sides.items()}
    if isinstance(label, bool) or str(label) not in by_text:
        raise ValueError(f"the label {label!r} is not one of {', '.join(by_text)}")
    return by_text[str(label)]


def _number(row: Values, key: str) -> float:
    value = value_at(row, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f'the value of "{key}" is not a number')
    return float(value)


def _side_by(sign: float) -> Side:
    """A if it is below 0, B if it is above, else a tie."""
    return "tie" if sign == 0 else "A" if sign < 0 else "B"


def _subject(prompt: str, text: str, reference: str = "") -> Subject:
    return Subject(content_key(prompt, text, reference), prompt, text, reference=reference)


def _text(row: Values) -> Subject:
    return _subject(text_at(row, "prompt", ""), text_at(row, "text"), text_at(row, "reference", ""))


def _pair(row: Values) -> Pair:
    truth = _side(AB, row["label"]) if "label" in row else None
    prompt, reference = text_at(row, "prompt", ""), text_at(row, "reference", "")
    return labelled_pair(prompt, text_at(row, "a"), text_at(row, "b"), truth, reference)


def _texts(row: Values) -> CandidateList:
    texts = value_at(row, "texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('the value of "texts" is not a list of strings')
    if not 2 <= len(texts) <= MAX_TEXTS:
        raise ValueError(f'"texts" holds {len(texts)} texts, not 2 to {MAX_TEXTS}')
    prompt, reference = text_at(row, "prompt", ""), text_at(row, "reference", "")
    return CandidateList(content_key(prompt, reference, *texts), prompt, tuple(texts), reference)


def _check(row: Values) -> Claim:
    check, text, answer = text_at(row, "check"), text_at(row, "text"), answer_at(row)
    validate_check(check, "items", answer)
    return Claim(check, answer, text)


def _chosen(row: Values) -> Pair:
    """Texts, message lists, or whole dialogues (Anthropic-HH) with and without a prompt."""
    prompt = text_or_turns(row.get("prompt", ""), "prompt")
    before = prompt if isinstance(prompt, list) else [Turn("User", prompt)] if prompt else []
    sides = []
    for key in ("chosen", "rejected"):
        value = text_or_turns(value_at(row, key), key)
        turns = dialogue_turns(value) if isinstance(value, str) else value
        turns = turns or [Turn("Assistant", str(value))]
        # Some datasets repeat the prompt as the first turns, others do not.
        sides.append(turns if turns[: len(before)] == before else [*before, *turns])
    return preferred_pair(*prompt_and_replies(*sides))


def _messages(row: Values) -> Subject:
    return _subject(*prompt_and_reply(read_turns(value_at(row, "messages"), "messages")))


def _sharegpt(row: Values) -> Subject:
    return _subject(*prompt_and_reply(read_turns(value_at(row, "conversations"), "conversations")))


def _instruction(row: Values) -> str:
    parts = text_at(row, "instruction"), text_at(row, "input", "")
    return "\n\n".join(part for part in parts if part)


def _alpaca(row: Values) -> Subject:
    return _subject(_instruction(row), text_at(row, "output"))


def _alpaca_pair(row: Values) -> Pair:
    truth = _side_by(_number(row, "preference") - 1.5)
    return labelled_pair(
        _instruction(row), text_at(row, "output_1"), text_at(row, "output_2"), truth
    )


def _helpsteer(row: Values) -> Subject:
    return _subject(text_at(row, "prompt"), text_at(row, "response"))


def _helpsteer_pair(row: Values) -> Pair:
    context = text_or_turns(row["context"], "context")
    turns = [Turn("User", context)] if isinstance(context, str) else context
    replies = (text_at(row, key) for key in ("response1", "response2"))
    sides = ([*turns, Turn("Assistant", reply)] for reply in replies)
    truth = _side_by(_number(row, "overall_preference"))
    return labelled_pair(*prompt_and_replies(*sides), truth)


def _ultrafeedback(row: Values) -> Pair:
    """The completion with the highest score against that with the lowest."""
    completions = value_at(row, "completions")
    if not isinstance(completions, list) or len(completions) < 2:
        raise ValueError('"completions" is not a list of two or more')
    if not all(isinstance(one, Mapping) for one in completions):
        raise ValueError('a value in "completions" is not a JSON object')
    scored = [(_completion_score(one), text_at(one, "response")) for one in completions]
    worst, best = min(scored), max(scored)
    prompt = text_at(row, "instruction")
    if worst[0] == best[0]:
        return labelled_pair(prompt, worst[1], best[1], "tie")
    return preferred_pair(prompt, best[1], worst[1])


def _completion_score(completion: Values) -> float:
    key = next((key for key in SCORES if key in completion), "overall_score")
    return _number(completion, key)


def _labelled(row: Values, prompt: str, a: str, b: str, truth: Side) -> Pair:
    """The pair of the texts under these keys."""
    return labelled_pair(text_at(row, prompt), text_at(row, a), text_at(row, b), truth)


def _llmbar(row: Values) -> Pair:
    truth = _side({1: "A", 2: "B"}, row["label"])
    return _labelled(row, "input", "output_1", "output_2", truth)


def _pandalm(row: Values) -> Pair:
    votes = Counter(_vote(key, v) for key, v in row.items() if key.startswith("annotator"))
    (winner, most), *others = votes.most_common()
    if others and others[0][1] == most:
        winner = 0  # no majority counts as a tie
    truth = _side({0: "tie", 1: "A", 2: "B"}, winner)
    return labelled_pair(
        _instruction(row), text_at(row, "response1"), text_at(row, "response2"), truth
    )


def _vote(key: str, value: object) -> int:
    if str(value) not in ("0", "1", "2"):
        raise ValueError(f"the vote {value!r} of {key!r} is not 0, 1 or 2")
    return int(str(value))


def _judgebench(row: Values) -> Pair:
    truth = _side({"A>B": "A", "B>A": "B", "A=B": "tie"}, row["label"])
    return _labelled(row, "question", "response_A", "response_B", truth)


def _auto_j(row: Values) -> Pair:
    truth = _side({0: "A", 1: "B", 2: "tie"}, row["label"])
    return _labelled(row, "prompt", "response 1", "response 2", truth)


def _mt_bench(row: Values) -> Pair:
    """Of MT-bench and of Chatbot Arena; every winner but the two models is a tie."""
    sides = (read_turns(row[key], key) for key in ("conversation_a", "conversation_b"))
    winners: dict[str, Side] = {"model_a": "A", "model_b": "B"}
    return labelled_pair(*prompt_and_replies(*sides), winners.get(str(row["winner"]), "tie"))


FORMS = (
    Form("check", frozenset({"check", "text"}), _check),
    Form("texts", frozenset({"texts"}), _texts),
    Form("llmbar", frozenset({"input", "output_1", "output_2", "label"}), _llmbar),
    Form(
        "alpacaeval-pairs",
        frozenset({"instruction", "output_1", "output_2", "preference"}),
        _alpaca_pair,
    ),
    Form("pandalm", frozenset({"instruction", "response1", "response2", "annotator1"}), _pandalm),
    Form("judgebench", frozenset({"question", "response_A", "response_B", "label"}), _judgebench),
    Form("auto-j", frozenset({"prompt", "response 1", "response 2", "label"}), _auto_j),
    Form("mt-bench", frozenset({"conversation_a", "conversation_b", "winner"}), _mt_bench),
    Form(
        "helpsteer-pairs",
        frozenset({"context", "response1", "response2", "overall_preference"}),
        _helpsteer_pair,
    ),
    Form("ultrafeedback", frozenset({"instruction", "completions"}), _ultrafeedback),
    Form("chosen", frozenset({"chosen", "rejected"}), _chosen),
    Form("pair", frozenset({"a", "b"}), _pair),
    Form("alpacaeval", frozenset({"instruction", "output"}), _alpaca),
    Form("helpsteer", frozenset({"prompt", "response"}), _helpsteer),
    Form("messages", frozenset({"messages"}), _messages),
    Form("sharegpt", frozenset({"conversations"}), _sharegpt),
    Form("text", frozenset({"text"}), _text),
)
"""All forms, the more particular ones first. `chosen` is also that of RewardBench, of UltraFeedback
binarized and of Anthropic-HH."""
