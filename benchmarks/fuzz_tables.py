"""Damaged data files for the fuzzer: bit flips, truncations, headers that lie, and keys that do not fit the file."""

import atexit
import bz2
import functools
import gzip
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from gmm_pipeline.errors import InputError
from gmm_pipeline.records.datasets import from_file
from gmm_pipeline.records.files import write_columns

AS_DETECTED: dict[str, Any] = {
    "weights_are": "counts",
    **dict.fromkeys(("column", "weights_column", "delimiter", "decimal", "truth", "name", "unit")),
    **{"columns": [], "missing": "error", "missing_codes": [], "header": "auto", "comment": "auto", "in_memory": 1.0},
}
"""Keys of `data=file` of which nothing is set."""


class Damage(NamedTuple):
    """Something that is done to the bytes of a file."""

    kind: str
    place: float
    """As a share of the length."""
    content: bytes


def damages() -> st.SearchStrategy[Damage]:
    """Damages of every kind."""
    kinds = st.sampled_from(("flip", "cut", "insert", "replace", "zeros", "repeat", "swap"))
    return st.builds(Damage, kinds, st.floats(0.0, 1.0), st.binary(min_size=1, max_size=16))


def damaged(content: bytes, damage: Damage) -> bytes:
    """The bytes of a file after a damage.

    Args:
        content: of the whole file.
        damage: what is done.
    """
    at, given = int(damage.place * len(content)), damage.content
    match damage.kind:
        case "flip":
            return content[:at] + bytes(byte ^ (1 << given[0] % 8) for byte in content[at : at + 1]) + content[at + 1 :]
        case "cut":
            return content[:at]
        case "insert":
            return content[:at] + given + content[at:]
        case "replace":
            return content[:at] + given + content[at + len(given) :]
        case "zeros":
            return content[:at] + bytes(len(content) - at)
        case "repeat":
            return content[:at] + content
        case _:
            return content[at:] + content[:at]


def write_tables(folder: Path) -> dict[str, bytes]:
    """Whole tables of every format, by name, with columns x, y and w where columns have names.

    Args:
        folder: to write in.
    """
    folder = folder / "tables"
    folder.mkdir()
    import pyarrow as pa
    from pyarrow import feather, parquet

    numbers = np.random.default_rng(0)
    x, y, w = numbers.normal(size=30).round(3), numbers.normal(size=30).round(3), numbers.integers(0, 4, 30)
    columns = {"x": x, "y": np.ma.array(y, mask=np.arange(30) == 7), "w": w}
    write_columns(folder / "a.csv", columns)
    write_columns(folder / "a.parquet", columns)
    table = parquet.read_table(folder / "a.parquet")
    texts = table.set_column(1, "y", pa.array([str(value) for value in y]).dictionary_encode())
    parquet.write_table(texts, folder / "b.parquet", compression="zstd")
    feather.write_feather(table, folder / "a.feather", compression="uncompressed")
    feather.write_feather(texts, folder / "b.feather", compression="lz4")
    with pa.ipc.new_stream(folder / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    content = (folder / "a.csv").read_bytes()
    (folder / "a.csv.gz").write_bytes(gzip.compress(content, mtime=0))
    (folder / "a.csv.zst").write_bytes(pa.compress(content, "zstd", asbytes=True))
    (folder / "a.csv.bz2").write_bytes(bz2.compress(content))
    (folder / "utf16.csv").write_bytes(content.decode().encode("utf-16"))
    (folder / "a.txt").write_bytes(content.replace(b",", b" "))
    np.save(folder / "a.npy", x)
    np.save(folder / "b.npy", np.stack([x, y], axis=1).astype(np.float32))
    np.savez(folder / "a.npz", x=x)
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    return files | {"npz.npy": files.pop("a.npz"), "empty.npy": b"", "empty.parquet": b"", "empty.csv": b""}


HEADERS = {
    "shape": (
        "(9895604649984,)",
        "(0, 10000000000)",
        "(10000000000, 0)",
        "(-3,)",
        "()",
        "(3, 3, 3)",
        "(1, 999)",
        "(2.5,)",
    ),
    "descr": ("'|O'", "'<f2'", "'<M8[s]'", "'|V0'", "'|S0'", "'<U9'", "'<c16'", "'>i8'", "[('a', '<f8')]", "None"),
}
"""What the header of an npy file may claim."""


def _lying(content: bytes, key: str, claim: str) -> bytes:
    header, begin = content[10:].partition(b"\n")[0], content[:8]
    pattern = rb"\([^)]*\)" if key == "shape" else rb"'[<|>][^']*'"
    told = re.sub(pattern, lambda _: claim.encode(), header.rstrip(), count=1) + b"\n"
    return begin + len(told).to_bytes(2, "little") + told + content[11 + len(header) :]


class Table(NamedTuple):
    """A data file that may be damaged, and how it is read."""

    name: str
    damages: list[Damage]
    claim: tuple[str, str]
    """Of the header of an npy file; an empty key for none."""
    keys: dict[str, Any]
    in_folder: bool
    """Whether the file is a part of a table, beside a whole one."""

    @property
    def line(self) -> str:
        """What repeats it in Python."""
        return f"fuzz_tables.attempt_table(fuzz_tables.{self!r})"


@functools.cache
def scratch() -> Path:
    """A folder of this process."""
    folder = tempfile.TemporaryDirectory(prefix="gmm_pipeline-fuzz-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@functools.cache
def whole_tables() -> dict[str, bytes]:
    """The content of whole tables, by the names of their files."""
    return write_tables(scratch())


def tables() -> st.SearchStrategy[Table]:
    """Data files and what is done to them."""
    weighted = {"column": "x", "weights_column": "w"}
    keys: list[dict[str, Any]] = [{}, weighted, {"columns": ["x", "y"], "missing": "marginalise"}]
    keys += [
        {**weighted, "missing": "drop"},
        {"header": "none", "comment": None},
        {"in_memory": 0.0},
        {"delimiter": "comma"},
    ]
    claims = [*[("", "")] * 20, *((key, claim) for key, told in HEADERS.items() for claim in told)]
    return st.builds(
        Table,
        st.sampled_from(sorted(whole_tables())),
        st.lists(damages(), max_size=2),
        st.sampled_from(claims),
        st.sampled_from(keys),
        st.booleans(),
    )


def attempt_table(table: Table) -> bool:
    """Read a damaged table; whether it could be read."""
    folder, files = scratch(), whole_tables()
    content = files[table.name]
    if table.claim[0] and table.name.endswith(".npy") and content.startswith(b"\x93NUMPY"):
        content = _lying(content, *table.claim)
    for damage in table.damages:
        content = damaged(content, damage)
    path = folder / f"case{''.join(Path(table.name).suffixes)}"
    if table.in_folder and path.suffix == ".parquet":
        shutil.rmtree(folder / "parts", ignore_errors=True)
        (folder / "parts").mkdir()
        (folder / "parts" / "0.parquet").write_bytes(files["a.parquet"])
        (folder / "parts" / "1.parquet").write_bytes(content)
        path = folder / "parts"
    else:
        path.write_bytes(content)
    try:
        found = from_file(path=str(path), **{**AS_DETECTED, **table.keys})
    except InputError:
        return False
    if not np.isfinite(found.data).any():
        raise ValueError(f"read as {found.data}")
    return True
