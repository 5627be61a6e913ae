"""Whether a log posterior rises from a point in directions of negligible curvature: walks that never descend."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model.vocabulary import SAME_OPTIMUM

FLAT = 1e-6
"""Share of the complete information up to which a direction may lead upward; above the rounding of sums."""
FIRST_STEP, DOUBLINGS = 0.25, 12
"""Longest walk in such a direction, in standard errors of the complete information: √n for a million data."""
STEPS_ON_THE_LEVEL = 4
"""Doublings after which a direction without gain is considered level."""
MOST_DIRECTIONS = 3
"""Most directions that are tried, steepest first, which bounds the passes over the data."""
ROUNDING = 1e-11
"""Rounding error of a log posterior, as a share of the number of observations and of itself."""


def ascent(
    height: Callable[[Float[np.ndarray, " P"]], float], directions: Float[np.ndarray, "P flat"], *, n_data: int
) -> float:
    """Nats that the first walk which rises gains; 0 if none does.

    A walk doubles its length until the first point that is lower than the last, so that no dip is crossed: it finds a
    slope, not another optimum.

    Args:
        height: log posterior of a step; −inf where it may not go.
        directions: one per column, steepest first, of the length of a standard error.
        n_data: number of observations.
    """
    start = height(np.zeros(len(directions)))
    noise = ROUNDING * (n_data + abs(start))
    for direction in directions.T[:MOST_DIRECTIONS]:
        for sign in (FIRST_STEP, -FIRST_STEP):
            last = start
            for doubling in range(DOUBLINGS):
                reached = height(sign * 2.0**doubling * direction)
                level = doubling > STEPS_ON_THE_LEVEL and reached - start <= noise
                if level or not reached >= last - noise:
                    break
                last = reached
            if last - start > SAME_OPTIMUM:
                return last - start
    return 0.0
