"""Errors that are shown to the user without a traceback.

The user can fix the cause of a `UserError` (exit code 2). A `StageError` is a failure of a stage;
running the same command again may help (exit code 1). Both can be pickled, because worker processes
raise them too.
"""

from __future__ import annotations


class UserError(ValueError):
    """Invalid input: the key, its value, what is wrong with it, and how to fix it.

    The value is not shown if it is None.
    """

    def __init__(self, key: str, value: object, problem: str, remedy: str) -> None:
        super().__init__(key, value, problem, remedy)
        self.key = key
        self.value = value
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.key}: {self.problem} {self.remedy}"
        shown = str(self.value)
        if len(shown) > 200:
            shown = shown[:197] + "..."
        return f"{self.key} = {shown!r}: {self.problem} {self.remedy}"


class StageError(RuntimeError):
    """A stage failed; everything that was committed before is kept."""

    def __init__(self, stage: str, subject: str, problem: str) -> None:
        super().__init__(stage, subject, problem)
        self.stage = stage
        self.subject = subject
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.stage} ({self.subject}): {self.problem}"
