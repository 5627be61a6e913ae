"""Checks of mixtures, draws, and data to which a mixture is to be fitted."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.large_data import MANY, is_complete, summary
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.outliers import FEW

TO_ROUNDING = float(np.finfo(np.float32).eps)
"""Columns that differ by less than this share of their standard deviations are the same to float32."""
EXACTLY = 1e-12
"""Share of the largest value up to which what is left of a linear relation is the rounding of float64."""
NEARLY_ONE = 1.0 - 1e-6
"""Correlation from which on two columns are compared."""
NEARLY_ZERO = 1e-6
"""Coefficient of a standardised column in a linear relation below which the column has no part in it."""
FAR = 100.0
"""Distance from the median, in ranges of the middle half of a column, beyond which a value may be no measurement."""
FAR_OF_CODE, LEAST_CODED = 20.0, 3
"""The same of one value that occurs at least so often, as a code for missing values does."""
ASYMMETRY = 1e-9
"""By how much, as a correlation, an entry of a matrix and its mirror image may differ."""


def check_mixture(
    where: str, weights: Sequence[float | int], locs: Sequence[float | int], scales: Sequence[float | int]
) -> None:
    """Refuse lists that do not describe a mixture.

    Args:
        where: the key that they belong to.
        weights: relative weights, positive.
        locs: means.
        scales: standard deviations, positive.

    Raises:
        InputError: one of the lists is invalid.
    """
    # locs first: the others are as long.
    for key, values in (("locs", locs), ("weights", weights), ("scales", scales)):
        if not _are_numbers(values):
            expected = "a list of finite numbers, one per component"
            remedy = f"For two components: {where}.{key}=[1,5]."
        elif len(values) != len(locs):
            expected = f"{len(locs)} numbers, as many as {where}.locs"
            remedy = "Give each component a weight, a loc and a scale."
        elif key != "locs" and min(values) <= 0:
            expected = "positive numbers"
            remedy = "Leave out components without weight; scales are standard deviations."
        else:
            continue
        came = str(list(values)) if isinstance(values, tuple) else repr(values)
        raise InputError(f"{where}.{key}", expected=expected, came=came, remedy=remedy)


def as_multivariate(where: str, weights: Any, locs: Any, covariances: Any) -> MultivariateMixture:
    """The mixture of several columns that lists describe, in their order; its weights have any sum.

    Args:
        where: the key that they belong to.
        weights: [K], relative, positive.
        locs: K rows of d numbers.
        covariances: of each component: a symmetric positive definite matrix, d rows of d numbers; d variances, for
            columns that are independent in it; or one variance for all columns.

    Raises:
        InputError: one of the lists is invalid.
    """
    rows = list(locs) if isinstance(locs, list | tuple) else []
    n_columns = len(rows[0]) if rows and all(map(_are_numbers, rows)) else 0
    if n_columns < 2 or any(len(row) != n_columns for row in rows):
        raise InputError(
            f"{where}.locs",
            expected="a list of rows, one per component, each of two or more finite numbers, one per column",
            came=str(_as_lists(locs)),
            remedy=f"For two components and two columns: {where}.locs=[[1,5],[2,7]].",
        )
    if not _are_numbers(weights) or len(weights) != len(rows) or min(weights) <= 0:
        raise InputError(
            f"{where}.weights",
            expected=f"{len(rows)} positive numbers, as many as {where}.locs has rows",
            came=str(_as_lists(weights)),
            remedy="Give each component a weight, a row of locs and a covariance.",
        )
    if not isinstance(covariances, list | tuple) or len(covariances) != len(rows):
        raise InputError(
            f"{where}.covariances",
            expected=f"a list of {len(rows)}, as many as {where}.locs has rows",
            came=str(_as_lists(covariances)),
            remedy="Give each component a weight, a row of locs and a covariance.",
        )
    matrices = [_covariance(where, number, one, n_columns) for number, one in enumerate(covariances)]
    return MultivariateMixture(np.array(weights, np.float64), np.array(rows, np.float64), np.array(matrices))


def _covariance(where: str, number: int, given: Any, n_columns: int) -> Float[np.ndarray, "d d"]:
    """The covariance matrix of a component, from a matrix, variances or one variance."""
    variances = [given] * n_columns if _are_numbers([given]) else given
    rows = variances if isinstance(variances, list | tuple) else []
    if len(rows) == n_columns and _are_numbers(rows):
        matrix = np.diag(np.array(rows, np.float64))
    elif len(rows) == n_columns and all(_are_numbers(row) and len(row) == n_columns for row in rows):
        matrix = np.array(rows, np.float64)
    else:
        matrix = None
    came = str(_as_lists(given))
    if matrix is not None:
        scales = np.sqrt(np.abs(np.diag(matrix)))
        if (np.abs(matrix - matrix.T) > ASYMMETRY * np.outer(scales, scales)).any():
            came += ", which is not symmetric"
        elif not (np.diag(matrix) > 0).all() or not _is_positive_definite(matrix / np.outer(scales, scales)):
            came += ", which is not positive definite"
        else:
            return (matrix + matrix.T) / 2
    raise InputError(
        f"{where}.covariances",
        expected=f"for component {number} a variance, {n_columns} variances, or a symmetric positive definite "
        f"matrix of {n_columns} rows and columns",
        came=came,
        remedy="On the diagonal are squares of standard deviations; beside it, their products times the correlation.",
    )


def _is_positive_definite(correlations: Float[np.ndarray, "d d"]) -> bool:
    try:
        np.linalg.cholesky(correlations)
    except np.linalg.LinAlgError:
        return False
    return True


def _as_lists(values: Any) -> Any:
    return [_as_lists(value) for value in values] if isinstance(values, list | tuple) else values


def _are_numbers(values: Any) -> bool:
    return (isinstance(values, list | tuple) and len(values) > 0) and all(
        type(value) in (int, float) and abs(value) <= sys.float_info.max for value in values
    )


def check_draws(where: str, data: Float[np.ndarray, " n"] | Float[np.ndarray, "n d"]) -> None:
    """Refuse draws that float32 cannot represent or distinguish.

    Args:
        where: the keys that they are drawn from.
        data: of one column or several.

    Raises:
        InputError: they are not finite, or those of a column are all equal.
    """
    if not np.isfinite(data).all():
        came = f"{np.count_nonzero(~np.isfinite(data))} draws that are not"
        raise InputError(where, expected="draws that are finite in float32", came=came, remedy="Change their unit.")
    for column in np.atleast_2d(data.T):
        check_spread(
            where, column, remedy="Data are drawn in float32: about 7 digits. Use larger scales, or smaller locs."
        )


def check_spread(where: str, data: Float[np.ndarray, " n"], *, remedy: str) -> None:
    """Refuse data whose standard deviation is 0 or beyond float64.

    Args:
        where: their name for messages.
        data: those of positive weight.
        remedy: for the message if they are all equal.

    Raises:
        InputError: their standard deviation cannot be used.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = summary(data) if len(data) else None
    if found is None or found.least == found.greatest:
        came = f"{len(data)} rows that are all {data[0]:g}" if len(data) > 1 else ("no rows", "one row")[len(data)]
        raise InputError(where, expected="at least two different values", came=came, remedy=remedy)
    if not 1e-300 < found.scatter / found.total < 1e300:
        expected = "numbers whose variance float64 can hold well, from 1e-300 to 1e300"
        came = f"numbers from {found.least:g} to {found.greatest:g}"
        raise InputError(where, expected=expected, came=came, remedy="Change their unit.")


def check_columns(where: str, names: Sequence[str], data: Float[np.ndarray, "n d"]) -> None:
    """Refuse a constant column, and two columns that say the same: y = a + b x to rounding.

    Args:
        where: the data, for messages.
        names: of the columns.
        data: those of positive weight, NaN where a value is missing.

    Raises:
        InputError: which column, or which two.
    """
    other = "A mixture cannot be fitted to a constant; choose other columns with data.columns."
    for name, column in zip(names, data.T, strict=True):
        present = column if is_complete(column) else column[~np.isnan(column)]
        check_spread(f"{where}, column {name!r}", present, remedy=other)
    for first, second in _nearly_proportional(data):
        x, y = data[~np.isnan(data[:, [first, second]]).any(axis=1)][:, [first, second]].T
        sign = _same_but_for_units(x, y)
        if sign == 0.0:
            continue
        slope = sign * y.std() / x.std()
        offset = y.mean() - slope * x.mean()
        line = f"{slope:g} times the first{f' {offset:+g}' if abs(offset) > TO_ROUNDING * np.ptp(y) else ''}"
        remedy = "Leave one of them out with data.columns."
        if np.abs(y - slope * x - offset).max() > EXACTLY * np.abs(y).max():
            line += f", to about {TO_ROUNDING:.0g} of their spread"
            farthest = int(np.argmax(np.abs(x - x.mean()) / x.std()))
            others = np.arange(len(x)) != farthest
            if min(np.ptp(x[others]), np.ptp(y[others])) > 0.0 and not _same_but_for_units(x[others], y[others]):
                line += f", only because one row is far away, with {x[farthest]:g} and {y[farthest]:g}"
                remedy = "Check that row: without it the columns differ."
        raise InputError(
            f"{where}, columns {names[first]!r} and {names[second]!r}",
            expected="columns that differ by more than their units",
            came="two that are equal" if np.array_equal(x, y) else f"a second that is {line}",
            remedy=remedy,
        )


def _same_but_for_units(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """The sign of the slope if y is a + b x to the rounding of float32, else 0."""
    standardised = _standardised(np.stack([x, y], axis=1))
    sign = float(np.sign(standardised[:, 0] @ standardised[:, 1]))
    return sign if np.std(standardised[:, 0] - sign * standardised[:, 1]) <= TO_ROUNDING else 0.0


def _nearly_proportional(data: Float[np.ndarray, "n d"]) -> list[tuple[int, int]]:
    """Pairs of columns whose correlation is almost 1 or −1, in the rows that have both."""
    if is_complete(data):
        near = np.abs(_correlations(data)) > NEARLY_ONE
        return [(int(first), int(second)) for first, second in np.argwhere(np.triu(near, 1))]
    missing = np.isnan(data)
    found = []
    for first, second in itertools.combinations(range(data.shape[1]), 2):
        both = data[~(missing[:, first] | missing[:, second])][:, [first, second]]
        # Any two rows are on a line.
        if len(both) > 2 and (np.ptp(both, axis=0) > 0.0).all() and abs(np.corrcoef(both.T)[0, 1]) > NEARLY_ONE:
            found.append((first, second))
    return found


def never_together(data: Float[np.ndarray, "n d"]) -> tuple[int, int] | None:
    """Two columns that no row has both of, so that data say nothing about their correlation; None if there are none.

    Args:
        data: NaN where a value is missing.
    """
    if is_complete(data):
        return None
    present = (~np.isnan(data)).astype(float)
    apart = np.argwhere(present.T @ present == 0.0)
    return (int(apart[0][0]), int(apart[0][1])) if len(apart) else None


def dependent_columns(data: Float[np.ndarray, "n d"]) -> list[int]:
    """The columns among which one is a linear function of others, to rounding; empty if there are none.

    Where an eigenvalue of the correlations is zero, its eigenvector has the coefficients. Rows with a missing value are
    not used.

    Args:
        data: without constant columns.
    """
    if not is_complete(data):
        data = data[~np.isnan(data).any(axis=1)]
        if len(data) <= data.shape[1] or (np.ptp(data, axis=0) == 0.0).any():
            return []
    values, vectors = np.linalg.eigh(_correlations(data))
    rounding = max(TO_ROUNDING**2, len(values) * np.finfo(np.float64).eps * values[-1])
    return np.flatnonzero((np.abs(vectors[:, values < rounding]) > NEARLY_ZERO).any(axis=1)).tolist()


def _correlations(data: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    if len(data) > MANY:
        covariance = summary(data).covariance
        scales = np.sqrt(np.diagonal(covariance))
        return covariance / np.outer(scales, scales)
    standardised = _standardised(data)
    return standardised.T @ standardised / len(data)


def _standardised(data: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return (data - data.mean(axis=0)) / data.std(axis=0)


def doubts_about_far_values(names: Sequence[str], data: Float[np.ndarray, "n ..."]) -> list[str]:
    """Whether a few values are so far off that they may be errors, as a sentence for each column.

    Args:
        names: of the columns, or of the only one.
        data: NaN where a value is missing; many are not looked at.
    """
    if len(data) > MANY:
        return []
    said = []
    for name, column in zip(names, data.reshape(len(data), -1).T, strict=True):
        values = column[np.isfinite(column)].astype(np.float64)
        largest = np.abs(values).max(initial=0.0)
        relative = values / largest if largest > 0.0 else values
        lower, middle, upper = np.quantile(relative, [0.25, 0.5, 0.75]) if len(values) else (0.0,) * 3
        away, half = np.abs(relative - middle), upper - lower
        times, far = FAR, int((away > FAR * half).sum())
        is_told = half > 0.0 and 0 < far <= max(FEW * len(values), 1.0)
        coded = away > FAR_OF_CODE * half
        if half > 0.0 and not is_told and coded.sum() >= LEAST_CODED and len(np.unique(values[coded])) == 1:
            is_told, times, far = True, FAR_OF_CODE, int(coded.sum())
        if not is_told:
            continue
        worst = repr(float(values[away.argmax()]))
        said.append(
            f"Half of the values of {name} lie within {half * largest:.2g} of each other, and {far:,} of "
            f"{len(values):,} more than {times:,.0f} times as far away, such as {worst}. If it stands for a missing "
            f"value: data.missing_codes=[{worst}] data.missing=drop; if it is none of the distribution: noise=box; "
            "if it may be an error, look at its row."
        )
    return said


def whole(where: str, value: int | float, *, least: int, most: int) -> int:
    """Check that a value is a whole number in its range; YAML reads 1e4 as a float.

    Args:
        where: its key.
        value: as it was given.
        least: lower end of the range.
        most: upper end of the range.

    Raises:
        InputError: it is not.
    """
    if type(value) is int and least <= value <= most:
        return value
    nearby = round(min(most, max(least, value))) if isinstance(value, int | float) else least
    allowed = f"a whole number from {least} to {most}"
    raise InputError(where, expected=allowed, came=repr(value), remedy=f"For example {where}={nearby}.")
