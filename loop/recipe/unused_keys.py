"""Keys of a recipe that would have no effect: they are refused, since somebody meant something."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from infra.config import Section
from infra.errors import UserError
from judges.config import JudgeConfig
from loop.gate.aim import AimConfig, AnswersConfig, AskerConfig
from loop.gate.config import SuiteConfig

KIND_KEYS = {"local": "model", "endpoint": "endpoint", "scripted": "scripted"}
"""The key of a judge that has the settings of its kind."""
REFEREE_KEYS = ("answer_rubric", "answer_first")
"""Further keys that a judge of answers reads."""


def check_aim_keys(aim: AimConfig) -> None:
    """Raises `UserError` for keys of an aim that the recipe does not have, and of the asker."""
    sections: dict[str, Section] = {"answers": aim.answers, "exam": aim.exam}
    for kind, section in sections.items():
        if aim.kind != kind and section.model_fields_set:
            name = min(section.model_fields_set)
            reason = f"aim.kind is {aim.kind}"
            raise no_effect(f"aim.{kind}.{name}", _written(section, name), reason)
    if "asker" in aim.answers.model_fields_set:
        _check_asker(aim.answers)


def _check_asker(answers: AnswersConfig) -> None:
    key, asker = "aim.answers.asker", answers.asker
    if not answers.passages_per_page:
        reason = "aim.answers.passages_per_page is 0"
        remedy = "Set aim.answers.passages_per_page to 1 or more, or leave the asker out."
        raise no_effect(key, _written(answers, "asker"), reason, remedy)
    _check_judge(key, asker)


def check_suite_judges(suites: Mapping[str, SuiteConfig]) -> None:
    """Raises `UserError` for a judge of a suite that has none, and for keys that it never reads."""
    for name, suite in suites.items():
        key = f"gate.suites.{name}.judge"
        if suite.kind == "judged":
            _check_judge(key, suite.judge, REFEREE_KEYS)
        elif "judge" in suite.model_fields_set:
            reason = f"gate.suites.{name}.kind is {suite.kind}"
            raise no_effect(key, _written(suite, "judge"), reason)


def _check_judge(key: str, judge: JudgeConfig | AskerConfig, others: Collection[str] = ()) -> None:
    """Raises `UserError` for a key besides the kind, the settings of the kind, and `others`."""
    used = {"kind", KIND_KEYS[judge.kind], *others}
    for name in sorted(judge.model_fields_set - used):
        is_kind = name in KIND_KEYS.values()
        why = f"{key}.kind is {judge.kind}" if is_kind else "it only compares answers"
        remedy = f"Leave it out; the keys with an effect are {', '.join(sorted(used))}."
        raise no_effect(f"{key}.{name}", _written(judge, name), why, remedy)


def no_effect(key: str, value: object, reason: str, remedy: str = "Leave it out.") -> UserError:
    """The error about a key without an effect."""
    return UserError(key, value, f"it has no effect, since {reason}.", remedy)


def _written(section: Section, name: str) -> object:
    """The value of a key as it was written, without defaults."""
    value = getattr(section, name)
    return value.model_dump(exclude_unset=True) if isinstance(value, Section) else value
