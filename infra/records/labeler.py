"""What is known of labelers: how they did where the truth is known, what they may do."""

from __future__ import annotations

import math
from dataclasses import dataclass

LADDER_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of a good answer's words that are shuffled; a larger share should cost more."""


@dataclass(frozen=True)
class Interval:
    """A value with the lower and upper bound of its interval; NaN where nothing was measured."""

    value: float
    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether it was measured."""
        return not math.isnan(self.value)

    def __str__(self) -> str:
        if not self.is_known:
            return "-"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Baselines:
    """Accuracies of rules that need no labeler: always the same side, and always by length."""

    majority: float
    longer: float


@dataclass(frozen=True)
class ProbabilityErrors:
    """Brier score and expected calibration error (ECE) before and after calibration.

    `kind` is the kind of calibration curve, which is fitted on other pairs.
    """

    kind: str
    temperature: float
    brier: float
    ece: float
    brier_calibrated: float
    ece_calibrated: float


@dataclass(frozen=True)
class Habits:
    """Biases of a labeler in nats, with 95% intervals.

    `first_place_gap`: what an answer gains in the first position. `length_slope`: what 1,000
    characters add. `discrimination`: how far the truth moves the log-odds.
    """

    first_place_gap: Interval
    length_slope: Interval
    discrimination: Interval


@dataclass(frozen=True)
class Robustness:
    """Results on pairs made from gold pairs.

    `ladder`: how often an answer beats itself with a share of its words shuffled, in the order of
    `LADDER_SHARES`. `over_empty`: how often it beats an empty text. `identical_ties`: how often
    identical texts are a tie. `attack_success`: how often an instruction to the grader changed a
    right verdict.
    """

    ladder: tuple[float, ...]
    over_empty: float
    identical_ties: float
    attack_success: Interval


@dataclass(frozen=True)
class LabelerErrors:
    """Pairs whose better side is A, how many of them were judged right, and the same for B."""

    num_a: int
    right_a: int
    num_b: int
    right_b: int

    @property
    def sensitivity(self) -> float:
        """How often the labeler says A if A is better."""
        return self.right_a / self.num_a if self.num_a else 0.0

    @property
    def specificity(self) -> float:
        """How often the labeler says B if B is better."""
        return self.right_b / self.num_b if self.num_b else 0.0


@dataclass(frozen=True)
class LabelingCost:
    """Time and tokens of the test pairs, and the price of 1,000 pairs at the labeler's prices."""

    seconds: float
    num_tokens: int
    price_per_thousand: float = 0.0


@dataclass(frozen=True)
class Datasheet:
    """How reliable a labeler is on the pairs of one gold set.

    The elicitation method is chosen on other pairs of the set. `admission_low` is the one-sided 95%
    lower bound of the accuracy, which must be above the baselines. `consistency` is how often both
    orders give the same verdict, `right_if_consistent` the accuracy on these pairs. Numbers that
    could not be measured are NaN.
    """

    datasheet_id: str
    labeler: str
    rubric: str
    method: str
    gold: str
    gold_digest: str
    num_pairs: int
    num_unscored: int
    accuracy: Interval
    admission_low: float
    baselines: Baselines
    kappa: Interval
    probabilities: ProbabilityErrors
    consistency: float
    right_if_consistent: float
    habits: Habits
    robustness: Robustness
    errors: LabelerErrors
    cost: LabelingCost

    @property
    def best_baseline(self) -> float:
        """The accuracy that a labeler must exceed: of chance or of the best baseline."""
        return max(0.5, self.baselines.majority, self.baselines.longer)

    @property
    def pairs_per_second(self) -> float:
        """Test pairs judged per second."""
        return self.num_pairs / max(self.cost.seconds, 1e-9)

    @property
    def tokens_per_thousand(self) -> float:
        """Tokens that 1,000 pairs cost."""
        return 1000 * self.cost.num_tokens / max(self.num_pairs, 1)

    @property
    def ladder(self) -> dict[int, float]:
        """Percentage of shuffled words -> how often the original wins."""
        percents = (round(100 * share) for share in LADDER_SHARES)
        return dict(zip(percents, self.robustness.ladder, strict=True))


@dataclass(frozen=True)
class GoldItem:
    """A judgment that a datasheet is computed from: its part, its position there, and the lengths
    of the two sides in characters.
    """

    datasheet_id: str
    part: str
    position: int
    judgment_id: str
    length_a: int
    length_b: int


@dataclass(frozen=True)
class WinRate:
    """How often one model's completions win over another's in a generation, as judged and
    corrected.

    The correction removes the labeler's errors on pairs with a known answer. If it is not possible,
    `reason` is the reason, and `corrected`, `low` and `high` are NaN. All bounds are 95%.
    """

    generation: int
    labeler: str
    rubric: str
    model: str
    other: str
    num_pairs: int
    measured: float
    measured_low: float
    measured_high: float
    corrected: float
    low: float
    high: float
    reason: str


@dataclass(frozen=True)
class ProbeResult:
    """A labeler's result on one probe of one rubric with one elicitation method.

    `half` is calibration (chooses the method) or test (admits the labeler). `lower` and `upper`
    bound the pair accuracy (Wilson, 90% two-sided, so each bound holds at 95%).
    """

    result_id: str
    labeler: str
    rubric: str
    method: str
    probe: str
    half: str
    num_pairs: int
    accuracy: float
    lower: float
    upper: float
    auc: float
    rule_limit: float
    """Accuracy that no rule of one feature exceeds on the pairs that decide."""
    decision: str
    """pass, fail or open on the pairs that decide; empty otherwise."""
    alpha: float
    """Level of the test that decides."""


@dataclass(frozen=True)
class Admission:
    """Whether a labeler may label by a rubric, and the elicitation method chosen for it.

    Differences of its log-odds are divided by `temperature` to become probabilities.
    """

    admission_id: str
    labeler: str
    rubric: str
    method: str
    admitted: bool
    reason: str
    temperature: float = 1.0
    length_slope: float = 0.0
    """What the labeler gives for length alone: nats of log-odds for each factor e of length."""
