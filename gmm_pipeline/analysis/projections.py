"""Which columns, and which directions, separate the components of a mixture of several columns.

A column is judged by the ratio of its variance between components to that within them; a direction likewise, by the
generalised eigenvectors of the two covariances (Scrucca 2010, Dimension reduction for model-based clustering,
Statistics and Computing 20). Two components have one such direction. Where locs give no further one, the directions in
which covariances differ most come next, and then those that account for most of the variance, so that there are always
two to draw. All of them are the same in any units.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from gmm_pipeline.model.natural import Mixture, MultivariateMixture, definite_or_identity

NEGLIGIBLE = 1e-2
"""Separations below this, in squared standard deviations within components, are not looked for."""


class Projection(NamedTuple):
    """Directions of a projection, z = Vᵀ x, each of variance one within components."""

    matrix: Float[np.ndarray, "d m"]
    loadings: Float[np.ndarray, "d m"]
    """The same for columns in units of their standard deviation within components."""


def drawable(mixture: MultivariateMixture) -> Bool[np.ndarray, " K"]:
    """Whether a component has a positive weight, and a loc and a covariance that are finite and of full rank."""
    definite = definite_or_identity(mixture.covariances)[1]
    return np.isfinite(mixture.locs).all(axis=-1) & (mixture.weights > 0.0) & definite


def between_and_within(mixture: MultivariateMixture) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d d"]]:
    """The parts of a mixture's covariance: Σ_k w_k (μ_k − μ)(μ_k − μ)ᵀ with μ = Σ_k w_k μ_k, and Σ_k w_k Σ_k.

    Args:
        mixture: of K components; those that are not finite are left out.
    """
    used = drawable(mixture)
    weights = mixture.weights[used] / mixture.weights[used].sum()
    centred = mixture.locs[used] - weights @ mixture.locs[used]
    return (centred * weights[:, None]).T @ centred, np.einsum("k,kij->ij", weights, mixture.covariances[used])


def separations(mixture: MultivariateMixture) -> Float[np.ndarray, " d"]:
    """How much each column separates the components: its variance between them over that within them, 0 with none."""
    if not drawable(mixture).any():
        return np.zeros(mixture.locs.shape[-1])
    between, within = between_and_within(mixture)
    return np.diagonal(between) / np.diagonal(within)


def separating_columns(mixture: MultivariateMixture, most: int) -> Int[np.ndarray, " m"]:
    """The columns that separate the components best, in the order of the data.

    Args:
        mixture: of K components.
        most: how many at most.
    """
    return np.sort(np.argsort(-separations(mixture), kind="stable")[:most])


def separating_directions(mixture: MultivariateMixture, count: int = 2) -> Projection:
    """The directions that separate the components best, each uncorrelated within components with those before.

    v maximises vᵀ B v / vᵀ W v, then vᵀ M v / vᵀ W v with M = Σ_k w_k (Σ_k − W) W⁻¹ (Σ_k − W), then the variance of
    standardised columns that it accounts for; B and W are the covariances between and within components.

    Args:
        mixture: of K components.
        count: how many, at most d.
    """
    between, within = between_and_within(mixture)
    used = drawable(mixture)
    root = np.linalg.cholesky(within)
    inverse = np.linalg.inv(root)
    differences = inverse @ mixture.covariances[used] @ inverse.T - np.eye(len(within))
    shares = mixture.weights[used] / mixture.weights[used].sum()
    criteria = (
        inverse @ between @ inverse.T,
        np.einsum("k,kij,kjl->il", shares, differences, differences),
        root.T @ (root / np.diagonal(between + within)[:, None]),
    )
    basis, found = np.eye(len(within)), []
    for criterion in criteria:
        values, vectors = np.linalg.eigh(basis.T @ criterion @ basis)
        counts = values[::-1] > NEGLIGIBLE
        basis = basis @ vectors[:, ::-1]
        found.append(basis[:, counts])
        basis = basis[:, ~counts]
    matrix = inverse.T @ np.concatenate([*found, basis], axis=1)[:, :count]
    loadings = matrix * np.sqrt(np.diagonal(within))[:, None]
    largest = loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])]
    return Projection(matrix * np.sign(largest), loadings * np.sign(largest))


def projected(mixture: MultivariateMixture, matrix: Float[np.ndarray, "d m"]) -> MultivariateMixture:
    """The mixture of z = Vᵀ x: locs Vᵀ μ and covariances Vᵀ Σ V; any leading axes are kept.

    Args:
        mixture: of x.
        matrix: V.
    """
    covariances = np.swapaxes(matrix, 0, 1) @ mixture.covariances @ matrix
    return MultivariateMixture(mixture.weights, mixture.locs @ matrix, covariances)


def of_columns(mixture: MultivariateMixture, columns: Int[np.ndarray, " m"]) -> MultivariateMixture:
    """The marginal mixture of some columns.

    Args:
        mixture: of d columns; any leading axes are kept.
        columns: their numbers.
    """
    covariances = mixture.covariances[..., columns[:, None], columns[None, :]]
    return MultivariateMixture(mixture.weights, mixture.locs[..., columns], covariances)


def marginal(mixture: MultivariateMixture, column: int) -> Mixture:
    """The marginal mixture of one column, its components in the order of the whole mixture.

    Args:
        mixture: of d columns.
        column: its number.
    """
    return Mixture(mixture.weights, mixture.locs[..., column], mixture.scales[..., column])
