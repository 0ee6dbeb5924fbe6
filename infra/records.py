"""The records of the journey from a URL to a decision.

    url -> Page -> Document -> Sample -> Judgment -> Preference -> Checkpoint -> Evaluation -> Decision

Every record is frozen and carries a content key and the key of its parent, so that a
weight can be traced to its pages and a page to the generations that learned from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime


def content_key(*parts: object) -> str:
    """128-bit hex key of the parts, in order. Length prefixes keep ("ab", "c") and ("a", "bc") apart."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


def unit_hash(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone; the source of every random choice on data."""
    return int(content_key(*parts)[:13], 16) / 16**13


def now() -> datetime:
    """The current time in UTC, without a time zone marker, as DuckDB's TIMESTAMP wants it."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Page:
    """One answer to one visit of a URL; the body lies in a WARC file, or nowhere where a rule denied keeping it.

    `kind` is page, sitemap or feed. `train` and `evaluate` are the site's word on each use: allow, deny
    or unknown. `warc_file` is "" where no body is kept.
    """

    page_id: str
    url: str
    host: str
    domain: str
    section: str
    kind: str
    visit: int
    location: str
    status: int
    content_type: str
    etag: str
    last_modified: str
    fetched_at: datetime
    digest: str
    num_bytes: int
    generation: int
    train: str
    evaluate: str
    warc_file: str = ""
    warc_offset: int = 0
    warc_length: int = 0


@dataclass(frozen=True)
class Permission:
    """What decided one purpose (train, evaluate) for one page, with the words it was read from."""

    page_id: str
    url: str
    purpose: str
    verdict: str
    reason: str
    evidence: str
    generation: int


@dataclass(frozen=True)
class Request:
    """One line of the fetch log: everything an auditor needs to tell whether a crawl was polite.

    Times are seconds since the epoch. `configured_delay_s`, `crawl_delay_s` and `own` are what the
    delay after this request was made from; `retry_after_s` is what the server asked for (0: nothing).
    """

    request_id: str
    generation: int
    worker: int
    host: str
    domain: str
    address: str
    url: str
    kind: str
    started_at: float
    ended_at: float
    status: int
    num_bytes: int
    configured_delay_s: float
    crawl_delay_s: float
    own: bool
    retry_after_s: float
    failure: str


@dataclass(frozen=True)
class Document:
    """Text extracted from one page. `pool` is train, gate or sealed, fixed before any labeler sees the text.

    `status` is kept, or why the text is of no use: filtered, duplicate, contaminated, denied, forgotten
    (the text is gone), or new until the generation's crawl has been curated.
    """

    document_id: str
    page_id: str
    url: str
    title: str
    text: str
    language: str
    extractor: str
    pool: str
    generation: int
    status: str = "kept"
    reason: str = ""
    cluster_id: str = ""
    cluster_size: int = 1
    text_digest: str = ""
    other_digest: str = ""
    disagreement: float = 0.0
    num_masked: int = 0


@dataclass(frozen=True)
class Sample:
    """Something to learn from. `kind` is passage, demonstration or prompt (no completion); `origin` web, model or file.

    `source_start` and `source_end` are character offsets into the document's text, -1 where the
    text is not a span of it. `check` says how a completion of the prompt can be verified, "" where it cannot.
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

    `mode` is pointwise, pairwise, listwise or verify. `distribution` holds the probabilities of `labels`, `verdict`
    the likeliest of them, `entropy` is in nats, and `gap` says how far the answer moves with the order in which
    texts are shown (nats). `detail` is the truth where it is known (gold), or what a verifier looked at. The
    texts are known by `subject_hashes`, in the order in which they were given; `raw` is what the labeler said.
    """

    judgment_id: str
    subject_id: str
    labeler: str
    rubric: str
    way: str
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

    `margin` is in log-odds; `rejected_model` is the digest of the model that wrote the rejected side. `place` is 0 for
    the best over the worst of a prompt's completions, and counts on through the other pairs of their ranking.
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


@dataclass(frozen=True)
class TrainStep:
    """One step of one training step kind (sft, dpo, ppo...): which rows, and what came out.

    `row_ids` are the data rows of its global batch in order; `metrics` is a JSON object of what the kind reports
    besides its loss.
    """

    generation: int
    kind: str
    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    num_tokens: int
    seconds: float
    row_ids: tuple[str, ...] = ()
    metrics: str = "{}"


@dataclass(frozen=True)
class Checkpoint:
    """A model folder and where it came from. Generation 0 is the anchor and has no parent."""

    digest: str
    path: str
    parent: str
    generation: int
    manifest_digest: str
    recipe_digest: str
    seed: int
    created_at: datetime


@dataclass(frozen=True)
class ItemScore:
    """One model's raw score on one item of one suite; `size` is bytes for bits per byte, else 1."""

    attempt: int
    suite: str
    item_id: str
    position: int
    model_digest: str
    value: float
    size: int
    detail: str
    unit: str
    """Items of one unit are not independent of each other."""


@dataclass(frozen=True)
class Evaluation:
    """A metric of one model in one attempt with its standard error over `num_items` units."""

    attempt: int
    generation: int
    suite: str
    metric: str
    model_digest: str
    value: float
    standard_error: float
    num_items: int


@dataclass(frozen=True)
class Decision:
    """The gate's word on a candidate, with the evidence it rests on."""

    attempt: int
    """0 where there was none: the data policy let no candidate be trained."""
    generation: int
    outcome: str
    reason: str
    candidate: str
    champion: str
    alpha: float
    log_evidence: float
    log_threshold: float
    num_documents: int
    mean_gain: float
    is_weak: bool
    """Whether it rests on items that earlier attempts were decided on as well."""
    decided_at: datetime


@dataclass(frozen=True)
class GateTest:
    """One sequential test of an attempt, with its evidence after each unit.

    `outcome` is pass, fail or open; `clip`, `bound`, `mean_gain` and its error are in the suite's own unit; `path`
    holds log E after 1, 2, ... units.
    """

    attempt: int
    suite: str
    role: str
    against: str
    other: str
    outcome: str
    clip: float
    bound: float
    num_units: int
    num_items: int
    mean_gain: float
    standard_error: float
    log_evidence: float
    log_threshold: float
    path: tuple[float, ...]


@dataclass(frozen=True)
class DataFact:
    """A number about what a generation is trained on, and the bounds that it must keep."""

    generation: int
    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AliasEvent:
    """An alias (champion, `best:SUITE`) was moved to a model: never changed, only followed by others."""

    number: int
    alias: str
    digest: str
    generation: int
    moved_at: datetime
    reason: str
    attempt: int
    """Whose evidence it rests on; 0 where a person moved it."""
