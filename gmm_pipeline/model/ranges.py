"""Range checks for a prior's hyperparameters; a traced one has no value yet and passes."""

from typing import NoReturn

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Scalar

INFINITE = float("inf")


def check_positive(*, remedy: str | None = None, **hyperparameters: Scalar) -> None:
    """Refuse hyperparameters that are not positive and finite.

    Args:
        remedy: what to do about it, as a sentence; None to advise the usual value.
        hyperparameters: by name.

    Raises:
        InputError: which one, and what it was.
    """
    for name, value in hyperparameters.items():
        if isinstance(value, int | float) and not 0 < value < INFINITE:
            _refuse(name, value, "a positive, finite number", remedy)


def check_finite(*, least: float = -INFINITE, **hyperparameters: Scalar) -> None:
    """Refuse hyperparameters that are not finite or are below the least allowed.

    Args:
        least: the least allowed.
        hyperparameters: by name.

    Raises:
        InputError: which one, and what it was.
    """
    expected = "a finite number" if least == -INFINITE else f"a finite number of at least {least:g}"
    for name, value in hyperparameters.items():
        if isinstance(value, int | float) and not (least <= value < INFINITE and value != -INFINITE):
            _refuse(name, value, expected, None)


def _refuse(name: str, value: float, expected: str, remedy: str | None) -> NoReturn:
    where = f"prior.{name}"
    raise InputError(
        where, expected=expected, came=repr(value), remedy=remedy or f"Leave {where} out for the usual one."
    )
