"""Stored judgments give the stored aggregates again, and do not when either was changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from infra.models.language_model import LanguageModel
from judges.config import JudgeConfig
from judges.files.replay import ReplayResult, recompute_aggregates
from judges.making.labeling import Labeling
from judges.making.preferences.judged import wins_over_older
from judges.making.preferences.rating import Contest
from tests.judges.making.preferences.test_judged import group
from tests.judges.making.test_labeling import TinyChampion, labeling  # noqa: F401 (a fixture)


def outcome(results: list[ReplayResult]) -> dict[str, int]:
    return {one.kind: len(one.differing) for one in results}


class Older(TinyChampion):
    """Says other things than the champion."""

    def complete(self, instructions, max_new_tokens, temperature, seed):
        return super().complete(instructions, max_new_tokens, temperature, seed + 7)


@pytest.fixture
def labeled(labeling: Labeling, tiny_folder: Path, tmp_path: Path) -> Labeling:  # noqa: F811
    gold = tmp_path / "gold.jsonl"
    pairs = [
        {"prompt": f"q{i}", "a": "yes " * 9, "b": "no " * 9, "label": "AB"[i % 2]}
        for i in range(160)
    ]
    gold.write_text("\n".join(map(json.dumps, pairs)))
    config = labeling.config.model_copy(update={"gold": {"relevance": str(gold)}, "gold_limit": 60})
    done = replace(labeling, config=config, older=Older(LanguageModel(tiny_folder), "older"))
    done.run()
    return done


def test_every_aggregate_comes_out_the_same(labeled: Labeling) -> None:
    store, config = labeled.store, labeled.config
    results = recompute_aggregates(store, config, 0, store.labels.labeled_generations())
    assert all(one.differing == () for one in results), results
    numbers = {one.kind: one.num_stored for one in results}
    assert numbers["datasheets"] == 1
    assert numbers["admissions"] == 4
    assert numbers["probes"] > 10
    assert numbers["preferences of generation 1"] == len(store.labels.preferences(1)) > 0
    (rate,) = store.labelers.win_rates()
    assert (rate.model, rate.other) == ("tiny", "older")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("UPDATE datasheet SET admission_low = 0.99", "datasheets"),
        ("UPDATE probe_result SET lower = 0.1 WHERE half = 'test'", "probes"),
        ("UPDATE admission SET temperature = 9", "admissions"),
        ("UPDATE win_rate SET measured = 0.01", "win rates"),
        ("DELETE FROM judgment WHERE generation = 0 AND rubric = 'coherence'", "probes"),
        ("UPDATE preference SET margin = 9", "preferences of generation 1"),
        (
            "UPDATE judgment SET value = 1 - value WHERE rubric = 'checked_completion'",
            "preferences of generation 1",
        ),
    ],
)
def test_what_was_changed_is_found(labeled: Labeling, change: str, kind: str) -> None:
    labeled.store.database.connection.execute(change)
    num_differing = outcome(recompute_aggregates(labeled.store, labeled.config, 0, [1]))
    assert num_differing[kind] > 0
    assert sum(number > 0 for number in num_differing.values()) == (
        2 if change.startswith("DELETE") else 1
    )


def test_a_labeler_that_fails_on_the_recipes_gold_is_not_admitted(
    labeling: Labeling,  # noqa: F811
    tmp_path: Path,
) -> None:
    gold = tmp_path / "gold.jsonl"
    pairs = [{"prompt": f"q{i}", "a": "yes " * 9, "b": "no", "label": "A"} for i in range(60)]
    gold.write_text("\n".join(map(json.dumps, pairs)))
    config = labeling.config.model_copy(update={"gold": {"relevance": str(gold)}})
    admissions = replace(labeling, config=config).admissions()
    assert not admissions["relevance"].admitted, "always naming A is as good"
    assert "gold" in admissions["relevance"].reason
    assert admissions["coherence"].admitted
    assert JudgeConfig().gold == {}


def test_only_contests_between_the_models_count_as_wins() -> None:
    groups = group(("a1", "a2"), older=("b1",))
    contests = [Contest(0, 1, 1.0), Contest(0, 2, 0.9), Contest(2, 1, 0.9), Contest(1, 2, 0.5)]
    assert wins_over_older(groups, contests) == (1, 2)
