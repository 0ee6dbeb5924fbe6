"""Builds the labeler that a recipe configures."""

from __future__ import annotations

from judges.config import JudgeConfig
from judges.judgment.protocol import Judge
from judges.labelers.answer_first import AnswerFirstJudge


def make_judge(config: JudgeConfig, seed: int = 0) -> Judge:
    """Return the configured labeler. All its random choices depend on `seed`. Only the libraries
    that it needs are imported.
    """
    judge = _make(config, seed)
    return AnswerFirstJudge(judge, seed) if config.answer_first else judge


def _make(config: JudgeConfig, seed: int) -> Judge:
    if config.kind == "endpoint":
        from judges.labelers.endpoint.judge import EndpointJudge

        return EndpointJudge(config.endpoint, seed)
    if config.kind == "scripted":
        from judges.labelers.scripted import ScriptedJudge

        return ScriptedJudge(config.scripted)
    from judges.labelers.local import LocalJudge

    return LocalJudge(config.model, seed)
