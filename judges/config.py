"""The `[judge]` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.config import Section


class ScriptedConfig(Section):
    """The dials of the scripted labeler."""

    accuracy: float = Field(default=0.9, ge=0, le=1)
    """How often its verdict on an item is the true one."""
    length_bias: float = 0.0
    """Added to the value, or to the log-odds of a pair, for every thousand characters."""
    position_bias: float = 0.0
    """Log-odds added to whichever of two answers is shown first."""
    injection_weakness: float = 0.0
    """Log-odds added to an answer that talks to its grader."""
    unscored_share: float = Field(default=0.0, ge=0, le=1)
    """Share of subjects on which it fails to answer."""


class EndpointConfig(Section):
    """A labeler behind an OpenAI-compatible server."""

    url: str = Field(default="http://127.0.0.1:8000/v1", pattern=r"^https?://")
    """Where its API is; it mostly ends in /v1."""
    model: str = ""
    """The model's name there; empty takes the server's first."""
    key_variable: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")
    """The environment variable that holds the key, if the server wants one."""
    way: Literal["best", "logprobs", "counts", "text"] = "best"
    """How to read its answers; best takes the first of the three that the server can do."""
    num_samples: int = Field(default=5, ge=1)
    """Answers a question where labels are counted."""
    concurrency: int = Field(default=16, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    max_retries: int = Field(default=4, ge=0)
    """Tries after a failed request, with growing pauses; a Retry-After is obeyed."""
    patience_s: float = Field(default=600.0, ge=0)
    """How long to wait for a server that is gone."""
    prompt_price: float = Field(default=0.0, ge=0)
    """Price of a million prompt tokens."""
    completion_price: float = Field(default=0.0, ge=0)
    """Price of a million completion tokens."""
    max_cost: float = Field(default=0.0, ge=0)
    """End the stage when this much is spent; 0 sets no limit. It can be taken up again with more.
    """


class SelectionConfig(Section):
    """How the passages to learn from are drawn."""

    keep_share: float = Field(default=0.8, gt=0, le=1)
    """Share of the scored passages that may be learned from."""
    temperature: float = Field(default=0.2, gt=0)
    """Ranks are divided by this: near 0 the best share is taken, at large values any share."""
    max_domain_share: float = Field(default=0.25, gt=0, le=1)
    """Largest share of the tokens from one domain; with fewer domains than that allows, equal
    shares."""


class JudgeConfig(Section):
    """Who labels, by which rubrics, and how samples are cut from documents."""

    kind: Literal["local", "endpoint", "scripted"] = "local"
    model: str = "packaged:smollm2-135m-instruct"
    passage_rubrics: list[str] = Field(default=["coherence", "informative"], min_length=1)
    """Passages are ranked by the mean rank over those of these rubrics to which the labeler is
    admitted."""
    answer_rubric: str = "relevance"
    correctness_rubric: str = "correctness"
    answer_first: bool = False
    """The labeler answers each prompt itself before it judges answers to it, and sees its own as a
    reference."""
    gold: dict[str, str] = {}
    """Rubric to a gold file or folder on which the labeler must be admitted too; held out from
    training."""
    gold_limit: int = Field(default=0, ge=0)
    """Pairs of each half of each gold set; 0 takes all."""
    soft_tokens: int = Field(default=0, ge=0)
    """Tokens of labels a generation after which it is said aloud; 0 sets no limit."""
    hard_tokens: int = Field(default=0, ge=0)
    """Tokens of labels a generation after which nothing more is asked; 0 sets no limit."""
    num_probe_items: int = Field(default=24, ge=8, le=24)
    """Items a probe; half chooses the way of asking, half decides on admission."""
    passage_chars: int = Field(default=900, ge=100)
    """Longest passage cut from a document; cuts fall between lines."""
    max_held_out_share: float = Field(default=0.2, ge=0, le=1)
    """Largest share of the runs of ten words in a passage or an executed example that a held-out
    text may have too; others are left out."""
    head_factor: float = Field(default=3.0, ge=0)
    """Further passages, for each one judged, to score by a head distilled from the labeler; 0 fits
    none."""
    prompts: str = ""
    """A JSON lines file of your own prompts whose completions can be checked: prompt, check,
    answer."""
    num_completions: int = Field(default=4, ge=2)
    """How often the champion completes each prompt."""
    completion_tokens: int = Field(default=32, ge=1)
    temperature: float = Field(default=0.9, gt=0)
    min_margin: float = Field(default=0.1, ge=0)
    """Smallest difference of two strengths (log-odds) that makes a preference; nearer ones go to
    the shorter text."""
    pairs_per_prompt: int = Field(default=4, ge=1)
    """Pairs of completions of a prompt to ask about, those that teach most, where the labeler looks
    at both sides."""
    older_completions: int = Field(default=1, ge=0)
    """Completions of each prompt by the champion before this one, which may be rejected and are
    never chosen."""
    chunk_size: int = Field(default=16, gt=0)
    """Subjects judged between two commits."""
    selection: SelectionConfig = SelectionConfig()
    scripted: ScriptedConfig = ScriptedConfig()
    endpoint: EndpointConfig = EndpointConfig()

    def rubric_names(self) -> list[str]:
        """Rubrics that the labeler is measured on."""
        return [*self.passage_rubrics, self.answer_rubric, self.correctness_rubric]
