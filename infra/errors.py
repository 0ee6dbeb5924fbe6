"""Errors that leave Ratchet. A traceback is for our bugs only.

`UserError` is the user's to mend (exit code 2); `StageError` is a failure of a stage
that the same command may overcome (exit code 1). Both survive pickling, because they
cross process borders on their way to the terminal.
"""

from __future__ import annotations


class UserError(ValueError):
    """Bad input: which key, what value, and what to do about it."""

    def __init__(self, key: str, value: object, problem: str, remedy: str) -> None:
        super().__init__(key, value, problem, remedy)
        self.key = key
        self.value = value
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        shown = str(self.value)
        if len(shown) > 200:
            shown = shown[:197] + "..."
        return f"{self.key} = {shown!r}: {self.problem} {self.remedy}"


class StageError(RuntimeError):
    """A stage could not finish; what was committed before stays committed."""

    def __init__(self, stage: str, subject: str, problem: str) -> None:
        super().__init__(stage, subject, problem)
        self.stage = stage
        self.subject = subject
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.stage} ({self.subject}): {self.problem}"
