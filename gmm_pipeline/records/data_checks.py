"""Whether numbers are a mixture, draws, or data that a mixture can be fitted to."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError


def check_mixture(
    where: str, weights: Sequence[float | int], locs: Sequence[float | int], scales: Sequence[float | int]
) -> None:
    """Refuse lists that are no mixture.

    Args:
        where: the key whose parts they are.
        weights: relative weights, positive.
        locs: means.
        scales: standard deviations, positive.

    Raises:
        InputError: which list.
    """
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


def check_draws(data: Float[np.ndarray, " n"]) -> None:
    """Refuse draws that float32 cannot hold or tell apart.

    Raises:
        InputError: they are not finite, or all alike.
    """
    where = "data.locs and data.scales"
    if not np.isfinite(data).all():
        came = f"{np.count_nonzero(~np.isfinite(data))} draws that are not"
        raise InputError(where, expected="draws that are finite in float32", came=came, remedy="Change their unit.")
    check_spread(where, data, remedy="Data are drawn in float32: about 7 digits. Use larger scales, or smaller locs.")


def check_spread(where: str, data: Float[np.ndarray, " n"], *, remedy: str) -> None:
    """Refuse data that count for something and have no standard deviation above 0, or none that float64 can hold.

    Args:
        where: how a message names them.
        data: that count.
        remedy: where they are all alike.

    Raises:
        InputError: what is wrong with them.
    """
    if len(data) < 2 or data.min() == data.max():
        came = "no rows" if len(data) == 0 else f"{len(data)} rows that all are {data[0]:g}"
        raise InputError(where, expected="at least two different values", came=came, remedy=remedy)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        variance = np.var(data)
    if not 1e-300 < variance < 1e300:
        expected = "numbers whose variance float64 can hold well, from 1e-300 to 1e300"
        came = f"numbers from {data.min():g} to {data.max():g}"
        raise InputError(where, expected=expected, came=came, remedy="Change their unit.")


def whole(where: str, value: int | float, *, least: int, most: int) -> int:
    """The value, where it is a whole number in its range; 1e4 is a float to YAML.

    Args:
        where: its key.
        value: as it was given.
        least: of the range.
        most: of the range.

    Raises:
        InputError: it is none.
    """
    if type(value) is int and least <= value <= most:
        return value
    nearby = round(min(most, max(least, value))) if isinstance(value, int | float) else least
    allowed = f"a whole number from {least} to {most}"
    raise InputError(where, expected=allowed, came=repr(value), remedy=f"For example {where}={nearby}.")
