"""Rubrics: the criteria by which texts are judged, with the prompt texts of every elicitation
method.

A rubric is a TOML file in this folder or a file of the user's. The digest of its content is its
version.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from infra.config import Section, read_toml, validate
from infra.errors import UserError
from infra.records import content_key

FOLDER = Path(__file__).parent
LABEL_GIVEN_TEXT = "label_given_text"
METHODS = (LABEL_GIVEN_TEXT, "text_given_label", "likelihood", "few_shot")
CHOICE = "choice"
"""The elicitation method that shows both texts of a pair (or all texts of a list) in one question.
The methods in `METHODS` score each text alone."""
_PLACEHOLDER = re.compile(r"\{(prompt|text|other|texts|question|reference)\}")


def checked_labels(labels: list[str]) -> list[str]:
    """Return the labels if a model's answer can be matched to exactly one of them.

    Raises `ValueError` if a label is empty, if one label is a prefix of another, or if only some
    labels begin with a space.
    """
    plain = [label.strip().casefold() for label in labels]
    for i, one in enumerate(plain):
        if not one:
            raise ValueError("a label is empty; give it at least one character")
        for other in plain[i + 1 :]:
            if one.startswith(other) or other.startswith(one):
                raise ValueError(
                    f"one of the labels {one!r} and {other!r} is a prefix of the other; rename one"
                )
    if len({label[:1].isspace() for label in labels}) > 1:
        raise ValueError(
            "some labels begin with a space and some do not; use a space for all or for none"
        )
    return labels


class Criterion(Section):
    """One question about a text. `labels` are ordered from best to worst; the first has the value 1
    and the last the value 0.
    """

    question: str
    weight: float = Field(default=1.0, gt=0)
    labels: list[str] = Field(default=["Yes", "No"], min_length=2, max_length=10)

    _labels = field_validator("labels")(checked_labels)

    def expected_value(self, distribution: tuple[float, ...]) -> float:
        """Return the mean label value under a distribution over the labels. Label values are
        equally spaced in [0, 1].
        """
        last = len(self.labels) - 1
        return sum(p * (last - i) / last for i, p in enumerate(distribution))


class LabelQuestion(Section):
    """A template that ends where a label follows. The value is P(positive) / (P(positive) +
    P(negative)).
    """

    template: str
    positive: str
    negative: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        checked_labels([self.positive, self.negative])
        return self


class Contrast(Section):
    """Two contexts. The value says under which of them the text has the higher log-probability per
    token.
    """

    positive: str
    negative: str


class Likelihood(Section):
    """One context. The value is the text's mean probability per token after it."""

    context: str


class Choice(Section):
    """A question about two texts, `{text}` and `{other}`. `tie` is the label for a tie; if it is
    empty, ties cannot be named.
    """

    template: str
    first: str = "A"
    second: str = "B"
    tie: str = ""

    @property
    def labels(self) -> list[str]:
        """The labels of the first text, of the second text, and of a tie if it can be named."""
        return [self.first, self.second, *([self.tie] if self.tie else [])]

    @model_validator(mode="after")
    def _check(self) -> Self:
        checked_labels(self.labels)
        return self


class BestOf(Section):
    """A question about a list of texts, `{texts}`. The texts are headed `{name} A:`, `{name} B:`
    and so on.
    """

    template: str
    name: str = "Reply"


class Rubric(Section):
    """One aspect to judge texts by, and the probes that measure a labeler on it.

    `template` is the prompt around each criterion's `{question}`. `reference` is the text around a
    reference answer, used if an item has one.
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

    def usable_methods(self, methods: tuple[str, ...]) -> list[str]:
        """Return those of a labeler's elicitation methods that this rubric has prompts for. Methods
        that are not in `METHODS` need no prompts from the rubric.
        """
        return [
            method
            for method in methods
            if method not in METHODS
            or method == LABEL_GIVEN_TEXT
            or getattr(self, method) is not None
        ]

    def pair_question(self, key: str = "rubric") -> Choice:
        """Return the question about two texts. Raises `UserError` about `key` if the rubric has no
        `[choice]`.
        """
        if self.choice is None:
            raise UserError(
                key,
                self.id,
                "the rubric has no [choice] section, so pairs cannot be compared in one question.",
                "Add a [choice] section to the rubric file.",
            )
        return self.choice

    def list_question(self, key: str = "rubric") -> BestOf:
        """Return the question about a list of texts. Raises `UserError` about `key` if the rubric
        has no `[best_of]`.
        """
        if self.best_of is None:
            raise UserError(
                key,
                self.id,
                "the rubric has no [best_of] section, so lists cannot be ranked in one question.",
                "Add a [best_of] section to the rubric file.",
            )
        return self.best_of

    def weighted_value(self, distributions: list[tuple[float, ...]]) -> float:
        """Return the weighted mean of the criteria's expected values, given one label distribution
        per criterion.
        """
        values = [c.expected_value(d) for c, d in zip(self.criteria, distributions, strict=True)]
        weights = [c.weight for c in self.criteria]
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)

    def template_digest(self, mode: str, method: str) -> str:
        """Return the key of the prompt texts that are used for a mode and an elicitation method."""
        prompts: Any = None
        if method == CHOICE:
            prompts = {"pairwise": self.choice, "listwise": self.best_of}.get(mode)
        elif method in METHODS:
            prompts = getattr(self, method, None)
        return content_key(mode, method, prompts or (self.template, self.criteria))

    @property
    def digest(self) -> str:
        """Key of the rubric's whole content."""
        return content_key(self.model_dump_json())


def fill(template: str, **parts: str) -> str:
    """Return the template with its placeholders (`{prompt}`, `{text}`, ...) replaced in a single
    pass. Placeholders inside the inserted texts are not replaced.
    """
    return _PLACEHOLDER.sub(lambda match: parts.get(match.group(1), ""), template)


@cache
def load_rubric(name: str, key: str = "rubric") -> Rubric:
    """Load a built-in rubric by its id, or a rubric file by its path (which must end in `.toml`).
    Raises `UserError` about `key`, which named it, if there is no such rubric.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise UserError(
            key,
            name,
            "there is no such rubric.",
            f"Known rubrics: {known}. Or give the path of a TOML file.",
        )
    return validate(Rubric, read_toml(path, key), source=f"{key} {path}")
