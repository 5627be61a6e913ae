"""One step of one fit: move, look whether it rests, keep an entry of the history.

Nothing is logged or printed from inside: a step returns (state, info), and what is written is written after. A fit
whose loss stops being finite goes on to its end and says so in its result.

A fit has converged where the gradient is shorter than a share of a standard error and a step gains less than a share of
a nat; it is looked at at each entry of the history, and stays where it is from then on. The price: steps are counted in
entries. What a step after the last would see is seen by the same code, two steps that do not move: the first takes back
what the optimizer would take back, the second is the end. So the objective is in the program once.

Everything here is of one start of one run; `batching.py` maps it over many and repeats it.
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
from gmm_pipeline.inference.objective import Blocks, log_likelihood_of
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


class Moves(NamedTuple):
    """Shares of the mixtures that a round of a search makes anew; see `search_moves.py`."""

    swap: float
    split: float
    nest: float
    join: float
    fresh: float


class FirstMixtures(NamedTuple):
    """Hyperparameters of the starts that a search begins with; see `model/inits.py`."""

    jitter: float
    overlap: float
    smallest_scale: float
    narrowest: float


class SearchPlan(NamedTuple):
    """How thorough a search for the best optimum is; hashable. See `search.py`."""

    points: int
    """Groups of data that it sees, at most."""
    mixtures: int
    """Of a search, at a time."""
    kept: int
    """Of these, which a round varies."""
    passes: int
    """Evaluations of each mixture in a round."""
    rounds: int
    """At most."""
    patience: float
    """A search goes on until it has taken so many times the rounds that its best optimum took."""
    screening: int
    """Rounds for each fit of a selection."""
    margin: float
    """Nats that a fit of a selection must be short of the best one not to be searched with all rounds."""
    finalists: int
    """Distinct mixtures of all searches that are improved on all data."""
    places: int
    """That are compared where a component is put in."""
    narrowest: float
    """Least scale of a component that is put in, as a share of the data's standard deviation."""
    moves: Moves
    starts: FirstMixtures

    @property
    def short(self) -> "SearchPlan":
        """The same for one of many fits: few rounds, of two thirds of the passes, and half of the finalists."""
        if self.rounds <= self.screening:
            return self
        return self._replace(
            rounds=self.screening,
            passes=max(1, 2 * self.passes // 3),
            finalists=max(1, self.finalists // 2),
        )

    @property
    def screen(self) -> "SearchPlan":
        """The same for all fits of a selection, before those that may win are searched as asked."""
        return self.short._replace(finalists=1)


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
    search: SearchPlan | None = None
    """The search for the best optimum, `restarts` times; None for the best of so many starts."""
    trained: bool = True
    """Whether starts are trained besides; else the optimum that the search found is the result as it stands."""
    penalty: float = 0.0
    """Nats that a parameter costs by the criterion of the selection that the fit is part of."""
    seeds: tuple[Parameters, ...] = ()
    """Mixtures from elsewhere that the search improves beside its own."""

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
    """Hyperparameters of prior, optimizer and schedule, by these and by name."""


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
    """What a step hands to the next."""

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
    searched: "Searched | None" = None
    """What a search knows of the answer; None without one."""


class Searched(NamedTuple):
    """What a search knows of the answer."""

    n_searches: int
    n_agreeing: int
    """Independent searches that have seen the optimum that is the answer."""
    log_posteriors: tuple[float, ...]
    """Of the distinct optima that were seen and have no degenerate component, the best first; in nats and float64."""
    n_rounds: int
    began: str
    """Where the training that the history shows began: one of `BEGINNINGS`."""

    @property
    def gap(self) -> float | None:
        """Nats from the best optimum to the next; None where no other was seen."""
        return self.log_posteriors[0] - self.log_posteriors[1] if len(self.log_posteriors) > 1 else None


ORDINARY, BLURRED, AT_OPTIMUM = BEGINNINGS = ("a start", "a blurred copy of the optimum", "the optimum itself")


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
    for group, field in (("prior", "log_prior"), ("optimizer", "optimizer"), ("schedule", "schedule")):
        plugin: Plugin = getattr(plan, field)
        names = learned_by(plugin) if group == "prior" else ()
        names = names if plan.as_written else {*names, *tracing.varying(group, plugin, job.shape)}
        floats[group] = {name: value for name, value in plugin.hyperparameters if name in names}
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
    optimizer = build_optimizer(*_given(plan, lane))
    return Parts(loss_func, optimizer, mixture, problem)


def _given(plan: FitPlan, lane: Lane) -> tuple[Plugin, Plugin]:
    """Optimizer and schedule with the numbers that are the run's own."""
    return plan.optimizer.given(lane.floats["optimizer"]), plan.schedule.given(lane.floats["schedule"])


def start(job: FitJob, key: AnyArray) -> Parameters:
    """Where a start of a run begins, as the run's init has it.

    Args:
        job: the run.
        key: of the start.
    """
    found = job.plan.init(key, job.data, job.sample_weights, job.plan.n_components)
    return Parameters(*(np.asarray(leaf, job.data.dtype) for leaf in found))


def initial(parameters: Parameters, lane: Lane, *, plan: FitPlan) -> Carried:
    """What the first step is handed."""
    learned = {name: lane.floats["prior"][name] for name in learned_by(plan.log_prior)}
    free = free_of(parameters, learned, lane.constraints, sticks=over_sticks(plan.log_prior))
    optimizer = build_optimizer(*_given(plan, lane))
    return Carried(State(free, optimizer.init(free)), jnp.zeros((), bool))


class Moment(NamedTuple):
    """Where in a fit a step is; the same for all fits beside it."""

    is_entry: Bool[AnyArray, ""]
    """Whether the history keeps what this step sees."""
    is_over: Bool[AnyArray, ""]
    """Whether all steps were taken: nothing moves but what the optimizer takes back."""


def advance(carried: Carried, lane: Lane, laid_out: Blocks, moment: Moment, *, plan: FitPlan) -> tuple[Carried, Seen]:
    """One step, and what it saw before it moved; none where the fit has converged, or does so here.

    What is seen of convergence holds at an entry alone.
    """
    parts = parts_of(lane, laid_out, plan)
    before = carried.state
    moved, info, gradient, updates = _step(before, parts.loss_func, parts.optimizer, parts.problem)
    moved = moved._replace(parameters=projected(moved.parameters, lane.constraints))
    landed = em.landed(before.optimizer_state, before.parameters, info.loss)
    moved = jax.tree.map(partial(jnp.where, moment.is_over), State(landed, before.optimizer_state), moved)
    norm = _norm_of(gradient, before.parameters, lane, parts)
    # What the floor takes back of an update gains nothing.
    updates = _above_floor(updates, before.parameters, lane.constraints)
    gained = jax.tree.map(lambda slope, update: jnp.sum(slope * update), gradient, updates)
    gain = jnp.abs(sum(jax.tree.leaves(gained))) * parts.problem.divisor
    # After the last step there is no update; EM's next would gain about half the square.
    gain = jnp.where(moment.is_over, 0.5 * norm**2, gain)
    rests = (norm < lane.gradient_tolerance) & (gain < lane.tolerance)
    converged = carried.converged | (moment.is_entry & rests)
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
