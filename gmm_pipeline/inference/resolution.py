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
