"""Whatever the width: no number is cut, and each row says what it is."""

import io

import pytest
from rich.console import Console

from gmm_pipeline.stages.tables import Column, Table, blocks

NAMES = ("weight", "loc [min]", "scale [min]")
ESTIMATES = [
    Column("component", ["0", "1"]),
    *(
        column
        for name in NAMES
        for column in (
            Column(name, ["1699999999.65", "-0.125"]),
            Column("± s.e.", ["0.47", "0.0036"], attached=True),
            Column("true", ["", "3"], attached=True, style="dim"),
        )
    ),
]


def printed(table: Table, width: int) -> list[list[str]]:
    """The lines of each block."""
    found = []
    for block in blocks(table, width):
        stream = io.StringIO()
        Console(file=stream, width=block.width, highlight=False).print(block, crop=False)
        found.append([line.rstrip() for line in stream.getvalue().splitlines()])
    return found


@pytest.mark.parametrize("width", [200, 80, 60, 40, 25])
def test_every_number_is_whole_at_any_width(width):
    lines = [line for block in printed(Table(ESTIMATES), width) for line in block]
    words = " ".join(lines).split()
    for column in ESTIMATES[1:]:
        assert all(cell in words for cell in column.cells if cell)
    assert words.count("1699999999.65") == 3
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)


@pytest.mark.parametrize(("width", "headers"), [(120, 1), (80, 2), (60, 3)])
def test_an_error_stays_beside_its_estimate_and_rows_keep_their_names(width, headers):
    found = printed(Table(ESTIMATES), width)
    assert len(found) == headers
    for block in found:
        assert block[0].split()[0] == "component"
        assert [line.split()[0] for line in block[1:]] == ["0", "1"]
        assert block[0].count("± s.e.") == block[0].count("true") == sum(name in block[0] for name in NAMES)


def test_texts_are_wrapped_before_a_table_is_split():
    what = "6,000 observations, up to 2 components, 2,000 steps of adam"
    table = Table([Column("program", [what], "text"), Column("runs", ["1,000"]), Column("time", ["12.5"])])
    (block,) = printed(table, 40)
    assert max(map(len, block)) <= 40
    assert {*what.split()} <= {*" ".join(block).split()}
    assert block[1].split()[-2:] == ["1,000", "12.5"]


def test_what_is_optional_is_left_out_before_anything_is_split():
    others = [Column(name, ["1234567.125"], optional=True) for name in ("aic", "icl", "sbic")]
    table = Table([Column("K", ["2"]), Column("bic", ["1234567.125"]), *others, Column("", ["not converged"], "text")])
    assert [line.split() for line in printed(table, 60)[0]] == [
        ["K", "bic", "aic", "icl"],
        ["2", *["1234567.125"] * 3, "not", "converged"],
    ]
    ((header, _),) = printed(table, 35)
    assert header.split() == ["K", "bic"]


def test_brackets_are_no_markup():
    ((header, row),) = printed(Table([Column("loc [bold]", ["[red]"], "text")]), 80)
    assert (header, row) == ("loc [bold]", "[red]")
