"""Does it pay to pick passages? Picked against random against inverted, at equal tokens.

    apt-get download postgresql-doc-15 debian-handbook; for p in *.deb; do dpkg -x $p site; done
    python -m benchmarks.worth runs/worth --site builtin \\
        --site postgresql=site/usr/share/doc/postgresql-doc-15/html \\
        --site handbook=site/usr/share/doc/debian-handbook/html/en-US \\
        --junk postgresql

Each site is crawled and labelled as a first generation by the quickstart's model and labeler; all
passages are judged and valued. `--junk SITE` adds that site with 60% of junk passages: shuffled
words, boilerplate, lists of spam words, and near-copies. Then, for each seed, half of the passages
are drawn as the pool, and an arm takes the same number of tokens from it by the product's own draw
(`judges.making.passages.selection`): ranked by value, by inverted value, by the labeler, or at
random. The base model is trained on them by a plain loop of transformers and AdamW, with the
quickstart's learning rate, and scored on the gate's documents. The gain is in bits per byte over
the base model. Differences to random are paired over documents and seeds; their intervals resample
both (95%, 4,000 resamples), so the spread between draws is in them.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.results import append
from infra.cluster.connection import connect
from infra.models.folders import fast_bfloat16, resolve_model
from infra.records import Document, Sample, content_key
from infra.store import Store
from infra.store.tables.crawl import CrawlRows
from judges.making.passages.passage_steps import judged_ranks
from judges.making.passages.selection import Candidate, drawing_order
from judges.making.passages.value import passage_values, share_ranks
from loop.gate.estimates import window
from loop.gate.suites.good_text import good_documents
from loop.recipe.recipe import Recipe, load_recipe
from loop.record.input_checks import check_inputs
from loop.record.run_folder import open_run
from loop.stages.crawl import crawl
from loop.stages.label import label

MODEL = "packaged:smollm2-135m-instruct"
LEARNING_RATE, BATCH_TOKENS, MAX_TOKENS = 2e-4, 512, 256
JUNK, JUNK_SHARE = "junk:", 0.6
ARMS = ("value", "inverted", "labels", "random")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Site:
    """A site's passages with their ranks, and the documents that are scored."""

    name: str
    passages: list[Sample]
    ranks: dict[str, dict[str, float]]
    """Arm to passage id to rank in [0, 1]."""
    texts: list[str]
    """Windows of the gate's documents."""
    is_junk: dict[str, bool]


class Model:
    """The base model, which is trained on an arm and put back."""

    def __init__(self) -> None:
        folder = resolve_model(MODEL, "model")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model.to(self.device)
        self.model.config.use_cache = False
        self._base = [p.detach().clone() for p in self.model.parameters()]

    def reset(self) -> None:
        with torch.no_grad():
            for parameter, base in zip(self.model.parameters(), self._base, strict=True):
                parameter.copy_(base)

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        start = [self.tokenizer.bos_token_id]
        return [
            start + self.tokenizer(t, add_special_tokens=False).input_ids[: MAX_TOKENS - 1]
            for t in texts
        ]

    def _nats(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Nats of every token [B, T - 1], and which of them are text."""
        width = max(map(len, rows))
        pad = self.tokenizer.eos_token_id
        ids = torch.tensor([r + [pad] * (width - len(r)) for r in rows], device=self.device)
        mask = torch.tensor(
            [[1] * len(r) + [0] * (width - len(r)) for r in rows], device=self.device
        )
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=fast_bfloat16()):
            logits = self.model(input_ids=ids, attention_mask=mask).logits
        nats = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
        ).view(len(rows), -1)
        return nats * mask[:, 1:], mask[:, 1:]

    @torch.no_grad()
    def bits(self, rows: Sequence[list[int]]) -> Floats:
        """Bits per byte of each row."""
        result = np.zeros(len(rows))
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for begin in range(0, len(order), 8):
            batch = order[begin : begin + 8]
            nats, _ = self._nats([rows[i] for i in batch])
            for i, value in zip(batch, nats.sum(1).tolist(), strict=True):
                size = len(self.tokenizer.decode(rows[i][1:]).encode())
                result[i] = value / math.log(2) / max(size, 1)
        return result

    def train(self, rows: Sequence[list[int]], seed: int) -> None:
        """One epoch of AdamW with warm-up and a cosine to a tenth."""
        batches = _batches(rows, seed)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
        warm_up = max(1, math.ceil(0.1 * len(batches)))
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * _schedule(step, warm_up, len(batches))
            nats, mask = self._nats(batch)
            torch.autograd.backward(nats.sum() / mask.sum())
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def _schedule(step: int, warm_up: int, steps: int) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def _batches(rows: Sequence[list[int]], seed: int) -> list[list[list[int]]]:
    order = list(rows)
    random.Random(seed).shuffle(order)
    batches: list[list[list[int]]] = [[]]
    for row in order:
        if batches[-1] and sum(map(len, batches[-1])) + len(row) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


def benchmark_recipe(source: str, passages: int) -> Recipe:
    """The quickstart with every passage judged and valued; `source` is a folder or empty."""
    overrides = [
        "generations=1",
        f"budget.label_tokens={passages * 230}",
        "budget.prompts=0",
        "budget.instructions=0",
        "budget.pages=260",
        "judge.valued_factor=1",
        f"judge.sampled_passages={passages}",
    ]
    if source:
        overrides += ['crawl.source="files"', f'crawl.paths=["{Path(source).resolve()}"]']
    return load_recipe("quickstart", overrides)


def prepare(folder: Path, name: str, source: str, junk: bool, passages: int) -> Site:
    """Crawl and label a site, unless that is done, and read what the arms need."""
    recipe = benchmark_recipe(source, passages)
    check_inputs(recipe, str(folder / name))
    with connect(recipe.cluster) as cluster, open_run(recipe, str(folder / name)) as run:
        crawl(cluster, run, 1)
        if junk:
            add_junk(run.store, recipe, 1)
        label(cluster, run, 1)
        return read_site(run.store, recipe, name, run.salt)


def read_site(store: Store, recipe: Recipe, name: str, salt: str) -> Site:
    values = passage_values(store, 1)
    labels = judged_ranks(store, recipe.judge, 1)
    passages = [s for s in store.labels.samples(1, "passage") if s.sample_id in values]
    ranks = {
        "value": share_ranks(values),
        "inverted": share_ranks({key: -value for key, value in values.items()}),
        "labels": labels,
        "random": dict.fromkeys(values, 0.0),
    }
    good = set(good_documents(store, recipe.aim, "gate", salt))
    chars = recipe.gate.document_chars
    texts = [
        window(d.text, chars, d.document_id)
        for d in store.crawl.documents("gate")
        if d.document_id in good
    ]
    documents = store.crawl.documents("train")
    junk = {d.document_id for d in documents if d.url.startswith(JUNK)}
    is_junk = {s.sample_id: s.document_id in junk for s in passages}
    return Site(name, passages, ranks, texts, is_junk)


def add_junk(store: Store, recipe: Recipe, generation: int, num_kinds: int = 4) -> None:
    """Add junk documents to a generation's training pool, of which `JUNK_SHARE` are junk then.

    The kinds are shuffled words, boilerplate, lists of spam words and near-copies; with fewer than
    four, the first ones.
    """
    documents = [d for d in store.crawl.documents("train") if d.generation == generation]
    if any(document.url.startswith(JUNK) for document in documents):
        return
    rng, count = random.Random(generation), round(len(documents) * JUNK_SHARE / (1 - JUNK_SHARE))
    junk = [
        _junk(rng, number % num_kinds, f"{generation}-{number}", documents)
        for number in range(count)
    ]
    store.crawl.commit(CrawlRows(generation, recipe.crawl_config().limits(1), documents=junk))


def _junk(rng: random.Random, kind: int, name: str, documents: Sequence[Document]) -> Document:
    source = rng.choice(documents)
    words, lines = source.text.split()[:300], source.text.splitlines()[:40]
    spam = ["cheap", "buy", "casino", "loan", "pills", "best price", "free"]
    texts = (
        " ".join(rng.sample(words, len(words))),
        "Home | News | About us | Contact | Log in | Cookies\n" * 30,
        ", ".join(rng.choice(spam) for _ in range(300)),
        "\n".join(line.replace("the ", "a ") for line in lines),
    )
    key, url, generation = content_key(JUNK, name), f"{JUNK}{name}", source.generation
    return Document(key, source.page_id, url, "", texts[kind], "en", "x", "train", generation)


def take(
    site: Site,
    arm: str,
    pool: Sequence[Sample],
    rows: Mapping[str, list[int]],
    salt: str,
    tokens: int,
) -> list[Sample]:
    """The passages of an arm: drawn in the product's order, up to a number of tokens."""
    ranks = site.ranks[arm]
    candidates = [Candidate(s, ranks[s.sample_id], "", 0.0) for s in pool if s.sample_id in ranks]
    chosen, spent = list[Sample](), 0
    for candidate in drawing_order(candidates, 0.2, f"{salt}/{arm}"):
        size = len(rows[candidate.sample.sample_id])
        if spent + size <= tokens:
            chosen.append(candidate.sample)
            spent += size
    return chosen


@dataclass(frozen=True)
class Experiment:
    """The arms of a site; results are kept in a file, so that a killed experiment goes on."""

    site: Site
    model: Model
    tokens: int
    file: Path

    def results(self) -> list[dict[str, Any]]:
        """What has been measured: one entry for each seed and arm."""
        if not self.file.exists():
            return []
        measured: list[dict[str, Any]] = json.loads(self.file.read_text())
        return measured

    def run(self, seeds: int, num_documents: int) -> None:
        """Train and score every arm with every seed."""
        site, model = self.site, self.model
        passages = model.rows([s.completion for s in site.passages])
        rows = {s.sample_id: row for s, row in zip(site.passages, passages, strict=True)}
        tests = model.rows(site.texts[:num_documents])
        model.reset()
        before, done = model.bits(tests), {(r["seed"], r["arm"]) for r in self.results()}
        for seed in range(seeds):
            pool = random.Random(f"{site.name}/{seed}").sample(
                site.passages, len(site.passages) // 2
            )
            for arm in ARMS:
                if (seed, arm) in done or not site.ranks[arm]:
                    continue
                chosen = take(site, arm, pool, rows, f"{seed}", self.tokens)
                model.reset()
                model.train([rows[s.sample_id] for s in chosen], seed)
                self._add(seed, arm, chosen, rows, before - model.bits(tests))

    def _add(
        self,
        seed: int,
        arm: str,
        chosen: Sequence[Sample],
        rows: Mapping[str, list[int]],
        gains: Floats,
    ) -> None:
        result = {
            "seed": seed,
            "arm": arm,
            "gains": gains.tolist(),
            "tokens": sum(len(rows[s.sample_id]) for s in chosen),
            "junk": float(np.mean([self.site.is_junk[s.sample_id] for s in chosen])),
        }
        self.file.write_text(json.dumps([*self.results(), result]))
        words = f"{self.site.name}, seed {seed}, {arm}: gain {gains.mean():.4f}"
        print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def interval(differences: Floats) -> tuple[float, float, float]:
    """(mean, low, high) of differences [seeds, documents]; resamples both."""
    rng = np.random.default_rng(0)
    seeds, documents = differences.shape
    means = [
        differences[rng.integers(0, seeds, seeds)][:, rng.integers(0, documents, documents)].mean()
        for _ in range(4000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def table(site: Site, results: Sequence[dict[str, Any]]) -> list[list[str]]:
    """One line for each arm: its gain, its junk, and its difference to random."""
    by_arm: dict[str, dict[int, Floats]] = {}
    for r in results:
        by_arm.setdefault(r["arm"], {})[r["seed"]] = np.array(r["gains"])
    lines = []
    for arm, own in by_arm.items():
        seeds = sorted(set(own) & set(by_arm["random"]))
        gains = np.array([own[s] for s in seeds])
        mean, low, high = interval(gains - np.array([by_arm["random"][s] for s in seeds]))
        difference = "" if arm == "random" else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        junk = np.mean([r["junk"] for r in results if r["arm"] == arm])
        tokens = np.mean([r["tokens"] for r in results if r["arm"] == arm])
        lines.append(
            [
                site.name,
                str(len(site.passages)),
                str(gains.shape[1]),
                arm,
                str(len(seeds)),
                f"{tokens:,.0f}",
                f"{gains.mean():.3f}",
                difference,
                f"{junk:.2f}",
            ]
        )
    return lines


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where runs and results are kept")
    parser.add_argument("--site", action="append", help="builtin, or NAME=FOLDER of HTML files")
    parser.add_argument("--junk", default="", help="a site to use once more with 60%% of junk")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=3000, help="tokens of an arm")
    parser.add_argument("--passages", type=int, default=130, help="passages of a site")
    parser.add_argument("--documents", type=int, default=40, help="largest number to score")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    sources = dict(site.partition("=")[::2] for site in chosen.site or ["builtin"])
    wanted = [(name, source, False) for name, source in sources.items()]
    if chosen.junk:
        wanted.append((f"{chosen.junk}-junk", sources[chosen.junk], True))
    sites = [prepare(chosen.folder, *one, chosen.passages) for one in wanted]
    model, lines = Model(), list[list[str]]()
    for site in sites:
        file = chosen.folder / f"{site.name}.json"
        experiment = Experiment(site, model, chosen.tokens, file)
        experiment.run(chosen.seeds, chosen.documents)
        lines += table(site, experiment.results())
    columns = ["site", "passages", "documents", "ranked by", "seeds", "tokens", "gain"]
    columns += ["difference to random", "junk"]
    append("Worth of picked passages, SmolLM2-135M", columns, lines)


if __name__ == "__main__":
    main()
