"""Random mixtures whose components overlap as much as asked, as MixSim makes them (Melnykov, Chen & Maitra 2012).

Locs are uniform in the unit cube and covariances Wishart, no more eccentric than asked: without a limit, those of
many columns have nothing in common, and components at one place would not overlap. Then all covariances are
multiplied by the factor at which the overlap is the one asked for: 0 for a factor of 0, and for a large one that of the
same components at one place. A mixture that never overlaps enough is drawn again. NumPy draws, seeded with the seed and
the number of the try; the price: it may change its draws with a version.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.overlap import Overlap, overlap_by_factor

TRIES = 100
"""Mixtures that are drawn before the overlap is called out of reach."""
ACCURACY = 1e-5
"""Relative error of the overlap, that of a probability which is itself computed to 1e-8."""

Measure = Callable[[Overlap], float]


def random_mixture(
    seed: int,
    *,
    n_components: int,
    n_columns: int,
    covariance: str,
    eccentricity: float,
    least_weight: float,
    measure: Measure,
    asked: float,
) -> MultivariateMixture:
    """A random mixture of a given overlap, in one column or more.

    Args:
        seed: of the draws.
        n_components: K, at least 2.
        n_columns: d.
        covariance: which of volume, shape and orientation the components share, one of the 14 names EII to VVV.
        eccentricity: e, at least 0 and below 1: √(1 − λ_d/λ_1) of a covariance's eigenvalues is at most this.
        least_weight: of a component, at most 1/K, where all weights are equal.
        measure: what is asked for, the average overlap or the largest.
        asked: the value that it is to have, above 0.

    Raises:
        InputError: no mixture of so many components and columns that was drawn overlaps as much.
    """
    largest = 0.0
    for number in range(TRIES):
        mixture = _drawn(
            np.random.default_rng((seed, number)), n_components, n_columns, covariance, eccentricity, least_weight
        )
        overlap_at = overlap_by_factor(mixture)
        limit = measure(overlap_at(math.inf))
        if limit > asked:
            factor = _factor(lambda factor, overlap_at=overlap_at: measure(overlap_at(factor)), asked)
            return mixture._replace(covariances=factor * mixture.covariances)
        largest = max(largest, limit)
    raise InputError(
        "data",
        expected=f"an overlap that random mixtures of {n_components} components and {n_columns} columns can have",
        came=f"{asked:g}, where the most of {TRIES} mixtures was {largest:.3g}",
        remedy="Ask for less overlap, for a smaller eccentricity, or for a covariance model that shares more.",
    )


def _drawn(
    random: np.random.Generator,
    n_components: int,
    n_columns: int,
    covariance: str,
    eccentricity: float,
    least_weight: float,
) -> MultivariateMixture:
    weights = least_weight + (1.0 - n_components * least_weight) * random.dirichlet(np.ones(n_components))
    locs = random.uniform(size=(n_components, n_columns))
    factors = random.normal(size=(n_components, n_columns, n_columns + 1))
    eigenvalues, orientations = np.linalg.eigh(factors @ np.swapaxes(factors, -2, -1))
    # As in MixSim, the longest axis keeps its length, and the others are scaled between it and the shortest allowed.
    longest, shortest = eigenvalues[:, -1:], eigenvalues[:, :1]
    factor = eccentricity**2 * longest / np.maximum(longest - shortest, eccentricity**2 * longest)
    eigenvalues = longest - factor * (longest - eigenvalues)
    volumes = np.exp(np.mean(np.log(eigenvalues), axis=-1))
    shapes = eigenvalues / volumes[:, None]
    volume, shape, orientation = covariance
    volumes = np.broadcast_to(volumes[0], volumes.shape) if volume == "E" else volumes
    shapes = {"V": shapes, "E": np.broadcast_to(shapes[0], shapes.shape), "I": np.ones_like(shapes)}[shape]
    identity = np.broadcast_to(np.eye(n_columns), orientations.shape)
    shared = np.broadcast_to(orientations[0], orientations.shape)
    orientations = {"V": orientations, "E": shared, "I": identity}[orientation]
    return MultivariateMixture(weights, locs, _composed(volumes, shapes, orientations))


def _composed(
    volumes: Float[np.ndarray, " K"], shapes: Float[np.ndarray, "K d"], orientations: Float[np.ndarray, "K d d"]
) -> Float[np.ndarray, "K d d"]:
    found = (orientations * (volumes[:, None] * shapes)[:, None, :]) @ np.swapaxes(orientations, -2, -1)
    return 0.5 * (found + np.swapaxes(found, -2, -1))


def _factor(measured: Callable[[float], float], asked: float) -> float:
    """The factor at which the overlap is the one asked for; some factor is known to be enough."""
    low, high = 0.0, 0.0
    while measured(np.exp(low)) > asked:
        low -= 2.0
    while measured(np.exp(high)) < asked:
        high += 2.0
    while True:
        middle = 0.5 * (low + high)
        value = measured(np.exp(middle))
        if abs(value - asked) <= ACCURACY * asked or not low < middle < high:
            return float(np.exp(middle))
        low, high = (low, middle) if value > asked else (middle, high)
