"""The log prior of a fit of several columns as a function of a mixture in the user's units.

The mixture is moved to the units of the fit, where the prior is the plug-in that the fit saw. The map is affine with a
constant volume, so what is left out is a constant.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from gmm_pipeline.inference.jobs import FitJob, split
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.scaling import LinearScaling
from gmm_pipeline.inference.tracing import prior_density
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import Kind, kind_of
from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.multivariate import MultivariateParameters
from gmm_pipeline.model.prior_traits import Setting
from gmm_pipeline.model.small_matrices import factor_and_inverse


def log_prior_in_user_units(fit: FitJob, scaling: LinearScaling, learned: Mapping[str, float]) -> Partial | None:
    """(weights [K], locs [K, d], covariances [K, d, d]) -> nats, up to a constant; None for no prior.

    Args:
        fit: of several columns.
        scaling: with which its data were standardised.
        learned: hyperparameters that the prior learned; held fixed.
    """
    plan, floats = split(fit)
    if plan.log_prior.function is priors.flat:
        return None
    by_columns = kind_of(fit.covariance) in (Kind.SPHERICAL, Kind.DIAGONAL)
    given = {name: np.float64(value) for name, value in {**floats["prior"], **learned}.items()}
    inverse = np.linalg.inv(scaling.spread)
    return Partial(_density(plan.log_prior, by_columns), given, fit.setting, scaling.centre, inverse)


@functools.cache
def _density(log_prior: Plugin, by_columns: bool) -> Callable[..., Array]:
    """One function for each prior and kind, so that what is compiled of it serves other fits too."""

    def density(
        floats: dict[str, Any],
        setting: Setting | None,
        centre: AnyArray,
        inverse: AnyArray,
        weights: AnyArray,
        locs: AnyArray,
        covariances: AnyArray,
    ) -> Array:
        mus = (jnp.asarray(locs) - centre[None]) @ inverse.T
        moved = jnp.asarray(inverse)[None] @ covariances @ inverse.T[None]
        active = jnp.ones(len(weights), bool)
        if by_columns:
            log_scales, axes = 0.5 * jnp.log(jnp.diagonal(moved, axis1=1, axis2=2)), None
        else:
            factors, whitening = factor_and_inverse(moved)
            diagonal = jnp.diagonal(factors, axis1=1, axis2=2)
            log_scales, axes = jnp.log(diagonal), diagonal[:, :, None] * whitening
        parameters = MultivariateParameters(jnp.log(weights), mus, log_scales, axes)
        return prior_density(log_prior.given(floats), parameters, active, setting)

    return density
