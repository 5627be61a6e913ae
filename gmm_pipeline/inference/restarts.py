"""The best of several starts, and the outcomes of the others.

A likelihood has many optima, and some without bound, where a component shrinks onto a few data. So the answer is the
best start without such a component, judged in float64, since float32 cannot distinguish the optima of thousands of
observations.
"""

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float

from gmm_pipeline.inference.diagnostics import log_priors, totals
from gmm_pipeline.inference.jobs import FitJob, FitResult, Restart, split
from gmm_pipeline.inference.scaling import AnyData, identity_of
from gmm_pipeline.model import priors
from gmm_pipeline.model.multivariate import AnyParameters
from gmm_pipeline.model.vocabulary import DEGENERATE, DIVERGED, REACHED, SAME_OPTIMUM, WORSE


def degenerate_components(job: FitJob, parameters: AnyParameters) -> tuple[int, ...]:
    """The components at the floor of the scales, or with the weight of too few data (`fewest_data`).

    With a prior over sticks, empty components are intended and not degenerate.

    Args:
        job: what was fitted.
        parameters: where it ended.
    """
    family = job.plan.family
    return tuple(np.flatnonzero(family.degenerate(job, parameters, family.spread_of(job))).tolist())


def best_of(job: FitJob, results: Sequence[FitResult]) -> FitResult:
    """The best start without a degenerate component, or else the best one, with the outcome of each start.

    Args:
        job: what was fitted.
        results: of its restarts.
    """
    posteriors = log_posteriors(job, results)
    ranks = [
        (not result.diverged and math.isfinite(value), not result.degenerate, value)
        for result, value in zip(results, posteriors, strict=True)
    ]
    best = max(range(len(results)), key=lambda number: ranks[number] if ranks[number][0] else (False, False, -math.inf))
    sound = ranks[best][1]

    def outcome(number: int) -> str:
        finite, is_sound, value = ranks[number]
        if not finite:
            return DIVERGED
        if sound and not is_sound:
            return DEGENERATE
        if value >= posteriors[best] - SAME_OPTIMUM:
            return REACHED if is_sound else DEGENERATE
        return WORSE if is_sound else DEGENERATE

    restarts = tuple(
        Restart(value, outcome(number), result.converged, result.n_steps)
        for number, (result, value) in enumerate(zip(results, posteriors, strict=True))
    )
    return results[best]._replace(restarts=restarts)


def hit_rate(restarts: Sequence[Restart]) -> float:
    """Share of starts that reached the optimum that is the answer."""
    return sum(restart.outcome == REACHED for restart in restarts) / max(len(restarts), 1)


def log_posteriors(job: FitJob, results: Sequence[FitResult]) -> list[float]:
    """Log-likelihood plus log prior at the ends of starts, in nats and float64, in the units of the fit.

    Args:
        job: what was fitted.
        results: of its starts; −inf for one that diverged.
    """
    finite = [result for result in results if not result.diverged]
    priors = iter(log_priors_of(job, [result.parameters for result in finite], [result.learned for result in finite]))
    return [
        -math.inf if result.diverged else _log_likelihood(job, result.parameters) + next(priors) for result in results
    ]


def log_posterior(job: FitJob, result: FitResult) -> float:
    """Log-likelihood plus log prior at the end of a start, in nats and float64, in the units of the fit.

    Args:
        job: what was fitted.
        result: of one of its starts; −inf if it diverged.
    """
    return log_posteriors(job, [result])[0]


def log_posterior_at(
    job: FitJob,
    mixture: AnyParameters,
    learned: Mapping[str, float] | None = None,
    data: Float[AnyData, "n ..."] | None = None,
) -> float:
    """Log-likelihood plus log prior of a mixture, in nats and float64, in the units of the fit.

    Args:
        job: what was fitted.
        mixture: any.
        learned: hyperparameters that the prior learned; those it starts with, if left out.
        data: in the units of the fit, if available in a higher precision than that of the job.
    """
    return _log_likelihood(job, mixture, data) + log_prior(job, mixture, learned)


def _log_likelihood(job: FitJob, mixture: AnyParameters, data: Float[AnyData, "n ..."] | None = None) -> float:
    scaling = identity_of(job.plan.family.n_columns)
    seen = totals(mixture, job.data if data is None else data, job.sample_weights, scaling, job.noise)
    return seen.log_likelihood


def log_prior(job: FitJob, mixture: AnyParameters, learned: Mapping[str, float] | None = None) -> float:
    """Log prior density of a mixture, in nats and float64, in the units of the fit.

    Args:
        job: what was fitted.
        mixture: any.
        learned: hyperparameters that the prior learned; those it starts with, if left out.
    """
    return log_priors_of(job, [mixture], [learned or {}])[0]


def log_priors_of(
    job: FitJob, mixtures: Sequence[AnyParameters], learned: Sequence[Mapping[str, float]]
) -> list[float]:
    """Log prior densities of mixtures, computed together, in nats and float64, in the units of the fit.

    Args:
        job: what was fitted.
        mixtures: any.
        learned: for each, hyperparameters that the prior learned.
    """
    plan, floats = split(job)
    if not mixtures or plan.log_prior.function is priors.flat:  # compiles nothing for a run without a prior
        return [0.0] * len(mixtures)
    parameters = jax.tree.map(lambda *leaves: np.stack(leaves), *mixtures)
    varied = {name: np.array([one[name] for one in learned]) for name in learned[0]}
    return log_priors(parameters, plan.log_prior, floats["prior"], varied, job.setting).tolist()
