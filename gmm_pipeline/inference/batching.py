"""Many runs as one program: group, pad, stack, map, unstack. A run alone is a batch of one.

What may share a program is everything but the arrays of a `Lane`: the data, the start, the floats of optimizer, prior
and init, and the number of components, which are padded and masked. The rest is the `Program`, which is printable and
says why runs were split.

The last bits of a result depend on the width of the arrays it was computed in, never on its neighbours. So the width
is a function of the run alone: small fits are computed many at once and in the next canonical number of components,
since a step of theirs is mostly overhead; a large one fills the machine by itself. The price is what a small fit
computes besides when it is alone, some hundredths of a second. A batch that is not full is filled up with copies of its
first run. Batches of one program may run in several threads: a batch is one call, whatever runs beside it.

A long fit is cut into segments, each one call of the same compiled program, so that a progress bar can move between
them and the fit can be stopped. Whether to cut is a function of the program alone.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gmm_pipeline.inference import tracing
from gmm_pipeline.inference.fitting import (
    FitJob,
    FitPlan,
    FitResult,
    Lane,
    StepInfo,
    info_at,
    initial_state,
    run_blocks,
    start,
)
from gmm_pipeline.inference.objective import compiler_options
from gmm_pipeline.inference.plugins import Absent, Plugin
from gmm_pipeline.model.mixture import Parameters

Progress = Callable[[int, int], None]

ELEMENTS_A_SEGMENT = 1e8
"""Runs × data × components × steps between two moves of the progress bar: some tenths of a second on two cores."""
MOST_SEGMENTS = 100
"""More moves of a bar than this are not seen."""
CANONICAL_COMPONENTS = (5, 10, 20)
"""Numbers of components that smaller ones are padded to."""
MOST_ELEMENTS_PADDED = 1e8
"""Data × components × steps up to which components are padded: less than 50 ms more for a fit alone."""
MOST_ELEMENTS_BATCHED = 3e7
"""The same times the runs of a batch; less, since many short rows take longer than few long ones."""
EVALUATIONS_OF_A_SEARCH = 16
"""How often an optimizer with a loop of its own, such as a line search, evaluates the loss in a step, at most about."""
WIDEST = 256
SPARE_OF_ACCELERATORS = 100
"""How many times more than a CPU another device computes in the time of a step's overhead."""


class Width(NamedTuple):
    """The arrays a run is computed in, which decide its last bits."""

    runs: int
    components: int


class Program(NamedTuple):
    """What is compiled; hashable, so that equal programs are compiled once."""

    plan: FitPlan
    """Without what is a run's own: its start, its number of components, and floats."""
    n_data: int
    dtype: str
    steps: int
    history_every: int
    width: Width


@functools.cache
def _spare() -> int:
    return 1 if jax.default_backend() == "cpu" else SPARE_OF_ACCELERATORS


def width_of(job: FitJob) -> Width:
    """The canonical width of a fit, a function of its data, components and steps."""
    components = job.plan.n_components
    if job.plan.as_written:
        return Width(1, components)
    plan, _ = split(job)
    evaluations = EVALUATIONS_OF_A_SEARCH if tracing.has_loop(plan.optimizer, job.shape._replace(n_components=1)) else 1
    steps_of_data = len(job.data) * job.steps * evaluations / _spare()
    if tracing.leaves_out_components(job.plan.log_prior):
        wider = next((canonical for canonical in CANONICAL_COMPONENTS if canonical >= components), components)
        components = wider if steps_of_data * wider <= MOST_ELEMENTS_PADDED else components
    runs = min(WIDEST, max(1.0, MOST_ELEMENTS_BATCHED / (steps_of_data * components)))
    return Width(2 ** int(math.log2(runs)), components)


def split(job: FitJob) -> tuple[FitPlan, dict[str, dict[str, float]]]:
    """The plan of a run without the floats that are its own, and these by plug-in and name."""
    plan, floats = job.plan, {}
    for group, field in (("init", "init"), ("prior", "log_prior"), ("optimizer", "optimizer")):
        plugin: Plugin = getattr(plan, field)
        names = () if plan.as_written else tracing.varying(group, plugin, job.shape)
        floats[group] = {name: value for name, value in plugin.floats().items() if name in names}
        plan = plan._replace(**{field: plugin.without(names)})
    return plan, floats


def _shared_start(*_: Any) -> None:
    """Stands for the init in a program, which begins where the start ends."""


def program_of(job: FitJob) -> Program:
    """What a fit is compiled to: fits with equal programs can be one batch."""
    plan, _ = split(job)
    width = width_of(job)
    shared = plan._replace(init=Plugin(_shared_start, ()), n_components=width.components)
    return Program(shared, len(job.data), str(job.data.dtype), job.steps, job.history_every, width)


def describe(program: Program) -> dict[str, Any]:
    """A program in words, by the keys of the config: where two differ is why their runs are not one batch."""

    def of(plugin: Plugin) -> dict[str, Any]:
        fixed = {name: value for name, value in plugin.hyperparameters if value is not Absent.LATER}
        public = plugin.function.__module__.split("._")[0]
        return {"_target_": f"{public}.{plugin.function.__qualname__}", **fixed}

    plugins = {"prior": program.plan.log_prior, "optimizer": program.plan.optimizer, "schedule": program.plan.schedule}
    return {
        "data (how many)": program.n_data,
        "n_components (padded to)": program.width.components,
        "steps": program.steps,
        "history_every": program.history_every,
        "precision": program.dtype,
        "average_loss": program.plan.average_loss,
        "fused": program.plan.fused,
        "runs in a batch": program.width.runs,
        **{f"{group}.{name}": value for group, plugin in plugins.items() for name, value in of(plugin).items()},
    }


def differences(programs: Sequence[Program]) -> dict[str, list[Any]]:
    """The keys in which programs differ, with the value of each program."""
    described = [describe(program) for program in programs]
    keys = dict.fromkeys(key for one in described for key in one)
    values = {key: [one.get(key) for one in described] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def group(programs: Mapping[int, Program]) -> dict[Program, list[int]]:
    """Which runs share a program, in the order they came."""
    groups: dict[Program, list[int]] = {}
    for run, program in programs.items():
        groups.setdefault(program, []).append(run)
    return groups


def batches(program: Program, runs: Sequence[int]) -> Iterator[Sequence[int]]:
    """Runs of one program, in slices that are computed at once."""
    for first in range(0, len(runs), program.width.runs):
        yield runs[first : first + program.width.runs]


def memory_of(program: Program) -> int:
    """Bytes of arrays that a batch holds at its height, about."""
    runs, components = program.width
    item = np.dtype(program.dtype).itemsize
    # Data and sample weights, as given, in blocks and on the device.
    of_data = 6 * program.n_data * (1 if program.plan.fused else 1 + components)
    of_history = 2 * 3 * components * (program.steps // program.history_every + 2)
    return runs * item * (of_data + of_history)


def segments_of(program: Program) -> list[tuple[int, int]]:
    """The calls that make up a fit, as (blocks, steps in a block): equal ones, then what is left over."""
    n_blocks, remainder = divmod(program.steps, program.history_every)
    elements = program.steps * program.n_data * math.prod(program.width)
    n_segments = min(max(1, math.ceil(elements / ELEMENTS_A_SEGMENT)), MOST_SEGMENTS, max(1, n_blocks))
    each, left_over = divmod(n_blocks, n_segments)
    calls = [*[each] * n_segments, left_over]
    return [(blocks, program.history_every) for blocks in calls if blocks] + [(1, remainder)] * bool(remainder)


@functools.cache
def _mapped(function: Callable[..., Any], fused: bool, *static: str) -> Callable[..., Any]:
    """A function of one run, mapped over a batch and compiled with the options that its form of the objective needs."""

    def over_runs(*arrays: Any, **shared: Any) -> Any:
        return jax.vmap(functools.partial(function, **shared))(*arrays)

    return jax.jit(over_runs, static_argnames=static, compiler_options=compiler_options(fused))


def _pad(parameters: Parameters, components: int) -> Parameters:
    return Parameters(*(np.pad(np.asarray(leaf), (0, components - len(leaf))) for leaf in parameters))


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _started(job: FitJob) -> tuple[Parameters, Lane]:
    """Start and arrays of one run, as wide as its program."""
    plan, floats = split(job)
    components = width_of(job).components
    typed = jax.tree.map(job.data.dtype.type, floats)
    parameters = start(
        job.key, job.data, job.sample_weights, typed["init"], init=plan.init, n_components=plan.n_components
    )
    active = np.arange(components) < plan.n_components
    return _pad(parameters, components), Lane(job.data, job.sample_weights, active, typed)


def fit_batch(jobs: Sequence[FitJob], progress: Progress | None = None) -> list[FitResult]:
    """Run fits that share a program to their end, at its width.

    Args:
        jobs: as many as the width has runs, or fewer.
        progress: called with (steps done, steps in all) after each segment; what it raises ends the fits.
    """
    program = program_of(jobs[0])
    started = [_started(job) for job in jobs]
    started += started[:1] * (program.width.runs - len(jobs))
    parameters, lane = _stacked(started)
    lane = jax.tree.map(jnp.asarray, lane)
    plan, fused = program.plan, program.plan.fused
    state = _mapped(initial_state, fused, "plan")(parameters, lane, plan=plan)
    run = _mapped(run_blocks, fused, "plan", "n_blocks", "block")
    infos, done = [], 0
    for n_blocks, block in segments_of(program):
        state, info = run(state, lane, plan=plan, n_blocks=n_blocks, block=block)
        infos.append(jax.tree.map(np.asarray, info))
        done += n_blocks * block
        if progress is not None:
            progress(done, program.steps)
    final = _mapped(info_at, fused, "plan")(state.parameters, lane, plan=plan)
    infos.append(jax.tree.map(lambda leaf: np.asarray(leaf)[:, None], final))
    history = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *infos)
    return [
        _result(job, jax.tree.map(lambda leaf, lane=number: leaf[lane], history)) for number, job in enumerate(jobs)
    ]


def _result(job: FitJob, history: StepInfo) -> FitResult:
    """The result of one run, without the components that filled up its arrays."""
    own = Parameters(*(leaf[:, : job.plan.n_components].copy() for leaf in history.parameters))
    history = StepInfo(own, history.loss.copy())
    return FitResult(
        parameters=jax.tree.map(lambda leaf: leaf[-1], history.parameters),
        steps=np.append(np.arange(0, job.steps, job.history_every), job.steps),
        history=history,
        diverged=not all(np.isfinite(leaf[-1]).all() for leaf in jax.tree.leaves(history)),
    )


def fit(job: FitJob, progress: Progress | None = None) -> FitResult:
    """Run one fit to its end, at the width it has in any sweep.

    Args:
        job: what to fit.
        progress: called with (steps done, steps in all) after each segment.
    """
    (result,) = fit_batch([job], progress)
    return result
