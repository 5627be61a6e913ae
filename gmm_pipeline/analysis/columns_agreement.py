"""Do data of several columns agree with the fitted mixture? Distances within components, and each column by itself.

If the data are draws of the mixture, the squared Mahalanobis distances from a component, each weighted by its
responsibility, are distributed as χ² with d degrees of freedom: E Σ_i r_ik 1[d²_ik ≤ t] = n w_k P(χ²_d ≤ t). And the
cumulative distribution function of a column's marginal mixture makes that column uniform. Neither needs another fit.
The bands are for a mixture that was fixed beforehand; a fitted one deviates less.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.analysis import agreement, projections
from gmm_pipeline.model.natural import MultivariateMixture

SLACK = 1e-6
"""For rounding errors of sums of responsibilities."""
LEAST_SHARE = 0.1
"""Data that belong less to a component count, but have no quantile of their own."""
MOST_SITES = 20_000
"""Values of a column at which the two functions are compared; between them the empirical one rises by 1/20,000."""
LEAST_OBSERVATIONS = 10.0
"""Fewer observations of a component give no quantiles worth a look."""


class Distances(NamedTuple):
    """Squared Mahalanobis distances of the data from a component, increasing, beside their expected quantiles."""

    component: int
    squared: Float[np.ndarray, " Q"]
    expected: Float[np.ndarray, " Q"]
    lower: Float[np.ndarray, " Q"]
    """Ends of the pointwise band."""
    upper: Float[np.ndarray, " Q"]
    observations: float
    """Effective number of observations, (Σ r)² / Σ r²."""


def distances(
    data: Float[np.ndarray, "n d"],
    sample_weights: Float[np.ndarray, " n"] | None,
    mixture: MultivariateMixture,
    responsibilities: Float[np.ndarray, "K n"],
    *,
    level: float,
    most: int,
) -> list[Distances]:
    """Quantiles of the squared distances from each component, and of χ² with d degrees of freedom.

    Args:
        data: of d columns.
        sample_weights: how often each datum counts; None for once each.
        mixture: fitted; components that cannot be drawn, have too few observations or none much are left out.
        responsibilities: of the components for each datum.
        level: probability of the band, pointwise.
        most: number of quantiles, evenly spaced in the root of the distance.
    """
    from scipy.special import betaincinv, gammaincinv

    counts = np.ones(len(data)) if sample_weights is None else np.asarray(sample_weights, np.float64)
    tail, half_columns = 0.5 * (1.0 - level), 0.5 * data.shape[1]
    found = []
    for component in np.flatnonzero(projections.drawable(mixture)).tolist():
        shares = counts * responsibilities[component]
        # With sample weights, a datum of weight 3 is three data, and shares of one datum are one observation.
        # Of rows without missing cells, none may be a component's.
        squares = np.sum(shares * responsibilities[component])
        observations = float(shares.sum() ** 2 / squares) if squares > 0.0 else 0.0
        if not observations >= LEAST_OBSERVATIONS:
            continue
        whitener = np.linalg.inv(np.linalg.cholesky(mixture.covariances[component]))
        squared = np.sum(((data - mixture.locs[component]) @ whitener.T) ** 2, axis=1)
        order = np.argsort(squared, kind="stable")
        cumulative = np.cumsum(shares[order])
        middles = (cumulative - 0.5 * shares[order]) / cumulative[-1]
        # Of n observations the first stands at 0.5/n; what other components claim lies far beyond the last.
        edge = (0.5 - SLACK) / observations
        mine = responsibilities[component][order] >= LEAST_SHARE
        inside = np.flatnonzero(mine & (middles >= edge) & (middles <= 1.0 - edge))
        if not inside.size:
            continue
        expected = 2.0 * gammaincinv(half_columns, middles[inside])
        chosen = np.arange(len(inside))
        if len(inside) > most:
            roots = np.sqrt(expected)
            wanted = np.linspace(roots[0], roots[-1], most)
            chosen = np.unique(np.clip(np.searchsorted(roots, wanted), 0, len(roots) - 1))
        probabilities = middles[inside][chosen]
        shape = observations * probabilities + 0.5, observations * (1.0 - probabilities) + 0.5
        ends = (2.0 * gammaincinv(half_columns, betaincinv(*shape, end)) for end in (tail, 1.0 - tail))
        found.append(
            Distances(component, squared[order][inside][chosen], expected[chosen], *ends, observations=observations)
        )
    return found


def marginals(
    data: Float[np.ndarray, "n d"], sample_weights: Float[np.ndarray, " n"] | None, mixture: MultivariateMixture
) -> list[agreement.Calibration]:
    """The probability integral transform of each column under its marginal mixture, at up to `MOST_SITES` values.

    Args:
        data: of d columns.
        sample_weights: how often each datum counts; None for once each.
        mixture: fitted.
    """
    found = []
    for number, column in enumerate(data.T):
        sites = agreement.sites_of(column, sample_weights)
        after = np.cumsum(sites.counts) / sites.total
        shown = np.unique(np.linspace(0, len(after) - 1, min(len(after), MOST_SITES)).astype(int))
        fitted = agreement.cdf(projections.marginal(mixture, number), sites.values[shown])
        before = np.append(0.0, after[:-1])[shown]
        found.append(agreement.Calibration(fitted, before, after[shown], sites.total))
    return found


def departures(calibration: agreement.Calibration) -> Float[np.ndarray, " S"]:
    """F_n − F of a column at the middle of each step of F_n, so that ties of rounded data do not count against it.

    Args:
        calibration: of the column.
    """
    return 0.5 * (calibration.before + calibration.after) - calibration.fitted


def deviations(calibrations: Sequence[agreement.Calibration]) -> Float[np.ndarray, " d"]:
    """Largest departure of each column, times √n.

    Args:
        calibrations: of the columns.
    """
    return np.array([math.sqrt(one.total) * float(np.abs(departures(one)).max()) for one in calibrations])


def p_value(calibrations: Sequence[agreement.Calibration]) -> float:
    """Upper limit of the probability that draws of the mixture deviate as far in any column (Kolmogorov, Bonferroni).

    It is a limit, since a mixture that was fitted to the data is closer to them than the one that made them.

    Args:
        calibrations: of the columns.
    """
    from scipy.special import kolmogorov

    return min(1.0, len(calibrations) * float(kolmogorov(deviations(calibrations).max())))
