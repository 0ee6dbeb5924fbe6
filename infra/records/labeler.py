"""What is known of labelers: how they did where the truth is known, what they may do, what was
distilled.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Datasheet:
    """How far a labeler can be trusted on the pairs of one gold set, in the way of asking chosen on
    other pairs.

    `majority` and `longer` are the accuracies of the trivial baselines, `admission_low` is the
    one-sided 95% bound that has to beat them. `brier` and `ece` (expected calibration error) are
    those of its probabilities as they come and after calibration on other pairs. Habits are in
    nats, with intervals of 95%: what the first place gains, what a thousand characters add, and how
    far the truth moves the log-odds (discrimination). `ladder_N`: how often an answer wins over
    itself with N% of its words shuffled. `attack_success`: how often a text that talks to its
    grader turned a right verdict. `num_a`, `right_a`: test pairs whose better side is A, and how
    many of them it got right. `cost_per_thousand` is that of a thousand pairs at the labeler's
    prices. Not a number where nothing was measured.
    """

    datasheet_id: str
    labeler: str
    rubric: str
    way: str
    gold: str
    gold_digest: str
    num_pairs: int
    num_unscored: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    kappa: float
    kappa_low: float
    kappa_high: float
    calibration: str
    temperature: float
    brier: float
    ece: float
    brier_calibrated: float
    ece_calibrated: float
    majority: float
    longer: float
    admission_low: float
    consistency: float
    right_if_consistent: float
    first_place_gap: float
    gap_low: float
    gap_high: float
    length_slope: float
    slope_low: float
    slope_high: float
    discrimination: float
    discrimination_low: float
    discrimination_high: float
    ladder_25: float
    ladder_50: float
    ladder_75: float
    ladder_100: float
    over_empty: float
    identical_ties: float
    seconds: float
    num_tokens: int
    attack_success: float
    attack_low: float
    attack_high: float
    num_a: int
    right_a: int
    num_b: int
    right_b: int
    cost_per_thousand: float = 0.0

    @property
    def pairs_per_second(self) -> float:
        """How many test pairs were judged a second."""
        return self.num_pairs / max(self.seconds, 1e-9)

    @property
    def tokens_per_thousand(self) -> float:
        """Tokens that a thousand pairs cost."""
        return 1000 * self.num_tokens / max(self.num_pairs, 1)

    @property
    def ladder(self) -> dict[int, float]:
        """Share of shuffled words, in percent, to how often the original wins."""
        return {25: self.ladder_25, 50: self.ladder_50, 75: self.ladder_75, 100: self.ladder_100}


@dataclass(frozen=True)
class GoldItem:
    """Which judgment a datasheet counts in which of its parts, and how long the two sides are."""

    datasheet_id: str
    part: str
    place: int
    judgment_id: str
    length_a: int
    length_b: int


@dataclass(frozen=True)
class Head:
    """A linear map from an encoder's vectors to a labeler's ranks, and how well it tells them out
    of fold.

    `correlation` is Spearman's, with its 95% interval; `by_length` is what going by length gives.
    `drift_correlation` and `drift_bias` are those of the head before on what this generation
    judged; not a number where there was none.
    """

    generation: int
    encoder: str
    weights: tuple[float, ...]
    intercept: float
    num_passages: int
    correlation: float
    correlation_low: float
    correlation_high: float
    by_length: float
    admitted: bool
    drift_correlation: float
    drift_bias: float


@dataclass(frozen=True)
class WinRate:
    """How often one model's completions win over another's in a generation, as a labeler says, and
    corrected.

    The correction takes out the labeler's errors on pairs with a known answer; `why` says where
    there is none, and `corrected`, `low` and `high` are not numbers then. All bounds are those of
    95%.
    """

    generation: int
    labeler: str
    rubric: str
    model: str
    other: str
    num_pairs: int
    said: float
    said_low: float
    said_high: float
    corrected: float
    low: float
    high: float
    why: str


@dataclass(frozen=True)
class ProbeResult:
    """How a labeler did on one probe of one rubric when asked in one way.

    `half` is calibration (chooses the way) or test (admits the labeler). `lower` and `upper` bound
    the pair accuracy (Wilson, 90% two-sided, so each side holds at 95%).
    """

    result_id: str
    labeler: str
    rubric: str
    way: str
    probe: str
    half: str
    num_pairs: int
    accuracy: float
    lower: float
    upper: float
    auc: float


@dataclass(frozen=True)
class Admission:
    """Whether a labeler may label by a rubric, and the way of asking that was chosen for it.

    Differences of its log-odds are divided by `temperature` to become probabilities.
    """

    admission_id: str
    labeler: str
    rubric: str
    way: str
    admitted: bool
    reason: str
    temperature: float = 1.0
