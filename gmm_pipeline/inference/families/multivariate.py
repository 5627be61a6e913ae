"""The multivariate normal with any of the 14 covariance models, as a family of components.

What an optimizer moves has the shape of the mixture, whatever the components share: what is shared is stored K times,
and its mean counts. Orientations are stored as any invertible matrix, of which the orthogonal factor counts. So one
program serves all models that are represented alike, and any step lands on a valid mixture.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gmm_pipeline.inference.families.maximisation import Scatter, Shared, along_columns, oriented, unstructured
from gmm_pipeline.inference.parameterization import Unconstrained, projected
from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.mixture import ABSENT, AnyArray
from gmm_pipeline.model.multivariate import MultivariateParameters, whiteners
from gmm_pipeline.model.prior_traits import Added, Setting
from gmm_pipeline.model.small_matrices import inverse_of_triangle, orthonormal_rows
from gmm_pipeline.model.sticks import log_stick_breaking_weights, logits_of_log_weights


class MultivariateConstraints(NamedTuple):
    """Constraints on the mixture of a run; arrays, so that runs that differ in them share a program."""

    active: Bool[AnyArray, "*batch K"]
    """False for components that only pad the arrays."""
    shared: Shared
    log_floor: Float[AnyArray, "*batch"]
    """Least log scale."""
    mean: Float[AnyArray, "*batch d"]
    """Of all data, in the units of the fit."""
    covariance: Float[AnyArray, "*batch d d"] | Float[AnyArray, "*batch d"]
    """Of all data; its diagonal where axes are those of the columns."""
    noise: Any = None
    """Log density of the noise; None without noise."""

    @property
    def setting(self) -> Setting:
        """What a prior may know of the fit."""
        is_one = self.shared.volume & self.shared.shape & self.shared.orientation
        return Setting(self.mean, self.covariance, is_one, self.shared.round)


def mixture_of(
    free: Unconstrained, constraints: MultivariateConstraints, *, sticks: bool, kind: Kind
) -> MultivariateParameters:
    """The mixture that free numbers stand for; padding components have the log weight `ABSENT`.

    Args:
        free: what the optimizer moves.
        constraints: of the run.
        sticks: whether weights are logits of sticks.
        kind: how components are represented.
    """
    weights, mus, log_scales, axes, _ = free.parameters
    active, shared = constraints.active, constraints.shared
    if sticks:
        weights = log_stick_breaking_weights(weights, active)
    log_weights = jnp.where(active, weights, ABSENT)
    if kind is Kind.FULL:
        mean_scales, mean_axes = _mean(log_scales, active), _mean(axes, active)
        return MultivariateParameters(
            log_weights,
            mus,
            jnp.where(shared.volume, mean_scales, log_scales),
            _unit_triangular(jnp.where(shared.orientation, mean_axes, axes)),
        )
    log_volumes = jnp.mean(log_scales, axis=-1, keepdims=True)
    log_shapes = log_scales - log_volumes
    log_volumes = jnp.where(shared.volume, _mean(log_volumes, active), log_volumes)
    log_shapes = jnp.where(shared.shape, _mean(log_shapes, active), log_shapes)
    log_scales = log_volumes + jnp.where(shared.round, 0.0, log_shapes)
    if kind is Kind.ORIENTED:
        axes = orthonormal_rows(jnp.where(shared.orientation, _mean(axes, active), axes))
    return MultivariateParameters(log_weights, mus, log_scales, axes)


def unconstrained_of(
    parameters: MultivariateParameters,
    learned: dict[str, AnyArray],
    constraints: MultivariateConstraints,
    *,
    sticks: bool,
    kind: Kind,
) -> Unconstrained:
    """Free numbers that stand for a mixture, or for a near one that satisfies the constraints.

    Args:
        parameters: the mixture, with log weights.
        learned: hyperparameters that the prior learns, not their logarithms.
        constraints: of the run.
        sticks: whether weights are to be logits of sticks.
        kind: how components are represented.
    """
    weights, mus, log_scales, axes, _ = parameters
    active = constraints.active
    if sticks:
        weights = logits_of_log_weights(weights, active)
    if axes is not None:
        axes = jnp.where(active[:, None, None], axes, _identities(axes))
        if kind is Kind.ORIENTED:
            # The mean of unlike orientations may be anything: all begin at those of the first component.
            axes = jnp.where(constraints.shared.orientation, axes[:1], axes)
    moved = MultivariateParameters(jnp.where(active, weights, 0.0), mus, log_scales, axes)
    free = Unconstrained(moved, {name: jnp.log(value) for name, value in learned.items()})
    shared = mixture_of(free, constraints, sticks=sticks, kind=kind)
    moved = moved._replace(log_component_scales=shared.log_component_scales, axes=shared.axes)
    return projected(free._replace(parameters=moved), constraints)


def em_step(free: Unconstrained, gradient: Unconstrained, problem: Any, *, kind: Kind) -> Unconstrained:
    """One step of EM, from the gradient of the objective by the mixture; see `em.em_step`.

    R + α − 1 = ∂ log w + w (n + K (α − 1)), Σ c r (x − μ) = Σ ∂μ, and the scatter W about μ follows from ∂Q = −e^{−s} ∘
    (B W) and from ∂s_i = (B W Bᵀ)_ii − N, where N is R and what the prior adds to it. A component without data stays.

    With a conjugate prior, W has the prior's scatter and the step is exact. Whatever N is, the step leaves a mixture in
    its place if and only if the gradient vanishes: W gets the part of ∂s that N does not explain.

    Args:
        free: what the optimizer moves.
        gradient: by the free numbers; not used, since what is shared hides in it what each component needs.
        problem: what EM needs besides, with the gradient by the mixture.
        kind: how components are represented.
    """
    constraints = problem.constraints
    active, shared = constraints.active, constraints.shared
    mixture = mixture_of(free, constraints, sticks=False, kind=kind)
    by = jax.tree.map(lambda leaf: -problem.divisor * leaf, problem.by_mixture)
    counts, everything, seen, present = counted(mixture.log_component_weights, by.log_component_weights, problem)
    added = Added(0.0, 0.0) if problem.added is None else problem.added
    divisor = jnp.where(present, seen + added.locs, 1.0)
    spread_over = seen + jnp.where(active, added.covariances, 0.0)
    scales, axes = jnp.exp(mixture.log_component_scales), mixture.axes
    if axes is None:
        shift = scales**2 * by.component_mus / divisor[:, None]
        scatter = (by.log_component_scales + spread_over[:, None]) * scales**2
        scatter = jnp.maximum(scatter - divisor[:, None] * shift**2, 0.0)
    else:
        inverse = jnp.swapaxes(axes, 1, 2) if kind is Kind.ORIENTED else inverse_of_triangle(axes)
        factors = inverse * scales[:, None, :]
        covariances = factors @ jnp.swapaxes(factors, 1, 2)
        shift = jnp.einsum("kij,kj->ki", covariances, by.component_mus) / divisor[:, None]
        scatter = -factors @ (scales[:, :, None] * by.axes)
        unexplained = by.log_component_scales + jnp.sum(axes * by.axes, axis=-1) + spread_over[:, None]
        scatter = scatter + (factors * unexplained[:, None, :]) @ jnp.swapaxes(factors, 1, 2)
        scatter = 0.5 * (scatter + jnp.swapaxes(scatter, 1, 2))
        scatter = scatter - divisor[:, None, None] * shift[:, :, None] * shift[:, None, :]
    data = Scatter(spread_over, scatter, present, constraints.log_floor)
    log_scales = mixture.log_component_scales
    if axes is None:
        log_scales = along_columns(log_scales, data, shared)
    elif kind is Kind.ORIENTED:
        log_scales, axes = oriented(axes, log_scales, data, shared)
    else:
        log_scales, axes = unstructured(log_scales, axes, data, shared)
    moves = present[:, None]
    moved = MultivariateParameters(
        log_weights_of(counts, everything, active, free.parameters.log_component_weights),
        mixture.component_mus + jnp.where(moves, shift, 0.0),
        jnp.maximum(_where_present(shared.volume & shared.shape, moves, log_scales, mixture), constraints.log_floor),
        None if axes is None else jnp.where(moves[..., None] | shared.orientation, axes, mixture.axes),
    )
    return Unconstrained(moved, free.learned)


def counted(
    log_weights: Float[AnyArray, " K"], by_weight: Float[AnyArray, " K"], problem: Any
) -> tuple[Float[Array, " K"], Float[Array, ""], Float[Array, " K"], Bool[Array, " K"]]:
    """R + α − 1 of each component, their sum n + K (α − 1), R, and which components have data.

    Args:
        log_weights: of the mixture.
        by_weight: gradient of the log posterior by these, in nats.
        problem: what EM needs besides.
    """
    active, total = problem.constraints.active, problem.total
    n_active = jnp.sum(active, dtype=total.dtype)
    everything = total + n_active * problem.pseudo_count
    weights = jax.nn.softmax(jnp.where(active, log_weights, ABSENT))
    counts = jnp.where(active, by_weight + weights * everything, 0.0)
    seen = counts - jnp.where(active, problem.pseudo_count, 0.0)
    return counts, everything, seen, active & (seen > 8.0 * jnp.finfo(total.dtype).eps * total)


def log_weights_of(
    counts: Float[AnyArray, " K"], everything: Float[AnyArray, ""], active: Bool[AnyArray, " K"], before: Any
) -> Float[Array, " K"]:
    """Log weights after a step of EM.

    Args:
        counts: R + α − 1.
        everything: their sum.
        active: which components count.
        before: log weights of the others, which stay.
    """
    tiny = jnp.finfo(counts.dtype).tiny / jnp.finfo(counts.dtype).eps
    return jnp.where(active, jnp.log(jnp.maximum(counts / everything, tiny)), before)


def _where_present(is_shared: Any, moves: Any, log_scales: Any, mixture: MultivariateParameters) -> Float[Array, "K d"]:
    return jnp.where(moves | is_shared, log_scales, mixture.log_component_scales)


def gradient_norm(
    gradient: Unconstrained, stepped: Unconstrained, mixture: MultivariateParameters, problem: Any, *, kind: Kind
) -> Float[Array, ""]:
    """Length of the gradient in standard errors: √(2 × the nats that the next step of EM gains, to second order).

    With N data of a component, E = B Σ' Bᵀ − I and δ = B (μ' − μ), where ' is after the step: Σ N (½ ‖E‖² + ‖δ‖²) and
    the squares of the weights' gradient, as for one column (`parameterization.gradient_norm`).

    Args:
        gradient: of the log posterior in nats, by free numbers.
        stepped: the free numbers after a step of EM.
        mixture: where the gradient was taken.
        problem: what EM needs, with the gradient by the mixture.
        kind: how components are represented.
    """
    active = problem.constraints.active
    after = stepped.parameters
    relative = jax.nn.softmax(jnp.where(active, mixture.log_component_weights, ABSENT))
    counts = problem.total * relative
    by_weight = -problem.divisor * problem.by_mixture.log_component_weights
    moved = after.component_mus - mixture.component_mus
    if mixture.axes is None:
        squares = jnp.sum((moved * jnp.exp(-mixture.log_component_scales)) ** 2, axis=-1)
        change = jnp.expm1(2.0 * (after.log_component_scales - mixture.log_component_scales))
        squares = squares + 0.5 * jnp.sum(change**2, axis=-1)
    else:
        before = whiteners(mixture)
        inverse = jnp.swapaxes(after.axes, 1, 2) if kind is Kind.ORIENTED else inverse_of_triangle(after.axes)
        factors = before @ (inverse * jnp.exp(after.log_component_scales)[:, None, :])
        change = factors @ jnp.swapaxes(factors, 1, 2) - _identities(factors)
        squares = jnp.sum(jnp.einsum("kij,kj->ki", before, moved) ** 2, axis=-1)
        squares = squares + 0.5 * jnp.sum(change**2, axis=(1, 2))
    terms = by_weight**2 / (counts + 1.0) + counts**2 / (counts + 1.0) * squares
    squared = jnp.sum(jnp.where(active, terms, 0.0))
    for slope in gradient.learned.values():
        squared = squared + slope**2
    return jnp.sqrt(squared)


def _mean(values: Float[AnyArray, "K ..."], active: Bool[AnyArray, " K"]) -> Float[Array, "1 ..."]:
    wide = active.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.sum(jnp.where(wide, values, 0.0), axis=0, keepdims=True) / jnp.sum(active, dtype=values.dtype)


def _identities(axes: Float[AnyArray, "K d d"]) -> Float[Array, "K d d"]:
    return jnp.broadcast_to(jnp.eye(axes.shape[-1], dtype=axes.dtype), axes.shape)


def _unit_triangular(axes: Float[AnyArray, "K d d"]) -> Float[Array, "K d d"]:
    return jnp.tril(axes, -1) + _identities(axes)
