"""How far the empirical CDF of data is from that of the mixture that was fitted to them, if they are draws of it.

Fitting makes it smaller than Kolmogorov's of a distribution that was fixed beforehand. √n (F_n − F) is then a
Gaussian process (Durbin 1973): white noise over F, without its projection on the scores ∂log p/∂θ of the fitted
parameters, summed up to F(x). Its largest value is simulated, in milliseconds. The price: this holds for many data and
an optimum of the likelihood; it does not account for an influential prior, nor for the choice of the number of
components.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from gmm_pipeline.analysis.agreement import Uniform, quantile
from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import Mixture

CELLS = 400
"""Number of cells of equal probability over which the process is simulated."""
CONTINUITY = 0.5826
"""The largest value of a Wiener process between grid points, in √(width of a cell) (Broadie, Glasserman & Kou 1997)."""
LEAST_DATA = 10.0
"""The parameters of a component with fewer are due to a prior or to chance: they do not count as fitted."""
DEPENDENT = 1e-6
"""Scores whose relative length after orthogonalisation is smaller than this are dependent on the others."""


class Null(NamedTuple):
    """The distribution of √n D if the data were drawn from the mixture and the mixture fitted to them."""

    fitted: float
    """The value that √n D does not exceed with the level's probability."""
    p_value: float
    """Probability of a deviation at least as large as the observed one."""


def null_of(
    largest: float,
    mixture: Mixture,
    *,
    noise: Uniform | None = None,
    total: float,
    equal_scales: bool,
    level: float,
    simulations: int,
    seed: int,
) -> Null:
    """The distribution of √n D, and the p-value of the observed one, if the data were drawn from the fitted mixture.

    Args:
        largest: D.
        mixture: fitted by maximum likelihood, no component degenerate.
        noise: fitted with it; None without noise. That its range is the data's is negligible for many data.
        total: n.
        equal_scales: the components share one scale, so that there are fewer parameters.
        level: of the bands.
        simulations: of the process.
        seed: of the simulations.
    """
    fitted = mixture.weights * total >= LEAST_DATA
    counted: dict[str, Any] = {"noise": noise, "equal_scales": equal_scales}
    suprema = np.sort(_suprema(mixture, fitted, **counted, simulations=simulations, seed=seed))
    above = np.count_nonzero(suprema >= math.sqrt(total) * largest)
    index = min(math.ceil(level * simulations), simulations - 1)
    return Null(float(suprema[index]), (above + 1) / (simulations + 1))


def _suprema(
    mixture: Mixture,
    fitted: Bool[np.ndarray, " K"],
    *,
    noise: Uniform | None = None,
    equal_scales: bool,
    simulations: int,
    seed: int,
) -> Float[np.ndarray, " simulations"]:
    """The largest absolute value of the process in each simulation; with no component fitted, of a Brownian bridge."""
    middles = quantile(mixture, (np.arange(CELLS) + 0.5) / CELLS, noise)
    slopes = scores(mixture, middles, fitted, noise=noise, equal_scales=equal_scales)
    taken = np.concatenate([np.ones((1, CELLS)), slopes]).T
    basis, lengths, _ = np.linalg.svd(taken / np.linalg.norm(taken, axis=0), full_matrices=False)
    basis = basis[:, lengths > DEPENDENT * lengths[0]]
    white = np.random.default_rng(seed).standard_normal((simulations, CELLS))
    paths = np.cumsum(white - (white @ basis) @ basis.T, axis=1) / math.sqrt(CELLS)
    return np.abs(paths).max(axis=1) + CONTINUITY / math.sqrt(CELLS)


def scores(
    mixture: Mixture,
    points: Float[np.ndarray, " P"],
    fitted: Bool[np.ndarray, " K"],
    *,
    noise: Uniform | None = None,
    equal_scales: bool,
) -> Float[np.ndarray, "parameters P"]:
    """∂log p/∂θ of a datum, for weights, locs and scales.

    The weights are taken one by one, though they sum to one: the superfluous direction, Σ_j w_j ∂log p/∂w_j = 1, is a
    constant, which the process leaves out anyway. With noise, what one of them gains the noise loses.

    Args:
        mixture: of K components.
        points: where.
        fitted: the components whose parameters count; each has a positive weight.
        noise: None without noise.
        equal_scales: one scale, of all components, instead of K.
    """
    log_densities, all_responsibilities = portable.evaluate(*mixture, points)
    of_noise = np.zeros(len(points))
    if noise is not None:
        total = np.exp(log_densities) + noise.weight * noise.density(points)
        all_responsibilities = all_responsibilities * np.exp(log_densities) / total
        of_noise = noise.density(points) / total
    weights, locs, scales = (values[fitted] for values in mixture)
    responsibilities = all_responsibilities[fitted]
    standardised = (points - locs[:, None]) / scales[:, None]
    of_scales = responsibilities * (standardised**2 - 1.0) / scales[:, None]
    return np.concatenate(
        [
            responsibilities / weights[:, None] - of_noise,
            responsibilities * standardised / scales[:, None],
            of_scales.sum(axis=0, keepdims=True) if equal_scales else of_scales,
        ]
    )
