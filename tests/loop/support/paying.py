"""A driver for tests: asks a server with prices in three stages of one run. Argument: its URL.

Prints what the run has paid after each stage, or the error that ended it.
"""

from __future__ import annotations

import json
import sys

if __name__ == "__main__":
    from infra.cluster.connection import ClusterConfig, connect
    from infra.errors import StageError
    from infra.store import Store
    from judges.config import JudgeConfig
    from judges.judgment.pairs import Pair
    from judges.rubrics import load_rubric
    from loop.record.spending import Spending
    from loop.stages.judges import remote_judge

    prices = {"prompt_price": 1e6, "max_cost": 200.0, "method": "text", "max_retries": 0}
    config = JudgeConfig.model_validate(
        {"kind": "endpoint", "endpoint": {"url": sys.argv[1], **prices}}
    )
    store, rubric, pair = Store(":memory:"), load_rubric("relevance"), Pair("p", "why?", "a", "b")
    lines = list[float | str]()
    with connect(ClusterConfig(address="auto")) as cluster:
        for _ in range(3):
            try:
                with remote_judge(cluster, store, config, 0, max_workers=4) as judge:
                    judge.compare(rubric, "text", [pair])
                lines.append(Spending(store, config).amount)
            except StageError as error:
                lines.append(str(error))
    store.close()
    sys.stdout.write(json.dumps(lines) + "\n")
