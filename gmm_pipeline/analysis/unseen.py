"""Which numbers of a mixture no datum determines: where the rows of a component all lack a column.

The likelihood does not depend on such a loc, so that it stays where it began, in each replicate of a bootstrap too,
whose spread would say that it is known.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool

from gmm_pipeline.inference.jobs import FitJob
from gmm_pipeline.model import portable
from gmm_pipeline.model.multivariate import AnyParameters

LEAST = 1.0
"""Data of a component, by their responsibilities, that a column needs to have a loc there."""


def unseen(job: FitJob, parameters: AnyParameters) -> Bool[np.ndarray, "K d"] | None:
    """For each component, the columns in which its data have less than one value; None where no value is missing.

    Args:
        job: the fit.
        parameters: where it ended.
    """
    data = np.asarray(job.data, np.float64) if job.plan.family.n_columns and not job.is_large else np.zeros(0)
    missing = np.isnan(data)
    if not missing.any():
        return None
    mixture: Any = job.plan.family.natural(parameters)
    weights, locs, covariances = mixture
    _, responsibilities = portable.evaluate(weights, locs, covariances, data)
    return (responsibilities * np.asarray(job.sample_weights, np.float64)) @ ~missing < LEAST
