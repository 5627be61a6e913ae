"""Standardised data inside a fit, the user's units outside.

Step sizes, starts and float32 sums behave the same in every unit only if the fit sees data of mean 0 and standard
deviation 1, but for gross outliers (`model/outliers.py`). The affine map is exact in both directions: x = centre +
spread · z moves the log density by −log spread. The price: priors on locs and scales are in units of the spread.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.large_data import MANY, Summary, is_complete, slices, summary
from gmm_pipeline.model.mixture import Parameters, exact
from gmm_pipeline.model.multivariate import AnyParameters, MultivariateParameters
from gmm_pipeline.model.natural import MultivariateMixture, factor_of, mean_and_covariance, mean_and_spread
from gmm_pipeline.model.outliers import without_outliers


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


IN_CACHE = 2**15
"""Data whose copy in float64 stays in a core's cache."""


class InUnits:
    """Many data in the units of a fit, computed where they are looked at: a slice, or all of them as an array."""

    def __init__(self, of_user: Float[np.ndarray, "n ..."], scaling: AnyScaling, dtype: np.dtype):
        """Keep what they are computed from.

        Args:
            of_user: x, in the user's units and any precision.
            scaling: from these to the fit's.
            dtype: of the fit.
        """
        self._of_user, self._scaling, self.dtype = of_user, scaling, np.dtype(dtype)
        self.shape, self.ndim = of_user.shape, of_user.ndim

    def __len__(self) -> int:
        return len(self._of_user)

    def __getitem__(self, here: slice | Int[np.ndarray, " m"]) -> Float[np.ndarray, "m ..."]:
        """Some of the data."""
        some = self._of_user[here]
        with np.errstate(over="ignore"):
            if self.ndim > 1:
                return to_fit_units(np.asarray(some, np.float64), self._scaling).astype(self.dtype, copy=False)
            # As `to_fit_units`, but what is in float64 stays in a core's cache.
            found, centred = np.empty(some.shape, self.dtype), np.empty(min(len(some), IN_CACHE))
            for place in slices(len(some), IN_CACHE):
                here = centred[: place.stop - place.start]
                np.subtract(some[place], self._scaling.centre, out=here, dtype=np.float64)
                np.divide(here, self._scaling.spread, out=found[place], casting="same_kind")
            return found

    def summary(self, sample_weights: Float[np.ndarray, " n"]) -> Summary:
        """Moments and extent; of several columns without the extent, which the map does not keep.

        Args:
            sample_weights: c, how often each datum counts.
        """
        found = summary(self._of_user, sample_weights)
        mean, least, greatest = to_fit_units(np.stack([found.mean, found.least, found.greatest]), self._scaling)
        if self.ndim == 1:
            return Summary(found.total, mean, found.scatter / self._scaling.spread**2, least, greatest)
        half = np.linalg.solve(self._scaling.spread, found.scatter)
        scatter = np.linalg.solve(self._scaling.spread, half.T)
        return Summary(found.total, mean, scatter, np.full_like(least, np.nan), np.full_like(greatest, np.nan))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All data, in memory."""
        found = np.empty(self.shape, self.dtype)
        for here in slices(len(self)):
            found[here] = self[here]
        return found if dtype is None else found.astype(dtype, copy=False)


AnyData = np.ndarray | InUnits


def core_weights(data: Float[AnyData, "n ..."], sample_weights: Float[np.ndarray, " n"]) -> np.ndarray:
    """Sample weights that are 0 for gross outliers, which do not take part in what is a unit; see `outliers`.

    Args:
        data: x, in whatever units.
        sample_weights: c, how often each datum counts.
    """
    return without_outliers(data._of_user if isinstance(data, InUnits) else data, sample_weights)


def summary_of(data: Float[AnyData, "n ..."], sample_weights: Float[np.ndarray, " n"]) -> Summary:
    """Moments and extent of many data, in whatever units.

    Args:
        data: x, finite.
        sample_weights: c, how often each datum counts.
    """
    return data.summary(sample_weights) if isinstance(data, InUnits) else summary(data, sample_weights)


def log_volumes(scaling: AnyScaling, data: Float[AnyData, "n ..."]) -> float | Float[np.ndarray, " n"]:
    """How much lower log densities are in the user's units: of each datum, if some lack columns, or of all alike.

    Args:
        scaling: of `scaling_of` or `linear_scaling_of`.
        data: NaN where a value is missing.
    """
    if isinstance(scaling, Scaling) or is_complete(np.asarray(data) if isinstance(data, InUnits) else data):
        return scaling.log_volume
    return ~np.isnan(np.asarray(data)) @ np.log(np.diagonal(scaling.spread))


def total_log_volume(
    scaling: AnyScaling, data: Float[AnyData, "n ..."], sample_weights: Float[np.ndarray, " n"]
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
    """In the user's units and float64; many in the precision of their file."""
    data: Float[AnyData, "n ..."]
    """In the precision of the fit."""
    log_noise: float | None = None
    """Log density of the noise in the units of the fit; None without noise."""
    rounding: Float[np.ndarray, "d d"] | None = None
    """Of several columns, standard deviations of their rounding as a factor in the units of the fit; None for exact."""

    @property
    def standardised(self) -> Float[AnyData, "n ..."]:
        """The data in the units of the fit and float64, computed when asked for, since they may be many."""
        if len(self.of_user) > MANY:
            return InUnits(self.of_user, self.scaling, np.dtype(np.float64))
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
    """The map that standardises data, without gross outliers, as far as the covariance model allows.

    The model must contain its own images.

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
    complete, core = is_complete(data), without_outliers(data, sample_weights)
    if complete and len(data) > MANY:
        found = summary(data, core)
        centre, covariance = found.mean, found.covariance
    else:
        centre, covariance = mean_and_covariance(data, core)
    if kind is Kind.FULL and mixes and complete:
        return LinearScaling(centre, factor_of(covariance))
    variances = np.diagonal(covariance)
    spread = np.sqrt(
        variances if kind in (Kind.FULL, Kind.DIAGONAL, Kind.FACTOR) else np.full_like(variances, variances.mean())
    )
    return LinearScaling(centre, np.diag(spread))


def in_like_units(
    data: Float[np.ndarray, "n d"], scaling: LinearScaling
) -> tuple[Float[np.ndarray, " d"], LinearScaling, Float[AnyData, "n d"]]:
    """Units that give each column a standard deviation near one, and the scaling and the data in them.

    They are powers of two, so that nothing is rounded. Eigenvalues are, in proportion to the largest, so that those of
    columns in unlike units would be lost.

    Args:
        data: x, in the user's units.
        scaling: from these to the fit's.
    """
    units = np.exp2(np.rint(np.log2(np.linalg.norm(scaling.spread, axis=1))))
    after = LinearScaling(scaling.centre / units, scaling.spread / units[:, None])
    if len(data) > MANY:
        return units, after, InUnits(data, LinearScaling(np.zeros_like(units), np.diag(units)), np.dtype(np.float64))
    return units, after, data / units


def scaling_of(data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"]) -> Scaling:
    """The map that gives the data, without gross outliers, mean 0 and standard deviation 1.

    Args:
        data: [n], x, in the user's unit.
        sample_weights: [n], c, how often each datum counts.
    """
    core = without_outliers(data, sample_weights)
    if len(data) > MANY:
        found = summary(data, core)
        return Scaling(float(found.mean), found.spread)
    return Scaling(*mean_and_spread(data, core))


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


def in_other_units(mixture: MultivariateMixture, before: LinearScaling, after: LinearScaling) -> MultivariateMixture:
    """The same mixture in the units of a fit that standardises the data differently.

    Args:
        mixture: in the units of one fit.
        before: with which its data were standardised.
        after: with which those of the other are.
    """
    shift = np.linalg.solve(after.spread, before.centre - after.centre)
    spread = np.linalg.solve(after.spread, before.spread)
    return MultivariateMixture(
        mixture.weights, shift + mixture.locs @ spread.T, spread @ mixture.covariances @ spread.T
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
