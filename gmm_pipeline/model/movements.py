"""How far a mixture moves in training: between history entries, and from where each component ends."""

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateMixture


def moves(mixtures: AnyMixture) -> Float[np.ndarray, " S"]:
    """Lengths of the S = H − 1 steps of a mixture's path in the Fisher metric of labelled data, the same in all units.

    ds² = Σ_j 4 d(√w_j)² + w_j (dμ_j² + 2 dσ_j²)/σ_j²; of several columns,
    ds² = Σ_j 4 d(√w_j)² + w_j (dμ_jᵀ Σ_j⁻¹ dμ_j + ½ tr (Σ_j⁻¹ dΣ_j)²).

    Args:
        mixtures: H entries of K components; a step from or to one that is not finite has no length.
    """
    weights = np.asarray(mixtures.weights, np.float64)
    with np.errstate(all="ignore"):
        squared = _of_components(mixtures)
        squared = 4.0 * np.diff(np.sqrt(weights), axis=0) ** 2 + 0.5 * (weights[1:] + weights[:-1]) * squared
        return np.sqrt(squared.sum(axis=1))


def _of_components(mixtures: AnyMixture) -> Float[np.ndarray, "S K"]:
    if isinstance(mixtures, Mixture):
        locs, scales = (np.asarray(values, np.float64) for values in (mixtures.locs, mixtures.scales))
        middle_scales = np.sqrt(scales[1:] * scales[:-1])
        return (np.diff(locs, axis=0) / middle_scales) ** 2 + 2.0 * np.diff(np.log(scales), axis=0) ** 2
    locs, covariances = (np.asarray(values, np.float64) for values in (mixtures.locs, mixtures.covariances))
    inverse = _inverse(0.5 * (covariances[1:] + covariances[:-1]))
    steps, change = np.diff(locs, axis=0), inverse @ np.diff(covariances, axis=0)
    return np.einsum("hki,hkij,hkj->hk", steps, inverse, steps) + 0.5 * np.einsum("hkij,hkji->hk", change, change)


def _inverse(covariances: Float[np.ndarray, "*batch d d"]) -> Float[np.ndarray, "*batch d d"]:
    """Inverses; NaN where there is none."""
    identity = np.eye(covariances.shape[-1])
    finite = np.isfinite(covariances).all(axis=(-2, -1), keepdims=True)
    regular = finite & (np.linalg.slogdet(np.where(finite, covariances, identity)).sign > 0.0)[..., None, None]
    return np.where(regular, np.linalg.inv(np.where(regular, covariances, identity)), np.nan)


def distances_from_end(mixtures: MultivariateMixture) -> Float[np.ndarray, "H K"]:
    """How far each loc is from where it ends, in standard deviations: √((μ_h − μ_H)ᵀ Σ_H⁻¹ (μ_h − μ_H)).

    Args:
        mixtures: H entries of K components.
    """
    return _distances(mixtures, mixtures.locs[-1])


def distances_moved(mixtures: MultivariateMixture) -> Float[np.ndarray, "H K"]:
    """How far each loc is from where it began, in standard deviations at the end: √((μ_h − μ_0)ᵀ Σ_H⁻¹ (μ_h − μ_0)).

    Args:
        mixtures: H entries of K components.
    """
    return _distances(mixtures, mixtures.locs[0])


def _distances(mixtures: MultivariateMixture, locs: Float[np.ndarray, "K d"]) -> Float[np.ndarray, "H K"]:
    away = mixtures.locs - locs
    return np.sqrt(np.einsum("hki,kij,hkj->hk", away, _inverse(mixtures.covariances[-1]), away))


def sizes(mixtures: MultivariateMixture) -> Float[np.ndarray, "H K"]:
    """The size of each component relative to that at the end: (|Σ_h| / |Σ_H|)^(1/2d), a ratio of standard deviations.

    Args:
        mixtures: H entries of K components of d columns.
    """
    with np.errstate(all="ignore"):
        _, logs = np.linalg.slogdet(mixtures.covariances)
        return np.exp((logs - logs[-1]) / (2.0 * mixtures.locs.shape[-1]))
