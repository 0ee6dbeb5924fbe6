"""Model folders: named by digest, read-only, each with its provenance and its model card."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from infra.artifacts import atomic_write, folder_digest
from infra.json_lines import without_nan
from infra.records import PICKED, RANDOM, Checkpoint, Decision
from infra.store import Store
from loop.gate.rules import BITS_PER_BYTE
from loop.record.run_folder import Run

PROVENANCE = "ratchet.json"
PACKAGES = (
    "ray",
    "torch",
    "transformers",
    "deepspeed",
    "duckdb",
    "scrapy",
    "numpy",
    "tokenizers",
    "safetensors",
)
NAME_CHARS = 16
REPOSITORY = Path(__file__).resolve().parents[2]

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [ratchet]
---

# {name}, generation {generation}, {drawn}

Made by Ratchet, without human labels, from `{base}`.

| | |
|---|---|
| outcome at the gate | **{outcome}** ({reason}){weak} |
| bits per byte of held-out documents | {bits} |
| gain in the aim ({aim}) | {gain:.4f} over the champion before |
| evidence | log E = {evidence:.2f} after {documents} items; {threshold:.2f} was needed |
| level | {alpha:.4f}, attempt {attempt} |
| weights | `{digest}` |
| parent | `{parent}` |
| training data | manifest `{manifest}`: {data} |
| crawled from | {seeds} |
| labeled by | {labeler} |
| recipe | `{recipe}`, seed {seed} |
| made | {created} UTC |

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{path}")
tokenizer = AutoTokenizer.from_pretrained("{path}")
```

The licence of the base model applies to the weights, and the terms of the crawled pages to what was
learned from them. A gain in bits per byte on pages like these says nothing about other tasks.
"""


_DRAWN = {
    PICKED: "picked passages",
    RANDOM: "passages drawn at random (control)",
}


def file_model(run: Run, generation: int, arm: str) -> tuple[Path, str]:
    """Move a new model to a read-only folder named by its digest.

    `models/generation-NNN-ARM` becomes a link to it. Returns (folder, digest). A second call
    changes nothing.
    """
    made = run.model_folder(generation, arm)
    digest = folder_digest(made)
    folder = made.parent / digest[:NAME_CHARS]
    if not made.is_symlink():
        if folder.exists():
            shutil.rmtree(made)
        else:
            made.rename(folder)
        _link(made, folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    return folder, digest


def _link(link: Path, target: Path) -> None:
    """Point a link at a folder, with one rename."""
    scratch = link.parent / f".{link.name}-{target.name}"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(os.path.relpath(target, link.parent))
    scratch.replace(link)


def _commit() -> str:
    """The commit of the running code; `+` if files differ from it; empty outside a repository."""
    try:
        commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return str(version(package))
    except PackageNotFoundError:
        return ""


def environment() -> dict[str, Any]:
    """The versions of code, interpreter and packages, and the machine."""
    return {
        "commit": _commit(),
        "ratchet": _version("ratchet-loop"),
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


def provenance(store: Store, candidate: Checkpoint, decision: Decision) -> dict[str, Any]:
    """What a model was made from, and its results at the gate."""
    facts = store.run.facts()
    steps = store.training.train_steps(candidate.generation, candidate.arm)
    return {
        "digest": candidate.digest,
        "generation": candidate.generation,
        "arm": candidate.arm,
        "parent": candidate.parent,
        "manifest": candidate.manifest_digest,
        "recipe_digest": candidate.recipe_digest,
        "recipe": json.loads(facts["recipe"]),
        "seed": candidate.seed,
        "created_at": candidate.created_at.isoformat(),
        "environment": json.loads(facts.get(f"environment/{candidate.generation}", "{}")),
        "training": {
            kind: {
                "steps": len(of_kind),
                "tokens": sum(s.num_tokens for s in of_kind),
                "loss": of_kind[-1].loss,
            }
            for kind in dict.fromkeys(s.kind for s in steps)
            for of_kind in [[s for s in steps if s.kind == kind]]
        },
        "decision": asdict(decision),
        "tests": [asdict(test) for test in store.gate.gate_tests(decision.attempt, decision.arm)],
    }


def _rewrite(path: Path, text: str) -> None:
    atomic_write(path, text.encode())
    path.chmod(0o444)


def write_provenance(store: Store, candidate: Checkpoint, decision: Decision) -> None:
    """Write `ratchet.json` into the model's folder."""
    facts = without_nan(provenance(store, candidate, decision))
    text = json.dumps(facts, indent=2, default=str)
    _rewrite(Path(candidate.path) / PROVENANCE, text + "\n")


def write_model_card(run: Run, candidate: Checkpoint, decision: Decision) -> None:
    """Write the model card: where the model comes from, and its results at the gate."""
    counts = run.store.labels.sample_counts(candidate.generation)
    judge = run.recipe.judge
    card = _CARD.format(
        name=run.recipe.name,
        generation=candidate.generation,
        drawn=_DRAWN.get(candidate.arm, f"candidate {candidate.arm}"),
        base=run.recipe.model.base,
        outcome=decision.outcome,
        reason=decision.reason,
        weak=", on items that earlier attempts also used (weak)" if decision.is_weak else "",
        bits=_text_bits(run.store, decision),
        aim=run.recipe.aim.kind,
        gain=decision.mean_gain,
        evidence=decision.log_evidence,
        documents=decision.num_documents,
        threshold=decision.log_threshold,
        attempt=decision.attempt,
        alpha=decision.alpha,
        digest=candidate.digest,
        parent=candidate.parent,
        manifest=candidate.manifest_digest,
        data=", ".join(f"{count} {kind}" for kind, count in counts.items()) + " were made",
        seeds=", ".join(run.recipe.crawl.seeds),
        labeler={"local": judge.model, "endpoint": judge.endpoint.model or judge.endpoint.url}.get(
            judge.kind, "the scripted labeler"
        ),
        recipe=candidate.recipe_digest,
        seed=candidate.seed,
        created=candidate.created_at.isoformat(timespec="seconds"),
        path=candidate.path,
    )
    _rewrite(Path(candidate.path) / "README.md", card)


def _text_bits(store: Store, decision: Decision) -> str:
    """Bits per byte of both models on all held-out documents that the attempt scored."""
    bits = {
        e.model_digest: e
        for e in store.gate.evaluations()
        if e.attempt == decision.attempt and e.metric == BITS_PER_BYTE
    }
    own, champion = bits.get(decision.candidate), bits.get(decision.champion)
    if own is None or champion is None:
        return "not measured"
    both = f"{own.value:.4f}; champion before: {champion.value:.4f}"
    return f"{both}; on {own.num_items} documents"


def link_champion(folder: Path, champion: Checkpoint) -> None:
    """Point the `champion` link of a run at the champion. The store is what decides."""
    _link(folder / "champion", Path(champion.path))
