"""The free numbers of factors and uniquenesses, in which the curvature of their log posterior is taken.

A rotation of the factors changes no covariance: of the loadings those directions are free that are orthogonal to all
rotations, d q − q (q − 1) / 2 of them, and no loading has an error of its own. Covariances, standard deviations and
correlations are identified, and have errors.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from gmm_pipeline.model.multivariate import MultivariateParameters


class Analysis(NamedTuple):
    """The factors of a fit, as the point where all free numbers are zero."""

    log_scales: Float[np.ndarray, "K d"]
    """Halves of the log uniquenesses."""
    loadings: Float[np.ndarray, "K d q"]
    """L, in the units of the data."""
    directions: Float[np.ndarray, "K dq f"]
    """Of the loadings, in units of the columns' standard deviations: those that no rotation moves along."""
    scales: Float[np.ndarray, "K d"]
    """The columns' standard deviations."""
    whiteners: Float[np.ndarray, "K d d"]
    """The inverse of the Cholesky factor of the covariance."""


class FreeFactors(NamedTuple):
    """The free numbers of a model of factors."""

    log_weights: Float[Array | np.ndarray, " K"]
    """Added to the log weights, which are then normalised."""
    locs: Float[Array | np.ndarray, "K d"]
    """In units of the Cholesky factor of the covariance."""
    log_scales: Float[Array | np.ndarray, "K d"]
    """Halves of log uniquenesses."""
    loadings: Float[Array | np.ndarray, "K f"]


def analysis_of(parameters: MultivariateParameters) -> Analysis:
    """The factors of a fit.

    Args:
        parameters: K components with loadings, in the units of the data.
    """
    log_scales, relative = (
        np.asarray(leaf, np.float64) for leaf in (parameters.log_component_scales, parameters.loadings)
    )
    n_components, n_columns, n_factors = relative.shape
    loadings = np.exp(log_scales)[..., None] * relative
    scales = np.exp(log_scales) * np.sqrt(1.0 + (relative**2).sum(axis=-1))
    rows, columns = np.triu_indices(n_factors, 1)
    skew = np.zeros((len(rows), n_factors, n_factors))
    skew[np.arange(len(rows)), rows, columns] = 1.0
    skew = skew - np.swapaxes(skew, 1, 2)
    rotated = np.einsum("kiq,rqp->kipr", loadings / scales[..., None], skew)
    basis = np.linalg.qr(rotated.reshape(n_components, n_columns * n_factors, len(rows)), mode="complete")[0]
    covariances = loadings @ np.swapaxes(loadings, 1, 2) + np.exp(2.0 * log_scales)[..., None] * np.eye(n_columns)
    whiteners = np.linalg.inv(np.linalg.cholesky(covariances))
    return Analysis(log_scales, loadings, basis[..., len(rows) :], scales, whiteners)


def zeros_of(analysis: Analysis) -> FreeFactors:
    """All free numbers zero.

    Args:
        analysis: of the fit.
    """
    n_components, n_columns, _ = analysis.loadings.shape
    of_loadings = n_components, analysis.directions.shape[-1]
    by_column = n_components, n_columns
    return FreeFactors(np.zeros(n_components), np.zeros(by_column), np.zeros(by_column), np.zeros(of_loadings))


def factors_at(free: FreeFactors, analysis: Analysis) -> tuple[Array, Array]:
    """Halves of the log uniquenesses, and loadings.

    Args:
        free: the free numbers.
        analysis: of the fit.
    """
    moved = jnp.einsum("kpf,kf->kp", analysis.directions, free.loadings).reshape(analysis.loadings.shape)
    log_scales = jnp.asarray(analysis.log_scales) + free.log_scales
    return log_scales, jnp.asarray(analysis.loadings) + analysis.scales[:, :, None] * moved


def covariances_at(free: FreeFactors, analysis: Analysis) -> Array:
    """Σ = L Lᵀ + Ψ.

    Args:
        free: the free numbers.
        analysis: of the fit.
    """
    log_scales, loadings = factors_at(free, analysis)
    identity = jnp.eye(log_scales.shape[-1])[None]
    return loadings @ jnp.swapaxes(loadings, 1, 2) + jnp.exp(2.0 * log_scales)[:, :, None] * identity


def precisions_at(free: FreeFactors, analysis: Analysis) -> tuple[Array, Array]:
    """Precisions and log determinants relative to the covariances of the fit, to second order in the free numbers.

    With W Σ Wᵀ = I + E, of whiteners W of the fit: I − E + E² and tr E − ½ tr E². So derivatives at the fit need
    neither an inverse nor a determinant.

    Args:
        free: the free numbers, near zero.
        analysis: of the fit.
    """
    whiteners = jnp.asarray(analysis.whiteners)
    relative = whiteners @ covariances_at(free, analysis) @ jnp.swapaxes(whiteners, 1, 2)
    identity = jnp.eye(relative.shape[-1])[None]
    excess = relative - identity
    squared = excess @ excess
    log_determinants = jnp.trace(excess, axis1=1, axis2=2) - 0.5 * jnp.trace(squared, axis1=1, axis2=2)
    return identity - excess + squared, log_determinants
