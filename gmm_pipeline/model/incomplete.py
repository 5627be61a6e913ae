"""Data with missing cells, as NaN: rows that lack the same columns, what is expected of a cell, mean and covariance.

What is computed here begins a fit or sets its units; the likelihood itself is exact (`observed_objective`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

MOST_STEPS, SETTLED, LEAST_VARIANCE = 100, 1e-4, 1e-6
"""Of the covariance of incomplete data: steps of EM, the change at which they end, and what no direction is below; in
units in which columns have variance 1."""
Pattern = tuple[np.ndarray, np.ndarray]
"""Which columns are missing, [d], and in which rows."""


def means_of(data: Float[np.ndarray, "n d"], sample_weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " d"]:
    """Mean of each column, over the values that are there.

    Args:
        data: x, NaN where a value is missing.
        sample_weights: c, how often each datum counts.
    """
    missing = np.isnan(data)
    if not missing.any():
        return np.average(data, axis=0, weights=sample_weights)
    shares = np.asarray(sample_weights, np.float64) / sample_weights.sum()
    return shares @ np.where(missing, 0.0, data) / np.maximum(shares @ ~missing, np.finfo(np.float64).tiny)


def best_normal(
    data: Float[np.ndarray, "n d"], missing: Bool[np.ndarray, "n d"], sample_weights: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Mean and covariance of the normal that fits best what is there, by EM (Little & Rubin 2002, ch. 11).

    Args:
        data: x, NaN where a value is missing.
        missing: where that is.
        sample_weights: c, how often each datum counts.
    """
    # In units in which the columns have mean 0 and variance 1.
    shares = sample_weights / sample_weights.sum()
    seen = np.maximum(shares @ ~missing, np.finfo(np.float64).tiny)
    means = means_of(data, sample_weights)
    scales = np.sqrt(shares @ np.where(missing, 0.0, data - means) ** 2 / seen)
    scales[scales == 0.0] = 1.0
    standardised, alike = (data - means) / scales, list(patterns(missing))
    mean, covariance = np.zeros(len(means)), np.eye(len(means))
    for _ in range(MOST_STEPS):
        before, within = covariance, LEAST_VARIANCE * np.eye(len(means))
        for gaps, rows in alike:
            lacking = np.ix_(gaps, gaps)
            explained = covariance[np.ix_(gaps, ~gaps)] @ _slopes(covariance, gaps)
            within[lacking] += shares[rows].sum() * (covariance[lacking] - explained)
        expected = _filled(standardised, alike, mean, covariance)
        mean = shares @ expected
        covariance = within + ((expected - mean) * shares[:, None]).T @ (expected - mean)
        if np.abs(covariance - before).max() < SETTLED:
            break
    return means + scales * mean, covariance * np.outer(scales, scales)


def filled(
    data: Float[np.ndarray, "n d"], mean: Float[np.ndarray, " d"], covariance: Float[np.ndarray, "d d"]
) -> Float[np.ndarray, "n d"]:
    """Data with the expectations of missing values, given those that a row has.

    Args:
        data: NaN where a value is missing.
        mean: of all data.
        covariance: of all data.
    """
    return _filled(data, list(patterns(np.isnan(data))), mean, covariance)


def _filled(
    data: Float[np.ndarray, "n d"], alike: Sequence[Pattern], mean: Float[np.ndarray, " d"], covariance: np.ndarray
) -> Float[np.ndarray, "n d"]:
    found = data.copy()
    for gaps, rows in alike:
        away = data[np.ix_(rows, ~gaps)] - mean[~gaps]
        found[np.ix_(rows, gaps)] = mean[gaps] + away @ _slopes(covariance, gaps)
    return found


def _slopes(covariance: Float[np.ndarray, "d d"], gaps: Bool[np.ndarray, " d"]) -> Float[np.ndarray, "o m"]:
    """By how much the expectations of missing columns rise with those that are there, which may follow from others."""
    of_seen, of_both = covariance[np.ix_(~gaps, ~gaps)], covariance[np.ix_(~gaps, gaps)]
    if not gaps.any():  # which a singular matrix could not solve either
        return of_both
    try:
        return np.linalg.solve(of_seen, of_both)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(of_seen, of_both)[0]


def patterns(missing: Bool[np.ndarray, "n d"]) -> Iterator[Pattern]:
    """The distinct rows of a mask, with the numbers of the rows that are like each.

    Args:
        missing: where values are missing.
    """
    distinct, inverse = np.unique(missing, axis=0, return_inverse=True)
    for number, gaps in enumerate(distinct):
        yield gaps, np.flatnonzero(inverse.ravel() == number)


def distinct_rows(
    data: Float[np.ndarray, "n ..."],
) -> tuple[Float[np.ndarray, "m ..."], Int[np.ndarray, " n"]]:
    """The distinct data, and which of them each datum is; a missing value is like another.

    Args:
        data: [n], or [n, d] with NaN where a value is missing.
    """
    missing = np.isnan(data)
    if not missing.any():
        rows, inverse = np.unique(data, axis=0 if data.ndim > 1 else None, return_inverse=True)
        return rows, inverse.ravel()
    marked = np.concatenate([np.where(missing, 0.0, data), missing.astype(data.dtype)], axis=1)
    rows, inverse = np.unique(marked, axis=0, return_inverse=True)
    values, gaps = np.split(rows, 2, axis=1)
    return np.where(gaps > 0.0, np.nan, values).astype(data.dtype), inverse.ravel()
