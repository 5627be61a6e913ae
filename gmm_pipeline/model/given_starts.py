"""A start that is given, instead of drawn: a mixture relative to the data, so that it holds in any units of a fit.

`relative_to` writes a mixture in the user's units as z = L⁻¹ (x − m), with the mean m and the Cholesky factor L of the
covariance of the data; `given` is the start that reads it in the units of the fit. Both agree because a fit sees
x' = A (x − b) with a lower-triangular A of positive diagonal, of which the factor is L' = A L. The price: the numbers
in the config are not those that were given.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model.mixture import AnyArray, Parameters
from gmm_pipeline.model.multivariate_inits import Cloud, of_partition
from gmm_pipeline.model.natural import MultivariateMixture, factor_of

Array = np.ndarray


def relative_to(
    cloud: Cloud, locs: Float[Array, "K d"], covariances: Float[Array, "K d d"] | None
) -> tuple[Float[Array, "K d"], Float[Array, "K d d"] | None]:
    """Locs and covariances in units in which the data have mean 0 and covariance I: L⁻¹ (μ − m) and L⁻¹ Σ L⁻ᵀ.

    Args:
        cloud: the data, in the units of the locs; one column is one of d = 1.
        locs: μ.
        covariances: Σ; None where they are left to the data.
    """
    inverse = np.linalg.inv(factor_of(cloud.covariance))
    return (locs - cloud.centre) @ inverse.T, None if covariances is None else inverse @ covariances @ inverse.T


def given(
    key: Any,
    data: Float[AnyArray, " n"] | Float[AnyArray, "n d"],
    sample_weights: Float[AnyArray, " n"],
    n_components: int,
    *,
    weights: Any,
    locs: Any,
    covariances: Any,
    smallest_scale: float,
) -> Parameters | MultivariateMixture:
    """The same start for every key: μ = m + L z, Σ = L S Lᵀ; what is not given is that of the data nearest to each loc.

    Args:
        key: not used.
        data: x, of mean m, and of a covariance with the Cholesky factor L.
        sample_weights: c, how often each datum counts.
        n_components: K.
        weights: [K], of sum 1, or None.
        locs: z, [K, d].
        covariances: S, [K, d, d], or None.
        smallest_scale: least spread of a component whose covariance is not given, as a share of the data's.
    """
    values = np.asarray(data, np.float64)
    cloud = Cloud.of(values if values.ndim > 1 else values[:, None], sample_weights)
    factor = factor_of(cloud.covariance)
    natural = cloud.centre + np.asarray(locs, np.float64) @ factor.T
    whitened = np.linalg.solve(factor, (cloud.data[:, None, :] - natural).reshape(-1, len(factor)).T)
    nearest = (whitened**2).sum(axis=0).reshape(len(cloud.data), n_components).argmin(axis=1)
    shares, within = of_partition(nearest, cloud, n_components, smallest_scale)
    spreads = np.broadcast_to(within, (n_components, *within.shape))
    if covariances is not None:
        spreads = factor @ np.asarray(covariances, np.float64) @ factor.T
    shares = shares if weights is None else np.asarray(weights, np.float64)
    if values.ndim > 1:
        return MultivariateMixture(shares, natural, spreads)
    return Parameters(*(np.asarray(leaf) for leaf in (np.log(shares), natural[:, 0], 0.5 * np.log(spreads[:, 0, 0]))))
