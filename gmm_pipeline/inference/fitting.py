"""One step of one fit: move, check for convergence, and keep an entry of the history.

Nothing is logged or printed from inside: a step returns (state, info), and output is written afterwards. A fit whose
loss stops being finite runs to its end and is marked as diverged in its result.

A fit has converged when the gradient is shorter than a fraction of a standard error and a step gains less than a
fraction of a nat. This is checked at each entry of the history; a converged fit no longer moves. The price: the number
of steps is a multiple of the interval between entries. The final state is evaluated by the same code in two extra steps
that do not move: the first undoes what the optimizer would undo, the second records the end. So the program contains
the objective once.

Everything here concerns one start of one run; `calls.py` vectorises and repeats it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Num

from gmm_pipeline.inference import em, tracing
from gmm_pipeline.inference.families.noisy import equal_odds
from gmm_pipeline.inference.jobs import FitJob, FitPlan, HistoryEntry
from gmm_pipeline.inference.optimizers import build_optimizer
from gmm_pipeline.inference.parameterization import (
    Unconstrained,
    learned_by,
    noise_of,
    over_sticks,
    projected,
)
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model.covariances import kind_of
from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.multivariate import AnyParameters, parameters_of
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.prior_traits import traits

LossFunction = Callable[[Any], Float[Array, ""]]


class StartInputs(NamedTuple):
    """The inputs in which starts of one program differ; all arrays."""

    data: Float[AnyArray, "..."]
    """[..., n], or [..., n, d]."""
    sample_weights: Float[AnyArray, "*batch n"]
    constraints: Any
    """Of the family."""
    tolerance: Float[AnyArray, "*batch"]
    gradient_tolerance: Float[AnyArray, "*batch"]
    floats: dict[str, dict[str, Float[AnyArray, "*batch"]]]
    """Hyperparameters of prior, optimizer and schedule, by plug-in and name."""
    ring: "Ring | None" = None
    """Of a stochastic fit, whose data are in random order; None where each step sees all data."""


class Ring(NamedTuple):
    """The data as a ring, of which each step sees an arc that begins anywhere: all are as likely to be seen."""

    key: Num[AnyArray, "*batch 2"]
    """Words of the random key."""
    n_data: Int[AnyArray, "*batch"]
    """Without those that pad."""


class State(NamedTuple):
    """What a step passes to the next."""

    parameters: Any
    optimizer_state: Any


class StepInfo(NamedTuple):
    """The parameters and the loss before a step."""

    parameters: Any
    loss: Float[AnyArray, " *steps"]


class Carried(NamedTuple):
    """What a step passes to the next."""

    state: State
    converged: Bool[AnyArray, "*batch"]


class Parts(NamedTuple):
    """One run's own functions."""

    loss_func: LossFunction
    """Unconstrained -> negative log posterior over the divisor."""
    value_and_grad: Callable[[Unconstrained], tuple[Float[Array, ""], Unconstrained, AnyParameters]]
    """Unconstrained -> loss, and its gradient by the free numbers and by the mixture."""
    optimizer: optax.GradientTransformationExtraArgs
    mixture: Callable[[Unconstrained], AnyParameters]
    problem: em.Problem


def step(
    state: State,
    *,
    loss_func: LossFunction,
    optimizer: optax.GradientTransformationExtraArgs,
    problem: em.Problem | None = None,
) -> tuple[State, StepInfo]:
    """One optimizer step.

    Line searches get what optax passes them: the value, the gradient and the function; EM gets its `problem`.

    Args:
        state: parameters and the optimizer's own state.
        loss_func: parameters -> loss, in nats.
        optimizer: any optax transformation.
        problem: what EM must know of the loss.
    """
    value, gradient = jax.value_and_grad(loss_func)(state.parameters)
    moved, info, _ = _moved(state, value, gradient, loss_func, optimizer, problem)
    return moved, info


def _moved(
    state: State,
    value: Float[Array, ""],
    gradient: Any,
    loss_func: LossFunction,
    optimizer: optax.GradientTransformationExtraArgs,
    problem: em.Problem | None,
) -> tuple[State, StepInfo, Any]:
    def value_fn(parameters: Any, problem: em.Problem | None = None) -> Float[Array, ""]:
        # optax passes all extra arguments to the function too, and refuses those it does not take.
        return loss_func(parameters)

    arguments = {"value": value, "grad": gradient, "value_fn": value_fn, "problem": problem}
    updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.parameters, **arguments)
    # Optimizers may compute in float32 whatever the type of the parameters; a scan's carry must keep its type.
    moved = optax.apply_updates(state.parameters, updates)
    parameters = jax.tree.map(lambda new, old: new.astype(old.dtype), moved, state.parameters)
    return State(parameters, optimizer_state), StepInfo(state.parameters, value), updates


def make_step_scannable(
    *,
    loss_func: LossFunction,
    optimizer: optax.GradientTransformationExtraArgs,
    problem: em.Problem | None = None,
) -> Callable[[State, Any], tuple[State, StepInfo]]:
    """A step in the form that `lax.scan` wants: (previous_state, iteration) -> (state, info).

    Args:
        loss_func: parameters -> loss, in nats.
        optimizer: any optax transformation.
        problem: what EM must know of the loss.
    """

    def step_scannable(previous_state: State, iteration: Any) -> tuple[State, StepInfo]:
        return step(previous_state, loss_func=loss_func, optimizer=optimizer, problem=problem)

    return step_scannable


def get_loss(
    state: State,
    get_params_func: Callable[[State], Any],
    loss_func: Callable[..., Float[Array, ""]],
    data: AnyArray,
) -> Float[Array, ""]:
    """Loss of one state; `vmap` it over a history of states for the losses of a fit.

    Args:
        state: one state of the history.
        get_params_func: state -> parameters.
        loss_func: (parameters, data) -> loss, in nats.
        data: x.
    """
    return loss_func(get_params_func(state), data)


def parts_of(inputs: StartInputs, laid_out: Any, plan: FitPlan) -> Parts:
    """The loss and the optimizer of one run, in nats.

    Args:
        inputs: specific to the run.
        laid_out: its data, as the plan's form of the objective takes them.
        plan: shared by the runs of the program; floats that differ between them are absent.
    """
    constraints, floats = inputs.constraints, inputs.floats["prior"]
    total = jnp.sum(laid_out.sample_weights)
    divisor = total if plan.average_loss else 1.0
    mixture = partial(plan.family.mixture_of, constraints=constraints, sticks=over_sticks(plan.log_prior))

    def constrained(free: Unconstrained) -> tuple[AnyParameters, dict[str, Any]]:
        return mixture(free), {name: jnp.exp(value) for name, value in free.learned.items()}

    def loss_of(parameters: AnyParameters, learned: dict[str, Any]) -> Float[Array, ""]:
        given = plan.log_prior.given({**floats, **learned})
        log_prior = tracing.prior_density(given, parameters, constraints.active, constraints.setting)
        form = partial(plan.family.log_likelihood_of, **noise_of(constraints))
        return -(form(parameters, laid_out, active=constraints.active, fused=plan.fused) + log_prior) / divisor

    def loss_func(free: Unconstrained) -> Float[Array, ""]:
        return loss_of(*constrained(free))

    def value_and_grad(free: Unconstrained) -> tuple[Float[Array, ""], Unconstrained, AnyParameters]:
        where, pulled_back = jax.vjp(constrained, free)
        value, gradient = jax.value_and_grad(loss_of, argnums=(0, 1))(*where)
        return value, *pulled_back(gradient), gradient[0]

    pseudo_count = traits(plan.log_prior.function).pseudo_count
    given = plan.log_prior.given(floats)
    count = 0.0 if pseudo_count is None else pseudo_count(**dict(given.hyperparameters))
    added = tracing.added_by(given, constraints.active, constraints.setting)
    problem = em.Problem(total, divisor, count, constraints, plan.family.em_step, added=added)
    optimizer = build_optimizer(*_given(plan, inputs))
    return Parts(loss_func, value_and_grad, optimizer, mixture, problem)


def _given(plan: FitPlan, inputs: StartInputs) -> tuple[Plugin, Plugin]:
    """Optimizer and schedule with the hyperparameters of the run."""
    return plan.optimizer.given(inputs.floats["optimizer"]), plan.schedule.given(inputs.floats["schedule"])


def start(job: FitJob, key: AnyArray) -> AnyParameters:
    """Initial parameters of a start, from the run's init.

    Args:
        job: the run.
        key: of the start.
    """
    found = job.plan.init(key, job.data, job.sample_weights, job.plan.n_components)
    if isinstance(found, MultivariateMixture):
        found = parameters_of(found, kind_of(job.covariance), job.factors)
    if job.noise is not None:
        found = equal_odds(found)
    return jax.tree.map(lambda leaf: np.asarray(leaf, job.data.dtype), found)


def initial(parameters: AnyParameters, inputs: StartInputs, *, plan: FitPlan) -> Carried:
    """The state before the first step.

    Args:
        parameters: [K], where the start begins.
        inputs: of the start.
        plan: what it shares with the other starts of its program.
    """
    learned = {name: inputs.floats["prior"][name] for name in learned_by(plan.log_prior)}
    sticks = over_sticks(plan.log_prior)
    free = plan.family.unconstrained_of(parameters, learned, inputs.constraints, sticks=sticks)
    optimizer = build_optimizer(*_given(plan, inputs))
    return Carried(State(free, optimizer.init(free)), jnp.zeros((), bool))


class Moment(NamedTuple):
    """The position of a step in a fit; the same for all fits of a batch."""

    is_entry: Bool[AnyArray, ""]
    """Whether the history keeps this step."""
    is_over: Bool[AnyArray, ""]
    """Whether all steps were taken: nothing moves, except that the optimizer may undo a leap."""
    step: Int[AnyArray, ""]


def advance(
    carried: Carried, inputs: StartInputs, laid_out: Any, moment: Moment, *, plan: FitPlan
) -> tuple[Carried, HistoryEntry]:
    """One step, and the history entry from before it moved; a fit that has converged, or does so here, does not move.

    The convergence flag is valid at entries only.

    Args:
        carried: what the step before left.
        inputs: of the start.
        laid_out: its data, in the layout that the plan's form of the objective takes.
        moment: whether the step is an entry of the history, and whether all steps were taken.
        plan: what the start shares with the other starts of its program.
    """
    parts = parts_of(inputs, laid_out, plan)
    before = carried.state
    if plan.minibatch:
        value, gradient, by_mixture = jax.lax.cond(
            moment.is_over,
            parts.value_and_grad,
            lambda free: parts_of(inputs, _arc(inputs, moment.step, plan), plan).value_and_grad(free),
            before.parameters,
        )
    else:
        value, gradient, by_mixture = parts.value_and_grad(before.parameters)
    problem = parts.problem._replace(by_mixture=by_mixture)
    stepped = plan.family.em_step(before.parameters, gradient, problem)
    problem = problem._replace(step=lambda *_: stepped)
    moved, info, updates = _moved(before, value, gradient, parts.loss_func, parts.optimizer, problem)
    moved = moved._replace(parameters=projected(moved.parameters, inputs.constraints))
    landed = em.landed(before.optimizer_state, before.parameters, info.loss)
    moved = jax.tree.map(partial(jnp.where, moment.is_over), State(landed, before.optimizer_state), moved)
    in_nats = jax.tree.map(lambda slope: -problem.divisor * slope, gradient)
    norm = plan.family.gradient_norm(in_nats, stepped, parts.mixture(before.parameters), problem)
    # The part of an update that the floor undoes gains nothing.
    updates = _above_floor(updates, before.parameters, inputs.constraints)
    gained = jax.tree.map(lambda slope, update: jnp.sum(slope * update), gradient, updates)
    gain = jnp.abs(sum(jax.tree.leaves(gained))) * parts.problem.divisor
    # After the last step there is no update; EM's next would gain about half the square.
    gain = jnp.where(moment.is_over, 0.5 * norm**2, gain)
    rests = (norm < inputs.gradient_tolerance) & (gain < inputs.tolerance)
    if plan.minibatch:  # what some of the data say is no reason to stop
        rests = rests & moment.is_over
    converged = carried.converged | (moment.is_entry & rests)
    state = jax.tree.map(lambda old, new: jnp.where(converged, old, new), before, moved)
    return Carried(state, converged), _seen(before.parameters, info.loss, norm, converged, parts)


def _arc(inputs: StartInputs, step: Int[AnyArray, ""], plan: FitPlan) -> Any:
    """The data of a step, laid out; their weights sum to those of all data."""
    ring = inputs.ring
    if ring is None:
        raise TypeError("a stochastic fit without a ring of data")
    first = jax.random.randint(jax.random.fold_in(ring.key, step), (), 0, ring.n_data)
    here = (first + jnp.arange(plan.minibatch)) % ring.n_data
    sample_weights = inputs.sample_weights[here]
    scaled = sample_weights * (jnp.sum(inputs.sample_weights) / jnp.sum(sample_weights))
    return plan.family.lay_out(inputs.data[here], scaled, fused=plan.fused)


def _above_floor(updates: Unconstrained, free: Unconstrained, constraints: Any) -> Unconstrained:
    least = constraints.log_floor - free.parameters.log_component_scales
    by_scale = jnp.maximum(updates.parameters.log_component_scales, least)
    return updates._replace(parameters=updates.parameters._replace(log_component_scales=by_scale))


def _seen(
    free: Unconstrained, loss: Float[AnyArray, ""], norm: Float[Array, ""], converged: Bool[AnyArray, ""], parts: Parts
) -> HistoryEntry:
    learned: dict[str, AnyArray] = {name: jnp.exp(value) for name, value in free.learned.items()}
    return HistoryEntry(parts.mixture(free), learned, loss, norm, converged)
