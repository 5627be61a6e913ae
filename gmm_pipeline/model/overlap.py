"""How much the components of a mixture overlap, exactly, as MixSim measures it.

Data of component i are misclassified as component j where w_j N(x | μ_j, σ_j) is the larger of the two. In one
dimension the log ratio is a quadratic of x, so the probability is a few values of the normal distribution function at
its roots, and no integration is needed (Maitra & Melnykov 2010; Melnykov, Chen & Maitra 2012).
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model.natural import Mixture

TINY = float(np.finfo(np.float64).tiny)


class Overlap(NamedTuple):
    """How often data of one component look like another's."""

    misclassification: Float[np.ndarray, "K K"]
    """ω_{j|i} in row i, column j: the share of component i's data that j claims of the two; 1 on the diagonal."""
    pairwise: Float[np.ndarray, "K K"]
    """ω_{j|i} + ω_{i|j}; symmetric, 0 on the diagonal. Two equal components have 1."""
    maximum: float
    """Largest pairwise overlap; 0 for a single component."""
    average: float
    """Mean pairwise overlap; 0 for a single component."""


def overlap(mixture: Mixture) -> Overlap:
    """Overlap of each pair of components; NaN in the pairs of a component that is not finite or has no scale.

    Args:
        mixture: K components, in any unit.
    """
    n_components = len(mixture.weights)
    misclassification = np.array(
        [[1.0 if i == j else _misclassified(mixture, i, j) for j in range(n_components)] for i in range(n_components)]
    )
    pairwise = misclassification + misclassification.T
    np.fill_diagonal(pairwise, 0.0)
    pairs = pairwise[np.triu_indices(n_components, k=1)]
    return Overlap(
        misclassification,
        pairwise,
        maximum=float(pairs.max(initial=0.0)),
        average=float(pairs.mean()) if len(pairs) else 0.0,
    )


def _misclassified(mixture: Mixture, i: int, j: int) -> float:
    """ω_{j|i} = P(w_i N(x | μ_i, σ_i) < w_j N(x | μ_j, σ_j)) for x of component i; a tie counts half.

    With x = μ_i + σ_i z, ρ = σ_i/σ_j and δ = (μ_i − μ_j)/σ_j, twice the log ratio is
    (1 − ρ²) z² − 2 ρ δ z + 2 log(w_j ρ / w_i) − δ², and z is standard normal.
    """
    if not (np.isfinite([leaf[[i, j]] for leaf in mixture]).all() and mixture.scales[[i, j]].min() > 0.0):
        return math.nan
    (w_i, w_j), (mu_i, mu_j), (sigma_i, sigma_j) = (leaf[[i, j]].tolist() for leaf in mixture)
    rho, delta = sigma_i / sigma_j, (mu_i - mu_j) / sigma_j
    log_odds = math.log(max(w_j, TINY)) - math.log(max(w_i, TINY)) + math.log(sigma_i) - math.log(sigma_j)
    return _positive((1.0 - rho) * (1.0 + rho), -2.0 * rho * delta, 2.0 * log_odds - delta * delta)


def _positive(a: float, b: float, c: float) -> float:
    """P(a z² + b z + c > 0) for a standard normal z, and half of P(… = 0)."""
    if a == 0.0:
        if b == 0.0:
            return 0.5 + 0.5 * float(np.sign(c))
        return _cdf(c / abs(b))
    discriminant = b * b - 4.0 * a * c
    if discriminant <= 0.0:
        return 1.0 if a > 0.0 else 0.0
    # This form of the roots avoids cancellation, so that nearly equal scales keep the digits of the near root.
    far = -0.5 * (b + math.copysign(math.sqrt(discriminant), b))
    low, high = sorted((far / a, c / far))
    if a > 0.0:
        return _cdf(low) + _cdf(-high)
    if low > 0.0:  # the upper tail as a lower one, where probabilities are small and keep their digits
        low, high = -high, -low
    return _cdf(high) - _cdf(low)


def _cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
