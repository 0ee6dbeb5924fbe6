"""Strengths of texts from contests between them: Bradley and Terry's model with Davidson's ties and
covariates.

A contest's log-odds are the difference of the two strengths, plus what length and style add (the
coefficients, shared by all contests, as in the style control of Chatbot Arena), so that the
strengths are what is left. Outcomes may be probabilities. A normal prior keeps strengths finite
where somebody always wins; Laplace's approximation gives their covariance. Davidson 1970 for the
ties: P(tie) is in proportion to nu times the geometric mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import logsumexp

from judges.judgment.answers import sigmoid

Floats = NDArray[np.float64]
PRIOR_SD = 2.0
"""Standard deviation of a strength before anything is seen, in log-odds."""
COVARIATE_SD = 1.0


@dataclass(frozen=True)
class Contest:
    """`win` and `tie` are the probabilities that the first item is the better one, and that neither
    is.
    """

    first: int
    second: int
    win: float
    tie: float = 0.0


@dataclass(frozen=True)
class Ratings:
    """Strengths in log-odds, shape (items,), and coefficients, shape (covariates,).

    `log_nu` is the liking for ties, minus infinity where there are none. Items that no chain of
    contests joins are independent, so there is one matrix of covariances for each `group` of joined
    ones, in which an item has a `place`.
    """

    strengths: Floats
    coefficients: Floats
    log_nu: float
    group: NDArray[np.int64]
    place: NDArray[np.int64]
    covariances: list[Floats]

    def margin(self, first: int, second: int) -> float:
        """By how much the first is stronger, in log-odds."""
        return float(self.strengths[first] - self.strengths[second])

    def variance(self, first: int, second: int) -> float:
        """The variance of `margin`."""
        shared = (
            2 * self._covariance(first, second) if self.group[first] == self.group[second] else 0.0
        )
        return max(self._covariance(first, first) + self._covariance(second, second) - shared, 0.0)

    def _covariance(self, first: int, second: int) -> float:
        return float(self.covariances[self.group[first]][self.place[first], self.place[second]])

    def probability(self, first: int, second: int) -> float:
        """The probability that the first is better where it is no tie; nearer to a half the less is
        known.

        The logistic function averaged over the margin's normal distribution (MacKay 1992).
        """
        shrunk = self.margin(first, second) / np.sqrt(1 + np.pi * self.variance(first, second) / 8)
        return sigmoid(float(shrunk))

    def information(self, first: int, second: int) -> float:
        """How much is learned by one more contest: half the logarithm of how far it shrinks the
        margin's variance.
        """
        p = self.probability(first, second)
        return float(0.5 * np.log1p(p * (1 - p) * self.variance(first, second)))


@dataclass(frozen=True)
class _Problem:
    """Contests as arrays, shape (contests,), and `shifts`, the covariates' differences, (contests,
    covariates).
    """

    num_items: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    outcomes: Floats
    shifts: Floats
    has_ties: bool
    prior_sd: float

    def log_odds(self, x: Floats) -> Floats:
        strengths, coefficients = (
            x[: self.num_items],
            x[self.num_items : self.num_items + self.shifts.shape[1]],
        )
        return np.asarray(
            strengths[self.first] - strengths[self.second] + self.shifts @ coefficients
        )

    def log_shares(self, x: Floats) -> Floats:
        """Log-probabilities of first, second and tie, shape (contests, 3)."""
        z = self.log_odds(x)
        log_nu = np.full_like(z, x[-1] if self.has_ties else -np.inf)
        weights = np.stack([z / 2, -z / 2, log_nu], axis=1)
        return np.asarray(weights - logsumexp(weights, axis=1, keepdims=True))

    def loss(self, x: Floats) -> tuple[float, Floats]:
        """Negative log-posterior and its gradient."""
        log_shares = self.log_shares(x)
        shares = np.exp(log_shares)
        safe = np.where(np.isfinite(log_shares), log_shares, 0.0)
        excess = shares - self.outcomes
        dz = 0.5 * (excess[:, 0] - excess[:, 1])
        gradient = np.zeros_like(x)
        np.add.at(gradient, self.first, dz)
        np.add.at(gradient, self.second, -dz)
        num_covariates = self.shifts.shape[1]
        gradient[self.num_items : self.num_items + num_covariates] = self.shifts.T @ dz
        gradient[-1] = excess[:, 2].sum() if self.has_ties else 0.0
        precision = self._precision(len(x))
        return float(
            -(self.outcomes * safe).sum() + 0.5 * (precision * x**2).sum()
        ), gradient + precision * x

    def _precision(self, size: int) -> Floats:
        precision = np.full(size, 1 / COVARIATE_SD**2)
        precision[: self.num_items] = 1 / self.prior_sd**2
        return precision

    def covariances(self, x: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], list[Floats]]:
        """(group, place, covariances) as in `Ratings`: the inverse of the Hessian with the
        coefficients held fixed.
        """
        shares = np.exp(self.log_shares(x))
        curvature = 0.25 * (shares[:, 0] + shares[:, 1] - (shares[:, 0] - shares[:, 1]) ** 2)
        ends = (
            np.concatenate([self.first, self.second]),
            np.concatenate([self.second, self.first]),
        )
        joined = coo_array(
            (np.tile(curvature, 2), ends), shape=(self.num_items, self.num_items)
        ).tocsr()
        number, group = connected_components(joined, directed=False)
        order = np.argsort(group, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(group, minlength=number))[:-1])
        place = np.zeros(self.num_items, dtype=np.int64)
        matrices = []
        for items in members:
            place[items] = np.arange(len(items))
            ties = joined[items][:, items].toarray()
            hessian = np.diag(ties.sum(axis=1) + 1 / self.prior_sd**2) - ties
            matrices.append(np.asarray(np.linalg.inv(hessian)))
        return group.astype(np.int64), place, matrices


def fit_ratings(
    num_items: int,
    contests: Sequence[Contest],
    covariates: Floats | None = None,
    prior_sd: float = PRIOR_SD,
) -> Ratings:
    """The likeliest strengths. `covariates` has shape (items, covariates); they are standardised
    here.
    """
    table = (
        np.zeros((num_items, 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    )
    if num_items:
        spread = table.std(axis=0)
        table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    first = np.array([c.first for c in contests], dtype=np.int64)
    second = np.array([c.second for c in contests], dtype=np.int64)
    outcomes = np.array(
        [[(1 - c.tie) * c.win, (1 - c.tie) * (1 - c.win), c.tie] for c in contests]
    ).reshape(-1, 3)
    has_ties = bool(outcomes[:, 2].sum() > 0)
    problem = _Problem(
        num_items, first, second, outcomes, table[first] - table[second], has_ties, prior_sd
    )
    start = np.zeros(num_items + table.shape[1] + 1)
    x = minimize(
        problem.loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-14}
    ).x
    group, place, covariances = problem.covariances(x)
    log_nu = float(x[-1]) if has_ties else -np.inf
    return Ratings(x[:num_items], x[num_items:-1], log_nu, group, place, covariances)


def style_of(text: str) -> tuple[float, float]:
    """(logarithm of the length, share of lines that are lists, headings or code) of a text."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = sum(line.startswith(("-", "*", "#", "```", "1.", "2.", "3.")) for line in lines)
    return float(np.log1p(len(text))), marked / max(len(lines), 1)
