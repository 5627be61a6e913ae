"""Gaussian mixtures of several columns: parameters as a fit sees them, and the map to natural ones.

A component is standardised by z = e^{−s} ∘ (Q (x − μ)), so that a density needs neither a solve nor a determinant: log
N(x | μ, Σ) = −½ ‖z‖² − Σ s − ½ d log 2π. The rows of Q are orthonormal (`Kind.ORIENTED`: s are the logarithms of the
scales along them), or Q is unit lower triangular (`Kind.FULL`: s are the logarithms of the Cholesky factor's diagonal),
or absent (`Kind.DIAGONAL`).

With factors (`Kind.FACTOR`), e^{−s} ∘ (x − μ) has the covariance I + A Aᵀ: e^{2s} are the uniquenesses, and A the
loadings relative to their roots. Its inverse I − A M⁻¹ Aᵀ and its determinant |M|, of the q × q matrix M = I + Aᵀ A,
need no d × d matrix (Woodbury's identity).

| symbol | name | shape |
| --- | --- | --- |
| x_i | `datum` | d |
| x | `data` | n × d |
| log w_k, up to a constant | `log_component_weights` | K |
| μ_k | `component_mus` | K × d |
| s_k | `log_component_scales` | K × d |
| Q_k | `axes` | K × d × d |
| A_k | `loadings` | K × d × q |
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, Real

from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.factor_analysis import factored
from gmm_pipeline.model.mixture import AnyArray, constrain
from gmm_pipeline.model.natural import AnyMixture, MultivariateMixture
from gmm_pipeline.model.noise import share_of_components
from gmm_pipeline.model.portable import HALF_LOG_TWO_PI, factors_of
from gmm_pipeline.model.small_matrices import cholesky_and_inverse


class MultivariateParameters(NamedTuple):
    """A mixture of several columns as a fit sees it: unconstrained, with the components on the axis of the weights."""

    log_component_weights: Float[AnyArray, "*batch K"]
    component_mus: Float[AnyArray, "*batch K d"]
    log_component_scales: Float[AnyArray, "*batch K d"]
    axes: Any
    """[*batch, K, d, d]; None where they are those of the columns."""
    loadings: Any = None
    """[*batch, K, d, q], relative to the roots of the uniquenesses; None without factors."""


AnyParameters = Any
"""`Parameters` or `MultivariateParameters`: which, only the family of a fit knows."""


def components_taken(parameters: AnyParameters, order: Int[np.ndarray, "*batch L"]) -> AnyParameters:
    """The mixtures with these of their components, in this order.

    Args:
        parameters: any leading axes.
        order: numbers of components, with the same leading axes, or ones that broadcast to them.
    """
    axis = order.ndim - 1

    def of_leaf(leaf: Any) -> Any:
        if leaf is None:
            return None
        index = order.reshape(*order.shape, *[1] * (leaf.ndim - order.ndim))
        return np.take_along_axis(np.asarray(leaf), index, axis=axis)

    return type(parameters)(*(of_leaf(leaf) for leaf in parameters))


def whiteners(parameters: MultivariateParameters) -> Float[Array, "*batch K d d"]:
    """B = diag(e^{−s}) Q, so that Σ⁻¹ = Bᵀ B."""
    inverse = jnp.exp(-parameters.log_component_scales)
    if parameters.axes is None:
        return inverse[..., None] * jnp.broadcast_to(
            jnp.eye(inverse.shape[-1], dtype=inverse.dtype), (*inverse.shape, inverse.shape[-1])
        )
    return inverse[..., None] * parameters.axes


def log_heights(parameters: MultivariateParameters) -> Float[Array, "*batch K"]:
    """Log joint density of each component at its loc: log w − Σ s − ½ d log 2π, in nats."""
    scales = parameters.log_component_scales
    heights = log_softmax(parameters.log_component_weights) - scales.sum(-1) - scales.shape[-1] * HALF_LOG_TWO_PI
    if parameters.loadings is None:
        return heights
    root, _ = root_of_scores(parameters.loadings)
    return heights - jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)).sum(-1)


def root_of_scores(
    loadings: Float[AnyArray, "*batch K d q"],
) -> tuple[Float[Array, "*batch K q q"], Float[Array, "*batch K q q"]]:
    """T and T⁻¹ of M = I + Aᵀ A = T Tᵀ, the precision of a datum's factors given the datum.

    Args:
        loadings: A.
    """
    inner = jnp.swapaxes(loadings, -1, -2) @ loadings
    return cholesky_and_inverse(jnp.broadcast_to(jnp.eye(inner.shape[-1], dtype=inner.dtype), inner.shape) + inner)


def joint_loglikes(parameters: MultivariateParameters, datum: Real[AnyArray, " d"]) -> Float[Array, " K"]:
    """Log joint density of one datum and each component: log w_k + log N(x | μ_k, Σ_k), in nats.

    Args:
        parameters: of K components.
        datum: x, in the units of the locs.
    """
    standardised = jnp.einsum("kij,kj->ki", whiteners(parameters), datum[None, :] - parameters.component_mus)
    joint = log_heights(parameters) - 0.5 * jnp.sum(standardised**2, axis=-1)
    if parameters.loadings is None:
        return joint
    _, inverse = root_of_scores(parameters.loadings)
    scores = jnp.einsum("kpq,kq->kp", inverse, jnp.einsum("kjq,kj->kq", parameters.loadings, standardised))
    return joint + 0.5 * jnp.sum(scores**2, axis=-1)


def loglike_across_components(parameters: MultivariateParameters, datum: Real[AnyArray, " d"]) -> Float[Array, ""]:
    """Log-likelihood of one datum under the mixture: log Σ_k w_k N(x | μ_k, Σ_k), in nats.

    Args:
        parameters: of K components.
        datum: x, in the units of the locs.
    """
    return logsumexp(joint_loglikes(parameters, datum))


def constrain_multivariate(parameters: MultivariateParameters) -> MultivariateMixture:
    """Unconstrained parameters as a mixture in natural parameters, float64; any leading axes are kept."""
    log_weights, locs, log_scales = (np.asarray(leaf, np.float64) for leaf in parameters[:3])
    with np.errstate(all="ignore"):  # a diverged fit is not finite, and is returned as such
        relative = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
        factors = _factors(log_scales, parameters.axes)
        covariances = factors @ np.swapaxes(factors, -1, -2)
        if parameters.loadings is not None:
            loadings = np.exp(log_scales)[..., None] * np.asarray(parameters.loadings, np.float64)
            covariances = covariances + loadings @ np.swapaxes(loadings, -1, -2)
        return MultivariateMixture(relative / relative.sum(axis=-1, keepdims=True), locs, covariances)


def natural_of(parameters: AnyParameters, *, noise: bool = False) -> AnyMixture:
    """Unconstrained parameters as a mixture in natural parameters, float64; any leading axes are kept.

    Args:
        parameters: of a fit.
        noise: whether it has a noise component, whose weight is what those of the others lack to sum to one.
    """
    found = (
        constrain_multivariate(parameters) if isinstance(parameters, MultivariateParameters) else constrain(parameters)
    )
    if not noise:
        return found
    share = share_of_components(parameters.log_component_weights)
    return found._replace(weights=found.weights * share[..., None])


def _factors(log_scales: Float[np.ndarray, "*K d"], axes: AnyArray | None) -> Float[np.ndarray, "*K d d"]:
    """Q⁻¹ diag(e^s), whose product with its transpose is the covariance."""
    scales = np.exp(log_scales)
    if axes is None:
        return scales[..., None] * np.eye(scales.shape[-1])
    finite = np.isfinite(axes).all(axis=(-2, -1), keepdims=True)
    inverse = np.linalg.inv(np.where(finite, np.asarray(axes, np.float64), np.eye(scales.shape[-1])))
    return np.where(finite, inverse, np.nan) * scales[..., None, :]


def covariance_parameters(
    covariances: Float[np.ndarray, "*K d d"], kind: Kind
) -> tuple[Float[np.ndarray, "*K d"], Any]:
    """Log scales and axes of covariances; those of a kind that cannot represent them keep what it can.

    Factors are another matter; see `factor_analysis.factored`.

    Args:
        covariances: Σ, positive definite.
        kind: how components are represented.
    """
    if kind in (Kind.SPHERICAL, Kind.DIAGONAL):
        return 0.5 * np.log(np.diagonal(covariances, axis1=-2, axis2=-1)), None
    if kind is Kind.ORIENTED:
        variances, vectors = np.linalg.eigh(covariances)
        return 0.5 * np.log(np.maximum(variances, np.finfo(np.float64).tiny)), np.swapaxes(vectors, -1, -2)
    factors = factors_of(covariances)
    diagonal = np.diagonal(factors, axis1=-2, axis2=-1)
    return np.log(diagonal), diagonal[..., None] * np.linalg.inv(factors)


def parameters_of(mixture: MultivariateMixture, kind: Kind, factors: int = 0) -> MultivariateParameters:
    """A mixture as a fit of this kind sees it, in float64; any leading axes are kept.

    Args:
        mixture: in natural parameters.
        kind: how components are represented.
        factors: q, with `Kind.FACTOR`.
    """
    if kind is Kind.FACTOR:
        log_scales, loadings = factored(mixture.covariances, factors)
        return MultivariateParameters(np.log(mixture.weights), np.asarray(mixture.locs), log_scales, None, loadings)
    log_scales, axes = covariance_parameters(mixture.covariances, kind)
    return MultivariateParameters(np.log(mixture.weights), np.asarray(mixture.locs), log_scales, axes)
