"""Files with data as people have them, each read by columns of numbers as pandas or whoever wrote them has them."""

import codecs
import contextlib
import decimal
import gzip
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pyarrow import csv, feather, ipc, parquet

from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import datasets
from gmm_pipeline.records.files import read_columns

KEYS: Any = OmegaConf.to_container(OmegaConf.load(config_directory() / "data" / "file.yaml"))
NUMBERS = [55.0, 56.8, -53.4, 0.125]


def read(path: Path, **given: Any) -> datasets.Dataset:
    keys = {**KEYS, "path": str(path), **given}
    return datasets.from_file(**{name: value for name, value in keys.items() if name != "_target_"})


@pytest.fixture
def of(tmp_path):
    """The data in a file with some content."""

    def written(content: str | bytes, *, suffix: str = ".csv", **given: Any) -> list[float]:
        path = tmp_path / f"table{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(path, **given).data.tolist()

    return written


COMMAS = "tag;wert\n0;55,0\n1;56,8\n2;-53,4\n3;0,125\n"


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("x\n55.0\n56.8\n-53.4\n0.125\n", None),
        ("x\r\n55.0\r\n56.8\r\n-53.4\r\n0.125", None),
        ("name,x\na,55.0\nb,56.8\nc,-53.4\nd,0.125\n", None),
        ("x,y,y,,\n55.0,1,2,,\n56.8,1,2,,\n-53.4,1,2,,\n0.125,1,2,,\n", "x"),
        ("x,y\n55.0,1,\n56.8,1,\n-53.4,1,\n0.125,1,\n", "x"),
        (",x\n0,55.0\n1,56.8\n2,-53.4\n3,0.125\n", None),
        ('"x","g"\n"1",55.0,"a"\n"2",56.8,"b"\n"3",-53.4,"c"\n"4",0.125,"d"\n', None),
        (COMMAS, "wert"),
        (COMMAS.replace(";", "\t"), "wert"),
        (COMMAS.replace(";", "|"), "wert"),
        ("tag\twert\n0\t55.0\n1\t56.8\n2\t-53.4\n3\t0.125\n", "wert"),
        ("wert\n55,0\n56,8\n-53,4\n0,125\n", None),
        ('tag,wert\n0,"55,0"\n1,"56,8"\n2,"-53,4"\n3,"0,125"\n', "wert"),
        ("sep=;\nname;x\na;55.0\nb;56.8\nc;-53.4\nd;0.125\n", None),
        ("id, height\n0, 55.0\n1, 56.8\n2, -53.4\n3, 0.125\n", "height"),
        ("# made by a logger, 2\n# unit: mm\nx,y\n55.0,1\n56.8,1\n-53.4,1\n0.125,1\n", "x"),
        ("# time,value\n1,55.0\n2,56.8\n3,-53.4\n4,0.125\n", "value"),
        ("x\n55.0\n# paused\n56.8\n-53.4\n0.125\n# end\n", None),
        ("x,y\n55.0,1\n# paused\n56.8,1\n# again, and on\n-53.4,1\n0.125,1\n", "x"),
        ("id,x\n#1,55.0\n#2,56.8\n#3,-53.4\n#4,0.125\n", None),
        ('x,note\n55.0,"two\nlines, or ""three"""\n56.8,\n-53.4,b\n0.125,c\n\n\n', None),
        ("2019,2020\n55.0,1\n56.8,2\n-53.4,3\n0.125,4\n", "2019"),
        ("0\n55.0\n56.8\n-53.4\n0.125\n", None),
        (",0,1\n0,55.0,1.0\n1,56.8,2.0\n2,-53.4,3.0\n3,0.125,4.0\n", "0"),
        ("\n\nx\n+55.0\n5.68e1\n -53.4 \n.125\n", None),
        ("day wert\n0 55.0\n 1   56.8\n2\t-53.4 \n3 \t0.125\n\n", "wert"),
        ("day wert\n0 55,0\n1 56,8\n2 -53,4\n3 0,125\n", "wert"),
        ("day wert\n0\t55.0\n1\t56.8\n2\t-53.4\n3\t0.125\n", "wert"),
        ("    x    g\n0  55.0  a\n1  56.8  b\n2 -53.4  c\n3 0.125  d\n", "x"),
        ('"x" "g"\n"1" 55 "a"\n"2" 56.8 "b c"\n"ten d" -53.4 "d"\n"4" 0.125 ""\n', None),
        ('"x"\n"Ann" 55\n"Bob Lee" 56.8\n"Cy" -53.4\n"Di" 0.125\n', None),
        ("x\r\n1 55.0\r\n2 56.8\r\n3 -53.4\r\n4 0.125\r\n", None),
        ("# time value\n1.5 55.0\n2.5 56.8\n3.5 -53.4\n4.5 0.125\n", "value"),
        ("# a logger\ntime x\n1.5 55.0\n2.5 56.8\n# off\n3.5 -53.4\n# off and on\n4.5 0.125\n", "x"),
        (
            "when,x\n2020-01-01 10:00,55.0\n2020-01-01 11:00,56.8\n2020-01-02 10:00,-53.4\n2020-01-03 10:00,0.125\n",
            None,
        ),
        ("first last\tx\nAnn Lee\t55.0\nBob Ray\t56.8\nCy Orr\t-53.4\nDi Ash\t0.125\n", "x"),
        ("max temp,x\n1,55.0,a b\n2,56.8,a c\n3,-53.4,b c\n4,0.125,d e\n", "max temp"),
        ("waiting minutes\n55.0\n56.8\n-53.4\n0.125\n", None),
    ],
)
def test_csv_of_many_kinds_is_read_alike(of, content, column):
    assert of(content, column=column) == NUMBERS


@pytest.mark.parametrize(
    ("content", "given"),
    [
        ("55.0,1\n56.8,2\n-53.4,3\n0.125,4\n", {"header": "none", "column": 0}),
        ("55.0\n56.8\n-53.4\n0.125\n", {"header": "none"}),
        ("55,0\n56,8\n-53,4\n0,125\n", {"header": "none", "decimal": "comma"}),
        ("1\n55\n", {"header": "first"}),
        ("1,234;5\n2,345;6\n", {"header": "none", "decimal": "comma", "column": 0}),
        ("x\n1,5\n2,5\n3,5\n", {"decimal": ","}),
        ("a,b\n#1,2\n3,4\n", {"comment": "#", "column": "b"}),
        ("a,b\n#1,2\n3,4\n", {"comment": None, "column": "b"}),
        ("a,b;c\n1,2;3\n", {"delimiter": "semicolon", "column": "c"}),
        ("x\n% a remark\n1\n", {"comment": "%"}),
        ("55.0 1\n56.8 2\n-53.4 3\n0.125 4\n", {"header": "none", "column": 0}),
        ("x\nred 55.0\nred 56.8\nblue -53.4\nblue 0.125\n", {"delimiter": "whitespace"}),
    ],
)
def test_what_is_in_doubt_can_be_said(of, content, given):
    expected = {
        "1\n55\n": [55.0],
        "1,234;5\n2,345;6\n": [1.234, 2.345],
        "x\n1,5\n2,5\n3,5\n": [1.5, 2.5, 3.5],
        "a,b\n#1,2\n3,4\n": [4.0] if given.get("comment") else [2.0, 4.0],
        "a,b;c\n1,2;3\n": [3.0],
        "x\n% a remark\n1\n": [1.0],
    }
    assert of(content, **given) == expected.get(content, NUMBERS)


@pytest.mark.parametrize(
    ("content", "given", "says"),
    [
        ("1.5\n2.5\n", {}, "data.header=none .* data.header=first"),
        ("2019,2020\n1,2\n", {}, "data.header=none"),
        ("0,1\n0,1\n1,0\n", {"column": "0"}, "data.header=none"),
        ("Ann,5.1\nBob,4.9\n", {}, "some of which are numbers"),
        ("x\n1,5\n2,5\n3,5\n", {}, "data.decimal=comma"),
        ("x;y\n1,234;5\n2,345;6\n", {"column": "x"}, "'1,234', which may be thousands"),
        ("x;y\n1,5;5\n2.5;6\n", {"column": "x"}, r"'1,5' and '2\.5'"),
        ("x;y\n1.234,5;5\n", {"column": "x"}, r"separators of thousands, but got '1\.234,5'"),
        ("x;y\n1.5;5\n", {"column": "x", "decimal": "comma"}, r"both, as in '1\.5'"),
        ("a,b;c\nd,e;f\n", {}, "comma and semicolon"),
        ("a,b\n#1,2\n3,4\n", {"column": "b"}, "in doubt, the first in row 1"),
        ("x,y\n1,2\n3\n", {"column": "x"}, "Expected 2 columns, got 1: 3"),
        ("x,y,z,z\n1,2,3,4\n", {}, r"these arguments: data\.column=x  data\.column=y  'data\.columns=\[x,y\]'"),
        ("grün,y,y\n1,2,3\n", {}, "these arguments: 'data.column=\"grün\"'$"),
        ("a,b\nx,y\n", {}, "a, b, none of which has numbers alone"),
        ("a,b\n", {}, r"numbers, one per row, but got none below the names a, b\. Choose another file\.$"),
        ("x\n1\n# a\n", {"comment": None}, "'# a', which is text"),
        ("length\n12 mm\n13 mm\n", {}, "'12 mm', which is text"),
        ("people\n1 234\n2 345\n", {}, "'1 234', which is text"),
        ("city people\nParis 2 148\nLyon 1 516\n", {"column": "people"}, "data.column: .*city people"),
        ("1,5 2,5\n3,5 4,5\n", {"header": "none", "column": 0}, "comma and whitespace"),
        ("city;so many people\nParis;2 148 000\nLyon;1 516 000\n", {}, "semicolon and whitespace"),
        ("x y\n1 2\n3\n", {"delimiter": "whitespace", "column": "x"}, "Expected 2 columns, got 1: 3"),
        ("x\n1\n", {"delimiter": "dot"}, "data.delimiter: .*comma, semicolon, tab, bar, whitespace"),
        ("x\n1\n", {"decimal": "dot"}, "data.decimal: .*point, comma"),
        ("x\n1\n", {"header": "second"}, "data.header: .*auto, first, none"),
        ("x\n1\n", {"missing": "ignore"}, "data.missing: .*error, drop"),
        ("# nothing\n\n", {}, "no rows"),
    ],
)
def test_what_is_in_doubt_is_refused_with_the_words_to_add(of, content, given, says):
    with pytest.raises(InputError, match=says):
        of(content, **given)


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16", b""),
        ("utf-16-le", b""),
        ("utf-16-be", b""),
        ("cp1252", b""),
    ],
)
def test_encodings(of, encoding, mark):
    content = "Größe,Name\n55.0,Åsa\n56.8,é\n-53.4,b\n0.125,“c”\n"
    assert of(mark + content.encode(encoding), column="Größe") == NUMBERS


def test_packed_text(of):
    content = b"x\n55.0\n56.8\n-53.4\n0.125\n"
    assert of(gzip.compress(content), suffix=".csv.gz") == NUMBERS
    assert of(pa.compress(content, "zstd", asbytes=True), suffix=".tsv.zst") == NUMBERS
    with pytest.raises(InputError, match=r"a readable \.csv\.gz file"):
        of(gzip.compress(content)[:-9], suffix=".csv.gz")
    with pytest.raises(InputError, match=r"a readable \.csv\.gz file"):
        of(content, suffix=".csv.gz")


def test_line_breaks_in_cells_beyond_any_block(of):
    rows = 20_000
    content = "id,note,x\n" + "".join(f'{row},"{"z" * 60}\nbroken, with a comma",{row / 8}\n' for row in range(rows))
    assert of(content, column="x") == [row / 8 for row in range(rows)]
    long = "line\n" * 300_000
    assert of(f'note,x\n"short",1.5\n"{long}",2.5\n', column="x") == [1.5, 2.5]
    rows = [f'{row / 8},"{"a" * 100_000}"\n' for row in range(30)]
    assert of(f"x,note\n{''.join(rows)}") == [row / 8 for row in range(30)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("note", {5: '"a'}),
        ("note", {5: '"12 inch', 60: '"14 inch'}),
        ("note", {98: '"a'}),
        ('"s', {1: '"ok'}),
    ],
)
def test_a_quote_that_swallows_rows_is_refused(of, name, notes, end):
    rows = [f"{row / 8},{notes.get(row, 'b')}" for row in range(100)]
    line = 2 if name == '"s' else min(notes) + 3
    with pytest.raises(InputError, match=f"got one without it in line {line}, which"):
        of(end.join(["# of somebody", f"x,{name}", *rows]).encode(), column="x", comment="#")


@pytest.mark.parametrize("note", ['"a\nb"', '"a\n""b"" "', '"a\nb"  ', 'b"', '5" pipe', '"a" b'])
def test_a_quote_that_swallows_none_is_none_of_our_business(of, note):
    rows = [f"{row / 8},{note if row == 5 else 'b'}" for row in range(100)]
    assert of('# a "b\nx,"note\nand more"\n' + "\n".join(rows), column="x") == [row / 8 for row in range(100)]


def test_whole_numbers_whose_decimals_come_late(of):
    values = [*range(60_000), 0.5]
    assert of("x\n" + "\n".join(map(str, values))) == values


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=5), st.floats(-1e6, 1e6)),
        min_size=2,
        max_size=8,
    ),
    st.sampled_from(",;\t|"),
    st.booleans(),
)
def test_what_pandas_writes_is_read_back(tmp_path_factory, rows, delimiter, index):
    frame = pd.DataFrame(rows, columns=["text", "x"])
    path = tmp_path_factory.getbasetemp() / "pandas.csv"
    frame.to_csv(path, sep=delimiter, index=index)
    np.testing.assert_array_equal(read(path, column="x", comment=None, delimiter=delimiter).data, frame.x)


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=5), st.floats(-1e6, 1e6)),
        min_size=2,
    ),
    st.sampled_from([" ", "\t ", "   \t"]),
)
def test_texts_in_quotes_keep_their_blanks_as_in_what_r_writes(tmp_path_factory, rows, blanks):
    path = tmp_path_factory.getbasetemp() / "of_r.txt"
    cells = [[f'"{text.replace(chr(34), 2 * chr(34))}"', repr(x)] for text, x in rows]
    path.write_text("".join(f"{blanks.join(row)} \n" for row in (['"text"', '"x"'], *cells)))
    np.testing.assert_array_equal(
        read(path, column="x", comment=None, delimiter="whitespace").data, [x for _, x in rows]
    )


@given(st.binary(max_size=60) | st.text(alphabet='1.5,; \t|"\n\r# aé', max_size=40).map(str.encode))
def test_whatever_a_file_has_it_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert np.isfinite(read(path).data).all()


def test_missing_values_are_refused_or_dropped_and_their_rows_kept_in_mind(tmp_path):
    path = tmp_path / "gaps.csv"
    path.write_text("x\n\n1\nNA\n-999\n2\n#N/A\n\n")
    codes = ["NA", -999, "#N/A"]
    with pytest.raises(InputError, match=r"5 of 7 rows with a missing value, the first in row 1\..*data\.missing=drop"):
        read(path, missing_codes=codes)
    found = read(path, missing="drop", missing_codes=codes)
    assert found.data.tolist() == [1.0, 2.0]
    assert found.rows is not None
    assert (found.rows.tolist(), found.n_rows) == ([1, 4], 7)
    assert (
        datasets.left_out(len(found.data), found.n_missing, found.n_incomplete)
        == " (5 of 7 rows without a value are left out)"
    )
    assert datasets.describe(found)["n_missing"] == 5
    assert read(path, missing="drop").data.tolist() == [1.0, -999.0, 2.0]
    path.write_text("x,y\n1,a\n\n3,c\n\n")
    with pytest.raises(InputError, match=r"1 of 3 rows .* row 2"):
        read(path)


def test_a_row_without_a_weight_is_missing_too_and_infinity_is_not(tmp_path):
    path = tmp_path / "weighted.csv"
    path.write_text("x,w\n1,2\n2,\n3,4\n")
    found = read(path, column="x", weights_column="w", missing="drop")
    assert (found.data.tolist(), found.counts.tolist()) == ([1.0, 3.0], [2.0, 4.0])
    path.write_text("x\n1\ninf\n")
    with pytest.raises(InputError, match="1 that are infinite, the first in row 2"):
        read(path, missing="drop")


def test_names(tmp_path):
    (tmp_path / "two.csv").write_text("a,b\n1,2\n3,4\n")
    names = [(one.name, one.column) for one in (read(tmp_path / "two.csv", column=name) for name in "ab")]
    assert names == [("a", "a"), ("b", "b")]
    np.save(tmp_path / "plain.npy", np.arange(6.0).reshape(3, 2))
    assert read(tmp_path / "plain.npy", column=1).name == "plain, column 1"
    np.save(tmp_path / "one.npy", np.arange(3.0))
    assert read(tmp_path / "one.npy").name == "one"
    assert read(tmp_path / "one.npy", name="mine").name == "mine"


KINDS = {
    "float32": pa.array([1.5, None, 3.0], pa.float32()),
    "half": pa.array(np.array([1.5, 0, 3.0], np.float16), mask=np.array([False, True, False])),
    "whole": pa.array([2**60, None, 3], pa.int64()),
    "decimal": pa.array([decimal.Decimal("56.80"), None, decimal.Decimal("3.00")]),
    "dictionary": pa.array([1.5, None, 3.0]).dictionary_encode(),
    "text": pa.array(["56.8", None, "3"]),
    "nan": pa.array([1.5, float("nan"), 3.0]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_columns_with_types(tmp_path, kind, suffix):
    table, path = pa.table({"name": ["a", "b", "c"], "x": KINDS[kind]}), tmp_path / f"typed{suffix}"
    if suffix == ".parquet":
        if kind == "half":
            parquet.write_table(table, path, version="2.6")
        parquet.write_table(table, path)
    elif suffix == ".feather":
        feather.write_feather(table, path)
    else:
        with path.open("wb") as stream, ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
    first = {"whole": float(2**60), "decimal": 56.8, "text": 56.8}.get(kind, 1.5)
    found = read(path, column="x" if kind == "text" else None, missing="drop")
    assert found.data.tolist() == [first, 3.0]
    assert found.n_rows == 3


@pytest.mark.parametrize(
    "written",
    [
        lambda table, path: table.to_csv(path / "x.csv", index=False),
        lambda table, path: table.to_csv(path / "x.csv.gz", index=False),
        lambda table, path: table.to_csv(path / "x.csv", index=False, encoding="utf-16"),
        lambda table, path: (path / "x.txt").write_text("x   y\n 1   2\n10  20\n"),
        lambda table, path: table.to_parquet(path / "x.parquet"),
        lambda table, path: table.to_feather(path / "x.feather"),
    ],
    ids=["csv", "gz", "utf-16", "blanks", "parquet", "feather"],
)
def test_arrow_reads_memory_of_its_own(tmp_path, monkeypatch, written):
    """Its threads, which let go of it late, aborted the process with Python's memory when Python was ending then."""
    written(pd.DataFrame({"x": NUMBERS, "y": NUMBERS}), tmp_path)
    (path,) = tmp_path.iterdir()
    sources, pythons, wrap = [], [], pa.py_buffer
    readers = [(csv, "read_csv"), (feather, "read_table"), (ipc, "open_stream")]
    for module, name in [*readers, (parquet, "ParquetFile"), (parquet, "read_table")]:
        own = getattr(module, name)

        def recorded(source: Any, *rest: Any, own: Any = own, **given: Any) -> Any:
            sources.append(source)
            return own(source, *rest, **given)

        monkeypatch.setattr(module, name, recorded)
    monkeypatch.setattr(pa, "py_buffer", lambda content: pythons.append(wrap(content)) or pythons[-1])
    assert len(read(path, column="x").data) > 1
    if path.suffix in (".csv", ".parquet"):
        with contextlib.suppress(InputError):  # UTF-16, which no record has
            read_columns(path)
    assert sources
    for source in sources:
        assert type(source) in (pa.OSFile, pa.Buffer)
        if isinstance(source, pa.Buffer):
            assert not any(one.address <= source.address < one.address + max(one.size, 1) for one in pythons)


def test_a_folder_of_parts_is_one_table(tmp_path):
    folder = tmp_path / "out.parquet"
    folder.mkdir()
    for number, values in enumerate(([1, 2], [3], [4, 5])):
        kind = pa.int32() if number else pa.int64()
        parquet.write_table(pa.table({"x": pa.array(values, kind)}), folder / f"part-{number}.parquet")
    (folder / "_SUCCESS").touch()
    (folder / "_metadata.parquet").write_text("nothing to read")
    assert read(folder).data.tolist() == [1, 2, 3, 4, 5]
    (tmp_path / "empty").mkdir()
    os.mkfifo(folder / "part-9.parquet")
    with pytest.raises(InputError, match=r"part-9\.parquet, a pipe"):
        read(folder)
    with pytest.raises(InputError, match="a folder without any"):
        read(tmp_path / "empty")
    (folder / "part-9.parquet").unlink()
    parquet.write_table(pa.table({"y": [1.0, 2.0]}), folder / "part-9.parquet")
    with pytest.raises(InputError, match=r"parts of one table, .*part-9\.parquet, which has no column 'x'"):
        read(folder)


@pytest.mark.parametrize("column", [pa.array([True, False]), pa.array([[1.0], [2.0]]), pa.array([0, 1], pa.date32())])
def test_what_is_no_number_is_refused(tmp_path, column):
    parquet.write_table(pa.table({"x": column}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="expected finite numbers"):
        read(tmp_path / "x.parquet")


def npy(shape: str, data: bytes = b"", *, end: str = "}") -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, {end}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


ARCHIVE = io.BytesIO()
np.savez(ARCHIVE, x=np.ones(3))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "a readable .npy file"),
        (ARCHIVE.getvalue(), "a readable .npy file"),
        (npy("(40,", end=""), "a readable .npy file"),
        (npy("(10000000000000,)"), "a readable .npy file"),
        (npy("(100000000000000000000000,)"), "a readable .npy file"),
        (npy("(3,)", b"\0" * 16), "a readable .npy file"),
        (npy("(0, 10000000000)"), "no rows"),
        (npy("()", b"\0" * 8), r"shape \(\)"),
    ],
)
def test_arrays_that_are_not_what_they_say(of, content, says):
    with pytest.raises(InputError, match=says):
        of(content, suffix=".npy")


def test_arrays(of):
    assert of(npy("(2, 2)", struct.pack("<4d", 1, 2, 3, 4)), suffix=".npy", column=1) == [2.0, 4.0]


def test_a_suffix_in_capitals_is_read(of):
    assert of("x\n1\n2\n", suffix=".CSV") == [1.0, 2.0]


def test_a_missing_file_names_those_beside_it(tmp_path):
    for name in ("waiting.csv", "wading.csv", "galaxies.csv"):
        (tmp_path / name).write_text("x\n1\n")
    (tmp_path / "waitings").mkdir()
    with pytest.raises(
        InputError,
        match=rf"Did you mean {tmp_path / 'waiting.csv'} or {tmp_path / 'wading.csv'} or [^ ]*galaxies.csv\?",
    ) as raised:
        read(tmp_path / "waitings.csv")
    assert raised.value.where == "data.path"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".npy", ".parquet", ".arrow"])
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(InputError, match="a pipe or a device"):
            read(tmp_path / f"{name}{suffix}")


def test_an_index_that_leads_out_of_a_feather_file_is_refused(tmp_path):
    column = pa.array(["1.5", "2.5"] * 20).dictionary_encode()
    feather.write_feather(pa.table({"x": column}), tmp_path / "a.feather", compression="uncompressed")
    content = (tmp_path / "a.feather").read_bytes()
    indices = np.asarray(column.indices).tobytes()
    assert content.count(indices) == 1
    (tmp_path / "a.feather").write_bytes(content.replace(indices, indices[:-4] + b"\xff\xff\xff\x0f"))
    with pytest.raises(InputError, match=r"readable \.feather file"):
        read(tmp_path / "a.feather")


def test_a_nan_that_signals_is_a_missing_value(tmp_path):
    np.save(tmp_path / "a.npy", np.array([0x7F800001, 0x3F800000, 0x40000000], np.uint32).view(np.float32))
    assert read(tmp_path / "a.npy", missing="drop").data.tolist() == [1.0, 2.0]


def test_what_holds_no_data_is_not_proposed(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    with pytest.raises(InputError, match="Paths are relative to the current folder"):
        read(tmp_path / "nofile.csv")
