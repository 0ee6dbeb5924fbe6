"""Does the control find out bad labelers? `python -m benchmarks.bad_labelers DIR`

The whole loop with SmolLM2-135M on the built-in site, three generations, passages picked by labels
and a control in each. 60% of the training documents are junk: shuffled words, boilerplate and lists
of spam words (`benchmarks.worth`; near-copies of pages are left out, since they teach as much as
pages). The labels of passages are replaced before training: by the inverted truth (high for junk)
and by coin tosses. The gate scores 39 documents at once, so that the control's test gets as many in
each generation. The table has that test, what was promoted, and how well it predicts the sealed
documents.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.results import append
from benchmarks.worth import JUNK, add_junk
from infra.cluster.connection import Cluster, connect
from infra.records import unit_hash
from infra.store import Store
from loop.recipe.recipe import Recipe, load_recipe
from loop.record.input_checks import check_inputs
from loop.record.locations import DATABASE
from loop.record.run_folder import open_run
from loop.stages.crawl import crawl
from loop.stages.decide import decide
from loop.stages.label import label
from loop.stages.train import train

GENERATIONS = 3
LABELERS = {"inverted": (0.5, 0.0), "coin tosses": (0.0, 0.0)}
"""What a labeler adds to the label, a random number up to 0.5, of junk and of a page."""


def benchmark_recipe() -> Recipe:
    """The quickstart's model and site, with passages as the only data, and no report or veto."""
    overrides = [
        f"generations={GENERATIONS}",
        "crawl.gate_share=0.45",
        "crawl.sealed_share=0.1",
        "crawl.development_share=0",
        "budget.pages=100",
        "budget.label_tokens=20000",
        "budget.train_tokens=4000",
        "budget.prompts=0",
        "budget.instructions=0",
        'judge.kind="scripted"',
        'judge.selection.by="labels"',
        "judge.selection.max_domain_share=1.0",
        "judge.selection.temperature=0.05",
        'gate.level="discovery"',
        "gate.chunk_documents=39",
        "gate.veto_texts=0",
        "gate.veto_prompts=0",
        'train.steps=["pretrain"]',
        "train.pretrain.learning_rate=2e-4",
    ]
    return load_recipe("quickstart", overrides)


def run_loop(cluster: Cluster, recipe: Recipe, folder: Path, labeler: str) -> None:
    """The loop of `loop/run.py`, with other labels."""
    check_inputs(recipe, str(folder))
    for generation in range(1, GENERATIONS + 1):
        with open_run(recipe, str(folder)) as run:
            crawl(cluster, run, generation)
            add_junk(run.store, recipe, generation, num_kinds=3)
            label(cluster, run, generation)
        replace_labels(folder, generation, labeler)
        with open_run(recipe, str(folder)) as run:
            decide(cluster, run, generation, train(cluster, run, generation))


def replace_labels(folder: Path, generation: int, labeler: str) -> None:
    """Give every passage of a generation another label."""
    store, (junk, page) = Store(str(folder / DATABASE)), LABELERS[labeler]
    urls = {d.document_id: d.url for d in store.crawl.documents("train")}
    rows = [
        [
            unit_hash("label", s.sample_id) / 2
            + (junk if urls[s.document_id].startswith(JUNK) else page),
            s.sample_id,
        ]
        for s in store.labels.samples(generation, "passage")
    ]
    sql = "UPDATE judgment SET value = ? WHERE subject_id = ?"
    store.database.connection.executemany(sql, rows)
    store.close()


def table(folder: Path, labeler: str) -> list[list[str]]:
    """One line for each generation."""
    store = Store(str(folder / DATABASE))
    tests = {test.generation: test for test in store.gate.picking_tests()}
    sealed = {
        e.generation: e
        for e in store.gate.evaluations()
        if e.suite == "sealed_exam" and e.metric == "bits_per_byte_sealed"
    }
    lines = []
    for generation in range(1, GENERATIONS + 1):
        decision = store.gate.decision(generation)
        assert decision is not None
        test, exam = tests.get(generation), sealed.get(generation)
        lines.append(
            [
                labeler,
                str(generation),
                f"{test.mean_gain:+.4f} ± {test.standard_error:.4f}" if test else "",
                str(test.num_units) if test else "",
                test.verdict if test else "",
                f"{decision.outcome} {decision.arm}",
                f"{exam.value:.3f} ± {exam.standard_error:.3f}" if exam else "",
            ]
        )
    store.close()
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the runs are kept; a killed one goes on")
    folder, recipe, lines = parser.parse_args().folder, benchmark_recipe(), list[list[str]]()
    with connect(recipe.cluster) as cluster:
        for labeler in LABELERS:
            own = folder / labeler.replace(" ", "-")
            run_loop(cluster, recipe, own, labeler)
            lines += table(own, labeler)
    columns = ["labels", "generation", "picked over random (bits per byte)", "documents"]
    columns += ["verdict", "decision", "promoted, on sealed documents (bits per byte)"]
    append("Bad labelers in the whole loop, SmolLM2-135M", columns, lines)


if __name__ == "__main__":
    main()
