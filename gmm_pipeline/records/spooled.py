"""Tables larger than a share of the memory: read in batches, once, into a temporary file that is then memory-mapped.

So whatever looks at data sees an array, wherever they come from, and passes over them cost no decoding. The price: as
much room on disk as the numbers take, in the folder for temporary files, until the program ends.
"""

import errno
import shutil
import tempfile
from typing import Any

import numpy as np
from jaxtyping import Int

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.large_data import MANY

SHARE = "data.in_memory"


class Spool:
    """Rows of numbers that are written one after another, and then are an array in a file without a name."""

    def __init__(self, dtype: Any, *shape: int):
        """Open the file.

        Args:
            dtype: of the numbers.
            *shape: of a row; empty for a number.
        """
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - the array keeps it open
        self._dtype, self._shape = np.dtype(dtype), shape
        self.n_rows = 0

    def write(self, rows: np.ndarray) -> None:
        """Append rows.

        Args:
            rows: one or more.

        Raises:
            InputError: the disk is full.
        """
        try:
            self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise no_room(f"less, which was full after {self.n_rows:,} rows") from error
        self.n_rows += len(rows)

    def array(self) -> np.ndarray:
        """All rows, memory-mapped; there is at least one."""
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r", shape=(self.n_rows, *self._shape))


def checked_share(in_memory: int | float) -> float:
    """The share of the memory that a table may take.

    Args:
        in_memory: from the config.

    Raises:
        InputError: it is not a share.
    """
    if type(in_memory) in (int, float) and 0.0 <= in_memory <= 1.0:
        return float(in_memory)
    remedy = "For example data.in_memory=0.25."
    raise InputError(SHARE, expected="a number from 0 to 1", came=repr(in_memory), remedy=remedy)


def check_room(wanted: float) -> None:
    """Refuse what would not fit into the folder for temporary files.

    Args:
        wanted: bytes.

    Raises:
        InputError: it does not fit.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if wanted > free:
        raise no_room(f"{free / 1e9:.3g} GB", f"{wanted / 1e9:.3g} GB")


def no_room(came: str, wanted: str = "room for the numbers of the table") -> InputError:
    """The message that a temporary file does not fit.

    Args:
        came: the room that there is.
        wanted: the room that it needs.
    """
    return InputError(
        SHARE,
        expected=f"{wanted} in {tempfile.gettempdir()}, the folder for temporary files",
        came=came,
        remedy=f"Name a folder with more room in the environment variable TMPDIR, or read into memory: {SHARE}=1.",
    )


class Gaps:
    """The rows of a table that are kept, from 0, as soon as one is left out."""

    def __init__(self) -> None:
        self._kept: Spool | None = None
        self.n_rows = 0

    def add(self, kept: Int[np.ndarray, " m"] | None, n: int) -> None:
        """Note which of the next rows are kept.

        Args:
            kept: their places among these; None for all.
            n: how many rows these are.
        """
        if kept is not None and self._kept is None:
            self._kept = Spool(np.int64)
            for first in range(0, self.n_rows, MANY):
                self._kept.write(np.arange(first, min(first + MANY, self.n_rows)))
        if self._kept is not None:
            self._kept.write(self.n_rows + (np.arange(n) if kept is None else kept))
        self.n_rows += n

    def rows(self) -> Int[np.ndarray, " n"] | None:
        """Those that are kept; None if all are."""
        return None if self._kept is None else self._kept.array()
