"""The resolution of data: the step to which they were rounded, and the precision of a fit.

A mixture of densities treats rounded data as exact: the likelihood of a component on ties grows as it narrows, and it
shows clusters that the rounding made. Both kinds of resolution are estimated from a sample of the data, sorted once.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

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
WITHIN = 6.0
"""Squared distance from a component, and 3 more for each other direction, within which 99.7 % of its data lie."""
BESIDE = 0.2
"""Data one step beside a line of the grid, as a share of those on it, from which the line is one of many."""
OF_COLUMN, LEAST_OF_COLUMN, LEAST_COUNT = 5.0, 0.1, 20
"""A value of a column is told of if it is so many times as frequent as the next one, has this share of all, and occurs
so often: small tables have ties by chance."""
CROWDED = 1e-3
"""Width of the closest half of the data in their standard deviations, below which a fit is in float64."""
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


def is_crowded(data: Float[AnyData, " n"]) -> bool:
    """Whether half of the data lie so close together, beside others far away, that float32 tells them badly apart.

    Args:
        data: of one column, in any units.
    """
    sample = np.sort(np.asarray(data[:: max(1, len(data) // SAMPLE)], np.float64))
    half = len(sample) // 2
    if half == 0:
        return False
    with np.errstate(over="ignore"):
        closest = (sample[half:] - sample[:-half]).min()
        return bool(0.0 < closest < CROWDED * np.std(sample))  # equal values are told apart in no precision


def on_grid_lines(
    locs: Float[np.ndarray, "K d"],
    covariances: Float[np.ndarray, "K d d"],
    rounding: Float[np.ndarray, "d d"],
    data: Float[AnyData, "n ..."],
    sample_weights: Float[np.ndarray, " n"],
) -> list[int]:
    """The components that rounding made: narrower in some direction than it alone makes data, and beside many data.

    Rounding to a step gives a column the variance step² / 12. A component that is narrower is right where its data are
    really at one value, with next to none one step away and alike in all else; where there are many, it is one line of
    the grid, which may be slanted, such as x₁ = x₂, and its likelihood grows as it narrows.

    Args:
        locs: μ, of the components.
        covariances: Σ.
        rounding: a factor of the covariance of the rounding, in the same units.
        data: in these units; rows with a missing value are not looked at.
        sample_weights: how often each datum counts.
    """
    factors = portable.factors_of(covariances)
    directions, sizes, _ = np.linalg.svd(np.linalg.solve(factors, rounding))
    narrow = np.flatnonzero(sizes[:, 0] > 1.0).tolist()
    if not narrow:
        return []
    every, found = max(1, len(data) // (10 * SAMPLE)), []
    some, counts = np.asarray(data[::every], np.float64).reshape(-1, len(rounding)), sample_weights[::every]
    for component in narrow:
        away = np.linalg.solve(factors[component], (some - locs[component]).T)
        across = directions[component, :, 0] @ away
        alike = np.sum(away**2, axis=0) - across**2 <= WITHIN + 3.0 * (len(away) - 1)
        steps = across / (sizes[component, 0] * np.sqrt(12.0))
        own, below, above = (float(counts[alike & (np.abs(steps - at) <= 0.5)].sum()) for at in (0.0, -1.0, 1.0))
        if max(below, above) >= BESIDE * own:
            found.append(component)
    return found


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
    """Whether a column holds categories, or many equal values that no rounding made, as a sentence for each column.

    Args:
        names: of the columns.
        data: NaN where a value is missing.
        sample_weights: how often each row counts.
    """
    said = []
    for name, column in zip(names, data.T, strict=True):
        known = np.flatnonzero(~np.isnan(column))
        known = known[:: max(1, len(known) // SAMPLE)]
        values, times = np.unique(column[known], return_counts=True)
        most = repr(float(values[times.argmax()])) if len(values) else ""
        share = share_tied(column[known], sample_weights[known]) if len(values) > 1 else 0.0
        if len(values) == 2:
            said.append(
                f"{name} has the values {values[0]!s} and {values[1]!s} only, which no density describes: components "
                "may narrow onto one of them. Leave out columns that hold categories."
            )
        elif share >= LEAST_OF_COLUMN and times.max() >= max(LEAST_COUNT, OF_COLUMN * np.partition(times, -2)[-2]):
            said.append(
                f"{share:.0%} of the values of {name} are {most}, which no density describes: components may narrow "
                "onto it, or spread to take it in. If it stands for a missing value: "
                f"data.missing_codes=[{most}] data.missing=marginalise; if it is a limit or a category, consider "
                "leaving the column out."
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
