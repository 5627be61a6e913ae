"""What speaks against a fit, and whether it may win a selection all the same.

A fit can have converged and still be no answer: at a saddle, with two components that are one, with a component that is
an artefact of rounded data, or below a mixture that it contains. Each reason is shown rather than guessed: by a mixture
with fewer components and the same likelihood, or by a point nearby, or one that the model contains, with a higher
posterior. So none is raised against a fit that is the best of its model. The price: what no such point shows is not
seen, such as a better optimum far away.

Everything is float64 NumPy on the host: judging another number of components compiles nothing. One pass over the data
for the curvature, one more where two components are near each other, some where a direction is flat.
"""

import math
from itertools import combinations

import numpy as np
from jaxtyping import Float

from gmm_pipeline.analysis.doubts import Doubt, Reason
from gmm_pipeline.analysis.resolution import rounding_step, share_tied, share_unresolved
from gmm_pipeline.analysis.uncertainty import curvature, peak_of
from gmm_pipeline.inference.collapse import collapsing
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.parameterization import over_sticks
from gmm_pipeline.inference.restarts import fewest_data, log_posterior_at, spread_of
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import Mixture, Parameters, constrain, exact
from gmm_pipeline.model.splitting import merged
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM

NEAR = 1.0
"""Scales between two locs, and log of the ratio of their scales, at most, for components that may be one."""
FLAT = 1e-6
"""Share of the complete information up to which a direction may lead upward; float64 sums are exact to less."""
FIRST_STEP, DOUBLINGS = 0.25, 12
"""Of a walk in such a direction: standard errors of the complete information, up to about √n of a million data."""
STEPS_ON_THE_LEVEL = 4
"""Doublings after which a direction that has gained nothing is level for good."""
MOST_DIRECTIONS = 3
"""In which a walk is tried, from the steepest: a bound on the passes over the data."""
ROUNDING = 1e-11
"""Of a log posterior, as a share of the number of data and of itself."""


@np.errstate(all="ignore")
def doubts_of(job: FitJob, result: FitResult, data: Float[np.ndarray, " n"]) -> tuple[Doubt, ...]:
    """What speaks against a fit by itself; nothing of one that diverged, which is no fit.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit, as they were before they were rounded to its precision.
    """
    mixture = constrain(exact(result.parameters))
    if result.diverged or not np.isfinite(mixture).all():
        return ()
    # A prior over sticks leaves components empty or alike by intent.
    by_intent = over_sticks(job.plan.log_prior)
    groups = [] if by_intent else coincident(job, result.parameters, data)
    escape = climb(job, result, data) if result.converged and not by_intent else 0.0
    explained = {*result.degenerate, *(component for group in groups for component in group)}
    narrow = tuple(sorted({*narrower_than_rounding(mixture, rounding_step(data))} - explained))
    collapse = tuple(sorted({*collapsing(job, result, data)} - explained - {*narrow}))
    hidden, tied = share_unresolved(data, job.data), share_tied(data, np.asarray(job.sample_weights, np.float64))
    return (
        *((Doubt(Reason.COLLAPSING, collapse),) if collapse else ()),
        *(Doubt(Reason.COINCIDENT, group) for group in groups),
        *((Doubt(Reason.SADDLE, nats=escape),) if escape > SAME_OPTIMUM else ()),
        *((Doubt(Reason.ROUNDED, narrow),) if narrow else ()),
        *((Doubt(Reason.TIED, other=f"{tied:.0%}"),) if tied > 0.0 else ()),
        *((Doubt(Reason.UNRESOLVED, other=f"{hidden:.0%}"),) if hidden > 0.0 else ()),
    )


def coincident(job: FitJob, parameters: Parameters, data: Float[np.ndarray, " n"]) -> list[tuple[int, ...]]:
    """Groups of components any two of which, merged into one, leave the log-likelihood as it is.

    Components of too few data are left to the rule for these.

    Args:
        job: what was fitted.
        parameters: where it ended.
        data: in the units of the fit.
    """
    mixture = constrain(parameters)
    counts = np.asarray(job.sample_weights, np.float64)
    with_data = counts.sum() * mixture.weights >= fewest_data(job)
    groups: list[set[int]] = []
    for pair in combinations(range(len(mixture.locs)), 2):
        if with_data[list(pair)].all() and _are_near(mixture, *pair):
            one = constrain(merged(parameters, *pair, keep_scale=job.equal_scales))
            if _gain_of_merging(mixture, pair, one, data, counts) >= -SAME_OPTIMUM:
                joined = [group for group in groups if group & {*pair}]
                groups = [group for group in groups if group not in joined] + [set().union(pair, *joined)]
    return sorted(tuple(sorted(group)) for group in groups)


def _are_near(mixture: Mixture, one: int, other: int) -> bool:
    scales = mixture.scales[[one, other]]
    apart = abs(mixture.locs[one] - mixture.locs[other])
    return bool(apart <= NEAR * scales.max() and abs(np.diff(np.log(scales))[0]) <= NEAR)


def _gain_of_merging(
    mixture: Mixture, pair: tuple[int, int], one: Mixture, data: Float[np.ndarray, " n"], counts: np.ndarray
) -> float:
    """Log-likelihood of the mixture with a pair merged, less that with both: Σ c log(1 − r_j − r_k + w f / p)."""
    weight, loc, scale = (leaf[pair[0]] for leaf in one)
    total, height = 0.0, portable.log_height(np.log(weight), np.log(scale))
    for here, log_densities, responsibilities in portable.chunks(*mixture, np.asarray(data, np.float64)):
        share = np.exp(portable.log_joint(height, (data[here] - loc) / scale) - log_densities)
        rest = np.maximum(1.0 - responsibilities[list(pair)].sum(axis=0), 0.0)
        total += float(counts[here] @ np.log(rest + share))
    return total


def climb(job: FitJob, result: FitResult, data: Float[np.ndarray, " n"]) -> float:
    """Nats that the log posterior rises by on a walk from the fit that never descends; 0 from a maximum.

    In the directions in which the fit's curvature holds nothing. A walk up to twice as far each time ends at the first
    point that is lower than the last, so that no dip is crossed: what is found is a slope, not another optimum.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit.
    """
    found = curvature(peak_of(job, result, data))
    if found is None or not found.shares[0] < FLAT:
        return 0.0
    begin, floor = np.stack(exact(result.parameters)), job.scale_floor * spread_of(job)
    inside = np.minimum(begin[2], np.log(floor))

    def height(step: Float[np.ndarray, " P"]) -> float:
        point = begin + step.reshape(begin.shape)
        if (point[2] < inside).any():
            return -math.inf
        return log_posterior_at(job, Parameters(*point), result.learned, data)

    start = height(np.zeros(begin.size))
    noise = ROUNDING * (len(data) + abs(start))
    for direction in found.directions[:, found.shares < FLAT].T[:MOST_DIRECTIONS]:
        for sign in (FIRST_STEP, -FIRST_STEP):
            last = start
            for doubling in range(DOUBLINGS):
                reached = height(sign * 2.0**doubling * direction)
                level = doubling > STEPS_ON_THE_LEVEL and reached - start <= noise
                if level or not reached >= last - noise:
                    break
                last = reached
            if last - start > SAME_OPTIMUM:
                return last - start
    return 0.0


def narrower_than_rounding(mixture: Mixture, step: float | None) -> tuple[int, ...]:
    """The components narrower than the rounding alone would make them, a standard deviation of step / √12; no lone one.

    Args:
        mixture: in the units of the step.
        step: to which the data were rounded.
    """
    if step is None or len(mixture.scales) == 1:
        return ()
    return tuple(np.flatnonzero(mixture.scales < step / math.sqrt(12.0)).tolist())
