"""What is asked of a labeler, and the ways of asking it. A rubric is a TOML file; its digest is its version."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from pydantic import Field

from infra.config import Section, read_toml, validate
from infra.errors import UserError
from infra.records import content_key

FOLDER = Path(__file__).parent
WAYS = ("label_given_text", "text_given_label", "likelihood", "few_shot")
CHOICE = "choice"
"""The way of asking about a pair at once, beside valuing each side alone by one of `WAYS`."""
_PLACE = re.compile(r"\{(prompt|text|other)\}")


class LabelQuestion(Section):
    """A template that ends where a label belongs; the value is P(positive) against P(negative)."""

    template: str
    positive: str
    negative: str


class Contrast(Section):
    """Two contexts; the value says under which of them the text is likelier, per token."""

    positive: str
    negative: str


class Likelihood(Section):
    """One context; the value is the text's probability per token after it."""

    context: str


class Rubric(Section):
    """One thing to judge by. `probes` name the constructions that measure a labeler on it.

    `choice` asks about two texts at once, `{text}` and `{other}`; its positive label names the first.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    version: int
    subject: str = Field(pattern=r"^(passage|answer)$")
    probes: list[str] = Field(min_length=1)
    label_given_text: LabelQuestion
    text_given_label: Contrast
    likelihood: Likelihood
    few_shot: LabelQuestion
    choice: LabelQuestion | None = None

    def asked_about_pairs(self) -> LabelQuestion:
        """The question about two texts at once. Raises `UserError` where the rubric has none."""
        if self.choice is None:
            raise UserError("judge.rubric", self.id, "it has no [choice], so pairs cannot be asked about at once.",
                            "Add one to the rubric's file.")  # fmt: skip
        return self.choice

    @property
    def digest(self) -> str:
        """Key of the rubric's content."""
        return content_key(self.model_dump_json())


def fill(template: str, prompt: str, text: str, other: str = "") -> str:
    """The template with `{prompt}`, `{text}` and `{other}` put in at once: what is put in is not searched."""
    values = {"prompt": prompt, "text": text, "other": other}
    return _PLACE.sub(lambda match: values[match.group(1)], template)


@cache
def load_rubric(name: str) -> Rubric:
    """A built-in rubric by its id, or a user's by the path of its TOML file."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise UserError("judge.rubric", name, "no such rubric.", f"Known: {known}; or give the path of a TOML file.")
    return validate(Rubric, read_toml(path))
