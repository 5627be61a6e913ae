"""Mixtures in natural parameters, and moments of data; NumPy only, so that reading records does not import JAX."""

from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from gmm_pipeline.model.incomplete import best_normal


class Mixture(NamedTuple):
    """Weights that sum to one, locs and scales in the data's units (NumPy, float64)."""

    weights: Float[np.ndarray, "*batch K"]
    locs: Float[np.ndarray, "*batch K"]
    scales: Float[np.ndarray, "*batch K"]


class MultivariateMixture(NamedTuple):
    """Weights that sum to one, locs and covariances of d columns in the data's units (NumPy, float64)."""

    weights: Float[np.ndarray, "*batch K"]
    locs: Float[np.ndarray, "*batch K d"]
    covariances: Float[np.ndarray, "*batch K d d"]

    @property
    def scales(self) -> Float[np.ndarray, "*batch K d"]:
        """Standard deviation of each column: √Σ_jj."""
        return np.sqrt(np.diagonal(self.covariances, axis1=-2, axis2=-1))

    @property
    def correlations(self) -> Float[np.ndarray, "*batch K d d"]:
        """Correlation of each pair of columns: Σ_ij / √(Σ_ii Σ_jj)."""
        scales = self.scales
        with np.errstate(all="ignore"):  # a component that has collapsed has none
            found = self.covariances / (scales[..., :, None] * scales[..., None, :])
        # Exactly one with itself, so that it has no error of resampling.
        return np.where(np.eye(scales.shape[-1], dtype=bool) & np.isfinite(found), 1.0, found)


AnyMixture = Mixture | MultivariateMixture
M = TypeVar("M", bound=AnyMixture)


def is_finite(mixture: AnyMixture) -> bool:
    """Whether all numbers of a mixture are finite, and its covariances positive definite to the rounding of float64.

    Args:
        mixture: of any shape.
    """
    if not all(bool(np.isfinite(leaf).all()) for leaf in mixture):
        return False
    try:
        np.linalg.cholesky(getattr(mixture, "covariances", np.eye(1)))
    except np.linalg.LinAlgError:
        return False
    return True


class MultivariateErrors(NamedTuple):
    """Of every number reported about a mixture of several columns: its standard error, or an end of its interval."""

    weights: Float[np.ndarray, "*batch K"]
    locs: Float[np.ndarray, "*batch K d"]
    covariances: Float[np.ndarray, "*batch K d d"]
    scales: Float[np.ndarray, "*batch K d"]
    correlations: Float[np.ndarray, "*batch K d d"]


AnyErrors = Mixture | MultivariateErrors
T = TypeVar("T", bound=AnyMixture | MultivariateErrors)


def reported(mixture: AnyMixture) -> AnyErrors:
    """Every number that is reported about a mixture, in the order in which its errors are.

    Args:
        mixture: of any shape.
    """
    if isinstance(mixture, Mixture):
        return mixture
    return MultivariateErrors(*mixture, mixture.scales, mixture.correlations)


def order_of(mixture: AnyMixture) -> Int[np.ndarray, " K"]:
    """The order in which components are numbered: by loc; those of several columns by decreasing weight, then loc.

    Args:
        mixture: of K components.
    """
    if isinstance(mixture, Mixture):
        return np.argsort(mixture.locs, kind="stable")
    return np.lexsort((*mixture.locs.T[::-1], -mixture.weights))


def taken(mixture: T, components: Int[np.ndarray, " L"]) -> T:
    """The mixture, or the errors, of these components, in this order; any leading axes are kept.

    Args:
        mixture: of K components.
        components: their numbers.
    """
    axis = mixture.weights.ndim - 1
    return type(mixture)(*(leaf[(slice(None),) * axis + (components,)] for leaf in mixture))


def definite_or_identity(
    covariances: Float[np.ndarray, "K d d"],
) -> tuple[Float[np.ndarray, "K d d"], Bool[np.ndarray, " K"]]:
    """The covariances, and which are finite and positive definite; the others become identities, which can be inverted.

    Args:
        covariances: any symmetric matrices.
    """
    replaced, identity = covariances.copy(), np.eye(covariances.shape[-1])
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    usable = np.all(np.isfinite(replaced), axis=(-2, -1)) & (variances > 0.0).all(axis=-1)
    replaced[~usable] = identity
    # Eigenvalues are rounded in proportion to the largest, so columns in unlike units must be made alike.
    scales = np.sqrt(np.diagonal(replaced, axis1=-2, axis2=-1))
    definite = np.linalg.eigvalsh(replaced / scales[:, :, None] / scales[:, None, :])[:, 0] > 0.0
    replaced[~definite] = identity
    return replaced, usable & definite


def mean_and_covariance(
    data: Float[np.ndarray, "n d"], sample_weights: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Mean and covariance of data, each of weight c: Σ c x / Σ c and Σ c (x − mean)(x − mean)ᵀ / Σ c.

    Where values are missing, those of the one normal that fits what is there best.

    Args:
        data: x, NaN where a value is missing.
        sample_weights: c, how often each datum counts.
    """
    missing = np.isnan(data)
    if missing.any():
        return best_normal(data, missing, sample_weights)
    mean = np.average(data, axis=0, weights=sample_weights)
    centred = data - mean
    return mean, (centred * (sample_weights / sample_weights.sum())[:, None]).T @ centred


LEAST_CORRELATED = 1e-10
"""Least eigenvalue of a correlation matrix above which columns count as linearly independent."""


def factor_of(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The Cholesky factor of a covariance; that of its diagonal where columns depend on each other linearly.

    Args:
        covariance: of data whose columns vary.
    """
    scales = np.sqrt(np.diagonal(covariance))
    correlations = covariance / np.outer(scales, scales)
    if np.linalg.eigvalsh(correlations)[0] <= LEAST_CORRELATED:
        return np.diag(scales)
    return scales[:, None] * np.linalg.cholesky(correlations)


def mean_and_spread(data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Mean and standard deviation of data, each of weight c: Σ c x / Σ c and √(Σ c (x − mean)² / Σ c).

    Args:
        data: x.
        sample_weights: c, how often each datum counts.
    """
    mean = np.average(data, weights=sample_weights)
    return float(mean), float(np.sqrt(np.average((data - mean) ** 2, weights=sample_weights)))
