"""The search for the best optimum: independent populations of mixtures, improved, varied and improved again.

Independent restarts do not scale: of thousands, none may lie in the basin of the best optimum. So a search keeps its
best distinct sound mixtures, varies them (`search_moves.py`), and improves all by some passes of accelerated EM
(`search_passes.py`), round by round. A round is one call of one compiled program for all searches of a fit
(`search_calls.py`); moves are made on the host. Fits that are compared are searched in lockstep and share the calls,
with one search each.

Several searches run independently: if they end at the same optimum, it is likely the best one. They stop when all agree
and none has improved for several times the rounds that it took to get there; of several columns, where all may miss the
same narrow component at first, after some rounds for each component at the earliest.

A search sees condensed data: groups of neighbours, each at its mean with the number of its data, or a part of the rows.
The best mixtures of all searches are improved on all data until they converge. The price: an optimum whose components
are narrower than the groups can be missed. Of several columns, a component that has too few rows in the part is found
by comparing the best mixture with how close together all rows lie (`dense_places.py`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.inference.families import Family
from gmm_pipeline.inference.jobs import FitJob, Narrow, SearchPlan
from gmm_pipeline.inference.narrow import GAIN, by_chance
from gmm_pipeline.inference.search_calls import FEW, NARROW, UNSOUND, Improved, Problem, Request, Search, in_step
from gmm_pipeline.inference.search_moves import taken
from gmm_pipeline.model import inits
from gmm_pipeline.model.incomplete import distinct_rows
from gmm_pipeline.model.multivariate import AnyParameters
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM

Array = np.ndarray
NEAR = 0.05
"""Distance below which two mixtures are taken to lead to the same optimum."""
MOST_CALLS, FEW_CALLS = 6, 3
"""Most calls until an optimum converges, each of twice the passes of the one before; and in a short search."""
HOPED_FOR, LOST, LOST_BY = 2, 1.0, 10.0
"""After so many calls, what is so many nats below the best, and so many times what it has just gained, stays there."""
OF_COLUMNS_AT_ONCE = 16
"""Mixtures of several columns that a call improves: each takes long, so that filling up a wider call would take longer
than several calls; and one program does for searches of any width."""
MOST_INSERTED, FEW_FINALISTS = 4, 2
"""Components inserted one after another where data lie closer together, or as many as there are, and mixtures that are
improved for each."""
AT_REST = 1e-2 * SAME_OPTIMUM
"""Nats; passes that gain less count as no progress."""


class Optimum(NamedTuple):
    """A local maximum of the likelihood or the posterior, in the units of the fit."""

    parameters: AnyParameters
    log_posterior: float
    """In nats, on all data, in the precision of the fit."""
    gradient_norm: float
    """In standard errors."""
    is_sound: bool
    """Whether no component is degenerate."""


class SearchResult(NamedTuple):
    """The result of the searches of a fit."""

    optima: tuple[Optimum, ...]
    """Distinct ones, the best first."""
    n_searches: int
    n_agreeing: int
    """Searches that reached the best optimum of all."""
    n_rounds: int
    mixtures: AnyParameters
    """[R, k, K], the best distinct ones that each search kept, on condensed data."""
    values: Float[Array, "R k"]
    """Their log posteriors."""
    narrow: Narrow | None = None
    """The best mixture seen that is left out for components at the floor of the scales with many data."""

    @property
    def best(self) -> Optimum:
        """The best sound optimum, or the best of all where none is sound."""
        return self.optima[0]

    @property
    def gap(self) -> float | None:
        """Nats from the best optimum to the next; None where no other was seen."""
        others = [one for one in self.optima[1:] if one.is_sound == self.best.is_sound]
        return self.best.log_posterior - others[0].log_posterior if others else None


def best_distinct(
    values: Float[Array, "R n"], mixtures: AnyParameters, at_most: int, family: Family
) -> tuple[Int[Array, "R k"], Int[Array, " R"]]:
    """The best mixtures of each search that are not near a better one: their indices, the best first, and their number.

    Args:
        values: their log posteriors.
        mixtures: [R, n, K], components in order.
        at_most: k; if there are fewer, the best is repeated.
        family: of the components.
    """
    left, rows = values.copy(), np.arange(len(values))
    chosen, number = np.zeros((len(values), at_most), int), np.zeros(len(values), int)
    for slot in range(at_most):
        best = left.argmax(axis=1)
        is_one = np.isfinite(left[rows, best])
        chosen[:, slot] = np.where(is_one, best, chosen[:, 0])
        number += is_one
        near = ~(family.distances(taken(mixtures, best[:, None]), mixtures) >= NEAR)  # also where the distance is NaN
        left[near] = -np.inf
        left[rows, best] = -np.inf
    return chosen, np.maximum(number, 1)


def search(
    jobs: Sequence[FitJob], plan: SearchPlan, workers: int = 1, heed: Callable[[], None] | None = None
) -> list[SearchResult]:
    """Search for the best optimum of a fit, or of several that are compared.

    Args:
        jobs: fits of the same data and key. `restarts` is the number of independent searches; where there are as many
            fits, each has one.
        plan: how thorough the search is.
        workers: threads that compute.
        heed: called between rounds; what it raises ends the search.
    """
    n_searches = jobs[0].restarts if len(jobs) < jobs[0].restarts else 1
    searches = [_searching(*problem, n_searches) for problem in _problems(jobs, plan)]
    return in_step(searches, workers, heed)


def seeded(
    jobs: Sequence[FitJob],
    plan: SearchPlan,
    found: Sequence[SearchResult],
    seeds: Sequence[Sequence[AnyParameters]],
    workers: int = 1,
) -> list[SearchResult]:
    """Improve the search results of fits by mixtures from elsewhere, where these lead to a better optimum.

    Seeds do not count as searches: if one leads to a better optimum, no search agrees on it.

    Args:
        jobs: fits of the same data and key.
        plan: how thorough their search was.
        found: the result of each fit's search.
        seeds: for each fit, mixtures with its number of components, possibly none.
        workers: threads that compute.
    """
    problems = _problems(jobs, plan)
    with_seeds = [number for number, some in enumerate(seeds) if some]
    better = in_step([_seeded(*problems[one], found[one], seeds[one]) for one in with_seeds], workers)
    ends = dict(zip(with_seeds, better, strict=True))
    return [ends.get(number, one) for number, one in enumerate(found)]


def derived(
    jobs: Sequence[FitJob], plan: SearchPlan, seeds: Sequence[Sequence[AnyParameters]], workers: int = 1
) -> list[SearchResult]:
    """Results without searches: the best optima that mixtures from elsewhere lead to.

    Args:
        jobs: fits of the same data and key.
        plan: how thoroughly mixtures are improved.
        seeds: for each fit, mixtures with its number of components.
        workers: threads that compute.
    """
    problems = _problems(jobs, plan)
    return in_step([_deriving(*one, some) for one, some in zip(problems, seeds, strict=True)], workers)


def finished(
    jobs: Sequence[FitJob], mixtures: Sequence[AnyParameters], workers: int = 1
) -> list[tuple[Optimum, int] | None]:
    """Where passes of accelerated EM lead mixtures that are near an optimum, and how many; None where they do not end.

    Args:
        jobs: fits with a search.
        mixtures: one of each.
        workers: threads that compute.
    """
    plans = [(job, plan) for job in jobs if (plan := job.search)]
    problems = [_problems([job], plan)[0] for job, plan in plans]
    return in_step([_finishing(*one[1:], own) for one, own in zip(problems, mixtures, strict=True)], workers)


def _finishing(whole: Problem, plan: SearchPlan, mixture: AnyParameters) -> Search:
    some, n_passes = jax.tree.map(lambda leaf: np.asarray(leaf)[None], mixture), 0
    for call in range(MOST_CALLS):
        some, values, norms, _ = yield Request(whole, some, plan.passes * 2**call)
        n_passes += plan.passes * 2**call
        if norms[0] < whole.job.gradient_tolerance and values[0] > -0.5 * UNSOUND:
            own = jax.tree.map(lambda leaf: leaf[0], some)
            return Optimum(own, float(values[0]), float(norms[0]), is_sound=True), n_passes
    return None


def _deriving(small: Problem, whole: Problem, plan: SearchPlan, seeds: Sequence[AnyParameters]) -> Search:
    family = small.job.plan.family
    mixtures = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves])[None], *seeds)
    mixtures, values, *_ = yield Request(small, mixtures, plan.passes)
    mixtures = family.in_order(mixtures)
    chosen, number = best_distinct(values, mixtures, plan.finalists, family)
    mixtures, values = taken(mixtures, chosen), np.take_along_axis(values, chosen, axis=1)
    finalists = jax.tree.map(lambda leaf: leaf[0, : number[0]], mixtures)
    optima = _distinct((yield from _polished(whole, finalists, plan)), family)
    return SearchResult(tuple(optima), 0, 0, 1, mixtures, values)


def _searching(small: Problem, whole: Problem, plan: SearchPlan, n_searches: int) -> Search:
    mixtures, values, n_rounds, seen = yield from _evolved(small, plan, n_searches)
    # A mixture that several searches have is improved only once.
    family = small.job.plan.family
    everything = jax.tree.map(lambda leaf: leaf.reshape(1, -1, *leaf.shape[2:]), mixtures)
    order, number = best_distinct(values.reshape(1, -1), everything, plan.finalists, family)
    finalists = jax.tree.map(lambda leaf: leaf[0], taken(everything, order[:, : number[0]]))
    optima = _distinct((yield from _polished(whole, finalists, plan)), family)
    if not optima[0].is_sound:  # the best were on their way to a collapse; another may be sound
        order, number = best_distinct(values.reshape(1, -1), everything, values.size, family)
        others = jax.tree.map(lambda leaf: leaf[0], taken(everything, order[:, plan.finalists : number[0]]))
        optima = _distinct([*optima, *(yield from _polished(whole, others, plan))], family)
    optima = yield from _with_denser(whole, plan, optima)
    if family.n_columns and len(small.data) >= plan.rows:
        # Some of the data have other optima than all: where each search leads is seen on all, with what all then add.
        ends = yield from _polished(whole, jax.tree.map(lambda leaf: leaf[:, 0], mixtures), plan)
        for number, one in enumerate(ends):
            if not _is_same(one, optima[0], family):
                ends[number], *_ = yield from _with_denser(whole, plan, [one])
        optima = _distinct([*optima, *ends], family)
        agreeing = sum(_is_same(one, optima[0], family) for one in ends)
    else:
        agreeing = yield from _agreeing(small, mixtures, values, optima[0])
    # Among those that are kept, some may be on their way to a collapse: an optimum is what others are compared with.
    narrow, least = None, optima[0].log_posterior if optima[0].is_sound else float(values.max())
    if seen is not None:
        narrow = yield from _on_all(whole, seen, plan, least)
    return SearchResult(tuple(optima), n_searches, agreeing, n_rounds, mixtures, values, narrow)


def _with_denser(whole: Problem, plan: SearchPlan, optima: list[Optimum]) -> Search:
    """The optima, and better ones with components where all data lie closer together than the best one has them."""
    for _ in range(max(MOST_INSERTED, whole.job.plan.n_components)):
        best, there = optima[0], whole.neighbours()
        seeds = [] if there is None else there.denser(best.parameters, whole.job.covariance)
        if not seeds:
            break
        moved = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *seeds)
        moved, values, *_ = yield Request(whole, moved, plan.passes)
        most = np.argsort(-values)[:FEW_FINALISTS]
        most = most[values[most] > (best.log_posterior + SAME_OPTIMUM if best.is_sound else -0.5 * UNSOUND)]
        if not len(most):
            break
        polished = yield from _polished(whole, jax.tree.map(lambda leaf, most=most: leaf[most], moved), plan)
        optima = _distinct([*optima, *polished], whole.job.plan.family)
    return optima


def _seeded(
    small: Problem, whole: Problem, plan: SearchPlan, found: SearchResult, seeds: Sequence[AnyParameters]
) -> Search:
    mixtures = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *seeds)
    mixtures, values, *_ = yield Request(small, mixtures, plan.passes)
    better = values > found.values.max() + SAME_OPTIMUM
    if not better.any():
        return found
    most = np.argsort(-values)[: min(plan.finalists, int(better.sum()))]
    polished = yield from _polished(whole, jax.tree.map(lambda leaf: leaf[most], mixtures), plan)
    optima = _distinct([*found.optima, *polished], small.job.plan.family)
    agreeing = yield from _agreeing(small, found.mixtures, found.values, optima[0])
    return found._replace(optima=tuple(optima), n_agreeing=agreeing)


def _problems(jobs: Sequence[FitJob], plan: SearchPlan) -> list[tuple[Problem, Problem, SearchPlan]]:
    """For each fit the condensed data that its searches see, all of its data, and a search that it can afford."""
    first = jobs[0]
    family = first.plan.family
    spread = family.spread_of(first)
    points = family.condensed(first, plan)
    # Where nothing is condensed, one program less has to be compiled, which takes long for several columns.
    is_whole = (bool(family.n_columns) or len(points[0]) <= FEW) and len(points[0]) == len(_distinct_data(first))
    neighbours = functools.cache(lambda: family.neighbours(first.data, first.sample_weights))
    found = []
    for job in jobs:
        own = plan.affordable((len(points[0]) + family.overhead) * job.plan.n_components * family.cost)
        width = OF_COLUMNS_AT_ONCE if family.n_columns else job.restarts * own.mixtures
        small = Problem(points[0], points[1], job, spread, width)
        whole = small if is_whole else Problem(first.data, first.sample_weights, job, spread, NARROW)
        found.append((small, whole._replace(neighbours=neighbours), own))
    return found


def _distinct_data(job: FitJob) -> Array:
    return distinct_rows(job.data[job.sample_weights > 0])[0]


def _agreeing(problem: Problem, mixtures: AnyParameters, values: Float[Array, "R k"], best: Optimum) -> Search:
    """How many searches have the best optimum among their kept mixtures."""
    family = problem.job.plan.family
    here = family.in_order(_alone(best))
    _, value, *_ = yield Request(problem, here, 1)
    near = family.distances(here, mixtures) < NEAR
    return int(((np.abs(values - value) < SAME_OPTIMUM) | near).any(axis=1).sum())


def _alone(optimum: Optimum) -> AnyParameters:
    return jax.tree.map(lambda leaf: leaf[None, None], optimum.parameters)


def _narrowest(improved: Improved, best: Narrow | None) -> Narrow | None:
    values = improved.values + UNSOUND - improved.by_chance
    here = np.unravel_index(int(np.argmax(values)), values.shape)
    if not values[here] > (-np.inf if best is None else best.log_posterior):
        return best
    return Narrow(jax.tree.map(lambda leaf: leaf[here], improved.mixtures), (), float(values[here]))


def _on_all(problem: Problem, seen: Narrow, plan: SearchPlan, least: float) -> Search:
    """Where some passes on all data, with the lower floor, lead a mixture with narrow components.

    None if it has none there, too few data in one, or is better than the sound ones by no more than chance.
    """
    job, family = problem.job, problem.job.plan.family
    narrow = family.degenerate(job, seen.parameters, problem.spread)
    if seen.log_posterior + by_chance(job, seen.parameters, narrow) <= least:
        return None
    lower = job if job.floor_of_few or job.scale_floor_of_many >= job.scale_floor else job.lowered(few=True)
    begin = jax.tree.map(lambda leaf: leaf[None], seen.parameters)
    found = yield Request(problem._replace(job=lower), begin, plan.passes)
    alone = jax.tree.map(lambda leaf: leaf[0], found.mixtures)
    degenerate = family.degenerate(job, alone, problem.spread)
    value = float(found.values[0] + UNSOUND * (found.values[0] < -0.5 * UNSOUND) - by_chance(job, alone, degenerate))
    return Narrow(alone, tuple(np.flatnonzero(degenerate).tolist()), value) if value > least + GAIN else None


def _evolved(problem: Problem, plan: SearchPlan, n_searches: int) -> Search:
    """The best mixtures of each search on condensed data, best first; their values; how many rounds; a narrow one."""
    job = problem.job
    generators = [np.random.default_rng([*inits.words_of(job.key), number]) for number in range(n_searches)]
    family = job.plan.family
    landscape = family.landscape(problem.data, problem.sample_weights, job, plan, problem.spread)
    n_new = plan.mixtures - plan.kept
    numbers = _shared_out(n_new, plan.moves._asdict())
    first = [family.fresh(generator, landscape, plan.mixtures, job.plan.n_components) for generator in generators]
    mixtures = jax.tree.map(lambda *leaves: np.stack(leaves), *first)
    best, since, n_rounds = np.full(n_searches, -2.0 * UNSOUND), 0, 0
    narrow: Narrow | None = None
    patience, least = plan.patience, 0
    if family.n_columns and job.plan.n_components == 1:
        patience = 0.0  # one normal has one optimum
    elif family.n_columns:  # a narrow component may lie in any direction, and takes many rounds to be found
        least = min(plan.least_rounds * job.plan.n_components, job.n_parameters)
    while True:
        improved = yield Request(problem, mixtures, plan.passes)
        mixtures, values, norms, _ = improved
        narrow = _narrowest(improved, narrow)
        mixtures, n_rounds = family.in_order(mixtures), n_rounds + 1
        chosen, n_kept = best_distinct(values, mixtures, plan.kept, family)
        mixtures, values = taken(mixtures, chosen), np.take_along_axis(values, chosen, axis=1)
        # A mixture that still moves may be about to collapse: only those where EM's next step gains next to nothing
        # count.
        is_there = np.take_along_axis(norms, chosen, axis=1) ** 2 < 0.5 * SAME_OPTIMUM
        before, best = best, np.where(is_there, values, -2.0 * UNSOUND).max(axis=1)
        since = n_rounds if (np.abs(best - before) > SAME_OPTIMUM).any() else since
        # Searches that have come to rest nowhere yet do not agree.
        agree = (best > -2.0 * UNSOUND) & (best >= best.max() - SAME_OPTIMUM)
        if n_rounds >= plan.rounds or (agree.all() and n_rounds > max(patience * since, least)):
            return mixtures, values, n_rounds, narrow
        children = family.varied(generators, landscape, mixtures, n_kept, numbers)
        mixtures = jax.tree.map(lambda *both: np.concatenate(both, axis=1), mixtures, children)


def _shared_out(n: int, shares: dict[str, float]) -> dict[str, int]:
    """Whole numbers that sum to n, in proportion to shares, by largest remainder."""
    exact = {name: n * share / sum(shares.values()) for name, share in shares.items()}
    numbers = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: numbers[name] - exact[name])
    for name in by_remainder[: n - sum(numbers.values())]:
        numbers[name] += 1
    return numbers


def _polished(problem: Problem, mixtures: AnyParameters, plan: SearchPlan) -> Search:
    """The optima that mixtures, [n, K], lead to on all data; less converged in a short search."""
    found: list[Optimum] = []
    highest = -np.inf
    n_calls = MOST_CALLS if plan.rounds > plan.screening else FEW_CALLS
    for first in range(0, len(mixtures.log_component_weights), problem.width):
        some = jax.tree.map(lambda leaf, first=first: leaf[first : first + problem.width], mixtures)
        values = norms = np.full(len(some.log_component_weights), -np.inf)
        for call in range(n_calls):
            before, longer = values, norms
            some, values, norms, _ = yield Request(problem, some, plan.passes * 2**call)
            # Rounding may stop a gradient from getting shorter.
            stuck = (np.abs(values - before) < AT_REST) & (norms > 0.5 * longer)
            highest = max(highest, float(values.max()))
            behind = highest - values
            lost = (call >= HOPED_FOR) & (behind > np.maximum(LOST, LOST_BY * (values - before)))
            if ((norms < problem.job.gradient_tolerance) | stuck | lost).all():
                break
        for slot, value in enumerate(values):
            is_sound = bool(value > -0.5 * UNSOUND)
            own = jax.tree.map(lambda leaf, slot=slot: leaf[slot], some)
            found.append(Optimum(own, float(value) + UNSOUND * (not is_sound), float(norms[slot]), is_sound))
    return found


def _distinct(optima: Sequence[Optimum], family: Family) -> list[Optimum]:
    """The optima without duplicates, the best first."""
    kept: list[Optimum] = []
    for one in sorted(optima, key=lambda one: (one.is_sound, one.log_posterior), reverse=True):
        if not any(_is_same(one, other, family) for other in kept):
            kept.append(one)
    return kept


def _is_same(one: Optimum, other: Optimum, family: Family) -> bool:
    if abs(other.log_posterior - one.log_posterior) < SAME_OPTIMUM:
        return True
    return family.distances(family.in_order(_alone(one)), family.in_order(_alone(other))).item() < NEAR
