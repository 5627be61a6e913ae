"""Priors on the locs and covariances of several columns; see `priors.py`, which has those of one column.

An inverse-Wishart density is −½ (ν + d + 1) log |Σ| − ½ tr(Λ Σ⁻¹) up to a constant, so that EM needs no more than two
numbers: how many observations it adds, and their scatter. Where the covariance model knows variances alone, each column
has an inverse-gamma density in its place, and spheres have one together, IG(σ² | ν/2, ς²/2), as in Fraley & Raftery
(2007). A covariance that all components have counts once.

They are densities of locs and covariances (or variances). Scales, means and covariances are those of all data in the
units of the fit, so that nothing depends on the user's units.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import gammaln, multigammaln
from jaxtyping import Array, Bool, Float

from gmm_pipeline.model.mixture import AnyArray, Scalar
from gmm_pipeline.model.multivariate import MultivariateParameters, whiteners
from gmm_pipeline.model.portable import HALF_LOG_TWO_PI
from gmm_pipeline.model.prior_traits import Added, Setting
from gmm_pipeline.model.small_matrices import factor_and_inverse

Number = float | Float[Array, ""]


class InverseWishart(NamedTuple):
    """The log density of a covariance: constant − N Σ_i s_i − ½ tr(Σ⁻¹ scatter), with Σ_i s_i = ½ log |Σ|."""

    observations: Scalar
    """N."""
    scatter: Float[AnyArray, "d d"] | Float[AnyArray, " d"]
    """Its diagonal where axes are those of the columns."""
    log_constant: Float[Array, ""]


def inverse_wishart(
    degrees_of_freedom: Number, scale: Float[AnyArray, "d d"] | Float[AnyArray, " d"], is_round: Bool[AnyArray, ""]
) -> InverseWishart:
    """Inverse-Wishart density of a covariance, or inverse-gamma densities of variances.

    Args:
        degrees_of_freedom: ν, more than d − 1 for a covariance and positive for variances.
        scale: Λ, or the diagonal ς² where axes are those of the columns.
        is_round: whether there is one variance for all columns, whose ς² is then the mean.
    """
    n_columns = scale.shape[-1]
    half = 0.5 * jnp.asarray(degrees_of_freedom, scale.dtype)
    if scale.ndim > 1:
        log_determinant = _log_determinant(0.5 * scale)
        constant = half * log_determinant - multigammaln(half, n_columns)
        return InverseWishart(degrees_of_freedom + n_columns + 1.0, scale, constant)
    mean = jnp.mean(scale)
    of_round = half * jnp.log(0.5 * mean) - gammaln(half)
    of_columns = half * jnp.sum(jnp.log(0.5 * scale)) - n_columns * gammaln(half)
    part = jnp.where(is_round, 1.0 / n_columns, 1.0)
    return InverseWishart(
        part * (degrees_of_freedom + 2.0),
        part * jnp.where(is_round, mean, scale),
        jnp.where(is_round, of_round, of_columns),
    )


def _log_determinant(matrix: Float[AnyArray, "d d"]) -> Float[Array, ""]:
    factor, _ = factor_and_inverse(matrix)
    return 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor)))


def log_density_of_covariances(
    parameters: MultivariateParameters, active: Bool[AnyArray, " K"], setting: Setting, each: InverseWishart
) -> Float[Array, ""]:
    """Log density of the covariances, in nats: the sum over components, or that of the one that all have.

    Args:
        parameters: the mixture.
        active: which components count.
        setting: of the fit.
        each: of one covariance.
    """
    parameters = masked(parameters, active)
    log_scales = parameters.log_component_scales
    if parameters.axes is None:
        traces = jnp.sum(each.scatter[None] * jnp.exp(-2.0 * log_scales), axis=-1)
    else:
        inverse = whiteners(parameters)
        traces = jnp.einsum("kij,jl,kil->k", inverse, each.scatter, inverse)
    found = each.log_constant - each.observations * jnp.sum(log_scales, axis=-1) - 0.5 * traces
    return setting.share(active) * jnp.sum(jnp.where(active, found, 0.0))


def masked(parameters: MultivariateParameters, active: Bool[AnyArray, " K"]) -> MultivariateParameters:
    """The mixture with zeros for inactive components, which must not reach the gradient: NaN times 0 is NaN.

    Args:
        parameters: the mixture.
        active: which components count.
    """
    _, mus, log_scales, axes = parameters[:4]
    mus, log_scales = (jnp.where(active[:, None], leaf, 0.0) for leaf in (mus, log_scales))
    axes = None if axes is None else jnp.where(active[:, None, None], axes, 0.0)
    return MultivariateParameters(parameters.log_component_weights, mus, log_scales, axes)


def log_density_of_locs(
    parameters: MultivariateParameters, active: Bool[AnyArray, " K"], setting: Setting, *, loc: Number, scale: Number
) -> Float[Array, ""]:
    """Normal locs around the mean of all data, Σ_j log N(μ_j | x̄ + m √diag C, s² C), in nats.

    Args:
        parameters: the mixture.
        active: which components count.
        setting: of the fit, with x̄ and C.
        loc: m, in standard deviations of the columns.
        scale: s.
    """
    mus, covariance = masked(parameters, active).component_mus, setting.covariance
    if covariance.ndim > 1:
        spread = jnp.sqrt(jnp.diagonal(covariance))
        factor, whitener = factor_and_inverse(covariance)
        log_volume = jnp.sum(jnp.log(jnp.diagonal(factor)))
        away = (mus - (setting.mean + loc * spread)[None]) @ whitener.T
    else:
        spread = jnp.sqrt(covariance)
        log_volume = jnp.sum(jnp.log(spread))
        away = (mus - (setting.mean + loc * spread)[None]) / spread[None]
    constant = mus.shape[-1] * (HALF_LOG_TWO_PI + jnp.log(scale)) + log_volume
    return jnp.sum(jnp.where(active, -0.5 * jnp.sum((away / scale) ** 2, axis=-1) - constant, 0.0))


def weak_density(
    parameters: MultivariateParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting,
    *,
    loc: Number,
    loc_scale: Number,
    scale_shape: Number,
    scale_scale: Number,
) -> Float[Array, ""]:
    """The weak prior on locs and covariances: normal locs, and inverse-Wishart covariances with a mode of (b/(a+1))² C.

    Λ = (ν + d + 1) (b / (a + 1))² C with ν = a + d − 1, so that in every direction the most probable scale is b / (a +
    1) of that of all data. Where there are variances alone, ν = a and ς² = (a + 2) (b / (a + 1))² diag C.

    Args:
        parameters: the mixture.
        active: which components count.
        setting: of the fit.
        loc: m, around which locs lie.
        loc_scale: s, how far from it.
        scale_shape: a.
        scale_scale: b.
    """
    each = _weak(setting, scale_shape, scale_scale)
    of_locs = log_density_of_locs(parameters, active, setting, loc=loc, scale=loc_scale)
    return of_locs + log_density_of_covariances(parameters, active, setting, each)


def _weak(setting: Setting, scale_shape: Number, scale_scale: Number) -> InverseWishart:
    columns = setting.columns_together
    most_probable = (scale_scale / (scale_shape + 1.0)) ** 2 * setting.covariance
    scale = (scale_shape + 2.0 * columns) * most_probable
    return inverse_wishart(scale_shape + columns - 1.0, scale, setting.is_round)


def weakly_added(
    active: Bool[AnyArray, " K"],
    setting: Setting,
    *,
    loc_scale: Number,
    scale_shape: Number,
    scale_scale: Number,
    **others: Number,
) -> Added:
    """Observations that the weak prior adds to each component: 1 / s² with the spread of all data to a loc.

    Without these, a step towards m of a component with next to no data would be as long as its data are few.

    Args:
        active: which components count.
        setting: of the fit.
        loc_scale: s.
        scale_shape: a.
        scale_scale: b.
        others: not used.
    """
    return Added(1.0 / loc_scale**2, setting.share(active) * _weak(setting, scale_shape, scale_scale).observations)


def conjugate_density(
    parameters: MultivariateParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting,
    *,
    shrinkage: Number,
    extra_degrees_of_freedom: Number,
    variance: Number,
) -> Float[Array, ""]:
    """Locs around the mean of all data in units of their own covariance, and inverse-Wishart covariances.

    Args:
        parameters: the mixture.
        active: which components count.
        setting: of the fit.
        shrinkage: κ.
        extra_degrees_of_freedom: ν − d.
        variance: Λ, as a multiple of C / K^(2/d).
    """
    each = _conjugate(active, setting, extra_degrees_of_freedom, variance)
    kept = masked(parameters, active)
    away = jnp.einsum("kij,kj->ki", whiteners(kept), kept.component_mus - setting.mean[None])
    constant = away.shape[-1] * (0.5 * jnp.log(shrinkage) - HALF_LOG_TWO_PI)
    of_locs = constant - jnp.sum(kept.log_component_scales, axis=-1) - 0.5 * shrinkage * jnp.sum(away**2, axis=-1)
    of_covariances = log_density_of_covariances(parameters, active, setting, each)
    return jnp.sum(jnp.where(active, of_locs, 0.0)) + of_covariances


def _conjugate(
    active: Bool[AnyArray, " K"], setting: Setting, extra_degrees_of_freedom: Number, variance: Number
) -> InverseWishart:
    n_columns, n_active = setting.mean.shape[-1], jnp.sum(active, dtype=setting.mean.dtype)
    scale = variance / n_active ** (2.0 / n_columns) * setting.covariance
    return inverse_wishart(n_columns + extra_degrees_of_freedom, scale, setting.is_round)


def conjugate_added(
    active: Bool[AnyArray, " K"],
    setting: Setting,
    *,
    shrinkage: Number,
    extra_degrees_of_freedom: Number,
    variance: Number,
) -> Added:
    """Observations that the conjugate prior adds: κ to a loc; one for the loc, and those of Λ, to a covariance.

    Args:
        active: which components count.
        setting: of the fit.
        shrinkage: κ.
        extra_degrees_of_freedom: ν − d.
        variance: Λ, as a multiple of C / K^(2/d).
    """
    each = _conjugate(active, setting, extra_degrees_of_freedom, variance)
    return Added(shrinkage, 1.0 + setting.share(active) * each.observations)


def penalty_density(
    parameters: MultivariateParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting,
    *,
    strength: Number,
    variance: Number,
) -> Float[Array, ""]:
    """−a Σ_j [tr(S Σ_j⁻¹) + log(|Σ_j| / |S|)] with S = `variance` C (Chen & Tan 2009), in nats: highest at Σ_j = S.

    Args:
        parameters: the mixture.
        active: which components count.
        setting: of the fit.
        strength: a.
        variance: as a multiple of the covariance of all data.
    """
    scale = variance * setting.covariance
    log_determinant = _log_determinant(scale) if scale.ndim > 1 else jnp.sum(jnp.log(scale))
    each = InverseWishart(2.0 * strength, 2.0 * strength * scale, strength * log_determinant)
    return log_density_of_covariances(parameters, active, setting, each)


def penalty_added(active: Bool[AnyArray, " K"], setting: Setting, *, strength: Number, variance: Number) -> Added:
    """Observations that the penalty adds to each component: 2 a to a covariance.

    Args:
        active: which components count.
        setting: of the fit.
        strength: a.
        variance: not used.
    """
    return Added(0.0, setting.share(active) * 2.0 * strength)


def process_density(
    parameters: MultivariateParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting,
    *,
    loc: Number,
    loc_scale: Number,
    scale_shape: Number,
    scale_scale: Number,
) -> Float[Array, ""]:
    """The Dirichlet process's base measure: normal locs, and inverse-Wishart covariances, as a density of log Σ.

    log IW(Σ | ν, Λ) + ½ (d + 1) log |Σ| with ν = a + d − 1 and Λ = b C, so that √(b/ν) is the scale of a component
    without data, in units of that of all data in the same direction. Where there are variances alone, ν = a.

    Args:
        parameters: the mixture.
        active: which components count.
        setting: of the fit.
        loc: m, around which locs lie.
        loc_scale: s, how far from it.
        scale_shape: a.
        scale_scale: b.
    """
    of_locs = log_density_of_locs(parameters, active, setting, loc=loc, scale=loc_scale)
    each = _of_process(setting, scale_shape, scale_scale)
    return of_locs + log_density_of_covariances(parameters, active, setting, each)


def _of_process(setting: Setting, scale_shape: Number, scale_scale: Number) -> InverseWishart:
    columns = setting.columns_together
    degrees = scale_shape + columns - 1.0
    each = inverse_wishart(degrees, scale_scale * setting.covariance, setting.is_round)
    return each._replace(observations=each.observations * degrees / (degrees + columns + 1.0))


def process_added(
    active: Bool[AnyArray, " K"],
    setting: Setting,
    *,
    loc_scale: Number,
    scale_shape: Number,
    scale_scale: Number,
    **others: Number,
) -> Added:
    """Observations that the Dirichlet process adds to each component, to a loc as `weakly_added`.

    Args:
        active: which components count.
        setting: of the fit.
        loc_scale: s.
        scale_shape: a.
        scale_scale: b.
        others: not used.
    """
    each = _of_process(setting, scale_shape, scale_scale)
    return Added(1.0 / loc_scale**2, setting.share(active) * each.observations)
