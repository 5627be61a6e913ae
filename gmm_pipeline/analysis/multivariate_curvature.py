"""Curvature of the log posterior of a mixture of several columns, in float64, in the free numbers of its model.

Those are log weights, locs, log volumes, log shapes of sum zero, and rotations away from the fitted orientations, each
equal or variable; with factors, log uniquenesses and loadings in place of the last three (`factor_curvature.py`). The
log joint density of a datum and a component is linear in 1, z and z zᵀ, so that all that the Hessian needs of the data
are sums of their products, collected in NumPy block by block (`feature_sums.py`); how the coefficients depend on the
free numbers is autodiff of a program that sees no data. z is standardised by the fitted component, so that nothing is
lost to cancellation. The price: (K d²/2)² products a datum, and two seconds to compile the program of each model and
number of components.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Float

from gmm_pipeline.analysis.factor_curvature import (
    Analysis,
    FreeFactors,
    covariances_at,
    factors_at,
    precisions_at,
    zeros_of,
)
from gmm_pipeline.analysis.feature_sums import Origin, feature_sums
from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model.multivariate import MultivariateParameters
from gmm_pipeline.model.natural import MultivariateMixture, definite_or_identity, is_finite
from gmm_pipeline.model.portable import HALF_LOG_TWO_PI


class Free(NamedTuple):
    """The free numbers of a covariance model; a first axis of 1 where the components share them, of 0 for none."""

    log_weights: Float[Array | np.ndarray, " K"]
    """Added to the log weights, which are then normalised."""
    locs: Float[Array | np.ndarray, "K d"]
    """In units of L."""
    volumes: Float[Array | np.ndarray, " V"]
    shapes: Float[Array | np.ndarray, "S d-1"]
    turns: Float[Array | np.ndarray, "D q"]
    """Angles in the planes of pairs of axes."""


AnyFree = Free | FreeFactors


class MultivariateCurvature(NamedTuple):
    """Minus the Hessian of the log posterior, by its principal directions."""

    shares: Float[np.ndarray, " free"]
    """Its eigenvalues, ascending, as shares of the complete-data information."""
    directions: Float[np.ndarray, "P free"]
    """One direction per column, of the length of a standard error with that information."""
    reported: Float[np.ndarray, "numbers P"]
    """Jacobian of the numbers that are reported."""
    counted: np.ndarray
    """The components whose weights move."""
    origin: Origin
    zero: AnyFree
    squares: Float[np.ndarray, "free free"] | None = None
    """Squared gradients Σ c² s sᵀ of the data in these directions, if they were asked for."""

    def mixture_at(self, step: Float[np.ndarray, " P"]) -> MultivariateMixture:
        """The mixture of the model that is a step away from the fit."""
        with jax.enable_x64(True):
            free = ravel_pytree(self.zero)[1](jnp.asarray(step))
            if isinstance(free, FreeFactors):
                return MultivariateMixture(*(np.asarray(leaf) for leaf in _mixture_at(free, self.origin)))
            log_variances, axes = _axes_at(free, self.origin)
            left, _, right = np.linalg.svd(np.asarray(axes))  # the nearest axes that are orthogonal
            moved = _assembled(free, self.origin, log_variances, jnp.asarray(left @ right))
            return MultivariateMixture(*(np.asarray(leaf) for leaf in moved))

    def parameters_at(self, step: Float[np.ndarray, " P"]) -> MultivariateParameters:
        """The same of a model of factors, as its fit sees it."""
        with jax.enable_x64(True):
            free = ravel_pytree(self.zero)[1](jnp.asarray(step))
            weights, locs = _weights_and_locs(free, self.origin)
            log_scales, loadings = factors_at(free, self.origin.analysis)
            relative = loadings * jnp.exp(-log_scales)[:, :, None]
            found = MultivariateParameters(jnp.log(weights), locs, log_scales, None, relative)
            return jax.tree.map(np.asarray, found)


@np.errstate(all="ignore")
def multivariate_curvature(
    mixture: MultivariateMixture,
    model: str,
    data: Float[AnyData, "n d"],
    sample_weights: Float[np.ndarray, " n"],
    *,
    log_prior: Partial | None = None,
    degenerate: Iterable[int] = (),
    log_noise: float | None = None,
    analysis: Analysis | None = None,
    robust: bool = False,
    seen: Callable[[int], None] | None = None,
) -> MultivariateCurvature | None:
    """Curvature of the log posterior in the free numbers of a covariance model; None if it is not defined.

    Args:
        mixture: as of `multivariate_errors`, like all others.
        model: its covariance model.
        data: x.
        sample_weights: c, how often each datum counts.
        log_prior: None for maximum likelihood.
        degenerate: components whose loc and covariance are held fixed.
        log_noise: log density of the noise, whose weight is what those of the mixture lack; None without noise.
        analysis: the factors of the mixture, where the model is one of factors.
        robust: whether squared gradients are computed too.
        seen: called with the rows seen so far.
    """
    sound = np.setdiff1d(np.arange(len(mixture.weights)), list(degenerate))
    if not len(sound) or not is_finite(mixture) or not definite_or_identity(mixture.covariances)[1].all():
        return None
    n_components, n_columns = mixture.locs.shape
    origin = _origin_of(mixture, model) if analysis is None else _origin_with_factors(mixture, analysis)
    if log_noise is not None:
        weight = np.log(max(1.0 - float(mixture.weights.sum()), np.finfo(np.float64).tiny))
        origin = origin._replace(noise=np.array(weight + log_noise + n_columns * HALF_LOG_TWO_PI))
    means, products, together = feature_sums(origin, data, sample_weights, seen=seen)
    with jax.enable_x64(True):
        zero = _zeros(model, n_components, n_columns) if analysis is None else zeros_of(analysis)
        of_complete, of_prior, slopes, reported = (
            np.asarray(one) for one in _derivatives(zero, origin, means, log_prior)
        )
    total = np.sum(sample_weights, dtype=np.float64)
    counted = np.union1d(sound, np.flatnonzero(total * mixture.weights >= 1.0)).astype(int)
    of_noise = total * (1.0 - mixture.weights.sum())
    free = _moving(zero, sound, counted, mixture.weights, noise=log_noise is not None and bool(of_noise >= 1.0))
    flat_slopes = slopes.reshape(-1, slopes.shape[-1])[:, free]
    within = np.einsum("kpf,kpq,kqg->fg", slopes[..., free], products, slopes[..., free], optimize=True)
    information = flat_slopes.T @ together @ flat_slopes - within - (of_complete + of_prior)[np.ix_(free, free)]
    most = np.abs(np.diag(of_complete)[free]) + np.abs(np.diag(of_prior)[free])
    if not np.isfinite(information).all() or not most.min(initial=1.0) > 0.0:
        return None
    unit = 1.0 / np.sqrt(most)
    shares, eigenvectors = np.linalg.eigh(unit[:, None] * information * unit)
    directions = np.zeros((slopes.shape[-1], len(free)))
    directions[free] = unit[:, None] * eigenvectors
    squares = None
    if robust:
        gradients = flat_slopes @ (unit[:, None] * eigenvectors)
        squares = gradients.T @ feature_sums(origin, data, sample_weights, power=2).together @ gradients
    return MultivariateCurvature(shares, directions, reported, counted, origin, zero, squares)


def _origin_of(mixture: MultivariateMixture, model: str) -> Origin:
    """Volumes, shapes and orientations of a fit; shared ones are averaged, since a fit has rounding errors."""
    volume, shape, orientation = model
    covariances, n_columns = mixture.covariances, mixture.locs.shape[1]
    if orientation == "I":
        orientations = np.broadcast_to(np.eye(n_columns), covariances.shape)
    else:
        together = covariances
        if orientation == "E":
            # Matrices with the same axes; with equal weights, those of opposite shapes could have a sum without any.
            scaled = covariances / np.trace(covariances, axis1=1, axis2=2)[:, None, None]
            mixed = np.tensordot(1.0 / (np.arange(len(covariances)) + np.sqrt(2.0)), scaled, 1)
            together = np.broadcast_to(mixed, covariances.shape)
        orientations = np.linalg.eigh(together)[1]
    log_variances = np.log(np.einsum("kji,kjl,kli->ki", orientations, covariances, orientations))
    volumes = log_variances.mean(axis=1, keepdims=True)
    shapes = log_variances - volumes
    if volume == "E":
        volumes = volumes.mean(axis=0, keepdims=True)
    if shape != "V":
        shapes = shapes.mean(axis=0, keepdims=True) if shape == "E" else np.zeros_like(shapes)
    log_variances = volumes + shapes + np.zeros_like(log_variances)
    factors = np.linalg.cholesky((orientations * np.exp(log_variances)[:, None]) @ np.swapaxes(orientations, 1, 2))
    with np.errstate(divide="ignore"):
        log_weights = np.maximum(np.log(mixture.weights), -700.0)
    return Origin(log_weights, mixture.locs, factors, log_variances, np.array(orientations))


def _origin_with_factors(mixture: MultivariateMixture, analysis: Analysis) -> Origin:
    covariances = mixture.covariances
    factors = np.linalg.cholesky(covariances)
    log_variances = 2.0 * np.log(np.diagonal(factors, axis1=1, axis2=2))
    log_weights = np.maximum(np.log(mixture.weights), -700.0)
    unturned = np.broadcast_to(np.eye(covariances.shape[1]), covariances.shape)
    return Origin(log_weights, mixture.locs, factors, log_variances, unturned, analysis=analysis)


def _zeros(model: str, n_components: int, n_columns: int) -> Free:
    volumes, shapes, turns = ({"E": 1, "V": n_components, "I": 0}[letter] for letter in model)
    n_planes = n_columns * (n_columns - 1) // 2
    sizes = ((n_components,), (n_components, n_columns), (volumes,), (shapes, n_columns - 1), (turns, n_planes))
    return Free(*(np.zeros(size) for size in sizes))


def _moving(zero: AnyFree, sound: np.ndarray, counted: np.ndarray, weights: np.ndarray, *, noise: bool) -> np.ndarray:
    """Places of the free numbers in the flat vector: without the heaviest weight, and what is only of fixed ones.

    All weights move against that of the noise, where it has the weight of a datum.
    """
    heaviest = [] if noise else [counted[np.argmax(weights[counted])]]
    of_components = [np.setdiff1d(counted, heaviest), *[sound] * (len(zero) - 1)]
    masks = []
    for leaf, moving in zip(zero, of_components, strict=True):
        shared = len(leaf) < len(weights)
        rows = np.full(len(leaf), True) if shared else np.isin(np.arange(len(leaf)), moving)
        masks.append(np.broadcast_to(rows.reshape(-1, *[1] * (leaf.ndim - 1)), leaf.shape).ravel())
    return np.flatnonzero(np.concatenate(masks))


def _axes_at(free: Free, origin: Origin) -> tuple[Array, Array]:
    """Log variances along the axes, and the axes: orthogonal to second order, which is all that derivatives need."""
    n_columns = origin.locs.shape[1]
    contrasts = np.linalg.qr(np.column_stack([np.ones(n_columns), np.eye(n_columns)[:, 1:]]))[0][:, 1:].T
    log_variances = jnp.asarray(origin.log_variances) + free.volumes[:, None]
    if free.shapes.shape[0]:
        log_variances = log_variances + free.shapes @ contrasts
    axes = jnp.asarray(origin.orientations)
    if free.turns.shape[0]:
        rows, columns = np.triu_indices(n_columns, 1)
        skew = jnp.zeros((free.turns.shape[0], n_columns, n_columns)).at[:, rows, columns].set(free.turns)
        skew = skew - jnp.swapaxes(skew, 1, 2)
        axes = axes @ (jnp.eye(n_columns)[None] + skew + 0.5 * skew @ skew)
    return log_variances, axes


def _mixture_at(free: AnyFree, origin: Origin) -> tuple[Array, Array, Array]:
    if isinstance(free, FreeFactors):
        return *_weights_and_locs(free, origin), covariances_at(free, origin.analysis)
    return _assembled(free, origin, *_axes_at(free, origin))


def _weights_and_locs(free: AnyFree, origin: Origin) -> tuple[Array, Array]:
    weights = jnp.exp(_log_weights_at(free, origin)[: len(origin.locs)])
    return weights, jnp.asarray(origin.locs) + jnp.einsum("kij,kj->ki", origin.factors, free.locs)


def _assembled(free: Free, origin: Origin, log_variances: Array, axes: Array) -> tuple[Array, Array, Array]:
    covariances = (axes * jnp.exp(log_variances)[:, None]) @ jnp.swapaxes(axes, 1, 2)
    return *_weights_and_locs(free, origin), covariances


def _precisions_at(free: AnyFree, origin: Origin) -> tuple[Array, Array]:
    """Precisions of z, and the logarithms of the covariances' eigenvalues, or others of the same sum."""
    if isinstance(free, FreeFactors):
        precisions, log_determinants = precisions_at(free, origin.analysis)
        each = log_determinants[:, None] / precisions.shape[-1]
        return precisions, jnp.asarray(origin.log_variances) + each
    log_variances, axes = _axes_at(free, origin)
    turned = jnp.swapaxes(axes, 1, 2) @ origin.factors
    return jnp.swapaxes(turned, 1, 2) @ (jnp.exp(-log_variances)[:, :, None] * turned), log_variances


def _coefficients(free: AnyFree, origin: Origin) -> Array:
    """Of 1, z and the products of z in the log joint density of each component, [K, p], up to a constant."""
    precisions, log_variances = _precisions_at(free, origin)
    linear = jnp.einsum("kij,kj->ki", precisions, free.locs)
    log_weights = _log_weights_at(free, origin)
    constants = log_weights[: len(origin.locs)]
    constants = constants - 0.5 * jnp.sum(log_variances, axis=1) - 0.5 * jnp.sum(linear * free.locs, axis=1)
    rows, columns = np.triu_indices(origin.locs.shape[1])
    quadratic = jnp.asarray(np.where(rows == columns, -0.5, -1.0))[None] * precisions[:, rows, columns]
    found = jnp.concatenate([constants[:, None], linear, quadratic], axis=1)
    if origin.noise is None:
        return found
    of_noise = jnp.zeros((1, found.shape[1])).at[0, 0].set(log_weights[-1])
    return jnp.concatenate([found, of_noise])


def _log_weights_at(free: AnyFree, origin: Origin) -> Array:
    """Log weights of the components, and of the noise last, which is what the others leave."""
    log_weights = origin.log_weights + free.log_weights
    if origin.noise is not None:
        rest = jnp.log1p(-jnp.exp(jax.nn.logsumexp(jnp.asarray(origin.log_weights))))
        log_weights = jnp.append(log_weights, rest)
    return jax.nn.log_softmax(log_weights)


def _reported(free: AnyFree, origin: Origin) -> Array:
    weights, locs, covariances = _mixture_at(free, origin)
    scales = jnp.sqrt(jnp.diagonal(covariances, axis1=1, axis2=2))
    correlations = covariances / (scales[:, :, None] * scales[:, None, :])
    of_noise = [] if origin.noise is None else [jnp.exp(_log_weights_at(free, origin)[-1:])]
    return jnp.concatenate([leaf.ravel() for leaf in (weights, locs, covariances, scales, correlations, *of_noise)])


@jax.jit
def _derivatives(
    zero: AnyFree, origin: Origin, means: Array, log_prior: Partial | None
) -> tuple[Array, Array, Array, Array]:
    """Hessians of the complete-data log-likelihood and of the log prior; Jacobians of coefficients and of numbers."""
    flat, unravel = ravel_pytree(zero)

    def complete(values: Array) -> Array:
        return jnp.sum(_coefficients(unravel(values), origin) * means)

    def prior(values: Array) -> Array:
        return jnp.zeros(()) if log_prior is None else log_prior(*_mixture_at(unravel(values), origin))

    return (
        jax.hessian(complete)(flat),
        jax.hessian(prior)(flat),
        jax.jacfwd(lambda values: _coefficients(unravel(values), origin))(flat),
        jax.jacfwd(lambda values: _reported(unravel(values), origin))(flat),
    )
