"""Squared-extrapolation EM for many mixtures of one data set at once: one compiled program serves a whole search.

A pass evaluates the log posterior and its gradient for every mixture. EM's step is derived from the gradient, so any
smooth prior can take part: the step vanishes where the gradient does (`em.em_step`). The result is the best evaluated
version of each mixture, with its value. Arguments are the number of passes, the data, floats of the prior, and for each
mixture its number of components and whether its scales are equal; the program depends on the number of mixtures and the
padded lengths of data and components.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gmm_pipeline.inference import em, lowered, tracing
from gmm_pipeline.inference.families import Family
from gmm_pipeline.inference.parameterization import Unconstrained, noise_of, projected
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.multivariate import AnyParameters
from gmm_pipeline.model.prior_traits import traits

HIGHEST = 5e11
"""Nats. A log posterior beyond is what numbers that overflow leave after rounding."""


class Problem(NamedTuple):
    """What all mixtures of a search share; arrays."""

    data: Float[AnyArray, "n ..."]
    sample_weights: Float[AnyArray, " n"]
    constraints: Any
    """Of each mixture, [S, ...]."""
    floats: dict[str, AnyArray]
    """Hyperparameters of the prior."""


class Improved(NamedTuple):
    """The best evaluated version of each mixture."""

    parameters: AnyParameters
    """[S, K]."""
    log_posterior: Float[AnyArray, " S"]
    """Log-likelihood plus log prior, in nats."""
    gradient_norm: Float[AnyArray, " S"]
    """In standard errors; see `parameterization.gradient_norm`."""


def moved(
    free: Unconstrained,
    state: Any,
    best: Any,
    value: Float[Array, ""],
    gradient: Unconstrained,
    mixture: AnyParameters,
    problem: em.Problem,
    *,
    family: Family,
    rounding: Any,
) -> tuple[Unconstrained, Any, Any]:
    """One pass of accelerated EM after its evaluation: where it goes, and the best of the points evaluated so far.

    Args:
        free: where the pass is.
        state: of `em.squarem`.
        best: free numbers, value and length of the gradient of the best point so far.
        value: minus the log posterior.
        gradient: of the value, by the free numbers.
        mixture: that the free numbers stand for.
        problem: what EM must know.
        family: of the components.
        rounding: relative difference of two values that may be rounding.
    """
    in_nats = jax.tree.map(jnp.negative, gradient)
    value = jnp.where(value < -HIGHEST, jnp.inf, value)
    stepped = family.em_step(free, gradient, problem)
    problem = problem._replace(step=lambda *_: stepped)
    norm = family.gradient_norm(in_nats, stepped, mixture, problem)
    # If two values differ by no more than rounding, the shorter gradient decides.
    same = jnp.isfinite(value) & (jnp.abs(value - best[1]) <= rounding * jnp.abs(value))
    better = jnp.where(same, norm < best[2], value < best[1])
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), (free.parameters, value, norm), best)
    updates, state = em.squarem().update(gradient, state, free, value=value, problem=problem)
    return projected(jax.tree.map(jnp.add, free, updates), problem.constraints), state, best


def _improve(
    parameters: AnyParameters,
    problem: Problem,
    n_passes: Int[AnyArray, ""],
    *,
    log_prior: Plugin,
    family: Family,
    fused: bool,
) -> Improved:
    blocks = family.lay_out(problem.data, problem.sample_weights, fused=fused)
    total = jnp.sum(problem.sample_weights)
    given = log_prior.given(problem.floats)
    pseudo_count = traits(log_prior.function).pseudo_count
    pseudo = 0.0 if pseudo_count is None else pseudo_count(**dict(given.hyperparameters))
    rounding = 4.0 * jnp.finfo(total.dtype).eps

    def loss(mixture: AnyParameters, constraints: Any) -> Float[Array, ""]:
        prior = tracing.prior_density(given, mixture, constraints.active, constraints.setting)
        form = partial(family.log_likelihood_of, **noise_of(constraints))
        return -(form(mixture, blocks, active=constraints.active, fused=fused) + prior)

    def one(constraints: Any, free: Unconstrained, state: Any, best: Any) -> tuple[Unconstrained, Any, Any]:
        mixture_of = partial(family.mixture_of, constraints=constraints, sticks=False)
        mixture, pulled_back = jax.vjp(mixture_of, free)
        value, by_mixture = jax.value_and_grad(loss)(mixture, constraints)
        (gradient,) = pulled_back(by_mixture)
        count = jnp.asarray(pseudo, total.dtype)
        added = tracing.added_by(given, constraints.active, constraints.setting)
        of_em = em.Problem(total, 1.0, count, constraints, family.em_step, by_mixture, added)
        return moved(free, state, best, value, gradient, mixture, of_em, family=family, rounding=rounding)

    # In log weights whatever the prior: the location of the maximum does not depend on the parameterisation.
    held_to = problem.constraints
    free = jax.vmap(lambda each, constraints: family.unconstrained_of(each, {}, constraints, sticks=False))(
        parameters, held_to
    )
    state = jax.vmap(em.squarem().init)(free)
    n = parameters.log_component_weights.shape[0]
    worst = jnp.full((n,), jnp.inf, problem.data.dtype)
    best = (free.parameters, worst, worst)
    _, _, (found, value, norm) = jax.lax.fori_loop(
        0, n_passes, lambda _, carried: jax.vmap(one)(held_to, *carried), (free, state, best)
    )
    mixtures = jax.vmap(
        lambda each, constraints: family.mixture_of(Unconstrained(each, {}), constraints, sticks=False)
    )(found, held_to)
    return Improved(mixtures, -value, norm)


@functools.cache
def compiled(family: Family, fused: bool) -> Callable[..., Improved]:
    """The compiled program of a family.

    Args:
        family: of the components.
        fused: whether the log-likelihood is in its fused form.
    """
    improve = partial(_improve, family=family, fused=fused)
    return lowered.program(improve, static="log_prior", compiler_options=family.compiler_options(fused))
