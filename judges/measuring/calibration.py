"""Calibration of a labeler's probabilities by a temperature or an isotonic curve, and its
errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss

Floats = NDArray[np.float64]
NUM_BINS = 10
MIN_ISOTONIC = 200
"""Minimum number of pairs for an isotonic curve; with fewer it would follow the noise."""


@dataclass(frozen=True)
class CalibrationCurve:
    """A map from log-odds to probabilities: a temperature, or the steps (`x`, `y`) of an isotonic
    curve.
    """

    temperature: float
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """`isotonic` or `temperature`."""
        return "isotonic" if self.x else "temperature"

    def probability(self, log_odds: Floats) -> Floats:
        """Return the calibrated probabilities, in the shape of the input."""
        if self.x:
            return np.asarray(np.interp(log_odds, self.x, self.y), dtype=np.float64)
        return np.asarray(expit(log_odds / self.temperature), dtype=np.float64)


def fit_calibration(log_odds: Floats, outcomes: Floats) -> CalibrationCurve:
    """Return the curve with the maximum likelihood for outcomes (1, 0, or 0.5 for a tie).

    It has one temperature (Guo et al. 2017) below `MIN_ISOTONIC` pairs and is isotonic from there
    on. If the log-odds carry no information, the temperature is large and probabilities are near
    0.5.
    """
    if len(log_odds) >= MIN_ISOTONIC:
        regression = IsotonicRegression(y_min=0.01, y_max=0.99, out_of_bounds="clip")
        regression.fit(log_odds, outcomes)
        return CalibrationCurve(
            1.0, tuple(regression.X_thresholds_.tolist()), tuple(regression.y_thresholds_.tolist())
        )

    def loss(log_temperature: float) -> float:
        odds = log_odds / np.exp(log_temperature)
        return -float(np.sum(outcomes * log_expit(odds) + (1 - outcomes) * log_expit(-odds)))

    if len(log_odds) == 0:
        return CalibrationCurve(1.0)
    best = minimize_scalar(loss, bounds=(-5, 7), method="bounded").x
    return CalibrationCurve(float(np.exp(best)))


def brier(probabilities: Floats, outcomes: Floats) -> float:
    """Return the mean squared error of probabilities; ties are left out. NaN if nothing is left."""
    decided = outcomes != 0.5
    if not decided.any():
        return float("nan")
    return float(brier_score_loss(outcomes[decided], probabilities[decided]))


def expected_calibration_error(probabilities: Floats, outcomes: Floats) -> float:
    """Return the expected calibration error over bins of equal size (Nguyen and O'Connor 2015)."""
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, min(NUM_BINS, max(len(order), 1)))
    gaps = [
        len(b) * abs(float(probabilities[b].mean() - outcomes[b].mean())) for b in bins if len(b)
    ]
    return sum(gaps) / len(order) if len(order) else float("nan")
