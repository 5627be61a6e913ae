"""A prior on the scales and the correlations of several columns, each in their own right.

A covariance is taken apart as Σ = diag(σ) R diag(σ). Scales are inverse-gamma in units of those of all data, and the
correlations have the density of Lewandowski, Kurowicka & Joe (2009), |R|^{η−1} / c: uniform over all correlation
matrices for η = 1, and the larger η, the closer to the identity. It is a density of σ and R. The price beside an
inverse-Wishart: correlations are those of the columns as they are, so that EM has no closed step, and the data of a fit
may not be whitened.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln
from jaxtyping import Array, Bool, Float

from gmm_pipeline.model.covariance_priors import Number, log_density_of_locs, masked
from gmm_pipeline.model.densities import log_inverse_gamma_density
from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.multivariate import MultivariateParameters, whiteners
from gmm_pipeline.model.prior_traits import Added, Setting
from gmm_pipeline.model.small_matrices import factor_and_inverse


def log_normaliser(n_columns: int, shape: Number) -> Float[Array, ""]:
    """Log c of the density |R|^{η−1} / c of correlation matrices (Lewandowski, Kurowicka & Joe 2009, eq. 16).

    Args:
        n_columns: d.
        shape: η.
    """
    left = np.arange(1, n_columns)  # d − k of the paper
    halves = jnp.asarray(shape) + 0.5 * (left - 1)
    powers = (2.0 * jnp.asarray(shape) - 2.0 + left) * left
    return jnp.log(2.0) * jnp.sum(powers) + jnp.sum(left * betaln(halves, halves))


def lkj_density(
    parameters: MultivariateParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting,
    *,
    loc: Number,
    loc_scale: Number,
    scale_shape: Number,
    scale_scale: Number,
    correlation_shape: Number,
) -> Float[Array, ""]:
    """Normal locs, inverse-gamma scales and LKJ correlations, a density of μ, σ and R, in nats.

    Diagonal models have no correlations, and spherical ones one scale, in units of √mean diag C. What all components
    have in common counts once.

    Args:
        parameters: the mixture.
        active: which components count.
        setting: of the fit.
        loc: m, around which locs lie.
        loc_scale: s, how far from it.
        scale_shape: a.
        scale_scale: b.
        correlation_shape: η.
    """
    of_locs = log_density_of_locs(parameters, active, setting, loc=loc, scale=loc_scale)
    kept, of_correlations = masked(parameters, active), 0.0
    variances = setting.covariance if setting.covariance.ndim == 1 else jnp.diagonal(setting.covariance)
    units = 0.5 * jnp.log(jnp.where(setting.is_round, jnp.mean(variances), variances))
    log_scales = kept.log_component_scales
    if kept.axes is not None:
        eye = jnp.eye(len(units), dtype=log_scales.dtype)
        inverse = jnp.where(active[:, None, None], whiteners(kept), eye[None])
        # Σ⁻¹ = T Tᵀ, so that Σ = T⁻ᵀ T⁻¹.
        _, roots = factor_and_inverse(jnp.swapaxes(inverse, -1, -2) @ inverse)
        log_scales = 0.5 * jnp.log(jnp.sum(roots**2, axis=-2))
        log_determinants = 2.0 * jnp.sum(kept.log_component_scales - log_scales, axis=-1)
        of_correlations = (correlation_shape - 1.0) * log_determinants - log_normaliser(len(units), correlation_shape)
    of_scale = jnp.vectorize(partial(log_inverse_gamma_density, shape=scale_shape, scale=scale_scale))
    each = of_scale(log_scales - units[None]) - units[None]
    of_scales = jnp.where(setting.is_round, jnp.mean(each, axis=-1), jnp.sum(each, axis=-1))
    return of_locs + setting.share(active) * jnp.sum(jnp.where(active, of_scales + of_correlations, 0.0))


def lkj_added(
    active: Bool[AnyArray, " K"], setting: Setting, *, loc_scale: Number, scale_shape: Number, **others: Number
) -> Added:
    """Observations that the prior adds to each component: about a + 1 to a covariance, to a loc as `weakly_added`.

    Args:
        active: which components count.
        setting: of the fit.
        loc_scale: s.
        scale_shape: a.
        others: not used.
    """
    return Added(1.0 / loc_scale**2, setting.share(active) * (scale_shape + 1.0))
