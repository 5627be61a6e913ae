"""Fits, whole: the search for the best optimum, the training that is shown, and the better of the two.

Training is honest: ordinary starts and the optimizer that was asked for. Where one of them reaches the optimum that the
search found, it is the answer, with its history. Where none does, training begins in the basin of that optimum, from
blurred copies of it (equal weights, wider scales), of which the most blurred that arrives is shown; or, where none of
these arrives, at the optimum itself, where a fit has nothing left to do. The price: an optimizer that cannot hold an
optimum has an answer that it would not have found.

A fit that is only one of many to be compared is not trained, unless its prior learns hyperparameters, which the search
holds where they start.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gmm_pipeline.inference.batching import Progress, compile_for, fit_starts, in_threads
from gmm_pipeline.inference.fitting import (
    AT_OPTIMUM,
    BLURRED,
    ORDINARY,
    FitJob,
    FitResult,
    Searched,
    SearchPlan,
    Seen,
)
from gmm_pipeline.inference.likelihood_ratio import APART, split_component
from gmm_pipeline.inference.parameterization import learned_by, number_of_parameters, over_sticks
from gmm_pipeline.inference.restarts import (
    SAME_OPTIMUM,
    best_of,
    degenerate_components,
    log_posterior,
    log_posterior_at,
    spread_of,
)
from gmm_pipeline.inference.search import Found, Optimum, remembered_search, seeded
from gmm_pipeline.inference.verdicts import collapsing
from gmm_pipeline.model.mixture import Parameters

BLURS = (1.0, 0.5, 0.2)
"""How far copies of an optimum are from it: from equal weights and scales as wide as the data at 1, to itself at 0."""

MOST_EXCHANGES = 3
"""Times that fits which are to be compared are improved by each other's."""


def fit_all(
    jobs: Sequence[FitJob],
    progress: Progress | None = None,
    workers: int = 1,
    searching: Progress | None = None,
) -> list[FitResult]:
    """Run fits to their end: of each, the best optimum that is known of it, and how it was reached.

    Args:
        jobs: of any programs; those that share one are computed together.
        progress: called with (steps done, steps in all) now and then; what it raises ends the fits.
        workers: threads that compute.
        searching: called with (searches done, searches in all) now and then, likewise.
    """
    searched = search_all(jobs, workers, searching)
    trained = [number for number, job in enumerate(jobs) if number not in searched or _is_trained(job)]
    found = fit_starts([jobs[number] for number in trained], progress, workers)
    starts = dict(zip(trained, found, strict=True))
    best = {number: best_of(jobs[number], starts[number]) for number in trained}
    for number, known in searched.items():
        if number not in best:
            best[number] = _as_it_stands(jobs[number], known.best)
    missed = [
        number
        for number in trained
        if number in searched and not _reaches(jobs[number], best[number], searched[number])
    ]
    more = {number: _in_the_basin(jobs[number], searched[number].best.parameters) for number in missed}
    ends = iter([result for (result,) in fit_starts([one for some in more.values() for one in some], None, workers)])
    for number, attempts in more.items():
        tried = [next(ends) for _ in attempts]
        best[number] = _answer(jobs[number], starts[number], tried, searched[number].best)
    return [
        _with_search(jobs[number], best[number], searched[number]) if number in searched else best[number]
        for number in range(len(jobs))
    ]


def search_all(jobs: Sequence[FitJob], workers: int, progress: Progress | None = None) -> dict[int, Found]:
    """What the searches of those fits found that ask for one and do not say where to begin, by their number.

    Fits that are to be compared are improved by each other's: what a smaller one found with a component split, what a
    larger one found with two merged, and what equal scales found for free ones: none ends below one that it contains.
    """
    asked = {number: (job, job.search) for number, job in enumerate(jobs) if job.search and job.begin is None}
    if not asked:
        return {}
    with ThreadPoolExecutor(1, thread_name_prefix="compile") as compiling:
        # What follows a search is trained, with one program whichever fit is chosen; XLA compiles it meanwhile.
        if workers > 1:
            compiling.submit(compile_for, next(iter(asked.values()))[0])
        return _compared(jobs, asked, workers, progress)


def _compared(
    jobs: Sequence[FitJob],
    asked: Mapping[int, tuple[FitJob, SearchPlan]],
    workers: int,
    progress: Progress | None,
) -> dict[int, Found]:
    selections = _selections(asked)
    several = {number for numbers in selections for number in numbers if len(numbers) > 1}
    screened = {number: (job, plan.screen if number in several else plan) for number, (job, plan) in asked.items()}
    searched = _searched(screened, selections, workers, progress)
    _exchange(jobs, screened, searched, asked, workers)
    again = _contenders(
        jobs, {number: found for number, found in searched.items() if asked[number][1] != screened[number][1]}
    )
    whole = {number: asked[number] for number in again}
    better = _searched(whole, [[number] for number in again], workers, progress)
    seeds = {number: [searched[number].best.parameters] for number in again}
    searched |= _improved_by(seeds, whole, better, workers)
    _exchange(jobs, screened, searched, again, workers)
    return searched


def _improved_by(
    seeds: Mapping[int, list[Parameters]],
    asked: Mapping[int, tuple[FitJob, SearchPlan]],
    searched: Mapping[int, Found],
    workers: int,
) -> dict[int, Found]:
    """What was found of those fits that seeds are there for, improved by these."""

    def run(numbers: Sequence[int], workers: int) -> list[Found]:
        some, plan = [asked[number][0] for number in numbers], asked[numbers[0]][1]
        found, given = [searched[number] for number in numbers], [seeds[number] for number in numbers]
        return seeded(some, plan, found, given, workers)

    return _of_each(run, _selections({number: asked[number] for number, some in seeds.items() if some}), workers)


def _selections(asked: Mapping[int, tuple[FitJob, SearchPlan]]) -> list[list[int]]:
    """The fits that are searched together: of one selection, or alone."""
    found: list[list[int]] = []
    for number, (job, plan) in asked.items():
        last = asked[found[-1][-1]] if found else None
        if last is not None and _is_beside(job, last[0]) and plan == last[1]:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def _searched(
    asked: Mapping[int, tuple[FitJob, SearchPlan]],
    together: Sequence[Sequence[int]],
    workers: int,
    progress: Progress | None,
) -> dict[int, Found]:
    done = 0

    def heed() -> None:
        if progress is not None:
            progress(done, len(asked))

    def run(numbers: Sequence[int], workers: int) -> list[Found]:
        nonlocal done
        jobs, plan = [asked[number][0] for number in numbers], asked[numbers[0]][1]
        found = remembered_search(jobs, plan, workers, heed)
        found = seeded(jobs, plan, found, [job.seeds for job in jobs], workers)
        done += len(numbers)
        heed()
        return found

    return _of_each(run, together, workers)


def _of_each(
    run: Callable[[Sequence[int], int], list[Found]], together: Sequence[Sequence[int]], workers: int
) -> dict[int, Found]:
    """What `run` finds of fits, by their numbers; one selection alone has all threads, of many each has one."""
    beside, within = (workers, 1) if len(together) > 1 else (1, workers)
    results = in_threads(lambda index: run(together[index], within), len(together), beside)
    return {
        number: one
        for numbers, found in zip(together, results, strict=True)
        for number, one in zip(numbers, found, strict=True)
    }


def _contenders(jobs: Sequence[FitJob], searched: Mapping[int, Found]) -> list[int]:
    """The fits to be compared that may win: not far behind the best of the same data by their criterion."""
    scores: dict[int, float] = {}
    for number, found in searched.items():
        job = jobs[number]
        n_parameters = number_of_parameters(job.plan.n_components, equal_scales=job.equal_scales)
        scores[number] = found.best.log_posterior - job.penalty * n_parameters if found.best.is_sound else -np.inf

    def best(job: FitJob) -> float:
        return max(score for number, score in scores.items() if _is_beside(jobs[number], job))

    return [
        number
        for number, score in scores.items()
        if (plan := jobs[number].search) and score >= best(jobs[number]) - plan.margin
    ]


def _exchange(
    jobs: Sequence[FitJob],
    asked: Mapping[int, tuple[FitJob, SearchPlan]],
    searched: dict[int, Found],
    changed: Collection[int],
    workers: int,
) -> None:
    """Improve fits that are to be compared by those beside them that have changed, while that changes any."""
    for _ in range(MOST_EXCHANGES):
        seeds = {number: _from_others(number, jobs, searched, changed) for number in asked}
        better = _improved_by(seeds, asked, searched, workers)
        changed = [number for number, one in better.items() if one is not searched[number]]
        searched.update(better)
        if not changed:
            return


def _is_beside(one: FitJob, other: FitJob) -> bool:
    """Whether fits are of one selection."""
    same_data = one.data is other.data and one.sample_weights is other.sample_weights
    return same_data and not one.trained and not other.trained and np.array_equal(one.key, other.key)


def _from_others(
    number: int, jobs: Sequence[FitJob], searched: Mapping[int, Found], changed: Collection[int]
) -> list[Parameters]:
    """Mixtures for a fit that is to be compared, made of the best of those beside it that have changed."""
    job = jobs[number]
    if job.trained or over_sticks(job.plan.log_prior):
        return []
    seeds: list[Parameters] = []
    for other in changed:
        beside, best = jobs[other], searched[other].best.parameters
        if other == number or not _is_beside(beside, job) or beside.plan.log_prior != job.plan.log_prior:
            continue
        more = job.plan.n_components - beside.plan.n_components
        if more == 0 and beside.equal_scales:
            seeds.append(best)
        if beside.equal_scales != job.equal_scales and 1 not in (beside.plan.n_components, job.plan.n_components):
            continue
        if more == 1:
            seeds += [
                split_component(best, component, apart=APART, keep_scale=job.equal_scales)
                for component in range(beside.plan.n_components)
            ]
        if more == -1:
            seeds += _merged(best)
    return seeds


def _merged(mixture: Parameters) -> list[Parameters]:
    """A mixture with each two neighbouring components as one, of their weight, mean and variance."""
    order = np.argsort(mixture.component_mus, kind="stable")
    log_weights, locs, log_scales = (np.asarray(leaf, np.float64)[order] for leaf in mixture)
    found = []
    for left in range(len(locs) - 1):
        pair = slice(left, left + 2)
        log_weight = np.logaddexp.reduce(log_weights[pair])
        shares = np.exp(log_weights[pair] - log_weight)
        loc = shares @ locs[pair]
        variance = shares @ (np.exp(2.0 * log_scales[pair]) + (locs[pair] - loc) ** 2)
        new = (log_weight, loc, 0.5 * np.log(variance))
        both = zip((log_weights, locs, log_scales), new, strict=True)
        found.append(Parameters(*(np.concatenate([leaf[:left], [one], leaf[left + 2 :]]) for leaf, one in both)))
    return found


def _is_trained(job: FitJob) -> bool:
    return job.trained or bool(learned_by(job.plan.log_prior))


def _reaches(job: FitJob, result: FitResult, known: Found) -> bool:
    """Whether the best start is as good as the optimum that the search found; a collapse, or one to come, is not."""
    if result.diverged or (known.best.is_sound and (result.degenerate or collapsing(job, result, job.data))):
        return False
    return log_posterior(job, result) >= log_posterior_at(job, known.best.parameters) - SAME_OPTIMUM


def _as_it_stands(job: FitJob, optimum: Optimum) -> FitResult:
    """An optimum as the result of a fit that had nothing left to do."""
    divisor = float(np.sum(job.sample_weights)) if job.plan.average_loss else 1.0
    converged = optimum.gradient_norm < job.gradient_tolerance
    history = Seen(
        Parameters(*(leaf[None] for leaf in optimum.parameters)),
        {},
        np.array([-optimum.log_posterior / divisor]),
        np.array([optimum.gradient_norm]),
        np.array([converged]),
    )
    return FitResult(
        parameters=optimum.parameters,
        learned={},
        steps=np.array([0]),
        history=history,
        diverged=not np.isfinite(optimum.log_posterior),
        converged=converged,
        n_steps=0,
        gradient_norm=optimum.gradient_norm,
        degenerate=degenerate_components(job, optimum.parameters),
        searched=_beginning(AT_OPTIMUM),
    )


def _beginning(began: str) -> Searched:
    return Searched(0, 0, (), 0, began)


def _in_the_basin(job: FitJob, optimum: Parameters) -> list[FitJob]:
    """Trainings from copies of an optimum, the most blurred first.

    Of a prior that learns hyperparameters, the last is from the optimum itself, which is one for those it starts with.
    """
    blurs = (*BLURS, 0.0) if learned_by(job.plan.log_prior) else BLURS
    spread, alone = spread_of(job), job._replace(restarts=1, search=None)
    return [alone._replace(begin=blurred_copy(optimum, blur, spread, job.equal_scales)) for blur in blurs]


def blurred_copy(optimum: Parameters, blur: float, spread: float, equal_scales: bool) -> Parameters:
    """An optimum whose weights are nearer to equal ones, and its scales to what K components share of the data.

    Args:
        optimum: log weights, locs, log scales.
        blur: 0 for the optimum, 1 for equal weights and scales.
        spread: standard deviation of the data.
        equal_scales: whether there is one scale.
    """
    log_weights, locs, log_scales = (np.asarray(leaf, np.float64) for leaf in optimum)
    widest = np.maximum(log_scales, np.log(2.0 * spread / len(locs)))
    return Parameters(
        (1.0 - blur) * (log_weights - np.logaddexp.reduce(log_weights)),
        locs,
        log_scales + blur * (widest - log_scales) if not equal_scales else log_scales + blur * np.log(2.0),
    )


def _answer(job: FitJob, starts: Sequence[FitResult], tried: Sequence[FitResult], optimum: Optimum) -> FitResult:
    """The most blurred copy that arrived, or the optimum; with what became of the ordinary starts beside it."""
    goal = log_posterior_at(job, optimum.parameters) - SAME_OPTIMUM

    def arrived(end: FitResult) -> bool:
        sound = not end.degenerate or not optimum.is_sound
        return not end.diverged and sound and log_posterior(job, end) >= goal

    end = next((end for end in tried if arrived(end)), None)
    found = _as_it_stands(job, optimum) if end is None else end._replace(searched=_beginning(BLURRED))
    return found._replace(restarts=best_of(job, [*starts, found]).restarts[: len(starts)])


def _with_search(job: FitJob, result: FitResult, known: Found) -> FitResult:
    began = ORDINARY if result.searched is None else result.searched.began
    reached, best = log_posterior(job, result), known.best
    # Of the optima one is evaluated in float64; how far the others are below it, float32 knows as well.
    highest = log_posterior_at(job, best.parameters)
    alike = [one for one in known.optima if one.is_sound == best.is_sound]
    seen = [highest - (best.log_posterior - one.log_posterior) for one in alike]
    # Where a start ended higher than every search, no search agrees.
    agreeing = known.n_agreeing if reached <= highest + SAME_OPTIMUM else 0
    log_posteriors = (reached, *(value for value in seen if value < reached - SAME_OPTIMUM))
    return result._replace(searched=Searched(known.n_searches, agreeing, log_posteriors, known.n_rounds, began))
