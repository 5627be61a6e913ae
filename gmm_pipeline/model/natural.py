"""A mixture in natural parameters: NumPy alone, so that what reads and tells of records need not import JAX."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Mixture(NamedTuple):
    """A mixture as people read it: weights that sum to one, locs and scales in the data's units (NumPy, float64)."""

    weights: Float[np.ndarray, "*batch K"]
    locs: Float[np.ndarray, "*batch K"]
    scales: Float[np.ndarray, "*batch K"]
