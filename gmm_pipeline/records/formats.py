"""Formats of data files by their suffixes. Nothing heavy is imported, so that the command line can ask."""

from pathlib import Path

TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat")
PACKED = (".gz", ".zst", ".bz2")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
NPY = ".npy"
SUFFIXES = (*TEXT, *(f"{text}{packed}" for text in TEXT for packed in PACKED), *PARQUET, *ARROW, NPY)


def has_data_suffix(path: Path | str) -> bool:
    """Whether a name says that it is one of a file with data."""
    return str(path).lower().endswith(SUFFIXES)
