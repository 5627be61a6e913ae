"""Data files of all supported formats: CSV and similar, Parquet, a folder of Parquet parts, Arrow, npy.

A table has column names and reads columns on demand, so that unused columns cost nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.model.large_data import slices
from gmm_pipeline.records.cells import is_numeric
from gmm_pipeline.records.delimited import DelimitedTable
from gmm_pipeline.records.dialects import Asked
from gmm_pipeline.records.files import opened_by_arrow, readable
from gmm_pipeline.records.formats import ARROW, NPY, PARQUET, TEXT, has_data_suffix

ROWS_OF_A_BATCH = 2**17
"""Of a table that does not fit into memory."""


class ArrowTable:
    """Typed columns of a Parquet file, of Parquet parts, or of an Arrow file."""

    numbered = doubtful = may_be_decimals = False
    """Whether column numbers stand for names, the names may be data, and two columns may be one with decimal commas."""

    def __init__(self, path: Path, parts: Sequence[Path]):
        self._path, self._parts = path, parts
        self._schema = self._read(parts[0], names=None)
        self.names = self._schema.names

    def numeric(self) -> list[int]:
        """The numeric columns; without those that Parquet's own counts say have no value, if others have."""
        found = [place for place, kind in enumerate(self._schema.types) if is_numeric(kind)]
        if len(found) < 2 or any(part.suffix.lower() in ARROW for part in self._parts):
            return found
        void = {self.names[place] for place in found}
        for part in self._parts:
            void = void and self._void(part, void)
        kinds = self._schema.types
        return [place for place in found if self.names[place] not in void and str(kinds[place]) != "null"] or found

    def _void(self, part: Path, names: set[str]) -> set[str]:
        """Which of these columns have no value in a part, by the counts in its footer."""
        from pyarrow import parquet

        with readable(part), opened_by_arrow(part) as stream:
            metadata = parquet.ParquetFile(stream).metadata
            paths = [metadata.schema.column(column).path for column in range(metadata.num_columns)]
            left = {path: column for column, path in enumerate(paths) if path in names}
            for group in map(metadata.row_group, range(metadata.num_row_groups)):
                left = {path: column for path, column in left.items() if not _may_have_value(group.column(column))}
                if not left:
                    break
        return {*left}

    def read(self, places: Sequence[int]) -> list[Any]:
        """Read columns unchanged."""
        import pyarrow as pa

        names = [self.names[place] for place in places]
        self._check_parts(names)
        tables = [self._read(part, names=names) for part in self._parts]
        kinds = dict(zip(self.names, self._schema.types, strict=True))
        with readable(self._path):
            for table in tables:  # Arrow's files have no checksums: an index or an offset may lead anywhere
                table.select(names).validate(full=True)
            return [
                pa.chunked_array(
                    [chunk for table in tables for chunk in table[name].cast(kinds[name]).chunks], kinds[name]
                )
                for name in names
            ]

    def batches(self, places: Sequence[int]) -> Iterator[list[Any]] | None:
        """The same columns batch by batch of their rows; None if a batch may not be read by itself.

        Columns of text are not: what a comma means is a question to all cells. Nor are Arrow's files, which have to be
        validated as a whole.
        """
        kinds = [self._schema.types[place] for place in places]
        if any(part.suffix.lower() in ARROW for part in self._parts) or not all(map(is_numeric, kinds)):
            return None
        names = [self.names[place] for place in places]
        self._check_parts(names)
        return self._batches(names, kinds)

    def _check_parts(self, names: Sequence[str]) -> None:
        """Refuse a folder with files of several tables."""
        for part in self._parts[1:]:
            missing = [name for name in names if name not in self._read(part, names=None).names]
            if missing:
                raise InputError(
                    "data.path",
                    expected=f"a folder whose files are parts of one table, with the columns of {self._parts[0].name}",
                    came=f"{part}, which has no column {missing[0]!r}",
                    remedy="Name one of the files, or put those of another table elsewhere.",
                )

    def _batches(self, names: Sequence[str], kinds: Sequence[Any]) -> Iterator[list[Any]]:
        import pyarrow as pa
        from pyarrow import parquet

        for part in self._parts:
            with opened_by_arrow(part) as stream:
                with readable(part):
                    file = parquet.ParquetFile(stream)
                    batches = file.iter_batches(ROWS_OF_A_BATCH, columns=list(dict.fromkeys(names)))
                while True:
                    with readable(part):
                        batch = next(batches, None)
                        if batch is None:
                            break
                        chunks = [batch[name].cast(kind) for name, kind in zip(names, kinds, strict=True)]
                    yield [pa.chunked_array([chunk]) for chunk in chunks]

    @property
    def n_rows(self) -> int:
        """Of all parts; 0 where a file does not say."""
        if any(part.suffix.lower() in ARROW for part in self._parts):
            return 0
        from pyarrow import parquet

        total = 0
        for part in self._parts:
            with readable(part), opened_by_arrow(part) as stream:
                total += parquet.ParquetFile(stream).metadata.num_rows
        return total

    def _read(self, part: Path, *, names: Sequence[str] | None) -> Any:
        """Read columns of a part, or its schema."""
        if part.suffix.lower() in ARROW:
            table = _arrow_table(part)
            return table.schema if names is None else table
        from pyarrow import parquet

        with readable(part), opened_by_arrow(part) as stream:
            file = parquet.ParquetFile(stream)
            return file.schema_arrow if names is None else file.read(columns=list(dict.fromkeys(names)))


def _may_have_value(chunk: Any) -> bool:
    """Whether a column of a row group of Parquet has a value, or does not say how many cells of it have none."""
    counts = chunk.statistics
    return counts is None or not counts.has_null_count or counts.null_count < chunk.num_values


def _arrow_table(path: Path) -> Any:
    """The table in an Arrow file, of either format or Feather's first version."""
    from pyarrow import feather, ipc

    with readable(path), opened_by_arrow(path) as stream:
        is_stream = stream.read(4) not in (b"ARRO", b"FEA1")
        stream.seek(0)
        return ipc.open_stream(stream).read_all() if is_stream else feather.read_table(stream)


class NpyTable:
    """Columns of an array, named by number. The file is memory-mapped, since its header may claim too much data."""

    numbered, doubtful, may_be_decimals = True, False, False

    def __init__(self, path: Path):
        with readable(path):
            self._content = np.lib.format.open_memmap(path, mode="r")
        if self._content.ndim not in (1, 2):
            raise InputError(
                str(path),
                expected="an array with one axis (data) or two (data, columns)",
                came=f"shape {self._content.shape}",
                remedy="Save the columns as a separate array.",
            )
        if self._content.size == 0:
            remedy = "Choose another file with data.path."
            raise InputError(str(path), expected="numbers, one per row", came="no rows", remedy=remedy)
        n_columns = 1 if self._content.ndim == 1 else self._content.shape[1]
        self.names = [str(number) for number in range(n_columns)]

    def numeric(self) -> list[int]:
        """The numeric columns."""
        return list(range(len(self.names)))

    @property
    def n_rows(self) -> int:
        """Length of the array."""
        return len(self._content)

    def batches(self, places: Sequence[int]) -> Iterator[list[Any]]:
        """The same columns batch by batch of their rows."""
        columns = self.read(places)
        return ([column[here] for column in columns] for here in slices(self.n_rows, ROWS_OF_A_BATCH))

    def read(self, places: Sequence[int]) -> list[Any]:
        """Read columns unchanged."""
        return [self._content if self._content.ndim == 1 else self._content[:, place] for place in places]


class PassedTable:
    """Columns that were passed from Python, as NumPy or Arrow arrays."""

    doubtful = may_be_decimals = False

    def __init__(self, names: Sequence[str], columns: Sequence[Any], *, numbered: bool):
        """Keep columns.

        Args:
            names: of the columns; their numbers, from 0, where they have none.
            columns: as many arrays of one length.
            numbered: whether numbers stand for names.
        """
        self.names, self._columns, self.numbered = list(names), list(columns), numbered

    @property
    def digest(self) -> str:
        """SHA-256 of names, types and content."""
        sha = hashlib.sha256(repr((self.names, self.numbered)).encode())
        for column in self._columns:
            if isinstance(column, np.ndarray):
                sha.update(column.dtype.str.encode() + np.ascontiguousarray(column).tobytes())
            else:
                sha.update(_as_stream(column))
        return sha.hexdigest()

    def numeric(self) -> list[int]:
        """The numeric columns; without those of Arrow that have no value, if others have."""
        found = [
            place
            for place, column in enumerate(self._columns)
            if (column.dtype.kind in "iuf" if isinstance(column, np.ndarray) else is_numeric(column.type))
        ]
        valued = [place for place in found if not _is_void(self._columns[place])]
        return valued or found

    def read(self, places: Sequence[int]) -> list[Any]:
        """Columns unchanged."""
        return [self._columns[place] for place in places]


def _is_void(column: Any) -> bool:
    return len(column) > 0 and not isinstance(column, np.ndarray) and column.null_count == len(column)


def _as_stream(column: Any) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    table = pa.table({"": column}).combine_chunks()  # how a column is cut does not change what it says
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


Table = ArrowTable | NpyTable | DelimitedTable | PassedTable


def open_table(path: Path, asked: Asked) -> Table:
    """The table in a file.

    Args:
        path: of the file; its suffix decides the format.
        asked: how the user describes it; this only matters for text.

    Raises:
        InputError: the file is missing, unreadable or of another kind.
    """
    if not path.exists():
        there = path.parent.iterdir() if path.parent.is_dir() else ()
        beside = sorted(one.name for one in there if (one.is_dir() and not path.suffix) or has_data_suffix(one))
        close = nearest(path.name, beside)
        remedy = f"Did you mean {' or '.join(str(path.parent / name) for name in close)}?"
        remedy = remedy if close else f"Paths are relative to the current folder, {Path.cwd()}."
        raise InputError("data.path", expected="a file that exists", came=str(path), remedy=remedy)
    suffix = path.suffix.lower()
    if path.is_dir():
        return ArrowTable(path, _parts(path))
    if not path.is_file():  # reading from a pipe waits for its writer, and some devices have no end
        raise InputError(
            "data.path",
            expected="a file, or a folder with the .parquet files of one table",
            came=f"{path}, a pipe or a device",
            remedy="Write the data to a file first.",
        )
    if suffix in (*PARQUET, *ARROW):
        return ArrowTable(path, [path])
    if suffix == NPY:
        return NpyTable(path)
    if has_data_suffix(path):
        return DelimitedTable(path, asked)
    raise InputError(
        "data.path",
        expected=f"a file that ends in {', '.join([*TEXT, *PARQUET, *ARROW, NPY])}; text may end in .gz or .zst too",
        came=str(path),
        remedy="Convert the file, or write a loader of your own and name it by _target_.",
    )


def _parts(folder: Path) -> list[Path]:
    """The Parquet files in a folder, as Spark and others write one table."""
    files = (file for suffix in PARQUET for file in folder.rglob(f"*{suffix}") if not file.name.startswith((".", "_")))
    parts = sorted(file for file in files if not file.is_dir())
    other = next((file for file in parts if not file.is_file()), None)
    if other is not None:
        raise InputError(
            "data.path",
            expected=f"files as the parts of {folder}",
            came=f"{other.relative_to(folder)}, a pipe, a device or a link to nothing",
            remedy="Remove it, or name the files of the table: leaving a part out silently would change the answer.",
        )
    if not parts:
        raise InputError(
            "data.path",
            expected="a file, or a folder with the .parquet files of one table",
            came=f"{folder}, a folder without any",
            remedy="Name a file in it.",
        )
    return parts
