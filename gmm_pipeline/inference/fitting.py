"""One fit: start, step, scan, thinned history.

A fit is a `lax.scan` over blocks of steps, each block a scan of its own, so that only one state a block is kept and
memory does not grow with the steps. Nothing is logged or printed from inside: a step returns (state, info), and what is
written is written after. A fit whose loss stops being finite goes on to its end and says so in its result.

Everything here is of one run; `batching.py` maps it over many, and a run alone is a batch of one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from gmm_pipeline.inference import tracing
from gmm_pipeline.inference.objective import loss_function
from gmm_pipeline.inference.optimizers import build_optimizer
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model.mixture import AnyArray, Parameters

LossFunction = Callable[[Parameters], Float[Array, ""]]


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
    history_every: int

    @property
    def shape(self) -> tracing.Shape:
        """Of its data and parameters."""
        return tracing.Shape(self.plan.n_components, len(self.data), str(self.data.dtype))


class Lane(NamedTuple):
    """What differs between the runs of one program, arrays all."""

    data: Float[AnyArray, "*batch n"]
    sample_weights: Float[AnyArray, "*batch n"]
    active: Bool[AnyArray, "*batch K"]
    """False for components that only fill up the arrays."""
    floats: dict[str, dict[str, Float[AnyArray, "*batch"]]]
    """Hyperparameters by plug-in and name."""


class State(NamedTuple):
    """What a step hands to the next."""

    parameters: Parameters
    optimizer_state: Any


class StepInfo(NamedTuple):
    """What a step saw before it moved."""

    parameters: Parameters
    loss: Float[AnyArray, " *steps"]


class FitResult(NamedTuple):
    """Where a fit ended and how it got there, in the units of the fit."""

    parameters: Parameters
    steps: Int[np.ndarray, " H"]
    """Optimizer steps taken before each entry of the history."""
    history: StepInfo
    """Parameters [H, K] and loss [H], in nats, at those steps; the last entry is the final state."""
    diverged: bool
    """Whether the final loss or a final parameter is not finite."""


def step(
    state: State, *, loss_func: LossFunction, optimizer: optax.GradientTransformationExtraArgs
) -> tuple[State, StepInfo]:
    """One optimizer step.

    Line searches get what they ask of optax: the value, the gradient and the function.

    Args:
        state: parameters and the optimizer's own state.
        loss_func: parameters -> loss, in nats.
        optimizer: any optax transformation.
    """
    value, gradient = jax.value_and_grad(loss_func)(state.parameters)
    updates, optimizer_state = optimizer.update(
        gradient, state.optimizer_state, state.parameters, value=value, grad=gradient, value_fn=loss_func
    )
    # Optimizers may compute in float32 whatever the parameters are; a scan's carry must keep its type.
    moved = optax.apply_updates(state.parameters, updates)
    parameters = jax.tree.map(lambda new, old: new.astype(old.dtype), moved, state.parameters)
    return State(parameters, optimizer_state), StepInfo(state.parameters, value)


def make_step_scannable(
    *, loss_func: LossFunction, optimizer: optax.GradientTransformationExtraArgs
) -> Callable[[State, Any], tuple[State, StepInfo]]:
    """A step in the form that `lax.scan` wants: (previous_state, iteration) -> (state, info).

    Args:
        loss_func: parameters -> loss, in nats.
        optimizer: any optax transformation.
    """

    def step_scannable(previous_state: State, iteration: Any) -> tuple[State, StepInfo]:
        return step(previous_state, loss_func=loss_func, optimizer=optimizer)

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


def parts_of(lane: Lane, plan: FitPlan) -> tuple[LossFunction, optax.GradientTransformationExtraArgs]:
    """The loss and the optimizer of one run, in nats.

    Args:
        lane: what is the run's own.
        plan: what it shares; floats that are the run's own are absent.
    """
    loss_func = loss_function(
        lane.data,
        lane.sample_weights,
        active=lane.active,
        log_prior=lambda parameters: tracing.prior_density(
            plan.log_prior.given(lane.floats["prior"]), parameters, lane.active
        ),
        average=plan.average_loss,
        fused=plan.fused,
    )
    return loss_func, build_optimizer(plan.optimizer.given(lane.floats["optimizer"]), plan.schedule)


@partial(jax.jit, static_argnames=("init", "n_components"))
def start(
    key: AnyArray,
    data: AnyArray,
    sample_weights: AnyArray,
    floats: dict[str, AnyArray],
    *,
    init: Plugin,
    n_components: int,
) -> Parameters:
    """Where one run starts.

    Args:
        key: of the run.
        data: x.
        sample_weights: c, how often each datum counts.
        floats: hyperparameters of the init that are the run's own.
        init: with those absent.
        n_components: K.
    """
    return init.given(floats)(key, data, sample_weights, n_components)


def initial_state(parameters: Parameters, lane: Lane, *, plan: FitPlan) -> State:
    """The state before the first step."""
    _, optimizer = parts_of(lane, plan)
    return State(parameters, optimizer.init(parameters))


def run_blocks(state: State, lane: Lane, *, plan: FitPlan, n_blocks: int, block: int) -> tuple[State, StepInfo]:
    """`n_blocks` blocks of `block` steps; the info of each block's first step is kept."""
    loss_func, optimizer = parts_of(lane, plan)
    scannable = make_step_scannable(loss_func=loss_func, optimizer=optimizer)

    def run_block(state: State, _: None) -> tuple[State, StepInfo]:
        state, first = scannable(state, 0)
        state, _ = jax.lax.scan(lambda state, i: (scannable(state, i)[0], None), state, jnp.arange(1, block))
        return state, first

    return jax.lax.scan(run_block, state, None, length=n_blocks)


def info_at(parameters: Parameters, lane: Lane, *, plan: FitPlan) -> StepInfo:
    """What a step at these parameters would see."""
    return StepInfo(parameters, parts_of(lane, plan)[0](parameters))


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
