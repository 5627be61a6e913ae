"""The numbers behind a picture of two columns or directions: window, ellipses, and lines of equal density."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.analysis import curves, projections
from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import Mixture, MultivariateMixture

CIRCLE = 97
"""Points of an outline."""
GRID = 121
"""Points of a grid of densities along each axis."""
MOST_EVALUATED = 20_000
"""Observations that decide the levels of density; of more, an evenly spaced part."""
REACH = 2.1
"""Standard deviations of a component that are to be seen."""
ROOM = 0.15
"""Most room for them on each side, as a share of what the data take."""


class Window(NamedTuple):
    """Limits of both axes, and the share of the data that lies outside of them."""

    x: tuple[float, float]
    y: tuple[float, float]
    share_outside: float


def limits_of(
    data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"] | None, mixture: Mixture
) -> tuple[float, float]:
    """Limits that show a column, as in a picture of its histogram, so that no outlier squeezes the rest.

    They are wider by up to `ROOM` on each side where ellipses of two standard deviations need that.

    Args:
        data: of the column.
        sample_weights: how often each datum counts; None for once each.
        mixture: of the column; components that are not finite need no room.
    """
    low, high = curves.window_of(curves.histogram(data, sample_weights))
    used = np.isfinite(mixture.locs) & np.isfinite(mixture.scales) & (mixture.weights > 0.0)
    locs, reach = mixture.locs[used], REACH * mixture.scales[used]
    left, right = np.min(locs - reach, initial=low), np.max(locs + reach, initial=high)
    room = ROOM * (high - low)
    return float(max(left, low - room)), float(min(right, high + room))


def window_of(
    data: Float[np.ndarray, "n 2"], sample_weights: Float[np.ndarray, " n"] | None, mixture: MultivariateMixture
) -> Window:
    """The window that shows two columns, each as `limits_of` has it.

    Args:
        data: of two columns.
        sample_weights: how often each datum counts; None for once each.
        mixture: of the two columns.
    """
    x, y = (limits_of(column, sample_weights, projections.marginal(mixture, j)) for j, column in enumerate(data.T))
    outside = (data[:, 0] < x[0]) | (data[:, 0] > x[1]) | (data[:, 1] < y[0]) | (data[:, 1] > y[1])
    return Window(x, y, float(np.average(outside, weights=sample_weights)))


def outline(
    loc: Float[np.ndarray, " 2"], covariance: Float[np.ndarray, "2 2"], radius: float
) -> Float[np.ndarray, "G 2"]:
    """The ellipse (x − μ)ᵀ Σ⁻¹ (x − μ) = r², as points on it.

    Args:
        loc: μ, its centre.
        covariance: Σ, positive definite.
        radius: r, in standard deviations.
    """
    factor = portable.factors_of(covariance)
    # Turned so that the ends of its axes are among the points; by a factor, since unlike units leave no eigenvalues.
    turned = factor @ np.linalg.svd(factor).Vh.T
    angles = np.linspace(0.0, 2.0 * np.pi, CIRCLE)
    return loc + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1) @ turned.T


class Densities(NamedTuple):
    """Densities on a grid."""

    x: Float[np.ndarray, " G"]
    y: Float[np.ndarray, " G"]
    values: Float[np.ndarray, "G G"]
    """One row for each y."""


def densities(mixture: MultivariateMixture, window: Window) -> Densities:
    """The density of a mixture of two columns over a window.

    Args:
        mixture: of K components; those that cannot be drawn are left out.
        window: of the picture.
    """
    x, y = (np.linspace(*limits, GRID) for limits in (window.x, window.y))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return Densities(x, y, _density(mixture, grid).reshape(GRID, GRID))


def levels_of(
    mixture: MultivariateMixture,
    data: Float[np.ndarray, "n 2"],
    sample_weights: Float[np.ndarray, " n"] | None,
    shares: Sequence[float],
) -> Float[np.ndarray, " s"]:
    """Densities that are exceeded at these shares of the data, increasing: lines that enclose them (Hyndman 1996).

    Args:
        mixture: of two columns.
        data: of the two columns.
        sample_weights: how often each datum counts; None for once each.
        shares: between 0 and 1.
    """
    every = -(-len(data) // MOST_EVALUATED)
    weights = np.ones(len(data)) if sample_weights is None else np.asarray(sample_weights, np.float64)
    at_data, weights = _density(mixture, data[::every]), weights[::every]
    order = np.argsort(-at_data)
    enclosed = np.cumsum(weights[order])
    places = np.searchsorted(enclosed, np.asarray(shares) * enclosed[-1])
    levels = np.unique(at_data[order][np.minimum(places, len(order) - 1)])
    return levels[levels > 0.0]


def _density(mixture: MultivariateMixture, points: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, " P"]:
    used = projections.drawable(mixture)
    if not used.any():
        return np.zeros(len(points))
    weights, locs, covariances = (leaf[used] for leaf in mixture)
    return np.exp(portable.evaluate(weights, locs, covariances, points)[0])
