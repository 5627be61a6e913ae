"""Data that Python passes: kept in memory while they are fitted, and named in a config by their digest.

A config is text, and the runs that share data share them by their config. So the table is looked up by its SHA-256. The
price: such a config can be run again only in a process that holds the same data.
"""

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmm_pipeline.errors import InputError
from gmm_pipeline.records.cells import Cells
from gmm_pipeline.records.columns import Text, Wanted, numbers_in
from gmm_pipeline.records.datasets import Dataset, as_dataset
from gmm_pipeline.records.tables import PassedTable

NAME = "data"
"""Of passed data that have no name of their own."""

_held: "weakref.WeakValueDictionary[str, PassedTable]" = weakref.WeakValueDictionary()
_holding = threading.Lock()


def hold(table: PassedTable) -> tuple[str, PassedTable]:
    """Make a table known by its digest, as long as the caller keeps what is returned.

    Args:
        table: the columns.

    Returns:
        The digest, and the table that is known by it.
    """
    digest = table.digest
    with _holding:
        return digest, _held.setdefault(digest, table)


def from_python(
    *,
    digest: str,
    column: Text | None,
    columns: Sequence[Text],
    weights_column: Text | None,
    weights_are: str,
    missing: str,
    missing_codes: Sequence[Text],
    truth: Text | None,
    name: Text | None,
    unit: Text | None,
) -> Dataset:
    """Columns of a table that this process holds; the keys are those of a file.

    Args:
        digest: of the table.
        column: name of the column; None for the only numeric one, or all.
        columns: names of several columns, in place of `column`.
        weights_column: the column of the sample weights; None for once each.
        weights_are: `counts`, `shares` or `precision`.
        missing: `error`, `drop` or `marginalise`.
        missing_codes: what stands for a missing value besides null and NaN.
        truth: JSON file with the true mixture; None where it is unknown.
        name: of the data; None for the column's name.
        unit: of the data.

    Raises:
        InputError: the data are not there, or their content cannot be used.
    """
    with _holding:
        table = _held.get(digest)
    if table is None:
        raise InputError(
            "data.digest",
            expected="data that this process holds",
            came=digest[:12],
            remedy="They were passed from Python: pass them again, or read them from a file.",
        )
    wanted = Wanted(
        column=None if column is None else str(column),
        columns=tuple(map(str, columns)),
        weights_column=None if weights_column is None else str(weights_column),
        missing=missing,
    )
    read = numbers_in(table, Path(NAME), wanted, Cells(None, tuple(map(str, missing_codes))))
    return as_dataset(read, name, unit, truth, weights_are, source="passed from Python", source_type="passed")


def table_of(data: Any, sample_weight: Any = None) -> tuple[PassedTable, str | None]:
    """Anything that holds columns of numbers, as a table, and the name of its column of sample weights.

    Args:
        data: an array, [n] or [n, d]; lists; a Series or data frame of pandas or Polars; an Arrow table; anything with
            `__arrow_c_stream__`, `__dataframe__` or `__array__`; or a mapping from names to columns.
        sample_weight: how often each datum counts, [n]; None for once each.

    Raises:
        InputError: the data are none of these.
    """
    names, columns, numbered = _columns_of(data)
    if not columns:
        raise _no_table(f"a {type(data).__name__} without columns")
    if sample_weight is None:
        return PassedTable(names, columns, numbered=numbered), None
    import numpy as np

    indices: list[Any] = [getattr(one, "index", None) for one in (data, sample_weight)]
    if all(hasattr(one, "equals") for one in indices) and not indices[0].equals(indices[1]):
        raise InputError(
            "sample_weight",
            expected="the index of the data, in their order",
            came="another",
            remedy="Use sample_weight.reindex(data.index), or sample_weight.to_numpy() for weights by position.",
        )
    if np.ndim(sample_weight) == 0:
        remedy = "Pass one weight for each row."
        raise InputError(
            "sample_weight", expected="numbers, one for each datum", came=repr(sample_weight), remedy=remedy
        )
    _, weights, _ = _columns_of(sample_weight)
    if len(weights) != 1 or len(weights[0]) != len(columns[0]):
        raise InputError(
            "sample_weight",
            expected=f"{len(columns[0]):,} numbers, one for each datum",
            came=f"{len(weights)} columns of {len(weights[0]):,}" if weights else "none",
            remedy="Pass one weight for each row.",
        )
    name = "sample_weight"
    while name in names:
        name += "_"
    return PassedTable([*names, name], [*columns, weights[0]], numbered=numbered), name


def _columns_of(data: Any) -> tuple[list[str], list[Any], bool]:
    import numpy as np
    import pyarrow as pa

    table: Any = None
    kind = type(data).__module__.partition(".")[0]
    try:
        if kind == "pandas":
            frame = data.to_frame() if hasattr(data, "to_frame") and data.ndim == 1 else data
            named = data.ndim > 1 or data.name is not None
            names = [str(name) for name in frame.columns] if named else ["0"]
            arrays = [pa.chunked_array([pa.Array.from_pandas(frame.iloc[:, i])]) for i in range(len(names))]
            return names, arrays, not named
        if isinstance(data, dict):
            table = pa.table({str(name): np.asarray(values) for name, values in data.items()})
        elif isinstance(data, pa.RecordBatch) or (hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns")):
            table = pa.table(data)
        elif hasattr(data, "__arrow_c_stream__"):
            named = bool(getattr(data, "name", None))
            return [str(data.name) if named else "0"], [pa.chunked_array(data)], not named
        elif hasattr(data, "__dataframe__"):
            from pyarrow import interchange

            table = interchange.from_dataframe(data)
        if table is not None:
            return list(map(str, table.column_names)), list(table.columns), False
        values = np.asarray(data)
        if isinstance(data, np.ma.MaskedArray):
            values = np.ma.filled(data.astype(np.float64), np.nan)
        elif values.dtype == object:
            values = np.asarray(data, np.float64)
    except (TypeError, ValueError, pa.ArrowException, NotImplementedError) as error:
        raise _no_table(f"{type(data).__name__} ({str(error).splitlines()[0]})") from error
    if values.ndim not in (1, 2):
        raise _no_table(f"an array of shape {values.shape}")
    columns = [values] if values.ndim == 1 else [*values.T]
    return [str(number) for number in range(len(columns))], columns, True


def _no_table(came: str) -> InputError:
    return InputError(
        NAME,
        expected="columns of numbers: an array with one axis or two, a Series, a data frame or an Arrow table",
        came=came,
        remedy="A datum is a number, or a row of numbers.",
    )
