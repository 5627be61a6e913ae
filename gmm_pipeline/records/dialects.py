"""How a CSV file is written: delimiter, header, comments, detected from its beginning if unambiguous.

Python's `csv` splits the beginning by each possible delimiter. An ambiguous file is refused with the key that settles
it, since a wrong guess would be a wrong answer.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from gmm_pipeline.errors import InputError
from gmm_pipeline.records.cells import COMMA, POINT, Cells, looks_numeric
from gmm_pipeline.records.files import readable

TAB = "\t"
BLANKS = " "
"""The delimiter `whitespace`: any number of spaces and tabs between cells and around rows."""
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": TAB, "bar": "|", "whitespace": BLANKS}
AUTO = "auto"
HEADERS = (AUTO, "first", "none")
LOOKED_AT = 1 << 17
"""Bytes that are examined: as many as Python's `csv` accepts in one cell."""
MOST_LINES = 1000
"""Rows that are examined, after the lines above the first row."""

QUOTED = rb'(?<![^ \t\r\n])("[^"]*(?:""[^"]*)*")'
"""A quoted cell, whose blanks belong to it."""

Row = list[str]


class Asked(NamedTuple):
    """How the user describes a file."""

    cells: Cells
    delimiter: str | None
    """None to detect it."""
    header: str
    """`first`: the first row has names; `none`: it has data; `auto`: to be detected."""
    comment: str | None
    """How comment lines begin; None if there are none, `auto` for `#` if unambiguous."""
    columns: tuple[str, ...]
    """The names of the columns to read, as far as the user gives them."""

    @property
    def mark(self) -> str | None:
        """How comment lines begin."""
        return "#" if self.comment == AUTO else self.comment

    def is_remark(self, text: str) -> bool:
        """Whether a line, or its first cell, is a comment; `#N/A` in a cell is a missing value."""
        text = text.strip()
        return self.mark is not None and text.startswith(self.mark) and not self.cells.is_missing(text)


class Dialect(NamedTuple):
    """How a file is written."""

    delimiter: str
    names: list[str]
    """Names of the columns, empty for one without a name; their numbers if none has a name."""
    begin: int
    """The byte at which the rows begin."""
    sample: list[Row]
    """The first rows."""
    numbered: bool
    """Whether the names are column numbers, because the file has none."""
    doubtful: bool
    """Whether the row of names contains numbers too."""


def dialect_of(path: Path, head: bytes, asked: Asked, *, is_whole: bool) -> Dialect:
    """How a file is written.

    Args:
        path: of the file.
        head: its beginning, in UTF-8.
        asked: how the user describes it.
        is_whole: whether this is all of it.

    Raises:
        InputError: it has no rows, or is ambiguous.
    """
    lines = list(io.StringIO(head.decode("latin-1"), newline=""))  # an encoding in which each byte is a character
    lines = lines if is_whole or len(lines) < 2 else lines[:-1]
    n_above, announced, remark = _above(lines, asked)
    begin, lines = sum(map(len, lines[:n_above])), lines[n_above:]
    if not lines:
        remedy = "Choose another file with data.path."
        raise InputError(str(path), expected="a readable table of numbers", came="no rows", remedy=remedy)
    is_whole, lines = is_whole and len(lines) <= MOST_LINES, lines[:MOST_LINES]
    delimiter = asked.delimiter or announced or _delimiter(path, lines, asked, is_whole=is_whole)
    with readable(path):
        first, body, n_lines = _split(lines, delimiter, is_whole=is_whole)
    body = _rows(body, asked)
    names = _decoded(first)
    numeric = [_may_be_datum(name, delimiter, asked) for name in names if name]
    if asked.header == "none":
        numbers = [str(number) for number in range(len(first))]
        return Dialect(delimiter, numbers, begin, _of_width([first, *body], len(first)), True, False)
    if asked.header == "first" or not all(numeric) or _are_names(names, body, asked):
        begin += sum(map(len, lines[:n_lines]))
        names = _as_wide_as(names, body)
        doubtful = asked.header == AUTO and any(numeric) and not all(numeric)
        return Dialect(delimiter, names, begin, _of_width(body, len(names)), False, doubtful)
    above = _decoded(remark.split() if delimiter == BLANKS else remark.split(delimiter))
    if len(above) == len(first) and all(above) and (len(above) > 1 or " " not in above[0]):
        return Dialect(delimiter, above, begin, _of_width([first, *body], len(first)), False, False)
    raise InputError(
        str(path),
        expected="a first row (a header) with the names of the columns",
        came=f"numbers: {', '.join(names[:5])}",
        remedy="Add data.header=none if they are data, or data.header=first if they are names.",
    )


def _above(lines: Sequence[str], asked: Asked) -> tuple[int, str | None, str]:
    """Number of lines before the first row, the delimiter that they declare (as Excel does), and the last comment."""
    announced, remark = None, ""
    for number, line in enumerate(lines):
        text = line.strip()
        excel = re.fullmatch(r'"?sep=(.)"?', line.rstrip("\r\n"), re.IGNORECASE)
        if number == 0 and excel:
            announced = excel.group(1)
        elif asked.is_remark(text):
            remark = text.removeprefix(asked.mark or "")
        elif text:
            return number, announced, remark
    return len(lines), announced, remark


def _split(lines: Iterable[str], delimiter: str, *, is_whole: bool) -> tuple[Row, list[Row], int]:
    """The first row, the other complete ones, and the number of lines of the first."""
    if delimiter == BLANKS:
        lines, delimiter = io.StringIO(evened("".join(lines).encode("latin-1")).decode("latin-1"), newline=""), TAB
    reader = csv.reader(lines, delimiter=delimiter)
    first = next(reader)
    n_lines = reader.line_num
    body = list(reader)
    return first, body if is_whole else body[:-1], n_lines


def evened(content: bytes) -> bytes:
    """Replace the blanks between cells by a tab and remove those around rows; quoted cells stay as they are.

    Args:
        content: of a file whose cells are delimited by blanks.
    """
    if b'"' in content:
        content = re.sub(QUOTED + rb"|[ \t]+", lambda found: found[1] or b"\t", content)
    else:
        content = re.sub(rb"[ \t]+", b"\t", content)
    return re.sub(rb"(?<![^\r\n])\t|\t(?![^\r\n])", b"", content)


def _rows(rows: Iterable[Row], asked: Asked) -> list[Row]:
    """The rows that are neither blank nor comments."""
    rows = [row for row in rows if row]
    return [row for row in rows if not asked.is_remark(row[0])] or rows  # if all begin so, these are names of rows


def _of_width(rows: Iterable[Row], width: int) -> list[Row]:
    return [row for row in rows if len(row) == width]


def _decoded(cells: Iterable[str]) -> Row:
    """Names decoded from characters that stand for bytes of UTF-8."""
    return [cell.strip().encode("latin-1").decode(errors="replace") for cell in cells]


def _delimiter(path: Path, lines: Sequence[str], asked: Asked, *, is_whole: bool) -> str:
    """The delimiter with which all rows have equally many cells; if there is none, one that no line contains.

    Raises:
        InputError: several do, and none of them gives more numbers.
    """
    fitting: dict[bool, dict[str, int]] = {True: {}, False: {}}
    delimiters = [delimiter for delimiter in DELIMITERS.values() if delimiter != asked.cells.decimal]
    for delimiter in delimiters:
        try:
            first, body, _ = _split(lines, delimiter, is_whole=is_whole)
        except csv.Error:
            continue
        body = _rows(body, asked) or [first]
        width = len(body[0])
        short = len(first) == width - 1  # rows have names, or end in a delimiter
        same = width > 1 and all(len(row) == width for row in body) and len(first) in (width, width - 1)
        one = same and short and (_are_decimals(path, delimiter, body, asked) or _are_words(delimiter, lines, body))
        if same and not one:
            cells = [cell.strip() for row in [first, *body] for cell in row]
            fitting[not short][delimiter] = sum(_may_be_datum(cell, delimiter, asked) for cell in cells if cell)
    found = fitting[True] or fitting[False]
    if list(found) == [BLANKS]:  # with other delimiters, rows may have names, and some cells a blank
        found = {one: score for one, score in fitting[False].items() if score > found[BLANKS]} or found
    if TAB in found:
        found.pop(BLANKS, None)  # cells between tabs may contain spaces
    best = [delimiter for delimiter, score in found.items() if score == max(found.values())]
    if BLANKS in best:
        best = list(found)  # numbers that contain spaces would be split into more numbers
    if len(best) > 1:
        names = [name for name, delimiter in DELIMITERS.items() if delimiter in best]
        raise InputError(
            str(path),
            expected="one delimiter with which all rows have equally many cells",
            came=" and ".join(names),
            remedy=f"Choose one: data.delimiter={names[0]}.",
        )
    if best:
        return best[0]
    single = [delimiter for delimiter in delimiters if delimiter != BLANKS]
    of_header = [delimiter for delimiter in single if delimiter in lines[0]]
    unused = [delimiter for delimiter in single if not any(delimiter in line for line in lines)]
    # With a delimiter of the header, the message names the row with another number of cells; else there is one column.
    return (of_header or unused or single)[0]


def _are_decimals(path: Path, delimiter: str, body: Sequence[Row], asked: Asked) -> bool:
    """Whether commas below a single column name are decimal commas.

    Raises:
        InputError: they may also separate row numbers from a column.
    """
    whole = all(re.fullmatch(r"[+-]?\d*", row[0].strip()) and re.fullmatch(r"\d+", row[-1]) for row in body)
    if delimiter != COMMA or asked.cells.decimal == POINT or len(body[0]) != 2 or not whole:
        return False
    if len(body) > 2 and [row[0] for row in body] == [str(number) for number in range(1, len(body) + 1)]:
        raise InputError(
            str(path),
            expected="either decimal commas or row numbers before each comma",
            came=f"{','.join(body[0])}, which may be either",
            remedy="Add data.decimal=comma if these are decimals, or data.delimiter=comma if they are two columns.",
        )
    return True


def _are_words(delimiter: str, lines: Sequence[str], body: Sequence[Row]) -> bool:
    """Whether blanks, with fewer names than cells, may be part of a cell, such as `12 mm` or `1 234`.

    Not if the first cells are quoted, as R writes row names, or are row numbers.
    """
    if delimiter != BLANKS or all(line.lstrip().startswith('"') for line in lines[1:] if line.strip()):
        return False
    places = range(len(body[0]))
    thousands = [all(re.fullmatch(r"\d{3}", row[at].strip()) for row in body) for at in places]
    before = [all(re.fullmatch(r"[+-]?\d{1,3}", row[at].strip()) for row in body) for at in places]
    if any(thousands[at] and before[at - 1] for at in places[1:]):
        return True
    numbered = any([row[0] for row in body] == [str(at) for at in range(at, at + len(body))] for at in (0, 1))
    return len(body[0]) == 2 and not numbered


def _may_be_datum(text: str, delimiter: str, asked: Asked) -> bool:
    commas = delimiter != COMMA and asked.cells.decimal != POINT
    return asked.cells.is_missing(text) or looks_numeric(text, commas=commas)


def _are_names(names: Sequence[str], body: Sequence[Row], asked: Asked) -> bool:
    """Whether a first row of numbers contains names: those that were asked for, or the default names of pandas.

    Those are 0, 1, 2, …; pandas writes floats with a point, so they can be distinguished from data.
    """
    are_numbers = all(wanted.isdigit() and int(wanted) < len(names) for wanted in asked.columns)
    if set(asked.columns) <= set(names) and not are_numbers:
        return True
    given = [name for name in names if name]
    if given != [str(number) for number in range(len(given))] or not given:
        return False
    below = [row[len(row) - len(given) :] for row in body if len(row) == len(names)]
    return bool(below) and all(
        "." in cell or not re.fullmatch(r"\s*[+-]?\d+\s*", cell) for row in below for cell in row
    )


def _as_wide_as(names: Row, body: Sequence[Row]) -> Row:
    """The names, with an empty one added if rows have one cell more: last if that cell is empty, else first."""
    if not body or any(len(row) != len(names) + 1 for row in body):
        return names
    return [*names, ""] if not any(row[-1].strip() for row in body) else ["", *names]


def numeric_columns(dialect: Dialect, asked: Asked) -> list[int]:
    """The columns that look numeric in the first rows; those without a name only if no column has one.

    Args:
        dialect: how the file is written, with its first rows.
        asked: what the config says about how it is written.
    """
    found = []
    for place, name in enumerate(dialect.names):
        present = [cell for row in dialect.sample if not asked.cells.is_missing(cell := row[place].strip())]
        numbers = bool(present) and all(_may_be_datum(cell, dialect.delimiter, asked) for cell in present)
        if numbers and (name or not any(dialect.names)):
            found.append(place)
    return found
