"""The most probable component at each point of one column, and how uncertain it is."""

import numpy as np
from jaxtyping import Float, Int, Real

from gmm_pipeline.analysis.curves import Histogram, density_points
from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.model.noise import LABEL, Noise

HALVINGS = 50
"""Of the interval around a border: then it is exact to rounding."""


def uncertainty(
    fitted: Mixture, points: Real[np.ndarray, " G"], noise: Noise | None = None
) -> tuple[Int[np.ndarray, " G"], Float[np.ndarray, " G"]]:
    """The most probable component at each point, argmaxₖ rₖ(x), and how uncertain it is, 1 − maxₖ rₖ(x).

    Args:
        fitted: mixture of K finite components.
        points: x, in the unit of the mixture.
        noise: whose label is −1; None without noise.
    """
    log_noise = None if noise is None else noise.log_joint
    _, responsibilities = portable.evaluate(*fitted, np.asarray(points, np.float64), log_noise)
    highest = responsibilities.argmax(axis=0)
    # The sum of the others, since 1 − r has no digits where r is near one.
    others = np.where(np.arange(len(responsibilities))[:, None] == highest, 0.0, responsibilities)
    return portable.labels_of(responsibilities, len(fitted.locs)), others.sum(axis=0)


def stacked(
    data: Real[np.ndarray, " n"],
    sample_weights: Real[np.ndarray, " n"] | None,
    fitted: Mixture,
    bars: Histogram,
    noise: Noise | None = None,
) -> Float[np.ndarray, "K B"]:
    """What the data of each component, by their most probable one, contribute to each bar of a histogram.

    Those of the noise are the last row, if there is noise.

    Args:
        data: x.
        sample_weights: how often each datum counts; None for once each.
        fitted: mixture of K components.
        bars: the histogram of the data.
        noise: None without noise.
    """
    weights = np.ones(len(data)) if sample_weights is None else np.asarray(sample_weights, np.float64)
    labels, _ = uncertainty(fitted, data, noise)
    per_bar = np.diff(bars.edges) * weights.sum()
    return np.stack(
        [
            np.histogram(data[labels == component], bins=bars.edges, weights=weights[labels == component])[0] / per_bar
            for component in [*range(len(fitted.locs)), *[LABEL] * (noise is not None)]
        ]
    )


def borders(fitted: Mixture, window: tuple[float, float], noise: Noise | None = None) -> Float[np.ndarray, " b"]:
    """Points of a window at which the most probable component changes, increasing.

    Args:
        fitted: mixture of K finite components.
        window: lower and upper end, in the unit of the mixture.
        noise: None without noise.
    """
    points = density_points(window, fitted, base=400)
    labels = uncertainty(fitted, points, noise)[0]
    changes = np.flatnonzero(np.diff(labels))
    left, right, before = points[changes], points[changes + 1], labels[changes]
    for _ in range(HALVINGS):
        middle = 0.5 * (left + right)
        is_before = uncertainty(fitted, middle, noise)[0] == before
        left, right = np.where(is_before, middle, left), np.where(is_before, right, middle)
    return 0.5 * (left + right)
