"""The labeler that a recipe names."""

from __future__ import annotations

from judges.config import JudgeConfig
from judges.judgment.protocol import Judge
from judges.labelers.answering import AnswersFirst


def make_judge(config: JudgeConfig, seed: int = 0) -> Judge:
    """A labeler whose every random choice comes from `seed`; only what it needs is loaded."""
    judge = _make(config, seed)
    return AnswersFirst(judge, seed) if config.answer_first else judge


def _make(config: JudgeConfig, seed: int) -> Judge:
    if config.kind == "endpoint":
        from judges.labelers.endpoint import EndpointJudge

        return EndpointJudge(config.endpoint, seed)
    if config.kind == "scripted":
        from judges.labelers.scripted import ScriptedJudge

        return ScriptedJudge(config.scripted)
    from judges.labelers.local import LocalJudge

    return LocalJudge(config.model, seed)
