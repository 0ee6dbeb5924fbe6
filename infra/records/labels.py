"""Records of labeling: samples, judgments, completions, preferences."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

EMPTY_SIDE = "a side of a preference is empty"
EQUAL_SIDES = "both sides of a preference are equal"
_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Characters without a picture that Unicode counts as letters, marks or symbols."""


def side_key(text: str) -> str:
    """Return what two sides of a preference must differ in: the text without differences of
    whitespace, of width, and of characters that nobody sees.
    """
    seen = [c for c in text if c.isspace() or _is_visible(c)]
    return " ".join(unicodedata.normalize("NFKC", "".join(seen)).split())


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf") and character not in _BLANKS


def sides_flaw(chosen: str, rejected: str) -> str:
    """Return why two texts make no preference; "" if they make one."""
    keys = side_key(chosen), side_key(rejected)
    if not all(keys):
        return EMPTY_SIDE
    return EQUAL_SIDES if keys[0] == keys[1] else ""


@dataclass(frozen=True)
class Sample:
    """A training sample.

    `kind` is passage, demonstration or prompt (without completion); `origin` is web, model or file.
    `source_start` and `source_end` are character offsets into the document's text, -1 if the sample
    is not a span of it. `check` says how a completion can be verified, "" if it cannot.
    """

    sample_id: str
    document_id: str
    kind: str
    prompt: str
    completion: str
    origin: str
    generation: int
    source_start: int
    source_end: int
    check: str = ""

    @property
    def text(self) -> str:
        """Prompt and completion, which are searched for held-out text and canaries."""
        return f"{self.prompt}\n{self.completion}"


@dataclass(frozen=True)
class Judgment:
    """A labeler's answer about a subject: scored with a value, or unscored with a reason.

    `mode` is pointwise, pairwise, listwise or verify. `distribution` are the probabilities of
    `labels`, `verdict` is the most probable label, `entropy` is in nats. `gap` is how far the
    answer depends on the order in which the texts are shown, in nats. `detail` is the truth if it
    is known (gold), or what a verifier looked at. `subject_hashes` are the hashes of the texts in
    the order in which they were given; `raw` is the labeler's answer as text.
    """

    judgment_id: str
    subject_id: str
    labeler: str
    rubric: str
    method: str
    status: str
    reason: str
    value: float
    detail: str
    num_tokens: int
    generation: int
    mode: str = "verify"
    verdict: str = ""
    labels: tuple[str, ...] = ()
    distribution: tuple[float, ...] = ()
    entropy: float = 0.0
    gap: float = 0.0
    completion_tokens: int = 0
    subject_hashes: tuple[str, ...] = ()
    rubric_digest: str = ""
    template_digest: str = ""
    seed: int = 0
    raw: str = ""


@dataclass(frozen=True)
class Completion:
    """A text that a model generated for a prompt; `index` numbers the texts of one prompt."""

    completion_id: str
    sample_id: str
    model_digest: str
    index: int
    text: str
    num_tokens: int
    generation: int


@dataclass(frozen=True)
class Preference:
    """Two completions of a prompt; the labeler judged `chosen` to be better.

    `margin` is in log-odds; `rejected_model` is the digest of the model that wrote the rejected
    completion. `pair_index` numbers the pairs of a prompt; 0 is its best against its worst one.

    No preference has an empty side or two equal ones: it cannot be made.
    """

    preference_id: str
    sample_id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_origin: str
    labeler: str
    probability: float
    margin: float
    generation: int
    rejected_model: str = ""
    pair_index: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` for sides that make no preference."""
        flaw = sides_flaw(self.chosen, self.rejected)
        if flaw:
            raise ValueError(f"preference {self.preference_id}: {flaw}")
