"""The table of a record with one row per datum: the data, their labels, and how certain these are."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.model.portable import responsibility_names
from gmm_pipeline.records.artifacts import ASSIGNMENTS, ASSIGNMENTS_CSV
from gmm_pipeline.records.files import read_columns, write_blocks

DATUM = "datum"
"""The only column of data in a table of assignments; several have their own names."""
OWN = re.compile(r"row|sample_weight|label|uncertainty|log_density|responsibility_(\d+|noise)")
"""Names of the other columns of such a table."""
RESPONSIBILITY = re.compile(r"responsibility_(\d+|noise)")
OF_DATA = "data_"
"""What precedes the name of a column of data that is one of these."""


class Assignments(NamedTuple):
    """Label and responsibilities of each datum under the fitted mixture."""

    data: Float[np.ndarray, " n"] | Float[np.ndarray, "n d"]
    sample_weights: Float[np.ndarray, " n"] | None
    labels: Int[np.ndarray, " n"]
    """The most probable component, counted from 0 in the order of the mixture."""
    responsibilities: Float[np.ndarray, "n K"]
    rows: Int[np.ndarray, " n"] | None = None
    """The row of each datum in its file, from 0, if rows were left out."""
    columns: tuple[str, ...] = ()
    """Names of several columns; those of one column are not used."""
    noise: bool = False
    """Whether the last responsibilities are those of the noise, whose label is −1."""

    def tables(self) -> Iterator[dict[str, np.ndarray]]:
        """The columns of a table of these, as one block."""
        yield assignment_columns(self)


@runtime_checkable
class InBlocks(Protocol):
    """Assignments that come block by block."""

    @property
    def data(self) -> np.ndarray:
        """Of all blocks."""
        ...

    def tables(self) -> Iterator[dict[str, np.ndarray]]:
        """The columns of their table, in blocks of rows."""
        ...


def assignment_columns(assignments: Assignments) -> dict[str, np.ndarray]:
    """Labels, how uncertain each is, and responsibilities, one row per datum.

    uncertainty_i = 1 − max_j r_ij, the probability of another component, summed over those.
    """
    columns: dict[str, np.ndarray] = {}
    if assignments.rows is not None:
        columns["row"] = assignments.rows + 1  # rows counted from 1
    columns |= _columns_of_data(assignments)
    if assignments.sample_weights is not None:
        columns["sample_weight"] = assignments.sample_weights
    columns["label"] = assignments.labels.astype(np.int32)
    others = assignments.responsibilities.copy()
    others[np.arange(len(others)), assignments.labels] = 0.0  # the label of noise, −1, is its place too
    columns["uncertainty"] = others.sum(axis=1)
    n_components = assignments.responsibilities.shape[1] - assignments.noise
    names = responsibility_names(n_components, assignments.noise)
    for name, column in zip(names, assignments.responsibilities.T, strict=True):
        columns[name] = np.ascontiguousarray(column)
    return columns


def bytes_of_assignments(n_data: int, n_columns: int, n_components: int) -> int:
    """The least that `assignment_columns` take in a file: data, label, uncertainty and responsibilities.

    Args:
        n_data: observations.
        n_columns: of the data.
        n_components: of the mixture.
    """
    return n_data * (8 * (n_columns + 1 + n_components) + 4)


def _columns_of_data(assignments: Assignments) -> dict[str, np.ndarray]:
    if assignments.data.ndim == 1:
        return {DATUM: assignments.data}
    columns: dict[str, np.ndarray] = {}
    for name, values in zip(assignments.columns, assignments.data.T, strict=True):
        unique = name
        while OWN.fullmatch(unique) or unique in columns or (unique != name and unique in assignments.columns):
            unique = OF_DATA + unique
        missing = np.isnan(values)
        columns[unique] = np.ma.array(values, mask=missing) if missing.any() else np.ascontiguousarray(values)
    return columns


def data_in(columns: Mapping[str, Any]) -> Float[np.ndarray, " n"] | Float[np.ndarray, "n d"]:
    """The data in a table of assignments, [n] of one column, [n, d] of several, NaN where a cell is empty.

    Args:
        columns: of the table, as Arrow's arrays.
    """
    found = [column.to_numpy().astype(np.float64) for name, column in columns.items() if not OWN.fullmatch(name)]
    return found[0] if len(found) == 1 else np.stack(found, axis=1)


def write_assignments(
    record: Path, assignments: InBlocks, *, csv_rows: int, written: Callable[[int], None] | None = None
) -> None:
    """Write labels and responsibilities as Parquet, and up to a number of rows as CSV too.

    Args:
        record: its folder.
        assignments: of n observations to K components.
        csv_rows: most rows of the CSV; with more data there is none.
        written: called with the rows of a file that are written, after each block; None for no progress.
    """
    names = [ASSIGNMENTS, ASSIGNMENTS_CSV] if len(assignments.data) <= csv_rows else [ASSIGNMENTS]
    for name in names:
        write_blocks(record / name, assignments.tables(), written)


def read_assignments(record: Path, *, columns: tuple[str, ...] = ()) -> Assignments:
    """Read what `write_assignments` wrote.

    Args:
        record: its folder.
        columns: names of several columns.
    """
    table = read_columns(record / ASSIGNMENTS)
    weights, rows = table.get("sample_weight"), table.get("row")
    responsibilities = [
        column.to_numpy().astype(np.float64) for name, column in table.items() if RESPONSIBILITY.fullmatch(name)
    ]
    return Assignments(
        data_in(table),
        None if weights is None else weights.to_numpy().astype(np.float64),
        table["label"].to_numpy().astype(np.int64),
        np.stack(responsibilities, axis=1),
        None if rows is None else rows.to_numpy() - 1,
        columns,
        noise="responsibility_noise" in table,
    )
