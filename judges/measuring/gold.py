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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.json_lines import read_json_lines
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


def gold_files(path: Path) -> list[Path]:
    """Return the gold files at a path. Raises `UserError` if there are none."""
    if path.is_file():
        return [path]
    files = sorted(f for f in path.rglob("*.json*") if f.name != "result.json")
    if not files:
        raise UserError("--gold", path, "there are no gold files at this path.", _FORMATS)
    return files


def load_gold(path: Path) -> list[GoldSet]:
    """Return one gold set per file at a path. Raises `UserError` for a file that cannot be read."""
    files = gold_files(path)
    return [_load_file(file, path if path.is_dir() else path.parent) for file in files]


def _load_file(file: Path, root: Path) -> GoldSet:
    name = str((file.parent if file.stem == "dataset" else file.with_suffix("")).relative_to(root))
    pairs = []
    for number, row in enumerate(_rows(file), start=1):
        try:
            prompt, a, b, truth = _reader(row)(row)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(
                "--gold", f"{file}, item {number}", f"it cannot be read ({error!r}).", _FORMATS
            ) from None
        pairs.append(Pair(content_key(prompt, a, b), prompt, a, b, truth))
    if not pairs:
        raise UserError("--gold", file, "the file has no items.", _FORMATS)
    return GoldSet(f"{root.name}/{name}" if name != "." else root.name, tuple(pairs))


def _rows(file: Path) -> Iterator[GoldRow]:
    if file.suffix == ".jsonl":
        yield from (line.value for line in read_json_lines(file, "--gold", _FORMATS))
        return
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError("--gold", file, f"it cannot be read ({error}).", _FORMATS) from None
    yield from value if isinstance(value, list) else [value]


def _reader(row: GoldRow) -> Callable[[GoldRow], tuple[str, str, str, Side]]:
    if not isinstance(row, dict):
        raise TypeError("not an object")
    for keys, reader in _READERS:
        if keys <= row.keys():
            return reader
    raise KeyError(f"keys {sorted(row)[:8]}")


def _llmbar(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[int, Side] = {1: "A", 2: "B"}
    return str(row["input"]), str(row["output_1"]), str(row["output_2"]), sides[int(row["label"])]


def _pandalm(row: GoldRow) -> tuple[str, str, str, Side]:
    votes = Counter(int(v) for k, v in row.items() if k.startswith("annotator"))
    (winner, most), *others = votes.most_common()
    if others and others[0][1] == most:
        winner = 0  # no majority counts as a tie
    sides: dict[int, Side] = {0: "tie", 1: "A", 2: "B"}
    prompt = "\n\n".join(
        part for part in (str(row["instruction"]), str(row.get("input", ""))) if part
    )
    return prompt, str(row["response1"]), str(row["response2"]), sides[winner]


def _judgebench(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[str, Side] = {"A>B": "A", "B>A": "B", "A=B": "tie"}
    return str(row["question"]), str(row["response_A"]), str(row["response_B"]), sides[row["label"]]


def _auto_j(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[int, Side] = {0: "A", 1: "B", 2: "tie"}
    return (
        str(row["prompt"]),
        str(row["response 1"]),
        str(row["response 2"]),
        sides[int(row["label"])],
    )


def _mt_bench(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[str, Side] = {"model_a": "A", "model_b": "B"}
    turns_a, turns_b = row["conversation_a"], row["conversation_b"]
    prompts = [str(turn["content"]) for turn in turns_a if turn["role"] == "user"]
    last_a, last_b = str(turns_a[-1]["content"]), str(turns_b[-1]["content"])
    return "\n\n".join(prompts), last_a, last_b, sides.get(str(row["winner"]), "tie")


def _plain(row: GoldRow) -> tuple[str, str, str, Side]:
    sides: dict[str, Side] = {"A": "A", "B": "B", "tie": "tie"}
    return str(row["prompt"]), str(row["a"]), str(row["b"]), sides[row["label"]]


_READERS: tuple[tuple[set[str], Callable[[GoldRow], tuple[str, str, str, Side]]], ...] = (
    ({"input", "output_1", "output_2", "label"}, _llmbar),
    ({"instruction", "response1", "response2", "annotator1"}, _pandalm),
    ({"question", "response_A", "response_B", "label"}, _judgebench),
    ({"prompt", "response 1", "response 2", "label"}, _auto_j),
    ({"conversation_a", "conversation_b", "winner"}, _mt_bench),
    ({"prompt", "a", "b", "label"}, _plain),
)
