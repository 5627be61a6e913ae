"""The distribution of the log density of data drawn from a mixture, to judge whether other data resemble them.

The moments are sums over the nodes of a Gauss–Hermite quadrature for each component. The price: the nodes of a broad
component may miss a far narrower one inside it; few data of the broad one lie there.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import Mixture

NODES = 100


class Moments(NamedTuple):
    """Moments of the log density of a datum drawn from the mixture, in nats."""

    mean: float
    deviation: float
    skewness: float


def log_density_moments(mixture: Mixture) -> Moments:
    """Mean, standard deviation and skewness of log p(x) for x drawn from p.

    E[g] = Σ_j w_j Σ_m ω_m g(log p(μ_j + σ_j t_m)) with nodes t_m and weights ω_m of the standard normal.
    """
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(NODES)
    drawn = mixture.locs[:, None] + mixture.scales[:, None] * nodes
    share = mixture.weights[:, None] * node_weights / node_weights.sum()
    log_densities, _ = portable.evaluate(*mixture, drawn.ravel())
    share = share.ravel()
    mean = float(share @ log_densities)
    centred = log_densities - mean
    deviation = float(np.sqrt(share @ centred**2))
    return Moments(mean, deviation, float(share @ centred**3) / deviation**3)


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
