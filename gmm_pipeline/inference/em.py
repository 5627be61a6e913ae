"""Expectation–maximisation as a step of an optimizer.

A step of EM is a gradient step with a preconditioner that depends on the parameters (Xu & Jordan 1996): sums of
responsibilities can be read from the gradient, and the maximisation follows from these sums. So EM needs no pass over
the data of its own, shares scan, batches and stopping with every other optimizer, and is exact for priors that only add
pseudo-observations: flat and Dirichlet ones on the weights, and conjugate ones on locs and variances. The price: a
sum of responsibilities is the difference of larger numbers, exact to the rounding of the number of observations.

SQUAREM extrapolates over two steps of EM (Varadhan & Roland 2008, scheme S3) and undoes an extrapolation that raised
the loss, so that no cycle of three gradients ends worse than it began.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from gmm_pipeline.inference.parameterization import Unconstrained
from gmm_pipeline.model.mixture import ABSENT, AnyArray, Parameters
from gmm_pipeline.model.prior_traits import Added

LONGEST_LEAP = 4.0
"""Factor by which the longest extrapolation grows when it succeeded, and shrinks when it raised the loss."""


class Problem(NamedTuple):
    """What EM needs to know about the objective besides its gradient."""

    total: Float[AnyArray, ""]
    """Σ c, the number of observations."""
    divisor: Float[AnyArray, ""] | float
    """The number by which the objective is divided."""
    pseudo_count: Float[AnyArray, ""] | float
    """Pseudo-observations that the prior adds to each component: α − 1 for a Dirichlet prior."""
    constraints: Any
    """Of the family; where EM's maximum lies below the floor, the step ends at the constrained maximum."""
    step: Callable[..., Unconstrained]
    """The family's step of EM: (free, gradient, problem) -> free."""
    by_mixture: Any = None
    """Gradient of the objective by the mixture: that by the free numbers hides what each component needs."""
    added: Added | None = None
    """Observations that the prior adds to locs and to covariances or variances."""


def em_step(free: Unconstrained, gradient: Unconstrained, problem: Problem) -> Unconstrained:
    """One step of EM: w = (R + α − 1) / (n + K (α − 1)), μ' = μ + σ S/R, σ'² = σ² (Q/R − (S/R)²).

    R = Σ c r, S = Σ c r z and Q = Σ c r z² with z = (x − μ) / σ follow from the gradient: R + α − 1 = ∂ log w + w (n +
    K (α − 1)), S = σ ∂ μ, Q = ∂ log σ + R. A component without data stays where it is (Dempster, Laird & Rubin 1977).

    Where a prior adds A observations to a loc and B to a variance, S and Q include its own, the divisors are R + A and
    R + B, and σ'² = σ² (Q − (R + A) (S / (R + A))²) / (R + B): exact if it is conjugate. In any case the step leaves a
    mixture in its place if and only if the gradient vanishes, and a component with next to no data goes no farther than
    to where the prior has it.

    Args:
        free: log weights, locs and log scales.
        gradient: of the loss, the negative log posterior over the divisor.
        problem: what EM needs besides.
    """
    active, total = problem.constraints.active, problem.total
    n_active = jnp.sum(active, dtype=total.dtype)
    log_weights, mus, log_scales = free.parameters
    by_weight, by_mu, by_scale = (-problem.divisor * leaf for leaf in gradient.parameters)
    log_weights = jax.nn.log_softmax(jnp.where(active, log_weights, ABSENT))
    everything = total + n_active * problem.pseudo_count
    counts = jnp.where(active, by_weight + jnp.exp(log_weights) * everything, 0.0)
    seen = counts - jnp.where(active, problem.pseudo_count, 0.0)
    least = 8.0 * jnp.finfo(total.dtype).eps * total
    present = active & (seen > least)
    to_loc, to_variance = (0.0, 0.0) if problem.added is None else problem.added
    divisor = jnp.where(present, seen + to_loc, 1.0)
    shift = jnp.where(present, by_mu * jnp.exp(log_scales) / divisor, 0.0)
    taken, spread_over = shift**2 * divisor, seen + to_variance
    own = (by_scale + spread_over - taken) / jnp.where(present, spread_over, 1.0)
    of_all = total + n_active * to_variance
    within = jnp.sum(jnp.where(active, by_scale, 0.0)) + of_all - jnp.sum(jnp.where(present, taken, 0.0))
    variance = jnp.where(problem.constraints.equal_scales, within / of_all, jnp.where(present, own, 1.0))
    # Rounding may make the variance of a component on a single point negative; the floor is above this bound.
    variance = jnp.maximum(variance, jnp.finfo(total.dtype).tiny * 1e3)
    tiny = jnp.finfo(total.dtype).tiny / jnp.finfo(total.dtype).eps
    moved = Parameters(
        jnp.where(active, jnp.log(jnp.maximum(counts / everything, tiny)), free.parameters.log_component_weights),
        mus + jnp.exp(log_scales) * shift,
        jnp.where(active, jnp.maximum(log_scales + 0.5 * jnp.log(variance), problem.constraints.log_floor), log_scales),
    )
    return Unconstrained(moved, free.learned)


def em() -> optax.GradientTransformationExtraArgs:
    """EM, as a transformation whose update is the whole step (Dempster, Laird & Rubin 1977)."""

    def init(params: Any) -> optax.EmptyState:
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None, **given: Any) -> tuple[Any, Any]:
        return _difference(given["problem"].step(params, updates, given["problem"]), params), state

    return optax.GradientTransformationExtraArgs(init, update)


class SquaremState(NamedTuple):
    """The state of a cycle of three gradients."""

    phase: Int[AnyArray, ""]
    base: Any
    """Where the cycle began."""
    first: Any
    """One step of EM from there."""
    fallback: Any
    """Two steps of EM from there."""
    value: Float[AnyArray, ""]
    """Loss after the first step, which the leap must not exceed."""
    longest: Float[AnyArray, ""]
    """Longest extrapolation that is tried, in steps of EM."""
    whole: Bool[AnyArray, ""]
    """Whether the leap that is being judged has the greatest length."""


def squarem() -> optax.GradientTransformationExtraArgs:
    """EM with squared extrapolation: θ = θ₀ + 2 a r + a² v, a = ‖r‖ / ‖v‖ (Varadhan & Roland 2008).

    θ₀, θ₁, θ₂ are two steps of EM, r = θ₁ − θ₀ and v = θ₂ − 2 θ₁ + θ₀; a = 1 is EM. In free numbers, so that no
    extrapolation leaves the parameter space.
    """

    def init(params: Any) -> SquaremState:
        dtype = params.parameters.log_component_weights.dtype
        zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
        return SquaremState(jnp.zeros((), jnp.int32), params, params, params, zero, one, jnp.zeros((), bool))

    def update(updates: Any, state: Any, params: Any = None, **given: Any) -> tuple[Any, SquaremState]:
        free, value = params, given["value"]
        stepped = given["problem"].step(free, updates, given["problem"])
        r = _difference(state.first, state.base)
        v = jax.tree.map(lambda new, once: new - once, _difference(stepped, free), r)
        length = _norm(r) / jnp.maximum(_norm(v), jnp.finfo(value.dtype).tiny)
        length = jnp.clip(length, 1.0, state.longest)
        leapt = jax.tree.map(lambda base, once, twice: base + 2.0 * length * once + length**2 * twice, state.base, r, v)
        kept = _kept(state, value)
        phase = state.phase
        target = _chosen(phase, stepped, leapt, _where(kept, stepped, state.fallback))
        judged, factor = phase == 2, jnp.asarray(LONGEST_LEAP, value.dtype)
        longest = jnp.where(judged & state.whole & kept, state.longest * factor, state.longest)
        longest = jnp.where(judged & ~kept, jnp.maximum(1.0, longest / factor), longest)
        return _difference(target, free), SquaremState(
            phase=(phase + 1) % 3,
            base=_where(phase == 0, free, state.base),
            first=_where(phase == 0, stepped, state.first),
            fallback=_where(phase == 1, stepped, state.fallback),
            value=jnp.where(phase == 1, value, state.value),
            longest=longest,
            whole=(phase == 1) & (length >= state.longest),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def landed(optimizer_state: Any, free: Any, value: Float[AnyArray, ""]) -> Any:
    """The final parameters of a fit: a leap of `squarem` that raised the loss is undone, as the next step would.

    Args:
        optimizer_state: of any optimizer.
        free: the last parameters.
        value: the loss there.
    """
    for state in jax.tree.leaves(optimizer_state, is_leaf=lambda node: isinstance(node, SquaremState)):
        if isinstance(state, SquaremState):
            return _where((state.phase == 2) & ~_kept(state, value), state.fallback, free)
    return free


def _kept(state: SquaremState, value: Float[AnyArray, ""]) -> Bool[Array, ""]:
    """Whether a leap that ends at this loss is kept."""
    return jnp.isfinite(value) & (value <= state.value)


def _difference(new: Any, old: Any) -> Any:
    return jax.tree.map(lambda one, other: one - other, new, old)


def _norm(tree: Any) -> Float[Array, ""]:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def _where(condition: Bool[AnyArray, ""], one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def _chosen(phase: Int[AnyArray, ""], zero: Any, one: Any, two: Any) -> Any:
    return jax.tree.map(lambda a, b, c: jnp.where(phase == 0, a, jnp.where(phase == 1, b, c)), zero, one, two)
