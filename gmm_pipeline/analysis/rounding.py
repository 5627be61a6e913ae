"""How many digits of an estimate are printed: as many as its standard error justifies, however large the estimate.

The value and its error end at the second digit of the error. If there is no error, or it is larger than the estimate
itself, a reference size decides: for a loc, the scale of its component.
"""

import math

DIGITS_OF_ERROR = 2
DIGITS_WITHOUT_ERROR = 4
LEAST_DIGITS = 2
"""Digits of the reference size, so that uncertain estimates are not printed as 0."""
MOST_DECIMALS = 8
"""Most digits; longer numbers are printed as a power of ten."""
MOST_DIGITS = 15
"""Significant digits of a double."""


def with_error(value: float, error: float, size: float, *, separator: str = "") -> tuple[str, str, int]:
    """An estimate and its error as text, and their number of decimals; the text of a missing error is empty.

    Args:
        value: the estimate.
        error: its standard error; NaN or 0 for none.
        size: what it is measured against, positive.
        separator: of thousands.
    """
    decimals = decimals_of(error, size)
    text = rounded(value, decimals, separator=separator)
    if not (math.isfinite(error) and error > 0.0):
        return shortened(text), "", decimals
    return text, rounded(error, decimals, separator=separator), decimals


def decimals_of(error: float, size: float) -> int:
    """The number of decimals of an estimate; −1 means that it is rounded to tens.

    Args:
        error: its standard error; NaN or 0 for none.
        size: what it is measured against, positive.
    """
    known_size = math.isfinite(size) and size > 0.0
    if not (math.isfinite(error) and error > 0.0):
        return _decimals(size, DIGITS_WITHOUT_ERROR) if known_size else DIGITS_WITHOUT_ERROR - 1
    by_error = _decimals(error, DIGITS_OF_ERROR)
    return max(by_error, _decimals(size, LEAST_DIGITS)) if known_size else by_error


def rounded(value: float, decimals: int, *, separator: str = "") -> str:
    """A number as text, rounded to a decimal; empty for NaN.

    Args:
        value: the number.
        decimals: as `decimals_of` gives them.
        separator: of thousands.
    """
    if math.isnan(value):
        return ""
    if not math.isfinite(value):
        return str(value)
    exponent = math.floor(math.log10(abs(value))) if value else 0
    shown = max(decimals, 0)
    if exponent + 1 > MOST_DIGITS or (shown > MOST_DECIMALS and exponent < -4):
        digits = min(max(exponent + decimals, LEAST_DIGITS - 1), MOST_DIGITS)
        return f"{value:.{digits}e}"
    return f"{value:z{separator}.{min(shown, max(MOST_DIGITS - exponent - 1, 0))}f}"


def shortened(text: str) -> str:
    """A number without trailing zeros, as for an exact one."""
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _decimals(number: float, digits: int) -> int:
    """The decimals of a number with this many significant digits."""
    return digits - 1 - math.floor(math.log10(number))
