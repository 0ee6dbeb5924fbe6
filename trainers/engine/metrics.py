"""Metrics of training steps: one JSON line per step in a file, and a progress line every few
seconds.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict

from infra.records import TrainStep
from trainers.task import Task

PRINT_INTERVAL_S = 10.0
SHOWN = ("reward", "kl", "accuracy", "length", "entropy")


class MetricsFile:
    """Appends steps to a task's metrics file. Steps that run again after a failure replace the old
    ones.
    """

    def __init__(self, task: Task, writes: bool = True) -> None:
        self._file, self._writes = task.metrics_file(), writes
        self._started = self._printed = time.monotonic()
        self._first: int | None = None

    def __call__(self, step: TrainStep, num_steps: int) -> None:
        """Write one step, and print the progress of the task."""
        if not self._writes:
            return
        if self._first is None:
            self._first = step.step
            self._drop_from(step.step)
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(step)) + "\n")
        now = time.monotonic()
        if now - self._printed >= PRINT_INTERVAL_S or step.step + 1 == num_steps:
            self._printed = now
            done = step.step + 1 - self._first
            left = (now - self._started) / done * (num_steps - step.step - 1)
            shown = {k: v for k, v in json.loads(step.metrics).items() if k in SHOWN}
            words = "".join(f", {name} {value:.3f}" for name, value in shown.items())
            progress = f"{step.kind} step {step.step + 1} of {num_steps}"
            print(f"  {progress}: loss {step.loss:.4f}{words}; {left:.0f} s left", flush=True)

    def _drop_from(self, number: int) -> None:
        """Remove the steps from `number` on, which will run again, and a line that was cut off by a
        kill.
        """
        if not self._file.exists():
            return
        kept = []
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] < number:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                break
        self._file.write_text("".join(kept), encoding="utf-8")
