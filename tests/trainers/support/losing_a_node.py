"""A driver for tests: trains one task on two nodes and loses one of them. Arguments: a task, a
configuration, steps after which the node is lost."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

if __name__ == "__main__":
    from ray.cluster_utils import Cluster as Nodes

    from infra.cluster.connection import ClusterConfig, connect
    from trainers.config import TrainConfig
    from trainers.launch import TrainJob, run_training, with_workers
    from trainers.task import Task

    task, config, steps = (
        Task(**json.loads(sys.argv[1])),
        TrainConfig(**json.loads(sys.argv[2])),
        int(sys.argv[3]),
    )
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
    second = nodes.add_node(num_cpus=1)

    def lose() -> None:
        while (
            not task.metrics_file().exists()
            or len(task.metrics_file().read_text().splitlines()) < steps
        ):
            time.sleep(0.05)
        nodes.remove_node(second, allow_graceful=False)

    threading.Thread(target=lose, daemon=True).start()
    with connect(ClusterConfig(address=nodes.address)) as cluster:
        job = TrainJob(task, with_workers(config, cluster))
        run_training([job], cluster, Path(task.data).parent / "ray", "test")
    nodes.shutdown()
