"""The columns of a CSV file, possibly compressed, in any common encoding.

Arrow reads the file. Every cell is read as text, so that no type is guessed from the first rows, and a blank line is a
row of empty cells, so that rows keep their numbers. The price: the whole file is in memory, once as bytes and once as
the text of the columns that are read.
"""

import codecs
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmm_pipeline.errors import InputError
from gmm_pipeline.records.cells import COMMA, arrow_functions
from gmm_pipeline.records.dialects import (
    AUTO,
    BLANKS,
    LOOKED_AT,
    TAB,
    Asked,
    Dialect,
    dialect_of,
    evened,
    numeric_columns,
)
from gmm_pipeline.records.files import arrow_of, is_number, memory_of_arrow, readable

BLOCK = 1 << 24
"""Bytes that Arrow reads at once; the longest row must fit."""


FEWEST_LINES, MOST_OF_HEAD = 16, 1 << 24
"""Lines that are examined however long they are, and most bytes for it."""


def _head(content: Any) -> bytes:
    """The beginning of a file, with several lines in it."""
    size = LOOKED_AT
    head = bytes(content[:size])
    while size < min(len(content), MOST_OF_HEAD) and head.count(b"\n") + head.count(b"\r") < FEWEST_LINES:
        size *= 2
        head = bytes(content[:size])
    return head


class DelimitedTable:
    """The columns of a CSV file, read as text on demand."""

    def __init__(self, path: Path, asked: Asked):
        self._path, self._asked = path, asked
        self._content = _as_utf8(path, _content_of(path))
        head = _head(self._content)
        self._dialect = dialect_of(path, head, asked, is_whole=len(head) == len(self._content))
        self.names = self._dialect.names
        self.numbered, self.doubtful = self._dialect.numbered, self._dialect.doubtful
        self.may_be_decimals = _may_be_decimals(self._dialect, asked)

    def numeric(self) -> list[int]:
        """The columns that look like numbers."""
        return numeric_columns(self._dialect, self._asked)

    def read(self, places: Sequence[int]) -> list[Any]:
        """Columns as Arrow's texts."""
        import pyarrow as pa
        from pyarrow import csv

        content, delimiter = self._content[self._dialect.begin :], self._dialect.delimiter
        if delimiter == BLANKS:
            content, delimiter = memory_of_arrow(evened(bytes(content))), TAB
        if len(self.names) > 1:  # a row has delimiters here, so an empty last line is not a row
            end = bytes(content[-LOOKED_AT:])
            content = content[: len(content) - len(end) + len(end.rstrip(b"\r\n"))]
        if not content:
            return [pa.chunked_array([], pa.string()) for _ in places]
        mark = self._asked.mark
        may_have_remarks = mark is not None and re.search(re.escape(mark.encode()), content) is not None
        kept = [0, *places] if may_have_remarks else places
        ids = [str(place) for place in range(len(self.names))]
        with readable(self._path):
            table = csv.read_csv(
                content,
                read_options=csv.ReadOptions(column_names=ids, block_size=BLOCK),
                parse_options=csv.ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=lambda row: "skip" if self._asked.is_remark(row.text) else "error",
                ),
                convert_options=csv.ConvertOptions(
                    include_columns=[ids[place] for place in dict.fromkeys(kept)],
                    column_types=dict.fromkeys(ids, pa.string()),
                ),
            )
        self._check_quotes(content, delimiter, table.num_rows)
        table = self._without_remarks(table) if may_have_remarks else table
        return [table[ids[place]] for place in places]

    def _check_quotes(self, content: Any, delimiter: str, n_rows: int) -> None:
        """Refuse a quote that is not closed at the end of its cell, where cells have several lines: it swallows rows.

        Arrow takes what comes up to the next quote, or to the end of the file, for a part of the cell, and so does what
        reads the header.
        """
        above = bytes(self._content[: self._dialect.begin])
        if b'"' not in above and re.search(b'"', content) is None:  # most files, which need not be copied
            return
        header = b"".join(line for line in above.splitlines(keepends=True) if not self._asked.is_remark(_text(line)))
        whole = header + bytes(content)
        if n_rows + bool(header.strip()) >= _n_lines(whole):
            return
        between = re.escape(delimiter.encode()) + rb"\r\n"
        begins, ends = re.compile(rb'(?:\A|[%b])"' % between), re.compile(rb"[ \t]*(?:[%b]|\Z)" % between)
        cell, place = re.compile(rb'"[^"]*(?:""[^"]*)*"'), 0
        while (found := begins.search(whole, place)) is not None:
            first = found.end() - 1
            of_cell = cell.match(whole, first)
            place = len(whole) if of_cell is None else of_cell.end()
            if of_cell is None or (re.search(rb"[\r\n]", of_cell[0]) and not ends.match(whole, place)):
                line = _n_lines(above) - _n_lines(header) + _n_lines(whole[: first + 1])
                raise InputError(
                    str(self._path),
                    expected="a second quote at the end of each cell that begins with one",
                    came=f"one without it in line {line:,}, which swallows the lines after it",
                    remedy="Close the quote, or double it and quote the whole cell, if it belongs to the text.",
                )

    def _without_remarks(self, table: Any) -> Any:
        """The rows without comments that have as many cells as rows."""
        pc, asked = arrow_functions(), self._asked
        first = pc.ascii_trim_whitespace(table["0"])
        codes = arrow_of(asked.cells.missing_codes)
        remarks = pc.and_not(pc.starts_with(first, asked.mark), pc.is_in(first, value_set=codes))
        if not pc.any(remarks).as_py() or pc.all(remarks).as_py():  # if all begin so, these are names of rows
            return table
        others = [name for name in table.column_names if name != "0"]
        texts = [text for row in table.filter(remarks).select(others).to_pylist() for text in row.values()]
        if asked.comment == AUTO and any(map(is_number, texts)):
            raise InputError(
                str(self._path),
                expected=f"rows that do not begin with {asked.mark}, or comments without numbers in the column",
                came=f"{pc.sum(remarks).as_py():,} in doubt, the first in row {remarks.index(True).as_py() + 1}",
                remedy="Add 'data.comment=\"#\"' if they are comments, or data.comment=null if they are rows.",
            )
        return table.filter(pc.invert(remarks))


def _text(line: bytes) -> str:
    return line.decode("latin-1")


def _n_lines(content: bytes) -> int:
    """How many lines a text has, whichever of the three ends they have."""
    ends = content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")
    return ends + (bool(content) and not content.endswith((b"\n", b"\r")))


def _may_be_decimals(dialect: Dialect, asked: Asked) -> bool:
    """Whether two columns without names may be one, whose decimal commas separated them."""
    in_doubt = dialect.delimiter == COMMA and asked.delimiter is None and asked.cells.decimal is None
    if not (in_doubt and dialect.numbered and len(dialect.names) == 2):
        return False
    return all(re.fullmatch(r"\s*\d*\s*", last) for _, last in dialect.sample)


def _content_of(path: Path) -> Any:
    """The bytes of a file in a buffer of Arrow's, decompressed if its suffix says that it is compressed."""
    import pyarrow as pa

    with readable(path), pa.input_stream(str(path)) as stream:
        return stream.read_buffer()


def _as_utf8(path: Path, content: Any) -> Any:
    """The content as UTF-8, converted from UTF-16 or from cp1252, as older programs on Windows write it."""
    first = bytes(content[: len(codecs.BOM_UTF8)])
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif first[1:2] == b"\0" != first[:1]:
        encoding = "utf-16-le"
    elif first[:1] == b"\0" != first[1:2]:
        encoding = "utf-16-be"
    elif _is_utf8(content):
        return content[len(codecs.BOM_UTF8) if first == codecs.BOM_UTF8 else 0 :]
    else:
        encoding = "cp1252"
    with readable(path):
        errors = "replace" if encoding == "cp1252" else "strict"
        return memory_of_arrow(bytes(content).decode(encoding, errors).encode())


def _is_utf8(content: Any) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for begin in range(0, len(content), BLOCK):
            decoder.decode(memoryview(content)[begin : begin + BLOCK], final=begin + BLOCK >= len(content))
    except UnicodeDecodeError:
        return False
    return True
