"""Fits of large data: searches and starts see fewer data, and what they find is improved on all data.

Of one column they see groups of neighbours, each at its mean with the number of its data: many more groups than a
search sees, so that an optimum moves by a small part of a standard error. Of several columns they see a random part of
the rows, whose optima lie some standard errors of that part away: all that may still be the best are improved.

All data are seen by accelerated EM alone, driven from the host: a pass evaluates the log-likelihood and its gradient
block by block, in the precision of the fit, and adds blocks in float64. So no copy of the data is made and large sums
keep their digits. Blocks have one length whatever the machine, and are added in their order, so that results do not
depend on the number of threads, of devices, to which blocks go in turn, and of processes (`peers.py`). On accelerators
a call computes several blocks, each by itself, and data stay on their devices from one pass to the next where they
leave half of the memory free. The price: the training that is shown saw fewer data until its last passes.

L-BFGS in place of EM did worse: SciPy's took 500 passes and had not converged where EM takes 12 (300,000 draws of four
components in three columns), since a step of EM is preconditioned by what each component knows.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gmm_pipeline.inference import devices, em, lowered, peers, tracing
from gmm_pipeline.inference.calls import Progress, in_threads
from gmm_pipeline.inference.families import Family
from gmm_pipeline.inference.jobs import AT_OPTIMUM, FitJob, FitResult, HistoryEntry, SearchPlan, split
from gmm_pipeline.inference.padding import padded_components, with_components
from gmm_pipeline.inference.parameterization import Unconstrained, learned_by, noise_of
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.restarts import degenerate_components
from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.inference.search import NEAR, Optimum, SearchResult
from gmm_pipeline.inference.search_passes import moved
from gmm_pipeline.model.large_data import are_ones
from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.multivariate import AnyParameters
from gmm_pipeline.model.prior_traits import traits
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM

BLOCK = 2**17
"""Data of one call: long enough that its overhead does not matter, short enough for the sums of float32."""
FEW_BLOCKS, SHORTER = 8, 2**15
"""Blocks of data that are fewer are shorter, so that several cores have some."""
AT_ONCE = 16
"""Blocks of one call on an accelerator, where a call of one block would mostly be overhead; not tuned on any."""
FINER, FINER_FROM = 2**17, 2**21
"""Groups or rows on which a fit of very many data is improved before it sees all, and from how many data on."""
SHARE_OF_DATA = 0.5
"""Of the free memory of an accelerator, which data that stay there may take."""
PATIENCE = 30
"""Passes that find nothing better, after which there are no more."""
MOST_PASSES, FEW_PASSES = 500, 10
"""Passes over all data: from an optimum of condensed data some tens are enough; and of a fit that cannot be chosen."""

Part = tuple[np.ndarray, np.ndarray]
"""Data and their sample weights."""


def is_condensed(job: FitJob) -> bool:
    """Whether searches and starts of a fit see fewer than all data. Hyperparameters are learned from all.

    Args:
        job: a fit.
    """
    return job.is_large and not learned_by(job.plan.log_prior)


def condensed(jobs: Sequence[FitJob]) -> list[FitJob]:
    """The fits as searches and starts see them: those of large data with fewer, the others unchanged.

    Args:
        jobs: any fits.
    """
    seen: dict[tuple[int, int], tuple[Part, Part | None]] = {}
    whole: dict[int, np.ndarray] = {}

    def of(job: FitJob) -> FitJob:
        if job.search is None or not is_condensed(job):
            if isinstance(job.data, np.ndarray):
                return job
            if id(job.data) not in whole:  # what is not condensed is seen as it is, in memory
                whole[id(job.data)] = np.asarray(job.data)
            return job._replace(data=whole[id(job.data)])
        key = id(job.data), id(job.sample_weights)
        if key not in seen:  # fits of the same data share calls
            seen[key] = _parts(job, job.search)
        (data, sample_weights), finer = seen[key]
        return job._replace(data=data, sample_weights=sample_weights, finer=finer)

    return [of(job) for job in jobs]


def _parts(job: FitJob, search: SearchPlan) -> tuple[Part, Part | None]:
    """What searches and starts see of a fit's data, and of very many data a larger part."""

    def condensed_to(job: FitJob, most: int) -> Part:
        return job.plan.family.condensed(job, search._replace(points=most, rows=most))

    if len(job.data) < FINER_FROM:
        return condensed_to(job, search.condensed_to), None
    finer = condensed_to(job, FINER)
    few = job._replace(data=finer[0], sample_weights=finer[1])
    return condensed_to(few, search.condensed_to), finer


def improved_on_all(
    job: FitJob,
    part: FitJob,
    result: FitResult,
    searched: SearchResult | None,
    workers: int,
    progress: Progress | None = None,
    least: float = -np.inf,
) -> FitResult:
    """The answer of a fit of condensed data, or a better one of its search, improved on all data.

    Args:
        job: the fit, with all data.
        part: the same with condensed data.
        result: of the part.
        searched: optima of the part; None if there was no search.
        workers: threads that compute.
        progress: called with (rows seen, rows in all) in each pass; what it raises ends the fit.
        least: log posterior that matters; what is far below after a few passes stays there.
    """
    n_condensed = len(part.data)
    if result.diverged:
        return result._replace(n_condensed=n_condensed)
    everything, family = _Everything.of(job, workers, progress), job.plan.family
    begin = result.parameters

    # A part of the rows lets the maximum of all data end about half of this below what it reaches, by its own errors.
    within = job.n_parameters * (len(job.data) / n_condensed if family.n_columns else 1.0)

    def climbed(parameters: AnyParameters) -> _Climbed:
        if part.finer is not None:
            data, sample_weights = part.finer
            nearly = _Everything.of(job._replace(data=data, sample_weights=sample_weights), workers)
            parameters = nearly.climb(parameters).parameters
        return everything.climb(parameters, least - within)

    others = [] if searched is None else [one for one in searched.optima if _differs(one, begin, family)]
    sound = not result.degenerate
    others = [one for one in others if one.is_sound == sound]
    best, is_trained = climbed(begin), True
    others = others if best.log_posterior > least - within else []
    values = [everything.height(one.parameters) for one in others]
    for number, one in enumerate(others):
        if values[number] > best.log_posterior - within:
            rival = climbed(one.parameters)
            values[number] = rival.log_posterior
            if rival.log_posterior > best.log_posterior + SAME_OPTIMUM and not degenerate_components(
                part, rival.parameters
            ):
                values[number], best, is_trained = best.log_posterior, rival, False
    entries, seen = best.entries, result.searched
    taken, history = np.arange(len(entries.loss)), entries
    if is_trained:
        taken = np.append(result.steps, result.n_steps + 1 + taken)
        history = jax.tree.map(lambda one, more: np.concatenate([one, more]), result.history, entries)
    if seen is not None:
        seen = seen if is_trained else seen._replace(began=AT_OPTIMUM, n_agreeing=min(1, seen.n_agreeing))
        below = sorted((value for value in values if value < best.log_posterior - SAME_OPTIMUM), reverse=True)
        narrow = seen.narrow and seen.narrow._replace(log_posterior=best.log_posterior + seen.left_out)
        seen = seen._replace(log_posteriors=(best.log_posterior, *below), narrow=narrow)
    return result._replace(
        parameters=best.parameters,
        steps=taken,
        history=history,
        converged=bool(entries.converged[-1]),
        n_steps=int(taken[-1]),
        gradient_norm=float(entries.gradient_norm[-1]),
        degenerate=degenerate_components(part, best.parameters),
        searched=seen,
        n_condensed=n_condensed,
    )


def _differs(optimum: Optimum, parameters: AnyParameters, family: Family) -> bool:
    one, other = (
        family.in_order(jax.tree.map(lambda leaf: np.asarray(leaf)[None, None], mixture))
        for mixture in (optimum.parameters, parameters)
    )
    return not family.distances(one, other).item() < NEAR


class _Climbed(NamedTuple):
    """Where passes over all data ended."""

    parameters: AnyParameters
    log_posterior: float
    """In nats."""
    entries: HistoryEntry
    """The best point after each pass."""


class _Everything(NamedTuple):
    """All data of a fit, and what passes over them need."""

    job: FitJob
    n_components: int
    """Including padding: fits that are compared share programs, which would take longer to compile than passes."""
    block: int
    """Data of a block."""
    constraints: Any
    """In the precision of the fit."""
    workers: int
    progress: Progress | None
    ones: np.ndarray
    """Sample weights of a call whose data count once each."""
    at_once: int
    """Blocks of one call."""
    turns: list[devices.Device | None]
    """The devices that calls go to in turn."""
    placed: dict[int, Part] | None
    """What is on a device already, by call; None where data are sent in each pass."""

    @classmethod
    def of(cls, job: FitJob, workers: int, progress: Progress | None = None) -> "_Everything":
        """Prepare the passes over the data of a fit."""
        family, n_components = job.plan.family, job.plan.n_components
        is_short = len(job.data) < FEW_BLOCKS * BLOCK
        block = min(SHORTER, BLOCK) if is_short else BLOCK
        if is_short and job.padded_to and tracing.leaves_out_components(job.plan.log_prior):
            n_components = padded_components(max(n_components, job.padded_to))
        active = np.arange(n_components) < job.plan.n_components
        constraints = family.constraints_of(job, active, family.spread_of(job))
        at_once, turns = AT_ONCE if devices.are_accelerators() else 1, devices.of_calls(workers)
        of_datum = job.data.dtype.itemsize * (1 + math.prod(job.data.shape[1:]))
        of_device = len(job.data) / (peers.count() * len(turns)) + at_once * block
        placed = {} if of_datum * of_device < SHARE_OF_DATA * devices.room() else None
        ones = np.ones(at_once * block, job.data.dtype)
        return cls(job, n_components, block, constraints, workers, progress, ones, at_once, turns, placed)

    def evaluated(self, mixture: AnyParameters) -> tuple[float, AnyParameters]:
        """The log-likelihood of a mixture and its gradient, in float64."""
        job = self.job
        own = jax.tree.map(lambda leaf: np.asarray(leaf, job.data.dtype), mixture)
        run = _evaluation(job.plan.family, job.plan.fused, self.at_once > 1)

        def of_call(number: int) -> Float[np.ndarray, "b s"]:
            with devices.on(self.turns[number % len(self.turns)]), tracing.in_precision(job.data.dtype):
                found = jax.tree.leaves(run(own, *self._seen_by(number), self.constraints, fused=job.plan.fused))
            return np.concatenate([np.asarray(leaf, np.float64).reshape(self.at_once, -1) for leaf in found], axis=1)

        leaves, structure = jax.tree.flatten(own)
        n_calls = -(-len(job.data) // (self.at_once * self.block))
        mine = peers.own_part(n_calls)
        calls = self._reported(in_threads(lambda call: of_call(mine[call]), len(mine), self.workers))
        everyones = peers.of_all(calls, n_calls, (self.at_once, 1 + sum(leaf.size for leaf in leaves)))
        total = functools.reduce(np.add, itertools.chain.from_iterable(everyones))
        gradient = np.split(total[1:], np.cumsum([leaf.size for leaf in leaves])[:-1])
        shaped = [of_leaf.reshape(leaf.shape) for of_leaf, leaf in zip(gradient, leaves, strict=True)]
        return float(total[0]), jax.tree.unflatten(structure, shaped)

    def _seen_by(self, number: int) -> Part:
        """Data and sample weights of a call, on the device that computes it."""
        if self.placed is not None and number in self.placed:
            return self.placed[number]
        job, length = self.job, self.at_once * self.block
        whole = are_ones(job.sample_weights) and (number + 1) * length <= len(job.data)
        sample_weights = self.ones if whole else _block(job.sample_weights, number, length, fill=False)
        data = _block(job.data, number, length)
        if self.at_once > 1:
            data = data.reshape(self.at_once, self.block, *data.shape[1:])
            sample_weights = sample_weights.reshape(self.at_once, self.block)
        part = data, sample_weights
        if self.placed is not None:
            part = self.placed[number] = jax.device_put(part)
        return part

    def _reported(self, calls: Iterator[Any]) -> Iterator[Any]:
        n = len(self.job.data)
        for number, call in enumerate(calls, 1):
            if self.progress is not None:
                self.progress(min(number * peers.count() * self.at_once * self.block, n), n)
            yield call

    def height(self, mixture: AnyParameters) -> float:
        """The log posterior of a mixture, in nats."""
        return -float(self._climb(mixture, most=1)[-1][1])

    def climb(self, mixture: AnyParameters, least: float = -np.inf) -> _Climbed:
        """Accelerated EM from a mixture until it has converged, or for a few passes if that ends below the least."""
        best = self._climb(mixture, most=MOST_PASSES, least=least)
        job, dtype = self.job, self.job.data.dtype
        divisor = float(np.sum(job.sample_weights, dtype=np.float64)) if job.plan.average_loss else 1.0
        norms = np.array([norm for _, _, norm in best])
        mixtures = jax.tree.map(lambda *leaves: np.stack(leaves).astype(dtype), *(one for one, _, _ in best))
        losses = np.array([value for _, value, _ in best]) / divisor
        entries = HistoryEntry(mixtures, {}, losses.astype(dtype), norms, self._rests(norms))
        return _Climbed(jax.tree.map(lambda leaf: leaf[-1], mixtures), -float(best[-1][1]), entries)

    def _rests(self, norm: Any) -> Any:
        # EM's next step would gain about half the square.
        return (norm < self.job.gradient_tolerance) & (0.5 * norm**2 < self.job.tolerance)

    def _climb(
        self, mixture: AnyParameters, *, most: int, least: float = -np.inf
    ) -> list[tuple[AnyParameters, Any, Any]]:
        """The best mixture after each pass, minus its log posterior, and the length of its gradient."""
        job, family = self.job, self.job.plan.family
        plan, floats = split(job)
        n_blocks = -(-len(job.data) // self.block)
        numbers = _Numbers(
            jax.tree.map(_exact, self.constraints),
            {name: np.asarray(value, np.float64) for name, value in floats["prior"].items()},
            np.asarray(np.sum(job.sample_weights, dtype=np.float64)),
            # Each block is rounded by itself.
            np.asarray(4.0 * np.finfo(job.data.dtype).eps / np.sqrt(n_blocks), np.float64),
        )
        begin, step = _programs(family)
        found = []
        with tracing.in_precision(np.float64):
            padded = jax.tree.map(lambda leaf: with_components(_exact(leaf), self.n_components, 0), mixture)
            carried, at = begin(padded, numbers)
        for _ in range(most):
            value, gradient = self.evaluated(at)
            likelihood = np.asarray(value), gradient
            with tracing.in_precision(np.float64):
                carried, at, best = step(carried, likelihood, numbers, log_prior=plan.log_prior)
            reached, *rest = jax.tree.map(np.asarray, best)
            found.append((jax.tree.map(lambda leaf: leaf[: job.plan.n_components], reached), *rest))
            # Rounding may keep a gradient from getting shorter.
            stuck = len(found) > PATIENCE and found[-1][1:] == found[-1 - PATIENCE][1:]
            hopeless = len(found) >= FEW_PASSES and -found[-1][1] < least
            if stuck or hopeless or self._rests(found[-1][2]):
                break
        return found


def _exact(leaf: Any) -> np.ndarray:
    leaf = np.asarray(leaf)
    return leaf.astype(np.float64) if leaf.dtype.kind == "f" else leaf


def _block(values: AnyData, number: int, length: int, *, fill: bool = True) -> np.ndarray:
    """A block of data, the last one filled up with its last datum; of sample weights, with zeros."""
    some = np.asarray(values[number * length : (number + 1) * length])
    more = ((0, length - len(some)), *[(0, 0)] * (values.ndim - 1))
    if len(some) < length:
        some = np.pad(some, more, mode="edge") if fill else np.pad(some, more)
    return np.ascontiguousarray(some)


def _of_block(
    mixture: AnyParameters,
    data: Float[AnyArray, "n ..."],
    sample_weights: Float[AnyArray, " n"],
    constraints: Any,
    *,
    family: Family,
    fused: bool,
) -> tuple[Float[Array, ""], AnyParameters]:
    laid_out = family.lay_out(data, sample_weights, fused=fused)
    form = partial(family.log_likelihood_of, active=constraints.active, fused=fused, **noise_of(constraints))
    return jax.value_and_grad(form)(mixture, laid_out)


def _of_blocks(
    mixture: AnyParameters,
    data: Float[AnyArray, "b n ..."],
    sample_weights: Float[AnyArray, "b n"],
    constraints: Any,
    *,
    family: Family,
    fused: bool,
) -> tuple[Float[Array, " b"], AnyParameters]:
    of_block = partial(_of_block, family=family, fused=fused)
    return jax.vmap(of_block, in_axes=(None, 0, 0, None))(mixture, data, sample_weights, constraints)


@functools.cache
def _evaluation(family: Family, fused: bool, several: bool) -> Callable[..., Any]:
    evaluation = partial(_of_blocks if several else _of_block, family=family)
    return lowered.program(evaluation, static="fused", compiler_options=family.compiler_options(fused))


class _Numbers(NamedTuple):
    """What all passes of a fit share; arrays in float64."""

    constraints: Any
    floats: dict[str, AnyArray]
    """Hyperparameters of the prior."""
    total: Float[AnyArray, ""]
    rounding: Float[AnyArray, ""]


def _begin(mixture: AnyParameters, numbers: _Numbers, *, family: Family) -> tuple[Any, AnyParameters]:
    free = family.unconstrained_of(mixture, {}, numbers.constraints, sticks=False)
    worst = jnp.full((), jnp.inf, numbers.total.dtype)
    at = family.mixture_of(free, constraints=numbers.constraints, sticks=False)
    return (free, em.squarem().init(free), (free.parameters, worst, worst)), at


def _step(
    carried: Any, likelihood: tuple[AnyArray, AnyParameters], numbers: _Numbers, *, log_prior: Plugin, family: Family
) -> tuple[Any, AnyParameters, tuple[AnyParameters, AnyArray, AnyArray]]:
    free, state, best = carried
    constraints, total = numbers.constraints, numbers.total
    given = log_prior.given(numbers.floats)
    pseudo_count = traits(log_prior.function).pseudo_count
    pseudo = 0.0 if pseudo_count is None else pseudo_count(**dict(given.hyperparameters))
    mixture_of = partial(family.mixture_of, constraints=constraints, sticks=False)

    def prior(mixture: AnyParameters) -> Float[Array, ""]:
        return jnp.asarray(tracing.prior_density(given, mixture, constraints.active, constraints.setting), total.dtype)

    mixture, pulled_back = jax.vjp(mixture_of, free)
    height, of_prior = jax.value_and_grad(prior)(mixture)
    by_mixture = jax.tree.map(lambda one, other: -(one + other), likelihood[1], of_prior)
    (gradient,) = pulled_back(by_mixture)
    added = tracing.added_by(given, constraints.active, constraints.setting)
    count = jnp.asarray(pseudo, total.dtype)
    problem = em.Problem(total, 1.0, count, constraints, family.em_step, by_mixture, added)
    value = -(likelihood[0] + height)
    carried = moved(free, state, best, value, gradient, mixture, problem, family=family, rounding=numbers.rounding)
    parameters, value, norm = carried[2]
    return carried, mixture_of(carried[0]), (mixture_of(Unconstrained(parameters, {})), value, norm)


@functools.cache
def _programs(family: Family) -> tuple[Callable[..., Any], Callable[..., Any]]:
    begin = jax.jit(partial(_begin, family=family))
    return begin, lowered.program(partial(_step, family=family), static="log_prior", compiler_options=None)
