"""Mixtures of several columns compared on the host, many at once: densities of components, order, distances.

By NumPy, since what is compared has any number of mixtures and components, for each of which a program would be
compiled.
"""

import numpy as np
from jaxtyping import Float

from gmm_pipeline.inference.search_moves import weights_of
from gmm_pipeline.model.multivariate import MultivariateParameters, components_taken

Array = np.ndarray


def whiteners_of(parameters: MultivariateParameters) -> Float[Array, "*S K d d"]:
    """B = diag(e^{−s}) Q, in NumPy; with loadings (I + A Aᵀ)^−½ diag(e^{−s})."""
    inverse = np.exp(-np.asarray(parameters.log_component_scales, np.float64))
    if parameters.loadings is not None:
        vectors, lengths, _ = np.linalg.svd(np.asarray(parameters.loadings, np.float64), full_matrices=False)
        shrunk = vectors * (1.0 / np.sqrt(1.0 + lengths**2) - 1.0)[..., None, :]
        return (np.eye(inverse.shape[-1]) + shrunk @ np.swapaxes(vectors, -1, -2)) * inverse[..., None, :]
    axes = np.eye(inverse.shape[-1]) if parameters.axes is None else np.asarray(parameters.axes, np.float64)
    return inverse[..., None] * axes


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def log_densities(parameters: MultivariateParameters, data: Float[Array, "n d"]) -> Float[Array, "*S K n"]:
    """Log densities of components, up to a constant that all share, in float32.

    Args:
        parameters: any leading axes; their weights are not used.
        data: x.
    """
    if parameters.loadings is not None:
        return _log_densities_of_factors(parameters, data)
    inverse = whiteners_of(parameters)
    shape, n_columns = inverse.shape[:-2], inverse.shape[-1]
    flat = inverse.reshape(-1, n_columns).astype(np.float32)
    offsets = np.einsum("...ij,...j->...i", inverse, np.asarray(parameters.component_mus, np.float64))
    standardised = flat @ data.T.astype(np.float32) - offsets.reshape(-1, 1).astype(np.float32)
    squares = (standardised**2).reshape(-1, n_columns, len(data)).sum(axis=1)
    heights = -np.asarray(parameters.log_component_scales, np.float64).sum(axis=-1)
    return heights[..., None].astype(np.float32) - 0.5 * squares.reshape(*shape, len(data))


def _log_densities_of_factors(parameters: MultivariateParameters, data: Float[Array, "n d"]) -> Float[Array, "*S K n"]:
    """As `factor_objective` computes them, in float64, since their two parts cancel."""
    log_scales, mus, loadings = (
        np.asarray(leaf, np.float64)
        for leaf in (parameters.log_component_scales, parameters.component_mus, parameters.loadings)
    )
    shape, (n_columns, n_factors) = log_scales.shape[:-1], loadings.shape[-2:]
    precisions = np.exp(-2.0 * log_scales)
    linear = precisions * mus
    coefficients = np.concatenate([linear, -0.5 * precisions], axis=-1).reshape(-1, 2 * n_columns)
    squares = (coefficients @ np.concatenate([data, data**2], axis=1).T).reshape(*shape, len(data))
    inner = np.eye(n_factors) + np.swapaxes(loadings, -1, -2) @ loadings
    factors = np.linalg.cholesky(np.where(np.isfinite(inner), inner, np.eye(n_factors)))
    to_scores = np.linalg.solve(factors, np.swapaxes(loadings * np.exp(-log_scales)[..., None], -1, -2))
    scores = (to_scores.reshape(-1, n_columns) @ data.T).reshape(*shape, n_factors, len(data))
    scores = scores - np.einsum("...qj,...j->...q", to_scores, mus)[..., None]
    heights = -log_scales.sum(axis=-1) - np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)
    heights = heights - 0.5 * (linear * mus).sum(axis=-1)
    return (heights[..., None] + squares + 0.5 * (scores**2).sum(axis=-2)).astype(np.float32)


def in_order(mixtures: MultivariateParameters) -> MultivariateParameters:
    """The same mixtures, components in the order of their locs along a direction that favours no column."""
    direction = np.cos(1.0 + np.arange(mixtures.component_mus.shape[-1]))
    along = np.asarray(mixtures.component_mus, np.float64) @ direction
    return components_taken(mixtures, np.argsort(along, axis=-1, kind="stable"))


@np.errstate(over="ignore", invalid="ignore")
def distances(one: MultivariateParameters, others: MultivariateParameters) -> Float[Array, "R n"]:
    """Distance between mixtures in order, by locs in standard deviations, covariances and weights; broadcasts.

    Args:
        one: [..., K].
        others: [..., K]; the leading axes broadcast.
    """
    w, v = weights_of(one), weights_of(others)
    if one.loadings is not None:
        apart = _apart_with_factors(one, others)
        return (np.minimum(w, v) * np.minimum(apart, 10.0)).sum(-1) + np.abs(w - v).sum(-1)
    inverse = whiteners_of(others)
    moved = np.linalg.norm(
        np.einsum("...ij,...j->...i", inverse, np.asarray(one.component_mus, np.float64) - others.component_mus),
        axis=-1,
    )
    resized = np.abs(np.asarray(one.log_component_scales, np.float64) - others.log_component_scales).max(axis=-1)
    if one.axes is not None and others.axes is not None:
        resized = resized + np.abs(np.asarray(one.axes, np.float64) - others.axes).max(axis=(-2, -1))
    return (np.minimum(w, v) * np.minimum(moved + resized, 10.0)).sum(-1) + np.abs(w - v).sum(-1)


def _apart_with_factors(one: MultivariateParameters, others: MultivariateParameters) -> Float[Array, "*S K"]:
    """Distance between components, by what does not depend on the rotation of the factors, nor needs d × d matrices.

    Of locs in standard deviations along the columns; of the columns' standard deviations and uniquenesses; and of the
    lengths of the factors.
    """
    log_scales, scales_of_others = (np.asarray(each.log_component_scales, np.float64) for each in (one, others))
    columns, columns_of_others = (
        scale + 0.5 * np.log1p((np.asarray(each.loadings, np.float64) ** 2).sum(axis=-1))
        for scale, each in ((log_scales, one), (scales_of_others, others))
    )
    lengths, lengths_of_others = (
        np.log1p(np.linalg.svd(np.nan_to_num(each.loadings), compute_uv=False)) for each in (one, others)
    )
    moved = np.abs(np.asarray(one.component_mus, np.float64) - others.component_mus) * np.exp(-columns_of_others)
    resized = np.maximum(np.abs(log_scales - scales_of_others), np.abs(columns - columns_of_others)).max(axis=-1)
    return np.linalg.norm(moved, axis=-1) + resized + np.abs(lengths - lengths_of_others).max(axis=-1)
