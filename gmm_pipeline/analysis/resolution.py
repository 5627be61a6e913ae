"""The resolution of data: the step to which they were rounded, and the precision of a fit.

A mixture of densities treats rounded data as exact: the likelihood of a component on ties grows as it narrows, and it
shows clusters that the rounding made. Both kinds of resolution are estimated from a sample of the data, sorted once.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model import portable
from gmm_pipeline.model.incomplete import distinct_rows

SAMPLE = 10_000
"""Size of the sample in which a rounding step is looked for: no component resolves a finer one."""
FEWEST_VALUES = 3
"""Fewest distinct values: with two, any step would fit."""
WHOLE = 1e-3
"""Tolerance for multiples of a rounding step to be whole."""
FEW_TIES, MANY_TIES = 3.0, 0.05
"""Number of equal observations, and their share of all, up to which they are not a spike."""
LIKE_ITS_NEIGHBOURS = 5.0
"""A spike in rounded data is this many times as frequent as the next value; densities vary less than that."""
SPIKE = 0.01
"""Share of distinct data that may become equal in the fit's precision before it is reported."""


def rounding_step(data: Float[AnyData, " n"]) -> float | None:
    """The step to which data were rounded; None if they were not, or if it cannot be determined.

    In rounded data at least half of the observations are tied, and values are whole multiples of the smallest gap.

    Args:
        data: in any units.
    """
    sample = np.asarray(data[:: max(1, len(data) // SAMPLE)], np.float64)
    values = np.unique(sample)
    if len(values) < FEWEST_VALUES or 2 * len(values) > len(sample):
        return None
    gaps = np.diff(values)
    multiples = gaps / gaps.min()
    whole = np.abs(multiples - np.round(multiples)) <= WHOLE * multiples
    return float(gaps.min()) if whole.all() and multiples.max() < 1.0 / WHOLE else None


def within_rounding(
    covariances: Float[np.ndarray, "K d d"], rounding: Float[np.ndarray, "d d"] | None
) -> Bool[np.ndarray, " K"]:
    """Which components are narrower in some direction than the rounding alone makes data, step / √12 in each column.

    Args:
        covariances: of the components.
        rounding: a factor of the covariance of the rounding, in the same units; None for exact data.
    """
    if rounding is None:
        return np.zeros(len(covariances), bool)
    whitened = np.linalg.solve(portable.factors_of(covariances), rounding)
    return np.asarray(np.linalg.norm(whitened, 2, axis=(-2, -1)) > 1.0)


def share_tied(data: Float[AnyData, "n ..."], sample_weights: Float[np.ndarray, " n"]) -> float:
    """Share of the data that have the most frequent value; 0 if they are few, or if rounding explains the ties.

    Whether several columns were rounded is not known in the units of a fit, so there rounding is always a possibility.

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
    """
    every = max(1, len(data) // SAMPLE)
    values, inverse = distinct_rows(np.asarray(data[::every], np.float64))
    counts = np.bincount(inverse, weights=np.asarray(sample_weights[::every], np.float64))
    if len(values) == 1:
        return 0.0
    (next_to_most, most), total = np.sort(counts)[-2:], float(counts.sum())
    few = most <= max(FEW_TIES, MANY_TIES * total)
    by_rounding = (data.ndim > 1 or rounding_step(data) is not None) and most <= LIKE_ITS_NEIGHBOURS * next_to_most
    return 0.0 if few or by_rounding else float(most) / total


def doubts_about_ties(
    names: Sequence[str], data: Float[np.ndarray, "n d"], sample_weights: Float[np.ndarray, " n"]
) -> list[str]:
    """Whether many values of a column are equal, though it was not rounded, as a sentence for each column.

    Args:
        names: of the columns.
        data: NaN where a value is missing.
        sample_weights: how often each row counts.
    """
    said = []
    for name, column in zip(names, data.T, strict=True):
        known = ~np.isnan(column)
        share = share_tied(column[known], sample_weights[known]) if known.any() else 0.0
        if share > 0.0:
            values, times = np.unique(column[known][:: max(1, int(known.sum()) // SAMPLE)], return_counts=True)
            most = repr(float(values[times.argmax()]))
            said.append(
                f"{share:.0%} of the values of {name} are {most}, which no density describes: a component that narrows "
                "onto them is left out, and others spread to take them in. If it stands for a missing value: "
                f"data.missing_codes=[{most}] data.missing=marginalise; if it is a category, leave the column out."
            )
    return said


def share_unresolved(data: Float[AnyData, "n ..."], rounded: Float[AnyData, "n ..."]) -> float:
    """Share of the data whose distinct values become equal in the fit; 0 if they are few.

    Args:
        data: in the units of the fit, float64.
        rounded: as the fit has them.
    """
    if rounded.dtype == np.float64:
        return 0.0
    every = max(1, len(data) // SAMPLE)
    values, _ = distinct_rows(np.asarray(data[::every], np.float64))
    sizes = np.bincount(distinct_rows(values.astype(rounded.dtype))[1])
    share = float(sizes[sizes > 2].sum() / len(data[::every])) if (sizes > 2).any() else 0.0
    return share if share > SPIKE else 0.0
