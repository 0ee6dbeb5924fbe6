"""datatrove's side of `benchmarks.documents`: FOLDER FILE OUT, run by an interpreter that has
datatrove."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers.jsonl import JsonlWriter


def run(out: str, tasks: int, *steps: object) -> None:
    """One stage, in this process."""
    # a folder that has been used means: done before
    logs = f"{out}/logs-{len(list(Path(out).glob('logs-*')))}"
    LocalPipelineExecutor(pipeline=list(steps), tasks=tasks, workers=1, logging_dir=logs).run()


def main(source: str, name: str, out: str) -> None:
    """Extract, filter, mask, deduplicate; print how many documents were kept."""
    config = MinhashConfig(num_buckets=14, hashes_per_bucket=8, n_grams=5)
    run(
        out,
        1,
        WarcReader(source, glob_pattern=name),
        Trafilatura(favour_precision=True, timeout=10),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        PIIFormatter(),
        JsonlWriter(f"{out}/filtered"),
    )
    run(
        out,
        1,
        JsonlReader(f"{out}/filtered"),
        MinhashDedupSignature(f"{out}/signatures", config=config),
    )
    run(out, 14, MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=config))
    run(out, 1, MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=config))
    kept = JsonlWriter(f"{out}/kept", compression=None)
    run(out, 1, JsonlReader(f"{out}/filtered"), MinhashDedupFilter(f"{out}/remove"), kept)
    print(
        json.dumps(sum(len(f.read_text().splitlines()) for f in Path(out, "kept").glob("*.jsonl")))
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
