"""Covariances as factors and uniquenesses, Σ = L Lᵀ + Ψ; NumPy only."""

import numpy as np
from jaxtyping import Float

STEPS, FEW_STEPS = 8, 2
"""Steps of `factored`, whose result is a start of EM or is improved by it: it need not be exact; few where there are
hundreds of starts."""
LEAST_UNIQUE = 1e-3
"""Least uniqueness of a column as a share of its variance, from which EM may go on to any other."""


def factored(
    covariances: Float[np.ndarray, "*K d d"], factors: int, steps: int = STEPS
) -> tuple[Float[np.ndarray, "*K d"], Float[np.ndarray, "*K d q"]]:
    """Halves of the log uniquenesses, and loadings relative to their roots, that come near to covariances.

    Given Ψ, the best loadings are Ψ^½ U (Λ − I)^½, of the q largest eigenvalues Λ of Ψ^−½ Σ Ψ^−½ and their vectors U
    (Lawley & Maxwell 1971); given these, Ψ = diag(Σ − L Lᵀ). Neither step lessens the likelihood (Zhao, Yu & Jiang
    2008).

    Args:
        covariances: Σ, positive semidefinite.
        factors: q.
        steps: how many.
    """
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    scales = np.sqrt(variances)
    correlations = covariances / (scales[..., :, None] * scales[..., None, :])
    uniquenesses = np.ones_like(variances)
    loadings = np.zeros((*variances.shape, factors))
    for _ in range(steps):
        roots = np.sqrt(uniquenesses)
        values, vectors = np.linalg.eigh(correlations / (roots[..., :, None] * roots[..., None, :]))
        lengths = np.sqrt(np.maximum(values[..., -factors:] - 1.0, 0.0))
        loadings = roots[..., None] * vectors[..., -factors:] * lengths[..., None, :]
        uniquenesses = np.maximum(1.0 - (loadings**2).sum(axis=-1), LEAST_UNIQUE)
    roots = np.sqrt(uniquenesses)
    return np.log(scales * roots), loadings / roots[..., None]


def canonical(loadings: Float[np.ndarray, "*K d q"]) -> Float[np.ndarray, "*K d q"]:
    """Loadings turned so that Aᵀ A is diagonal, its largest element first, and the sum of each column not negative.

    Any rotation has the same covariances; this one is unique but where two elements are equal (Lawley & Maxwell 1971).

    Args:
        loadings: A, relative to the roots of the uniquenesses: Aᵀ A = Lᵀ Ψ⁻¹ L.
    """
    left, lengths, _ = np.linalg.svd(loadings, full_matrices=False)
    turned = left * lengths[..., None, :]
    return turned * np.where(turned.sum(axis=-2, keepdims=True) < 0.0, -1.0, 1.0)
