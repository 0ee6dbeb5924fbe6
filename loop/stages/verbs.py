"""The four verbs of the loop. Each asks what is already done, hands chunks to workers, and commits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

from infra.cluster.connection import Cluster, actors
from infra.console import note, warn
from infra.errors import UserError
from infra.records import Checkpoint, Decision, now
from infra.store.actor import remote_proxy
from judges.labelers.actors import ChampionWorker, JudgeWorker, RemoteJudge, VerifierWorker
from judges.making.context import Champion, Encoder, LabelBudget, Verifier
from judges.making.labeling import Labeling
from loop.data.curriculum import summary
from loop.data.held_out import HeldOutTexts
from loop.data.policy import breaches, measure
from loop.record.model_folders import (
    environment,
    file_model,
    link_champion,
    write_model_card,
    write_provenance,
)
from loop.record.run_folder import Run, Summary
from loop.stages.crawl import crawl_generation
from loop.stages.decide import attempt, examine
from loop.stages.train import Places, curriculum_of, rewarders, tasks_of, usable_steps
from trainers.launch import run_training, with_workers


def crawl(cluster: Cluster, run: Run, generation: int) -> Summary:
    """New pages up to the budget and earlier ones that are due again; then the choice of what is
    kept.
    """

    def work() -> Summary:
        num_actors = min(run.recipe.crawl.num_actors, max(1, cluster.num_cpus))
        counts = crawl_generation(run, generation, num_actors)
        if sum(run.store.pool_counts().values()) == 0:
            raise _nothing_crawled(run)
        return counts

    return run.stage(generation, "crawl", work)


def _nothing_crawled(run: Run) -> UserError:
    """Why a crawl brought no document at all, by what happened to its first URL."""
    config = run.recipe.crawl
    key, places = ("crawl.seeds", config.seeds) if config.seeds else ("crawl.paths", config.paths)
    reasons = run.store.frontier_reasons(1)
    url, state, reason = (
        reasons[0] if reasons else (places[0] if places else config.source, "done", "")
    )
    if state == "forbidden":
        return UserError(
            key, url, "robots.txt forbids this crawler to read it.", "Choose another site."
        )
    if state == "failed":
        problem = f"the site could not be read ({reason})."
        return UserError(
            key, url, problem, "Check the address and the network, then use a new --run."
        )
    drops = (
        ", ".join(f"{why} {count}" for why, count in run.store.drop_counts(1)[:4])
        or "no page was there"
    )
    problem = f"the crawl kept no document ({drops})."
    return UserError(
        key, url, problem, "Choose another site, or set crawl.policy or crawl.min_document_chars."
    )


def label(cluster: Cluster, run: Run, generation: int) -> Summary:
    """Measure the labeler, judge passages, execute examples, and rank the champion's completions."""

    def work() -> Summary:
        config, threads, older, anchor = run.recipe, cluster.threads(), _older(run), run.anchor
        with (
            actors(
                JudgeWorker,
                _judge_count(cluster),
                config.judge,
                config.seed,
                threads,
                **_share(cluster),
            ) as judges,
            actors(VerifierWorker, 1, num_cpus=0) as verifiers,
            actors(ChampionWorker, 1, run.store.champion().path, threads, num_cpus=0) as champions,
            actors(
                ChampionWorker, len(older), older[0].path if older else "", threads, num_cpus=0
            ) as elders,
            actors(ChampionWorker, 1, anchor.path, threads, num_cpus=0) as encoders,
        ):
            completing = [
                cast(Champion, remote_proxy(actor, digest=model.digest))
                for actor, model in zip(
                    [*champions, *elders], [run.store.champion(), *older], strict=True
                )
            ]
            labeling = _labeling(run, generation, judges, verifiers[0], completing, encoders[0])
            labeling.run()
        counts = run.store.sample_counts(generation)
        for rubric, labeler, status, count, mean in run.store.label_counts(generation):
            value = "" if mean is None else f", mean value {mean:.2f}"
            note(f"{rubric} by {labeler.split('@')[0]}: {status} {count}{value}")
        return counts

    return run.stage(generation, "label", work)


def _judge_count(cluster: Cluster) -> int:
    return max(1, cluster.num_gpus)


def _share(cluster: Cluster) -> dict[str, float]:
    """What a judge asks of the cluster: most of a GPU, leaving some for the champion, or a CPU."""
    return {"num_cpus": 1, "num_gpus": 0.7} if cluster.num_gpus else {"num_cpus": 1, "num_gpus": 0}


def _older(run: Run) -> list[Checkpoint]:
    """The model that the champion was trained from, whose completions may be rejected; none for the
    anchor.
    """
    parent = run.store.checkpoint_of(run.store.champion().parent)
    return [parent] if parent is not None and Path(parent.path).exists() else []


def _labeling(
    run: Run,
    generation: int,
    judges: list[Any],
    verifier: Any,
    completing: list[Champion],
    encoder: Any,
) -> Labeling:
    """`completing` is the champion, and the model before it where there is one."""
    budgets = run.budgets
    return Labeling(
        store=run.store,
        config=run.recipe.judge,
        budget=LabelBudget(budgets["label_tokens"], budgets["prompts"], budgets["instructions"]),
        generation=generation,
        seed=run.recipe.seed,
        judge=RemoteJudge(judges),
        verifier=cast(Verifier, remote_proxy(verifier)),
        champion=completing[0],
        older=completing[1] if len(completing) > 1 else None,
        encoder=cast(Encoder, remote_proxy(encoder, digest=run.anchor.digest)),
        held_out=HeldOutTexts(run.store, generation),
    )


def train(cluster: Cluster, run: Run, generation: int) -> Checkpoint | None:
    """Train the champion on what was labeled: one worker group, all training steps in turn.

    None where the data policy forbids it; the decision that says so is recorded.
    """

    def work() -> Summary:
        curriculum = curriculum_of(run.store, run.recipe, generation)
        note(f"training on {summary(curriculum)}")
        facts = measure(
            run.store, run.recipe.data, generation, curriculum, run.recipe.judge.max_held_out_share
        )
        run.store.add_data_facts(facts)
        if vetoes := breaches(facts):
            return _not_trained(run, generation, vetoes)
        run.store.add_manifest(generation, curriculum.items())
        recipe = run.recipe.model_copy(update={"train": with_workers(run.recipe.train, cluster)})
        kinds = usable_steps(run.store, recipe, generation, curriculum)
        champion, target = run.store.champion().path, run.model_folder(generation)
        places = Places(champion, run.anchor.path, str(target), run.work_folder(generation))
        tasks = tasks_of(recipe, generation, curriculum, kinds, places)
        if not all(Path(task.target).exists() for task in tasks):
            name = f"generation-{generation:03d}"
            with rewarders(cluster, run.store, run.recipe) as sources:
                run_training(tasks, recipe.train, cluster, run.folder / "ray_train", name, sources)
        steps = [step for task in tasks for step in task.metrics()]
        run.store.add_train_steps(steps)
        run.store.note_run_fact(f"environment/{generation}", json.dumps(environment()))
        folder, digest = file_model(run, generation)
        checkpoint = Checkpoint(
            digest=digest,
            path=str(folder),
            parent=run.store.champion().digest,
            generation=generation,
            manifest_digest=curriculum.digest,
            recipe_digest=run.recipe.digest,
            seed=run.recipe.seed,
            created_at=now(),
        )
        run.store.add_checkpoint(checkpoint)
        shutil.rmtree(run.folder / "ray_train", ignore_errors=True)
        for task in tasks:
            if task.target != str(target):
                shutil.rmtree(task.target, ignore_errors=True)
        last = {step.kind: step.loss for step in steps}
        tokens = sum(step.num_tokens for step in steps)
        return {"steps": len(steps), "tokens": tokens} | {
            f"{k} loss": f"{v:.4f}" for k, v in last.items()
        }

    run.stage(generation, "train", work)
    return run.store.checkpoint(generation)


def _not_trained(run: Run, generation: int, vetoes: list[str]) -> Summary:
    """Record the end of a generation whose data break the policy: no attempt is made, and the
    champion stays.
    """
    reason = "not trained: " + "; ".join(vetoes)
    warn(f"generation {generation} is {reason}")
    run.store.add_decision(
        Decision(
            attempt=0,
            generation=generation,
            outcome="abort",
            reason=reason,
            candidate="",
            champion=run.store.champion().digest,
            alpha=0.0,
            log_evidence=0.0,
            log_threshold=0.0,
            num_documents=0,
            mean_gain=0.0,
            is_weak=False,
            decided_at=now(),
        )
    )
    return {"steps": 0, "reason": reason}


def decide(cluster: Cluster, run: Run, generation: int, candidate: Checkpoint | None) -> Decision:
    """Evaluate candidate against champion on documents nobody has seen, and promote it only on
    evidence.
    """

    def work() -> Summary:
        if candidate is None:
            stopped = run.store.decision(generation)
            assert stopped is not None, "what is not trained is decided"
            return {"outcome": stopped.outcome, "reason": stopped.reason}
        decision = run.store.decision(generation) or attempt(cluster, run, generation, candidate)
        if decision.outcome == "promote":
            examine(cluster, run, candidate, decision)
        write_model_card(run, candidate, decision)
        write_provenance(run.store, candidate, decision)
        link_champion(run.folder, run.store.champion())
        return {
            "outcome": decision.outcome,
            "reason": decision.reason,
            "documents": decision.num_documents,
            "gain in bits per byte": f"{decision.mean_gain:.4f}",
            "evidence": f"{decision.log_evidence:.2f} of {decision.log_threshold:.2f}",
        }

    run.stage(generation, "gate", work)
    decision = run.store.decision(generation)
    assert decision is not None, "a finished gate stage has recorded its decision"
    return decision
