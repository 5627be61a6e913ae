"""Components that are on their way to a collapse: their likelihood grows without bound as they narrow onto one value.

This is verified, not guessed: with the component even narrower at that value, the mixture has a higher posterior.
"""

import numpy as np
from jaxtyping import Float

from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.restarts import log_posterior_at
from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import Parameters, constrain, exact
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM

LAST = 0.25
"""Share of the steps, at the end of a fit, over which a collapsing component must have narrowed."""
NARROWED = 0.05
"""Least log ratio of its scale before and after these steps."""
REACH = 3.0
"""Distance from a component's loc, in its scales, within which its data are examined."""
MOSTLY = 0.5
"""Share of equal values among a component's data above which the others do not stop the collapse."""
NARROWER = 10.0
"""Factor by which a component is narrowed to test for a collapse; less if the floor is reached."""


def collapsing(job: FitJob, result: FitResult, data: Float[AnyData, "n ..."]) -> tuple[int, ...]:
    """The components of a fit that used all its steps which were on their way to a collapse.

    The log posterior was rising and the scale falling when the steps ran out, most of the component's data are one
    value, and, narrower still at that value, it has a higher posterior. Components on many distinct values are never
    reported; nor is one of several columns.

    Args:
        job: what was fitted.
        result: its answer.
        data: in the units of the fit.
    """
    if job.covariance or result.converged or job.equal_scales or len(result.steps) < 2:
        return ()
    parameters, history = exact(result.parameters), result.history
    before = int(np.searchsorted(result.steps, (1.0 - LAST) * result.steps[-1], side="right")) - 1
    narrowed = np.asarray(history.parameters.log_component_scales[before], np.float64) - parameters.log_component_scales
    if not history.loss[before] > history.loss[-1]:
        return ()
    counts = np.asarray(job.sample_weights, np.float64)
    height = log_posterior_at(job, parameters, result.learned, data)
    found = []
    for component in np.flatnonzero(narrowed > NARROWED):
        value, share = _most_of(parameters, int(component), np.asarray(data), counts)
        if share > MOSTLY:
            narrower = _narrower(job, parameters, int(component), value)
            if log_posterior_at(job, narrower, result.learned, data) > height + SAME_OPTIMUM:
                found.append(int(component))
    return tuple(found)


def _most_of(
    parameters: Parameters, component: int, data: Float[np.ndarray, " n"], counts: np.ndarray
) -> tuple[float, float]:
    """The most frequent value among a component's data, and its share.

    Noise counts as data of the components here; whether there is a collapse is decided by the posterior.
    """
    loc, scale = parameters.component_mus[component], np.exp(parameters.log_component_scales[component])
    near = np.abs(data - loc) <= REACH * scale
    if not near.any():
        return float(loc), 0.0
    values, inverse = np.unique(data[near], return_inverse=True)
    _, responsibilities = portable.evaluate(*constrain(parameters), values)
    own = responsibilities[component] * np.bincount(inverse, counts[near])
    return float(values[np.argmax(own)]), float(own.max() / max(own.sum(), 1e-300))


def _narrower(job: FitJob, parameters: Parameters, component: int, loc: float) -> Parameters:
    log_weights, locs, log_scales = (np.array(leaf) for leaf in parameters)
    with np.errstate(divide="ignore"):
        floor = np.log(job.scale_floor * job.plan.family.spread_of(job))
    locs[component], log_scales[component] = loc, max(log_scales[component] - np.log(NARROWER), floor)
    return Parameters(log_weights, locs, log_scales)
