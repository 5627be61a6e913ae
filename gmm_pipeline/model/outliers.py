"""Gross outliers: a few data so far from all others that they alone would decide the unit of a fit.

A standard deviation grows with its farthest datum without bound. In units of one that a typing error of 10,000 has set,
true components of width 1 are as narrow as those that have collapsed, and every start is far too wide. So the unit, and
with it the floor of scales, is that of the data without such outliers. They are fitted like all other data.

The price: a component of few data that is very far away counts as outliers too, which makes the floor lower.
"""

import functools
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gmm_pipeline.model.large_data import MANY, ByIdentity, are_ones, is_complete, slices, summary

FAR = 20.0
"""Distance of an outlier from the median, in robust standard deviations: more than is seen without heavy tails."""
FEW = 0.05
"""Greatest share of the data; what is more frequent is a part of the distribution."""
OF_NORMAL = 1.349
"""Quartiles of a normal are so many standard deviations apart."""
SAMPLED = 2**16
"""Of many data, about how many decide where outliers begin."""


def without_outliers(
    data: Float[np.ndarray, "n ..."], sample_weights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Sample weights that are 0 for gross outliers; the same array where there are none.

    A datum is a gross outlier if one of its columns is more than `FAR` IQR / 1.349 from the median, and at most a share
    of `FEW` is. IQR / 1.349 is the standard deviation of a normal (Rousseeuw & Croux 1993 compare such estimators).

    Args:
        data: x, NaN where a value is missing; many if complete: anything whose slices are arrays.
        sample_weights: c, how often each datum counts.
    """
    if len(data) > MANY and is_complete(data):
        return _without(ByIdentity(data), ByIdentity(sample_weights))
    low, high = _limits(data, sample_weights)
    outside = _outside(data, low, high)
    return _kept(data, outside, sample_weights) if outside.any() else sample_weights


@functools.lru_cache(maxsize=4)
def _without(same_data: ByIdentity, same_weights: ByIdentity) -> np.ndarray:
    """Of many data: what was asked last is kept, so that it is the same array again."""
    data, sample_weights = same_data.value, same_weights.value
    some = slice(None, None, max(len(data) // SAMPLED, 1))
    low, high = _limits(np.asarray(data[some], np.float64), np.asarray(sample_weights[some], np.float64))
    found = summary(data, sample_weights)
    if not (np.any(found.least < low) or np.any(found.greatest > high)):
        return sample_weights
    outside = np.concatenate([_outside(np.asarray(data[here]), low, high) for here in slices(len(data))])
    return _kept(data, outside, sample_weights)


def _kept(data: Any, outside: Bool[np.ndarray, "n d"], sample_weights: Float[np.ndarray, " n"]) -> np.ndarray:
    total = float(np.sum(sample_weights, dtype=np.float64))
    rare = [float(sample_weights[column].sum(dtype=np.float64)) <= FEW * total for column in outside.T]
    found = outside[:, rare].any(axis=1)
    if not found.any() or float(sample_weights[found].sum(dtype=np.float64)) > FEW * total:
        return sample_weights
    if not _vary(data, ~found & (sample_weights > 0)):
        return sample_weights
    # Weights of many data that count once are no array of their own: 0 and 1 need two bytes each.
    return np.array(~found, np.float16) if are_ones(sample_weights) else sample_weights * ~found


def _vary(data: Any, kept: Bool[np.ndarray, " n"]) -> bool:
    """Whether every column has two different values that are kept."""
    least, greatest = np.inf, -np.inf
    for here in slices(len(data)):
        some = np.asarray(data[here])[kept[here]]
        least = np.fmin(least, np.fmin.reduce(some, axis=0, initial=np.inf))
        greatest = np.fmax(greatest, np.fmax.reduce(some, axis=0, initial=-np.inf))
    return bool((np.asarray(least) < greatest).all())


def _limits(
    data: Float[np.ndarray, "n ..."], sample_weights: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Between which values no datum is an outlier, for each column; all where half of the data are one value."""
    found = [_of_column(column, sample_weights) for column in data.reshape(len(data), -1).T]
    low, high = np.array(found, np.float64).T
    return low, high


def _of_column(column: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"]) -> tuple[float, float]:
    present = (sample_weights > 0) & ~np.isnan(column)
    values, counts = column[present].astype(np.float64), sample_weights[present]
    if not len(values):
        return -np.inf, np.inf
    if (counts == counts[0]).all():
        lower, middle, upper = np.quantile(values, [0.25, 0.5, 0.75])
    else:
        order = np.argsort(values, kind="stable")
        up_to = np.cumsum(counts[order], dtype=np.float64)
        lower, middle, upper = values[order][np.searchsorted(up_to, np.array([0.25, 0.5, 0.75]) * up_to[-1])]
    reach = FAR * (upper - lower) / OF_NORMAL
    return (float(middle - reach), float(middle + reach)) if reach > 0.0 else (-np.inf, np.inf)


def _outside(
    data: Float[np.ndarray, "n ..."], low: Float[np.ndarray, " d"], high: Float[np.ndarray, " d"]
) -> Bool[np.ndarray, "n d"]:
    columns = data.reshape(len(data), -1)
    return (columns < low) | (columns > high)
