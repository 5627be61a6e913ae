"""Tables that are read in batches into a temporary file: what is read is what reading at once gives."""

from collections import namedtuple
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from omegaconf import OmegaConf
from pyarrow import parquet

from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import datasets, spooled, tables

KEYS: Any = OmegaConf.to_container(OmegaConf.load(config_directory() / "data" / "file.yaml"))
RNG = np.random.default_rng(2)
A, B = RNG.normal(size=(2, 100))
WEIGHTS = RNG.integers(1, 4, 100)
GAPS = np.where(np.arange(100) % 7 == 3, np.nan, A)


@pytest.fixture(autouse=True)
def short_batches(monkeypatch):
    monkeypatch.setattr(tables, "ROWS_OF_A_BATCH", 16)


@pytest.fixture
def folder(tmp_path):
    """Three parts of a table, the last of them empty."""
    table = pa.table({"a": A, "b": B.astype(np.float32), "w": WEIGHTS, "gaps": GAPS, "text": ["x"] * 100})
    (tmp_path / "parts").mkdir()
    for number, rows in enumerate((table[:50], table[50:], table[:0])):
        parquet.write_table(rows, tmp_path / "parts" / f"{number}.parquet", row_group_size=20)
    return tmp_path / "parts"


def read(path, in_memory, **given):
    keys = {**KEYS, "path": str(path), "in_memory": in_memory, **given}
    return datasets.from_file(**{name: value for name, value in keys.items() if name != "_target_"})


@pytest.mark.parametrize(
    "given",
    [
        {"column": "b"},
        {"columns": ["b", "a"], "weights_column": "w"},
        {"column": "gaps", "weights_column": "w", "missing": "drop"},
        {"columns": ["a", "gaps"], "missing": "drop"},
        {"columns": ["a", "gaps"], "missing": "marginalise"},
    ],
    ids=["one", "weighted", "gaps", "rows with gaps", "incomplete"],
)
def test_batches_are_the_whole(folder, given):
    whole, mapped = read(folder, 1.0, **given), read(folder, 0.0, **given)
    assert isinstance(mapped.data, np.memmap) and not isinstance(whole.data, np.memmap)
    for one, other in zip(whole, mapped, strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other, strict=True)
        else:
            assert one == other
    assert whole.digest == mapped.digest


def test_whole_numbers_of_npy_are_read_in_batches(tmp_path):
    np.save(tmp_path / "whole.npy", np.stack([WEIGHTS, np.arange(100)], axis=1))
    mapped = read(tmp_path / "whole.npy", 0.0)
    assert isinstance(mapped.data, np.memmap)
    np.testing.assert_array_equal(mapped.data, read(tmp_path / "whole.npy", 1.0).data)


def test_an_array_of_many_floats_is_used_where_it_lies(tmp_path, monkeypatch):
    for module in ("cells", "columns"):
        monkeypatch.setattr(f"gmm_pipeline.records.{module}.MANY", 50)
    both = np.stack([A, B], axis=1).astype(np.float32)
    np.save(tmp_path / "both.npy", both)
    found = read(tmp_path / "both.npy", 0.0).data
    assert isinstance(found, np.memmap) and found.dtype == np.float32 and not found.flags.writeable
    np.testing.assert_array_equal(found, both)
    alone = read(tmp_path / "both.npy", 0.0, column="1").data
    assert isinstance(alone, np.memmap) and alone.base is not None
    np.testing.assert_array_equal(alone, both[:, 1])
    both[70, 1] = np.nan
    np.save(tmp_path / "gaps.npy", both)
    gaps = read(tmp_path / "gaps.npy", 1.0, missing="drop")
    assert gaps.n_missing == 1 and gaps.data.dtype == np.float64


def test_columns_of_text_are_read_at_once(tmp_path):
    parquet.write_table(pa.table({"a": ["1,5", "2,5", "3"]}), tmp_path / "text.parquet")
    assert read(tmp_path / "text.parquet", 0.0).data.tolist() == [1.5, 2.5, 3.0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"column": "gaps"}, "a missing value in row 4"),
        ({"columns": ["a", "gaps"]}, "a missing value in row 4, column 'gaps'"),
        ({"column": "a", "in_memory": 2}, "a number from 0 to 1"),
        ({"column": "text"}, "'x', which is text"),
    ],
    ids=["gaps", "gaps of two", "share", "text"],
)
def test_what_cannot_be_read_is_refused_in_words(folder, given, says):
    with pytest.raises(InputError, match=says):
        read(folder, **{"in_memory": 0.0, **given})


def test_an_infinite_number_is_refused_with_its_row(tmp_path):
    parquet.write_table(pa.table({"a": np.where(np.arange(100) == 40, np.inf, A)}), tmp_path / "infinite.parquet")
    with pytest.raises(InputError, match="infinite, the first in row 41"):
        read(tmp_path / "infinite.parquet", 0.0)


def test_only_missing_values_are_refused(tmp_path):
    parquet.write_table(pa.table({"a": np.full(40, np.nan)}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="only missing values"):
        read(tmp_path / "none.parquet", 0.0, missing="drop")


def test_a_folder_without_room_is_refused_before_anything_is_written(folder, monkeypatch):
    monkeypatch.setattr(spooled.shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(100))
    with pytest.raises(InputError, match="TMPDIR"):
        read(folder, 0.0, column="a")
