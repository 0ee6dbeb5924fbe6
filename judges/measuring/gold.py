"""Gold pairs, whose better side is known: public benchmarks as files, and a plain JSON lines
format.

The layout is recognised by its keys:

- LLMBar (a folder of `dataset.json`): input, output_1, output_2, label 1 or 2
- PandaLM: instruction, input, response1, response2, annotator1.. with 0 for a tie
- JudgeBench: question, response_A, response_B, label "A>B" or "B>A"
- Auto-J: prompt, "response 1", "response 2", label 0 (first), 1 (second) or 2 (tie)
- MT-bench judgments: conversation_a, conversation_b, winner "model_a", "model_b" or a tie
- plain JSON lines: prompt, a, b, label "A", "B" or "tie"

A gold set is identified by the digest of its content and split into halves by hash: one half
chooses the elicitation method and fits the calibration, the other one measures. It is never trained
on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.artifacts import read_input
from infra.errors import UserError
from infra.json_lines import read_json_lines, text_at, value_at
from infra.records import content_key, unit_hash
from judges.judgment.pairs import Pair, Side

GoldRow = dict[str, Any]
_FORMATS = (
    "Give LLMBar, PandaLM, JudgeBench, Auto-J or MT-bench files,"
    " or JSON lines with prompt, a, b and label."
)


@dataclass(frozen=True)
class GoldSet:
    """The gold pairs of one file or folder."""

    name: str
    pairs: tuple[Pair, ...]

    @property
    def digest(self) -> str:
        """Key of the pairs, their order and their truths."""
        return content_key(*(content_key(p.prompt, p.a, p.b, p.truth) for p in self.pairs))

    def half(self, name: str) -> list[Pair]:
        """Return the pairs of the `calibration` or the `test` half; the split is the same in every
        run.
        """
        return [
            p
            for p in self.pairs
            if (unit_hash("gold half", p.pair_id) < 0.5) == (name == "calibration")
        ]


def gold_files(path: Path, key: str = "judge.gold") -> list[Path]:
    """Return the gold files at a path. Raises `UserError` about `key` if there are none."""
    if path.is_file():
        return [path]
    files = sorted(f for f in path.rglob("*.json*") if f.name != "result.json")
    if not files:
        raise UserError(key, path, "there are no gold files at this path.", _FORMATS)
    return files


def load_gold(path: Path, key: str = "judge.gold") -> list[GoldSet]:
    """Return one gold set per file at a path. Raises `UserError` about `key`, the option or the key
    of the recipe that names the path, for a file that cannot be read.
    """
    root = path if path.is_dir() else path.parent
    return [_load_file(file, root, key) for file in gold_files(path, key)]


def _load_file(file: Path, root: Path, key: str) -> GoldSet:
    name = str((file.parent if file.stem == "dataset" else file.with_suffix("")).relative_to(root))
    pairs = []
    for number, row in enumerate(_rows(file, key), start=1):
        try:
            prompt, a, b, truth = _reader(row)(row)
        except ValueError as error:
            raise UserError(key, f"{file}, item {number}", f"{error}.", _FORMATS) from None
        pairs.append(Pair(content_key(prompt, a, b), prompt, a, b, truth))
    if not pairs:
        raise UserError(key, file, "the file has no items.", _FORMATS)
    return GoldSet(f"{root.name}/{name}" if name != "." else root.name, tuple(pairs))


def _rows(file: Path, key: str) -> Iterator[GoldRow]:
    if file.suffix == ".jsonl":
        yield from (line.value for line in read_json_lines(file, key, _FORMATS))
        return
    try:
        value = json.loads(read_input(file).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(key, file, f"it cannot be read ({error}).", _FORMATS) from None
    yield from value if isinstance(value, list) else [value]


def _side(sides: Mapping[Any, Side], label: object) -> Side:
    """The side that a label names, also where a number is written as a string."""
    by_text = {str(one): side for one, side in sides.items()}
    if isinstance(label, bool) or str(label) not in by_text:
        raise ValueError(f"the label {label!r} is not one of {', '.join(by_text)}")
    return by_text[str(label)]


def _vote(key: str, value: object) -> int:
    if str(value) not in ("0", "1", "2"):
        raise ValueError(f"the vote {value!r} of {key!r} is not 0, 1 or 2")
    return int(str(value))


def _reader(row: GoldRow) -> Callable[[GoldRow], tuple[str, str, str, Side]]:
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    for keys, reader in _READERS:
        if keys <= row.keys():
            return reader
    raise ValueError(f"the keys {', '.join(sorted(row)[:8])} belong to no known format")


def _llmbar(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[int, Side] = {1: "A", 2: "B"}
    return (
        text_at(row, "input"),
        text_at(row, "output_1"),
        text_at(row, "output_2"),
        _side(sides, row["label"]),
    )


def _pandalm(row: GoldRow) -> tuple[str, str, str, Side]:
    votes = Counter(_vote(key, v) for key, v in row.items() if key.startswith("annotator"))
    (winner, most), *others = votes.most_common()
    if others and others[0][1] == most:
        winner = 0  # no majority counts as a tie
    sides: dict[int, Side] = {0: "tie", 1: "A", 2: "B"}
    prompt = "\n\n".join(
        part for part in (text_at(row, "instruction"), text_at(row, "input", "")) if part
    )
    return prompt, text_at(row, "response1"), text_at(row, "response2"), _side(sides, winner)


def _judgebench(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[str, Side] = {"A>B": "A", "B>A": "B", "A=B": "tie"}
    return (
        text_at(row, "question"),
        text_at(row, "response_A"),
        text_at(row, "response_B"),
        _side(sides, row["label"]),
    )


def _auto_j(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[int, Side] = {0: "A", 1: "B", 2: "tie"}
    return (
        text_at(row, "prompt"),
        text_at(row, "response 1"),
        text_at(row, "response 2"),
        _side(sides, row["label"]),
    )


def _mt_bench(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[str, Side] = {"model_a": "A", "model_b": "B"}
    turns_a, turns_b = row["conversation_a"], row["conversation_b"]
    for name, turns in (("conversation_a", turns_a), ("conversation_b", turns_b)):
        if not isinstance(turns, list) or not turns:
            raise ValueError(f'the value of "{name}" is not a list of turns')
    prompts = [text_at(turn, "content") for turn in turns_a if value_at(turn, "role") == "user"]
    last_a, last_b = text_at(turns_a[-1], "content"), text_at(turns_b[-1], "content")
    return "\n\n".join(prompts), last_a, last_b, sides.get(str(row["winner"]), "tie")


def _plain(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[str, Side] = {"A": "A", "B": "B", "tie": "tie"}
    return text_at(row, "prompt"), text_at(row, "a"), text_at(row, "b"), _side(sides, row["label"])


_READERS: tuple[tuple[set[str], Callable[[GoldRow], tuple[str, str, str, Side]]], ...] = (
    ({"input", "output_1", "output_2", "label"}, _llmbar),
    ({"instruction", "response1", "response2", "annotator1"}, _pandalm),
    ({"question", "response_A", "response_B", "label"}, _judgebench),
    ({"prompt", "response 1", "response 2", "label"}, _auto_j),
    ({"conversation_a", "conversation_b", "winner"}, _mt_bench),
    ({"prompt", "a", "b", "label"}, _plain),
)
