"""Gold pairs, whose better side is known: public benchmarks as files, and files of your own.

The forms are those of `judges.forms.forms`. A gold set is identified by the digest of its content
and split into halves by hash: one half chooses the elicitation method and fits the calibration, the
other one measures. It is never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from infra.console import warn
from infra.errors import UserError
from infra.records import content_key, unit_hash
from judges.forms.forms import read_item
from judges.forms.rows import data_files, file_rows
from judges.judgment.pairs import Pair

GOLD_REMEDY = (
    "Give LLMBar, PandaLM, JudgeBench, Auto-J, MT-bench, RewardBench, UltraFeedback or HelpSteer3"
    " files, or rows with prompt, a, b and label, or with prompt, chosen and rejected."
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
    return data_files(path, key, GOLD_REMEDY)


def load_gold(path: Path, key: str = "judge.gold") -> list[GoldSet]:
    """Return one gold set per file at a path; in a folder, files that cannot be read are named and
    left out.

    Raises `UserError` about `key`, the option or the key of the recipe that names the path, if a
    file that is named cannot be read, or none of a folder.
    """
    if not path.exists():
        raise UserError(key, path, "there are no gold files at this path.", GOLD_REMEDY)
    if not path.is_dir():
        return [_load_file(path, path.parent, key)]
    sets, errors = list[GoldSet](), list[UserError]()
    for file in gold_files(path, key):
        try:
            sets.append(_load_file(file, path, key))
        except UserError as error:
            errors.append(error)
    if not sets:
        raise errors[0]
    for one in errors:
        warn(f"this gold file is left out: {one.value}: {one.problem}")
    return sets


def _load_file(file: Path, root: Path, key: str) -> GoldSet:
    name = str((file.parent if file.stem == "dataset" else file.with_suffix("")).relative_to(root))
    pairs = []
    for row in file_rows(file, key, GOLD_REMEDY):
        pair = read_item(row, "", key, GOLD_REMEDY)
        if not isinstance(pair, Pair) or pair.truth is None:
            problem = "it is no pair whose better side is known."
            raise UserError(key, row.where, problem, GOLD_REMEDY)
        # Not the id of an item to judge: a labeler may judge what it was measured on.
        pairs.append(replace(pair, pair_id=content_key(pair.prompt, pair.a, pair.b)))
    if not pairs:
        raise UserError(key, file, "the file has no items.", GOLD_REMEDY)
    return GoldSet(f"{root.name}/{name}" if name != "." else root.name, tuple(pairs))
