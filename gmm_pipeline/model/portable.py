"""A fitted mixture in NumPy alone; this file is copied as it is into every MLflow model.

So it imports nothing of the package, and a model needs neither JAX nor this project where it is loaded; the functions
for notebooks and `predict` evaluate with the same lines. Data are taken in chunks that stay in the cache; the price: a
loop in Python, some microseconds for each 16,384 data.

Everything is float64. Log densities are summed as logarithms, so that far tails keep theirs: a datum at 100 standard
deviations has −5,000 nats, and responsibilities that sum to one, where densities would be 0 and 0/0.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

HALF_LOG_TWO_PI = 0.5 * float(np.log(2.0 * np.pi))
CHUNK = 16_384


def log_height(log_weights: Any, log_scales: Any) -> Any:
    """Log joint density of components at their locs: log w − log σ − ½ log 2π, in nats; of NumPy's arrays or JAX's.

    Args:
        log_weights: log w.
        log_scales: log σ, of the same shape.
    """
    return log_weights - log_scales - HALF_LOG_TWO_PI


def log_joint(log_heights: Any, standardised: Any) -> Any:
    """Log joint density of components and data: log w + log N(x | μ, σ) = height − ½ z², in nats.

    Args:
        log_heights: of `log_height`.
        standardised: z = (x − μ) / σ; both broadcast.
    """
    return log_heights - 0.5 * standardised**2


def log_normal(standardised: Any, log_scale: Any) -> Any:
    """Log density of one number: −½ z² − log σ − ½ log 2π, in nats, in the order of sums that fits have had.

    Args:
        standardised: z = (x − μ) / σ.
        log_scale: log σ.
    """
    return -0.5 * standardised**2 - log_scale - HALF_LOG_TWO_PI


def evaluate_chunk(
    weights: np.ndarray, locs: np.ndarray, scales: np.ndarray, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log densities, [n], and responsibilities, [K, n], of some data.

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
    weights: np.ndarray, locs: np.ndarray, scales: np.ndarray, data: np.ndarray
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """What `evaluate_chunk` says of each chunk of the data, and which data it is of.

    Args:
        weights: w, of sum one, [K].
        locs: μ, [K].
        scales: σ, [K].
        data: x, finite, [n].
    """
    for begin in range(0, len(data), CHUNK):
        here = slice(begin, begin + CHUNK)
        yield here, *evaluate_chunk(weights, locs, scales, data[here])


def evaluate(
    weights: np.ndarray, locs: np.ndarray, scales: np.ndarray, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log density of each datum in nats, [n], and its responsibilities, [K, n].

    Args:
        weights: w, of sum one, [K].
        locs: μ, [K].
        scales: σ, [K].
        data: x, finite, [n].
    """
    log_densities, responsibilities = np.empty(len(data)), np.empty((len(locs), len(data)))
    for here, log_densities_here, responsibilities_here in chunks(weights, locs, scales, data):
        log_densities[here] = log_densities_here
        responsibilities[:, here] = responsibilities_here
    return log_densities, responsibilities


class PortableMixture:
    """What MLflow loads: predicts a label, responsibilities and a log density for each datum.

    Args:
        weights: of sum one.
        locs: means, in ascending order.
        scales: standard deviations.
    """

    def __init__(self, weights: list[float], locs: list[float], scales: list[float]):
        self.weights, self.locs, self.scales = (np.asarray(values, np.float64) for values in (weights, locs, scales))

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """A DataFrame with a row a datum: label, responsibility_0, …, log_density.

        Args:
            model_input: a DataFrame with a column `datum`.
            params: none are known.

        Raises:
            ValueError: a datum is missing or infinite.
        """
        import pandas as pd

        data = np.asarray(model_input["datum"], np.float64)
        bad = np.flatnonzero(~np.isfinite(data))
        if len(bad):
            raise ValueError(f"datum: expected finite numbers, but {data[bad[0]]} came in row {bad[0] + 1}")
        log_densities, responsibilities = evaluate(self.weights, self.locs, self.scales, data)
        columns = {"label": np.argmax(responsibilities, axis=0).astype(np.int32)}
        columns |= {f"responsibility_{component}": column for component, column in enumerate(responsibilities)}
        return pd.DataFrame({**columns, "log_density": log_densities}, index=model_input.index)


def _load_pyfunc(path: str) -> PortableMixture:
    """Read a mixture; the name is the one that MLflow calls."""
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - a path is a text to MLflow
        return PortableMixture(**json.load(stream))
