"""Tables for the terminal: a number is never cut, whatever the width.

Optional columns that do not fit are left out; then texts are wrapped, and columns are stacked in blocks that repeat
what says what a row is.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.table import Table as RichTable
from rich.text import Text

GAPS = (3, 2)
"""Spaces between columns: preferred, and at least."""
LEAST_TEXT = 16
"""Texts are wrapped down to this width before a table is split."""


class Column(NamedTuple):
    """A header and the cells below it."""

    header: str
    cells: Sequence[str]
    kind: Literal["number", "text"] = "number"
    attached: bool = False
    """Stays beside the column before it, as an error does with its estimate."""
    style: str = ""
    optional: bool = False
    """Left out if there is no space."""
    names_rows: bool = False
    """Repeated in each block, as the first columns are."""

    @property
    def width(self) -> int:
        """Of its longest line."""
        return max(map(cell_len, [self.header, *self.cells]))


class Table(NamedTuple):
    """Columns, of which the first few say what a row is."""

    columns: Sequence[Column]
    n_keys: int = 1


def blocks(table: Table, width: int) -> list[RichTable]:
    """A table as Rich prints it, in as many blocks as needed.

    Args:
        table: columns of text.
        width: of the terminal, in characters.
    """
    for gap in GAPS:
        if _total([column.width for column in table.columns], gap) <= width:
            return [_drawn(table.columns, [column.width for column in table.columns], gap)]
    gap = GAPS[-1]
    columns = _necessary(table.columns, width, gap)
    widths = _wrapped(columns, width, gap)
    if _total(widths, gap) <= width:
        return [_drawn(columns, widths, gap)]
    keys = [column for i, column in enumerate(columns) if i < table.n_keys or column.names_rows]
    rest = [column for i, column in enumerate(columns) if i >= table.n_keys and not column.names_rows]
    # The key columns take at most half of the width, so that space is left for the others.
    key_widths = _wrapped(keys, width // 2, gap)
    room = width - _total(key_widths, gap) - gap * bool(keys)
    return [
        _drawn([*keys, *members], [*key_widths, *_wrapped(members, room, gap)], gap)
        for members in _packed(rest, room, gap)
    ]


def _necessary(columns: Sequence[Column], width: int, gap: int) -> list[Column]:
    """Columns without optional ones, of which the last are dropped first, until the rest fits."""
    kept = list(columns)
    for column in reversed(columns):
        if column.optional and not _fit(kept, width, gap):
            kept = [one for one in kept if one is not column]
    return kept


def _packed(columns: Sequence[Column], room: int, gap: int) -> list[list[Column]]:
    """Columns in blocks, each filled as far as possible; attached columns stay together."""
    together: list[list[Column]] = []
    for column in columns:
        if column.attached and together and _fit([*together[-1], column], room, gap):
            together[-1].append(column)
        else:
            together.append([column])
    packed: list[list[Column]] = []
    for members in together:
        if packed and _fit([*packed[-1], *members], room, gap):
            packed[-1] += members
        else:
            packed.append(members)
    return packed


def _fit(columns: Sequence[Column], room: int, gap: int) -> bool:
    return _total(_wrapped(columns, room, gap), gap) <= room


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _wrapped(columns: Sequence[Column], width: int, gap: int) -> list[int]:
    """Widths of columns, the widest text made narrower for as long as that helps."""
    widths = [column.width for column in columns]
    while _total(widths, gap) > width:
        texts = [index for index, column in enumerate(columns) if column.kind == "text" and widths[index] > LEAST_TEXT]
        if not texts:
            break
        widest = max(texts, key=lambda index: widths[index])
        widths[widest] -= 1
    return widths


def _drawn(columns: Sequence[Column], widths: Sequence[int], gap: int) -> RichTable:
    drawn = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0), width=_total(widths, gap))
    for column, width in zip(columns, widths, strict=True):
        side = "right" if column.kind == "number" else "left"
        drawn.add_column(Text(column.header), justify=side, style=column.style, width=width, overflow="fold")
    for cells in zip(*(column.cells for column in columns), strict=True):
        drawn.add_row(*map(Text, cells))
    return drawn
