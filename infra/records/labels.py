"""Records of labeling: samples, judgments, completions, preferences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """Something to learn from. `kind` is passage, demonstration or prompt (no completion); `origin`
    web, model or file.

    `source_start` and `source_end` are character offsets into the document's text, -1 where the
    text is not a span of it. `check` says how a completion of the prompt can be verified, "" where
    it cannot.
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
        """All that is learned from: where held-out text and canaries are looked for."""
        return f"{self.prompt}\n{self.completion}"


@dataclass(frozen=True)
class Judgment:
    """One labeler's answer about one subject: scored with a value, or unscored with a reason.

    `mode` is pointwise, pairwise, listwise or verify. `distribution` holds the probabilities of
    `labels`, `verdict` the likeliest of them, `entropy` is in nats, and `gap` says how far the
    answer moves with the order in which texts are shown (nats). `detail` is the truth where it is
    known (gold), or what a verifier looked at. The texts are known by `subject_hashes`, in the
    order in which they were given; `raw` is what the labeler said.
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
    """One text that a model gave to a prompt. `index` counts the tries at the same prompt."""

    completion_id: str
    sample_id: str
    model_digest: str
    index: int
    text: str
    num_tokens: int
    generation: int


@dataclass(frozen=True)
class Preference:
    """Two completions of one prompt, of which the labeler holds `chosen` to be better.

    `margin` is in log-odds; `rejected_model` is the digest of the model that wrote the rejected
    side. `place` is 0 for the best over the worst of a prompt's completions, and counts on through
    the other pairs of their ranking.
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
    place: int = 0
