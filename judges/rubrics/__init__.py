"""What is asked of a labeler, and the ways of asking it. A rubric is a TOML file; its digest is its
version.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from infra.config import Section, read_toml, validate
from infra.errors import UserError
from infra.records import content_key

FOLDER = Path(__file__).parent
LABELED = "label_given_text"
WAYS = (LABELED, "text_given_label", "likelihood", "few_shot")
CHOICE = "choice"
"""The way of asking about a pair or a list at once, beside valuing each text alone by one of
`WAYS`."""
_PLACE = re.compile(r"\{(prompt|text|other|texts|question|reference)\}")


def checked_labels(labels: list[str]) -> list[str]:
    """Labels that can be told apart by their beginnings. Raises `ValueError`."""
    plain = [label.strip().casefold() for label in labels]
    for i, one in enumerate(plain):
        if not one:
            raise ValueError("a label is empty; give it at least one character")
        for other in plain[i + 1 :]:
            if one.startswith(other) or other.startswith(one):
                raise ValueError(f"labels {one!r} and {other!r} begin alike; choose others")
    if len({label[:1].isspace() for label in labels}) > 1:
        raise ValueError(
            "some labels begin with a blank and some do not; a model knows these as different words"
        )
    return labels


class Criterion(Section):
    """One question about a text. `labels` come best first; the value is 1 for the first and 0 for
    the last.
    """

    question: str
    weight: float = Field(default=1.0, gt=0)
    labels: list[str] = Field(default=["Yes", "No"], min_length=2, max_length=10)

    _labels = field_validator("labels")(checked_labels)

    def expected_value(self, distribution: tuple[float, ...]) -> float:
        """The mean of the labels' values, which lie at equal distances in [0, 1]."""
        last = len(self.labels) - 1
        return sum(p * (last - i) / last for i, p in enumerate(distribution))


class LabelQuestion(Section):
    """A template that ends where a label belongs; the value is P(positive) against P(negative)."""

    template: str
    positive: str
    negative: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        checked_labels([self.positive, self.negative])
        return self


class Contrast(Section):
    """Two contexts; the value says under which of them the text is likelier, per token."""

    positive: str
    negative: str


class Likelihood(Section):
    """One context; the value is the text's probability per token after it."""

    context: str


class Choice(Section):
    """A question about two texts at once, `{text}` and `{other}`; `tie` is what to say of equals,
    if it may be said.
    """

    template: str
    first: str = "A"
    second: str = "B"
    tie: str = ""

    @property
    def labels(self) -> list[str]:
        """The first text's label, the second's, and the tie's where there is one."""
        return [self.first, self.second, *([self.tie] if self.tie else [])]

    @model_validator(mode="after")
    def _check(self) -> Self:
        checked_labels(self.labels)
        return self


class BestOf(Section):
    """A question about a list of texts, `{texts}`, each of which is headed by `{name} A:`, B and so
    on.
    """

    template: str
    name: str = "Reply"


class Rubric(Section):
    """One thing to judge by. `probes` name the constructions that measure a labeler on it.

    `template` frames each criterion's `{question}`; `reference` frames a reference answer where
    there is one.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    version: int
    subject: Literal["passage", "answer"]
    probes: list[str] = Field(min_length=1)
    needs_reference: bool = False
    template: str
    reference: str = "A reference answer:\n\n{reference}\n\n"
    criteria: list[Criterion] = Field(min_length=1)
    text_given_label: Contrast | None = None
    likelihood: Likelihood | None = None
    few_shot: LabelQuestion | None = None
    choice: Choice | None = None
    best_of: BestOf | None = None

    def usable(self, ways: tuple[str, ...]) -> list[str]:
        """Those of a labeler's ways that this rubric has words for; ways that are not ours need
        none.
        """
        return [
            way
            for way in ways
            if way not in WAYS or way == LABELED or getattr(self, way) is not None
        ]

    def asked_about_pairs(self) -> Choice:
        """The question about two texts at once. Raises `UserError` where the rubric has none."""
        if self.choice is None:
            raise UserError(
                "judge.rubric",
                self.id,
                "it has no [choice], so pairs cannot be asked about at once.",
                "Add one to the rubric's file.",
            )
        return self.choice

    def asked_about_lists(self) -> BestOf:
        """The question about several texts at once. Raises `UserError` where the rubric has none."""
        if self.best_of is None:
            raise UserError(
                "judge.rubric",
                self.id,
                "it has no [best_of], so lists cannot be asked about at once.",
                "Add one to the rubric's file.",
            )
        return self.best_of

    def value_of(self, distributions: list[tuple[float, ...]]) -> float:
        """The weighted mean of the criteria's expected values."""
        values = [c.expected_value(d) for c, d in zip(self.criteria, distributions, strict=True)]
        weights = [c.weight for c in self.criteria]
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)

    def template_digest(self, mode: str, way: str) -> str:
        """Key of the words that are asked in a mode and a way."""
        words = (
            {"pairwise": self.choice, "listwise": self.best_of}.get(mode) if way == CHOICE else None
        )
        own = getattr(self, way, None) if way in WAYS else None
        return content_key(mode, way, words or own or (self.template, self.criteria))

    @property
    def digest(self) -> str:
        """Key of the rubric's content."""
        return content_key(self.model_dump_json())


def fill(template: str, **parts: str) -> str:
    """The template with its places (`{prompt}`, `{text}`...) filled at once: what is put in is not
    searched.
    """
    return _PLACE.sub(lambda match: parts.get(match.group(1), ""), template)


@cache
def load_rubric(name: str) -> Rubric:
    """A built-in rubric by its id, or a user's by the path of its TOML file."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise UserError(
            "judge.rubric",
            name,
            "no such rubric.",
            f"Known: {known}; or give the path of a TOML file.",
        )
    return validate(Rubric, read_toml(path))
