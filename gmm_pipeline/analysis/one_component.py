"""Whether a fit is worse than one component, whose likelihood is known: so it is no optimum, wherever it ended.

Every model contains the normal with the mean and the covariance of the data, as components that coincide.
"""

import math

import numpy as np
from jaxtyping import Float

from gmm_pipeline.inference.jobs import FitJob
from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model.covariances import FACTOR, IDENTITY, of_one_component
from gmm_pipeline.model.large_data import MANY
from gmm_pipeline.model.natural import mean_and_covariance, mean_and_spread
from gmm_pipeline.model.portable import HALF_LOG_TWO_PI

CLEARLY = 1.0
"""Nats below one component that are not rounding."""


def below_one_component(job: FitJob, reached: float, data: Float[AnyData, "n ..."]) -> float:
    """Nats of log-likelihood by which one component is better; 0 where it is not, or cannot be compared.

    Args:
        job: the fit; with noise, factors or missing cells it is not compared.
        reached: its log-likelihood in nats, in the units of the fit.
        data: in these units, before they were rounded to its precision; very many are not looked at.
    """
    if job.noise is not None or job.covariance == FACTOR or len(data) > MANY or not reached < math.inf:
        return 0.0
    below = _of_one(np.asarray(data, np.float64), np.asarray(job.sample_weights, np.float64), job.covariance) - reached
    return below if below > CLEARLY else 0.0


def _of_one(data: np.ndarray, counts: np.ndarray, covariance: str) -> float:
    """The log-likelihood of the normal with the moments of the data, −n/2 (log |2π Σ| + d)."""
    n_columns = data.shape[1] if data.ndim > 1 else 1
    if not np.isfinite(data).all():
        return math.nan
    if not covariance:
        log_determinant = 2.0 * math.log(mean_and_spread(data, counts)[1])
    else:
        whole = mean_and_covariance(data, counts)[1]
        _, shape, orientation = of_one_component(covariance)
        variances = np.diagonal(whole)
        if shape == IDENTITY:
            log_determinant = n_columns * math.log(float(variances.mean()))
        elif orientation == IDENTITY:
            log_determinant = float(np.log(variances).sum())
        else:
            log_determinant = float(np.linalg.slogdet(whole)[1])
    return -float(counts.sum()) * (0.5 * log_determinant + n_columns * (HALF_LOG_TWO_PI + 0.5))
