"""A fitted mixture in NumPy alone; this file is copied verbatim into every MLflow model.

So it imports nothing from the package, and a model can be loaded without JAX and without this project; the functions
for notebooks and `predict` use the same code. Data are processed in chunks that fit into the cache; the price: a loop
in Python, some microseconds for every 16,384 observations.

Everything is float64. Densities are summed in logarithms, so that far tails do not underflow: a datum at 100 standard
deviations has −5,000 nats and responsibilities that sum to one, where densities would give 0 and 0/0.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

HALF_LOG_TWO_PI = 0.5 * float(np.log(2.0 * np.pi))
LEAST_VARIANCE = 1e-13
"""Of a covariance in any direction, as a share of its largest one, which float64 still factors."""
CHUNK = 16_384
COLUMN = "datum"
"""Name of the only column of data."""


def log_height(log_weights: Any, log_scales: Any) -> Any:
    """Log joint density of components at their locs: log w − log σ − ½ log 2π, in nats; NumPy or JAX arrays.

    Args:
        log_weights: log w.
        log_scales: log σ, of the same shape.
    """
    return log_weights - log_scales - HALF_LOG_TWO_PI


def log_joint(log_heights: Any, standardised: Any) -> Any:
    """Log joint density of components and data: log w + log N(x | μ, σ) = height − ½ z², in nats.

    Args:
        log_heights: from `log_height`.
        standardised: z = (x − μ) / σ; both broadcast.
    """
    return log_heights - 0.5 * standardised**2


def log_normal(standardised: Any, log_scale: Any) -> Any:
    """Log density of one number: −½ z² − log σ − ½ log 2π, in nats. The order of the sums decides the bits of fits.

    Args:
        standardised: z = (x − μ) / σ.
        log_scale: log σ.
    """
    return -0.5 * standardised**2 - log_scale - HALF_LOG_TWO_PI


def evaluate_chunk(
    weights: np.ndarray, locs: np.ndarray, scales: np.ndarray, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log densities, [n], and responsibilities, [K, n], of one chunk of data.

    log p(x_i) = log Σ_j w_j N(x_i | μ_j, σ_j), in nats; r_ij = w_j N(x_i | μ_j, σ_j) / p(x_i).

    Beyond 1e154 standard deviations, where float64 has no square, the log density is −inf and the component that is
    nearest in its standard deviations is responsible, which is the limit.

    Args:
        weights: w, of sum one, [K].
        locs: μ, [K].
        scales: σ, [K].
        data: x, finite, [n].
    """
    with np.errstate(divide="ignore", over="ignore"):  # a component may have no weight: −inf
        standardised = (data[None, :] - locs[:, None]) / scales[:, None]
        joint = log_joint(log_height(np.log(weights), np.log(scales))[:, None], standardised)
    highest = joint.max(axis=0)
    lost = np.isneginf(highest)
    if lost.any():
        distances = np.where(weights[:, None] > 0, np.abs(standardised[:, lost]), np.nan)
        joint[:, lost] = np.where(distances == np.nanmin(distances, axis=0), 0.0, -np.inf)
    relative = np.exp(joint - np.where(lost, 0.0, highest))
    total = relative.sum(axis=0)
    return highest + np.log(total), relative / total


def chunks(
    weights: np.ndarray, locs: np.ndarray, scales: np.ndarray, data: np.ndarray, log_noise: float | None = None
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Evaluate data chunk by chunk: the slice of the data, their log densities and their responsibilities.

    Args:
        weights: w, [K], of sum one, or of what a noise component leaves.
        locs: μ, [K], or [K, d] of d columns.
        scales: σ, [K]; of d columns their covariances Σ, [K, d, d].
        data: x, finite, [n] or [n, d]; NaN where one of d columns has no value.
        log_noise: log joint density of a noise component and any datum, whose responsibilities are then the last row;
            None without one.
    """
    one_column = partial(evaluate_chunk, weights, locs, scales)
    if locs.ndim == 1:
        of_chunk = one_column
    else:
        of_columns = _of_incomplete if np.isnan(data).any() else _of_columns
        of_chunk = of_columns(weights, locs, scales)
    for begin in range(0, len(data), CHUNK):
        here = slice(begin, begin + CHUNK)
        yield here, *(of_chunk(data[here]) if log_noise is None else _beside_noise(*of_chunk(data[here]), log_noise))


def _beside_noise(
    log_densities: np.ndarray, responsibilities: np.ndarray, log_noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Log densities with those of the noise added, and responsibilities with those of the noise as last row."""
    total = np.logaddexp(log_densities, log_noise)
    return total, np.vstack([responsibilities * np.exp(log_densities - total), np.exp(log_noise - total)])


def factors_of(covariances: np.ndarray) -> np.ndarray:
    """Lower triangular L with Σ = L Lᵀ; where rounding leaves a covariance without one, that of the nearest that has.

    Args:
        covariances: Σ, symmetric, any leading axes.
    """
    try:
        return np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        diagonal = np.diagonal(covariances, axis1=-2, axis2=-1)
        scales = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))  # eigenvalues are those of columns in like units
        variances, axes = np.linalg.eigh(covariances / scales[..., :, None] / scales[..., None, :])
        least = LEAST_VARIANCE * np.abs(variances).max(axis=-1, keepdims=True)
        nearest = (axes * np.maximum(variances, least)[..., None, :]) @ np.swapaxes(axes, -1, -2)
        return scales[..., :, None] * np.linalg.cholesky(nearest)


def _of_columns(
    weights: np.ndarray, locs: np.ndarray, covariances: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Of d columns, what `evaluate_chunk` is of one.

    log N(x | μ, Σ) = −½ ‖L⁻¹ (x − μ)‖² − Σ_i log L_ii − ½ d log 2π with Σ = L Lᵀ.
    """
    factors = factors_of(covariances)
    whiteners = np.linalg.inv(factors)
    log_scales = np.log(np.diagonal(factors, axis1=-2, axis2=-1))
    with np.errstate(divide="ignore"):  # a component may have no weight: −inf
        heights = np.log(weights) - log_scales.sum(axis=-1) - locs.shape[-1] * HALF_LOG_TWO_PI

    return partial(_of_columns_chunk, weights, locs, heights, whiteners)


def _of_columns_chunk(
    weights: np.ndarray, locs: np.ndarray, heights: np.ndarray, whiteners: np.ndarray, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(over="ignore", invalid="ignore"):
        joint = heights[:, None] - 0.5 * _distances(whiteners, data, locs[:, None])
    highest = joint.max(axis=0)
    lost = ~np.isfinite(highest)
    if lost.any():  # a unit in which squares are finite
        unit = np.maximum(np.abs(data[lost]).max(axis=1, keepdims=True), np.abs(locs).max())
        squares = _distances(whiteners, data[lost] / unit, locs[:, None] / unit)
        squares[weights == 0] = np.inf
        joint[:, lost] = np.where(squares == squares.min(axis=0), 0.0, -np.inf)
        highest[lost] = -np.inf
    relative = np.exp(joint - np.where(lost, 0.0, highest))
    total = relative.sum(axis=0)
    return highest + np.log(total), relative / total


def _distances(whiteners: np.ndarray, data: np.ndarray, locs: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances, [K, n]."""
    standardised = np.einsum("kij,knj->kni", whiteners, data - locs)
    return np.einsum("kni,kni->kn", standardised, standardised)


def _of_incomplete(
    weights: np.ndarray, locs: np.ndarray, covariances: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What `_of_columns` is, of rows with missing cells: the mixture of the columns that each row has.

    Rows that have the same columns are evaluated together; one without any has log density 0 and the weights.
    """
    parts: dict[bytes, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {}

    def of_chunk(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        present = ~np.isnan(data)
        log_densities = np.zeros(len(data))
        responsibilities = np.repeat(weights[:, None], len(data), axis=1)
        for has in np.unique(present, axis=0):
            rows = np.flatnonzero((present == has).all(axis=1))
            if not has.any():
                continue
            if has.tobytes() not in parts:
                of_these = covariances[:, has][:, :, has]
                parts[has.tobytes()] = _of_columns(weights, locs[:, has], of_these)
            log_densities[rows], responsibilities[:, rows] = parts[has.tobytes()](data[np.ix_(rows, has)])
        return log_densities, responsibilities

    return of_chunk


def evaluate(
    weights: np.ndarray, locs: np.ndarray, scales: np.ndarray, data: np.ndarray, log_noise: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Log density of each datum in nats, [n], and its responsibilities, [K, n], or [K + 1, n] with noise.

    Args:
        weights: w, [K], of sum one, or of what a noise component leaves.
        locs: μ, [K], or [K, d] of d columns.
        scales: σ, [K]; of d columns their covariances Σ, [K, d, d], positive definite.
        data: x, finite, [n] or [n, d]; NaN where one of d columns has no value, and is integrated out.
        log_noise: as of `chunks`.
    """
    rows = len(locs) + (log_noise is not None)
    log_densities, responsibilities = np.empty(len(data)), np.empty((rows, len(data)))
    for here, log_densities_here, responsibilities_here in chunks(weights, locs, scales, data, log_noise):
        log_densities[here] = log_densities_here
        responsibilities[:, here] = responsibilities_here
    return log_densities, responsibilities


def labels_of(responsibilities: np.ndarray, n_components: int) -> np.ndarray:
    """The most probable component of each datum, from 0; −1 where that is the noise.

    Args:
        responsibilities: [K, n], or [K + 1, n] with those of the noise last.
        n_components: K.
    """
    labels = np.argmax(responsibilities, axis=0)
    return np.where(labels == n_components, -1, labels)


def responsibility_names(n_components: int, noise: bool) -> list[str]:
    """Names of the columns of responsibilities in tables.

    Args:
        n_components: K.
        noise: whether the last one is that of the noise.
    """
    return [f"responsibility_{component}" for component in range(n_components)] + ["responsibility_noise"] * noise


class PortableMixture:
    """The model that MLflow loads: predicts a label, responsibilities and a log density for each datum.

    Args:
        weights: of sum one.
        locs: means, in the order of the components; of several columns a list for each component.
        scales: standard deviations, of one column.
        covariances: of several columns, in place of scales.
        columns: names of the columns of data that `predict` reads.
        noise: `weight` and `log_density` of a noise component, if there is one.
    """

    def __init__(
        self,
        weights: list[float],
        locs: list[Any],
        scales: list[float] | None = None,
        covariances: list[list[list[float]]] | None = None,
        columns: Sequence[str] = (COLUMN,),
        noise: dict[str, float] | None = None,
    ):
        spreads = scales if covariances is None else covariances
        self.weights, self.locs, self.spreads = (np.asarray(values, np.float64) for values in (weights, locs, spreads))
        self.columns = list(columns)
        self.log_noise = None if noise is None else float(np.log(noise["weight"]) + noise["log_density"])

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """A DataFrame with one row per datum: label, responsibility_0, …, log_density.

        With noise there is `responsibility_noise` too, and the label of noise is −1.

        Args:
            model_input: a DataFrame with a column `datum`, or with the columns that were fitted.
            params: ignored.

        Of several columns, a row may lack some (NaN): it is judged by those it has.

        Raises:
            ValueError: a value is infinite, or a row has none.
        """
        import pandas as pd

        read = [np.asarray(model_input[name], np.float64) for name in self.columns]
        lacking = np.isnan(read).all(axis=0)
        for name, values in zip(self.columns, read, strict=True):
            bad = np.flatnonzero(np.isinf(values) | lacking)
            if len(bad):
                raise ValueError(f"{name}: expected finite numbers, but {values[bad[0]]} came in row {bad[0] + 1}")
        data = read[0] if self.locs.ndim == 1 else np.stack(read, axis=1)
        log_densities, responsibilities = evaluate(self.weights, self.locs, self.spreads, data, self.log_noise)
        columns = {"label": labels_of(responsibilities, len(self.weights)).astype(np.int32)}
        names = responsibility_names(len(self.weights), self.log_noise is not None)
        columns |= dict(zip(names, responsibilities, strict=True))
        return pd.DataFrame({**columns, "log_density": log_densities}, index=model_input.index)


def _load_pyfunc(path: str) -> PortableMixture:
    """Read a mixture; MLflow calls this function by its name."""
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - MLflow passes paths as str
        return PortableMixture(**json.load(stream))
