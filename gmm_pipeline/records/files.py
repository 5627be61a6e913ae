"""Files: written whole, read as data and never as code.

A file is written under a temporary name and then renamed, so that it appears whole or not at all; the price is one
rename. JSON is for people, CSV and Parquet for columns of numbers, by the suffix of the path.
"""

import contextlib
import errno
import fcntl
import functools
import io
import json
import math
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gmm_pipeline.errors import InputError

Column = np.ndarray | Sequence[str | None]
"""Numbers, missing ones masked; or texts, missing ones None."""


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under its name only once it is complete.

    What a killed process left of the same file is removed: nobody holds its lock.

    Raises:
        OSError: with the name of the file, which the error of a full disk lacks, and not with that of the beginning.
    """
    temporary = f"{path.parent}/.{path.name}.{secrets.token_hex(4)}"
    try:
        with _begun(temporary, path) as stream:
            yield stream
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        with contextlib.suppress(OSError):  # as where its folder is a file
            Path(temporary).unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _begun(temporary: str, path: Path) -> BinaryIO:
    """A new file, locked until it is closed."""
    try:
        _remove_abandoned(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        stream = open(temporary, "xb")  # noqa: PTH123, SIM115 - a sweep writes thousands, and a Path takes as long
        _lock(stream.fileno(), fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_nlink:
            return stream
        stream.close()  # another process took it for abandoned before it was locked


def _remove_abandoned(path: Path) -> None:
    """Remove what a process that was killed left of a file: nobody holds its lock."""
    beginning, length = f".{path.name}.", len(path.name) + 10
    with os.scandir(path.parent) as entries:
        left = [one.path for one in entries if one.name.startswith(beginning) and len(one.name) == length]
    for temporary in left:
        with contextlib.suppress(OSError), Path(temporary).open("r+b") as stream:
            if _lock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB):
                Path(temporary).unlink()


def _lock(descriptor: int, how: int) -> bool:
    """Lock a file until it is closed; false where another process has, or where files cannot be locked."""
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True


def held(path: Path) -> BinaryIO | None:
    """A file that no other process holds, until it is closed or this process ends, however it ends; None if one does.

    Where files cannot be locked, or this one not be written, everybody holds it.

    Args:
        path: of the file, which is made if there is none; what it has is kept.
    """
    try:
        stream = path.open("ab")
    except OSError:
        return io.BytesIO()
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    except OSError:
        pass
    return stream


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Args:
        path: of the file.
        text: written as UTF-8.
    """
    with whole_file(path) as stream:
        stream.write(text.encode())


def finite(value: Any) -> Any:
    """A value as JSON gives it back: NaN and infinity, which JSON lacks, become None.

    Args:
        value: what JSON can hold, with arrays and numbers of NumPy.
    """
    match value:
        case Mapping():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case np.ndarray():
            return finite(value.tolist())
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case np.integer():
            return int(value)
        case np.bool_():
            return bool(value)
        case _:
            return value


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON; numbers that are not finite become null.

    Args:
        path: of the file.
        content: what JSON can hold.
    """
    write_text(path, json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def as_yaml(content: Mapping[str, Any]) -> str:
    """A mapping as YAML, in its own order; OmegaConf reads it back as the same mapping.

    The text of each key is cached, since the runs of a sweep share most of their config.
    """
    return "".join(_key_as_yaml(key, value) for key, value in content.items()) or "{}\n"


_YAML: dict[tuple[str, str], str] = {}
MOST_KEPT = 4096
"""Most cached texts of keys, of some hundred bytes each."""


def _key_as_yaml(key: str, value: Any) -> str:
    entry = key, repr(value)
    if entry not in _YAML:
        if len(_YAML) >= MOST_KEPT:
            _YAML.clear()
        import yaml

        _YAML[entry] = yaml.dump({key: value}, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=10_000)
    return _YAML[entry]


@functools.cache
def _dumper() -> Any:
    import yaml

    class Dumper(yaml.CSafeDumper):
        """libyaml's, which takes a tenth of the time."""

    def represent(dumper: Any, text: str) -> Any:
        # YAML 1.1 reads 1e3 as text, OmegaConf as a number.
        style = "'" if is_number(text) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent)
    return Dumper


class Part(dict[str, Any]):
    """A part of a record's file; a missing key is reported as damage of the file."""

    def __init__(self, content: Mapping[str, Any], file: Path):
        super().__init__(content)
        self.file = file

    def __missing__(self, key: str) -> Any:
        came, remedy = f"none with {key!r}", "Restore it from a copy, fit again, or choose another run."
        raise InputError(str(self.file), expected="a file of a whole record", came=came, remedy=remedy)


def opened(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: it is not there, or is a pipe or a device, which may never end.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder has an error of its own
        raise OSError(errno.EINVAL, "a pipe or a device, not a file", str(path))
    return path.open("rb")


def opened_by_arrow(path: Path) -> Any:
    """`opened`, for Arrow's readers: its own file, since what it reads from one of Python's is Python's memory.

    Arrow's threads let go of what they have read some time after the reader has returned. If Python is ending then, and
    the memory is Python's, the process is aborted.

    Raises:
        OSError: as `opened`.
    """
    import pyarrow as pa

    opened(path).close()  # says in Python's words what is wrong
    return pa.OSFile(os.fsencode(path))


def memory_of_arrow(content: bytes) -> Any:
    """A copy in Arrow's memory, for readers whose threads may outlive Python, as `opened_by_arrow` says."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    sink.write(content)
    return sink.getvalue()


def column_format(path: Path) -> str:
    """The suffix of a file to which columns can be written.

    Raises:
        InputError: where the suffix is neither .parquet nor .csv.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(
            str(path),
            expected="a file name that ends in .parquet or .csv",
            came=f"{path.suffix!r}" if path.suffix else "no suffix",
            remedy="Choose the format by the suffix.",
        )
    return path.suffix


def write_columns(path: Path, columns: Mapping[str, Column]) -> None:
    """Write equally long columns as Parquet or CSV, by the suffix of the path; null for what is missing or not finite.

    Args:
        path: ends in .parquet or .csv.
        columns: by name, [n] each.

    Raises:
        InputError: where the suffix is neither.
    """
    write_blocks(path, [columns])


def write_blocks(
    path: Path, blocks: Iterable[Mapping[str, Column]], written: Callable[[int], None] | None = None
) -> None:
    """`write_columns` of a table that comes in blocks of rows, each of which is one row group of Parquet.

    Args:
        path: ends in .parquet or .csv.
        blocks: of rows, at least one.
        written: called with the rows that are written, after each block; None for no progress.

    Raises:
        InputError: where the suffix is neither.
    """
    open_writer = {".parquet": _parquet_writer, ".csv": _csv_writer}[column_format(path)]
    import pyarrow as pa

    with whole_file(path) as stream, contextlib.ExitStack() as opened:
        writer, n_rows = None, 0
        for columns in blocks:
            table = pa.table({name: arrow_of(column) for name, column in columns.items()})
            if writer is None:
                writer = opened.enter_context(open_writer(stream, table.schema))
            writer.write_table(table)
            n_rows += len(table)
            if written is not None:
                written(n_rows)


def arrow_of(column: Column) -> Any:
    """An Arrow column made from buffers: pa.array would import pandas, which takes longer than many fits."""
    import pyarrow as pa

    if isinstance(column, np.ndarray):
        missing = np.ma.getmaskarray(column)
        if column.dtype.kind == "f":  # of a fit that diverged, or of a number that is unknown
            missing = missing | ~np.isfinite(np.ma.getdata(column))
        values = np.ascontiguousarray(np.ma.getdata(column))
        kind = pa.from_numpy_dtype(values.dtype)
        # Arrow packs eight booleans into a byte.
        buffers = [pa.py_buffer(np.packbits(values, bitorder="little") if values.dtype == bool else values)]
    else:
        missing = np.array([text is None for text in column], bool)
        encoded = [b"" if text is None else text.encode() for text in column]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
        kind, buffers = pa.string(), [pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    valid = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    return pa.Array.from_buffers(kind, len(column), [valid, *buffers])


def _parquet_writer(stream: BinaryIO, schema: Any) -> Any:
    import pyarrow.parquet as parquet

    # Distinct floats gain nothing from a dictionary or compression, which would take most of the time.
    return parquet.ParquetWriter(stream, schema, use_dictionary=False, compression="none", write_statistics=False)


def _csv_writer(stream: BinaryIO, schema: Any) -> Any:
    from pyarrow import csv

    return csv.CSVWriter(stream, schema)


def read_columns(path: Path) -> dict[str, Any]:
    """The columns of a CSV or Parquet file of a record by name, as Arrow arrays.

    Raises:
        InputError: the file cannot be read, or a requested column is missing.
    """
    with readable(path):
        if path.suffix == ".csv":
            from pyarrow import csv

            with opened_by_arrow(path) as stream:
                table = csv.read_csv(stream)
        else:
            from pyarrow import parquet

            with opened_by_arrow(path) as stream:
                table = parquet.read_table(stream)
    return Part(dict(zip(table.column_names, table.columns, strict=True)), path)


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever a library raises about the content of a file into one message; only its calls belong inside.

    Raises:
        InputError: it raised.
    """
    try:
        yield
    except FileNotFoundError as error:
        remedy = "Restore it from a copy."
        raise InputError(str(path), expected="a file that exists", came="none", remedy=remedy) from error
    except PermissionError as error:
        remedy = "Let your account read it."
        raise InputError(
            str(path), expected="a file that may be read", came=str(error.strerror), remedy=remedy
        ) from error
    except Exception as error:  # libraries may raise anything on a damaged file
        said = " ".join(str(error).split())
        raise InputError(
            str(path),
            expected=f"a readable {''.join(path.suffixes[-2:]) or 'data'} file",
            came=f"{type(error).__name__}: {said[:300]}",
            remedy="Open the file with another program to see whether it is whole.",
        ) from error


def is_number(text: str) -> bool:
    """Whether a text can be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested mapping by dotted keys, in its own order; an empty mapping is a leaf.

    Args:
        node: the mapping, or a leaf.
        prefix: of the keys.
    """
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
