"""Whether a fit is worse than one component, whose likelihood is known: so it is no optimum, wherever it ended.

Every model contains the normal with the mean and the covariance of the data, as components that coincide.
"""

import math

import numpy as np
from jaxtyping import Float

from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.restarts import log_prior
from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model.covariances import FACTOR, IDENTITY, kind_of, of_one_component
from gmm_pipeline.model.large_data import MANY
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.multivariate import AnyParameters, parameters_of
from gmm_pipeline.model.natural import MultivariateMixture, mean_and_covariance, mean_and_spread
from gmm_pipeline.model.portable import HALF_LOG_TWO_PI

CLEARLY = 1.0
"""Nats below one component that are not rounding."""


def below_one_component(job: FitJob, result: FitResult, reached: float, data: Float[AnyData, "n ..."]) -> float:
    """Nats of log posterior by which one component is better; 0 where it is not, or cannot be compared.

    Args:
        job: the fit; with noise, factors or missing cells it is not compared, nor where training that has not ended and
            no search is all that is known.
        result: of the fit.
        reached: its log-likelihood in nats, in the units of the fit.
        data: in these units, before they were rounded to its precision; very many are not looked at.
    """
    if job.noise is not None or job.covariance == FACTOR or len(data) > MANY or not reached < math.inf:
        return 0.0
    if result.searched is None and not result.converged:
        return 0.0
    exact, counts = np.asarray(data, np.float64), np.asarray(job.sample_weights, np.float64)
    if not np.isfinite(exact).all():
        return 0.0
    log_likelihood, copies = _one_in_copies(exact, counts, job.covariance, job.plan.n_components)
    below = log_likelihood - reached
    if below > CLEARLY:  # a prior may take likelihood from it
        below += log_prior(job, copies, result.learned) - log_prior(job, result.parameters, result.learned)
    return below if below > CLEARLY else 0.0


def _one_in_copies(
    data: Float[np.ndarray, "n ..."], counts: Float[np.ndarray, " n"], covariance: str, n_components: int
) -> tuple[float, AnyParameters]:
    """The normal with the moments of the data, as equal components; its log-likelihood is −n/2 (log |2π Σ| + d)."""
    total, log_weights = float(counts.sum()), np.full(n_components, -math.log(n_components))
    if not covariance:
        loc, scale = mean_and_spread(data, counts)
        log_scale = math.log(scale)
        height = -total * (log_scale + HALF_LOG_TWO_PI + 0.5)
        return height, Parameters(log_weights, np.full(n_components, loc), np.full(n_components, log_scale))
    loc, whole = mean_and_covariance(data, counts)
    _, shape, orientation = of_one_component(covariance)
    if shape == IDENTITY:
        whole = np.eye(len(loc)) * np.trace(whole) / len(loc)
    elif orientation == IDENTITY:
        whole = np.diag(np.diagonal(whole))
    height = -total * (0.5 * float(np.linalg.slogdet(whole)[1]) + len(loc) * (HALF_LOG_TWO_PI + 0.5))
    copies = MultivariateMixture(np.exp(log_weights), np.tile(loc, (n_components, 1)), np.stack([whole] * n_components))
    return height, parameters_of(copies, kind_of(covariance))
