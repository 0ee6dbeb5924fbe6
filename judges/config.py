"""The `[judge]` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from infra.config import Section


class ScriptedConfig(Section):
    """Settings of the scripted labeler."""

    accuracy: float = Field(default=0.9, ge=0, le=1)
    """Probability that the verdict on an item is the true one."""
    length_bias: float = 0.0
    """Added per 1,000 characters to the value of a text, or to the log-odds of a pair (nats)."""
    position_bias: float = 0.0
    """Log-odds (nats) added to the text that is shown first."""
    injection_weakness: float = 0.0
    """Log-odds (nats) added to a text that addresses its grader."""
    unscored_share: float = Field(default=0.0, ge=0, le=1)
    """Share of items that the labeler does not answer."""


MAX_LABEL_TOKENS = 128
"""Longest reply of a server. One that is cut off is not read, so there is room for a sentence."""
RATIONALE = "rationale"
"""The method that asks for reasons first and for the label after them (G-Eval, Liu et al. 2023,
arXiv:2303.16634; Prometheus, Kim et al. 2024, arXiv:2310.08491)."""
RATIONALE_TOKENS = 400
OWN_PARAMETERS = frozenset(
    {"model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "seed"}
    | {"logprobs", "top_logprobs", "response_format", "stream", "n"}
)
"""Parameters of a request that a labeler sets itself."""


class EndpointConfig(Section):
    """A labeler behind an OpenAI-compatible server."""

    url: str = Field(default="http://127.0.0.1:8000/v1", pattern=r"^https?://")
    """Base URL of the API; it usually ends in `/v1`."""
    more_urls: list[Annotated[str, StringConstraints(pattern=r"^https?://")]] = []
    """Further addresses of servers with the same model; requests are spread over all."""
    model: str = ""
    """Name of the model on the server; empty uses the first model that the server lists."""
    key_variable: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")
    """Name of the environment variable that holds the API key."""
    method: Literal["best", "logprobs", "counts", "text", "rationale"] = "best"
    """How labels are read: `logprobs` of the first token, `counts` over sampled answers, or the
    label that the `text` of one answer says; `rationale` asks for reasons first and for the label
    after them. `best` measures the first of these that the server supports beside `rationale`, and
    takes the better one."""
    reasoning_tokens: int = Field(default=0, ge=0)
    """Tokens that a reasoning model may spend before each answer; 0 for models that answer at
    once."""
    reasoning_effort: str = ""
    """Sent with every question if it is set; `low`, `medium` or `high` on many servers."""
    enable_thinking: bool | None = None
    """Sent with every question as an argument of the chat template if it is set; false switches
    the reasoning of many models off."""
    extra: dict[str, Any] = {}
    """Further parameters that are sent with every question as they are."""
    num_samples: int = Field(default=5, ge=1)
    """Number of sampled answers per question for `counts`."""
    concurrency: int = Field(default=16, ge=1)
    """Number of questions that are sent at the same time."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Time limit of one request, in seconds."""
    max_retries: int = Field(default=4, ge=0)
    """Number of retries of a failed request, with growing pauses; Retry-After is obeyed."""
    patience_s: float = Field(default=600.0, ge=0)
    """How long to wait for a server that does not answer or is busy, in seconds."""
    prompt_price: float = Field(default=0.0, ge=0)
    """Price per million prompt tokens, in any currency."""
    completion_price: float = Field(default=0.0, ge=0)
    """Price per million completion tokens, in the same currency."""
    max_cost: float = Field(default=0.0, ge=0)
    """Cost of the whole run at which a stage stops, in the currency of the prices; 0 sets no limit.
    With a higher limit the same command continues."""

    @field_validator("extra")
    @classmethod
    def _free(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(OWN_PARAMETERS & extra.keys()):
            raise ValueError(f"{', '.join(taken)}: these are set by the labeler; leave them out")
        return extra

    @property
    def answer_tokens(self) -> int:
        """The longest answer that any of the methods asks for, with the reasoning before it."""
        has_reasons = self.method in ("best", RATIONALE)
        return self.reasoning_tokens + (RATIONALE_TOKENS if has_reasons else MAX_LABEL_TOKENS)

    def sent_with_questions(self) -> dict[str, Any]:
        """The parameters of every question beside those that the labeler needs."""
        sent = dict(self.extra)
        if self.reasoning_effort:
            sent["reasoning_effort"] = self.reasoning_effort
        if self.enable_thinking is not None:
            arguments = dict(sent.get("chat_template_kwargs") or {})
            sent["chat_template_kwargs"] = arguments | {"enable_thinking": self.enable_thinking}
        return sent


class SelectionConfig(Section):
    """How passages for training are sampled."""

    by: Literal["value", "labels"] = "value"
    """What ranks the passages. `value`: how much better the champion predicts a passage once it has
    learned the development texts (`crawl.development_share`, or the development part of an exam);
    without such texts as `labels`. `labels`: the mean rank over the labeler's rubrics."""
    keep_share: float = Field(default=0.8, ge=1e-3, le=1)
    """Share of the scored passages that may be used for training."""
    temperature: float = Field(default=0.2, ge=1e-3)
    """Divisor of the ranks (0 to 1) in the sampling odds exp(rank / temperature): near 0 the best
    are taken, large values sample uniformly."""
    max_domain_share: float = Field(default=0.25, gt=0, le=1)
    """Largest share of the tokens from one domain; with too few domains for that, each gets an
    equal share."""


class JudgeConfig(Section):
    """The labeler, its rubrics, and how training samples are made from documents."""

    kind: Literal["local", "endpoint", "scripted"] = "local"
    """Kind of labeler: a `local` transformers model, an `endpoint` (OpenAI-compatible server), or
    `scripted` (for dry runs)."""
    model: str = "packaged:smollm2-135m-instruct"
    """Model of a `local` labeler: `packaged:NAME`, `tiny:NAME`, `hub:ORG/NAME` or a folder."""
    passage_rubrics: list[str] = Field(default=["coherence", "informative"], min_length=1)
    """Rubrics for passages, by name or path. A passage's rank by labels is its mean rank over those
    to which the labeler is admitted."""
    answer_rubric: str = "relevance"
    """Rubric for answers and for questions about passages, by name or path."""
    correctness_rubric: str = "correctness"
    """Rubric used to ask the labeler about pairs whose better side a verifier knows, by name or
    path."""
    answer_first: bool = False
    """The labeler first answers each prompt itself and sees its own answer as a reference."""
    gold: dict[str, str] = {}
    """Rubric name to a gold file or folder on which the labeler must also be admitted. Gold is held
    out from training."""
    gold_limit: int = Field(default=0, ge=0)
    """Number of pairs used from each half of each gold set; 0 uses all."""
    soft_tokens: int = Field(default=0, ge=0)
    """Labeling tokens of one generation after which a warning is printed; 0 sets no limit."""
    hard_tokens: int = Field(default=0, ge=0)
    """Labeling tokens of one generation after which nothing more is asked, not counting the
    measurement of the labeler; 0 sets no limit."""
    passage_chars: int = Field(default=900, ge=100)
    """Longest passage cut from a document, in characters; cuts fall between lines where
    possible."""
    max_held_out_share: float = Field(default=0.2, ge=0, le=1)
    """Share of the 10-word n-grams of a passage or executed example that may occur in held-out
    text; above it, the text is left out."""
    valued_factor: float = Field(default=4.0, ge=1)
    """With `selection.by = "value"`: tokens of the passages whose value is measured, as a multiple
    of `budget.label_tokens`."""
    sampled_passages: int = Field(default=32, ge=0)
    """With `selection.by = "value"`: largest number of passages per generation that the labeler
    judges, drawn at random. Their labels select nothing; they show what the rubrics say of the
    value."""
    prompts: str = ""
    """JSON Lines file with your own prompts that can be checked (`prompt`, `check`, `answer`);
    empty for none."""
    num_completions: int = Field(default=4, ge=2)
    """Number of completions of each prompt by the champion."""
    completion_tokens: int = Field(default=32, ge=1)
    """Longest completion, in tokens."""
    temperature: float = Field(default=0.9, gt=0)
    """Sampling temperature of completions."""
    min_margin: float = Field(default=0.1, ge=0)
    """Smallest difference of two Bradley-Terry strengths, in nats, that makes a preference. Among
    near-equal best completions the shortest is chosen."""
    pairs_per_prompt: int = Field(default=4, ge=1)
    """Number of pairs of completions per prompt that are compared, most informative first. Used if
    the labeler compares pairs directly."""
    older_completions: int = Field(default=1, ge=0)
    """Number of completions of each prompt by the previous champion; they can be rejected but never
    chosen."""
    stop_when_useless: bool | None = None
    """Stop valuing and judging passages once the control has shown that picking does not pay;
    passages are then drawn at random for the rest of the run. Otherwise they still are for the
    picked candidate, and picked again once it pays. Unset: true for `gate.level` strict."""
    chunk_size: int = Field(default=16, gt=0)
    """Number of items judged between two commits to the store."""
    selection: SelectionConfig = SelectionConfig()
    scripted: ScriptedConfig = ScriptedConfig()
    endpoint: EndpointConfig = EndpointConfig()

    def rubric_names(self) -> list[str]:
        """Rubrics that the labeler is measured on."""
        return [*self.passage_rubrics, self.answer_rubric, self.correctness_rubric]
