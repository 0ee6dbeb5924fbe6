"""The verb label: the labeler is measured, then scores, demonstrates and ranks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from infra.cluster.connection import Cluster, actors
from infra.cluster.proxy import remote_proxy
from infra.console import note, warn
from infra.records import Checkpoint, content_key
from judges.judgment.protocol import Judge
from judges.labelers.actors import ChampionWorker, VerifierWorker
from judges.making.context import Champion, LabelBudget, Verifier
from judges.making.labeling import Labeling
from loop.data.held_out import HeldOutNgrams
from loop.data.questions import HeldOutAsker
from loop.gate.config import ANSWERS
from loop.gate.picking_worth import picking_pays
from loop.gate.suites.items.held_out_questions import question_items
from loop.recipe.gate_needs import least_units
from loop.record.run_folder import Run, StageSummary
from loop.stages.judges import remote_judge
from loop.training.arms import judges_passages
from loop.training.development import TUNED_ARM, remove_tuned, tuned_champion


def label(cluster: Cluster, run: Run, generation: int) -> StageSummary:
    """Measure the labeler, judge passages, execute examples, rank the champion's completions."""

    def work() -> StageSummary:
        if run.recipe.aim.kind == "answers":
            _write_questions(cluster, run, generation)
        tuned = tuned_champion(cluster, run, generation) if _picks(run, generation) else ""
        _run_labeling(cluster, run, generation, tuned)
        remove_tuned(run, generation)
        _note_judgments(run, generation)
        return run.store.labels.sample_counts(generation)

    return run.stage(generation, "label", work)


def _write_questions(cluster: Cluster, run: Run, generation: int) -> None:
    """Make the questions about held-out pages that measure the aim; the labeler has no part."""
    aim, recipe = run.recipe.aim.answers, run.recipe
    with ExitStack() as stack:
        verifiers = stack.enter_context(actors(VerifierWorker, 1, num_cpus=0))
        asker = None
        if aim.passages_per_page:
            started = remote_judge(cluster, run.store, aim.asker.judge(), recipe.seed)
            asker = stack.enter_context(started)
        HeldOutAsker(
            store=run.store,
            verifier=cast(Verifier, remote_proxy(verifiers[0])),
            asker=asker,
            passages_per_page=aim.passages_per_page,
            passage_chars=recipe.judge.passage_chars,
            generation=generation,
            seed=recipe.seed,
        ).run()
    if problem := few_questions(run):
        warn(problem)


def few_questions(run: Run) -> str:
    """Why the next attempt cannot show a gain, whatever it is; empty if there are enough pages.

    Each page with questions is one unit, and is used in one attempt.
    """
    store, attempts = run.store, {row.attempt for row in run.store.gate.attempts()}
    drawn = [one for number in attempts for one in store.gate.drawn_items(number, ANSWERS)]
    used = {unit for _, _, unit in drawn}
    items = question_items(store, run.recipe.aim, "gate", run.salt)
    pages = {item.unit for item in items.values()} - used
    needed = least_units(run.recipe, max(attempts, default=0) + 1)
    if needed is None or len(pages) >= needed:
        return ""
    return (
        f"{len(pages)} pages with questions are left for the next attempt, and it needs at least"
        f" {needed} to show a gain of {run.recipe.gate.aim_bits:g}: raise budget.pages,"
        " crawl.gate_share or aim.answers.passages_per_page"
    )


def _picks(run: Run, generation: int) -> bool:
    """Whether a candidate of the generation is trained on picked passages."""
    return judges_passages(run.recipe, picking_pays(run.store, generation))


def _run_labeling(cluster: Cluster, run: Run, generation: int, tuned: str) -> None:
    """`tuned` is the folder of the tuned champion; empty if there is none."""
    config, seed, threads = run.recipe.judge, run.recipe.seed, cluster.threads()
    champion, parent = run.store.registry.champion(), _champion_parent(run)
    previous = [parent] if parent else []
    with (
        remote_judge(cluster, run.store, config, seed, cluster.num_gpus) as judge,
        actors(VerifierWorker, 1, num_cpus=0) as verifiers,
        actors(ChampionWorker, 1, champion.path, threads, num_cpus=0) as champions,
        actors(
            ChampionWorker, len(previous), parent.path if parent else "", threads, num_cpus=0
        ) as previous_champions,
        actors(ChampionWorker, 1 if tuned else 0, tuned, threads, num_cpus=0) as tuned_champions,
    ):
        completing = [
            cast(Champion, remote_proxy(actor, digest=model.digest))
            for actor, model in zip(
                [*champions, *previous_champions], [champion, *previous], strict=True
            )
        ]
        digest = content_key(champion.digest, TUNED_ARM, generation)
        valuing = [cast(Champion, remote_proxy(one, digest=digest)) for one in tuned_champions]
        _labeling(run, generation, judge, verifiers[0], completing, valuing).run()


def _note_judgments(run: Run, generation: int) -> None:
    for rubric, labeler, status, count, mean in run.store.labels.label_counts(generation):
        value = "" if mean is None else f", mean value {mean:.2f}"
        note(f"{rubric} by {labeler.split('@')[0]}: {status} {count}{value}")


def _champion_parent(run: Run) -> Checkpoint | None:
    """The model that the champion was trained from, if its folder is still there.

    Its completions are ranked beside the champion's. The anchor has no parent.
    """
    parent = run.store.training.checkpoint_by_digest(run.store.registry.champion().parent)
    return parent if parent is not None and Path(parent.path).exists() else None


def _labeling(
    run: Run,
    generation: int,
    judge: Judge,
    verifier: Any,
    completing: list[Champion],
    valuing: list[Champion],
) -> Labeling:
    """`completing` holds the champion and, if there is one, the champion before it; `valuing` the
    tuned champion, if there is one.
    """
    budgets = run.budgets
    return Labeling(
        store=run.store,
        config=run.recipe.judge,
        budget=LabelBudget(budgets["label_tokens"], budgets["prompts"], budgets["instructions"]),
        generation=generation,
        seed=run.recipe.seed,
        judge=judge,
        verifier=cast(Verifier, remote_proxy(verifier)),
        champion=completing[0],
        older=completing[1] if len(completing) > 1 else None,
        tuned=valuing[0] if valuing else None,
        held_out=HeldOutNgrams(run.store, generation),
        judges_passages=_picks(run, generation),
    )
