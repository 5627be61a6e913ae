"""What a cell of a column means: a number, a missing value, or neither.

A missing value is NaN here; the caller decides what to do with it.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.large_data import MANY, in_order, slices
from gmm_pipeline.records.files import arrow_of, is_number

POINT, COMMA = ".", ","
WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$|^[+-]?(?i:nan|inf|infinity)$"
GROUPED = r"^[+-]?[1-9]\d{0,2},\d{3}$"
"""A number with a comma, which is a decimal comma or separates thousands."""
THOUSANDS = r"^[+-]?\d{1,3}(?:(?:\.\d{3})+,\d+|(?:,\d{3})+\.\d+)$"
"""A number with separated thousands and decimals."""


class Cells(NamedTuple):
    """How the user describes cells."""

    decimal: str | None
    """`.` or `,`; None to detect it."""
    missing_codes: tuple[str, ...]
    """What stands for a missing value, besides an empty cell and NaN."""

    def is_missing(self, text: str) -> bool:
        """Whether a cell of text has no value."""
        return text in ("", *self.missing_codes)


def looks_numeric(text: str, *, commas: bool) -> bool:
    """Whether a cell may be a number.

    Args:
        text: of the cell, stripped.
        commas: whether a decimal comma is allowed.
    """
    return is_number(text) or (commas and WITH_COMMA.fullmatch(text) is not None)


def arrow_functions() -> Any:
    """Arrow's functions on columns, which it creates on import, so that type checkers do not see them."""
    from pyarrow import compute

    return compute


def numbers_of(column: Any, where: str, cells: Cells) -> Float[np.ndarray, " n"]:
    """An Arrow or NumPy column as float64, NaN where it has no value; a long one of NumPy may stay float32.

    Args:
        column: of numbers, or of text that can be read as numbers.
        where: name of the column for messages.
        cells: how the user describes them.

    Raises:
        InputError: it holds something else.
    """
    if isinstance(column, np.ndarray):
        if column.dtype.kind not in "iuf":
            raise _no_numbers(where, column[:1], str(column.dtype))
        if is_kept(column, cells):
            return column
        with np.errstate(invalid="ignore", over="ignore"):  # a NaN that signals; a long double beyond float64
            numbers = np.asarray(column, np.float64)
    else:
        numbers = _of_arrow(column, where, cells)
    codes = _numbers_among(cells.missing_codes)
    if not codes:
        return numbers
    coded = np.isin(numbers, codes)
    return np.where(coded, np.nan, numbers) if coded.any() else numbers


def is_kept(column: np.ndarray, cells: Cells) -> bool:
    """Whether a column of NumPy is used as it is, without a copy in float64: it is long, and all its cells are numbers.

    Args:
        column: of any type; memory-mapped, or in memory.
        cells: how the user describes them.
    """
    if len(column) <= MANY or column.dtype not in (np.float32, np.float64) or _numbers_among(cells.missing_codes):
        return False
    return all(in_order(lambda here: bool(np.isfinite(column[here]).all()), slices(len(column))))


def _numbers_among(codes: Sequence[str]) -> list[float]:
    values = (float(code) for code in codes if is_number(code))
    return [value for value in values if np.isfinite(value)]


def _of_arrow(column: Any, where: str, cells: Cells) -> Float[np.ndarray, " n"]:
    import pyarrow as pa

    pc = arrow_functions()

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _of_texts(pc.cast(column, pa.large_string()), where, cells)
    if not is_numeric(column.type):
        present = column.drop_null()
        raise _no_numbers(where, present[0].as_py() if len(present) else None, str(kind))
    plain = pc.cast(column, kind)
    if pa.types.is_decimal(kind):
        plain = pc.cast(plain, pa.string())  # reading text gives the nearest float64; a cast of decimals is less exact
    # Whole numbers beyond 2**53 are rounded, as always in float64.
    return _spread(pc.cast(plain.drop_null(), pa.float64(), safe=False), plain.is_null())


def _spread(present: Any, missing: Any) -> Float[np.ndarray, " n"]:
    """Put numbers at their rows, and NaN at the missing ones."""
    numbers = np.full(len(missing), np.nan)
    numbers[_as_numpy(arrow_functions().cast(missing, "uint8")) == 0] = _as_numpy(present)
    return numbers


def _as_numpy(column: Any) -> np.ndarray:
    """A column without missing values, by DLPack: Arrow's `to_numpy` imports pandas, which takes longer than a fit."""
    return np.concatenate([np.empty(0, np.uint8), *map(np.from_dlpack, column.chunks)])


def is_numeric(kind: Any) -> bool:
    """Whether an Arrow type is numeric, including dictionaries of numbers."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return is_numeric(kind.value_type)
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)


def _of_texts(column: Any, where: str, cells: Cells) -> Float[np.ndarray, " n"]:
    import pyarrow as pa

    pc = arrow_functions()
    texts = pc.ascii_trim(column, ' \t\r\n"')
    codes = pc.cast(arrow_of(["", *cells.missing_codes]), pa.large_string())
    missing = pc.or_(texts.is_null(), pc.is_in(texts, value_set=codes))
    texts = texts.filter(pc.invert(missing))
    try:
        return _spread(pc.cast(_with_points(texts, where, cells), pa.float64()), missing)
    except pa.ArrowInvalid:
        if cells.decimal is None and _has_decimal_commas(texts, where):
            return _of_texts(column, where, cells._replace(decimal=COMMA))
    wrong = pc.invert(pc.match_substring_regex(texts, NUMBER))
    raise _no_numbers(where, _first(texts, wrong) if pc.any(wrong).as_py() else str(texts[0]), "text")


def _with_points(texts: Any, where: str, cells: Cells) -> Any:
    """Texts with decimal points, if the user says that they have decimal commas."""
    pc = arrow_functions()
    if cells.decimal != COMMA:
        return texts
    points = pc.match_substring(texts, POINT)
    if pc.any(points).as_py():
        _refuse_thousands(texts, where)
        raise _in_doubt(where, f"both, as in {_first(texts, points)!r}")
    return pc.replace_substring(texts, COMMA, POINT)


def _has_decimal_commas(texts: Any, where: str) -> bool:
    """Whether a column has decimal commas; all of its cells must agree."""
    pc = arrow_functions()
    commas = pc.match_substring(texts, COMMA)
    if not pc.any(commas).as_py():
        return False
    fits = pc.match_substring_regex(texts, f"^(?:{WITH_COMMA.pattern})$")
    if not pc.all(pc.or_(pc.invert(commas), fits)).as_py():
        _refuse_thousands(texts, where)
        return False  # some cells are text, which another message reports
    points = pc.match_substring(texts, POINT)
    if pc.any(points).as_py():
        raise _in_doubt(where, f"{_first(texts, commas)!r} and {_first(texts, points)!r}")
    if pc.all(pc.or_(pc.invert(commas), pc.match_substring_regex(texts, GROUPED))).as_py():
        raise _in_doubt(where, f"{_first(texts, commas)!r}, which may be thousands")
    return True


def _first(texts: Any, chosen: Any) -> str:
    return bytes(texts.filter(chosen)[0].as_buffer()).decode(errors="replace")


def _in_doubt(where: str, came: str) -> InputError:
    return InputError(
        where,
        expected="decimals after a point, or all of them after a comma",
        came=came,
        remedy="If the comma marks decimals, add data.decimal=comma; separators of thousands must be removed.",
    )


def _refuse_thousands(texts: Any, where: str) -> None:
    pc = arrow_functions()
    thousands = pc.match_substring_regex(texts, THOUSANDS)
    if pc.any(thousands).as_py():
        raise InputError(
            where,
            expected="numbers without separators of thousands",
            came=repr(_first(texts, thousands)),
            remedy="Remove the separators from the file.",
        )


def _no_numbers(where: str, example: Any, kind: str) -> InputError:
    came = f"{example!r}, which is text" if isinstance(example, str) else f"{example} ({kind})"
    return InputError(
        where,
        expected="finite numbers",
        came=came,
        remedy="Choose another column, name codes of missing values with data.missing_codes, or save it as numbers.",
    )
