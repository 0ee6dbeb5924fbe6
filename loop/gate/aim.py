"""The `[aim]` section of a recipe: what the model should become better at."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.config import Section
from judges.config import EndpointConfig, JudgeConfig
from loop.gate.config import BITS, SuiteConfig

AimKind = Literal["text", "answers", "exam"]
ExamKind = Literal["bits", "choice", "pairs", "executed"]


class ExamConfig(Section):
    """The user's exam, for `aim.kind = "exam"`. A hash of each item decides which part it is in."""

    file: str = ""
    """The exam: JSON lines as in `gate.suites.NAME.file`; for `bits` also `olmo:TASK` or
    `lm_eval:TASK`."""
    kind: ExamKind = "bits"
    """How an item is scored, as in `gate.suites.NAME.kind`. `bits` is far less noisy than shares of
    right answers."""
    development_share: float = Field(default=0.3, ge=0, lt=1)
    """Share of the items that selection may learn from. They are never trained on."""
    sealed_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of the items that no decision reads: they are scored for promoted champions. The gate
    has what is left."""
    items: int = Field(default=200, gt=0)
    """Largest number of items of the gate part per attempt, and of the sealed part."""
    reuse: bool = True
    """Use the same items in every attempt; promotions are then marked as weak. Otherwise each item
    is used once."""

    def suite(self) -> SuiteConfig:
        """The gate part as a primary suite."""
        return SuiteConfig(
            file=self.file, kind=self.kind, role="primary", items=self.items, reuse=self.reuse
        )


class AskerConfig(Section):
    """The model that writes questions about held-out pages; it must not be the labeler."""

    kind: Literal["local", "endpoint"] = "local"
    """Kind of model: a `local` transformers model, or an `endpoint` (OpenAI-compatible server)."""
    model: str = "packaged:smollm2-135m-instruct"
    """A `local` model: `packaged:NAME`, `tiny:NAME`, `hub:ORG/NAME` or a folder."""
    endpoint: EndpointConfig = EndpointConfig()

    def judge(self) -> JudgeConfig:
        """The same model as a labeler."""
        return JudgeConfig(kind=self.kind, model=self.model, endpoint=self.endpoint)


class AnswersConfig(Section):
    """Questions about held-out pages, for `aim.kind = "answers"`. Each is used in one attempt."""

    passages_per_page: int = Field(default=0, ge=0)
    """Number of passages of a held-out page about which the asker writes questions with short
    answers; 0 asks only what the executed examples of the pages print."""
    asker: AskerConfig = AskerConfig()
    """Model that writes the questions; it must not be the labeler. A question is kept if the asker
    itself finds the answer again."""
    items: int = Field(default=200, gt=0)
    """Largest number of questions per attempt, and of sealed ones."""

    def suite(self) -> SuiteConfig:
        """The questions about pages of the gate as a primary suite."""
        return SuiteConfig(file="", kind="bits", role="primary", items=self.items, reuse=False)


class AimConfig(Section):
    """What the model should become better at; the gate's first primary test measures it."""

    kind: AimKind = "text"
    """`text`: predict text like the good documents of this crawl. `answers`: answer questions about
    its held-out pages. `exam`: the items of `aim.exam.file`. Held-out text is a guard for the last
    two."""
    policy: Literal["web-1", "lenient-1"] = "web-1"
    """Quality rules that a held-out document must pass to be scored, whatever was crawled:
    `crawl.policy` has their meaning."""
    balanced: bool = True
    """Score fewer documents of the domains, and of the sections of a domain, that have more of them
    than the average one."""
    exam: ExamConfig = ExamConfig()
    answers: AnswersConfig = AnswersConfig()

    @property
    def is_share(self) -> bool:
        """Whether the aim is measured as a share of right answers, and not in bits per byte."""
        return self.kind == "exam" and self.exam.kind != BITS
