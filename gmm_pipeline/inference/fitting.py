"""One fit: start, step, scan, thinned history.

A fit is a `lax.scan` over blocks of steps, each block a scan of its own, so that only one state a block is kept and
memory does not grow with the steps. Nothing is logged or printed from inside: a step returns (state, info), and what is
written is written after. A fit whose loss stops being finite goes on to its end and says so in its result.

A long fit is cut into segments, each one call of the same compiled program, so that a progress bar can move between
them. Whether to cut is a function of the job alone, so that the same job always runs the same programs.
"""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.objective import compiler_options, loss_function
from gmm_pipeline.inference.optimizers import build_optimizer
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model.mixture import AnyArray, Parameters

LossFunction = Callable[[Parameters], Float[Array, ""]]
Progress = Callable[[int, int], None]

ELEMENTS_A_SEGMENT = 1e8
"""Data × components × steps between two moves of the progress bar: some tenths of a second on two cores."""
MOST_SEGMENTS = 100
"""More moves of a bar than this are not seen."""


class FitPlan(NamedTuple):
    """What is compiled into a fit's program; hashable, so that equal plans share it."""

    n_components: int
    init: Plugin
    """(key, data, sample_weights, n_components) -> Parameters."""
    log_prior: Plugin
    """Parameters -> log density, in nats."""
    optimizer: Plugin
    """() -> optax transformation."""
    schedule: Plugin
    """() -> (step -> factor on the update)."""
    average_loss: bool
    """Whether the optimizer sees the loss of a datum rather than of all data."""
    fused: bool
    """Which form of the log-likelihood is compiled; see `objective.py`."""


class FitJob(NamedTuple):
    """Everything that decides a fit, in the units of the fit."""

    data: Float[np.ndarray, " n"]
    sample_weights: Float[np.ndarray, " n"]
    key: PRNGKeyArray | Num[AnyArray, "2"]
    plan: FitPlan
    steps: int
    history_every: int


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


def _loss_function(plan: FitPlan, data: AnyArray, sample_weights: AnyArray) -> LossFunction:
    return loss_function(data, sample_weights, log_prior=plan.log_prior, average=plan.average_loss, fused=plan.fused)


@partial(jax.jit, static_argnames="plan")
def _start(key: AnyArray, data: AnyArray, sample_weights: AnyArray, *, plan: FitPlan) -> State:
    parameters = plan.init(key, data, sample_weights, plan.n_components)
    return State(parameters, build_optimizer(plan.optimizer, plan.schedule).init(parameters))


@functools.cache
def _compiled(function: Callable[..., Any], fused: bool, *static: str) -> Callable[..., Any]:
    """A function under jit, with the compiler options that its form of the objective needs."""
    return jax.jit(function, static_argnames=static, compiler_options=compiler_options(fused))


def _run_blocks(
    state: State, data: AnyArray, sample_weights: AnyArray, *, plan: FitPlan, n_blocks: int, block: int
) -> tuple[State, StepInfo]:
    """`n_blocks` blocks of `block` steps; the info of each block's first step is kept."""
    scannable = make_step_scannable(
        loss_func=_loss_function(plan, data, sample_weights), optimizer=build_optimizer(plan.optimizer, plan.schedule)
    )

    def run_block(state: State, _: None) -> tuple[State, StepInfo]:
        state, first = scannable(state, 0)
        state, _ = jax.lax.scan(lambda state, i: (scannable(state, i)[0], None), state, jnp.arange(1, block))
        return state, first

    return jax.lax.scan(run_block, state, None, length=n_blocks)


def _info_at(parameters: Parameters, data: AnyArray, sample_weights: AnyArray, *, plan: FitPlan) -> StepInfo:
    return StepInfo(parameters, _loss_function(plan, data, sample_weights)(parameters))


def check(job: FitJob) -> None:
    """Trace a fit without running it, so that a plug-in that cannot work fails before any work starts.

    Raises:
        InputError: which plug-in, and what it said.
    """
    plan = job.plan
    parameters = _traced(
        "init",
        plan.init,
        lambda *arguments: plan.init(*arguments, plan.n_components),
        job.key,
        job.data,
        job.sample_weights,
    )
    _traced("prior", plan.log_prior, plan.log_prior, parameters)
    _traced("schedule", plan.schedule, lambda step: plan.schedule()(step), np.int32(0))
    _traced("optimizer", plan.optimizer, lambda parameters: _first_update(plan, parameters), parameters)


def _first_update(plan: FitPlan, parameters: Parameters) -> Any:
    optimizer = build_optimizer(plan.optimizer, plan.schedule)
    return optimizer.update(
        parameters,
        optimizer.init(parameters),
        parameters,
        value=jnp.zeros((), parameters.component_mus.dtype),
        grad=parameters,
        value_fn=lambda parameters: jnp.sum(parameters.component_mus),
    )


def _traced(name: str, plugin: Plugin, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except InputError:
        raise
    except Exception as error:
        said = str(error).splitlines()[0].rstrip(".") if str(error) else "no message"
        given = ", ".join(f"{key}={value!r}" for key, value in plugin.hyperparameters) or "no hyperparameters"
        raise InputError(
            name,
            expected="hyperparameters and a function that work with these data",
            came=f"{given} ({type(error).__name__}: {said})",
            remedy=f"Check the keys of {name} and its _target_.",
        ) from error


def segments_of(job: FitJob) -> list[tuple[int, int]]:
    """The calls that make up a fit, as (blocks, steps in a block): equal ones, then what is left over."""
    n_blocks, remainder = divmod(job.steps, job.history_every)
    elements = job.steps * job.plan.n_components * len(job.data)
    n_segments = min(max(1, math.ceil(elements / ELEMENTS_A_SEGMENT)), MOST_SEGMENTS, max(1, n_blocks))
    each, left_over = divmod(n_blocks, n_segments)
    calls = [*[each] * n_segments, left_over]
    return [(blocks, job.history_every) for blocks in calls if blocks] + [(1, remainder)] * bool(remainder)


def fit(job: FitJob, progress: Progress | None = None) -> FitResult:
    """Run one fit to its end.

    Args:
        job: what to fit.
        progress: called with (steps done, steps in all) after each segment.
    """
    data, sample_weights = jnp.asarray(job.data), jnp.asarray(job.sample_weights)
    state = _start(job.key, data, sample_weights, plan=job.plan)
    run_blocks = _compiled(_run_blocks, job.plan.fused, "plan", "n_blocks", "block")
    info_at = _compiled(_info_at, job.plan.fused, "plan")
    infos, done = [], 0
    for n_blocks, block in segments_of(job):
        state, info = run_blocks(state, data, sample_weights, plan=job.plan, n_blocks=n_blocks, block=block)
        infos.append(jax.tree.map(np.asarray, info))
        done += n_blocks * block
        if progress is not None:
            progress(done, job.steps)
    final = jax.tree.map(
        lambda leaf: np.asarray(leaf)[None], info_at(state.parameters, data, sample_weights, plan=job.plan)
    )
    history = jax.tree.map(lambda *leaves: np.concatenate(leaves), *infos, final)
    return FitResult(
        parameters=jax.tree.map(lambda leaf: leaf[-1], history.parameters),
        steps=np.append(np.arange(0, job.steps, job.history_every), job.steps),
        history=history,
        diverged=not all(np.isfinite(leaf[-1]).all() for leaf in jax.tree.leaves(history)),
    )
