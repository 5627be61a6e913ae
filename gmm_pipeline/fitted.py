"""Evaluate a mixture, or a fit, on data, as in a notebook. NumPy in, NumPy out, float64 throughout.

    from gmm_pipeline import labels, load, log_density, responsibilities, sample

    fit = load("latest")                     # weights, locs, scales
    labels(fit, [-2.0, 0.5, 40.0])           # the most probable component of each
    sample(fit, 1000, seed=1)

Data can be anything that NumPy reads as numbers: lists, arrays, columns of data frames. For a mixture of several
columns, which has `covariances`, they are a table with a row per datum, its columns in the order of the fit. A fit with
`data.missing=marginalise` takes rows with missing values, as NaN, and judges them by the others. Anything else raises
an `InputError`, which is a ValueError. Nothing here needs a config or JAX settings.
"""

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.errors import InputError
from gmm_pipeline.model import portable

if TYPE_CHECKING:
    from typing import Protocol

    class HasComponents(Protocol):
        """A mixture, or a fit: it has scales too, or covariances of several columns."""

        @property
        def weights(self) -> Float[np.ndarray, " K"]:
            """They sum to 1."""
            ...

        @property
        def locs(self) -> Float[np.ndarray, "K ..."]:
            """Means, in the data's units."""
            ...


MOST_NAMED = 8
"""Columns that a message names."""
ROUNDING = 1e-6
"""How far from one the sum of hand-typed weights may be."""


def density(mixture: "HasComponents", data: Any) -> Float[np.ndarray, " n"]:
    """Density of each datum: p(x_i) = Σ_j w_j N(x_i | μ_j, σ_j), per unit of the data.

    It underflows to 0 below 1e-308; `log_density` does not.

    Args:
        mixture: weights, locs and scales, or covariances of several columns.
        data: x, [n], or [n, d] of d columns.

    Raises:
        InputError: `mixture` is none, or `data` are not finite numbers of its columns.
    """
    return np.exp(log_density(mixture, data))


def log_density(mixture: "HasComponents", data: Any) -> Float[np.ndarray, " n"]:
    """Log density of each datum: log Σ_j w_j N(x_i | μ_j, σ_j), in nats, for a density per unit of the data.

    Their sum is the log-likelihood of the data.

    Args:
        mixture: weights, locs and scales, or covariances of several columns.
        data: x, [n], or [n, d] of d columns.

    Raises:
        InputError: `mixture` is none, or `data` are not finite numbers of its columns.
    """
    found = [log_densities for _, log_densities, _ in _chunks(mixture, data)]
    return np.concatenate(found) if found else np.empty(0)


def responsibilities(mixture: "HasComponents", data: Any) -> Float[np.ndarray, "n K"]:
    """Probability that each component made each datum: r_ij = w_j N(x_i | μ_j, σ_j) / Σ_k w_k N(x_i | μ_k, σ_k).

    That of the noise, if there is any, is the last column.

    Args:
        mixture: weights, locs and scales, or covariances of several columns.
        data: x, [n], or [n, d] of d columns.

    Raises:
        InputError: `mixture` is none, or `data` are not finite numbers of its columns.
    """
    components = _components(mixture)
    return portable.evaluate(*components, _data_of(mixture, data, components), _log_noise(mixture))[1].T


def labels(mixture: "HasComponents", data: Any) -> Int[np.ndarray, " n"]:
    """The most probable component of each datum, counted from 0 in the order of the mixture; ties go to the first.

    The label of noise is −1.

    Args:
        mixture: weights, locs and scales, or covariances of several columns.
        data: x, [n], or [n, d] of d columns.

    Raises:
        InputError: `mixture` is none, or `data` are not finite numbers of its columns.
    """
    found = [portable.labels_of(chunk, len(mixture.locs)) for _, _, chunk in _chunks(mixture, data)]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def sample(mixture: "HasComponents", n: int, seed: int) -> Float[np.ndarray, "n ..."]:
    """Independent draws: z_i ~ Categorical(w), x_i ~ N(μ_z, σ_z); the same for the same seed and version of NumPy.

    Args:
        mixture: weights, locs and scales, or covariances of several columns.
        n: how many.
        seed: a whole number, 0 or more.

    Raises:
        InputError: `mixture` is none or has noise, or `n` or `seed` are not whole numbers of 0 or more.
    """
    return draws(mixture, n, seed)[0]


def draws(mixture: "HasComponents", n: int, seed: int) -> tuple[Float[np.ndarray, "n ..."], Int[np.ndarray, " n"]]:
    """As `sample`, with the component of each draw.

    Args:
        mixture: weights, locs and scales, or covariances of several columns.
        n: how many.
        seed: a whole number, 0 or more.

    Raises:
        InputError: `mixture` is none or has noise, or `n` or `seed` are not whole numbers of 0 or more.
    """
    if _log_noise(mixture) is not None:
        raise InputError(
            "mixture",
            expected="one without noise, whose volume is known but not its place",
            came="a mixture with noise",
            remedy="Draw from `mixture.components`, with weights that sum to one.",
        )
    weights, locs, spreads = _components(mixture)
    random = np.random.default_rng(_whole("seed", seed))
    components = random.choice(len(weights), size=_whole("n", n), p=weights)
    whitened = random.standard_normal((len(components), *locs.shape[1:]))
    if locs.ndim == 1:
        return locs[components] + spreads[components] * whitened, components
    scattered = np.einsum("nij,nj->ni", np.linalg.cholesky(spreads)[components], whitened)
    return locs[components] + scattered, components


def _chunks(mixture: "HasComponents", data: Any) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    components = _components(mixture)
    return portable.chunks(*components, _data_of(mixture, data, components), _log_noise(mixture))


def _data_of(
    mixture: "HasComponents", data: Any, components: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Float[np.ndarray, "n ..."]:
    return _numbers(_picked(mixture, data), _n_columns(components), gaps=getattr(mixture, "marginalises", False))


def _log_noise(mixture: Any) -> float | None:
    """Log joint density of the noise and any datum; None without noise."""
    noise = getattr(mixture, "noise", None)
    return None if noise is None else noise.log_joint


def _n_columns(components: tuple[np.ndarray, np.ndarray, np.ndarray]) -> int | None:
    """Of data that are rows; None for data in one dimension."""
    _, locs, _ = components
    return locs.shape[1] if locs.ndim > 1 else None


def _components(mixture: "HasComponents") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, locs, and scales or covariances in float64, checked to be a mixture."""
    spread = "covariances" if hasattr(mixture, "covariances") else "scales"
    try:
        arrays = [np.asarray(getattr(mixture, name), np.float64) for name in ("weights", "locs", spread)]
    except (AttributeError, TypeError, ValueError) as error:
        raise _no_mixture(f"{type(mixture).__name__} ({error})") from error
    weights, locs, spreads = arrays
    dimensions = locs.shape[1:] if spread == "covariances" else ()
    right = (len(weights), *dimensions) == locs.shape and (*locs.shape, *dimensions) == spreads.shape
    if not (weights.ndim == 1 and len(weights) and right):
        raise _no_mixture(f"shapes {weights.shape}, {locs.shape} and {spreads.shape}")
    for name, values, wrong in (
        ("weights", weights, ~(weights >= 0)),
        ("locs", locs, ~np.isfinite(locs)),
        (spread, spreads, ~np.isfinite(spreads)),
        *([("scales", spreads, ~(spreads > 0))] if spread == "scales" else []),
    ):
        if wrong.any():
            raise _no_mixture(f"{name} with {values[wrong][0]:g}")
    if spread == "covariances":
        _check_covariances(spreads)
    noise = getattr(mixture, "noise", None)
    total = weights.sum() + (0.0 if noise is None else noise.weight)
    if not abs(total - 1.0) <= ROUNDING:
        raise _no_mixture(f"weights that sum to {total:g}")
    return weights / total, locs, spreads


def _check_covariances(covariances: Float[np.ndarray, "K d d"]) -> None:
    sizes = np.sqrt(np.abs(np.diagonal(covariances, axis1=1, axis2=2)))
    skew = np.abs(covariances - covariances.swapaxes(1, 2)) > ROUNDING * sizes[:, :, None] * sizes[:, None, :]
    for component, matrix in enumerate(covariances):
        if skew[component].any():
            raise _no_mixture(f"covariances of which that of component {component} is not symmetric")
        try:
            np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError as error:
            raise _no_mixture(f"covariances of which that of component {component} is not positive definite") from error


def _no_mixture(came: str) -> InputError:
    return InputError(
        "mixture",
        expected="weights that are non-negative and sum to 1, and as many finite locs and positive scales, or positive "
        "definite covariances",
        came=came,
        remedy="A fit, or its mixture, is one.",
    )


def _picked(mixture: "HasComponents", data: Any) -> Any:
    """The columns of a data frame that were fitted, in the order of the fit; other data as they are.

    Raises:
        InputError: the frame has other columns.
    """
    fitted: tuple[str, ...] = tuple(getattr(mixture, "columns", ()))
    names = getattr(data, "column_names", getattr(data, "columns", None))
    if not fitted or names is None:
        return data
    there = {str(name): name for name in names}
    if all(name in there for name in fitted):
        picked = [np.asarray(data[there[name]]) for name in fitted]
        return picked[0] if len(picked) == 1 else np.stack(picked, axis=1)
    # An array has numbers for names, and one column needs none.
    if len(there) == len(fitted) and (len(fitted) == 1 or fitted == tuple(map(str, range(len(fitted))))):
        return np.asarray(data)
    raise InputError(
        "data",
        expected=f"the columns of the fit: {', '.join(fitted[:MOST_NAMED])}",
        came=", ".join(list(there)[:MOST_NAMED]) or "none",
        remedy="Rename them, or pass an array with its columns in this order.",
    )


def _numbers(data: Any, n_columns: int | None, *, gaps: bool = False) -> Float[np.ndarray, "n ..."]:
    """Data in float64, checked to be finite numbers: in one dimension, or rows of so many columns."""
    try:
        values = np.asarray(data)
    except ValueError as error:  # lists of different lengths
        raise _no_data(n_columns, str(error).splitlines()[0]) from error
    if n_columns is None and values.ndim == 2 and values.shape[1] == 1:
        values, data = values[:, 0], data[:, 0] if isinstance(data, np.ma.MaskedArray) else data
    if values.shape == (0,):
        return np.empty((0,) if n_columns is None else (0, n_columns))
    if values.shape[1:] != (() if n_columns is None else (n_columns,)) or values.ndim == 0:
        raise _no_data(n_columns, f"an array of shape {values.shape}")
    if values.dtype.kind not in "iuf":
        first = values.ravel()[0]
        raise _no_data(n_columns, f"{type(first).__name__} {first!r}")
    numbers = values.astype(np.float64)
    if isinstance(data, np.ma.MaskedArray):
        numbers[np.ma.getmaskarray(data)] = np.nan
    unusable = ~np.isfinite(numbers)
    if gaps and n_columns is not None:  # one value of a row is enough
        unusable = np.isinf(numbers).any(axis=1) | np.isnan(numbers).all(axis=1)
    bad = np.unique(np.nonzero(unusable)[0])
    if len(bad):
        raise _no_data(n_columns, f"{len(bad)} that are missing, NaN or infinite, the first at index {bad[0]}")
    return numbers


def _no_data(n_columns: int | None, came: str) -> InputError:
    one = n_columns is None
    return InputError(
        "data",
        expected="finite numbers in one dimension" if one else f"rows of {n_columns} finite numbers, as in the fit",
        came=came,
        remedy=f"Pass a list, an array or {'a column' if one else 'columns'} without missing values.",
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
