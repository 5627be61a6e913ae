"""Formats of data files by suffix. Nothing heavy is imported, so that the command line can use it."""

from pathlib import Path

TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat")
PACKED = (".gz", ".zst", ".bz2")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
NPY = ".npy"
SUFFIXES = (*TEXT, *(f"{text}{packed}" for text in TEXT for packed in PACKED), *PARQUET, *ARROW, NPY)


def has_data_suffix(path: Path | str) -> bool:
    """Whether a name has the suffix of a data file."""
    return str(path).lower().endswith(SUFFIXES)
