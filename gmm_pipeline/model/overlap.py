"""How much the components of a mixture overlap, exactly, as MixSim measures it.

Data of component i are misclassified as component j where w_j N(x | μ_j, σ_j) is the larger of the two. In one
dimension the log ratio is a quadratic of x, so the probability is a few values of the normal distribution function at
its roots, and no integration is needed. In several it is a quadratic form of normals (Maitra & Melnykov 2010; Melnykov,
Chen & Maitra 2012), whose distribution `quadratic_forms` computes.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateMixture, definite_or_identity
from gmm_pipeline.model.quadratic_forms import chance_of_positive

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


def overlap(mixture: AnyMixture) -> Overlap:
    """Overlap of each pair of components; NaN in the pairs of a component that is not finite or has no scale.

    Args:
        mixture: K components, in any unit.
    """
    if isinstance(mixture, Mixture):
        rows = range(len(mixture.weights))
        return _summarised(np.array([[_misclassified(mixture, i, j) for j in rows] for i in rows]))
    return overlap_by_factor(mixture)(1.0)


def overlap_by_factor(mixture: MultivariateMixture) -> Callable[[float], Overlap]:
    """The overlap as a function of a factor of all covariances; what does not depend on it is computed once.

    The factor may be infinite: the overlap is then that of components at one place.

    Args:
        mixture: K components.
    """
    rules = _rules(mixture)
    return lambda factor: _summarised(_misclassified_in_columns(rules, len(mixture.weights), factor))


def _summarised(misclassification: Float[np.ndarray, "K K"]) -> Overlap:
    pairwise = misclassification + misclassification.T
    np.fill_diagonal(pairwise, 0.0)
    pairs = pairwise[np.triu_indices(len(pairwise), k=1)]
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
    if i == j:
        return 1.0
    if not (np.isfinite([leaf[[i, j]] for leaf in mixture]).all() and mixture.scales[[i, j]].min() > 0.0):
        return math.nan
    (w_i, w_j), (mu_i, mu_j), (sigma_i, sigma_j) = (leaf[[i, j]].tolist() for leaf in mixture)
    rho, delta = sigma_i / sigma_j, (mu_i - mu_j) / sigma_j
    log_odds = math.log(max(w_j, TINY)) - math.log(max(w_i, TINY)) + math.log(sigma_i) - math.log(sigma_j)
    return _positive((1.0 - rho) * (1.0 + rho), -2.0 * rho * delta, 2.0 * log_odds - delta * delta)


class _Rules(NamedTuple):
    """Between which data component i and each of the others decide."""

    i: int
    others: Int[np.ndarray, " J"]
    ratios: Float[np.ndarray, "J d"]
    """λ."""
    gaps: Float[np.ndarray, "J d"]
    """δ."""
    log_odds: Float[np.ndarray, " J"]
    """log(w_j / w_i)."""


def _rules(mixture: MultivariateMixture) -> list[_Rules]:
    """The rules of each component that is sound, with the others that are.

    With x = μ_i + L_i V z, where Σ_i = L_i L_iᵀ and V diag(λ) Vᵀ = L_iᵀ Σ_j⁻¹ L_i, and δ = Vᵀ L_i⁻¹ (μ_i − μ_j), twice
    the log ratio is Σ_l ((1 − λ_l) z_l² − 2 λ_l δ_l z_l − λ_l δ_l² + log λ_l) + 2 log(w_j / w_i).
    """
    covariances, definite = definite_or_identity(mixture.covariances)
    sound = np.flatnonzero(definite & np.isfinite(mixture.locs).all(axis=1) & np.isfinite(mixture.weights))
    factors = np.linalg.cholesky(covariances)
    whiteners = np.linalg.inv(factors)
    log_weights = np.log(np.maximum(mixture.weights, TINY))
    found = []
    for i in sound:  # one row at a time, so that K rather than K² matrices are in memory
        j = sound[sound != i]
        in_units = whiteners[j] @ factors[i]
        ratios, directions = np.linalg.eigh(np.swapaxes(in_units, -2, -1) @ in_units)
        # Equal covariances make a linear rule; rounding would leave a quadratic that decides where all else is equal.
        ratios[np.all(covariances[i] == covariances[j], axis=(-2, -1))] = 1.0
        gaps = np.einsum("jml,jm->jl", directions, (mixture.locs[i] - mixture.locs[j]) @ whiteners[i].T)
        found.append(_Rules(int(i), j, ratios, gaps, log_weights[j] - log_weights[i]))
    return found


def _misclassified_in_columns(rules: Sequence[_Rules], n_components: int, factor: float) -> Float[np.ndarray, "K K"]:
    """ω_{j|i} of all pairs of components, where a factor of all covariances divides δ by its root."""
    found = np.full((n_components, n_components), np.nan)
    for i, others, ratios, unscaled, log_odds in rules:
        gaps = unscaled / math.sqrt(factor)
        constants = 2.0 * log_odds + np.sum(np.log(ratios) - ratios * gaps**2, axis=1)
        found[i, others] = chance_of_positive(1.0 - ratios, -2.0 * ratios * gaps, constants)
    np.fill_diagonal(found, 1.0)
    return found


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
