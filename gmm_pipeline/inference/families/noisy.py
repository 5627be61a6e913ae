"""Any family of components, with a noise component beside them; see `model/noise.py`.

A family sees its own components alone: their weights given that a datum is not noise, and the data that are not. So
EM's step, the length of the gradient and the moves of the search are the family's own, with the number of these data in
place of all; and the noise is neither split, merged, swapped nor reordered. The prior is one of the components given
that a datum is not noise, and flat in the weight of the noise.

The log-likelihood is the family's own too, of one component more: a normal so wide that its density is the same at all
data. Its height is set by its odds, and the weights that the family normalises are set right afterwards. The price: a
rounding error of the density of the noise, of the size of that of a sum.
"""

import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gmm_pipeline.inference.families import Family, no_neighbours
from gmm_pipeline.inference.parameterization import Unconstrained
from gmm_pipeline.model.mixture import ABSENT, AnyArray
from gmm_pipeline.model.multivariate import AnyParameters, natural_of
from gmm_pipeline.model.noise import log_odds_against, weight_of_noise, with_odds
from gmm_pipeline.model.portable import HALF_LOG_TWO_PI


@functools.cache
def with_noise(family: Family) -> Family:
    """A family whose mixtures have a noise component.

    Args:
        family: of the other components.
    """
    return family._replace(
        made_by=(with_noise, (family,)),
        name=f"{family.name} with noise",
        em_step=partial(_em_step, family),
        gradient_norm=partial(_gradient_norm, family),
        log_likelihood_of=partial(_log_likelihood_of, family),
        constraints_of=partial(_constraints_of, family),
        natural=partial(natural_of, noise=True),
        blurred=partial(_blurred, family),
        fresh=partial(_fresh, family),
        varied=partial(_varied, family),
        neighbours=no_neighbours,
        distances=partial(_distances, family),
        split=lambda job, parameters, *which: _as_noisy(family.split(job, parameters, *which), parameters),
        halved=lambda parameters, component: _as_noisy(family.halved(parameters, component), parameters),
        merged=lambda job, parameters, *which: _as_noisy(family.merged(job, parameters, *which), parameters),
        merges=lambda parameters: [_as_noisy(one, parameters) for one in family.merges(parameters)],
    )


def _as_noisy(parameters: AnyParameters, as_in: AnyParameters) -> AnyParameters:
    return with_odds(parameters, log_odds_against(as_in.log_component_weights))


def equal_odds(parameters: AnyParameters) -> AnyParameters:
    """The same components, with as much noise as each would have if all had the same weight: w₀ = 1 / (K + 1).

    Args:
        parameters: [..., K].
    """
    return with_odds(parameters, np.log(parameters.log_component_weights.shape[-1]))


def _constraints_of(family: Family, job: Any, active: Bool[np.ndarray, " K"], spread: Any) -> Any:
    return family.constraints_of(job, active, spread)._replace(noise=job.data.dtype.type(job.noise))


def _log_likelihood_of(
    family: Family,
    parameters: AnyParameters,
    laid_out: Any,
    *,
    active: Bool[AnyArray, " K"],
    fused: bool,
    noise: Float[AnyArray, ""],
) -> Float[Array, ""]:
    """Log-likelihood of the active components and the noise, in nats.

    Args:
        family: of the components.
        parameters: the mixture, K components.
        laid_out: data and how often each counts.
        active: false for components that only pad the arrays.
        fused: whether it is the fused form or the plain one.
        noise: log density of the noise.
    """
    dtype = noise.dtype
    log_odds = jnp.where(active, parameters.log_component_weights, ABSENT)
    farthest = jnp.max(jnp.abs(laid_out.data))
    log_scale = jnp.log(farthest + 1.0) - 0.5 * jnp.log(jnp.finfo(dtype).eps).astype(dtype)
    n_columns = max(family.n_columns, 1)
    height = jax.lax.stop_gradient(noise + n_columns * (log_scale + HALF_LOG_TWO_PI))
    shape = jax.tree.map(lambda leaf: leaf[:1], parameters)
    wide = shape._replace(
        log_component_weights=height[None],
        component_mus=jnp.zeros_like(shape.component_mus),
        log_component_scales=jnp.full_like(shape.log_component_scales, jax.lax.stop_gradient(log_scale)),
    )
    if getattr(wide, "axes", None) is not None:
        wide = wide._replace(axes=jnp.eye(n_columns, dtype=dtype)[None])
    if getattr(wide, "loadings", None) is not None:
        wide = wide._replace(loadings=jnp.zeros_like(wide.loadings))
    known = parameters._replace(log_component_weights=log_odds)
    everything = jax.tree.map(lambda own, one: jnp.concatenate([own, one]), known, wide)
    own = family.log_likelihood_of(everything, laid_out, active=jnp.append(active, True), fused=fused)
    together = jax.nn.logsumexp(log_odds)
    return own + jnp.sum(laid_out.sample_weights) * (jnp.logaddexp(together, height) - jnp.logaddexp(together, 0.0))


def _noise_and_rest(
    mixture: AnyParameters, problem: Any
) -> tuple[Float[Array, " K"], Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Gradient of the log posterior by the log odds in nats, Σ w of the components, n (1 − w₀) and n w₀ after EM."""
    log_odds = jnp.where(problem.constraints.active, mixture.log_component_weights, ABSENT)
    by_odds = -problem.divisor * problem.by_mixture.log_component_weights
    by_odds = jnp.where(problem.constraints.active, by_odds, 0.0)
    share = jax.nn.sigmoid(jax.nn.logsumexp(log_odds))
    least = 8.0 * jnp.finfo(problem.total.dtype).eps * problem.total
    of_noise = jnp.clip(problem.total * jax.nn.sigmoid(-jax.nn.logsumexp(log_odds)) - jnp.sum(by_odds), least)
    return by_odds, share, jnp.maximum(problem.total - of_noise, least), of_noise


def _em_step(family: Family, free: Unconstrained, gradient: Unconstrained, problem: Any) -> Unconstrained:
    """The family's step from the gradient that it would have if the data that are not noise were all.

    With n₁ = Σ_k R_k these, Σ_k ∂ℓ/∂l_k = n₁ − n (1 − w₀), and π_k = w_k / (1 − w₀): R_k − π_k n₁ takes the place of
    R_k − n w_k.

    Args:
        family: of the components.
        free: what the optimizer moves.
        gradient: of the loss, by the free numbers.
        problem: what EM needs besides, with the gradient by the mixture.
    """
    active = problem.constraints.active
    _, share, n_own, of_noise = _noise_and_rest(free.parameters, problem)
    relative = jax.nn.softmax(jnp.where(active, free.parameters.log_component_weights, ABSENT))
    added = -relative * (problem.total * share - n_own) / problem.divisor

    def conditional(parameters: AnyParameters) -> AnyParameters:
        by_weight = jnp.where(active, parameters.log_component_weights + added, 0.0)
        return parameters._replace(log_component_weights=by_weight)

    own = problem._replace(total=n_own, by_mixture=conditional(problem.by_mixture))
    stepped = family.em_step(free, gradient._replace(parameters=conditional(gradient.parameters)), own)
    log_weights = stepped.parameters.log_component_weights
    log_odds = jnp.where(
        active, log_weights + jnp.log(n_own) - jnp.log(of_noise), free.parameters.log_component_weights
    )
    return stepped._replace(parameters=stepped.parameters._replace(log_component_weights=log_odds))


def _gradient_norm(
    family: Family, gradient: Unconstrained, stepped: Unconstrained, mixture: AnyParameters, problem: Any
) -> Float[Array, ""]:
    """The family's length and, with it, the slope by the weight of the noise: that of all log odds together."""
    by_odds, share, _, _ = _noise_and_rest(mixture, problem)
    own = family.gradient_norm(gradient, stepped, mixture, problem._replace(total=problem.total * share))
    return jnp.sqrt(own**2 + jnp.sum(by_odds) ** 2 / (problem.total * (1.0 - share) + 1.0))


def _blurred(family: Family, job: Any, optimum: AnyParameters, blur: float, spread: Any) -> AnyParameters:
    together = log_odds_against(optimum.log_component_weights)
    equal = np.log(optimum.log_component_weights.shape[-1])
    return with_odds(family.blurred(job, optimum, blur, spread), together + blur * (equal - together))


def _fresh(family: Family, *given: Any) -> AnyParameters:
    return equal_odds(family.fresh(*given))


def _varied(family: Family, generators: Any, landscape: Any, kept: AnyParameters, *given: Any) -> AnyParameters:
    """New mixtures have the noise of the best one that their search has kept."""
    together = log_odds_against(kept.log_component_weights[:, :1])
    return with_odds(family.varied(generators, landscape, kept, *given), together)


def _distances(family: Family, one: AnyParameters, others: AnyParameters) -> Float[np.ndarray, "R n"]:
    own, other = (weight_of_noise(each.log_component_weights) for each in (one, others))
    return family.distances(one, others) + np.abs(own - other)
