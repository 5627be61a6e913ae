"""Mixtures that are left out as degenerate although they may be right: where many different data lie close together.

A component at the floor of the scales is degenerate, since the likelihood of a few data is unbounded as it narrows. A
component with many data, which differ, is no such artefact: the data are more concentrated than the floor allows. The
search keeps to sound mixtures, but remembers the best of this kind, for the user to be told. The price: of copies and
of rounded data nothing is said, so that a narrow component beside them is not told of either.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gmm_pipeline.inference.diagnostics import log_joint_of_noise
from gmm_pipeline.inference.jobs import FitJob
from gmm_pipeline.model import portable
from gmm_pipeline.model.multivariate import AnyParameters
from gmm_pipeline.model.natural import MultivariateMixture

MANY, PER_NUMBER = 50.0, 10.0
"""Least data of a narrow component, and for each of its free numbers, that are no accident."""
GAIN = 20.0
"""Nats that a mixture with narrow components must be better to be told of: beyond what chance gathers in some place."""
ENOUGH = 1000
"""Data that show whether a component's are different."""


def holds_many(job: FitJob, mixtures: AnyParameters, degenerate: Bool[np.ndarray, "*S K"]) -> Bool[np.ndarray, "*S"]:
    """Which mixtures have degenerate components, each of them with many data.

    Args:
        job: the fit.
        mixtures: any leading axes.
        degenerate: their degenerate components.
    """
    log_weights = np.asarray(mixtures.log_component_weights, np.float64)
    with np.errstate(invalid="ignore"):
        shares = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
        counts = float(np.sum(job.sample_weights)) * shares / shares.sum(axis=-1, keepdims=True)
        n_columns = max(job.plan.family.n_columns, 1)
        numbers = 1 + n_columns * (n_columns + 3) / 2
        has_many = counts >= max(MANY, PER_NUMBER * numbers)
    return degenerate.any(axis=-1) & (~degenerate | has_many).all(axis=-1)


@np.errstate(all="ignore")
def are_different(job: FitJob, parameters: AnyParameters, components: np.ndarray) -> bool:
    """Whether the data of each of some components differ in the direction in which it is narrowest.

    Args:
        job: the fit.
        parameters: a mixture, [K].
        components: their numbers.
    """
    mixture: Any = job.plan.family.natural(parameters)
    weights, locs, scales = mixture
    data = np.asarray(job.data, np.float64)
    if data.ndim > 1:
        data = data[np.isfinite(data).all(axis=1)]
    _, responsibilities = portable.evaluate(weights, locs, scales, data, log_joint_of_noise(parameters, job.noise))
    return all(_differ(job, _along(mixture, one, data[responsibilities[one] > 0.5])) for one in components)


def _along(mixture: Any, component: int, data: Float[np.ndarray, "m ..."]) -> Float[np.ndarray, " m"]:
    if not isinstance(mixture, MultivariateMixture):
        return data
    _, vectors = np.linalg.eigh(mixture.covariances[component])
    return data @ vectors[:, 0]


def _differ(job: FitJob, values: Float[np.ndarray, " m"]) -> bool:
    if not len(values):
        return False
    step = 16.0 * float(np.finfo(job.data.dtype).eps) * max(1.0, float(np.abs(values).max()))
    return 2 * len(np.unique(np.round(values / step))) >= min(len(values), ENOUGH)
