"""The map between the numbers that an optimizer moves and the mixture that they stand for.

An optimizer sees `Unconstrained`: numbers without bounds, in which any step lands on a valid mixture. They are log
weights, or the logits of broken sticks where the prior is one over sticks; locs; log scales, which all components share
where scales are equal; and the logarithms of the hyperparameters that the prior learns. The shape is the same for equal
and for free scales, so that both share a program. The price: an equal scale is stored as K numbers that move together,
of which the mean counts.

The floor of the scales is a projection after each step, which leaves scales above it unchanged.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model.mixture import ABSENT, AnyArray, Parameters
from gmm_pipeline.model.multivariate import AnyParameters
from gmm_pipeline.model.prior_traits import traits
from gmm_pipeline.model.sticks import log_stick_breaking_weights, logits_of_log_weights


class Unconstrained(NamedTuple):
    """What an optimizer moves."""

    parameters: AnyParameters
    """Log weights or logits of sticks, locs, log scales."""
    learned: dict[str, Float[AnyArray, "*batch"]]
    """Logarithms of the hyperparameters that the prior learns."""


class Constraints(NamedTuple):
    """Constraints on the mixture of a run; arrays, so that runs that differ in them share a program."""

    active: Bool[AnyArray, "*batch K"]
    """False for components that only pad the arrays."""
    equal_scales: Bool[AnyArray, "*batch"]
    log_floor: Float[AnyArray, "*batch"]
    """Least log scale."""
    noise: Any = None
    """Log density of the noise; None without noise."""

    @property
    def setting(self) -> None:
        """What a prior may know of a fit of several columns."""
        return None


def mixture_of(free: Unconstrained, constraints: Constraints, *, sticks: bool) -> Parameters:
    """The mixture that free numbers stand for; padding components have the log weight `ABSENT`.

    Args:
        free: what the optimizer moves.
        constraints: of the run.
        sticks: whether weights are logits of sticks.
    """
    weights, mus, log_scales = free.parameters
    active = constraints.active
    if sticks:
        weights = log_stick_breaking_weights(weights, active)
    return Parameters(
        jnp.where(active, weights, ABSENT),
        mus,
        jnp.where(constraints.equal_scales, _mean(log_scales, active), log_scales),
    )


def unconstrained_of(
    parameters: Parameters, learned: dict[str, AnyArray], constraints: Constraints, *, sticks: bool
) -> Unconstrained:
    """Free numbers that stand for a mixture, or for the nearest one that satisfies the constraints.

    Args:
        parameters: the mixture, with log weights.
        learned: hyperparameters that the prior learns, not their logarithms.
        constraints: of the run.
        sticks: whether weights are to be logits of sticks.
    """
    weights, mus, log_scales = parameters
    if sticks:
        weights = logits_of_log_weights(weights, constraints.active)
    equal = jnp.where(constraints.equal_scales, _mean(log_scales, constraints.active), log_scales)
    moved = Parameters(jnp.where(constraints.active, weights, 0.0), mus, equal)
    return projected(Unconstrained(moved, {name: jnp.log(value) for name, value in learned.items()}), constraints)


def noise_of(constraints: Any) -> dict[str, Float[AnyArray, ""]]:
    """The argument by which the log-likelihood of a family with noise knows its density; none without noise.

    Args:
        constraints: of the run, of any family.
    """
    return {} if constraints.noise is None else {"noise": constraints.noise}


def projected(free: Unconstrained, constraints: Any) -> Unconstrained:
    """The nearest numbers whose scales are not below the floor, of any family.

    Args:
        free: what the optimizer moves.
        constraints: of the run.
    """
    log_scales = jnp.maximum(free.parameters.log_component_scales, constraints.log_floor)
    return free._replace(parameters=free.parameters._replace(log_component_scales=log_scales))


def gradient_norm(
    gradient: Unconstrained, mixture: Parameters, constraints: Constraints, total: Float[AnyArray, ""]
) -> Float[Array, ""]:
    """Norm of a gradient in units of the information that labelled data would carry: ‖g‖ = √(Σ g² / I).

    With labels, a component of weight w has the information n w about its log weight, n w / σ² about its loc and 2 n w
    about its log scale, with one datum more to keep it above zero. So ‖g‖ is about the distance from the optimum in
    standard errors, and ½‖g‖² about the nats that a step of EM gains, whatever n and the units are (Xu & Jordan 1996).
    Directions that point below the floor do not count, nor do padding components.

    Args:
        gradient: of the log posterior in nats, by free numbers.
        mixture: where it was taken.
        constraints: of the run.
        total: Σ c, the number of observations.
    """
    active, equal = constraints.active, constraints.equal_scales
    log_weights = jnp.where(active, mixture.log_component_weights, ABSENT)
    relative = jnp.exp(log_weights - jnp.max(log_weights))
    counts = total * relative / jnp.sum(relative)
    by_weight, by_mu, by_scale = gradient.parameters
    held = (mixture.log_component_scales <= constraints.log_floor) & (by_scale < 0)
    by_scale = jnp.where(held, 0.0, by_scale)
    free_scales = jnp.sum(jnp.where(active, by_scale**2 / (2.0 * counts + 1.0), 0.0))
    shared_scale = jnp.sum(jnp.where(active, by_scale, 0.0)) ** 2 / (2.0 * total + 1.0)
    scales = jnp.exp(mixture.log_component_scales)
    others = by_weight**2 / (counts + 1.0) + (by_mu * scales) ** 2 / (counts + 1.0)
    squared = jnp.sum(jnp.where(active, others, 0.0)) + jnp.where(equal, shared_scale, free_scales)
    for slope in gradient.learned.values():
        squared = squared + slope**2
    return jnp.sqrt(squared)


def over_sticks(log_prior: Plugin) -> bool:
    """Whether a prior is defined on broken sticks, so that the fit moves their logits."""
    return traits(log_prior.function).sticks


def learned_by(log_prior: Plugin) -> tuple[str, ...]:
    """Names of the hyperparameters that a prior learns; their values in the config are where they start."""
    return traits(log_prior.function).learned


def number_of_parameters(n_components: int, *, equal_scales: bool) -> int:
    """Free parameters of a mixture: K locs, K − 1 weights, and K scales or one.

    Args:
        n_components: K.
        equal_scales: whether all components share one scale.
    """
    return 2 * n_components if equal_scales else 3 * n_components - 1


def _mean(values: Float[AnyArray, " K"], active: Bool[AnyArray, " K"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(active, values, 0.0)) / jnp.sum(active, dtype=values.dtype)
