"""Shares of a generation's training data, known in advance, and what happens where one leaves its
bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from crawlers.config import CrawlConfig
from crawlers.quality.fingerprints import sampled_grams
from crawlers.quality.words import plain_hashes
from infra.cluster.connection import Cluster
from infra.models.text_size import estimated_tokens
from infra.records import Checkpoint, DataFact, Document, Judgment, Preference, Sample, now
from infra.store import Store
from infra.store.tables.crawl import CrawlRows
from judges.rubrics import load_rubric
from loop.data.config import DataConfig
from loop.data.curriculum import Curriculum
from loop.data.policy import DESCRIPTIONS, KEYS, breaches, earlier_samples, measure_data
from loop.recipe.recipe import Recipe, load_recipe
from loop.record.run_folder import Run
from loop.stages.decide import decide
from loop.stages.train import train
from loop.training.arms import Arm
from loop.training.plan import arm_curriculum
from tests.infra.support.store_rows import add_documents, candidate, page_row

TEXT = "x" * 400


def sample(name: str, origin: str = "web", generation: int = 2, document: str = "d0") -> Sample:
    return Sample(name, document, "passage", "", TEXT, origin, generation, 0, 4)


def preference(name: str, origin: str, pair_index: int = 0) -> Preference:
    return Preference(
        name, "s", "p", TEXT, "bad", origin, "judge", 0.9, 1.0, 2, pair_index=pair_index
    )


def facts(
    store: Store, curriculum: Curriculum, config: DataConfig | None = None
) -> dict[str, float]:
    return {fact.name: fact.value for fact in measured(store, config or DataConfig(), curriculum)}


def measured(store: Store, config: DataConfig, curriculum: Curriculum) -> list[DataFact]:
    return measure_data(store, config, 2, curriculum, max_held_out=0.2)


def test_real_and_made_text_are_counted_by_what_is_trained(store: Store) -> None:
    curriculum = Curriculum(
        [sample("a"), sample("b", "file"), sample("c", "model")],
        [preference("p", "model"), preference("q", "web"), preference("r", "model", pair_index=1)],
    )
    values = facts(store, curriculum)
    assert values["real_share"] == pytest.approx(3 / 5), (
        "web, file and one favoured text of the web; pair_index 1 is another pair"
    )
    assert values["made_share"] == pytest.approx(2 / 5)


def test_shares_of_domains_bands_answers_and_documents(store: Store) -> None:
    pages = [page_row(f"p{i}", f"https://d{i}.org/", f"d{i}.org", generation=2) for i in range(2)]
    documents = [
        Document(
            f"d{i}",
            f"p{i % 2}",
            f"https://d{i % 2}.org/",
            "",
            "t",
            "en",
            "x",
            "train",
            2,
            status="kept" if i < 3 else "filtered",
        )
        for i in range(4)
    ]
    add_documents(store, documents, pages)
    samples = [sample("a", document="d0"), sample("b", document="d1"), sample("c", document="d2")]
    store.labels.add_samples([*samples, sample("e"), sample("f"), sample("g")])
    store.labelers.add_surprise(
        2, "m", [("a", 1.0), ("b", 2.0), ("c", 3.0), ("e", 1.1), ("f", 2.1), ("g", 3.1)]
    )
    store.labels.add_judgments(
        [
            Judgment(f"j{i}", "a", "judge", "r", "choice", status, "", 0.5, "", 1, 2, mode=mode)
            for i, (status, mode) in enumerate(
                [
                    ("scored", "pointwise"),
                    ("scored", "pointwise"),
                    ("unscored", "pointwise"),
                    ("unscored", "verify"),
                ]
            )
        ]
    )
    values = facts(store, Curriculum(samples, []))
    assert values["largest_domain_share"] == pytest.approx(2 / 3), "d0 and d2 are of d0.org"
    assert [values[f"band_{band}_share"] for band in range(3)] == pytest.approx([1 / 3] * 3)
    assert values["parse_rate"] == pytest.approx(2 / 3), (
        "a verifier that has nothing to verify is no bad answer"
    )
    assert values["keep_rate"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("config", "key", "words"),
    [
        (
            DataConfig(min_real_share=0.9, max_made_share=1.0),
            "data.min_real_share",
            "the share of real text is 0.500",
        ),
        (DataConfig(max_made_share=0.4), "data.max_made_share", "above 0.4"),
    ],
)
def test_a_breach_names_key_value_and_remedy(
    store: Store, config: DataConfig, key: str, words: str
) -> None:
    curriculum = Curriculum([sample("a"), sample("b", "model")], [])
    (breach,) = breaches(measured(store, config, curriculum))
    assert key in breach
    assert words in breach


def test_within_the_bounds_nothing_happens(store: Store) -> None:
    assert (
        breaches(measured(store, DataConfig(), Curriculum([sample("a"), sample("b", "model")], [])))
        == []
    )


def test_every_number_has_its_keys_and_its_words() -> None:
    assert KEYS.keys() == DESCRIPTIONS.keys()
    for keys in KEYS.values():
        for key in keys:
            assert hasattr(DataConfig(), key)


def with_history(store: Store) -> None:
    """Generation 1 was trained on twenty passages; there is one more, on which it was not."""
    add_documents(store, [Document("d0", "p", "u", "", "t", "en", "x", "train", 1)])
    store.labels.add_samples(
        [sample(f"old{i}", generation=1) for i in range(20)] + [sample("never", generation=1)]
    )
    store.training.add_manifest(1, "picked", [("passage", f"old{i}") for i in range(20)])


def everything_earlier(store: Store, generation: int, budget_tokens: int = 500) -> list[Sample]:
    return earlier_samples(store, generation, budget_tokens, 0, 0.2, lambda _: True)


def test_what_was_learned_before_is_learned_again_up_to_its_share(store: Store) -> None:
    with_history(store)
    again = everything_earlier(store, 2)
    assert again
    assert all(s.sample_id.startswith("old") for s in again)
    assert again == everything_earlier(store, 2)
    assert again != everything_earlier(store, 3), "another generation learns others again"
    assert everything_earlier(store, 1) == []
    assert earlier_samples(store, 2, 500, 0, 0.2, lambda s: bool(s.prompt)) == [], "none is read"
    new = [sample(f"new{i}") for i in range(15)]
    values = facts(store, Curriculum([*new, *again], []))
    assert values["earlier_share"] == pytest.approx(len(again) / (15 + len(again)))


def test_the_recipe_says_how_much_of_the_past_is_kept(store: Store) -> None:
    with_history(store)
    store.labels.add_samples([sample(f"new{i}") for i in range(30)])
    store.labels.add_judgments(
        [
            Judgment(f"j{i}", f"new{i}", "judge", "r", "choice", "scored", "", i / 30, "", 1, 2)
            for i in range(30)
        ]
    )
    recipe = load_recipe("quickstart", ["budget.train_tokens=1000", "data.earlier_share=0.5"])
    rubric = recipe.judge.passage_rubrics[0]
    store.database.connection.execute("UPDATE judgment SET rubric = ?", [load_rubric(rubric).id])
    kept = picked_curriculum(store, recipe, 2)
    old = [s for s in kept.samples if s.generation == 1]
    assert 0 < len(old) <= 5
    costs = [estimated_tokens(s.completion) for s in kept.samples]
    assert sum(costs) <= 1000, "the budget holds for old and new together"
    none = recipe.model_copy(update={"data": DataConfig(earlier_share=0.0)})
    assert all(s.generation == 2 for s in picked_curriculum(store, none, 2).samples)


def test_a_canary_in_any_text_stops_the_generation(store: Store) -> None:
    config = DataConfig(canaries=["CANARY-1234"])
    assert breaches(measured(store, config, Curriculum([sample("a")], []))) == []
    for curriculum in (
        Curriculum([replace(sample("a"), completion="x CANARY-1234 y")], []),
        Curriculum([sample("a")], [replace(preference("p", "web"), rejected="CANARY-1234")]),
        Curriculum([sample("a")], [], [replace(sample("q"), prompt="CANARY-1234")]),
    ):
        (breach,) = breaches(measured(store, config, curriculum))
        assert "data.canaries" in breach


def test_held_out_text_among_what_is_learned_is_a_veto(store: Store) -> None:
    secret = " ".join(f"secret{i}" for i in range(60))
    add_documents(store, [Document("s", "page", "u", "t", secret, "en", "x", "gate", 1)])
    grams = [("s", size, hashes) for size, hashes in sampled_grams(plain_hashes(secret)).items()]
    store.crawl.commit(CrawlRows(1, CrawlConfig().limits(1), grams=grams))
    clean = [sample(f"c{i}") for i in range(3)]
    assert breaches(measured(store, DataConfig(), Curriculum(clean, []))) == []
    copied = replace(sample("a"), completion=secret)
    (breach,) = breaches(measured(store, DataConfig(), Curriculum([*clean, copied], [])))
    assert "the share of text that is held out for the gate is 0." in breach
    assert "above 0.05 (data.max_held_out_share)" in breach
    asked = replace(sample("q"), kind="prompt", prompt=secret, completion="")
    assert len(breaches(measured(store, DataConfig(), Curriculum(clean, [], [asked])))) == 1, (
        "a prompt is text too"
    )


def test_what_was_learned_and_is_held_out_since_is_not_learned_again(store: Store) -> None:
    secret = " ".join(f"secret{i}" for i in range(60))
    with_history(store)
    store.labels.add_samples([replace(sample("spoiled", generation=1), completion=secret)])
    store.training.add_manifest(1, "picked", [("passage", "spoiled")])
    add_documents(store, [Document("s", "page", "u", "t", secret, "en", "x", "gate", 3)])
    grams = [("s", size, hashes) for size, hashes in sampled_grams(plain_hashes(secret)).items()]
    store.crawl.commit(CrawlRows(3, CrawlConfig().limits(1), grams=grams))
    again = {g: {s.sample_id for s in everything_earlier(store, g, 10**6)} for g in (2, 3)}
    assert again[2] - again[3] == {"spoiled"}, (
        "generation 2 could not know of it, and is trained again as it was"
    )
    assert len(again[3]) == 20


def picked_curriculum(store: Store, recipe: Recipe, generation: int) -> Curriculum:
    return arm_curriculum(store, Arm("picked", recipe, False), generation, estimated_tokens)


def labeled(store: Store, origin: str) -> None:
    """Thirty judged passages of generation 1, and a preference."""
    add_documents(store, [Document("d0", "p", "u", "", "t", "en", "x", "train", 1)])
    store.labels.add_samples([sample(f"new{i}", origin, generation=1) for i in range(30)])
    rubric = load_rubric(load_recipe("quickstart", []).judge.passage_rubrics[0]).id
    store.labels.add_judgments(
        [
            Judgment(f"j{i}", f"new{i}", "judge", rubric, "choice", "scored", "", i / 30, "", 1, 1)
            for i in range(30)
        ]
    )
    store.labels.add_preferences([replace(preference("p", "model"), generation=1)])


def test_a_breach_ends_the_generation_and_not_the_run(
    store: Store, tmp_path: Path, tiny_folder: Path
) -> None:
    labeled(store, "model")
    store.training.add_checkpoint(Checkpoint("anchor", str(tiny_folder), "", 0, "", "r", 0, now()))
    run = Run(tmp_path, load_recipe("quickstart", []), store, "salt", 1)
    cluster = Cluster(1, 0)
    assert train(cluster, run, 1) == []
    decision = decide(cluster, run, 1, [])
    assert decision.outcome == "abort"
    assert "the share of real text is 0.000, below 0.5 (data.min_real_share)" in decision.reason
    assert (
        "the share of text made by models is 1.000, above 0.5 (data.max_made_share)"
        in decision.reason
    )
    assert store.registry.champion().generation == 0
    assert store.training.manifest(1, "picked") == [], "nothing was learned"
    assert store.gate.register_attempt([candidate("c", 2)], "anchor") == 1, (
        "it was no attempt, and costs no level"
    )
    assert decide(cluster, run, 1, []) == decision, "and is not decided twice"


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        (["sft"], {"passage"}),
        (["dpo"], {"preference"}),
        (["sft", "dpo"], {"passage", "preference"}),
        (["grpo"], {"prompt"}),
    ],
)
def test_only_what_a_step_reads_is_counted(store: Store, steps: list[str], kinds: set[str]) -> None:
    labeled(store, "web")
    store.labels.add_samples(
        [
            replace(
                sample("q", generation=1), kind="prompt", prompt="why?", completion="", check="math"
            )
        ]
    )
    rewards = ["train.rl.rewards={verifier=1.0}"]
    recipe = load_recipe("quickstart", [f"train.steps={json.dumps(steps)}", *rewards])
    assert {kind for kind, _ in picked_curriculum(store, recipe, 1).items()} == kinds
