"""The calls that improve mixtures, shared by several searches.

A search is a generator: it yields the mixtures that it wants improved (`Request`) and is sent the improved ones. So
searches on one data set advance in lockstep, and their requests fill a few calls of one compiled program, whatever
their numbers of components and kinds of scales. Which requests share a call depends on the requests alone, never on
timing.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from gmm_pipeline.inference import search_passes, tracing
from gmm_pipeline.inference.calls import in_threads
from gmm_pipeline.inference.jobs import FitJob, split
from gmm_pipeline.inference.narrow import by_chance
from gmm_pipeline.inference.padding import padded, padded_components, padded_length, with_components
from gmm_pipeline.inference.parameterization import over_sticks
from gmm_pipeline.model.multivariate import AnyParameters, components_taken

Array = np.ndarray
UNSOUND = 2.0 * search_passes.HIGHEST
"""Nats subtracted from a mixture with a degenerate component, so that it ranks below all sound ones."""
FEW, FEW_ROWS, NARROW = 128, 512, 4
"""Observations of one column and of several, and mixtures at once, up to which components are padded to the largest
number compared: another program would take longer to compile or load."""
MOST_WORK_PADDED = 2e6
"""Data × components × cost of a pass up to which the components of a fit by itself are padded."""


class Problem(NamedTuple):
    """A posterior to be maximised."""

    data: Array
    sample_weights: Array
    job: FitJob
    spread: Any
    """Of the data; see `Family.spread_of`."""
    width: int
    """Mixtures that a call improves at once; a smaller request is padded."""
    neighbours: Callable[[], Any] = lambda: None
    """Places where the data lie closer together than a mixture has them (`Family.neighbours`), looked for once."""

    @property
    def padded_to(self) -> int:
        """Number of components including padding."""
        n_components = self.job.plan.n_components
        few = FEW_ROWS if self.job.plan.family.n_columns else FEW
        is_small = len(self.data) <= few or self.width <= NARROW
        padded_to = max(n_components, self.job.padded_to) if is_small else n_components
        # A program more, for this number alone, takes seconds to compile; so many passes over so much take minutes.
        work = len(self.data) * n_components * self.job.plan.family.cost
        if work > MOST_WORK_PADDED and not self.job.padded_to:
            return n_components
        return padded_components(padded_to) if tracing.leaves_out_components(self.job.plan.log_prior) else n_components


class Request(NamedTuple):
    """Mixtures to be improved."""

    problem: Problem
    mixtures: AnyParameters
    """[..., K]."""
    n_passes: int


class Improved(NamedTuple):
    """Mixtures after some passes: the best evaluated version of each."""

    mixtures: AnyParameters
    """[..., K]."""
    values: Float[Array, "*S"]
    """Their log posteriors in nats, lowered by `UNSOUND` where a component is degenerate."""
    gradient_norms: Float[Array, "*S"]
    """In standard errors."""
    by_chance: Float[Array, "*S"]
    """Nats that the choice of the data of degenerate components may gain; ∞ without any, or if one has too few data."""


Search = Generator[Request, Improved, Any]


def in_step(searches: Sequence[Search], workers: int = 1, heed: Callable[[], None] | None = None) -> list[Any]:
    """Run searches in lockstep, with as few calls per step as possible; returns their results.

    Args:
        searches: any; those that see the same data share calls.
        workers: threads that compute.
        heed: called between steps; what it raises ends the searches.
    """
    results: list[Any] = [None] * len(searches)
    waiting: dict[int, Request] = {}

    def go_on(number: int, answer: Improved | None) -> None:
        try:
            waiting[number] = next(searches[number]) if answer is None else searches[number].send(answer)
        except StopIteration as ended:
            results[number] = ended.value

    for number in range(len(searches)):
        go_on(number, None)
    while waiting:
        if heed is not None:
            heed()
        numbers, requests = list(waiting), list(waiting.values())
        waiting.clear()
        for number, answer in zip(numbers, _improved(requests, workers), strict=True):
            go_on(number, answer)
    return results


class _Shared(NamedTuple):
    """What requests must have in common to share a call; hashable."""

    data: int
    sample_weights: int
    """Data and sample weights, by identity."""
    padded_to: int
    width: int
    family: Any
    log_prior: Any
    fused: bool
    floats: tuple[tuple[str, float], ...]
    n_passes: int


def _shared_by(request: Request) -> _Shared:
    problem = request.problem
    plan, floats = split(problem.job)
    arrays = id(problem.data), id(problem.sample_weights)
    prior = tuple(sorted(floats["prior"].items()))
    return _Shared(
        *arrays, problem.padded_to, problem.width, plan.family, plan.log_prior, plan.fused, prior, request.n_passes
    )


def _improved(requests: Sequence[Request], workers: int) -> list[Improved]:
    groups: dict[_Shared, list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault(_shared_by(request), []).append(number)
    rows = {number: _rows(request) for number, request in enumerate(requests)}
    calls = [
        (shared, jax.tree.map(lambda leaf, first=first, width=shared.width: leaf[first : first + width], stacked))
        for shared, members in groups.items()
        for stacked in [jax.tree.map(lambda *leaves: np.concatenate(leaves), *(rows[number] for number in members))]
        for first in range(0, len(stacked[0].log_component_weights), shared.width)
    ]
    first_of = {shared: requests[members[0]].problem for shared, members in groups.items()}
    done = list(in_threads(lambda call: _call(first_of[calls[call][0]], *calls[call]), len(calls), workers))
    found: dict[int, Improved] = {}
    for shared, members in groups.items():
        of_group = [one for (kind, _), one in zip(calls, done, strict=True) if kind == shared]
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *of_group)
        first = 0
        for number in members:
            n = len(rows[number][0].log_component_weights)
            part = jax.tree.map(lambda leaf, first=first, n=n: leaf[first : first + n], whole)
            found[number] = _judged(requests[number], part)
            first += n
    return [found[number] for number in range(len(requests))]


def _rows(request: Request) -> tuple[AnyParameters, Any]:
    """Mixtures as the program takes them, one per row, with the constraints of each."""
    problem, mixtures = request.problem, request.mixtures
    n_components, dtype = problem.job.plan.n_components, problem.data.dtype.type
    if over_sticks(problem.job.plan.log_prior):
        # A prior over sticks expects the heaviest components first.
        order = np.argsort(-mixtures.log_component_weights, axis=-1, kind="stable")
        mixtures = components_taken(mixtures, order)
    leading = mixtures.log_component_weights.ndim - 1
    padded_to = problem.padded_to

    def row(leaf: Array) -> Array:
        flat = np.asarray(leaf, dtype).reshape(-1, *leaf.shape[leading:])
        return with_components(flat, padded_to, 1)

    rows = jax.tree.map(row, mixtures)
    n = len(rows.log_component_weights)
    active = np.arange(padded_to) < n_components
    one = problem.job.plan.family.constraints_of(problem.job, active, problem.spread)
    return rows, jax.tree.map(lambda leaf: np.broadcast_to(leaf, (n, *np.shape(leaf))), one)


def _call(problem: Problem, shared: _Shared, rows: tuple[AnyParameters, Any]) -> search_passes.Improved:
    """One call of the program, filled up with copies of its last row."""
    n = len(rows[0].log_component_weights)
    mixtures, constraints = jax.tree.map(
        lambda leaf: np.pad(leaf, ((0, shared.width - n), *[(0, 0)] * (leaf.ndim - 1)), "edge"), rows
    )
    dtype = problem.data.dtype.type
    arrays = search_passes.Problem(
        *padded(problem.data, problem.sample_weights, padded_length(len(problem.data))),
        constraints,
        {name: dtype(value) for name, value in shared.floats},
    )
    program = search_passes.compiled(shared.family, shared.fused)
    with tracing.in_precision(problem.data.dtype):
        found = program(mixtures, arrays, np.int32(shared.n_passes), log_prior=shared.log_prior)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:n], found)


def _judged(request: Request, found: search_passes.Improved) -> Improved:
    job, shape = request.problem.job, request.mixtures.log_component_weights.shape
    own = jax.tree.map(lambda leaf: leaf[:, : shape[-1]].reshape(*shape, *leaf.shape[2:]), found.parameters)
    values, norms = (np.asarray(leaf).reshape(shape[:-1]) for leaf in (found.log_posterior, found.gradient_norm))
    values = np.where(np.isfinite(values), values, -np.inf).astype(np.float64)
    degenerate = job.plan.family.degenerate(job, own, request.problem.spread)
    sound = ~degenerate.any(axis=-1)
    return Improved(own, np.where(sound, values, values - UNSOUND), norms, by_chance(job, own, degenerate))
