"""Log prior densities of mixture parameters, as plain functions that a config names by `_target_`.

A prior takes the parameters and returns one number in nats; its keyword-only arguments are hyperparameters and come
from the config. It sees the parameters as the fit does: of standardised data where `standardize=true`, which changes
locs and scales but not weights. Its locs and scales are then in units of the data's standard deviation, around their
mean. A prior of your own is one such function and one YAML file; it declares what a fit must know about it beforehand
(`Traits`).

A second positional argument, `active`, says which components count: a prior that takes it gets arrays padded with
inactive components, so that runs with different numbers of components share one program. A prior that does not take it
sees the run's own components only; the price is one program per number of components.

Where the mode of a density lies depends on the variables it is a density of. Here these are weights, locs and scales or
variances, so that a flat prior gives maximum likelihood; except for the Dirichlet process, whose density is of the
unconstrained parameters, because in the weights its mode lies on the boundary.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from jax.nn import log_softmax
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float

from gmm_pipeline.model.correlation_priors import lkj_added, lkj_density
from gmm_pipeline.model.covariance_priors import (
    conjugate_added,
    conjugate_density,
    penalty_added,
    penalty_density,
    process_added,
    process_density,
    weak_density,
    weakly_added,
)
from gmm_pipeline.model.densities import (
    log_gamma_density,
    log_half_normal_density,
    log_inverse_gamma_density,
    log_normal_density,
    log_stick_density,
)
from gmm_pipeline.model.mixture import ABSENT, AnyArray, Parameters, Scalar
from gmm_pipeline.model.multivariate import AnyParameters, MultivariateParameters
from gmm_pipeline.model.prior_traits import Added, Setting, Traits, declare
from gmm_pipeline.model.prior_traits import traits as traits
from gmm_pipeline.model.ranges import check_finite, check_positive
from gmm_pipeline.model.sticks import logits_of_log_weights

Number = float | Float[Array, ""]


@declare(Traits(pseudo_count=lambda: 0.0))
def flat(parameters: AnyParameters, active: Bool[AnyArray, " K"]) -> Float[Array, ""]:
    """No prior: a constant 0, so that the estimate is maximum likelihood.

    Args:
        parameters: the mixture.
        active: [K], which components count; not used.
    """
    return jnp.zeros((), parameters.component_mus.dtype)


@declare(Traits(pseudo_count=lambda *, concentration: concentration - 1.0))
def dirichlet(parameters: AnyParameters, active: Bool[AnyArray, " K"], *, concentration: Number) -> Float[Array, ""]:
    """Symmetric Dirichlet prior on the weights: log Dir(w | α, …, α), in nats (Bayesian Data Analysis, 2013).

    Over the k active components, Σ_j (α − 1) log w_j + log Γ(k α) − k log Γ(α); equal to `mixture.weights_loglike`.

    Args:
        parameters: the mixture.
        active: which components count.
        concentration: α, positive; above 1 it keeps components from vanishing, 1 is flat.

    Raises:
        InputError: where α is not positive and finite.
    """
    check_positive(
        concentration=concentration,
        remedy="Use 1 for a flat prior on the weights, or more to keep components from vanishing.",
    )
    dtype = parameters.log_component_weights.dtype
    alpha, n_active = jnp.asarray(concentration, dtype), jnp.sum(active, dtype=dtype)
    log_weights = log_softmax(jnp.where(active, parameters.log_component_weights, ABSENT))
    normaliser = gammaln(n_active * alpha) - n_active * gammaln(alpha)
    return (alpha - 1.0) * jnp.sum(jnp.where(active, log_weights, 0.0)) + normaliser


def _weakly_added(*, loc_scale: Number, scale_shape: Number, **others: Number) -> Added:
    """Of one column: 1 / s² with the spread of all data to a loc, and the a + 1 powers of σ to a variance."""
    return Added(1.0 / loc_scale**2, scale_shape + 1.0)


@declare(Traits(added=weakly_added, added_to_column=_weakly_added))
def weakly_informative(
    parameters: AnyParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting | None = None,
    *,
    concentration: Number,
    loc: Number,
    loc_scale: Number,
    scale_shape: Number,
    scale_scale: Number,
) -> Float[Array, ""]:
    """A weak prior on all parameters that keeps components from vanishing and from collapsing.

    log Dir(w | α, …, α) + Σ_j [log N(μ_j | m, s) + log IG(σ_j | a, b)], a density of weights, locs and scales, in
    nats. The inverse-gamma falls off as exp(−b/σ), faster than the likelihood of a component on a single datum grows.

    Of several columns, scales are those in any direction, in units of the scale of all data in it: covariances are
    inverse-Wishart with the same most probable scale (`covariance_priors.weak_density`).

    Args:
        parameters: the mixture, of standardised data.
        active: which components count.
        setting: of a fit of several columns; None for one.
        concentration: α of the weights; 1 is flat.
        loc: m, around which locs lie.
        loc_scale: s, how far from it.
        scale_shape: a.
        scale_scale: b; the most probable scale is b / (a + 1).

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    check_finite(loc=loc)
    check_positive(loc_scale=loc_scale, scale_shape=scale_shape, scale_scale=scale_scale)

    of_weights = dirichlet(parameters, active, concentration=concentration)
    if isinstance(parameters, MultivariateParameters):
        numbers = {"loc": loc, "loc_scale": loc_scale, "scale_shape": scale_shape, "scale_scale": scale_scale}
        return of_weights + weak_density(parameters, active, cast(Setting, setting), **numbers)

    def log_density(mu: Scalar, log_scale: Scalar) -> Float[Array, ""]:
        of_loc = log_normal_density(mu, loc=loc, scale=loc_scale)
        return of_loc + log_inverse_gamma_density(log_scale, shape=scale_shape, scale=scale_scale)

    return of_weights + _over_active(log_density, parameters, active)


@declare(Traits(added=lkj_added, of_columns=True))
def lkj(
    parameters: AnyParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting | None = None,
    *,
    concentration: Number,
    loc: Number,
    loc_scale: Number,
    scale_shape: Number,
    scale_scale: Number,
    correlation_shape: Number,
) -> Float[Array, ""]:
    """A weak prior on all parameters, with one of its own on the correlations of several columns.

    log Dir(w | α, …, α) + Σ_j [log N(μ_j | x̄ + m √diag C, s² C) + Σ_c log IG(σ_jc | a, b) + log LKJ(R_j | η)], a
    density of weights, locs, scales and correlations, in nats and in the units of the fit, with locs and scales in
    units of the standard deviations of all data, locs from their mean, and LKJ(R) ∝ |R|^{η−1} (Lewandowski, Kurowicka
    & Joe 2009). For η > 1 no correlation is the most probable, and the density falls to 0 where R is singular, but more
    slowly than the likelihood of a component with few data grows: the scale floor and the search's rule of degeneracy
    bound it there. Of one column it is `weakly_informative`.

    Args:
        parameters: the mixture; of standardised data if they have one column.
        active: which components count.
        setting: of a fit of several columns; None for one.
        concentration: α of the weights; 1 is flat.
        loc: m, around which locs lie.
        loc_scale: s, how far from it.
        scale_shape: a.
        scale_scale: b; the most probable scale is b / (a + 1).
        correlation_shape: η.

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    numbers = {"loc": loc, "loc_scale": loc_scale, "scale_shape": scale_shape, "scale_scale": scale_scale}
    check_positive(correlation_shape=correlation_shape)
    if not isinstance(parameters, MultivariateParameters):
        return weakly_informative(parameters, active, None, concentration=concentration, **numbers)
    check_finite(loc=loc)
    check_positive(loc_scale=loc_scale, scale_shape=scale_shape, scale_scale=scale_scale)
    of_weights = dirichlet(parameters, active, concentration=concentration)
    numbers["correlation_shape"] = correlation_shape
    return of_weights + lkj_density(parameters, active, cast(Setting, setting), **numbers)


def _conjugate_added(*, shrinkage: Number, degrees_of_freedom: Number, **others: Number) -> Added:
    """κ to a loc; to a variance one for the loc, and ν + 2, the powers of σ in its own density."""
    return Added(shrinkage, degrees_of_freedom + 3.0)


@declare(Traits(several_columns=False, added_to_column=_conjugate_added, conjugate=True))
def normal_inverse_gamma(
    parameters: Parameters,
    active: Bool[AnyArray, " K"],
    *,
    loc: Number,
    shrinkage: Number,
    degrees_of_freedom: Number,
    variance: Number,
) -> Float[Array, ""]:
    """Conjugate prior of mclust on locs and variances (Fraley & Raftery 2007), flat in the weights.

    Σ_j [log N(μ_j | m, σ_j/√κ) + log IG(σ_j² | ν/2, ς²/2)] with ς² = `variance` / k² over the k active components, a
    density of locs and variances, in nats. To a component's data it adds κ more at m, and a sum of squares ς².

    Args:
        parameters: the mixture, of standardised data.
        active: which components count.
        loc: m, around which locs lie.
        shrinkage: κ, how many observations the prior on a loc is worth.
        degrees_of_freedom: ν of the prior on a variance.
        variance: of all data; each component expects its share 1/k² of it.

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    check_finite(loc=loc)
    check_positive(shrinkage=shrinkage, degrees_of_freedom=degrees_of_freedom, variance=variance)
    n_active = jnp.sum(active, dtype=parameters.component_mus.dtype)
    shape, scale = 0.5 * degrees_of_freedom, 0.5 * variance / n_active**2

    def log_density(mu: Scalar, log_scale: Scalar) -> Float[Array, ""]:
        of_loc = log_normal_density(mu, loc=loc, scale=jnp.exp(log_scale) / jnp.sqrt(shrinkage))
        return of_loc + log_inverse_gamma_density(2.0 * log_scale, shape=shape, scale=scale)

    return _over_active(log_density, parameters, active)


def _wishart_added(*, shrinkage: Number, extra_degrees_of_freedom: Number, **others: Number) -> Added:
    return _conjugate_added(shrinkage=shrinkage, degrees_of_freedom=1.0 + extra_degrees_of_freedom)


@declare(Traits(added=conjugate_added, added_to_column=_wishart_added, conjugate=True))
def normal_inverse_wishart(
    parameters: AnyParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting | None = None,
    *,
    shrinkage: Number,
    extra_degrees_of_freedom: Number,
    variance: Number,
) -> Float[Array, ""]:
    """Conjugate prior of mclust on locs and covariances (Fraley & Raftery 2007), flat in the weights.

    Σ_j [log N(μ_j | x̄, Σ_j/κ) + log IW(Σ_j | ν, Λ)] with ν = d + `extra_degrees_of_freedom` and Λ = `variance` C /
    k^(2/d), where x̄ and C are mean and covariance of all data and k counts the active components; a density of locs and
    covariances, in nats. To a component's data it adds κ more at x̄, and the scatter Λ. Diagonal models have
    inverse-gamma variances with ν and the diagonal of Λ, spherical ones with ν and its mean; a covariance that all
    components have counts once. Of one column it is `normal_inverse_gamma`.

    Args:
        parameters: the mixture; of standardised data if they have one column.
        active: which components count.
        setting: of a fit of several columns; None for one.
        shrinkage: κ, how many observations the prior on a loc is worth.
        extra_degrees_of_freedom: ν − d of the prior on a covariance; 2 in mclust.
        variance: of all data, as a multiple of their covariance; each component expects its share of it.

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    check_positive(shrinkage=shrinkage, extra_degrees_of_freedom=extra_degrees_of_freedom, variance=variance)
    if isinstance(parameters, MultivariateParameters):
        numbers = {"extra_degrees_of_freedom": extra_degrees_of_freedom, "variance": variance}
        return conjugate_density(parameters, active, cast(Setting, setting), shrinkage=shrinkage, **numbers)
    degrees = 1.0 + extra_degrees_of_freedom
    return normal_inverse_gamma(
        parameters, active, loc=0.0, shrinkage=shrinkage, degrees_of_freedom=degrees, variance=variance
    )


@declare(Traits(several_columns=False))
def normal_half_normal(
    parameters: Parameters,
    active: Bool[AnyArray, " K"],
    *,
    loc: Number,
    loc_scale: Number,
    scale_scale: Number,
) -> Float[Array, ""]:
    """Normal prior on locs and half-normal on scales, flat in the weights.

    Σ_j [log N(μ_j | m, s) + log N⁺(σ_j | t)], a density of locs and scales, in nats. It keeps components from being far
    away or too wide, and not from collapsing: half-normals are finite at σ = 0, where the likelihood is not.

    Args:
        parameters: the mixture, of standardised data.
        active: which components count.
        loc: m, around which locs lie.
        loc_scale: s, how far from it.
        scale_scale: t, how large scales are.

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    check_finite(loc=loc)
    check_positive(loc_scale=loc_scale, scale_scale=scale_scale)

    def log_density(mu: Scalar, log_scale: Scalar) -> Float[Array, ""]:
        of_loc = log_normal_density(mu, loc=loc, scale=loc_scale)
        return of_loc + log_half_normal_density(log_scale, scale=scale_scale)

    return _over_active(log_density, parameters, active)


@declare(
    Traits(
        added=penalty_added, added_to_column=lambda *, strength, variance: Added(0.0, 2.0 * strength), conjugate=True
    )
)
def variance_penalty(
    parameters: AnyParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting | None = None,
    *,
    strength: Number,
    variance: Number,
) -> Float[Array, ""]:
    """Penalty that keeps scales from collapsing and leaves estimates consistent (Chen, Tan & Zhang 2008).

    −a Σ_j (s²/σ_j² + log(σ_j²/s²)), in nats: highest at σ_j = s. It is not normalised, so it is not a density. Of
    several columns it is that of Chen & Tan (2009), with the covariance of all data (`penalty_density`).

    Args:
        parameters: the mixture, of standardised data.
        active: which components count.
        setting: of a fit of several columns; None for one.
        strength: a, not negative; of order 1/n or 1/√n in the paper, and 0 for none.
        variance: s², of all data: 1 where they are standardised.

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    check_finite(strength=strength, least=0.0)
    check_positive(variance=variance)
    if isinstance(parameters, MultivariateParameters):
        return penalty_density(parameters, active, cast(Setting, setting), strength=strength, variance=variance)

    def log_density(mu: Scalar, log_scale: Scalar) -> Float[Array, ""]:
        log_ratio = 2.0 * log_scale - jnp.log(variance)
        return -strength * (jnp.exp(-log_ratio) + log_ratio)

    return _over_active(log_density, parameters, active)


def _process_added(*, loc_scale: Number, scale_shape: Number, **others: Number) -> Added:
    """Of one column, as `_weakly_added`, with the a powers of σ in a density of log σ."""
    return Added(1.0 / loc_scale**2, scale_shape)


@declare(Traits(sticks=True, learned=("concentration",), added=process_added, added_to_column=_process_added))
def dirichlet_process(
    parameters: AnyParameters,
    active: Bool[AnyArray, " K"],
    setting: Setting | None = None,
    *,
    concentration: Number,
    concentration_shape: Number,
    concentration_rate: Number,
    loc: Number,
    loc_scale: Number,
    scale_shape: Number,
    scale_scale: Number,
) -> Float[Array, ""]:
    """Truncated Dirichlet process (Sethuraman 1994; Ishwaran & James 2001), whose concentration is learned.

    Sticks v_j ~ Beta(1, α), α ~ Gamma, locs normal and scales inverse-gamma, in nats. It is a density of the logits of
    the sticks, log α, the locs and log σ, the numbers that a fit moves: Σ_{j<k} [log α + log v_j + α log(1 − v_j)] +
    log Ga(α | shape, rate) + log α + Σ_j [log N(μ_j | m, s) + log IG(σ_j | a, b) + log σ_j]. Densities of v and α
    themselves have their modes at 0 or 1. The logits' measure is Π dw_j/w_j, the same in every order.

    Sticks are broken in the order of decreasing weight, which among all labels of the same mixture is the most probable
    but for the last stick. So permuting components changes nothing, and the order in which a start happens to come
    cannot trap a fit. A component pays for being narrower than b / a, about a (σ₀/σ − 1 − log σ₀/σ) nats with σ₀ = b /
    a, and a component that does not gain as much stays wide and light. The price: one normal as wide as all the data
    may be fitted by several components.

    Of several columns, covariances are inverse-Wishart, as a density of log Σ (`covariance_priors.process_density`).

    Args:
        parameters: the mixture, of standardised data.
        active: which components count; more than are expected to be needed.
        setting: of a fit of several columns; None for one.
        concentration: α, where learning starts: the weights that a component leaves have a share of α / (1 + α).
        concentration_shape: of the gamma prior on α.
        concentration_rate: of the gamma prior on α.
        loc: m, around which locs lie.
        loc_scale: s, how far from it.
        scale_shape: a, how much it costs a component to be narrow.
        scale_scale: b; b / a is the scale of a component without data, and ought to be wider than the data.

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    check_finite(loc=loc)
    check_positive(
        concentration=concentration,
        concentration_shape=concentration_shape,
        concentration_rate=concentration_rate,
        loc_scale=loc_scale,
        scale_shape=scale_shape,
        scale_scale=scale_scale,
    )
    present = log_softmax(jnp.where(active, parameters.log_component_weights, ABSENT))
    decreasing = jnp.sort(present, descending=True)
    positions, n_active = jnp.arange(active.shape[-1]), jnp.sum(active)
    logits = logits_of_log_weights(decreasing, positions < n_active)
    of_sticks = jax.vmap(partial(log_stick_density, concentration=concentration))(logits)
    log_concentration = jnp.log(concentration)
    of_concentration = log_concentration + log_gamma_density(
        log_concentration, shape=concentration_shape, rate=concentration_rate
    )

    total_of_sticks = jnp.sum(jnp.where(positions < n_active - 1, of_sticks, 0.0))
    if isinstance(parameters, MultivariateParameters):
        numbers = {"loc": loc, "loc_scale": loc_scale, "scale_shape": scale_shape, "scale_scale": scale_scale}
        of_columns = process_density(parameters, active, cast(Setting, setting), **numbers)
        return total_of_sticks + of_concentration + of_columns

    def log_density(mu: Scalar, log_scale: Scalar) -> Float[Array, ""]:
        of_loc = log_normal_density(mu, loc=loc, scale=loc_scale)
        return of_loc + log_scale + log_inverse_gamma_density(log_scale, shape=scale_shape, scale=scale_scale)

    return total_of_sticks + of_concentration + _over_active(log_density, parameters, active)


def _over_active(
    log_density: Callable[[Scalar, Scalar], Float[Array, ""]], parameters: Parameters, active: Bool[AnyArray, " K"]
) -> Float[Array, ""]:
    """Sum of (μ, log σ) -> log density over the active components."""
    # Masked before and after: inactive components must not reach the gradient, where NaN times 0 is NaN.
    mus, log_scales = (
        jnp.where(active, leaf, 0.0) for leaf in (parameters.component_mus, parameters.log_component_scales)
    )
    return jnp.sum(jnp.where(active, jax.vmap(log_density)(mus, log_scales), 0.0))
