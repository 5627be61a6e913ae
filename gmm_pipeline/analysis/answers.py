"""From an estimate in the units of the fit to an answer in those of the user."""

import math
from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import numpy as np

from gmm_pipeline.analysis.bootstrap import BootstrapIntervals
from gmm_pipeline.analysis.doubts import BY_COMPARISON, Doubt, Reason, barred
from gmm_pipeline.analysis.estimates import Estimate, Job, Progress
from gmm_pipeline.analysis.factor_curvature import analysis_of
from gmm_pipeline.analysis.likelihood_ratio import LikelihoodRatioTest
from gmm_pipeline.analysis.likelihood_sums import LikelihoodSums, likelihood_sums
from gmm_pipeline.analysis.matching import adjusted_rand_index, largest_errors, match, z_scores
from gmm_pipeline.analysis.multivariate_uncertainty import errors_with_noise, multivariate_intervals
from gmm_pipeline.analysis.prior_in_user_units import log_prior_in_user_units
from gmm_pipeline.analysis.selection import Candidate, criteria
from gmm_pipeline.analysis.uncertainty import in_user_units, intervals, peak_of, uncertainty
from gmm_pipeline.analysis.unseen import unseen
from gmm_pipeline.analysis.verdicts import doubts_of
from gmm_pipeline.inference.diagnostics import (
    entropy_of,
    evaluate,
    log_joint_of_noise,
    log_likelihoods,
    log_priors,
    totals,
)
from gmm_pipeline.inference.jobs import FitJob, FitResult, Restart, Searched, split
from gmm_pipeline.inference.restarts import hit_rate
from gmm_pipeline.inference.scaling import AnyData, in_like_units, to_user_units, total_log_volume
from gmm_pipeline.model.factor_analysis import canonical
from gmm_pipeline.model.large_data import MANY
from gmm_pipeline.model.mixture import constrain, exact
from gmm_pipeline.model.multivariate import AnyParameters, components_taken, natural_of
from gmm_pipeline.model.natural import (
    AnyErrors,
    AnyMixture,
    MultivariateErrors,
    MultivariateMixture,
    is_finite,
    order_of,
    reported,
    taken,
)
from gmm_pipeline.model.noise import Noise, share_of_components, weight_of_noise
from gmm_pipeline.model.overlap import overlap
from gmm_pipeline.model.portable import labels_of
from gmm_pipeline.model.vocabulary import PASSING
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.assignments import Assignments
from gmm_pipeline.records.evaluations import Evaluations

MOST_FREE_NUMBERS = 400
"""Free numbers of several columns up to which standard errors are computed; beyond, the bootstrap gives them."""
MOST_ELEMENTS_IN_FLOAT64 = 1e8
"""History entries × data × components: about a second on two cores."""


class Interval(NamedTuple):
    """Ends of the intervals of every parameter, and the standard errors behind them."""

    standard_errors: AnyErrors
    lower: AnyErrors
    upper: AnyErrors


class Answer(NamedTuple):
    """A result in the user's units, components in the order of `natural.order_of`."""

    fitted: AnyMixture
    unconstrained: AnyParameters
    equal_scales: bool
    covariance: str
    """Covariance model of several columns; empty for one column."""
    degenerate: tuple[int, ...]
    doubts: tuple[Doubt, ...]
    """Other reasons for doubt."""
    learned: dict[str, float]
    """Hyperparameters that the prior learned."""
    asymptotic: Interval
    """From the observed information; NaN where it is undefined."""
    bootstrap: Interval | None
    replicates: AnyMixture | None
    """[B, K], of the bootstrap."""
    metrics: dict[str, Any]
    restarts: tuple[Restart, ...]
    searched: Searched | None
    candidates: tuple[Candidate, ...]
    chosen: int
    tests: tuple[LikelihoodRatioTest, ...]
    history: History
    assignments: Assignments | Evaluations
    diverged: bool
    noise: Noise | None = None
    """None without noise."""
    is_single: bool = False
    """Whether the fit was in single precision, whose rounding limits how short its gradient gets."""

    @property
    def is_sound(self) -> bool:
        """Whether it may be chosen as the best of several."""
        return barred(self.degenerate, self.doubts, diverged=self.diverged) is None


def answer(job: Job, estimate: Estimate, *, progress: Progress | None = None) -> Answer:
    """Evaluate an estimate in float64 and convert it to the user's units and the order of the locs.

    Args:
        job: what was asked.
        estimate: the estimate, in the units of the fit.
        progress: called with (rows seen, rows in all, what) in passes over large data; None for no progress.
    """
    dataset, result, fit = job.dataset, estimate.result, estimate.fit
    units = job.units_of(fit)
    scaling = units.scaling
    total = float(np.sum(dataset.counts))
    plan, floats = split(fit)
    past = result.history
    heights = log_priors(past.parameters, plan.log_prior, floats["prior"], past.learned, fit.setting)
    log_prior = float(heights[-1])
    unconstrained = to_user_units(result.parameters, scaling)
    has_noise = fit.noise is not None
    unordered = natural_of(unconstrained, noise=has_noise)
    order = order_of(unordered) if fit.covariance else order_of(constrain(result.parameters))
    history_parameters = to_user_units(result.history.parameters, scaling)
    n_parameters = fit.n_parameters
    fitted = taken(unordered, order)
    standardised = units.standardised
    is_large = fit.is_large or len(dataset.data) > MANY
    if is_large:
        evaluated = _in_blocks(job, estimate, fitted, standardised, progress)
    else:
        evaluated = _at_once(job, estimate, order, standardised)
    loss = -(evaluated.log_likelihood + log_prior)
    asymptotic, error_of_noise = _asymptotic(
        job, estimate, fitted, order, standardised, evaluated.sums, _seen(job, progress)
    )
    noise = _noise_of(job, estimate, error_of_noise)
    resampled = estimate.resampled
    degenerate = _renumbered(result.degenerate, order)
    # Where the curvature of several columns has errors, it is that of a maximum.
    known = np.isfinite(asymptotic.standard_errors.locs).any() or n_parameters > MOST_FREE_NUMBERS
    reached = evaluated.log_likelihood + total_log_volume(scaling, units.of_user, fit.sample_weights)
    climbs = not (fit.covariance and known)
    own = [
        one._replace(components=_renumbered(one.components, order))
        for one in doubts_of(fit, result, standardised, climbs=climbs, sums=evaluated.sums, reached=reached)
    ]
    beside = estimate.candidates[estimate.chosen].doubts if estimate.candidates else ()
    by_others = BY_COMPARISON - {one.reason for one in own}
    doubts = (*own, *_unseen(job, fit, result, order), *(one for one in beside if one.reason in by_others))
    # What is finite in float32 may overflow in the user's units, or have no likelihood in float64.
    diverged = result.diverged or not (np.isfinite(loss) and is_finite(fitted))
    why = barred(degenerate, doubts, diverged=diverged)
    return Answer(
        fitted=fitted,
        unconstrained=_turned(components_taken(unconstrained, order)),
        equal_scales=fit.equal_scales,
        covariance=fit.covariance,
        degenerate=degenerate,
        doubts=doubts,
        learned=result.learned,
        asymptotic=asymptotic,
        bootstrap=None if resampled is None else _of_bootstrap(resampled.intervals, order),
        replicates=None if resampled is None else taken(resampled.replicates, order),
        metrics={
            "loss": loss,
            "log_likelihood": evaluated.log_likelihood,
            "log_prior": log_prior,
            **criteria(evaluated.log_likelihood, n_parameters, total, evaluated.entropy),
            **_compared(estimate),
            "n_data": len(dataset.data),
            **({} if dataset.sample_weights is None else {"sum_of_weights": total}),
            "n_components": fit.plan.n_components,
            "n_parameters": n_parameters,
            **({} if noise is None else {"noise_weight": noise.weight, "noise_weight_error": noise.standard_error}),
            "n_steps": result.n_steps,
            "converged": result.converged,
            **({"n_finishing": result.n_finishing} if result.n_finishing else {}),
            "gradient_norm": result.gradient_norm,
            "n_degenerate": len(result.degenerate),
            "barred": None if why is None else str(why),
            "restarts": len(result.restarts),
            "hit_rate": hit_rate(result.restarts),
            **_of_searches(result),
            **({"n_condensed": result.n_condensed} if result.n_condensed else {}),
            **({"minibatch": fit.plan.minibatch} if fit.plan.minibatch else {}),
            **({"scale_floor": fit.scale_floor} if fit.floor_of_few else {}),
            **_recovered(job, fitted, asymptotic, evaluated.assignments),
        },
        restarts=result.restarts,
        searched=result.searched,
        candidates=estimate.candidates,
        chosen=estimate.chosen,
        tests=estimate.tests,
        history=History(
            result.steps,
            # The last loss is the one in the metrics, which was summed in another order.
            np.append(_losses_before_the_last(job, fit, result, heights), loss),
            taken(natural_of(history_parameters, noise=has_noise), order),
        ),
        assignments=evaluated.assignments,
        diverged=diverged,
        noise=noise,
        is_single=job.fit.data.dtype == np.float32,
    )


def _unseen(job: Job, fit: FitJob, result: FitResult, order: np.ndarray) -> list[Doubt]:
    """Doubts about locs that no datum determines, by component and column."""
    found = unseen(fit, result.parameters)
    if found is None:
        return []
    places = zip(*np.nonzero(found[order]), strict=True)
    return [Doubt(Reason.UNSEEN, (int(one),), other=job.dataset.columns[column]) for one, column in places]


def _turned(parameters: AnyParameters) -> AnyParameters:
    """The same mixture, with the one rotation of its factors that is reported."""
    loadings = getattr(parameters, "loadings", None)
    if loadings is None or not np.isfinite(loadings).all():
        return parameters
    return parameters._replace(loadings=canonical(np.asarray(loadings, np.float64)))


class _Evaluated(NamedTuple):
    """The fitted mixture at the data, in the user's units."""

    log_likelihood: float
    entropy: float
    """Of the responsibilities, in nats."""
    assignments: Assignments | Evaluations
    sums: LikelihoodSums | None = None
    """Over large data of one column."""


def _at_once(job: Job, estimate: Estimate, order: np.ndarray, data: AnyData) -> _Evaluated:
    dataset, fit = job.dataset, estimate.fit
    scaling, has_noise = job.units_of(fit).scaling, fit.noise is not None
    found = evaluate(estimate.result.parameters, data, dataset.counts, scaling, fit.noise)
    of_all = np.append(order, len(order)) if has_noise else order
    responsibilities = found.responsibilities[:, of_all]
    labels = labels_of(responsibilities.T, len(order))
    about = (dataset.rows, dataset.columns)
    return _Evaluated(
        found.log_likelihood,
        entropy_of(found.responsibilities, dataset.counts),
        Assignments(dataset.data, dataset.sample_weights, labels, responsibilities, *about, noise=has_noise),
    )


def _in_blocks(
    job: Job, estimate: Estimate, fitted: AnyMixture, data: AnyData, progress: Progress | None
) -> _Evaluated:
    """Of large data: sums over blocks, and assignments that are computed when they are asked for."""
    dataset, fit, scaling = job.dataset, estimate.fit, job.units_of(estimate.fit).scaling
    log_noise = log_joint_of_noise(estimate.result.parameters, fit.noise)
    if log_noise is not None:
        log_noise -= scaling.log_volume
    weights = dataset.sample_weights
    at_data = Evaluations(fitted, log_noise, dataset.data, weights, dataset.rows, dataset.columns)

    if not is_finite(fitted):
        return _Evaluated(math.nan, math.nan, at_data)
    counts, parameters = dataset.counts, estimate.result.parameters
    if fit.covariance:
        found = totals(parameters, data, counts, scaling, fit.noise)
        return _Evaluated(found.log_likelihood, found.entropy, at_data)
    sums = likelihood_sums(exact(parameters), data, counts, fit.noise, _seen(job, progress))
    log_likelihood = sums.log_likelihood - total_log_volume(scaling, dataset.data, counts)
    return _Evaluated(log_likelihood, sums.entropy, at_data, sums)


def _seen(job: Job, progress: Progress | None) -> Callable[[int], None] | None:
    n = len(job.dataset.data)
    return None if progress is None else lambda rows: progress(rows, n, PASSING)


def _renumbered(components: Iterable[int], order: np.ndarray) -> tuple[int, ...]:
    """Indices of components after sorting by loc."""
    return tuple(np.flatnonzero(np.isin(order, tuple(components))).tolist())


def _noise_of(job: Job, estimate: Estimate, error: float) -> Noise | None:
    """The noise, with an interval of the bootstrap, or else one that is symmetric on the logit scale."""
    fit = estimate.fit
    if fit.noise is None:
        return None
    log_density = fit.noise - job.units_of(fit).scaling.log_volume
    log_weights = estimate.result.parameters.log_component_weights
    weight, rest = float(weight_of_noise(log_weights)), float(share_of_components(log_weights))
    if estimate.resampled is not None:
        drawn = 1.0 - estimate.resampled.replicates.weights.sum(axis=-1)
        kept = drawn[np.isfinite(drawn)]
        if len(kept) < 2:
            return Noise(weight, log_density)
        ends = np.quantile(kept, [0.5 - 0.5 * job.asked.level, 0.5 + 0.5 * job.asked.level]).tolist()
        return Noise(weight, log_density, float(np.std(kept, ddof=1)), *ends)
    away = NormalDist().inv_cdf(0.5 + 0.5 * job.asked.level)
    with np.errstate(all="ignore"):
        lower, upper = (
            float(1.0 / (1.0 + rest / weight * np.exp(sign * away * error / (weight * rest)))) for sign in (1, -1)
        )
    return Noise(weight, log_density, error, lower, upper)


def _asymptotic(
    job: Job,
    estimate: Estimate,
    fitted: AnyMixture,
    order: np.ndarray,
    standardised: AnyData,
    sums: LikelihoodSums | None,
    seen: Callable[[int], None] | None,
) -> tuple[Interval, float]:
    """Of the components, and the standard error of the weight of the noise."""
    if isinstance(fitted, MultivariateMixture):
        return _of_several_columns(job, estimate, fitted, order, seen)
    units = job.units_of(estimate.fit)
    peak = peak_of(estimate.fit, estimate.result, standardised)
    peak = peak._replace(sample_weights=job.dataset.counts, robust=job.dataset.is_robust, sums=sums)
    found = uncertainty(peak)
    errors = taken(in_user_units(found.standard_errors, units.scaling), order)
    return Interval(errors, *intervals(fitted, errors, job.asked.level)), found.of_noise


def _of_several_columns(
    job: Job,
    estimate: Estimate,
    fitted: MultivariateMixture,
    order: np.ndarray,
    seen: Callable[[int], None] | None,
) -> tuple[Interval, float]:
    fit, dataset = estimate.fit, job.dataset
    if fit.n_parameters > MOST_FREE_NUMBERS:
        unknown = MultivariateErrors(*(np.full_like(leaf, np.nan) for leaf in reported(fitted)))
        return Interval(unknown, unknown, unknown), np.nan
    units, scaling, data = in_like_units(dataset.data, job.units_of(fit).scaling)
    degenerate = _renumbered(estimate.result.degenerate, order)
    log_prior = log_prior_in_user_units(fit, scaling, estimate.result.learned)
    log_noise = None if fit.noise is None else fit.noise - scaling.log_volume
    parameters = components_taken(to_user_units(estimate.result.parameters, scaling), order)
    errors, of_noise = errors_with_noise(
        MultivariateMixture(fitted.weights, fitted.locs / units, fitted.covariances / units[:, None] / units),
        fit.covariance,
        data,
        dataset.counts,
        log_prior=log_prior,
        degenerate=degenerate,
        log_noise=log_noise,
        analysis=analysis_of(parameters) if fit.factors else None,
        robust=dataset.is_robust,
        seen=seen,
    )
    errors = errors._replace(
        locs=units * errors.locs, covariances=units[:, None] * errors.covariances * units, scales=units * errors.scales
    )
    return Interval(errors, *multivariate_intervals(fitted, errors, job.asked.level)), of_noise


def _of_bootstrap(seen: BootstrapIntervals, order: np.ndarray) -> Interval:
    return Interval(*(taken(one, order) for one in (seen.standard_errors, seen.lower, seen.upper)))


def _of_searches(result: FitResult) -> dict[str, int | float | None]:
    searched = result.searched
    if searched is None:
        return {}
    return {
        "searches": searched.n_searches,
        "searches_agree": searched.n_agreeing,
        "n_optima": len(searched.log_posteriors),
        "gap_to_next": searched.gap,
        "search_rounds": searched.n_rounds,
    }


def _compared(estimate: Estimate) -> dict[str, float | int | None]:
    """Metrics of cross-validation, tests and the bootstrap, where these were asked for."""
    metrics: dict[str, float | int | None] = {}
    if estimate.held_out is not None:
        metrics |= {
            "held_out": estimate.held_out.log_likelihood,
            "held_out_error": estimate.held_out.standard_error,
        }
    if estimate.candidates:
        metrics["sbic"] = estimate.candidates[estimate.chosen].sbic
    tested = [test for test in estimate.tests if test.n_components == estimate.fit.plan.n_components]
    if tested:
        metrics |= {"likelihood_ratio": tested[-1].statistic, "p_value": tested[-1].p_value}
    if estimate.resampled is not None:
        metrics["bootstrap_dropped"] = estimate.resampled.intervals.dropped
    return metrics


def _recovered(
    job: Job, fitted: AnyMixture, asymptotic: Interval, assignments: Assignments | Evaluations
) -> dict[str, float | None]:
    """How near the truth is, where it is known."""
    truth, components = job.dataset.truth, job.dataset.components
    if truth is None:
        return {}
    scores = np.concatenate([np.ravel(leaf) for leaf in z_scores(fitted, truth, asymptotic.standard_errors)])
    known = len(fitted.locs) == len(truth.locs) and not match(fitted, truth).unmatched
    sure = bool(known and np.isfinite(scores).all())
    metrics: dict[str, float | None] = {
        "largest_z": float(np.abs(scores).max()) if sure else None,
        "true_overlap": overlap(truth).maximum,
    }
    if isinstance(fitted, MultivariateMixture):
        errors = largest_errors(fitted, truth)
        metrics["largest_weight_error"] = None if errors is None else errors.weights
        metrics["largest_loc_error"] = None if errors is None else errors.locs
    if components is not None:
        metrics["adjusted_rand_index"] = adjusted_rand_index(components, assignments.labels, job.dataset.sample_weights)
    return metrics


def _losses_before_the_last(job: Job, fit: FitJob, result: FitResult, priors: np.ndarray) -> np.ndarray:
    """Losses over the steps in the user's units; in float64, unless that would take longer than the fit."""
    dataset, plan = job.dataset, fit.plan
    units = job.units_of(fit)
    elements = len(result.steps) * plan.n_components * len(dataset.data) * plan.family.cost
    if elements <= MOST_ELEMENTS_IN_FLOAT64:
        before = jax.tree.map(lambda leaf: leaf[:-1], result.history.parameters)
        heights = log_likelihoods(before, units.standardised, dataset.counts, units.scaling, fit.noise)
        return -(heights + priors[:-1])
    total = float(np.sum(dataset.counts))
    losses = np.asarray(result.history.loss[:-1], np.float64) * (total if plan.average_loss else 1.0)
    return losses + total_log_volume(units.scaling, dataset.data, dataset.counts)
