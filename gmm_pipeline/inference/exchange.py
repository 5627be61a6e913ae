"""The searches of fits that are compared: each is improved by the optima of the others.

The optimum of a smaller model with a component split, that of a larger one with two components merged, and that of
equal scales (for free scales) are mixtures that a model contains, so no search ends below one of these. All fits are
screened with short searches first; those that may win are then searched in full.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import jax
import numpy as np

from gmm_pipeline.inference.calls import Progress, compile_for, in_threads, threads
from gmm_pipeline.inference.jobs import FitJob, SearchPlan
from gmm_pipeline.inference.parameterization import over_sticks
from gmm_pipeline.inference.search import SearchResult, derived, seeded
from gmm_pipeline.inference.search_memory import remembered_search
from gmm_pipeline.model import covariances
from gmm_pipeline.model.multivariate import AnyParameters

MOST_EXCHANGES = 3
"""Most rounds in which compared fits improve each other."""


def search_all(jobs: Sequence[FitJob], workers: int, progress: Progress | None = None) -> dict[int, SearchResult]:
    """Search for the best optima of the fits that ask for a search and have no given start; results by index.

    Fits that are compared improve each other, so that none ends below a mixture that its model contains.

    Args:
        jobs: all fits; one without a search, or with a place to begin, is left out.
        workers: threads that compute.
        progress: called with (searches done, searches in all); what it raises ends the searches.
    """
    asked = {number: (job, job.search) for number, job in enumerate(jobs) if job.search and job.begin is None}
    if not asked:
        return {}
    with threads(1, "compile") as compiling:
        # The fit chosen by the search is trained next, with one program for any choice; XLA compiles it meanwhile.
        if workers > 1:
            compiling.submit(compile_for, next(iter(asked.values()))[0])
        return _compared(jobs, asked, workers, progress)


def _compared(
    jobs: Sequence[FitJob],
    asked: Mapping[int, tuple[FitJob, SearchPlan]],
    workers: int,
    progress: Progress | None,
) -> dict[int, SearchResult]:
    selections = _selections(asked)
    several = {number for numbers in selections for number in numbers if len(numbers) > 1}
    screened = {number: (job, plan.screen if number in several else plan) for number, (job, plan) in asked.items()}
    searched = _screened(jobs, screened, selections, workers, progress)
    _exchange(jobs, screened, searched, asked, workers)
    again = _contenders(
        jobs, {number: found for number, found in searched.items() if asked[number][1] != screened[number][1]}
    )
    whole = {number: asked[number] for number in again}
    # The chosen one of several covariance models is searched again, so here one search of each will do, or none of one.
    once = {
        number: (job._replace(restarts=1) if job.covariance else job, plan) for number, (job, plan) in whole.items()
    }
    together = [group for group in _selections(once) if jobs[group[0]].covariance and len(group) > 1]
    alone = [[number] for number in again if not jobs[number].covariance]
    better = _searched(once, [*together, *alone], workers, progress)
    seeds = {number: [searched[number].best.parameters] for number in better}
    searched |= _improved_by(seeds, whole, better, workers)
    _exchange(jobs, screened, searched, again, workers)
    return searched


def _screened(
    jobs: Sequence[FitJob],
    screened: Mapping[int, tuple[FitJob, SearchPlan]],
    selections: Sequence[Sequence[int]],
    workers: int,
    progress: Progress | None,
) -> dict[int, SearchResult]:
    """Short searches of all fits; of covariance models that are represented alike, only the one with most parameters.

    The others begin with the mixtures that its search kept: models differ in what they share, and less in which data
    belong together.
    """
    widest = {number: _widest(number, group, jobs) for group in selections for number in group}
    own = {number: one for number, one in screened.items() if widest[number] == number}
    groups = [[number for number in group if number in own] for group in selections]
    searched = _searched(own, groups, workers, progress)

    def run(numbers: Sequence[int], workers: int) -> list[SearchResult]:
        given = [_each(searched[widest[number]].mixtures) for number in numbers]
        return derived([jobs[number] for number in numbers], screened[numbers[0]][1], given, workers)

    rest = [[number for number in group if number not in own] for group in selections]
    return searched | _of_each(run, [group for group in rest if group], workers)


def _widest(number: int, group: Sequence[int], jobs: Sequence[FitJob]) -> int:
    """The fit of a selection that has as many components, and of these the most parameters."""
    if not jobs[number].covariance:
        return number
    alike = [other for other in group if jobs[other].plan.n_components == jobs[number].plan.n_components]
    return max(alike, key=lambda other: jobs[other].n_parameters)


def _each(mixtures: AnyParameters) -> list[AnyParameters]:
    """The mixtures of an array [R, k, K] one by one."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), mixtures)
    return [jax.tree.map(lambda leaf, at=at: leaf[at], flat) for at in range(len(flat.log_component_weights))]


def _improved_by(
    seeds: Mapping[int, list[AnyParameters]],
    asked: Mapping[int, tuple[FitJob, SearchPlan]],
    searched: Mapping[int, SearchResult],
    workers: int,
) -> dict[int, SearchResult]:
    """Search results of the fits that have seeds, improved by the seeds."""

    def run(numbers: Sequence[int], workers: int) -> list[SearchResult]:
        some, plan = [asked[number][0] for number in numbers], asked[numbers[0]][1]
        found, given = [searched[number] for number in numbers], [seeds[number] for number in numbers]
        return seeded(some, plan, found, given, workers)

    return _of_each(run, _selections({number: asked[number] for number, some in seeds.items() if some}), workers)


def _selections(asked: Mapping[int, tuple[FitJob, SearchPlan]]) -> list[list[int]]:
    """Groups of fits that are searched together: those of one selection, or single ones."""
    found: list[list[int]] = []
    for number, (job, plan) in asked.items():
        # The candidates of a selection of covariance models alternate between the units of these.
        before = found if job.covariance else found[-1:]
        group = next((one for one in before if is_beside(job, asked[one[-1]][0]) and plan == asked[one[-1]][1]), None)
        if group is None:
            found.append([number])
        else:
            group.append(number)
    return found


def _searched(
    asked: Mapping[int, tuple[FitJob, SearchPlan]],
    together: Sequence[Sequence[int]],
    workers: int,
    progress: Progress | None,
) -> dict[int, SearchResult]:
    done = 0

    def heed() -> None:
        if progress is not None:
            progress(done, len(asked))

    def run(numbers: Sequence[int], workers: int) -> list[SearchResult]:
        nonlocal done
        jobs, plan = [asked[number][0] for number in numbers], asked[numbers[0]][1]
        found = remembered_search(jobs, plan, workers, heed)
        found = seeded(jobs, plan, found, [job.seeds for job in jobs], workers)
        done += len(numbers)
        heed()
        return found

    return _of_each(run, together, workers)


def _of_each(
    run: Callable[[Sequence[int], int], list[SearchResult]], together: Sequence[Sequence[int]], workers: int
) -> dict[int, SearchResult]:
    """Results of `run` by index of the fit; a single selection gets all threads, several get one each."""
    beside, within = (workers, 1) if len(together) > 1 else (1, workers)
    results = in_threads(lambda index: run(together[index], within), len(together), beside)
    return {
        number: one
        for numbers, found in zip(together, results, strict=True)
        for number, one in zip(numbers, found, strict=True)
    }


def _contenders(jobs: Sequence[FitJob], searched: Mapping[int, SearchResult]) -> list[int]:
    """The compared fits that may still win: by their criterion, not far behind the best for the same data."""
    scores: dict[int, float] = {}
    for number, found in searched.items():
        job = jobs[number]
        score = found.best.log_posterior - (job.log_volume or 0.0) - job.penalty * job.n_parameters
        scores[number] = score if found.best.is_sound else -np.inf

    def best(job: FitJob) -> float:
        return max(score for number, score in scores.items() if are_compared(jobs[number], job))

    return [
        number
        for number, score in scores.items()
        if (plan := jobs[number].search)
        and score >= best(jobs[number]) - plan.margin_of(jobs[number].plan.family.n_columns)
    ]


def _exchange(
    jobs: Sequence[FitJob],
    asked: Mapping[int, tuple[FitJob, SearchPlan]],
    searched: dict[int, SearchResult],
    changed: Collection[int],
    workers: int,
) -> None:
    """Improve compared fits by those that have changed, until nothing changes."""
    for _ in range(MOST_EXCHANGES):
        seeds = {number: _from_others(number, jobs, searched, changed) for number in asked}
        better = _improved_by(seeds, asked, searched, workers)
        changed = [number for number, one in better.items() if one is not searched[number]]
        searched.update(better)
        if not changed:
            return


def is_beside(one: FitJob, other: FitJob) -> bool:
    """Whether two fits belong to one selection, and see data in the same units.

    Args:
        one: a fit.
        other: another.
    """
    return one.data is other.data and _are_of_one_selection(one, other)


def are_compared(one: FitJob, other: FitJob) -> bool:
    """Whether two fits are of one selection, and their log posteriors comparable: in the user's units, or the same.

    Args:
        one: a fit.
        other: another.
    """
    if None in (one.log_volume, other.log_volume):
        return is_beside(one, other)
    return _are_of_one_selection(one, other)


def _are_of_one_selection(one: FitJob, other: FitJob) -> bool:
    if one.sample_weights is not other.sample_weights or one.trained or other.trained:
        return False
    return one.key is other.key or np.array_equal(one.key, other.key)


def _from_others(
    number: int, jobs: Sequence[FitJob], searched: Mapping[int, SearchResult], changed: Collection[int]
) -> list[AnyParameters]:
    """Mixtures for a compared fit, made from the best optima of the others that have changed."""
    job = jobs[number]
    if job.trained or over_sticks(job.plan.log_prior):
        return []
    seeds: list[AnyParameters] = []
    for other in changed:
        beside, best = jobs[other], searched[other].best.parameters
        if other == number or not is_beside(beside, job) or beside.plan.log_prior != job.plan.log_prior:
            continue
        if searched[other].best.is_sound:
            seeds += _made_from(best, beside, job)
    return seeds


def _made_from(best: AnyParameters, beside: FitJob, job: FitJob) -> list[AnyParameters]:
    """The optimum of another model as it is, with a component split, or with two merged, if the model contains that."""
    family, more = job.plan.family, job.plan.n_components - beside.plan.n_components
    is_one = 1 in (beside.plan.n_components, job.plan.n_components)
    if job.covariance:
        alike = job.covariance == beside.covariance
        is_contained = covariances.contains(job.covariance, beside.covariance)
    else:
        alike, is_contained = beside.equal_scales == job.equal_scales, beside.equal_scales
    if more == 0:
        return [best] if is_contained else []
    if not (alike or is_one):
        return []
    if more == 1:
        equal, components = job.equal_scales, range(beside.plan.n_components)
        return [family.split(job, best, component, equal) for component in components]
    return family.merges(best) if more == -1 else []
