import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.records import sweep_table
from gmm_pipeline.records.sweeps import SweepRun

FITTED = Mixture(np.array([0.25, 0.75]), np.array([-1.5, 2.5]), np.array([0.5, np.nan]))


def sweep_run(number: int, overrides: list[str], metrics=None, fitted=None, status="finished", error=None) -> SweepRun:
    return SweepRun(
        number=number,
        overrides=tuple(overrides),
        status=status,
        error=error,
        metrics=metrics or {},
        fitted=fitted,
        truth=None,
        data_name="x",
        data_digest="ab",
        unit=None,
        digest=f"{number:064x}",
        record=str(number),
    )


RUNS = [
    sweep_run(0, ["n_components=1", "seed=0", "optimizer=adam"], {"loss": 2.5, "n_components": 1, "extra": 7}),
    sweep_run(1, ["n_components=2", "seed=1", "+rate=1e-3"], {"loss": None, "n_components": 2}, FITTED, "diverged"),
    sweep_run(2, ["n_components=9", "optimizer=sgd", "+rate=2"], None, None, "failed", 'too "many", really'),
]


def read(folder, runs) -> dict[str, list]:
    paths = sweep_table.write_table(folder, runs)
    assert [path.name for path in paths] == ["sweep.parquet", "sweep.csv"]
    return parquet.read_table(paths[0]).to_pydict()


def test_a_row_a_run_and_nulls_for_what_is_missing(tmp_path):
    table = read(tmp_path, RUNS)
    overrides = ["n_components", "seed", "optimizer", "rate"]
    metrics = ["loss", "log_likelihood", "log_prior", "aic", "bic", "n_data", "n_parameters", "n_steps", "extra"]
    parameters = ["weight_0", "loc_0", "scale_0", "weight_1", "loc_1", "scale_1"]
    assert list(table) == ["run", *overrides, "status", "error", *metrics, *parameters, "digest", "record"]
    assert table["run"] == [0, 1, 2]
    assert table["n_components"] == [1, 2, 9]
    assert table["seed"] == [0, 1, None]
    assert table["optimizer"] == ["adam", None, "sgd"]
    assert table["rate"] == [None, 0.001, 2.0]
    assert table["status"] == ["finished", "diverged", "failed"]
    assert table["error"] == [None, None, 'too "many", really']
    assert table["loss"] == [2.5, None, None]
    assert table["extra"] == [7, None, None]
    assert table["loc_1"] == [None, 2.5, None]
    assert table["scale_1"] == [None, None, None]
    assert table["record"] == ["0", "1", "2"]


def test_csv_says_the_same(tmp_path):
    table = read(tmp_path, RUNS)
    convert = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    written = csv.read_csv(tmp_path / "sweep.csv", convert_options=convert).to_pydict()
    for name, column in table.items():
        numeric = not any(isinstance(value, str) for value in column)
        assert [int(value) if name == "record" else value for value in column] == written[name] or not numeric
    assert written["error"] == table["error"]


def test_same_runs_same_bytes(tmp_path):
    for name in ("first", "second"):
        sweep_table.write_table(tmp_path / name, RUNS)
    for file in ("sweep.parquet", "sweep.csv"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_a_sweep_without_runs_has_a_table_without_rows(tmp_path):
    assert read(tmp_path, [])["run"] == []


def test_failed_runs_alone_make_a_table(tmp_path):
    table = read(tmp_path, RUNS[2:])
    assert (table["n_components"], table["bic"], table["n_data"]) == ([9], [None], [None])


def test_an_override_that_is_no_number_keeps_the_metric_of_its_name_apart(tmp_path):
    runs = [RUNS[0], sweep_run(1, ["n_components=two"], status="failed"), sweep_run(2, ["+status=odd"])]
    table = read(tmp_path, runs)
    assert table["n_components"] == [1, None, None]
    assert table["override.n_components"] == ["1", "two", None]
    assert table["status"] == ["finished", "failed", "finished"]
    assert table["override.status"] == [None, None, "odd"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "-20", None], [1, -20, None]),
        (["1", "0.5"], [1.0, 0.5]),
        (["1e3", ".5", "2."], [1000.0, 0.5, 2.0]),
        (["-inf", "1"], [-np.inf, 1.0]),
        (["007", "1"], ["007", "1"]),
        (["1_000", "5"], [1000, 5]),
        (["1_000", "nan"], [1000.0, np.nan]),
        (["'1'", "1"], ["'1'", "1"]),
        (["true", "1"], ["true", "1"]),
        ([str(2**63)], [str(2**63)]),
        (["", None], ["", None]),
        ([None], [None]),
    ],
)
def test_numbers_are_told_from_text_as_hydra_does(texts, expected):
    column = sweep_table.typed_column(texts)
    found = column.tolist() if isinstance(column, np.ndarray) else list(column)
    np.testing.assert_array_equal(found, expected)
    assert [type(value) for value in found] == [type(value) for value in expected]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
        st.none() | st.floats(allow_nan=False),
        st.none() | TEXT.map(lambda text: "x" + text.replace("=", "")),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=12,
)


@given(ROWS)
@example([(None, np.inf, None, None), (1, 0.5, None, None)])
def test_parquet_comes_back_as_it_was(tmp_path_factory, rows):
    runs = []
    for number, (whole, real, text, metric) in enumerate(rows):
        asked = {"whole": whole, "real": None if real is None else repr(real), "text": text}
        overrides = [f"{key}={value}" for key, value in asked.items() if value is not None]
        runs.append(sweep_run(number, overrides, {"loss": metric}, status="finished", error=text))
    table = read(tmp_path_factory.mktemp("sweep"), runs)
    assert table["run"] == list(range(len(rows)))
    for index, name in enumerate(("whole", "real", "text", "loss")):
        # As in JSON, numbers that are not finite are missing.
        column = [None if isinstance(row[index], float) and np.isinf(row[index]) else row[index] for row in rows]
        if name == "loss" or any(row[index] is not None for row in rows):
            assert table[name] == column
    assert table["error"] == [row[2] for row in rows]


def test_parameters_of_several_columns_have_the_names_of_these(tmp_path):
    fitted = MultivariateMixture(np.ones(1), np.array([[3.0, 70.0]]), np.array([[[4.0, 1.0], [1.0, 9.0]]]))
    run = sweep_run(0, ["n_components=1"], {"n_components": 1}, fitted)._replace(columns=("eruptions", "waiting"))
    table = read(tmp_path, [run, sweep_run(1, ["n_components=2"], {"n_components": 2}, FITTED)])
    expected = {"weight_0": [1.0, 0.25], "loc_0_eruptions": [3.0, None], "loc_0_waiting": [70.0, None]}
    expected |= {"scale_0_eruptions": [2.0, None], "scale_0_waiting": [3.0, None], "loc_0": [None, -1.5]}
    assert {name: table[name] for name in expected} == expected
