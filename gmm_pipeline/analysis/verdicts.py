"""Doubts about a fit, by itself.

A fit can have converged and still not be an answer: at a saddle, with two components that coincide, with a component
that is an artefact of rounded data, or below a mixture that its model contains. Each reason is verified, not guessed:
by a mixture with fewer components and the same likelihood, or by a nearby point, or one that the model contains, with a
higher posterior. So no doubt is raised about the best fit of a model. The price: a better optimum far away is not
detected.

Everything is float64 NumPy on the host, so that no number of components needs compiling, but for the curvature of
several columns (`columns_verdicts.py`). It takes one pass over the
data for the curvature, another if two components are near each other, and some more if a direction is flat.
"""

import math
from collections.abc import Collection, Iterator
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from gmm_pipeline.analysis.ascent import FLAT, ascent
from gmm_pipeline.analysis.columns_verdicts import climb_columns, columns_are_near, gain_of_merging_columns
from gmm_pipeline.analysis.doubts import Doubt, Reason
from gmm_pipeline.analysis.left_out import reason_of_left_out
from gmm_pipeline.analysis.likelihood_sums import LikelihoodSums
from gmm_pipeline.analysis.one_component import below_one_component
from gmm_pipeline.analysis.resolution import on_grid_lines, rounding_step, share_tied, share_unresolved
from gmm_pipeline.analysis.uncertainty import curvature, peak_of, stepped
from gmm_pipeline.inference.collapse import collapsing
from gmm_pipeline.inference.diagnostics import log_joint_of_noise
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.narrow import GAIN
from gmm_pipeline.inference.parameterization import over_sticks
from gmm_pipeline.inference.restarts import log_posterior_at
from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model import portable
from gmm_pipeline.model.large_data import slices
from gmm_pipeline.model.mixture import Mixture, Parameters, exact
from gmm_pipeline.model.multivariate import AnyParameters, MultivariateParameters, natural_of
from gmm_pipeline.model.natural import AnyMixture, MultivariateMixture, is_finite
from gmm_pipeline.model.noise import counts_of
from gmm_pipeline.model.prior_traits import traits
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM

NEAR = 1.0
"""Largest distance of locs in scales, and largest log ratio of scales, of components that may coincide."""
DATA_AT_ONCE = 8 * portable.CHUNK
"""Data that are converted to float64 together."""


@np.errstate(all="ignore")
def doubts_of(
    job: FitJob,
    result: FitResult,
    data: Float[AnyData, "n ..."],
    *,
    climbs: bool = True,
    sums: LikelihoodSums | None = None,
    reached: float = math.inf,
) -> tuple[Doubt, ...]:
    """Doubts about a fit by itself; none for one that diverged.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit, before they were rounded to its precision.
        climbs: whether it is examined for a saddle, which for several columns compiles a program.
        sums: over the data of one column, if they are known.
        reached: the log-likelihood in the units of the fit, if it is known.
    """
    parameters = result.parameters
    of_columns = isinstance(parameters, MultivariateParameters)
    mixture = natural_of(parameters)
    if result.diverged or not is_finite(mixture):
        return ()
    # With a prior over sticks, empty or equal components are intended.
    by_intent = over_sticks(job.plan.log_prior)
    groups = [] if by_intent else coincident(job, parameters, data)
    climbs = climbs and result.converged and not by_intent
    escape = (climb_columns if of_columns else partial(climb, sums=sums))(job, result, data) if climbs else 0.0
    explained = {*result.degenerate, *(component for group in groups for component in group)}
    steps = made_by_rounding(job, mixture, data)
    narrow = tuple(sorted({*steps} - explained))
    collapse = tuple(sorted({*collapsing(job, result, data)} - explained - {*narrow}))
    left_out = -math.inf if result.searched is None or result.degenerate else result.searched.left_out
    below = 0.0 if result.degenerate or by_intent else below_one_component(job, result, reached, data)
    hidden, tied = share_unresolved(data, job.data), share_tied(data, job.sample_weights)
    return (
        *((Doubt(Reason.COLLAPSING, collapse),) if collapse else ()),
        *((Doubt(Reason.MISSED, (), below, "copies of one component", below),) if below else ()),
        *(Doubt(Reason.COINCIDENT, group) for group in groups),
        *((Doubt(Reason.SADDLE, nats=escape),) if escape > SAME_OPTIMUM else ()),
        *((Doubt(Reason.ROUNDED, narrow),) if narrow else ()),
        *((Doubt(Reason.TIED, other=f"{tied:.0%}"),) if tied > 0.0 else ()),
        *((Doubt(Reason.UNRESOLVED, other=f"{hidden:.0%}"),) if hidden > 0.0 else ()),
        *((Doubt(reason_of_left_out(result), nats=left_out),) if left_out > GAIN else ()),
        *_of_few_data(job, parameters, explained),
    )


def _of_few_data(job: FitJob, parameters: AnyParameters, explained: Collection[int]) -> Iterator[Doubt]:
    """Components with fewer data than numbers of their own besides the weight, where no prior has a say in these."""
    if not job.covariance or traits(job.plan.log_prior.function).pseudo_count is None:
        return
    larger = job._replace(plan=job.plan._replace(n_components=job.plan.n_components + 1))
    own, total = larger.n_parameters - job.n_parameters - 1, float(np.sum(job.sample_weights, dtype=np.float64))
    log_weights = np.asarray(parameters.log_component_weights, np.float64)
    for component, count in enumerate(counts_of(log_weights, total, noise=job.noise is not None)):
        if count < own and component not in explained:
            yield Doubt(Reason.FEW, (component,), other=f"{count:,.1f} observations, fewer than the {own:,}")


def coincident(job: FitJob, parameters: AnyParameters, data: Float[AnyData, "n ..."]) -> list[tuple[int, ...]]:
    """Groups of components of which any two can be merged without changing the log-likelihood.

    Components with too few data are left out, since they are degenerate.

    Args:
        job: what was fitted.
        parameters: where it ended.
        data: in the units of the fit.
    """
    family = job.plan.family
    mixture: Any = family.natural(parameters)
    log_noise = log_joint_of_noise(parameters, job.noise)
    counts = job.sample_weights
    with_data = np.sum(counts, dtype=np.float64) * mixture.weights >= family.fewest_data(job)
    of_columns = isinstance(mixture, MultivariateMixture)
    near, gain = (columns_are_near, gain_of_merging_columns) if of_columns else (_are_near, _gain_of_merging)
    groups: list[set[int]] = []
    for pair in combinations(range(len(mixture.locs)), 2):
        if with_data[list(pair)].all() and near(mixture, pair):
            one = family.natural(family.merged(job, parameters, *pair))
            if gain(mixture, pair, one, data, counts, log_noise) >= -SAME_OPTIMUM:
                joined = [group for group in groups if group & {*pair}]
                groups = [group for group in groups if group not in joined] + [set().union(pair, *joined)]
    return sorted(tuple(sorted(group)) for group in groups)


def _are_near(mixture: Mixture, pair: tuple[int, int]) -> bool:
    scales = mixture.scales[list(pair)]
    apart = abs(np.diff(mixture.locs[list(pair)])[0])
    return bool(apart <= NEAR * scales.max() and abs(np.diff(np.log(scales))[0]) <= NEAR)


def _gain_of_merging(
    mixture: Mixture,
    pair: tuple[int, int],
    one: Mixture,
    data: Float[AnyData, " n"],
    counts: np.ndarray,
    log_noise: float | None,
) -> float:
    """Log-likelihood of the mixture with a pair merged, minus that with both: Σ c log(1 − r_j − r_k + w f / p)."""
    weight, loc, scale = (leaf[pair[0]] for leaf in one)
    total, height = 0.0, portable.log_height(np.log(weight), np.log(scale))
    for place in slices(len(data), DATA_AT_ONCE):
        some, counts_of_some = np.asarray(data[place], np.float64), np.asarray(counts[place], np.float64)
        for here, log_densities, responsibilities in portable.chunks(*mixture, some, log_noise):
            share = np.exp(portable.log_joint(height, (some[here] - loc) / scale) - log_densities)
            rest = np.maximum(1.0 - responsibilities[list(pair)].sum(axis=0), 0.0)
            total += float(counts_of_some[here] @ np.log(rest + share))
    return total


def climb(job: FitJob, result: FitResult, data: Float[AnyData, " n"], *, sums: LikelihoodSums | None = None) -> float:
    """How many nats the log posterior gains on a walk from the fit that never descends; 0 at a maximum.

    Only directions of negligible curvature are tried.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit.
        sums: over them, if they are known.
    """
    found = curvature(peak_of(job, result, data)._replace(sums=sums))
    if found is None or not found.shares[0] < FLAT:
        return 0.0
    begin, floor = np.stack(exact(result.parameters)), job.scale_floor * job.plan.family.spread_of(job)
    inside = np.minimum(begin[2], np.log(floor))

    def height(step: Float[np.ndarray, " P"]) -> float:
        point = begin + stepped(step, begin.shape[1])
        if (point[2] < inside).any():
            return -math.inf
        return log_posterior_at(job, Parameters(*point), result.learned, data)

    return ascent(height, found.directions[:, found.shares < FLAT], n_data=len(data))


def made_by_rounding(job: FitJob, mixture: AnyMixture, data: Float[AnyData, "n ..."]) -> tuple[int, ...]:
    """The components that are an artefact of rounded data, as `on_grid_lines` tells them; none if there is only one.

    Args:
        job: what was fitted.
        mixture: where it ended, in the units of the fit.
        data: in these units.
    """
    if len(mixture.weights) == 1:
        return ()
    if isinstance(mixture, MultivariateMixture):
        if job.rounding is None:
            return ()
        return tuple(on_grid_lines(mixture.locs, mixture.covariances, job.rounding, data, job.sample_weights))
    step = rounding_step(data)
    if step is None:
        return ()
    shaped = mixture.locs[:, None], (mixture.scales**2)[:, None, None], np.array([[step / math.sqrt(12.0)]])
    return tuple(on_grid_lines(*shaped, data, job.sample_weights))
