"""Models as immutable folders named by their digest, each with its provenance and its card; and the
champion's link.
"""

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
from infra.records import Checkpoint, Decision
from infra.store import Store
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
NAME_LENGTH = 16
ROOT = Path(__file__).resolve().parents[2]

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [ratchet]
---

# {name}, generation {generation}

Made by Ratchet, without human labels, from `{base}`.

| | |
|---|---|
| outcome at the gate | **{outcome}** ({reason}){weak} |
| bits per byte on held-out documents | {candidate_bits:.4f}; the champion before it {champion_bits:.4f} |
| evidence | log E = {evidence:.2f} after {documents} documents; {threshold:.2f} was needed |
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


def file_model(run: Run, generation: int) -> tuple[Path, str]:
    """Move a generation's new model to the folder of its digest, which nobody may write to:
    (folder, digest).

    `models/generation-NNN` becomes a link to it. Doing it again changes nothing.
    """
    place = run.model_folder(generation)
    digest = folder_digest(place)
    filed = place.parent / digest[:NAME_LENGTH]
    if not place.is_symlink():
        if filed.exists():
            shutil.rmtree(place)
        else:
            place.rename(filed)
        _link(place, filed)
    for path in filed.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    return filed, digest


def _link(place: Path, target: Path) -> None:
    """Point a link at a folder in one rename."""
    scratch = place.parent / f".{place.name}-{target.name}"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(os.path.relpath(target, place.parent))
    scratch.replace(place)


def _commit() -> str:
    """Commit of the code that runs, with + where files differ from it; empty outside a repository."""
    try:
        commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=ROOT,
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
    """Code, interpreter, packages and machine."""
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
    """What a model was made from and how it did at the gate, from the store."""
    facts = store.run.facts()
    steps = store.training.train_steps(candidate.generation)
    return {
        "digest": candidate.digest,
        "generation": candidate.generation,
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
        "tests": [asdict(test) for test in store.gate.gate_tests(decision.attempt)],
    }


def _rewrite(path: Path, text: str) -> None:
    atomic_write(path, text.encode())
    path.chmod(0o444)


def write_provenance(store: Store, candidate: Checkpoint, decision: Decision) -> None:
    """Write `ratchet.json` into the model's folder."""
    text = json.dumps(provenance(store, candidate, decision), indent=2, default=str)
    _rewrite(Path(candidate.path) / PROVENANCE, text + "\n")


def write_model_card(run: Run, candidate: Checkpoint, decision: Decision) -> None:
    """Say in the model's folder where it came from and how it did."""
    bits = {
        e.model_digest: e.value
        for e in run.store.gate.evaluations()
        if e.attempt == decision.attempt and e.metric == "bits_per_byte"
    }
    counts = run.store.labels.sample_counts(candidate.generation)
    judge = run.recipe.judge
    card = _CARD.format(
        name=run.recipe.name,
        generation=candidate.generation,
        base=run.recipe.model.base,
        outcome=decision.outcome,
        reason=decision.reason,
        weak=", on items that earlier attempts were decided on too (weak)"
        if decision.is_weak
        else "",
        candidate_bits=bits.get(candidate.digest, float("nan")),
        champion_bits=bits.get(decision.champion, float("nan")),
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


def link_champion(folder: Path, champion: Checkpoint) -> None:
    """Point a run's `champion` link at the champion; what counts is the store's history."""
    _link(folder / "champion", Path(champion.path))
