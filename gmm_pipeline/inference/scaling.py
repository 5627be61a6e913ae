"""Standardised data inside a fit, the user's units outside.

Step sizes, starts and float32 sums behave the same in every unit only if the fit sees data of mean 0 and standard
deviation 1. The affine map is exact in both directions: x = centre + spread · z moves the log density by −log spread.
The price: priors on locs and scales are in units of the spread.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.mixture import Parameters, exact
from gmm_pipeline.model.multivariate import AnyParameters, MultivariateParameters
from gmm_pipeline.model.natural import factor_of, mean_and_covariance, mean_and_spread, mean_and_spread_of_large


class Scaling(NamedTuple):
    """The affine map between the user's units and the fit's, in float64."""

    centre: float
    spread: float

    @property
    def log_volume(self) -> float:
        """Logarithm of the spread: how much lower log densities are in the user's units."""
        return float(np.log(self.spread))


class LinearScaling(NamedTuple):
    """The affine map of several columns: x = centre + spread z, in float64."""

    centre: Float[np.ndarray, " d"]
    spread: Float[np.ndarray, "d d"]
    """Lower triangular, with a positive diagonal."""

    @property
    def log_volume(self) -> float:
        """Logarithm of the determinant of the spread: how much lower log densities are in the user's units."""
        return float(np.log(np.diagonal(self.spread)).sum())


AnyScaling = Any
"""`Scaling` or `LinearScaling`: which, only the family of a fit knows."""


def log_volumes(scaling: AnyScaling, data: Float[np.ndarray, "n ..."]) -> float | Float[np.ndarray, " n"]:
    """How much lower log densities are in the user's units: of each datum, if some lack columns, or of all alike.

    Args:
        scaling: of `scaling_of` or `linear_scaling_of`.
        data: NaN where a value is missing.
    """
    if isinstance(scaling, Scaling) or not np.isnan(data).any():
        return scaling.log_volume
    return ~np.isnan(data) @ np.log(np.diagonal(scaling.spread))


def total_log_volume(
    scaling: AnyScaling, data: Float[np.ndarray, "n ..."], sample_weights: Float[np.ndarray, " n"]
) -> float:
    """How much lower the log-likelihood is in the user's units.

    Args:
        scaling: of `scaling_of` or `linear_scaling_of`.
        data: NaN where a value is missing.
        sample_weights: c, how often each datum counts.
    """
    volumes, counts = log_volumes(scaling, data), np.asarray(sample_weights, np.float64)
    return float(np.sum(counts)) * volumes if isinstance(volumes, float) else float(counts @ volumes)


class Units(NamedTuple):
    """Data in the units of a fit, and the map to the user's."""

    scaling: AnyScaling
    of_user: Float[np.ndarray, "n ..."]
    """In the user's units and float64."""
    data: Float[np.ndarray, "n ..."]
    """In the precision of the fit."""
    log_noise: float | None = None
    """Log density of the noise in the units of the fit; None without noise."""

    @property
    def standardised(self) -> Float[np.ndarray, "n ..."]:
        """The data in the units of the fit and float64, computed when asked for, since they may be many."""
        with np.errstate(over="ignore"):
            return to_fit_units(self.of_user, self.scaling)


IDENTITY = Scaling(0.0, 1.0)


def identity_of(n_columns: int) -> AnyScaling:
    """The map that changes nothing.

    Args:
        n_columns: d, or 0 where a datum is a number.
    """
    return LinearScaling(np.zeros(n_columns), np.eye(n_columns)) if n_columns else IDENTITY


def linear_scaling_of(
    data: Float[np.ndarray, "n d"], sample_weights: Float[np.ndarray, " n"], kind: Kind, *, mixes: bool = True
) -> LinearScaling:
    """The map that standardises data as far as the covariance model allows: it must contain its own images.

    Full covariances: mean 0 and covariance I. Diagonal ones and those of factors: each column to unit spread. Spherical
    and oriented ones: all columns by one factor, since other maps change what components share. Where values are
    missing, full ones are treated as diagonal ones, since what mixes columns needs them all; and so they are under a
    prior about columns.

    Args:
        data: x, in the user's units, NaN where a value is missing.
        sample_weights: c, how often each datum counts.
        kind: how components are represented.
        mixes: whether the map may mix columns.
    """
    centre, covariance = mean_and_covariance(data, sample_weights)
    if kind is Kind.FULL and mixes and not np.isnan(data).any():
        return LinearScaling(centre, factor_of(covariance))
    variances = np.diagonal(covariance)
    spread = np.sqrt(
        variances if kind in (Kind.FULL, Kind.DIAGONAL, Kind.FACTOR) else np.full_like(variances, variances.mean())
    )
    return LinearScaling(centre, np.diag(spread))


def scaling_of(data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"] | None) -> Scaling:
    """The map that gives the data mean 0 and standard deviation 1.

    Args:
        data: [n], x, in the user's unit.
        sample_weights: [n], c, how often each datum counts; None for many data that count once each, which are summed
            in blocks.
    """
    if sample_weights is None:
        return Scaling(*mean_and_spread_of_large(data, None))
    return Scaling(*mean_and_spread(data, sample_weights))


def to_fit_units(data: Float[np.ndarray, "n ..."], scaling: AnyScaling) -> Float[np.ndarray, "n ..."]:
    """Standardised data, z = (x − centre) / spread.

    Args:
        data: [n], x, in the user's unit.
        scaling: of `scaling_of`.
    """
    if isinstance(scaling, LinearScaling):
        diagonal = np.diagonal(scaling.spread)
        if np.array_equal(scaling.spread, np.diag(diagonal)):
            return (data - scaling.centre) / diagonal
        return np.linalg.solve(scaling.spread, (data - scaling.centre).T).T
    return (data - scaling.centre) / scaling.spread


def to_user_units(parameters: AnyParameters, scaling: AnyScaling) -> AnyParameters:
    """The same mixture for data in the user's units, as float64; any leading axes are kept.

    Args:
        parameters: [..., K], in the units of the fit.
        scaling: with which the data were standardised.
    """
    if isinstance(parameters, MultivariateParameters):
        return _linear_to_user_units(parameters, scaling)
    log_component_weights, component_mus, log_component_scales = exact(parameters)
    return Parameters(
        log_component_weights,
        scaling.centre + scaling.spread * component_mus,
        log_component_scales + np.log(scaling.spread),
    )


def _linear_to_user_units(parameters: MultivariateParameters, scaling: LinearScaling) -> MultivariateParameters:
    """B = diag(e^{−s}) Q becomes B L⁻¹, which is split in the same way."""
    log_weights, mus, log_scales = (np.asarray(leaf, np.float64) for leaf in parameters[:3])
    axes = None if parameters.axes is None else np.asarray(parameters.axes, np.float64)
    moved = scaling.centre + mus @ scaling.spread.T
    diagonal = np.diagonal(scaling.spread)
    if axes is None or ((diagonal == diagonal[0]).all() and np.array_equal(scaling.spread, np.diag(diagonal))):
        return MultivariateParameters(log_weights, moved, log_scales + np.log(diagonal), axes, parameters.loadings)
    with np.errstate(all="ignore"):  # a diverged fit is not finite, and is returned as such
        whiteners = np.exp(-log_scales)[..., None] * axes @ np.linalg.inv(scaling.spread)
        inverse = np.diagonal(whiteners, axis1=-2, axis2=-1)
        return MultivariateParameters(log_weights, moved, -np.log(inverse), whiteners / inverse[..., None])
