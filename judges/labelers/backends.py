"""Builds the labeler that a recipe configures."""

from __future__ import annotations

from judges.config import JudgeConfig
from judges.judgment.protocol import Judge
from judges.labelers.answer_first import AnswerFirstJudge


def make_judge(config: JudgeConfig, seed: int = 0, spent: float = 0.0) -> Judge:
    """Return the configured labeler. All its random choices depend on `seed`. Only the libraries
    that it needs are imported.

    `spent` is what the run has paid for it before.
    """
    judge = _make(config, seed, spent)
    return AnswerFirstJudge(judge, seed) if config.answer_first else judge


def _make(config: JudgeConfig, seed: int, spent: float) -> Judge:
    if config.kind == "endpoint":
        from judges.labelers.endpoint.judge import EndpointJudge
        from judges.labelers.endpoint.server import Server

        return EndpointJudge(config.endpoint, seed, Server(config.endpoint, spent))
    if config.kind == "scripted":
        from judges.labelers.scripted import ScriptedJudge

        return ScriptedJudge(config.scripted)
    from judges.labelers.local import LocalJudge

    return LocalJudge(config.model, seed)
