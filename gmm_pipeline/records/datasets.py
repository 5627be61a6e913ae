"""Data, from a generating spec or from a file: always float64 and finite.

Generated data are drawn in float32 whatever the precision of the fit, so that the data are a function of their spec
alone. Files are read as data, never as code. Both kinds end in one `Dataset`; a loader of your own is a function with
keyword-only arguments that returns one, named by `_target_` in a YAML.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records.artifacts import mixture_as_json, mixture_from_json
from gmm_pipeline.records.files import is_number, read_columns, read_json

LARGEST_SEED = 2**32 - 1
MOST_DRAWS = 10**9
Text = str | int | float  # what YAML makes of a word on the command line


class Dataset(NamedTuple):
    """n observations and what is known about them."""

    name: str
    unit: str | None
    source: str
    """The absolute path of a file, or how the data were made, in words."""
    source_type: Literal["file", "generated"]
    data: Float[np.ndarray, " n"]
    sample_weights: Float[np.ndarray, " n"] | None
    """How often each datum counts; None for once each."""
    truth: Mixture | None
    """The mixture they were drawn from, ordered by loc, where it is known."""
    components: Shaped[np.ndarray, " n"] | None
    """Which component of the truth made each datum, where it is known."""
    column: str | None = None
    """Of the file."""

    @property
    def counts(self) -> Float[np.ndarray, " n"]:
        """How often each datum counts, as an array in every case."""
        return np.ones_like(self.data) if self.sample_weights is None else self.sample_weights

    @property
    def digest(self) -> str:
        """SHA-256 of the data and their sample weights, as little-endian float64."""
        sha = hashlib.sha256(self.data.astype("<f8").tobytes())
        if self.sample_weights is not None:
            sha.update(self.sample_weights.astype("<f8").tobytes())
        return sha.hexdigest()


def describe(dataset: Dataset) -> dict[str, Any]:
    """What a record says of its data, ready for JSON."""
    return {
        "name": dataset.name,
        "unit": dataset.unit,
        "source": dataset.source,
        "source_type": dataset.source_type,
        "n_data": len(dataset.data),
        "sample_weights": dataset.sample_weights is not None,
        "digest": dataset.digest,
        "truth": None if dataset.truth is None else mixture_as_json(dataset.truth),
    }


def ordered_mixture(
    weights: Sequence[float | int], locs: Sequence[float | int], scales: Sequence[float | int]
) -> Mixture:
    """A mixture with weights that sum to one and components in the order of their locs."""
    order = np.argsort(np.asarray(locs, np.float64), kind="stable")
    relative, locs_, scales_ = (np.asarray(values, np.float64)[order] for values in (weights, locs, scales))
    return Mixture(relative / relative.sum(), locs_, scales_)


def generate(
    *,
    name: Text,
    unit: Text | None,
    weights: Sequence[float | int],
    locs: Sequence[float | int],
    scales: Sequence[float | int],
    n_draws: int | float,
    counts: str,
    seed: int | float,
) -> Dataset:
    """Draw data from a mixture.

    Args:
        name: what the data are called.
        unit: of the data.
        weights: relative weights of the components, positive.
        locs: means.
        scales: standard deviations, positive.
        n_draws: how many data in all.
        counts: `exact` gives each component its share of the draws, rounded to the largest remainder, in component
            order; `multinomial` draws the component of each datum.
        seed: of the random key.

    Raises:
        InputError: where the spec is not a mixture, or its draws cannot be fitted.
    """
    import jax

    from gmm_pipeline.model.mixture import sample_exact_counts, sample_multinomial

    _check_mixture("data", weights, locs, scales)
    n_draws = _whole("data.n_draws", n_draws, least=2, most=MOST_DRAWS)
    seed = _whole("data.seed", seed, least=0, most=LARGEST_SEED)
    key = jax.random.PRNGKey(seed)
    weights, locs, scales = ([float(value) for value in values] for values in (weights, locs, scales))
    with np.errstate(over="ignore"):  # a loc or scale beyond float32 shows in the draws
        if counts == "exact":
            draws, components = sample_exact_counts(key, locs, scales, apportion(n_draws, weights))
        elif counts == "multinomial":
            draws, components = sample_multinomial(key, weights, locs, scales, n_draws)
        else:
            allowed = "exact or multinomial"
            raise InputError("data.counts", expected=allowed, came=repr(counts), remedy="Set data.counts=exact.")
    data = np.asarray(draws, np.float64)
    _check_draws(data)
    return Dataset(
        name=str(name),
        unit=None if unit is None else str(unit),
        source=f"{n_draws} draws, {counts} counts, seed {seed}",
        source_type="generated",
        data=data,
        sample_weights=None,
        truth=ordered_mixture(weights, locs, scales),
        components=np.argsort(np.argsort(locs, kind="stable"))[np.asarray(components)],
    )


def apportion(total: int, weights: Sequence[float | int]) -> list[int]:
    """Whole shares of a total in proportion to weights: rounded down, the rest to the largest remainders (Hamilton)."""
    shares = total * np.asarray(weights, np.float64) / np.sum(np.asarray(weights, np.float64))
    counts = np.floor(shares + 1e-9).astype(int)
    for index in np.argsort(counts - shares, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return counts.tolist()


def from_file(
    *,
    path: Text,
    column: Text | None,
    weights_column: Text | None,
    truth: Text | None,
    name: Text | None,
    unit: Text | None,
) -> Dataset:
    """Read one column of a CSV, Parquet or npy file.

    Args:
        path: the file; its suffix decides the format.
        column: name of the column (its number for npy); None where there is only one.
        weights_column: how often each datum counts; None for once each.
        truth: JSON file with `weights`, `locs` and `scales`; None where the truth is unknown.
        name: what the data are called; None for the file's name.
        unit: of the data.

    Raises:
        InputError: where a file or column is missing, or holds what cannot be fitted.
    """
    path = str(path)
    columns = read_columns(Path(path))
    chosen_column = _chosen(columns, path, "data.column", column)
    data, sample_weights = _numbers(columns, path, chosen_column, allowed="finite numbers"), None
    if weights_column is not None:
        chosen = _chosen(columns, path, "data.weights_column", weights_column)
        sample_weights = _numbers(columns, path, chosen, allowed="finite numbers, 0 or more")
        if (sample_weights < 0).any() or not sample_weights.sum() > 0:
            row = int(np.argmin(sample_weights))
            raise InputError(
                f"{path}, column {chosen!r}",
                expected="sample weights that are 0 or more and not all 0",
                came=f"{sample_weights[row]:g} in row {row + 1}",
                remedy="A sample weight says how often a datum counts.",
            )
    if len(data) == 0:
        raise InputError(
            f"{path}, column {chosen_column!r}",
            expected="numbers, a row each",
            came="no rows",
            remedy="Choose another file or column.",
        )
    return Dataset(
        name=str(name) if name is not None else Path(path).stem,
        unit=None if unit is None else str(unit),
        source=str(Path(path).absolute()),
        source_type="file",
        data=data,
        sample_weights=sample_weights,
        truth=None if truth is None else _read_truth(Path(str(truth))),
        components=None,
        column=chosen_column,
    )


def _chosen(columns: dict[str, Any], path: str, key: str, column: Text | None) -> str:
    if column is None and len(columns) == 1:
        return next(iter(columns))
    if str(column) not in columns:
        close = nearest(str(column), columns)
        expected = f"one of the columns of {path}: {', '.join(columns) or 'there are none'}"
        remedy = f"Did you mean {' or '.join(close)}?" if close else f"Set {key} to one of them."
        raise InputError(key, expected=expected, came=repr(column), remedy=remedy)
    return str(column)


def _numbers(columns: dict[str, Any], path: str, column: str, *, allowed: str) -> Float[np.ndarray, " n"]:
    values = columns[column]
    values = values if isinstance(values, np.ndarray) else values.to_numpy(zero_copy_only=False)
    where = f"{path}, column {column!r}"
    if len(values) == 0:
        return np.empty(0)
    if values.dtype.kind not in "iuf":
        texts = [value for value in values.tolist() if isinstance(value, str)]
        example = next((text for text in texts if not is_number(text)), texts[0] if texts else values[0])
        came = f"{example!r}, which is text" if texts else f"{example} ({type(example).__name__})"
        raise InputError(where, expected=allowed, came=came, remedy="Choose another column, or save it as numbers.")
    numbers = np.asarray(values, np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise InputError(
            where,
            expected=allowed,
            came=f"{len(bad)} that are missing, NaN or infinite, the first in row {bad[0] + 1}",
            remedy="Remove these rows first: leaving them out silently would change the answer.",
        )
    return numbers


def _read_truth(path: Path) -> Mixture:
    try:
        mixture = mixture_from_json(read_json(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "data.truth",
            expected="a JSON file with lists weights, locs and scales",
            came=f"{path} ({type(error).__name__}: {error})",
            remedy="Such a file is what `simulate` writes beside its data.",
        ) from error
    _check_mixture(str(path), *(values.tolist() for values in mixture))
    return ordered_mixture(*(values.tolist() for values in mixture))


def _check_mixture(
    where: str, weights: Sequence[float | int], locs: Sequence[float | int], scales: Sequence[float | int]
) -> None:
    # locs first: the others are as long.
    for key, values in (("locs", locs), ("weights", weights), ("scales", scales)):
        if not _are_numbers(values):
            expected, remedy = "a list of finite numbers, one a component", f"For two components: {where}.{key}=[1,5]."
        elif len(values) != len(locs):
            expected = f"{len(locs)} numbers, as many as {where}.locs"
            remedy = "Give each component a weight, a loc and a scale."
        elif key != "locs" and min(values) <= 0:
            expected = "positive numbers"
            remedy = "Leave out a component without weight; a scale is a standard deviation."
        else:
            continue
        came = str(list(values)) if isinstance(values, tuple) else repr(values)
        raise InputError(f"{where}.{key}", expected=expected, came=came, remedy=remedy)


def _are_numbers(values: Any) -> bool:
    return (isinstance(values, list | tuple) and len(values) > 0) and all(
        type(value) in (int, float) and abs(value) <= sys.float_info.max for value in values
    )


def _check_draws(data: Float[np.ndarray, " n"]) -> None:
    """Refuse draws that float32 cannot hold or tell apart."""
    where = "data.locs and data.scales"
    if not np.isfinite(data).all():
        came = f"{np.count_nonzero(~np.isfinite(data))} draws that are not"
        raise InputError(where, expected="draws that are finite in float32", came=came, remedy="Change their unit.")
    _check_spread(where, data, remedy="Data are drawn in float32: about 7 digits. Use larger scales, or smaller locs.")


def check_can_be_fitted(dataset: Dataset, where: str) -> None:
    """Refuse data that a mixture cannot be fitted to, though it can be asked about them.

    Args:
        dataset: any.
        where: how a message names them.

    Raises:
        InputError: the data that count are all the same, or float64 cannot hold their variance.
    """
    counted = dataset.data if dataset.sample_weights is None else dataset.data[dataset.sample_weights > 0]
    another = "A mixture cannot be fitted to a constant; choose another column with data.column."
    _check_spread(where, counted, remedy=another)


def _check_spread(where: str, data: Float[np.ndarray, " n"], *, remedy: str) -> None:
    """Refuse data that count for something and have no standard deviation above 0, or none that float64 can hold."""
    if len(data) < 2 or data.min() == data.max():
        came = "no rows" if len(data) == 0 else f"{len(data)} rows that all are {data[0]:g}"
        raise InputError(where, expected="at least two different values", came=came, remedy=remedy)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        variance = np.var(data)
    if not 1e-300 < variance < 1e300:
        expected = "numbers whose variance float64 can hold well, from 1e-300 to 1e300"
        came = f"numbers from {data.min():g} to {data.max():g}"
        raise InputError(where, expected=expected, came=came, remedy="Change their unit.")


def _whole(where: str, value: int | float, *, least: int, most: int) -> int:
    """The value, where it is a whole number in its range; 1e4 is a float to YAML."""
    if type(value) is int and least <= value <= most:
        return value
    nearby = round(min(most, max(least, value))) if isinstance(value, int | float) else least
    allowed = f"a whole number from {least} to {most}"
    raise InputError(where, expected=allowed, came=repr(value), remedy=f"For example {where}={nearby}.")
