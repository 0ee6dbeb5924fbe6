from __future__ import annotations

from loop.stages.decide import gpu_shares


def test_gpus_are_shared_between_scorers_and_judges() -> None:
    assert gpu_shares(0, 1, 3) == (0.0, 0.0)
    assert gpu_shares(4, 4, 0)[0] == 1.0
    for gpus, scorers, judges in ((1, 1, 1), (1, 1, 3), (2, 4, 2), (8, 8, 1)):
        scorer, judge = gpu_shares(gpus, scorers, judges)
        assert scorer * scorers + judge * judges <= gpus + 1e-9
        assert scorer * max(1, scorers // gpus) + judge * judges <= 1.0 + 1e-9, "on one of the GPUs"
