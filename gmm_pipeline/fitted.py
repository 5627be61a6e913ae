"""Load a fitted mixture and evaluate it on data, as in a notebook. NumPy in, NumPy out, float64 throughout.

    from gmm_pipeline import labels, load, log_density, responsibilities, sample

    mixture = load("latest")                     # weights, locs, scales
    labels(mixture, [-2.0, 0.5, 40.0])           # the most probable component of each
    sample(mixture, 1000, seed=1)

Data can be anything one-dimensional that NumPy reads as numbers: lists, arrays, columns of data frames. Anything else
raises an `InputError`, which is a ValueError. Nothing here needs a config or JAX settings.
"""

import operator
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.errors import InputError
from gmm_pipeline.model import portable

if TYPE_CHECKING:
    from gmm_pipeline.model.natural import Mixture

ROUNDING = 1e-6
"""How far from one the sum of hand-typed weights may be."""


def load(run: str | Path, *, outputs_dir: str | Path = "outputs", tracking_uri: str | None = None) -> "Mixture":
    """The fitted mixture of a run, as `weights`, `locs` and `scales` in the data's units, ordered by loc.

    Args:
        run: the folder of a record, `latest` for the newest one under `outputs_dir` (after a sweep its
            best run, with a warning that says which), or the id of a run in MLflow.
        outputs_dir: folder of the records and, unless `tracking_uri` says otherwise, of the store `mlflow.db`.
        tracking_uri: of the store that has the run: sqlite:///FILE or the address of a server.

    Raises:
        InputError: there is no such run, or it has no result.
        TrackingError: the store or the server failed.
    """
    from gmm_pipeline.records.finding import read_fitted
    from gmm_pipeline.stages.finding import LATEST, best_of_sweep, found_record

    uri = tracking_uri if tracking_uri is not None else f"sqlite:///{Path(outputs_dir) / 'mlflow.db'}"
    with found_record(str(run), str(outputs_dir), uri) as record:
        best = best_of_sweep(record.parent) if str(run) == LATEST else None
        if best is not None and best.record == record:
            warnings.warn(f"latest is {record}, {best.words}", stacklevel=2)
        return read_fitted(record)


def density(mixture: "Mixture", data: Any) -> Float[np.ndarray, " n"]:
    """Density of each datum: p(x_i) = Σ_j w_j N(x_i | μ_j, σ_j), per unit of the data.

    It underflows to 0 below 1e-308; `log_density` does not.

    Args:
        mixture: weights, locs and scales.
        data: x.

    Raises:
        InputError: `mixture` is none, or `data` are not finite numbers in one dimension.
    """
    return np.exp(log_density(mixture, data))


def log_density(mixture: "Mixture", data: Any) -> Float[np.ndarray, " n"]:
    """Log density of each datum: log Σ_j w_j N(x_i | μ_j, σ_j), in nats, for a density per unit of the data.

    Their sum is the log-likelihood of the data.

    Args:
        mixture: weights, locs and scales.
        data: x.

    Raises:
        InputError: `mixture` is none, or `data` are not finite numbers in one dimension.
    """
    found = [log_densities for _, log_densities, _ in portable.chunks(*_components(mixture), _numbers(data))]
    return np.concatenate(found) if found else np.empty(0)


def responsibilities(mixture: "Mixture", data: Any) -> Float[np.ndarray, "n K"]:
    """Probability that each component made each datum: r_ij = w_j N(x_i | μ_j, σ_j) / Σ_k w_k N(x_i | μ_k, σ_k).

    Args:
        mixture: weights, locs and scales.
        data: x.

    Raises:
        InputError: `mixture` is none, or `data` are not finite numbers in one dimension.
    """
    return portable.evaluate(*_components(mixture), _numbers(data))[1].T


def labels(mixture: "Mixture", data: Any) -> Int[np.ndarray, " n"]:
    """The most probable component of each datum, counted from 0 in the order of the mixture; ties go to the first.

    Args:
        mixture: weights, locs and scales.
        data: x.

    Raises:
        InputError: `mixture` is none, or `data` are not finite numbers in one dimension.
    """
    found = [np.argmax(chunk, axis=0) for _, _, chunk in portable.chunks(*_components(mixture), _numbers(data))]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def sample(mixture: "Mixture", n: int, seed: int) -> Float[np.ndarray, " n"]:
    """Independent draws: z_i ~ Categorical(w), x_i ~ N(μ_z, σ_z); the same for the same seed and version of NumPy.

    Args:
        mixture: weights, locs and scales.
        n: how many.
        seed: a whole number, 0 or more.

    Raises:
        InputError: `mixture` is none, or `n` or `seed` are not whole numbers of 0 or more.
    """
    weights, locs, scales = _components(mixture)
    random = np.random.default_rng(_whole("seed", seed))
    components = random.choice(len(weights), size=_whole("n", n), p=weights)
    return locs[components] + scales[components] * random.standard_normal(len(components))


def _components(mixture: "Mixture") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, locs and scales in float64, checked to be a mixture."""
    try:
        arrays = [np.asarray(getattr(mixture, name), np.float64) for name in ("weights", "locs", "scales")]
    except (AttributeError, TypeError, ValueError) as error:
        raise _no_mixture(f"{type(mixture).__name__} ({error})") from error
    weights, locs, scales = arrays
    if not (locs.ndim == 1 and len(locs) and weights.shape == locs.shape == scales.shape):
        raise _no_mixture(f"shapes {weights.shape}, {locs.shape} and {scales.shape}")
    for name, values, wrong in (
        ("weights", weights, ~(weights >= 0)),
        ("locs", locs, ~np.isfinite(locs)),
        ("scales", scales, ~(np.isfinite(scales) & (scales > 0))),
    ):
        if wrong.any():
            raise _no_mixture(f"{name} with {values[wrong][0]:g}")
    total = weights.sum()
    if not abs(total - 1.0) <= ROUNDING:
        raise _no_mixture(f"weights that sum to {total:g}")
    return weights / total, locs, scales


def _no_mixture(came: str) -> InputError:
    return InputError(
        "mixture",
        expected="weights that are non-negative and sum to 1, and as many finite locs and positive scales",
        came=came,
        remedy="`load` returns a valid mixture.",
    )


def _numbers(data: Any) -> Float[np.ndarray, " n"]:
    """Data in float64, checked to be finite numbers in one dimension."""
    try:
        values = np.asarray(data)
    except ValueError as error:  # lists of different lengths
        raise _no_data(str(error).splitlines()[0]) from error
    if values.ndim != 1:
        raise _no_data(f"an array of shape {values.shape}")
    if len(values) == 0:
        return np.empty(0)
    if values.dtype.kind not in "iuf":
        raise _no_data(f"{type(values[0]).__name__} {values[0]!r}")
    numbers = values.astype(np.float64)
    masked = np.ma.getmaskarray(data) if isinstance(data, np.ma.MaskedArray) else False
    bad = np.flatnonzero(~np.isfinite(numbers) | masked)
    if len(bad):
        raise _no_data(f"{len(bad)} that are missing, NaN or infinite, the first at index {bad[0]}")
    return numbers


def _no_data(came: str) -> InputError:
    return InputError(
        "data",
        expected="finite numbers in one dimension",
        came=came,
        remedy="Pass a list, an array or a column without missing values.",
    )


def _whole(where: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise InputError(
            where, expected="a whole number, 0 or more", came=repr(value), remedy=f"For example {where}=1."
        )
    return number
