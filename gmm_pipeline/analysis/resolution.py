"""How finely data are told apart: by whoever rounded them, and by the precision of a fit.

A mixture of densities takes rounded data for exact ones: a component on ties has a likelihood that grows as it narrows,
and the clusters it shows are those of the rounding. Both are seen in a sample of the data, which is sorted once.
"""

import numpy as np
from jaxtyping import Float

SAMPLE = 10_000
"""Data that are looked at for a rounding step: what they do not show, no component is narrow enough to see."""
FEWEST_VALUES = 3
"""With two values any step would do."""
WHOLE = 1e-3
"""Multiples of a rounding step are whole to this."""
FEW_TIES, MANY_TIES = 3.0, 0.05
"""Data of one value, and their share of all, up to which they are no spike."""
LIKE_ITS_NEIGHBOURS = 5.0
"""Times the next most frequent of rounded data: a density makes no value much more frequent than those beside it."""
SPIKE = 0.01
"""Share of the data in one value of the fit's precision, above which that hides something."""


def rounding_step(data: Float[np.ndarray, " n"]) -> float | None:
    """The step to which data were rounded; None where they were not, or where it cannot be seen.

    Rounded data have ties, half of them at least, and whole multiples of the smallest gap between their values.

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


def share_tied(data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"]) -> float:
    """Share of the data that are the most frequent value; 0 where they are few, or where rounding makes such ties.

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
    """
    every = max(1, len(data) // SAMPLE)
    values, inverse = np.unique(np.asarray(data[::every], np.float64), return_inverse=True)
    counts = np.bincount(inverse, weights=sample_weights[::every])
    if len(values) == 1:
        return 0.0
    (next_to_most, most), total = np.sort(counts)[-2:], float(counts.sum())
    few = most <= max(FEW_TIES, MANY_TIES * total)
    by_rounding = rounding_step(data) is not None and most <= LIKE_ITS_NEIGHBOURS * next_to_most
    return 0.0 if few or by_rounding else float(most) / total


def share_unresolved(data: Float[np.ndarray, " n"], rounded: Float[np.ndarray, " n"]) -> float:
    """Share of the data that differ among each other, and are one value to the fit; 0 where they are few.

    Args:
        data: in the units of the fit, float64.
        rounded: as the fit has them.
    """
    if rounded.dtype == np.float64:
        return 0.0
    every = max(1, len(data) // SAMPLE)
    values = np.unique(np.asarray(data[::every], np.float64))
    _, sizes = np.unique(values.astype(rounded.dtype), return_counts=True)
    share = float(sizes[sizes > 2].sum() / len(data[::every])) if (sizes > 2).any() else 0.0
    return share if share > SPIKE else 0.0
