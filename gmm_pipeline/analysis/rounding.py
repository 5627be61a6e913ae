"""How many digits of an estimate are printed: those that its standard error leaves it, however large an offset it has.

The value and its error end at the second digit of the error. Where there is no error, or it is larger than the
estimate itself, the size of the parameter decides: for a loc that is the scale of its component.
"""

import math

DIGITS_OF_ERROR = 2
DIGITS_WITHOUT_ERROR = 4
LEAST_DIGITS = 2
"""Of the size, so that estimates that are uncertain are not printed as 0."""
MOST_DECIMALS = 8
"""More are printed as a power of ten."""
MOST_DIGITS = 15
"""A double has no more."""


def with_error(value: float, error: float, size: float, *, separator: str = "") -> tuple[str, str, int]:
    """An estimate and its error as text, and at how many decimals they end; no error is no text.

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
    """At how many decimals an estimate ends; −1 is that it ends at the tens.

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
    """A number as text that ends at a decimal; empty for NaN.

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
    """A number without zeros at its end, as one that is exact is written."""
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _decimals(number: float, digits: int) -> int:
    """The decimals of a number with so many digits."""
    return digits - 1 - math.floor(math.log10(number))
