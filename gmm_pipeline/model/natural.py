"""A mixture in natural parameters, and moments of data; NumPy only, so that reading records does not import JAX."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Mixture(NamedTuple):
    """Weights that sum to one, locs and scales in the data's units (NumPy, float64)."""

    weights: Float[np.ndarray, "*batch K"]
    locs: Float[np.ndarray, "*batch K"]
    scales: Float[np.ndarray, "*batch K"]


def mean_and_spread(data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Mean and standard deviation of data, each of weight c: Σ c x / Σ c and √(Σ c (x − mean)² / Σ c).

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
    """
    mean = np.average(data, weights=sample_weights)
    return float(mean), float(np.sqrt(np.average((data - mean) ** 2, weights=sample_weights)))
