"""Many starts computed as one program: pad, stack, map, unstack. A run alone is a batch of its restarts.

A fit is a loop over steps, cut into segments, each one call of the same compiled program, so that a progress bar can
move and the fit can be stopped between them. Where to cut depends on the run alone. The price: a history passes from
the device to the host in pieces.
"""

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gmm_pipeline.inference import devices, lowered
from gmm_pipeline.inference.batching import MOST_ENTRIES, Program, batches, group, program_of
from gmm_pipeline.inference.families import Family
from gmm_pipeline.inference.fitting import Moment, Ring, StartInputs, advance, initial, start
from gmm_pipeline.inference.jobs import FitJob, FitPlan, FitResult, HistoryEntry, split
from gmm_pipeline.inference.padding import padded, with_components
from gmm_pipeline.inference.restarts import degenerate_components
from gmm_pipeline.inference.tracing import in_precision
from gmm_pipeline.model.inits import words_of
from gmm_pipeline.model.multivariate import AnyParameters

Progress = Callable[[int, int], None]

ELEMENTS_A_SEGMENT = 1e8
"""Runs × data × components × steps of one segment at most: some tenths of a second on two cores."""
MOST_SEGMENTS = 100
"""A progress bar does not need more updates than this, as long as a segment takes seconds."""
LONGEST_SEGMENT = 30
"""As many of the shortest ones at most, or so many steps: Ctrl-C is heeded between segments."""


class Segment(NamedTuple):
    """One call of a program: steps of a fit, some of which are entries of its history."""

    first: int
    """Step it begins with."""
    until: int
    """First step of the next segment; the last two steps only evaluate where the fit ends."""
    entries: tuple[int, ...]
    """Steps kept in the history; in the last segment, the end of the fit is the last of them."""


def segments_of(program: Program) -> Iterator[Segment]:
    """Yield the calls that make up a fit, limited in history entries and, for the progress bar, in length."""
    elements_a_step = program.n_data * math.prod(program.width)
    shortest = max(1, int(ELEMENTS_A_SEGMENT / elements_a_step))
    longest = max(shortest, min(math.ceil(program.steps / MOST_SEGMENTS), LONGEST_SEGMENT * shortest))
    longest = min(longest, (MOST_ENTRIES - 1) * program.history_every)
    for first in range(0, program.steps, longest):
        until = min(first + longest, program.steps)
        is_last = until == program.steps
        kept = range(-(-first // program.history_every) * program.history_every, until, program.history_every)
        yield Segment(first, until + 2 * is_last, (*kept, *[program.steps + 1] * is_last))


def _run_segment(
    parameters: AnyParameters,
    carried: Any,
    inputs: StartInputs,
    first: Any,
    until: Any,
    every: Any,
    steps: Any,
    *,
    plan: FitPlan,
) -> Any:
    """Run the steps of a batch from `first` up to `until`; returns the state and the history entries, in order.

    A fit begins at step 0 from `parameters`; `carried` is the state that the previous segment ended with.
    """
    laid_out = jax.vmap(functools.partial(plan.family.lay_out, fused=plan.fused))(inputs.data, inputs.sample_weights)
    move = jax.vmap(functools.partial(advance, plan=plan), in_axes=(0, 0, 0, None))
    begun = jax.vmap(functools.partial(initial, plan=plan))(parameters, inputs)
    carried = jax.tree.map(lambda new, old: jnp.where(first == 0, new, old), begun, carried)
    seen = jax.eval_shape(move, carried, inputs, laid_out, Moment(first == 0, first == 0, first))[1]
    # One extra place for steps that are not kept: writing them there is cheaper than a conditional.
    history = jax.tree.map(lambda leaf: jnp.zeros((MOST_ENTRIES + 1, *leaf.shape), leaf.dtype), seen)

    def is_left(looped: Any) -> Any:
        (step, _, _), carried, _ = looped
        # Converged fits do not move; once all have converged there is nothing to compute.
        return (step < until) & ~jnp.all(carried.converged)

    def go(looped: Any) -> Any:
        (step, until_entry, entry), carried, history = looped
        moment = Moment(jnp.where(step < steps, until_entry == 0, step > steps), step >= steps, step)
        carried, seen = move(carried, inputs, laid_out, moment)
        place = jnp.where(moment.is_entry, entry, MOST_ENTRIES)
        history = jax.tree.map(lambda all_, new: all_.at[place].set(new), history, seen)
        until_entry = jnp.where(until_entry == 0, every, until_entry) - 1
        return (step + 1, until_entry, entry + moment.is_entry), carried, history

    begin = (first, -first % every, jnp.zeros((), first.dtype))
    _, carried, history = jax.lax.while_loop(is_left, go, (begin, carried, history))
    return carried, jax.tree.map(lambda leaf: leaf[:MOST_ENTRIES], history)


@functools.cache
def _run(family: Family, fused: bool) -> Callable[..., Any]:
    return lowered.program(_run_segment, static="plan", compiler_options=family.compiler_options(fused))


def _pad(parameters: AnyParameters, components: int) -> AnyParameters:
    return jax.tree.map(lambda leaf: with_components(np.asarray(leaf), components, 0), parameters)


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def keys_of(job: FitJob) -> list[Any]:
    """A key for each restart; the first is the run's own."""
    words = words_of(job.key)
    others = (np.random.SeedSequence([*words, restart]) for restart in range(1, job.restarts))
    return [job.key, *(sequence.generate_state(2) for sequence in others)]


def _started(job: FitJob) -> list[tuple[AnyParameters, StartInputs]]:
    """Start and inputs of each restart of a run, padded to the width of its program."""
    plan, floats = split(job)
    program, dtype = program_of(job), job.data.dtype.type
    components = program.width.components
    starts = [start(job, key) for key in keys_of(job)] if job.begin is None else [job.begin] * job.restarts
    family = plan.family
    data, sample_weights, rings = job.data, job.sample_weights, [None] * job.restarts
    if plan.minibatch:
        order, n = np.random.default_rng(words_of(job.key)).permutation(len(data)), np.array(len(data), np.int32)
        data, sample_weights = data[order], sample_weights[order]
        rings = [Ring(np.array(words_of(key), np.uint32), n) for key in keys_of(job)]
    inputs = StartInputs(
        *padded(data, sample_weights, program.n_data),
        family.constraints_of(job, np.arange(components) < plan.n_components, family.spread_of(job)),
        dtype(job.tolerance),
        dtype(job.gradient_tolerance),
        jax.tree.map(dtype, floats),
    )
    return [
        (_pad(jax.tree.map(lambda leaf: np.asarray(leaf, dtype), one), components), inputs._replace(ring=ring))
        for one, ring in zip(starts, rings, strict=True)
    ]


def _fit_call(
    program: Program, starts: Sequence[tuple[AnyParameters, StartInputs]], progress: Callable[[int], None]
) -> list[HistoryEntry]:
    """One batch, computed at the program's width: the history of each start, its end last.

    Args:
        program: what is run.
        starts: as many as the width, or fewer.
        progress: called with the steps done since the last call.
    """
    filled = [*starts, *[starts[0]] * (program.width.runs - len(starts))]
    parameters, inputs = _stacked(filled)
    plan, run = program.plan, _run(program.plan.family, program.plan.fused)
    carried = _nothing_carried(plan, parameters, inputs)
    with in_precision(program.dtype):
        inputs = jax.device_put(inputs)
    entries, left, history = [], program.steps, None
    for segment in segments_of(program):
        arguments = (segment.first, segment.until, program.history_every, program.steps)
        with in_precision(program.dtype):
            carried, history = run(parameters, carried, inputs, *map(np.int32, arguments), plan=plan)
        entries.append([np.asarray(leaf)[: len(segment.entries)] for leaf in jax.tree.leaves(history)])
        taken = min(segment.until, program.steps) - segment.first
        left -= taken
        progress(taken)
        if np.asarray(carried.converged).all():
            progress(left)
            break
    whole = [np.concatenate(leaves) for leaves in zip(*entries, strict=True)]
    history = jax.tree.unflatten(jax.tree.structure(history), whole)
    return [jax.tree.map(lambda leaf, start=number: leaf[:, start], history) for number in range(len(starts))]


def _nothing_carried(plan: FitPlan, parameters: AnyParameters, inputs: StartInputs) -> Any:
    """Stands for what a segment before the first has left."""
    leaves, structure = jax.tree.flatten((parameters, inputs))
    with in_precision(parameters.log_component_weights.dtype):
        begun = _begun(plan, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), begun)


@functools.lru_cache(maxsize=1024)
def _begun(plan: FitPlan, structure: Any, shapes: tuple[tuple[tuple[int, ...], np.dtype], ...]) -> Any:
    """Shapes of what a fit begins with; traced once for all calls of a program."""
    parameters, inputs = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    return jax.eval_shape(jax.vmap(functools.partial(initial, plan=plan)), parameters, inputs)


def compile_for(job: FitJob) -> None:
    """Compile a fit's program, by a call of no steps, so that it is there when a search before the fit has ended."""
    program = program_of(job)
    alone = job._replace(restarts=1, begin=job.shape.parameters())
    parameters, inputs = _stacked(_started(alone) * program.width.runs)
    carried = _nothing_carried(program.plan, parameters, inputs)
    numbers = [np.int32(0)] * 2 + [np.int32(1)] * 2
    with in_precision(program.dtype):
        run = _run(program.plan.family, program.plan.fused)
        run(parameters, carried, jax.device_put(inputs), *numbers, plan=program.plan)


def _result(job: FitJob, history: HistoryEntry) -> FitResult:
    """The result of one start, without the entries after convergence and the components that pad its arrays."""
    taken = np.append(np.arange(0, job.steps, job.history_every), job.steps)
    rested = np.flatnonzero(history.converged)
    last = int(rested[0]) if len(rested) else len(taken) - 1
    history = jax.tree.map(lambda leaf: leaf[: last + 1], history)
    own = jax.tree.map(lambda leaf: leaf[:, : job.plan.n_components], history.parameters)
    history = history._replace(parameters=own)
    return FitResult(
        parameters=jax.tree.map(lambda leaf: leaf[-1], own),
        learned={name: float(values[-1]) for name, values in history.learned.items()},
        steps=taken[: last + 1],
        history=history,
        diverged=not all(np.isfinite(leaf[-1]).all() for leaf in (*jax.tree.leaves(own), history.loss)),
        converged=bool(history.converged[-1]),
        n_steps=int(taken[last]),
        gradient_norm=float(history.gradient_norm[-1]),
        degenerate=degenerate_components(job, jax.tree.map(lambda leaf: leaf[-1], own)),
    )


class _Stopped(Exception):  # noqa: N818 - it names an outcome rather than a mistake
    """Another thread failed, or the user interrupted."""


def fit_starts(jobs: Sequence[FitJob], progress: Progress | None = None, workers: int = 1) -> list[list[FitResult]]:
    """Run every start of every fit to its end: the results of the restarts of each.

    Args:
        jobs: of any programs; those that share one are computed together.
        progress: called with (steps done, steps in all) now and then; what it raises ends the fits.
        workers: threads that compute.
    """
    programs = {number: program_of(job) for number, job in enumerate(jobs)}
    calls = [call for program, members in group(programs).items() for call in _calls(program, members)]
    total, done, stop = sum(program.steps for program, _ in calls), 0, threading.Event()
    counting, turns = threading.Lock(), devices.of_calls(workers)
    failures: list[BaseException] = []
    started = functools.lru_cache(maxsize=4 * workers)(lambda number: _started(jobs[number]))

    def count(steps: int) -> None:
        nonlocal done
        with counting:
            if stop.is_set():
                raise _Stopped
            done += steps
            if progress is None:
                return
            try:
                progress(done, total)
            except BaseException as error:
                failures.append(error)
                stop.set()
                raise

    def run(number: int) -> list[tuple[int, int, FitResult]]:
        program, starts = calls[number]
        with devices.on(turns[number % len(turns)]):
            histories = _fit_call(program, [started(job)[restart] for job, restart in starts], count)
        return [
            (job, restart, _result(jobs[job], history))
            for (job, restart), history in zip(starts, histories, strict=True)
        ]

    found: dict[tuple[int, int], FitResult] = {}
    try:
        for results in in_threads(run, len(calls), workers, stop):
            found |= {(job, restart): result for job, restart, result in results}
    except _Stopped:  # of the thread whose turn it is; another says why
        raise failures[0] from None
    return [[found[number, restart] for restart in range(job.restarts)] for number, job in enumerate(jobs)]


def _calls(program: Program, jobs: Sequence[int]) -> Iterator[tuple[Program, list[tuple[int, int]]]]:
    """The calls that compute jobs of one program: which starts, by job and restart, go into each."""
    for members in batches(program, jobs):
        starts = [(job, restart) for job in members for restart in range(program.restarts)]
        for first in range(0, len(starts), program.width.runs):
            yield program, starts[first : first + program.width.runs]


@contextlib.contextmanager
def threads(workers: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads whose work is waited for at the end, but not after Ctrl-C: it may take minutes, and nobody wants it.

    Args:
        workers: how many.
        name: what they do.
    """
    executor, waits = ThreadPoolExecutor(workers, thread_name_prefix=name), True
    try:
        yield executor
    except KeyboardInterrupt:
        waits = False
        raise
    finally:
        executor.shutdown(wait=waits, cancel_futures=True)


def in_threads(
    run: Callable[[int], Any], n_calls: int, workers: int, stop: threading.Event | None = None
) -> Iterator[Any]:
    """Results of `run(0)`, `run(1)`, …, in order; in this thread where one is enough.

    Args:
        run: what is done.
        n_calls: how often.
        workers: threads.
        stop: set where one of them failed, for the others to see.
    """
    if min(workers, n_calls) <= 1:
        yield from map(run, range(n_calls))
        return
    with threads(workers, "start") as executor:
        try:
            yield from executor.map(run, range(n_calls))
        finally:
            if stop is not None:
                stop.set()
