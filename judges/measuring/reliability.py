"""Whether a labeler's probabilities mean what they say: calibration by one temperature or by an
isotonic fit.
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
"""Pairs from which on an isotonic fit is tried; below that it follows the noise."""


@dataclass(frozen=True)
class Calibration:
    """A map from log-odds to probabilities: a temperature, or steps (`x`, `y`) of an isotonic fit."""

    temperature: float
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """How it was fitted."""
        return "isotonic" if self.x else "temperature"

    def probability(self, log_odds: Floats) -> Floats:
        """Calibrated probabilities, shape as given."""
        if self.x:
            return np.asarray(np.interp(log_odds, self.x, self.y), dtype=np.float64)
        return np.asarray(expit(log_odds / self.temperature), dtype=np.float64)


def fit(log_odds: Floats, outcomes: Floats) -> Calibration:
    """The map under which outcomes (1, 0, or 0.5 for a tie) are likeliest.

    One temperature (Guo et al. 2017) below `MIN_ISOTONIC` pairs, isotonic from there. Labelers
    whose log-odds say nothing get a large temperature, and so probabilities near a half.
    """
    if len(log_odds) >= MIN_ISOTONIC:
        fitted = IsotonicRegression(y_min=0.01, y_max=0.99, out_of_bounds="clip").fit(
            log_odds, outcomes
        )
        return Calibration(
            1.0, tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist())
        )

    def loss(log_temperature: float) -> float:
        odds = log_odds / np.exp(log_temperature)
        return -float(np.sum(outcomes * log_expit(odds) + (1 - outcomes) * log_expit(-odds)))

    if len(log_odds) == 0:
        return Calibration(1.0)
    return Calibration(float(np.exp(minimize_scalar(loss, bounds=(-5, 7), method="bounded").x)))


def brier(probabilities: Floats, outcomes: Floats) -> float:
    """The mean squared error of probabilities; ties in the outcomes are left out."""
    decided = outcomes != 0.5
    if not decided.any():
        return float("nan")
    return float(brier_score_loss(outcomes[decided], probabilities[decided]))


def expected_calibration_error(probabilities: Floats, outcomes: Floats) -> float:
    """How far stated and seen frequencies are apart, over bins of equal numbers (Nguyen and
    O'Connor 2015).
    """
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, min(NUM_BINS, max(len(order), 1)))
    gaps = [
        len(b) * abs(float(probabilities[b].mean() - outcomes[b].mean())) for b in bins if len(b)
    ]
    return sum(gaps) / len(order) if len(order) else float("nan")
