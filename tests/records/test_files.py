import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyarrow import csv, parquet

from gmm_pipeline.errors import InputError
from gmm_pipeline.records import files, json_files

FLOATS = arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(allow_nan=False, allow_infinity=False))


def test_what_a_library_says_ends_with_one_full_stop(tmp_path):
    with pytest.raises(InputError, match=r"but got ValueError: not a table\. Open the file"), files.readable(tmp_path):
        raise ValueError("not a table.")


def test_an_error_names_the_file_and_not_its_beginning(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as raised, files.whole_file(tmp_path / "file" / "x.json"):
        pass
    assert Path(raised.value.filename).name in ("file", "x.json")


def test_whole_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "result.bin"
    with files.whole_file(path) as stream:
        stream.write(b"all of it")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert [entry.name for entry in path.parent.iterdir()] == ["result.bin"]


@given(st.binary(max_size=50), st.sampled_from([ValueError, KeyboardInterrupt, SystemExit]))
def test_what_is_interrupted_leaves_the_file_as_it_was(tmp_path_factory, content, interruption):
    path = tmp_path_factory.mktemp("folder") / "result.bin"
    path.write_bytes(b"before")
    with pytest.raises(interruption), files.whole_file(path) as stream:
        stream.write(content)
        raise interruption
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in path.parent.iterdir()] == ["result.bin"]


def test_what_a_killed_process_left_of_a_file_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "result.bin"
    abandoned, others = tmp_path / ".result.bin.0123abcd", tmp_path / ".result.bin.of mine"
    for file in (abandoned, others):
        file.write_bytes(b"half of it")
    with files.whole_file(path) as first:
        first.write(b"the first of two")
        first.flush()
        files.write_text(path, "the second")
    assert path.read_bytes() == b"the first of two"
    assert set(tmp_path.iterdir()) == {path, others}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_results_are_as_readable_as_other_files(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "result.txt", "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result.txt").stat().st_mode) == mode


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_json_comes_back_as_it_was(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("folder") / "content.json"
    files.write_json(path, content)
    assert json_files.read_json(path) == content
    assert json.loads(path.read_text(encoding="utf-8")) == content


def test_json_takes_numpy_and_has_null_for_what_is_not_finite(tmp_path):
    content = {
        "array": np.array([[1.5, np.nan], [np.inf, -np.inf]]),
        "number": np.float32(0.5),
        "count": np.int64(3),
        "flag": np.bool_(True),
        "pair": (math.nan, 2),
        "inner": {"µ": -math.inf},
    }
    files.write_json(tmp_path / "content.json", content)
    text = (tmp_path / "content.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=lambda constant: pytest.fail(constant)) == {
        "array": [[1.5, None], [None, None]],
        "number": 0.5,
        "count": 3,
        "flag": True,
        "pair": [None, 2],
        "inner": {"µ": None},
    }
    assert "µ" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@given(numbers=FLOATS, data=st.data())
def test_columns_come_back_to_the_last_bit(tmp_path_factory, suffix, numbers, data):
    integers = data.draw(arrays.arrays(np.int32, len(numbers)))
    path = tmp_path_factory.mktemp("folder") / f"columns.{suffix}"
    files.write_columns(path, {"number": numbers, "whole": integers})
    for read in (files.read_columns(path), dict(zip(("number", "whole"), _by_pyarrow(path).columns, strict=True))):
        assert list(read) == ["number", "whole"]
        np.testing.assert_array_equal(np.asarray(read["number"].to_numpy(), np.float64), numbers)
        np.testing.assert_array_equal(read["whole"].to_numpy(), integers)


def _by_pyarrow(path: Path) -> pa.Table:
    return csv.read_csv(path) if path.suffix == ".csv" else parquet.read_table(path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_that_are_views_are_written_in_order(tmp_path, suffix):
    table = np.arange(12.0).reshape(6, 2)
    files.write_columns(tmp_path / f"views.{suffix}", {"second": table[:, 1], "reversed": table[::-1, 0]})
    read = _by_pyarrow(tmp_path / f"views.{suffix}")
    assert read["second"].to_pylist() == [1, 3, 5, 7, 9, 11]
    assert read["reversed"].to_pylist() == [10, 8, 6, 4, 2, 0]


@given(st.lists(st.tuples(st.none() | st.text(max_size=6), st.none() | st.integers(-9, 9)), max_size=20))
def test_what_is_missing_is_null(tmp_path_factory, rows):
    texts, numbers = [row[0] for row in rows], [row[1] for row in rows]
    masked = np.ma.array([0 if number is None else number for number in numbers], dtype=np.int64)
    masked.mask = [number is None for number in numbers]
    path = tmp_path_factory.mktemp("folder") / "columns.parquet"
    files.write_columns(path, {"text": texts, "number": masked})
    assert parquet.read_table(path).to_pydict() == {"text": texts, "number": numbers}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_truth_values_come_back(tmp_path, suffix):
    written = np.arange(21) % 3 == 1
    files.write_columns(tmp_path / f"truths.{suffix}", {"truth": written})
    assert files.read_columns(tmp_path / f"truths.{suffix}")["truth"].to_pylist() == written.tolist()


@pytest.mark.parametrize("name", ["draws.txt", "draws", "draws.csv.gz"])
def test_columns_are_written_as_parquet_or_csv_alone(tmp_path, name):
    with pytest.raises(InputError, match=r"ends in \.parquet or \.csv"):
        files.write_columns(tmp_path / name, {"x": np.ones(2)})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", True), ("-1.5e3", True), (" 2 ", True), ("nan", True), ("", False), ("x", False), ("1,5", False)],
)
def test_what_reads_as_a_number(text, number):
    assert files.is_number(text) is number
