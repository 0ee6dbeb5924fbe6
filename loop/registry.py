"""Champions as folders: model card, and a `champion` link that switches in one rename."""

from __future__ import annotations

import os
from pathlib import Path

from infra.artifacts import atomic_write
from infra.records import Checkpoint, Decision
from loop.runs import Run

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [ratchet]
---

# {name}, generation {generation}

Made by Ratchet, without human labels, from `{base}`.

| | |
|---|---|
| outcome at the gate | **{outcome}** ({reason}) |
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


def write_model_card(run: Run, candidate: Checkpoint, decision: Decision) -> None:
    """Say in the model's folder where it came from and how it did."""
    bits = {
        e.model_digest: e.value
        for e in run.store.evaluations()
        if e.attempt == decision.attempt and e.metric == "bits_per_byte"
    }
    counts = run.store.sample_counts(candidate.generation)
    judge = run.recipe.judge
    card = _CARD.format(
        name=run.recipe.name,
        generation=candidate.generation,
        base=run.recipe.model.base,
        outcome=decision.outcome,
        reason=decision.reason,
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
    atomic_write(Path(candidate.path) / "README.md", card.encode())


def promote(run: Run, candidate: Checkpoint) -> None:
    """Point the run's `champion` link at the candidate; the store's decision is what counts."""
    scratch = run.folder / f".champion-{candidate.digest[:12]}"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(os.path.relpath(candidate.path, run.folder))
    scratch.replace(run.folder / "champion")
