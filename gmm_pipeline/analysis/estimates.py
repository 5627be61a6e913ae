"""From a request to an estimate: candidates, cross-validation, tests and the bootstrap, all of which are fits.

Each is a list of jobs for the same engine, so that hundreds of folds or replicates are a batch like any other and share
programs. Everything that a run asks for besides its fit has random keys of its own, so that asking for more changes no
other result. The price: every candidate is fitted with all its restarts, even a hopeless one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gmm_pipeline.analysis import bootstrap, cross_validation, likelihood_ratio, selection
from gmm_pipeline.analysis.bootstrap import BootstrapIntervals
from gmm_pipeline.analysis.cross_validation import HeldOut
from gmm_pipeline.analysis.left_out import lowered, without_ties
from gmm_pipeline.analysis.likelihood_ratio import LikelihoodRatioTest
from gmm_pipeline.analysis.matching import in_order_of
from gmm_pipeline.analysis.selection import Candidate
from gmm_pipeline.analysis.unseen import unseen
from gmm_pipeline.inference.families.noisy import with_noise
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.fits import fit_all
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.parameterization import over_sticks
from gmm_pipeline.inference.scaling import Units, to_user_units, total_log_volume
from gmm_pipeline.model.covariances import Kind, kind_of, of_one_component, rows_needed_in_all
from gmm_pipeline.model.multivariate import natural_of
from gmm_pipeline.model.natural import AnyMixture, is_finite
from gmm_pipeline.model.noise import NONE
from gmm_pipeline.model.prior_traits import traits
from gmm_pipeline.model.vocabulary import LIKELIHOOD_RATIO, PASSING, RESAMPLING, SAME_OPTIMUM, SEARCHING
from gmm_pipeline.records.datasets import Dataset

Progress = Callable[[int, int, str], None]
FitAll = Callable[[Sequence[FitJob]], list[FitResult]]

OWN_KEYS = 2**31
"""First number to fold into a key: beyond the numbers of restarts, which count from 1."""
FOLDS, REPLICATES, TESTS = range(3)
"""The uses of keys."""
REPLICATES_AT_ONCE = 1024
"""Replicates that are drawn and fitted before the next ones are: only they are in memory, and progress is even."""


class Asked(NamedTuple):
    """What a run asks for besides a single fit."""

    numbers: tuple[int, ...]
    """Numbers of components, of which the best is chosen; one if it was given."""
    equal_scales: tuple[bool, ...]
    """Kinds of scales, of which the best is chosen."""
    covariances: tuple[str, ...]
    """Covariance models of several columns, of which the best is chosen; empty for one column."""
    criterion: str
    folds: int
    """Folds of the cross-validation; 0 for none."""
    bootstrap: int
    """Replicates of the bootstrap; 0 for none."""
    likelihood_ratio: int
    """Replicates of a test of K components against K + 1; 0 for none."""
    level: float
    """Level of intervals; a test rejects at one minus this."""
    noise: str = NONE
    """One of `noise.KINDS`."""
    factors: int = 0
    """Of a component, where one of the covariance models is that of factors."""


class Job(NamedTuple):
    """A fit, what else is asked for, and what is needed to convert its answer."""

    dataset: Dataset
    units: Mapping[Kind | None, Units]
    """The data in the units of fits, by kind of covariance; one column has one, under None."""
    fit: FitJob
    """The fit with the largest number of components, if there are several."""
    asked: Asked

    def units_of(self, fit: FitJob) -> Units:
        """The data in the units of one of the fits."""
        return self.units[kind_of(fit.covariance) if fit.covariance else None]


class Resampled(NamedTuple):
    """Results of the bootstrap."""

    intervals: BootstrapIntervals
    replicates: AnyMixture
    """[B, K], in the user's units and the order of the fit's components; NaN where a replicate is not sound."""


class Estimate(NamedTuple):
    """The chosen fit, and the results of whatever else was asked for."""

    fit: FitJob
    result: FitResult
    candidates: tuple[Candidate, ...]
    """All candidates that were compared; empty if there was nothing to choose."""
    chosen: int
    """Index of the chosen one."""
    held_out: HeldOut | None
    tests: tuple[LikelihoodRatioTest, ...]
    resampled: Resampled | None


def estimate(jobs: Sequence[Job], progress: Progress | None = None, workers: int = 1) -> list[Estimate]:
    """Compute everything that jobs ask for: their fits together, what follows from a fit job by job.

    Args:
        jobs: any.
        progress: called with (done, in all, what) now and then; what it raises ends the work.
        workers: threads that compute.
    """
    candidates = [candidates_of(job) for job in jobs]
    fitted = _fitted(jobs, candidates, progress, workers)
    lower = {
        number: again
        for number, (job, fits, found) in enumerate(zip(jobs, candidates, fitted, strict=True))
        if job.fit.scale_floor_of_many < job.fit.scale_floor
        and (again := lowered(fits, found, [*map(job.units_of, fits)])) is not None
    }
    if lower:
        again = _fitted([jobs[number] for number in lower], [*lower.values()], progress, workers)
        for number, found in zip(lower, again, strict=True):
            candidates[number], fitted[number] = lower[number], found
    return [
        _estimate(job, fits, found, progress, workers)
        for job, fits, found in zip(jobs, candidates, fitted, strict=True)
    ]


def _fitted(
    jobs: Sequence[Job], candidates: Sequence[Sequence[FitJob]], progress: Progress | None, workers: int
) -> list[list[FitResult]]:
    """The results of the candidates of each job, computed together."""
    results = iter(_fitter(progress, workers, "fitting")([fit for fits in candidates for fit in fits]))
    return [
        [without_ties(fit, next(results), job.units_of(fit)) for fit in fits]
        for job, fits in zip(jobs, candidates, strict=True)
    ]


def candidates_of(job: Job) -> list[FitJob]:
    """The fits that a job compares; one if there is nothing to choose."""
    asked = job.asked
    if is_settled(asked):
        return [job.fit]
    if job.fit.covariance:
        log_volumes = _log_volumes(job)
        found = [
            _with_covariance(job, fit, model, log_volumes)
            for fit in selection.candidates_of(job.fit, asked.numbers, (False,))
            for model in _models(asked.covariances, fit.plan.n_components)
        ]
        found = [fit for fit in found if has_data_for(fit)] or found
    else:
        found = selection.candidates_of(job.fit, asked.numbers, asked.equal_scales)
    # One width for all, so that the selection is one program; only the chosen fit is trained.
    penalty = selection.penalty(asked.criterion, float(np.sum(job.dataset.counts)))
    return [fit._replace(padded_to=max(asked.numbers), trained=False, penalty=penalty) for fit in found]


def has_data_for(fit: FitJob) -> bool:
    """Whether a fit of several columns can have as many sound components as it asks for."""
    needed = rows_needed_in_all(fit.covariance, fit.plan.n_components, fit.data.shape[1], fit.factors)
    return over_sticks(fit.plan.log_prior) or needed <= float(np.sum(fit.sample_weights, dtype=np.float64))


def _models(names: Sequence[str], n_components: int) -> list[str]:
    """Covariance models to compare; those that are the same for one component are fitted once."""
    several = len(names) > 1  # one alone keeps its name, which says what more components have
    return list(dict.fromkeys(map(of_one_component, names) if n_components == 1 and several else names))


def _with_covariance(job: Job, fit: FitJob, model: str, log_volumes: Mapping[Kind | None, float]) -> FitJob:
    kind = kind_of(model)
    factors = job.asked.factors if kind is Kind.FACTOR else 0
    family = normals(fit.plan.family.n_columns, kind, incomplete=job.dataset.n_incomplete > 0, factors=factors)
    units = job.units[kind]
    if units.log_noise is not None:
        family = with_noise(family)
    plan = fit.plan.of_family(family, max(job.asked.numbers))
    of_units = {"data": units.data, "noise": units.log_noise, "rounding": units.rounding}
    return fit._replace(plan=plan, covariance=model, factors=factors, log_volume=log_volumes.get(kind), **of_units)


def _log_volumes(job: Job) -> dict[Kind | None, float]:
    """How much lower log-likelihoods are in the user's units than in those of each kind, where fits can be compared so.

    That is where the criterion is a fixed penalty, and the prior one of weights alone: others differ with the units.
    """
    if job.asked.criterion not in ("aic", "bic") or traits(job.fit.plan.log_prior.function).pseudo_count is None:
        return {}
    weights = job.fit.sample_weights
    return {kind: total_log_volume(units.scaling, units.of_user, weights) for kind, units in job.units.items()}


def is_settled(asked: Asked) -> bool:
    """Whether the number of components is given, and what they share."""
    return len(asked.numbers) == 1 and len(asked.covariances or asked.equal_scales) == 1


def _fitter(progress: Progress | None, workers: int, what: str) -> FitAll:
    if progress is None:
        return partial(fit_all, workers=workers)

    def reporting(what: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(done, total, what)

    searching, passing = reporting(SEARCHING), reporting(PASSING)
    return partial(fit_all, progress=reporting(what), workers=workers, searching=searching, passing=passing)


def _estimate(
    job: Job, fits: Sequence[FitJob], results: Sequence[FitResult], progress: Progress | None, workers: int
) -> Estimate:
    held_out = _cross_validate(job, fits, _fitter(progress, workers, "cross-validating"))
    candidates: tuple[Candidate, ...] = ()
    chosen, tests = 0, ()
    fit_tests = _fitter(progress, workers, "testing")
    if not is_settled(job.asked):
        candidates = _judged(job, fits, results, held_out)
        if job.asked.criterion == LIKELIHOOD_RATIO:
            chosen, tests = _test_in_sequence(job, fits, results, fit_tests)
        else:
            chosen = best_of(candidates, job.asked.criterion)
    trained: dict[int, tuple[FitJob, FitResult]] = {}
    # A longer search of the chosen one may find that it has no sound optimum, or one of more nats by which it is not
    # the best by the criterion: then the next best one is the answer.
    while not fits[chosen].trained and fits[chosen].search is not None and chosen not in trained:
        fit = fits[chosen]._replace(trained=True, seeds=(results[chosen].parameters,))
        (result,) = _fitter(progress, workers, "fitting")([fit])
        result = without_ties(fit, result, job.units_of(fit))
        trained[chosen] = fit, result
        row = selection.with_result(candidates[chosen], fit, result, job.units_of(fit))
        is_better = row.log_likelihood > candidates[chosen].log_likelihood + SAME_OPTIMUM
        candidates = (*candidates[:chosen], row, *candidates[chosen + 1 :])
        if is_better:
            found = [trained[i][1] if i in trained else one for i, one in enumerate(results)]
            candidates = _judged(job, fits, found, held_out)
        if job.asked.criterion != LIKELIHOOD_RATIO and (is_better or selection.problem(row) is not None):
            chosen = best_of(candidates, job.asked.criterion)
    fit, result = trained.get(chosen, (fits[chosen], results[chosen]))
    if job.asked.likelihood_ratio and not tests and not result.diverged and not result.degenerate:
        tests = (_test(job, fit, result, fit_tests),)
    return Estimate(
        fit,
        result,
        candidates,
        chosen,
        None if held_out is None else held_out[chosen],
        tests,
        _resample(job, fit, result, progress, workers),
    )


def _judged(
    job: Job, fits: Sequence[FitJob], results: Sequence[FitResult], held_out: Sequence[HeldOut] | None
) -> tuple[Candidate, ...]:
    return tuple(selection.judge(fits, results, [job.units_of(fit) for fit in fits], held_out))


def best_of(candidates: Sequence[Candidate], criterion: str) -> int:
    """Index of the best candidate that may be chosen; if none may, that of the best of all.

    In that case, candidates whose likelihood is not due to a collapse come first.

    Args:
        candidates: at least one.
        criterion: one of `vocabulary.OF_EACH_FIT`.
    """
    best = selection.choose(candidates, criterion)
    if best is not None:
        return candidates.index(best)
    scores = [selection.score(candidate, criterion) for candidate in candidates]
    ranks = [
        (not selection.has_likelihood(candidate), value if math.isfinite(value) else math.inf)
        for candidate, value in zip(candidates, scores, strict=True)
    ]
    return min(range(len(ranks)), key=ranks.__getitem__)


def _key(job: Job, purpose: int) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(jnp.asarray(job.fit.key), OWN_KEYS), purpose)


def _cross_validate(job: Job, fits: Sequence[FitJob], fit: FitAll) -> list[HeldOut] | None:
    n_folds = job.asked.folds
    if not n_folds:
        return None
    key = _key(job, FOLDS)
    folds = cross_validation.folds_of(job.fit.sample_weights, n_folds, key)
    results = fit([one for candidate in fits for one in cross_validation.fold_jobs(candidate, n_folds, key)])
    counts = job.dataset.counts
    return [
        cross_validation.held_out(
            results[number * n_folds : (number + 1) * n_folds],
            folds,
            np.asarray(units.standardised),
            counts,
            units.scaling,
            units.log_noise,
        )
        for number, units in enumerate(map(job.units_of, fits))
    ]


def _test(job: Job, fit: FitJob, result: FitResult, fit_tests: FitAll) -> LikelihoodRatioTest:
    n = job.asked.likelihood_ratio
    return likelihood_ratio.bootstrap_test(fit, result, n_replicates=n, key=_key(job, TESTS), fit_all=fit_tests)


def _test_in_sequence(
    job: Job, fits: Sequence[FitJob], results: Sequence[FitResult], fit_tests: FitAll
) -> tuple[int, tuple[LikelihoodRatioTest, ...]]:
    if results[0].diverged or results[0].degenerate:
        # Nothing can be tested against it.
        return 0, ()
    found = likelihood_ratio.smallest_not_rejected(
        fits,
        results,
        level=1.0 - job.asked.level,
        n_replicates=job.asked.likelihood_ratio,
        key=_key(job, TESTS),
        fit_all=fit_tests,
    )
    return [fit.plan.n_components for fit in fits].index(found.n_components), found.tests


def _resample(job: Job, fit: FitJob, result: FitResult, progress: Progress | None, workers: int) -> Resampled | None:
    if not job.asked.bootstrap or result.diverged:
        return None
    n, key = job.asked.bootstrap, _key(job, REPLICATES)
    scaling, noise = job.units_of(fit).scaling, fit.noise is not None
    fitted = natural_of(to_user_units(result.parameters, scaling), noise=noise)
    matched = []
    for first in range(0, n, REPLICATES_AT_ONCE):
        numbers = range(first, min(first + REPLICATES_AT_ONCE, n))
        drawn = bootstrap.replicates(fit, result, numbers, key, of_rows=job.dataset.is_robust)
        found = _fitter(_share(progress, numbers, n), workers, RESAMPLING)(drawn)
        mixtures = [bootstrap.natural(one, result, scaling, noise=noise) for one in found]
        matched += [in_order_of(fitted, one) if is_finite(one) else one for one in mixtures]
    return Resampled(
        bootstrap.percentile_intervals(
            fitted, matched, job.asked.level, result.degenerate, unseen(fit, result.parameters)
        ),
        type(fitted)(*(np.stack(leaves) for leaves in zip(*matched, strict=True))),
    )


def _share(progress: Progress | None, numbers: range, n: int) -> Progress | None:
    """The progress of steps of some of n replicates as that of all replicates; other progress is left as it is."""
    if progress is None:
        return None

    def of_all(done: int, total: int, what: str) -> None:
        if what == RESAMPLING:
            done, total = numbers.start + len(numbers) * done // total, n
        progress(done, total, what)

    return of_all
