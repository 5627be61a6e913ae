"""Checks of mixtures, draws, and data to which a mixture is to be fitted."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError


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


def _are_numbers(values: Any) -> bool:
    return (isinstance(values, list | tuple) and len(values) > 0) and all(
        type(value) in (int, float) and abs(value) <= sys.float_info.max for value in values
    )


def check_draws(data: Float[np.ndarray, " n"]) -> None:
    """Refuse draws that float32 cannot represent or distinguish.

    Raises:
        InputError: they are not finite, or all equal.
    """
    where = "data.locs and data.scales"
    if not np.isfinite(data).all():
        came = f"{np.count_nonzero(~np.isfinite(data))} draws that are not"
        raise InputError(where, expected="draws that are finite in float32", came=came, remedy="Change their unit.")
    check_spread(where, data, remedy="Data are drawn in float32: about 7 digits. Use larger scales, or smaller locs.")


def check_spread(where: str, data: Float[np.ndarray, " n"], *, remedy: str) -> None:
    """Refuse data whose standard deviation is 0 or beyond float64.

    Args:
        where: their name for messages.
        data: those of positive weight.
        remedy: for the message if they are all equal.

    Raises:
        InputError: their standard deviation cannot be used.
    """
    if len(data) < 2 or data.min() == data.max():
        came = "no rows" if len(data) == 0 else f"{len(data)} rows that are all {data[0]:g}"
        raise InputError(where, expected="at least two different values", came=came, remedy=remedy)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        variance = np.var(data)
    if not 1e-300 < variance < 1e300:
        expected = "numbers whose variance float64 can hold well, from 1e-300 to 1e300"
        came = f"numbers from {data.min():g} to {data.max():g}"
        raise InputError(where, expected=expected, came=came, remedy="Change their unit.")


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
