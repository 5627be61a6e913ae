"""One fit: start, step, scan, stop, thinned history.

A fit is a `lax.scan` over blocks of steps, each block a scan of its own, so that only one state a block is kept and
memory does not grow with the steps. Nothing is logged or printed from inside: a step returns (state, info), and what is
written is written after. A fit whose loss stops being finite goes on to its end and says so in its result.

A fit has converged where the gradient is shorter than a share of a standard error and a step gains less than a share of
a nat; it is looked at once a block, stays where it is then, and its block is skipped once all fits beside it rest too.
The price: steps are counted in blocks.

Everything here is of one start of one run; `batching.py` maps it over many.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import em, tracing
from gmm_pipeline.inference.objective import Blocks, lay_out, log_likelihood_of
from gmm_pipeline.inference.optimizers import build_optimizer
from gmm_pipeline.inference.parameterization import (
    Constraints,
    Free,
    free_of,
    gradient_norm,
    learned_by,
    mixture_of,
    over_sticks,
    projected,
)
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model.mixture import AnyArray, Parameters
from gmm_pipeline.model.priors import traits

LossFunction = Callable[[Any], Float[Array, ""]]


class FitPlan(NamedTuple):
    """The functions and choices that make up a fit; hashable."""

    n_components: int
    init: Plugin
    """(key, data, sample_weights, n_components) -> Parameters."""
    log_prior: Plugin
    """Parameters, or parameters and which components are active -> log density, in nats."""
    optimizer: Plugin
    """() -> optax transformation."""
    schedule: Plugin
    """() -> (step -> factor on the update)."""
    average_loss: bool
    """Whether the optimizer sees the loss of a datum rather than of all data."""
    fused: bool
    """Which form of the log-likelihood is compiled; see `objective.py`."""
    as_written: bool
    """Whether hyperparameters are constants of the program and components are not padded, whatever runs beside it."""


class FitJob(NamedTuple):
    """Everything that decides a fit, in the units of the fit."""

    data: Float[np.ndarray, " n"]
    sample_weights: Float[np.ndarray, " n"]
    key: PRNGKeyArray | Num[AnyArray, "2"]
    plan: FitPlan
    steps: int
    """At most."""
    history_every: int
    restarts: int
    """Starts, of which the best sound one is the answer."""
    equal_scales: bool
    """Whether all components share one scale."""
    scale_floor: float
    """Least scale of a component, as a share of the data's standard deviation; 0 for none."""
    fewest_data: float
    """A component with the weight of fewer data is degenerate."""
    tolerance: float
    """Nats of log posterior; a fit whose steps gain less may stop. 0 never stops."""
    gradient_tolerance: float
    """Length of the gradient, in standard errors; a fit with a shorter one may stop."""
    begin: Parameters | None = None
    """Where to start, instead of where the plan's init says."""
    room: int = 0
    """Components that the arrays have room for at least, so that fits of several numbers share a program."""

    @property
    def shape(self) -> tracing.Shape:
        """Of its data and parameters."""
        return tracing.Shape(self.plan.n_components, len(self.data), str(self.data.dtype))


class Lane(NamedTuple):
    """What differs between the starts of one program, arrays all."""

    data: Float[AnyArray, "*batch n"]
    sample_weights: Float[AnyArray, "*batch n"]
    constraints: Constraints
    tolerance: Float[AnyArray, "*batch"]
    gradient_tolerance: Float[AnyArray, "*batch"]
    floats: dict[str, dict[str, Float[AnyArray, "*batch"]]]
    """Hyperparameters by plug-in and name."""


class State(NamedTuple):
    """What a step hands to the next."""

    parameters: Any
    optimizer_state: Any


class StepInfo(NamedTuple):
    """What a step saw before it moved."""

    parameters: Any
    loss: Float[AnyArray, " *steps"]


class Seen(NamedTuple):
    """An entry of the history."""

    parameters: Parameters
    learned: dict[str, Float[AnyArray, "*batch"]]
    """Hyperparameters that the prior learns, themselves."""
    loss: Float[AnyArray, "*batch"]
    gradient_norm: Float[AnyArray, "*batch"]
    converged: Bool[AnyArray, "*batch"]
    """Whether the fit stopped here, or before."""


class Carried(NamedTuple):
    """What a block of steps hands to the next."""

    state: State
    converged: Bool[AnyArray, "*batch"]


class Parts(NamedTuple):
    """One run's own functions."""

    loss_func: LossFunction
    """Free -> negative log posterior over the divisor."""
    optimizer: optax.GradientTransformationExtraArgs
    mixture: Callable[[Free], Parameters]
    problem: em.Problem


class FitResult(NamedTuple):
    """Where a start ended and how it got there, in the units of the fit."""

    parameters: Parameters
    learned: dict[str, float]
    """Hyperparameters that the prior learned."""
    steps: Int[np.ndarray, " H"]
    """Optimizer steps taken before each entry of the history."""
    history: Seen
    """Parameters [H, K] and loss [H], in nats, at those steps; the last entry is the final state."""
    diverged: bool
    """Whether the final loss or a final parameter is not finite."""
    converged: bool
    n_steps: int
    """Steps taken until it converged, or all."""
    gradient_norm: float
    """At the end, in standard errors; see `parameterization.gradient_norm`."""
    degenerate: tuple[int, ...]
    """Components at the floor of the scales, or with too few data."""
    restarts: "tuple[Restart, ...]" = ()
    """What became of each start of the run that this is the answer of."""


class Restart(NamedTuple):
    """What became of one start."""

    log_posterior: float
    """Log-likelihood plus log prior in nats and float64, in the units of the fit."""
    outcome: str
    """One of `OUTCOMES`."""
    converged: bool
    n_steps: int


REACHED, WORSE, DEGENERATE, DIVERGED = OUTCOMES = ("reached", "worse", "degenerate", "diverged")
"""A start reached the best optimum that any did, a worse one, one with a degenerate component, or nothing finite."""


def split(job: FitJob) -> tuple[FitPlan, dict[str, dict[str, float]]]:
    """The plan of a run without the floats that are its own, and these by plug-in and name."""
    plan, floats = job.plan, {}
    for group, field in (("init", "init"), ("prior", "log_prior"), ("optimizer", "optimizer")):
        plugin: Plugin = getattr(plan, field)
        names = learned_by(plugin) if group == "prior" else ()
        names = names if plan.as_written else {*names, *tracing.varying(group, plugin, job.shape)}
        floats[group] = {name: value for name, value in plugin.floats().items() if name in names}
        plan = plan._replace(**{field: plugin.without(names)})
    return plan, floats


def step(
    state: State,
    *,
    loss_func: LossFunction,
    optimizer: optax.GradientTransformationExtraArgs,
    problem: em.Problem | None = None,
) -> tuple[State, StepInfo]:
    """One optimizer step.

    Line searches get what they ask of optax: the value, the gradient and the function; EM gets what it asks of us.

    Args:
        state: parameters and the optimizer's own state.
        loss_func: parameters -> loss, in nats.
        optimizer: any optax transformation.
        problem: what EM must know of the loss.
    """
    moved, info, _, _ = _step(state, loss_func, optimizer, problem)
    return moved, info


def _step(
    state: State,
    loss_func: LossFunction,
    optimizer: optax.GradientTransformationExtraArgs,
    problem: em.Problem | None,
) -> tuple[State, StepInfo, Any, Any]:
    def value_fn(parameters: Any, problem: em.Problem | None = None) -> Float[Array, ""]:
        # optax hands all that is known to the function too, and refuses what this does not take.
        return loss_func(parameters)

    value, gradient = jax.value_and_grad(loss_func)(state.parameters)
    known = {"value": value, "grad": gradient, "value_fn": value_fn, "problem": problem}
    updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.parameters, **known)
    # Optimizers may compute in float32 whatever the parameters are; a scan's carry must keep its type.
    moved = optax.apply_updates(state.parameters, updates)
    parameters = jax.tree.map(lambda new, old: new.astype(old.dtype), moved, state.parameters)
    return State(parameters, optimizer_state), StepInfo(state.parameters, value), gradient, updates


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
    get_params_func: Callable[[State], Parameters],
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


def parts_of(lane: Lane, laid_out: Blocks, plan: FitPlan) -> Parts:
    """The loss and the optimizer of one run, in nats.

    Args:
        lane: what is the run's own.
        laid_out: its data, as the plan's form of the objective takes them.
        plan: what it shares; floats that are the run's own are absent.
    """
    constraints, floats = lane.constraints, lane.floats["prior"]
    total = jnp.sum(laid_out.sample_weights)
    divisor = total if plan.average_loss else 1.0
    mixture = partial(mixture_of, constraints=constraints, sticks=over_sticks(plan.log_prior))

    def loss_func(free: Free) -> Float[Array, ""]:
        parameters = mixture(free)
        learned = {name: jnp.exp(value) for name, value in free.learned.items()}
        log_prior = tracing.prior_density(plan.log_prior.given({**floats, **learned}), parameters, constraints.active)
        log_likelihood = log_likelihood_of(parameters, laid_out, active=constraints.active, fused=plan.fused)
        return -(log_likelihood + log_prior) / divisor

    pseudo_count = traits(plan.log_prior.function).pseudo_count
    added = jnp.nan if pseudo_count is None else pseudo_count(**dict(plan.log_prior.given(floats).hyperparameters))
    problem = em.Problem(total, divisor, added, *constraints)
    optimizer = build_optimizer(plan.optimizer.given(lane.floats["optimizer"]), plan.schedule)
    return Parts(loss_func, optimizer, mixture, problem)


@partial(jax.jit, static_argnames=("init", "n_components"))
def start(
    keys: AnyArray,
    data: AnyArray,
    sample_weights: AnyArray,
    floats: dict[str, AnyArray],
    *,
    init: Plugin,
    n_components: int,
) -> Parameters:
    """Where the restarts of one run start, a row each.

    Args:
        keys: of the restarts.
        data: x.
        sample_weights: c, how often each datum counts.
        floats: hyperparameters of the init that are the run's own.
        init: with those absent.
        n_components: K.
    """
    return jax.vmap(lambda key: init.given(floats)(key, data, sample_weights, n_components))(keys)


def initial(parameters: Parameters, lane: Lane, *, plan: FitPlan) -> Carried:
    """What the first block of steps is handed."""
    laid_out = lay_out(lane.data, lane.sample_weights, fused=plan.fused)
    learned = {name: lane.floats["prior"][name] for name in learned_by(plan.log_prior)}
    free = free_of(parameters, learned, lane.constraints, sticks=over_sticks(plan.log_prior))
    optimizer = parts_of(lane, laid_out, plan).optimizer
    return Carried(State(free, optimizer.init(free)), jnp.zeros((), bool))


def run_block(carried: Carried, lane: Lane, laid_out: Blocks, *, plan: FitPlan, block: int) -> tuple[Carried, Seen]:
    """`block` steps, and what the first of them saw; none where the fit has converged, or does so here."""
    parts = parts_of(lane, laid_out, plan)

    def step_inside(state: State) -> tuple[State, StepInfo, Free, Free]:
        moved, info, gradient, updates = _step(state, parts.loss_func, parts.optimizer, parts.problem)
        return moved._replace(parameters=projected(moved.parameters, lane.constraints)), info, gradient, updates

    before = carried.state
    moved, info, gradient, updates = step_inside(before)
    moved, _ = jax.lax.scan(lambda state, _: (step_inside(state)[0], None), moved, length=block - 1)
    norm = _norm_of(gradient, before.parameters, lane, parts)
    # What the floor takes back of an update gains nothing.
    updates = _above_floor(updates, before.parameters, lane.constraints)
    gained = jax.tree.map(lambda slope, update: jnp.sum(slope * update), gradient, updates)
    gain = jnp.abs(sum(jax.tree.leaves(gained))) * parts.problem.divisor
    converged = carried.converged | ((norm < lane.gradient_tolerance) & (gain < lane.tolerance))
    state = jax.tree.map(lambda old, new: jnp.where(converged, old, new), before, moved)
    return Carried(state, converged), _seen(before.parameters, info.loss, norm, converged, parts)


def _above_floor(updates: Free, free: Free, constraints: Constraints) -> Free:
    least = constraints.log_floor - free.parameters.log_component_scales
    by_scale = jnp.maximum(updates.parameters.log_component_scales, least)
    return updates._replace(parameters=updates.parameters._replace(log_component_scales=by_scale))


def _norm_of(gradient: Free, free: Free, lane: Lane, parts: Parts) -> Float[Array, ""]:
    in_nats = jax.tree.map(lambda slope: -parts.problem.divisor * slope, gradient)
    return gradient_norm(in_nats, parts.mixture(free), lane.constraints, parts.problem.total)


def _seen(
    free: Free, loss: Float[AnyArray, ""], norm: Float[Array, ""], converged: Bool[AnyArray, ""], parts: Parts
) -> Seen:
    learned: dict[str, AnyArray] = {name: jnp.exp(value) for name, value in free.learned.items()}
    return Seen(parts.mixture(free), learned, loss, norm, converged)


def last_seen(carried: Carried, lane: Lane, *, plan: FitPlan) -> Seen:
    """What a step after the last would see."""
    parts = parts_of(lane, lay_out(lane.data, lane.sample_weights, fused=plan.fused), plan)
    # A fit that rests does so where its gradient was looked at.
    landed = em.landed(carried.state.optimizer_state, carried.state.parameters, parts.loss_func)
    free = jax.tree.map(partial(jnp.where, carried.converged), carried.state.parameters, landed)
    loss, gradient = jax.value_and_grad(parts.loss_func)(free)
    norm = _norm_of(gradient, free, lane, parts)
    # EM's next step would gain about half the square.
    near = (norm < lane.gradient_tolerance) & (0.5 * norm**2 < lane.tolerance)
    return _seen(free, loss, norm, carried.converged | near, parts)


def check(job: FitJob) -> None:
    """Trace a fit's plug-ins without running them, so that one that cannot work fails before any work starts.

    Raises:
        InputError: which plug-in, and what it said.
    """
    plan = job.plan
    for group, plugin in (
        ("init", plan.init),
        ("prior", plan.log_prior),
        ("schedule", plan.schedule),
        ("optimizer", plan.optimizer),
    ):
        tracing.check(group, plugin, job.shape)
    if plan.optimizer.function in (em.em, em.squarem) and traits(plan.log_prior.function).pseudo_count is None:
        raise InputError(
            "optimizer",
            expected="an optimizer that follows gradients, since EM is exact for flat and dirichlet priors only",
            came=f"{plan.optimizer.function.__name__} with the prior {plan.log_prior.function.__name__}",
            remedy="Use prior=flat or prior=dirichlet, or another optimizer, such as optimizer=adam.",
        )
