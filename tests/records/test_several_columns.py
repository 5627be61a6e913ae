"""Several columns of a file: chosen, read alike from every format, and refused with the name of the column."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import ROUNDING_64
from omegaconf import OmegaConf
from pyarrow import csv, feather, parquet

from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import Mixture, MultivariateMixture
from gmm_pipeline.records import datasets

KEYS: Any = OmegaConf.to_container(OmegaConf.load(config_directory() / "data" / "file.yaml"))
RANDOM = np.random.default_rng(5)
NUMBERS = RANDOM.normal([3.0, 70.0, -5.0], [1.0, 13.0, 2.0], (40, 3))
NAMES = ("length", "the width", "2")
WRITE = {
    "csv": lambda path, table: csv.write_csv(table, path),
    "parquet": lambda path, table: parquet.write_table(table, path),
    "feather": lambda path, table: feather.write_feather(table, path),
}


def read(path: Path, **given: Any) -> datasets.Dataset:
    keys = {**KEYS, "path": str(path), **given}
    return datasets.from_file(**{name: value for name, value in keys.items() if name != "_target_"})


def refusal(path: Path, **given: Any) -> InputError:
    """Of the file itself, or of a fit to it."""
    with pytest.raises(InputError) as raised:
        datasets.check_can_be_fitted(read(path, **given), path.name)
    return raised.value


@pytest.fixture
def table(tmp_path: Path):
    """A file with some columns."""

    def written(suffix: str = "csv", **columns: Any) -> Path:
        path = tmp_path / f"table.{suffix}"
        WRITE[suffix](path, pa.table({name: pa.array(values) for name, values in columns.items()}))
        return path

    return written


@pytest.mark.parametrize("suffix", WRITE)
def test_columns_are_read_in_the_order_of_their_names(table, suffix):
    path = table(suffix, label=["a"] * 40, **dict(zip(NAMES, NUMBERS.T, strict=True)))
    found = read(path, columns=["2", "length"])
    np.testing.assert_array_equal(found.data, NUMBERS[:, [2, 0]])
    assert (found.columns, found.column, found.name, found.counts.tolist()) == (
        ("2", "length"),
        None,
        "table",
        [1.0] * 40,
    )
    assert found.digest == hashlib.sha256(NUMBERS[:, [2, 0]].astype("<f8").tobytes()).hexdigest()
    assert datasets.taken_columns(found) == []
    everything = read(path, header="first")
    np.testing.assert_array_equal(everything.data, NUMBERS)
    assert datasets.taken_columns(everything) == [
        f"columns length, the width, 2 of table.{suffix}: all that are numeric; "
        "choose with 'data.columns=[length,\"the width\"]'"
    ]
    described = datasets.describe(everything)
    assert json.loads(json.dumps(described)) == described
    assert (described["columns"], described["column"], described["n_data"]) == (list(NAMES), None, 40)


def test_an_array_has_numbered_columns(tmp_path):
    path = tmp_path / "array.npy"
    np.save(path, np.asfortranarray(NUMBERS))
    np.testing.assert_array_equal(read(path, columns=[2, 0]).data, NUMBERS[:, [2, 0]])
    found = read(path)
    np.testing.assert_array_equal(found.data, NUMBERS)
    assert (found.columns, found.name) == (("0", "1", "2"), "array")
    np.save(path, NUMBERS[:, :1])
    assert read(path).data.shape == (40,)


def test_columns_without_any_value_are_not_taken(tmp_path):
    empty = {"void": pa.nulls(40, pa.float64()), "nothing": pa.nulls(40)}
    columns = {"a": NUMBERS[:, 0], **empty, "b": NUMBERS[:, 1]}
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet").columns == ("a", "b")
    assert "column 'void' has 40, the most. Leave that column out." in str(
        refusal(tmp_path / "x.parquet", columns=["a", "void"], missing="drop")
    )


def test_a_column_that_counts_the_rows_is_told_unless_it_was_named(table):
    columns = {"Id": [*range(5, 5 + len(NUMBERS))], "a": NUMBERS[:, 0].tolist(), "b": NUMBERS[:, 1].tolist()}
    (said,) = datasets.doubts_about_row_numbers(read(table(**columns)))
    assert said.startswith("Column Id counts the rows") and said.endswith("leave it out: 'data.columns=[a,b]'")
    assert datasets.doubts_about_row_numbers(read(table(**columns), columns=["Id", "a"])) == []
    columns["a"][3] = None
    (said,) = datasets.doubts_about_row_numbers(read(table(**columns), missing="drop"))
    assert said.startswith("Column Id counts the rows")
    columns["Id"][7] = 0
    assert datasets.doubts_about_row_numbers(read(table(**columns), missing="drop")) == []


def test_one_name_is_one_column(table):
    path = table(a=[1.0, 2.0], b=[3.0, 5.0])
    for given in ({"columns": ["b"]}, {"columns": ["b"], "column": None}):
        assert read(path, **given)._replace(data=0) == read(path, column="b")._replace(data=0)
        assert read(path, **given).data.tolist() == [3.0, 5.0]
    assert "columns" not in datasets.describe(read(path, columns=["b"]))
    assert read(path, columns=["b, a"]).data.tolist() == [[3.0, 1.0], [5.0, 2.0]]


def test_sample_weights_are_no_column(table):
    found = read(table(a=[1.0, 2.0, 4.0], w=[1.0, 0.0, 2.0], b=[3.0, 5.0, 9.0]), weights_column="w")
    assert (found.columns, found.data.tolist()) == (("a", "b"), [[1.0, 3.0], [2.0, 5.0], [4.0, 9.0]])
    assert found.counts.tolist() == [1.0, 0.0, 2.0]
    assert read(table(a=[1.0, 2.0], w=[1.0, 2.0]), weights_column="w").data.tolist() == [1.0, 2.0]


def test_a_row_with_a_missing_cell_is_refused_or_dropped(table):
    path = table(a=[1.0, 2.0, None, 4.0], b=[3.0, 5.0, None, None], c=[2.0, 1.0, 1.0, 1.0])
    said = str(refusal(path))
    assert f"{path}: expected finite numbers, but got 2 of 4 rows with a missing value, the first in row 3" in said
    assert "row 3, column 'a'. " in said
    found = read(path, missing="drop")
    assert found.data.tolist() == [[1.0, 3.0, 2.0], [2.0, 5.0, 1.0]]
    assert found.rows is not None
    assert (found.rows.tolist(), datasets.describe(found)["n_missing"]) == ([0, 1], 2)
    said = str(refusal(table(a=[1.0, None, None], b=[None, 2.0, 3.0]), missing="drop"))
    assert "a missing value in every row; column 'a' has 2, the most" in said


def test_rows_that_have_some_cells_are_kept_and_counted(table):
    path = table(a=[1.0, None, None, 4.0, 7.0], b=[None, 5.0, None, 2.0, 3.0], w=[1.0, 2.0, 3.0, 4.0, None])
    found = read(path, missing="marginalise", columns=["a", "b"])
    np.testing.assert_array_equal(found.data, [[1.0, np.nan], [np.nan, 5.0], [4.0, 2.0], [7.0, 3.0]])
    described = datasets.describe(found)
    assert (described["n_data"], described["n_incomplete"], described["n_missing"]) == (4, 2, 1)
    said = "1 of 5 rows without a value are left out; 2 of 4 rows have missing cells"
    assert datasets.left_out(len(found.data), found.n_missing, found.n_incomplete) == f" ({said})"
    weighted = read(path, missing="marginalise", weights_column="w")
    assert (weighted.rows.tolist(), weighted.counts.tolist()) == ([0, 1, 3], [1.0, 2.0, 4.0])  # pyright: ignore[reportOptionalMemberAccess]
    one = read(path, missing="marginalise", column="a")
    assert one.data.tolist() == [1.0, 4.0, 7.0]
    nothing = table(a=[None, None], b=[None, None])
    assert "only missing values" in str(refusal(nothing, missing="marginalise", columns=["a", "b"]))


def test_checks_of_columns_use_the_cells_that_are_there(table):
    gone = {"missing": "marginalise"}
    found = refusal(table(a=[1.0, None, 1.0, 1.0], b=[3.0, 5.0, None, 2.0]), **gone)
    assert "column 'a': expected at least two different values, but got 3 rows that are all 1" in str(found)
    found = refusal(table(a=[1.0, None, 3.0, 4.0, 7.0], b=[3.0, 5.0, None, 9.0, 15.0], c=[1, 2, 2, 1, 1]), **gone)
    assert "columns 'a' and 'b'" in str(found)
    assert "a second that is 2 times the first +1." in str(found)
    apart = read(table(a=[1.0, None, 3.0, None, 2.0], b=[None, 5.0, None, 9.0, None]), **gone)
    datasets.check_can_be_fitted(apart, "apart")
    assert "no row of table has both a and b" in datasets.why_singular(apart)


@pytest.mark.parametrize(
    ("columns", "given", "where", "says"),
    [
        ({"a": [1, 2], "t": ["x", "y"]}, {"columns": ["a", "t"]}, "table.csv, column 't'", "'x', which is text"),
        ({"a": [1, 2], "b": ["1", "inf"]}, {}, "table.csv, column 'b'", "1 that are infinite, the first in row 2"),
        ({"a": [1, 2], "b": [3, 3]}, {}, "table.csv, column 'b'", "2 rows that are all 3"),
        (
            {"a": [1, 2, 9], "b": [3, 3, 4], "w": [1, 1, 0]},
            {"weights_column": "w"},
            "table.csv, column 'b'",
            "2 rows that are all 3",
        ),
        ({"a": [1, 2, 4], "b": [9, 1, 3], "c": [1, 2, 4]}, {}, "columns 'a' and 'c'", "two that are equal"),
        ({"a": [1, 2, 4], "b": [0.5, 0, -1]}, {}, "columns 'a' and 'b'", "a second that is -0.5 times the first +1."),
        ({"a": [1, 2], "b": [3, 5]}, {"columns": ["a", "c"]}, "data.columns", "table.csv: a, b, but got 'c'"),
        ({"a": [1, 2], "b": [3, 5]}, {"columns": ["a", "a"]}, "data.columns", "different columns, but got a, a"),
        (
            {"a": [1, 2], "b": [3, 5]},
            {"columns": ["a", "b"], "weights_column": "b"},
            "data.columns",
            "but got a, b, b",
        ),
        (
            {"a": [1, 2], "b": [3, 5]},
            {"columns": ["a", "b"], "column": "a"},
            "data.columns",
            "but got data.column=a and data.columns=[a,b]. Add data.column=null",
        ),
        ({"t": ["x", "y"], "u": ["v", "w"]}, {}, "data.column", "t, u, none of which has numbers alone"),
    ],
)
def test_what_cannot_be_used_is_named(table, columns, given, where, says):
    error = refusal(table(**columns), **given)
    assert error.where.endswith(where)
    assert says in str(error)


def test_columns_that_differ_by_their_units_alone_are_refused_to_the_rounding_of_float32(table):
    minutes = RANDOM.normal(3e4, 30.0, 500)
    seconds = (60 * minutes).astype(np.float32).astype(np.float64)
    rounded = np.round(minutes)
    assert np.corrcoef(minutes, rounded)[0, 1] > 1 - 1e-4
    assert np.corrcoef(minutes - 3e4, minutes)[0, 1] > 1 - ROUNDING_64
    assert "a second that is 1 times the first -30000" in str(refusal(table(a=minutes, b=minutes - 3e4)))
    # float32 keeps seven digits of 1.8e6 ± 1,800: four of what varies.
    for others in (rounded, seconds):
        path = table(a=minutes, b=others)
        datasets.check_can_be_fitted(read(path), "table")
        assert datasets.why_singular(read(path)) == ""


def test_columns_that_one_far_row_makes_the_same_are_told_of_that_row(table):
    a, b = RANDOM.normal(size=(2, 50))
    found = str(refusal(table(a=[*a, 1e12], b=[*b, -1e12])))
    assert "a second that is -1 times the first, to about 1e-07 of their spread, only because one row" in found
    assert found.endswith("is far away, with 1e+12 and -1e+12. Check that row: without it the columns differ.")
    # Two such rows, and a relation that is no outlier's.
    for x, y in (([*a, 1e12, 2e12], [*b, -1e12, -2e12]), (a, 2 * a + 1e-8 * b)):
        found = str(refusal(table(a=x, b=y)))
        assert "times the first, to about 1e-07 of their spread. Leave" in found


def test_commas_that_may_mark_decimals_are_in_doubt(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text("55,0\n56,8\n-53,4\n")
    error = refusal(path, header="none")
    assert error.where == "data.column"
    assert '\'data.columns=["0","1"]\'  If a comma marks decimals, add data.decimal=comma instead.' in error.remedy
    assert read(path, header="none", decimal="comma").data.tolist() == [55.0, 56.8, -53.4]
    assert read(path, header="none", decimal="point").data.tolist() == [[55.0, 0.0], [56.0, 8.0], [-53.0, 4.0]]
    path.write_text("55,0.5\n56,8.25\n")
    assert read(path, header="none").data.tolist() == [[55.0, 0.5], [56.0, 8.25]]


@pytest.mark.parametrize("content", ["x,x\n1,2\n3,4\n", "x,2019\n1,2\n3,4\n"])
def test_names_in_doubt_are_refused(tmp_path, content):
    (tmp_path / "names.csv").write_text(content)
    refusal(tmp_path / "names.csv")


def test_names_that_are_numbers_may_be_asked_for(tmp_path):
    path = tmp_path / "years.csv"
    path.write_text("2019,2020,2021\n1,2,3\n4,6,5\n")
    assert read(path, columns=[2021, 2019]).data.tolist() == [[3.0, 1.0], [5.0, 4.0]]
    with pytest.raises(InputError, match=r"data\.header=none"):
        read(path)


def test_columns_of_which_one_follows_from_the_others_are_doubtful(table):
    shares = RANDOM.dirichlet([3.0, 2.0, 4.0], 60)
    other = RANDOM.normal(size=60)
    path = table(a=shares[:, 0], free=other, b=100 * shares[:, 1], c=shares[:, 2] + 1e6)
    datasets.check_can_be_fitted(read(path), "table")
    doubt = datasets.why_singular(read(path))
    assert "one of the columns a, b, c of table follows from the others" in doubt
    assert datasets.why_singular(read(path, columns=["a", "b", "free"])) == ""
    assert datasets.why_singular(read(path, columns=["a"])) == ""


def test_fewer_observations_than_columns_are_doubtful(table):
    path = table(a=[1, 2, 4, 3], b=[2, 1, 9, 4], c=[5, 1, 3, 2], w=[1, 1, 1, 0])
    doubt = datasets.why_singular(read(path, weights_column="w"))
    assert "3 columns and only 3 observations with a positive weight" in doubt
    datasets.check_can_be_fitted(read(path, weights_column="w"), "table")


TRUTH = {
    "weights": [1, 3],
    "locs": [[0, 5, 1], [2, 7, 3]],
    "covariances": [4, [[1, 0.5, 0], [0.5, 2, 0], [0, 0, 3]]],
    "columns": ["a", "b", "c"],
}


def test_the_truth_of_the_columns_that_are_read(table, tmp_path):
    path, file = table(a=[1, 2, 4], b=[3, 5, 9], c=[1, 0, 0]), tmp_path / "truth.json"
    file.write_text(json.dumps(TRUTH))
    truth = read(path, columns=["b", "a"], truth=str(file)).truth
    assert isinstance(truth, MultivariateMixture)
    assert [values.tolist() for values in truth] == [
        [0.75, 0.25],
        [[7.0, 2.0], [5.0, 0.0]],
        [[[2.0, 0.5], [0.5, 1.0]], [[4.0, 0.0], [0.0, 4.0]]],
    ]
    truth = read(path, column="c", truth=str(file)).truth
    assert isinstance(truth, Mixture)
    assert [values.tolist() for values in truth] == [[0.25, 0.75], [1.0, 3.0], [2.0, pytest.approx(3**0.5)]]


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        ({**TRUTH, "columns": ["x", "b", "c"]}, ["a", "b"], "a mixture of a, b, but got .*, a mixture of x, b, c"),
        ({"weights": [1], "locs": [0], "scales": [1]}, ["a", "b"], "a mixture of a, b, but got .* of 1 column"),
        ({**TRUTH, "columns": []}, ["a"], "a mixture of one column, but got .* of 3 columns"),
        ({**TRUTH, "covariances": [1, -1]}, ["a", "b"], "not positive definite"),
        ({"weights": [1], "locs": [[0, 1]]}, ["a", "b"], "scales, or covariances for several columns"),
    ],
)
def test_a_truth_that_is_not_of_these_columns_is_refused(table, tmp_path, content, columns, says):
    path, file = table(a=[1, 2, 4], b=[3, 5, 9]), tmp_path / "truth.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=says):
        read(path, columns=columns, truth=str(file))
