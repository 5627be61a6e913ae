"""Complete fits: the search for the best optimum, the training that is shown, and the better of the two.

Training uses ordinary starts and the optimizer of the config. If one of them reaches the optimum of the search, it is
the answer, with its history. If none does, training starts in the basin of that optimum, from blurred copies of it
(equal weights, wider scales); the most blurred copy that reaches the optimum is shown. If none reaches it, the optimum
itself is the answer; where the search had not come to rest at it, training goes on from there. The price: the answer
may be an optimum that the optimizer could not have reached. Training that came near the optimum when its steps were
used up goes on with passes of the search until it converges.

A fit that is only one of many compared is not trained, unless its prior learns hyperparameters. The search keeps these
fixed; what counts as its optimum is where training from there ends.
"""

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from gmm_pipeline.inference.calls import Progress, fit_starts
from gmm_pipeline.inference.collapse import collapsing
from gmm_pipeline.inference.exchange import are_compared, search_all
from gmm_pipeline.inference.jobs import AT_OPTIMUM, BLURRED, ORDINARY, FitJob, FitResult, HistoryEntry, Searched
from gmm_pipeline.inference.large import condensed, improved_on_all, is_condensed
from gmm_pipeline.inference.parameterization import learned_by
from gmm_pipeline.inference.restarts import best_of, degenerate_components, log_posterior, log_posterior_at
from gmm_pipeline.inference.search import Optimum, SearchResult, finished
from gmm_pipeline.model.multivariate import AnyParameters
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM

BLURS = (1.0, 0.5, 0.2)
"""How much copies of an optimum are blurred: 1 is equal weights and wide scales, 0 the optimum itself."""


def fit_all(
    jobs: Sequence[FitJob],
    progress: Progress | None = None,
    workers: int = 1,
    searching: Progress | None = None,
    passing: Progress | None = None,
) -> list[FitResult]:
    """Run fits to their end; returns the best optimum of each and how it was reached.

    Args:
        jobs: of any programs; those that share one are computed together.
        progress: called with (steps done, steps in all) now and then; what it raises ends the fits.
        workers: threads that compute.
        searching: called with (searches done, searches in all) now and then, likewise.
        passing: called with (rows seen, rows in all) in each pass over all of large data, likewise.
    """
    parts = condensed(jobs)
    found, searched = _fitted(parts, progress, workers, searching)
    highest: list[tuple[FitJob, float]] = []  # scores of sound fits that are compared
    for number in sorted(range(len(jobs)), key=lambda one: _score(parts[one], found[one]), reverse=True):
        job, searching_of = jobs[number], searched.get(number)
        if job.search is None or not is_condensed(job):
            continue
        beside = [score for other, score in highest if job.penalty > 0.0 and are_compared(other, job)]
        least = max(beside, default=-math.inf) - job.search.margin_of(job.plan.family.n_columns) + _charged(job)
        if found[number].degenerate and not job.trained:
            least = math.inf  # it cannot be chosen
        found[number] = improved_on_all(job, parts[number], found[number], searching_of, workers, passing, least)
        if not found[number].degenerate:
            highest.append((job, _score(job, found[number])))
    return found


def _divisor(job: FitJob) -> float:
    """By which a loss is less than nats."""
    return float(np.sum(job.sample_weights, dtype=np.float64)) if job.plan.average_loss else 1.0


def _charged(job: FitJob) -> float:
    """What a criterion charges for the parameters, and how much lower the log-likelihood is in the user's units."""
    return job.penalty * job.n_parameters + (job.log_volume or 0.0)


def _score(job: FitJob, result: FitResult) -> float:
    """Log posterior by the criterion of a selection, in the precision of the fit."""
    return -math.inf if result.diverged else -_divisor(job) * float(result.history.loss[-1]) - _charged(job)


def _fitted(
    jobs: Sequence[FitJob], progress: Progress | None, workers: int, searching: Progress | None
) -> tuple[list[FitResult], dict[int, SearchResult]]:
    searched = search_all(jobs, workers, searching)
    trained = [number for number, job in enumerate(jobs) if number not in searched or _is_trained(job)]
    found = fit_starts([jobs[number] for number in trained], progress, workers)
    starts = dict(zip(trained, found, strict=True))
    best = {number: best_of(jobs[number], starts[number]) for number in trained}
    for number, result in searched.items():
        if number not in best:
            best[number] = _as_it_stands(jobs[number], result.best)
    led = _led(jobs, {number: searched[number].best for number in trained if number in searched}, workers)
    goals = {number: log_posterior_at(jobs[number], one.best.parameters) for number, one in searched.items()}
    goals |= {number: max(goals[number], log_posterior(jobs[number], end)) for number, end in led.items()}
    missed = [
        number
        for number in trained
        if number in searched and not _reaches(jobs[number], best[number], searched[number].best, goals[number])
    ]
    more = {number: _in_the_basin(jobs[number], searched[number].best) for number in missed}
    ends = iter([result for (result,) in fit_starts([one for some in more.values() for one in some], None, workers)])
    for number, attempts in more.items():
        tried = [next(ends) for _ in attempts] + [led[number] for _ in range(number in led)]
        best[number] = _answer(jobs[number], starts[number], tried, searched[number].best, goals[number])
    unended = [number for number in searched if _is_unended(jobs[number], best[number], searched[number].best)]
    ended = finished([jobs[number] for number in unended], [best[number].parameters for number in unended], workers)
    for number, end in zip(unended, ended, strict=True):
        if end is not None:
            best[number] = _gone_on(jobs[number], best[number], *end)
    results = [
        _with_search(jobs[number], best[number], searched[number], goals[number])
        if number in searched
        else best[number]
        for number in range(len(jobs))
    ]
    return results, searched


def _is_trained(job: FitJob) -> bool:
    return job.trained or bool(learned_by(job.plan.log_prior))


def _led(jobs: Sequence[FitJob], optima: Mapping[int, Optimum], workers: int) -> dict[int, FitResult]:
    """Where the optima of searches lead if hyperparameters are learned, which searches keep at their initial values."""
    learning = [number for number in optima if learned_by(jobs[number].plan.log_prior)]
    begun = [_from_a_copy(jobs[number], optima[number].parameters, 0.0) for number in learning]
    return {number: result for number, (result,) in zip(learning, fit_starts(begun, None, workers), strict=True)}


def _reaches(job: FitJob, result: FitResult, optimum: Optimum, goal: float) -> bool:
    """Whether the best start is as good as the optimum of the search; a collapsed or collapsing one is not."""
    if result.diverged or (optimum.is_sound and (result.degenerate or collapsing(job, result, job.data))):
        return False
    return log_posterior(job, result) >= goal - SAME_OPTIMUM


def _is_unended(job: FitJob, result: FitResult, optimum: Optimum) -> bool:
    """Whether a fit used up its steps although passes of the search would end at an optimum, as they did there."""
    may_end = job.tolerance > 0.0 and optimum.gradient_norm < job.gradient_tolerance and result.n_steps > 0
    return may_end and not (result.converged or result.diverged or result.degenerate or learned_by(job.plan.log_prior))


def _gone_on(job: FitJob, result: FitResult, end: Optimum, n_passes: int) -> FitResult:
    """A fit whose history goes on to the optimum that it had come near."""
    loss, norm = np.array(-end.log_posterior / _divisor(job)), np.array(end.gradient_norm)
    last = HistoryEntry(end.parameters, {}, loss, norm, np.array(True))
    history = jax.tree.map(
        lambda entries, own: np.append(entries, np.asarray(own, entries.dtype)[None], axis=0), result.history, last
    )
    n_steps = result.n_steps + n_passes
    return result._replace(
        parameters=end.parameters,
        steps=np.append(result.steps, n_steps),
        history=history,
        converged=True,
        n_steps=n_steps,
        gradient_norm=end.gradient_norm,
        n_finishing=n_passes,
    )


def _as_it_stands(job: FitJob, optimum: Optimum) -> FitResult:
    """An optimum as the result of a fit of zero steps."""
    converged = optimum.gradient_norm < job.gradient_tolerance
    history = HistoryEntry(
        jax.tree.map(lambda leaf: leaf[None], optimum.parameters),
        {},
        np.array([-optimum.log_posterior / _divisor(job)]),
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


def _in_the_basin(job: FitJob, optimum: Optimum) -> list[FitJob]:
    """Trainings from copies of an optimum, the most blurred first, and from itself if the search was not at rest."""
    at_rest = optimum.gradient_norm < job.gradient_tolerance or learned_by(job.plan.log_prior)
    return [_from_a_copy(job, optimum.parameters, blur) for blur in (*BLURS, *[0.0] * (not at_rest))]


def _from_a_copy(job: FitJob, optimum: AnyParameters, blur: float) -> FitJob:
    family = job.plan.family
    begin = family.blurred(job, optimum, blur, family.spread_of(job))
    return job._replace(restarts=1, search=None, begin=begin)


def _answer(
    job: FitJob, starts: Sequence[FitResult], tried: Sequence[FitResult], optimum: Optimum, goal: float
) -> FitResult:
    """The most blurred copy that reached the optimum, or the optimum; with the outcomes of the ordinary starts.

    What was tried beyond the copies began at the optimum itself.
    """

    def arrived(end: FitResult) -> bool:
        sound = not end.degenerate or not optimum.is_sound
        return not end.diverged and sound and log_posterior(job, end) >= goal - SAME_OPTIMUM

    place, end = next(((place, end) for place, end in enumerate(tried) if arrived(end)), (None, None))
    if place is None or end is None:
        found = _as_it_stands(job, optimum)
    else:
        found = end._replace(searched=_beginning(BLURRED if place < len(BLURS) else AT_OPTIMUM))
    return found._replace(restarts=best_of(job, [*starts, found]).restarts[: len(starts)])


def _with_search(job: FitJob, result: FitResult, searched: SearchResult, highest: float) -> FitResult:
    began = ORDINARY if result.searched is None else result.searched.began
    reached, best = log_posterior(job, result), searched.best
    # One optimum is evaluated in float64; float32 suffices for how far the others are below it.
    alike = [one for one in searched.optima if one.is_sound == best.is_sound]
    seen = [highest - (best.log_posterior - one.log_posterior) for one in alike]
    # Where a start ended higher than every search, no search agrees.
    agreeing = searched.n_agreeing if reached <= highest + SAME_OPTIMUM else 0
    log_posteriors = (reached, *(value for value in seen if value < reached - SAME_OPTIMUM))
    narrow = searched.narrow
    if narrow is not None:
        narrow = narrow._replace(log_posterior=highest - (best.log_posterior - narrow.log_posterior))
    return result._replace(
        searched=Searched(searched.n_searches, agreeing, log_posteriors, searched.n_rounds, began, narrow)
    )


def fit(job: FitJob, progress: Progress | None = None) -> FitResult:
    """Run one fit to its end, at the width it has in any sweep.

    Args:
        job: what to fit.
        progress: called with (steps done, steps in all) after each segment.
    """
    (result,) = fit_all([job], progress)
    return result
