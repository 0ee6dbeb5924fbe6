"""Strengths of texts from contests: a Bradley-Terry model with Davidson's ties and covariates.

A contest's log-odds are the difference of two strengths plus the effects of style. The
coefficients are shared by all contests, as in the style control of Chatbot Arena. Outcomes may be
probabilities. A normal prior keeps strengths finite if a text wins always; Laplace's approximation
gives their covariance. Ties: P(tie) is proportional to nu times the geometric mean (Davidson 1970).
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
"""Standard deviation of the prior of a strength, in log-odds."""
COVARIATE_SD = 1.0


@dataclass(frozen=True)
class Contest:
    """A contest between two items. `win` is P(first is better, if not a tie), `tie` is P(tie)."""

    first: int
    second: int
    win: float
    tie: float = 0.0


@dataclass(frozen=True)
class Ratings:
    """Strengths in log-odds, shape (items,), and coefficients, shape (covariates,).

    `log_nu` is the log of the tie parameter, minus infinity if there are no ties. Items that are
    not connected by contests are independent, so there is one covariance matrix per `group` of
    connected items, in which an item has a `position`.
    """

    strengths: Floats
    coefficients: Floats
    log_nu: float
    group: NDArray[np.int64]
    position: NDArray[np.int64]
    covariances: list[Floats]

    def margin(self, first: int, second: int) -> float:
        """Return the strength of the first minus that of the second, in log-odds."""
        return float(self.strengths[first] - self.strengths[second])

    def variance(self, first: int, second: int) -> float:
        """Return the variance of `margin`."""
        shared = 0.0
        if self.group[first] == self.group[second]:
            shared = 2 * self._covariance(first, second)
        return max(self._covariance(first, first) + self._covariance(second, second) - shared, 0.0)

    def _covariance(self, first: int, second: int) -> float:
        return float(
            self.covariances[self.group[first]][self.position[first], self.position[second]]
        )

    def probability(self, first: int, second: int) -> float:
        """Return the probability that the first is better, if not a tie. It is nearer to 0.5 the
        less is known.

        This is the logistic function averaged over the normal distribution of the margin (MacKay
        1992).
        """
        shrunk = self.margin(first, second) / np.sqrt(1 + np.pi * self.variance(first, second) / 8)
        return sigmoid(float(shrunk))

    def information(self, first: int, second: int) -> float:
        """Return the information of one more contest: half the log of the factor by which it
        shrinks the margin's variance.
        """
        p = self.probability(first, second)
        return float(0.5 * np.log1p(p * (1 - p) * self.variance(first, second)))


@dataclass(frozen=True)
class _Problem:
    """Contests as arrays, shape (contests,). `shifts` are the covariates' differences, shape
    (contests, covariates).
    """

    num_items: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    outcomes: Floats
    shifts: Floats
    has_ties: bool
    prior_sd: float

    def log_odds(self, x: Floats) -> Floats:
        num_covariates = self.shifts.shape[1]
        strengths = x[: self.num_items]
        coefficients = x[self.num_items : self.num_items + num_covariates]
        return np.asarray(
            strengths[self.first] - strengths[self.second] + self.shifts @ coefficients
        )

    def log_shares(self, x: Floats) -> Floats:
        """Return the log-probabilities of first, second and tie, shape (contests, 3)."""
        z = self.log_odds(x)
        log_nu = np.full_like(z, x[-1] if self.has_ties else -np.inf)
        weights = np.stack([z / 2, -z / 2, log_nu], axis=1)
        return np.asarray(weights - logsumexp(weights, axis=1, keepdims=True))

    def loss(self, x: Floats) -> tuple[float, Floats]:
        """Return the negative log-posterior and its gradient."""
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
        loss = -(self.outcomes * safe).sum() + 0.5 * (precision * x**2).sum()
        return float(loss), gradient + precision * x

    def _precision(self, size: int) -> Floats:
        precision = np.full(size, 1 / COVARIATE_SD**2)
        precision[: self.num_items] = 1 / self.prior_sd**2
        return precision

    def covariances(self, x: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], list[Floats]]:
        """Return (group, position, covariances) as in `Ratings`: the inverse of the Hessian for
        fixed coefficients.
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
        position = np.zeros(self.num_items, dtype=np.int64)
        matrices = []
        for items in members:
            position[items] = np.arange(len(items))
            ties = joined[items][:, items].toarray()
            hessian = np.diag(ties.sum(axis=1) + 1 / self.prior_sd**2) - ties
            matrices.append(np.asarray(np.linalg.inv(hessian)))
        return group.astype(np.int64), position, matrices


def fit_ratings(
    num_items: int,
    contests: Sequence[Contest],
    covariates: Floats | None = None,
    prior_sd: float = PRIOR_SD,
) -> Ratings:
    """Return the maximum a posteriori strengths. `covariates` has shape (items, covariates) and is
    standardised here.
    """
    table = _standardised(num_items, covariates)
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
    group, position, covariances = problem.covariances(x)
    log_nu = float(x[-1]) if has_ties else -np.inf
    return Ratings(x[:num_items], x[num_items:-1], log_nu, group, position, covariances)


def _standardised(num_items: int, covariates: Floats | None) -> Floats:
    if covariates is None or num_items == 0:
        return np.zeros((num_items, 0 if covariates is None else covariates.shape[1]))
    table = np.asarray(covariates, dtype=np.float64)
    spread = table.std(axis=0)
    return np.asarray((table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def marked_share(text: str) -> float:
    """Return the share of lines that are lists, headings or code."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = sum(line.startswith(("-", "*", "#", "```", "1.", "2.", "3.")) for line in lines)
    return marked / max(len(lines), 1)
