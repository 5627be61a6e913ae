"""One column of numbers of a file, with one of sample weights: chosen, checked, without rows that lack a value."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.records.cells import COMMA, POINT, Cells, numbers_of
from gmm_pipeline.records.dialects import DELIMITERS, HEADERS, Asked
from gmm_pipeline.records.files import is_number
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.records.tables import Table, open_table

Text = str | int | float  # what YAML makes of a value on the command line
MISSING = ("error", "drop")
DECIMALS = {"point": POINT, "comma": COMMA}
MOST_NAMED = 20
"""Most columns that a message lists."""


class Wanted(NamedTuple):
    """What is to be read from a file."""

    column: str | None
    """None for the only numeric column."""
    weights_column: str | None
    missing: str
    """`error` or `drop`."""


class Read(NamedTuple):
    """What was read from a file."""

    name: str
    """The column's name, or the file's if that has none."""
    column: str
    data: Float[np.ndarray, " n"]
    sample_weights: Float[np.ndarray, " n"] | None
    rows: Int[np.ndarray, " n"] | None
    """The rows of the file that the data come from, counted from 0; None for all rows."""
    n_rows: int


def asked_of(
    header: str,
    delimiter: Text | None,
    decimal: Text | None,
    comment: Text | None,
    missing_codes: Sequence[Text],
    column: str | None,
) -> Asked:
    """How a file is written, from the keys of its config.

    Args:
        header: `data.header`.
        delimiter: `data.delimiter`; None to detect it.
        decimal: `data.decimal`; None to detect it.
        comment: what skipped lines begin with; `auto` for `#` where that is safe, None for no skipped lines.
        missing_codes: cells that stand for a missing number.
        column: its name; None for the only one.

    Raises:
        InputError: a key has an invalid value.
    """
    cells = Cells(_meaning("data.decimal", decimal, DECIMALS), tuple(str(code) for code in missing_codes))
    split = _meaning("data.delimiter", delimiter, DELIMITERS)
    _meaning("data.header", header, {name: name for name in HEADERS})
    return Asked(cells, split, header, None if comment is None else str(comment), column)


def read_numbers(file: Path, wanted: Wanted, asked: Asked) -> Read:
    """One column of numbers, in the order of the rows.

    Args:
        file: that holds a table.
        wanted: which column.
        asked: how the user describes the file.

    Raises:
        InputError: there is no such column, or it is not numeric.
    """
    _meaning("data.missing", wanted.missing, {name: name for name in MISSING})
    table = open_table(file, asked)
    others = []
    if wanted.weights_column is not None:
        others = [_place(table, file, "data.weights_column", wanted.weights_column)]
    place = _only(table, file, others) if wanted.column is None else _place(table, file, "data.column", wanted.column)
    column = table.names[place]
    places = [place, *others]
    wheres = [f"{file}, column {table.names[at]!r}" for at in places]
    read = [_numbers(values, where, asked.cells) for values, where in zip(table.read(places), wheres, strict=True)]
    if len(read[0]) == 0:
        remedy = "Choose another file or column."
        raise InputError(wheres[0], expected="numbers, one per row", came="no rows", remedy=remedy)
    rows = _complete(read, wheres[0], wanted.missing)
    data, *weights = (values if rows is None else values[rows] for values in read)
    if weights:
        _check_weights(wheres[1], weights[0])
    stem = file.name.split(".")[0] or file.name
    stem = f"{stem}, column {column}" if len(table.names) > 1 else stem
    return Read(
        name=column if column and not table.numbered else stem,
        column=column,
        data=data,
        sample_weights=weights[0] if weights else None,
        rows=rows,
        n_rows=len(read[0]),
    )


def _complete(columns: Sequence[Float[np.ndarray, " n"]], where: str, missing: str) -> Int[np.ndarray, " m"] | None:
    """The rows in which every column has a value; None for all rows."""
    absent = np.logical_or.reduce([np.isnan(values) for values in columns])
    if not absent.any():
        return None
    came = f"{absent.sum():,} of {len(absent):,} rows with a missing value, the first in row {np.argmax(absent) + 1}"
    if missing == "error":
        remedy = "Leaving rows out may change the answer: if that is right, add data.missing=drop."
        raise InputError(where, expected="finite numbers", came=came, remedy=remedy)
    if absent.all():
        raise InputError(where, expected="finite numbers", came="only missing values", remedy="Choose another column.")
    return np.flatnonzero(~absent)


def _meaning(key: str, value: Text | None, choices: Mapping[str, str]) -> Any:
    """The character that a name stands for; the character itself is accepted too."""
    if value is None:
        return None
    if value not in (*choices, *choices.values()):
        names = ", ".join(choices)
        remedy = f"For example {key}={next(iter(choices))}."
        raise InputError(key, expected=f"one of {names}", came=repr(value), remedy=remedy)
    return choices.get(str(value), value)


def _place(table: Table, file: Path, key: str, column: str) -> int:
    """The index of the column with a name."""
    names = list(table.names)
    if names.count(column) > 1:
        remedy = f"Rename one of them, so that {key} says which."
        raise InputError(
            str(file), expected=f"one column {column!r}", came=", ".join(names[:MOST_NAMED]), remedy=remedy
        )
    if column not in names:
        close = nearest(column, names)
        named = ", ".join(name or "''" for name in names[:MOST_NAMED]) + ", …" * (len(names) > MOST_NAMED)
        remedy = f"Did you mean {' or '.join(close)}?" if close else f"Set {key} to one of them."
        raise InputError(key, expected=f"one of the columns of {file}: {named}", came=repr(column), remedy=remedy)
    return names.index(column)


def _only(table: Table, file: Path, others: Sequence[int]) -> int:
    """The index of the only numeric column.

    Args:
        table: with columns.
        file: that it is in.
        others: columns that are used otherwise.

    Raises:
        InputError: there are several, or none.
    """
    found = [place for place in table.numeric() if place not in others]
    if len(table.names) == 1:
        found = [0]
    if len(found) == 1 and table.doubtful and is_number(table.names[found[0]]):
        raise InputError(
            str(file),
            expected="a first row (a header) with the names of the columns",
            came=f"{', '.join(table.names[:5])}, some of which are numbers",
            remedy="Add data.header=none if they are data, or data.header=first if they are names.",
        )
    if len(found) == 1:
        return found[0]
    names = [table.names[place] for place in (found or range(len(table.names)))]
    unique = [name for name in names if name and list(table.names).count(name) == 1]
    overrides = [shlex.quote(hydra_override("data.column", name)) for name in unique[:MOST_NAMED]]
    remedy = f"Add one of these arguments: {'  '.join(overrides)}" if overrides else "Give the columns names."
    if table.numbered and len(table.names) == 2:  # a decimal comma may have split one column into two
        remedy += "  If a comma marks decimals, add data.decimal=comma instead."
    raise InputError(
        "data.column",
        expected=f"one of the columns of {file}" + (", several of which are numeric" if found else ""),
        came=f"none, and there are {', '.join(name or 'one without a name' for name in names[:MOST_NAMED])}",
        remedy=remedy,
    )


def _numbers(column: Any, where: str, cells: Cells) -> Float[np.ndarray, " n"]:
    """A column of numbers, NaN where one is missing."""
    numbers = numbers_of(column, where, cells)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise InputError(
            where,
            expected="finite numbers",
            came=f"{len(infinite)} that are infinite, the first in row {infinite[0] + 1}",
            remedy="Remove these rows first: leaving them out silently would change the answer.",
        )
    return numbers


def _check_weights(where: str, weights: Float[np.ndarray, " n"]) -> None:
    if (weights < 0).any() or not weights.sum() > 0:
        row = int(np.argmin(weights))
        raise InputError(
            where,
            expected="non-negative sample weights, not all 0",
            came=f"{weights[row]:g} in row {row + 1}",
            remedy="A sample weight says how often a datum counts.",
        )
