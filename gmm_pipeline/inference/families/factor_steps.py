"""The mixture of factor analysers: free numbers, steps of EM, and the length of a gradient.

The complete data of EM are the component of a datum and its factors. All that the maximisation needs of the data
follows from the gradient, as for the other families. Weights and locs are improved first, then loadings and
uniquenesses for these locs and the same responsibilities, so that the likelihood never falls. The loadings are then
turned and stretched so that the factors have the identity as covariance again (parameter-expanded EM; Liu, Rubin & Wu
1998), which takes fewer steps and costs nothing.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gmm_pipeline.inference.families.factor_objective import regressed
from gmm_pipeline.inference.families.multivariate import MultivariateConstraints, counted, log_weights_of
from gmm_pipeline.inference.parameterization import Unconstrained, projected
from gmm_pipeline.model.mixture import ABSENT, AnyArray
from gmm_pipeline.model.multivariate import MultivariateParameters, root_of_scores
from gmm_pipeline.model.small_matrices import cholesky_and_inverse
from gmm_pipeline.model.sticks import log_stick_breaking_weights, logits_of_log_weights


def mixture_of(free: Unconstrained, constraints: MultivariateConstraints, *, sticks: bool) -> MultivariateParameters:
    """The mixture that free numbers stand for; padding components have the log weight `ABSENT`.

    Args:
        free: what the optimizer moves.
        constraints: of the run.
        sticks: whether weights are logits of sticks.
    """
    parameters, active = free.parameters, constraints.active
    weights = parameters.log_component_weights
    if sticks:
        weights = log_stick_breaking_weights(weights, active)
    return parameters._replace(log_component_weights=jnp.where(active, weights, ABSENT))


def unconstrained_of(
    parameters: MultivariateParameters,
    learned: dict[str, AnyArray],
    constraints: MultivariateConstraints,
    *,
    sticks: bool,
) -> Unconstrained:
    """Free numbers that stand for a mixture, or for a near one that satisfies the constraints.

    Args:
        parameters: the mixture, with log weights.
        learned: hyperparameters that the prior learns, not their logarithms.
        constraints: of the run.
        sticks: whether weights are to be logits of sticks.
    """
    weights, active = parameters.log_component_weights, constraints.active
    if sticks:
        weights = logits_of_log_weights(weights, active)
    moved = parameters._replace(log_component_weights=jnp.where(active, weights, 0.0))
    return projected(Unconstrained(moved, {name: jnp.log(value) for name, value in learned.items()}), constraints)


def em_step(free: Unconstrained, gradient: Unconstrained, problem: Any) -> Unconstrained:
    """One step of EM, from the gradient of the objective by the mixture; see `em.em_step`.

    In the notation of `factor_log_likelihood`, with Ω = I + A Aᵀ: m = Ω (e^s ∘ ∂μ), W B = Ω (∂A + R B), and W_ii =
    ∂s_i + R + (W B M Bᵀ)_ii. About the new loc, W loses m mᵀ / R. Then A' = W B S⁻¹ R with S = R M⁻¹ + Bᵀ W B, the
    second moments of the factors, and the uniquenesses are (W − A' Bᵀ W)_ii / R in units of those before.

    Args:
        free: what the optimizer moves.
        gradient: by the free numbers; not used.
        problem: what EM needs besides, with the gradient by the mixture.
    """
    constraints = problem.constraints
    mixture = mixture_of(free, constraints, sticks=False)
    by = jax.tree.map(lambda leaf: -problem.divisor * leaf, problem.by_mixture)
    counts, everything, seen, present = counted(mixture.log_component_weights, by.log_component_weights, problem)
    loadings, log_scales = mixture.loadings, mixture.log_component_scales
    scales, divisor = jnp.exp(log_scales), jnp.where(present, seen, 1.0)[:, None]
    root, inverse_root = root_of_scores(loadings)
    slopes = regressed(inverse_root, loadings)

    def with_factors(columns: Float[AnyArray, "K d m"]) -> Float[Array, "K d m"]:
        return columns + loadings @ (jnp.swapaxes(loadings, 1, 2) @ columns)

    shift = with_factors((scales * by.component_mus)[:, :, None])[:, :, 0] / divisor
    products = with_factors(by.loadings + divisor[:, :, None] * slopes)
    at_loadings = (products @ root) @ jnp.swapaxes(root, 1, 2)
    squares = by.log_component_scales + divisor + jnp.sum(slopes * at_loadings, axis=-1) - divisor * shift**2
    expected = jnp.einsum("kj,kjq->kq", shift, slopes)
    products = products - divisor[:, :, None] * shift[:, :, None] * expected[:, None, :]
    unseen = jnp.swapaxes(inverse_root, 1, 2) @ inverse_root
    moments = unseen + jnp.swapaxes(slopes, 1, 2) @ products / divisor[:, :, None]
    _, inverse_of_moments = cholesky_and_inverse(0.5 * (moments + jnp.swapaxes(moments, 1, 2)))
    # With G Gᵀ = S / R: A. G = W B G⁻ᵀ / R, of which W − A' Bᵀ W has the squares.
    turned = products @ jnp.swapaxes(inverse_of_moments, 1, 2) / divisor[:, :, None]
    variances = squares / divisor - jnp.sum(turned**2, axis=-1)
    tiny = jnp.finfo(variances.dtype).tiny / jnp.finfo(variances.dtype).eps
    stepped = jnp.maximum(log_scales + 0.5 * jnp.log(jnp.maximum(variances, tiny)), constraints.log_floor)
    turned = turned * jnp.exp(log_scales - stepped)[:, :, None]
    # Rounding may leave a component on few data without a Cholesky factor: it stays.
    moves = present & jnp.isfinite(turned).all(axis=(1, 2)) & jnp.isfinite(stepped).all(axis=1)
    moved = MultivariateParameters(
        log_weights_of(counts, everything, constraints.active, free.parameters.log_component_weights),
        mixture.component_mus + jnp.where(present[:, None], scales * shift, 0.0),
        jnp.where(moves[:, None], stepped, log_scales),
        None,
        jnp.where(moves[:, None, None], turned, loadings),
    )
    return Unconstrained(moved, free.learned)


def gradient_norm(
    gradient: Unconstrained, stepped: Unconstrained, mixture: MultivariateParameters, problem: Any
) -> Float[Array, ""]:
    """Length of the gradient in standard errors of complete data: √(gradient · the next step of EM).

    For the weights as for one column (`parameterization.gradient_norm`). A rotation of the factors changes nothing, and
    has no gradient; what the floor undoes does not count.

    Args:
        gradient: of the log posterior in nats, by free numbers.
        stepped: the free numbers after a step of EM.
        mixture: where the gradient was taken.
        problem: what EM needs, with the gradient by the mixture.
    """
    active, after = problem.constraints.active, stepped.parameters
    counts = problem.total * jax.nn.softmax(jnp.where(active, mixture.log_component_weights, ABSENT))
    by = jax.tree.map(lambda leaf: -problem.divisor * leaf, problem.by_mixture)
    gained = jnp.sum(by.component_mus * (after.component_mus - mixture.component_mus), axis=-1)
    gained += jnp.sum(by.log_component_scales * (after.log_component_scales - mixture.log_component_scales), axis=-1)
    gained += jnp.sum(by.loadings * (after.loadings - mixture.loadings), axis=(-2, -1))
    terms = by.log_component_weights**2 / (counts + 1.0) + counts / (counts + 1.0) * jnp.maximum(gained, 0.0)
    squared = jnp.sum(jnp.where(active, terms, 0.0))
    for slope in gradient.learned.values():
        squared = squared + slope**2
    return jnp.sqrt(squared)
