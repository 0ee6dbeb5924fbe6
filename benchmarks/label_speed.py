"""Labels a second: this package against one call of the model an item, and against lm-eval's
batched log-likelihoods.

All three score the same items with the same weights in float32 on the CPU, in turns:

    python -m benchmarks.label_speed [--peer PYTHON_WITH_LM_EVAL] [--turns 3]

Two labels an item (Yes and No) behind a few-shot prompt of the rubric and a passage. The peer runs
in a Python of its own (`pip install lm-eval`), given by its interpreter, and reads the items from a
file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.results import append
from infra.models.folders import resolve_model
from infra.models.language_model import LanguageModel
from judges.judgment.elicitation import requests_for
from judges.measuring.probes.making import built_in_material, probe_set
from judges.rubrics import load_rubric

NUM_THREADS = 2
RUBRIC = "educational_value"
Request = tuple[str, str]

PEER = r"""
import json, sys, time, torch
torch.set_num_threads(int(sys.argv[3]))
from lm_eval.models.huggingface import HFLM
from lm_eval.api.instance import Instance
lm = HFLM(pretrained=sys.argv[1], device="cpu", dtype="float32", batch_size=16, backend="causal")
pairs = json.load(open(sys.argv[2]))
requests = [Instance("loglikelihood", {}, tuple(p), i) for i, p in enumerate(pairs)]
lm.loglikelihood(requests[:4])
for line in sys.stdin:
    started = time.perf_counter()
    found = lm.loglikelihood(requests, disable_tqdm=True)
    print(json.dumps([time.perf_counter() - started, [x[0] for x in found]]), flush=True)
"""


def items() -> list[Request]:
    """(context, label) of 96 passages, 24 each of good ones and of three corruptions."""
    rubric = load_rubric(RUBRIC)
    subjects = [
        s
        for probe in ("shuffled_words", "boilerplate", "vague")
        for p in probe_set(probe, built_in_material()).deciding[:24]
        for s in ((p.good, p.bad) if probe == "vague" else (p.bad,))
    ]
    return [
        request for subject in subjects for request in requests_for(rubric, "few_shot", subject)
    ]


@torch.inference_mode()
def one_by_one(model: LanguageModel, requests: list[Request]) -> list[float]:
    """The plain way: one call of the model for each context and label."""
    sums = []
    for context, label in requests:
        before, after = model.encode(context), model.encode(label)
        logps = model.model(torch.tensor([before + after])).logits[0].log_softmax(-1)
        sums.append(sum(float(logps[len(before) - 1 + i, token]) for i, token in enumerate(after)))
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default="", help="A Python interpreter that has lm-eval.")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(NUM_THREADS)
    folder = resolve_model("packaged:smollm2-135m-instruct", "model")
    model, requests = LanguageModel(folder, exact=True), items()
    model.score(requests[:4])
    seconds: dict[str, list[float]] = {"ours": [], "one by one": [], "lm-eval": []}
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "items.json"
        file.write_text(json.dumps(requests))
        peer = _start_peer(options.peer, folder, file) if options.peer else None
        for _ in range(options.turns):
            started = time.perf_counter()
            ours = [score.logp for score in model.score(requests)]
            seconds["ours"].append(time.perf_counter() - started)
            started = time.perf_counter()
            plain = one_by_one(model, requests)
            seconds["one by one"].append(time.perf_counter() - started)
            worst = max(worst, *(abs(a - b) for a, b in zip(ours, plain, strict=True)))
            if peer is not None:
                assert peer.stdin is not None
                assert peer.stdout is not None
                peer.stdin.write("go\n")
                peer.stdin.flush()
                took, theirs = json.loads(peer.stdout.readline())
                seconds["lm-eval"].append(took)
                worst = max(worst, *(abs(a - b) for a, b in zip(ours, theirs, strict=True)))
        if peer is not None:
            peer.kill()
    lines = []
    for name, taken in seconds.items():
        if taken:
            ratios = [other / own for own, other in zip(seconds["ours"], taken, strict=True)]
            rates = [len(requests) / t for t in taken]
            lines.append(
                [
                    name,
                    f"{statistics.median(rates):.1f}",
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                ]
            )
    counts = f"{len(requests)} labels of {len(requests) // 2} passages"
    title = f"Labels a second, {counts}, 135M, float32, {options.turns} turns"
    append(
        f"{title}; largest difference {worst:.1e} nats",
        ["how", "labels a second", "ours is faster by"],
        lines,
    )


def _start_peer(python: str, model: Path, file: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONPATH": ""}
    command = [python, "-c", PEER, str(model), str(file), str(NUM_THREADS)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


if __name__ == "__main__":
    main()
