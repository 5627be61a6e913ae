"""The distribution of the log density of data drawn from a mixture, to judge whether other data resemble them.

The moments are sums over nodes for each component: those of a Gauss–Hermite quadrature, or, of several columns, of a
low-discrepancy sequence, whose number need not grow with the number of columns. The price: the nodes of a broad
component may miss a far narrower one inside it; few data of the broad one lie there.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import AnyMixture, Mixture

NODES = 100
LOG2_NODES_OF_COLUMNS = 11
"""Of the number of nodes of several columns."""
SCRAMBLE = 0
"""Seed of their scrambling, without which columns reach their ends together."""


class Moments(NamedTuple):
    """Moments of the log density of a datum drawn from the mixture, in nats."""

    mean: float
    deviation: float
    skewness: float


def log_density_moments(mixture: AnyMixture) -> Moments:
    """Mean, standard deviation and skewness of log p(x) for x drawn from p.

    E[g] = Σ_j w_j Σ_m ω_m g(log p(μ_j + L_j t_m)) with nodes t_m and weights ω_m of the standard normal, and L_j the
    standard deviation, or the Cholesky factor of the covariance, of component j.

    Args:
        mixture: in any units.
    """
    if isinstance(mixture, Mixture):
        nodes, node_weights = np.polynomial.hermite_e.hermegauss(NODES)
        drawn = mixture.locs[:, None] + mixture.scales[:, None] * nodes
    else:
        nodes = _normal_sequence(mixture.locs.shape[1])
        node_weights = np.ones(len(nodes))
        drawn = mixture.locs[:, None] + nodes @ np.linalg.cholesky(mixture.covariances).swapaxes(-1, -2)
    share = (mixture.weights[:, None] * node_weights / node_weights.sum()).ravel()
    log_densities, _ = portable.evaluate(*mixture, drawn.reshape(len(share), *mixture.locs.shape[1:]))
    mean = float(share @ log_densities)
    centred = log_densities - mean
    deviation = float(np.sqrt(share @ centred**2))
    return Moments(mean, deviation, float(share @ centred**3) / deviation**3)


def _normal_sequence(n_columns: int) -> Float[np.ndarray, "m d"]:
    """Scrambled points of Sobol's as quantiles of the standard normal; each column has mean zero and variance one."""
    from scipy.special import ndtri
    from scipy.stats.qmc import Sobol  # imports for a second, which one column need not spend

    sequence = Sobol(n_columns, seed=SCRAMBLE)  # pyright: ignore[reportCallIssue] - `rng` since SciPy 1.15
    points = sequence.random_base2(LOG2_NODES_OF_COLUMNS)
    nodes = ndtri(points + 2.0**-31)  # they are multiples of 2⁻³⁰, which may be zero
    return (nodes - nodes.mean(axis=0)) / nodes.std(axis=0)


def least_mean(moments: Moments, counts: Float[np.ndarray, " n"], level: float) -> float:
    """The value that the mean log density of the mixture's own data stays below with probability `level`, about.

    The mean of n of them is nearly normal, but skewed; Cornish and Fisher's first term allows for that:
    q = z + (z² − 1) γ / 6, with γ the skewness of the mean.

    Args:
        moments: of the log density of a datum.
        counts: how often each datum counts; they are shares of the mean, whatever their sum.
        level: a probability.
    """
    shares = counts / counts.sum()
    spread = float(np.sqrt((shares**2).sum()))
    skewness = moments.skewness * float((shares**3).sum()) / spread**3
    z = NormalDist().inv_cdf(level)
    return moments.mean + moments.deviation * spread * (z + (z * z - 1) * skewness / 6)
