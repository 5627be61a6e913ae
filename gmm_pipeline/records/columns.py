"""Columns of numbers of a file, with one of sample weights: chosen, checked, without rows that cannot be used."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.model.large_data import MANY, in_order, is_complete, slices
from gmm_pipeline.records.cells import COMMA, POINT, Cells, is_kept, numbers_of
from gmm_pipeline.records.dialects import DELIMITERS, HEADERS, Asked
from gmm_pipeline.records.files import is_number
from gmm_pipeline.records.overrides import hydra_list, hydra_override
from gmm_pipeline.records.provenance import memory
from gmm_pipeline.records.spooled import Gaps, Spool, check_room
from gmm_pipeline.records.tables import ArrowTable, NpyTable, Table, open_table

Text = str | int | float  # what YAML makes of a value on the command line
ERROR, DROP, MARGINALISE = MISSING = ("error", "drop", "marginalise")
DECIMALS = {"point": POINT, "comma": COMMA}
COLUMN, COLUMNS = "data.column", "data.columns"
MOST_NAMED = 20
"""Most columns that a message lists."""


class Wanted(NamedTuple):
    """What is to be read from a file; without a name, all numeric columns."""

    column: str | None
    columns: tuple[str, ...]
    """In place of `column`."""
    weights_column: str | None
    missing: str
    """One of `MISSING`."""
    in_memory: float = 1.0
    """Share of the memory that the columns may take; larger ones are read in batches."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns, as far as the user gives them."""
        return self.columns if self.column is None else (self.column,)


class Read(NamedTuple):
    """What was read from a file."""

    name: str
    """The only column's name; the file's if that has none, or if there are several."""
    columns: tuple[str, ...]
    all_numeric: bool
    """Whether these are all numeric columns, several of them, since none was named."""
    data: Float[np.ndarray, " n"] | Float[np.ndarray, "n d"]
    """[n] of one column, [n, d] of several, NaN where a value is missing."""
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
    columns: tuple[str, ...],
) -> Asked:
    """How a file is written, from the keys of its config.

    Args:
        header: `data.header`.
        delimiter: `data.delimiter`; None to detect it.
        decimal: `data.decimal`; None to detect it.
        comment: what skipped lines begin with; `auto` for `#` where that is safe, None for no skipped lines.
        missing_codes: cells that stand for a missing number.
        columns: their names, as far as the user gives them.

    Raises:
        InputError: a key has an invalid value.
    """
    cells = Cells(_meaning("data.decimal", decimal, DECIMALS), tuple(str(code) for code in missing_codes))
    split = _meaning("data.delimiter", delimiter, DELIMITERS)
    _meaning("data.header", header, {name: name for name in HEADERS})
    return Asked(cells, split, header, None if comment is None else str(comment), columns)


def read_numbers(file: Path, wanted: Wanted, asked: Asked) -> Read:
    """Columns of numbers, in the order of the rows.

    Args:
        file: that holds a table.
        wanted: which columns.
        asked: how the user describes the file.

    Raises:
        InputError: there are no such columns, or they are not numeric.
    """
    _check(wanted)
    return numbers_in(open_table(file, asked), file, wanted, asked.cells)


def _check(wanted: Wanted) -> None:
    """Refuse keys without a meaning before any file is opened."""
    _meaning("data.missing", wanted.missing, {name: name for name in MISSING})
    if wanted.column is not None and wanted.columns:
        came = f"{hydra_override(COLUMN, wanted.column)} and {hydra_list(COLUMNS, wanted.columns)}"
        remedy = f"Add {COLUMN}=null to read several columns."
        raise InputError(COLUMNS, expected=f"either {COLUMN} or {COLUMNS}", came=came, remedy=remedy)


def numbers_in(table: Table, file: Path, wanted: Wanted, codes: Cells) -> Read:
    """Columns of numbers of a table, in the order of the rows.

    Args:
        table: from a file, or passed from Python.
        file: that it is in, or its name for messages.
        wanted: which columns.
        codes: how the user describes cells.

    Raises:
        InputError: there are no such columns, or they are not numeric.
    """
    _check(wanted)
    others = []
    if wanted.weights_column is not None:
        others = [_place(table, file, "data.weights_column", wanted.weights_column)]
    places = _named(table, file, wanted, others) if wanted.names else _numeric(table, file, others)
    columns, several = tuple(table.names[place] for place in places), len(places) > 1
    names = [table.names[place] for place in [*places, *others]]
    wheres = [f"{file}, column {name!r}" for name in names]
    where = str(file) if several else wheres[0]
    chosen = _Chosen(len(places), names if several else [], wheres, where, wanted.missing, codes)
    batches = _batches(table, [*places, *others], chosen, wanted.in_memory)
    found = _usable(table.read([*places, *others]), chosen) if batches is None else _spooled(batches, chosen)
    if others:
        _check_weights(wheres[-1], found.columns[-1])
    stem = file.name.split(".")[0] or file.name
    of_one = f"{stem}, column {columns[0]}" if len(table.names) > 1 else stem
    if columns[0] and not table.numbered:
        of_one = columns[0]
    own = found.columns[: len(found.columns) - len(others)]
    return Read(
        name=stem if several else of_one,
        columns=columns,
        all_numeric=several and not wanted.names,
        data=_together(own) if len(own) > 1 else own[0],
        sample_weights=found.columns[-1] if others else None,
        rows=found.rows,
        n_rows=found.n_rows,
    )


class _Chosen(NamedTuple):
    """Columns that are read, first those of data, and what is to be done with them."""

    n_columns: int
    """Of data."""
    names: Sequence[str]
    """Of all columns, where a message must say which one is meant."""
    wheres: Sequence[str]
    """Each column, for messages."""
    where: str
    """All of them."""
    missing: str
    """One of `MISSING`."""
    codes: Cells


class _Usable(NamedTuple):
    """The rows that can be used."""

    columns: Sequence[np.ndarray]
    """In float64; many in the precision of their file. Of a spool, all columns of data are one array, [n, d]."""
    rows: Int[np.ndarray, " n"] | None
    """Their numbers among all, from 0; None for all rows."""
    n_rows: int


def _usable(cells: Sequence[Any], chosen: _Chosen, before: int | None = None) -> _Usable:
    """Columns as numbers, without the rows that have no value.

    Args:
        cells: of each column.
        chosen: which they are.
        before: rows of the table before these, which are a part of it; None for all rows.
    """
    read = [
        _numbers(values, of_one, chosen.codes, before or 0) for values, of_one in zip(cells, chosen.wheres, strict=True)
    ]
    if len(read[0]) == 0:
        remedy = "Choose another file or column."
        raise InputError(chosen.where, expected="numbers, one per row", came="no rows", remedy=remedy)
    own, others = read[: chosen.n_columns], read[chosen.n_columns :]
    needed, needed_names = read, chosen.names
    if len(own) > 1 and chosen.missing == MARGINALISE:
        # One value of a datum is enough.
        has_none = np.isnan(np.stack(own)).all(axis=0)
        needed, needed_names = [np.where(has_none, np.nan, 0.0), *others], []
    only_weights = others and not any(np.isnan(values).any() for values in needed[: -len(others)])
    where = chosen.wheres[-1] if only_weights else chosen.where
    rows = _complete(needed, needed_names, where, chosen.missing, before)
    return _Usable([values if rows is None else values[rows] for values in read], rows, len(read[0]))


def _batches(table: Table, places: Sequence[int], chosen: _Chosen, share: float) -> Iterator[list[Any]] | None:
    """The columns in batches of rows, where they would take too much of the memory; None where they are read at once.

    Args:
        table: that has them.
        places: of the columns.
        chosen: which they are.
        share: of the memory that they may take.
    """
    if not isinstance(table, ArrowTable | NpyTable):
        return None
    wanted = 8.0 * table.n_rows * len(places)
    if wanted <= share * memory():
        return None
    if isinstance(table, NpyTable):
        columns = table.read(places)
        if all(is_kept(column, chosen.codes) for column in columns) and len(places) in (1, len(table.names)):
            return None
    batches = table.batches(places)
    if batches is not None:
        check_room(wanted)
    return batches


def _spooled(batches: Iterator[list[Any]], chosen: _Chosen) -> _Usable:
    """What `_usable` says of all batches, in a temporary file."""
    n_columns, shape = chosen.n_columns, (chosen.n_columns,) if chosen.n_columns > 1 else ()
    spools = [Spool(np.float64, *shape), *(Spool(np.float64) for _ in chosen.wheres[n_columns:])]
    gaps = Gaps()
    for cells in batches:
        if not len(cells[0]):
            continue
        found = _usable(cells, chosen, gaps.n_rows)
        gaps.add(found.rows, found.n_rows)
        own = np.stack(found.columns[:n_columns], axis=1) if shape else found.columns[0]
        for spool, values in zip(spools, [own, *found.columns[n_columns:]], strict=True):
            spool.write(values)
    if not spools[0].n_rows:
        came = "no rows" if not gaps.n_rows else "only missing values"
        raise InputError(chosen.where, expected="finite numbers", came=came, remedy="Choose another file or column.")
    return _Usable([spool.array() for spool in spools], gaps.rows(), gaps.n_rows)


def _together(columns: Sequence[Float[np.ndarray, " n"]]) -> Float[np.ndarray, "n d"]:
    """Columns side by side; many data as the array that they are the columns of, if there is one, without a copy."""
    whole = columns[0].base
    if len(columns[0]) > MANY and isinstance(whole, np.ndarray) and whole.shape == (len(columns[0]), len(columns)):
        views = (whole[:, number] for number in range(len(columns)))
        if all(_is_same(*pair) for pair in zip(columns, views, strict=True)):
            return whole
    return np.stack(columns, axis=1)


def _is_same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.__array_interface__ == other.__array_interface__


def _complete(
    columns: Sequence[Float[np.ndarray, " n"]],
    names: Sequence[str],
    where: str,
    missing: str,
    before: int | None = None,
) -> Int[np.ndarray, " m"] | None:
    """The rows in which every column has a value; None for all rows.

    Args:
        columns: NaN where they have no value.
        names: of the columns, where a message must say which one is meant.
        where: the columns, for messages.
        missing: one of `MISSING`.
        before: rows of the table before these, which are a part of it; None for all rows.
    """
    if all(map(is_complete, columns)):
        return None
    missing_in = [np.isnan(values) for values in columns]
    absent = np.logical_or.reduce(missing_in)
    first = int(np.argmax(absent))
    if missing == ERROR:
        came = f"{absent.sum():,} of {len(absent):,} rows with a missing value, the first in row {first + 1}"
        if before is not None:
            came = f"a missing value in row {before + first + 1}"
        came += "".join(
            [f", column {name!r}" for name, gaps in zip(names, missing_in, strict=False) if gaps[first]][:1]
        )
        remedy = "Leaving rows out may change the answer: if that is right, add data.missing=drop."
        if names:
            remedy += " data.missing=marginalise uses what these rows have."
        raise InputError(where, expected="finite numbers", came=came, remedy=remedy)
    if absent.all() and before is None:
        came, remedy = "only missing values", "Choose another column."
        if names:
            most = int(np.argmax([gaps.sum() for gaps in missing_in]))
            came = f"a missing value in every row; column {names[most]!r} has {missing_in[most].sum():,}, the most"
            remedy = "Leave that column out."
        raise InputError(where, expected="finite numbers", came=came, remedy=remedy)
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
        choose = f"Set {key} to {'some' if key == COLUMNS else 'one'} of them."
        remedy = f"Did you mean {' or '.join(close)}?" if close else choose
        raise InputError(key, expected=f"one of the columns of {file}: {named}", came=repr(column), remedy=remedy)
    return names.index(column)


def _named(table: Table, file: Path, wanted: Wanted, others: Sequence[int]) -> list[int]:
    """The indices of the columns that the user names.

    Args:
        table: with columns.
        file: that it is in.
        wanted: their names.
        others: columns that are used otherwise.

    Raises:
        InputError: one of them is not there, or named twice.
    """
    if wanted.column is not None:
        return [_place(table, file, COLUMN, wanted.column)]
    names = wanted.columns
    if len(names) == 1 and names[0] not in table.names:  # columns=a,b
        names = tuple(name.strip() for name in names[0].split(","))
    places = [_place(table, file, COLUMNS, name) for name in names]
    if len({*places, *others}) < len(places) + len(others):
        came = ", ".join(table.names[place] for place in [*places, *others])
        remedy = "Name each column once, and that of the sample weights only there."
        raise InputError(COLUMNS, expected="different columns", came=came, remedy=remedy)
    return places


def _numeric(table: Table, file: Path, others: Sequence[int]) -> list[int]:
    """The indices of the numeric columns; that of the only column, whatever it holds.

    Args:
        table: with columns.
        file: that it is in.
        others: columns that are used otherwise.

    Raises:
        InputError: there are none, or a name or their number is in doubt.
    """
    found = [place for place in table.numeric() if place not in others]
    if len(table.names) == 1:
        found = [0]
    if table.doubtful and any(is_number(table.names[place]) for place in found):
        raise InputError(
            str(file),
            expected="a first row (a header) with the names of the columns",
            came=f"{', '.join(table.names[:5])}, some of which are numbers",
            remedy="Add data.header=none if they are data, or data.header=first if they are names.",
        )
    names = [table.names[place] for place in (found or range(len(table.names)))]
    counts = Counter(table.names)
    unique = [name for name in names if name and counts[name] == 1]
    if len(found) == 1 or (found and len(unique) == len(found) and not table.may_be_decimals):
        return found
    overrides = [shlex.quote(hydra_override(COLUMN, name)) for name in unique[:MOST_NAMED]]
    overrides += [shlex.quote(hydra_list(COLUMNS, unique))] if found and 1 < len(unique) <= MOST_NAMED else []
    remedy = f"Add one of these arguments: {'  '.join(overrides)}" if overrides else "Give each its own name."
    if table.may_be_decimals:
        remedy += "  If a comma marks decimals, add data.decimal=comma instead."
    elif not found and not len(table.read([0])[0]):
        came = f"none below the names {', '.join(unique[:MOST_NAMED])}"
        raise InputError(str(file), expected="numbers, one per row", came=came, remedy="Choose another file.")
    elif not found and overrides:
        raise InputError(
            COLUMN,
            expected=f"a column of numbers in {file}",
            came=f"{', '.join(unique[:MOST_NAMED])}, none of which has numbers alone",
            remedy=f"Name one to be told which of its cells is no number: {overrides[0]}",
        )
    raise InputError(
        COLUMN,
        expected=f"one of the columns of {file}" + (", several of which are numeric" if found else ""),
        came=f"none, and there are {', '.join(name or 'one without a name' for name in names[:MOST_NAMED])}",
        remedy=remedy,
    )


def _numbers(column: Any, where: str, cells: Cells, before: int) -> Float[np.ndarray, " n"]:
    """A column of numbers, NaN where one is missing; with as many rows before these."""
    numbers = numbers_of(column, where, cells)
    if all(in_order(lambda here: not np.isinf(numbers[here]).any(), slices(len(numbers)))):
        return numbers
    infinite = np.flatnonzero(np.isinf(numbers))
    raise InputError(
        where,
        expected="finite numbers",
        came=f"{len(infinite)} that are infinite, the first in row {before + infinite[0] + 1}",
        remedy="Remove these rows first: leaving them out silently would change the answer.",
    )


def _check_weights(where: str, weights: Float[np.ndarray, " n"]) -> None:
    if (weights < 0).any() or not weights.sum() > 0:
        row = int(np.argmin(weights))
        raise InputError(
            where,
            expected="non-negative sample weights, not all 0",
            came=f"{weights[row]:g} in row {row + 1}",
            remedy="A sample weight says how often a datum counts.",
        )
