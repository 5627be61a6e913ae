"""Doubts about a fit of several columns by itself: components that coincide, and saddles; see `verdicts.py`.

The curvature of each model and number of components is a program, which takes two seconds to compile. So whether a fit
is a saddle is asked of an answer only, and only where its curvature gave no standard errors. The price: a candidate of
a selection that is a saddle is not barred.
"""

import math

import numpy as np
from jaxtyping import Float

from gmm_pipeline.analysis.ascent import FLAT, ascent
from gmm_pipeline.analysis.factor_curvature import analysis_of
from gmm_pipeline.analysis.multivariate_curvature import multivariate_curvature
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.restarts import degenerate_components, log_posterior_at
from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model import portable
from gmm_pipeline.model.covariances import Kind, kind_of
from gmm_pipeline.model.large_data import MANY, slices
from gmm_pipeline.model.multivariate import parameters_of
from gmm_pipeline.model.natural import MultivariateMixture, is_finite, taken
from gmm_pipeline.model.noise import with_odds

NEAR = 1.0
"""Largest distance of locs in standard deviations, and largest log ratio of scales in any direction, of components that
may coincide."""


def columns_are_near(mixture: MultivariateMixture, pair: tuple[int, int]) -> bool:
    """Whether two components are so near each other that they may coincide.

    Args:
        mixture: in any units.
        pair: of its components.
    """
    covariances = mixture.covariances[list(pair)]
    inverse = np.linalg.inv(np.linalg.cholesky(covariances.mean(axis=0)))
    apart = np.linalg.norm(inverse @ np.diff(mixture.locs[list(pair)], axis=0)[0])
    # Their mean has eigenvalues of 1, so those of the other are 2 less these.
    ratios = np.linalg.eigvalsh(inverse @ covariances[0] @ inverse.T)
    return bool(apart <= NEAR and np.abs(0.5 * np.log(ratios / (2.0 - ratios))).max() <= NEAR)


def gain_of_merging_columns(
    mixture: MultivariateMixture,
    pair: tuple[int, int],
    one: MultivariateMixture,
    data: Float[AnyData, "n d"],
    counts: Float[np.ndarray, " n"],
    log_noise: float | None = None,
) -> float:
    """Log-likelihood of the mixture with a pair merged, minus that with both, in nats.

    Args:
        mixture: with both.
        pair: of its components.
        one: with these merged, at the place of the first.
        data: x.
        counts: c, how often each datum counts.
        log_noise: log joint density of the noise and any datum; None without noise.
    """
    if len(data) > MANY:
        places = slices(len(data))
        of_blocks = ((mixture, pair, one, data[here], counts[here], log_noise) for here in places)
        return math.fsum(gain_of_merging_columns(*block) for block in of_blocks)
    exact = np.asarray(data, np.float64)
    log_densities, responsibilities = portable.evaluate(*mixture, exact, log_noise)
    heights, _ = portable.evaluate(*taken(one, np.array([pair[0]])), exact)
    rest = np.maximum(1.0 - responsibilities[list(pair)].sum(axis=0), 0.0)
    return float(counts @ np.log(rest + np.exp(heights - log_densities)))


def climb_columns(job: FitJob, result: FitResult, data: Float[AnyData, "n d"]) -> float:
    """How many nats the log posterior gains on a walk from the fit that never descends; 0 at a maximum.

    Directions are those in which the likelihood has no curvature; the walk is one of the log posterior.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit.
    """
    kind = kind_of(job.covariance)
    # Whitened data have axes of one length, whose directions are undefined; where the model allows any units, others
    # are used for the curvature.
    stretch = 1.0 + np.arange(data.shape[1]) if kind is Kind.FULL else np.ones(data.shape[1])
    analysis = analysis_of(result.parameters) if job.factors else None
    weights, locs, covariances = job.plan.family.natural(result.parameters)
    stretched = MultivariateMixture(weights, locs * stretch, covariances * np.outer(stretch, stretch))
    counts = np.asarray(job.sample_weights, np.float64)
    log_noise = None if job.noise is None else job.noise - float(np.log(stretch).sum())
    found = multivariate_curvature(
        stretched,
        job.covariance,
        np.asarray(data) * stretch,
        counts,
        degenerate=result.degenerate,
        log_noise=log_noise,
        analysis=analysis,
    )
    if found is None or not found.shares[0] < FLAT:
        return 0.0

    def height(step: Float[np.ndarray, " P"]) -> float:
        weights, locs, covariances = found.mixture_at(step)
        mixture = MultivariateMixture(weights, locs / stretch, covariances / np.outer(stretch, stretch))
        if not weights.min() > 0.0 or not is_finite(mixture):
            return -math.inf
        point = parameters_of(mixture, kind) if analysis is None else found.parameters_at(step)
        if job.noise is not None:
            point = with_odds(point, np.log(weights.sum()) - np.log1p(-weights.sum()))
        if not {*degenerate_components(job, point)} <= {*result.degenerate}:
            return -math.inf
        return log_posterior_at(job, point, result.learned, data)

    return ascent(height, found.directions[:, found.shares < FLAT], n_data=len(data))
