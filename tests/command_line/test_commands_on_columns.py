"""Every command that reads a record, on fits of two columns that MLflow has too."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from conftest import Quick
from pyarrow import csv, parquet
from scipy import stats

from gmm_pipeline import labels, load
from gmm_pipeline.model.natural import MultivariateErrors, MultivariateMixture, reported
from gmm_pipeline.records import reading
from gmm_pipeline.records.comparison import compare
from gmm_pipeline.records.files import write_json
from gmm_pipeline.tracking.store import client_of

QUIET = ("figures=none", "animation=none", "search=none", "steps=60", "prior=flat")
TRUTH = MultivariateMixture(
    np.array([0.6, 0.4]), np.array([[4.0, 80.0], [2.0, 54.0]]), np.tile([[0.25, 1.0], [1.0, 36.0]], (2, 1, 1))
)


def rows_of(n: int) -> np.ndarray:
    random = np.random.default_rng(n)
    components = np.arange(n) % 5 // 3  # three of five are of the first
    noise = random.multivariate_normal(np.zeros(2), TRUTH.covariances[0], n)
    return (TRUTH.locs[components] + noise).round(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("columns")


@pytest.fixture
def record(quick: Quick, folder: Path) -> Path:
    """A fit of two columns of a file, for all tests; and new data with the columns in another order."""
    if not any(folder.iterdir()):
        pd.DataFrame(rows_of(120), columns=["length", "label"]).to_csv(folder / "old.csv", index=False)
        pd.DataFrame(rows_of(30)[:, ::-1], columns=["label", "length"]).assign(day=1).to_csv(folder / "new.csv")
        finished = quick("fit", "old.csv", "n_components=2", *QUIET, cwd=folder)
        assert finished.returncode == 0, finished.stderr
    (found,) = (folder / "outputs" / "fit").iterdir()
    return found


def run_and_model(file: Path, tracked: dict[str, str]) -> tuple[Any, Any]:
    """A run in a store, and its model, loaded by MLflow."""
    client = client_of(f"sqlite:///{file}")
    run: Any = client.get_run(tracked["run_id"])
    (output,) = run.outputs.model_outputs
    return run, mlflow.pyfunc.load_model(client.get_logged_model(output.model_id).artifact_location)


def test_a_record_of_several_columns_is_read_as_it_was_written(record):
    run = reading.read_checked(record)
    parameters = json.loads((record / "parameters.json").read_text())
    assert run.columns == ("length", "label") == tuple(parameters["columns"])
    assert parameters["covariance_model"] == "VVV"
    np.testing.assert_array_equal(run.data, rows_of(120))
    assert isinstance(run.fitted, MultivariateMixture) and run.fitted.weights[0] > run.fitted.weights[1]
    for name, values in reported(run.fitted)._asdict().items():
        np.testing.assert_array_equal(parameters[name], values)
    assert run.asymptotic is not None and isinstance(run.asymptotic.standard_errors, MultivariateErrors)
    assert run.asymptotic.standard_errors.correlations.tolist() == parameters["standard_errors"]["correlations"]
    assert isinstance(run.history.mixtures, MultivariateMixture)
    np.testing.assert_array_equal(run.history.mixtures.covariances[-1], run.fitted.covariances)
    table = csv.read_csv(record / "assignments.csv")
    names = ["length", "data_label", "label", "uncertainty", "responsibility_0", "responsibility_1"]
    assert table.column_names == names
    assert table["label"].to_pylist() == labels(run.fitted, rows_of(120)).tolist()
    # Of 72 and 48 draws, five standard errors.
    errors = np.sqrt(np.diagonal(TRUTH.covariances, axis1=1, axis2=2) / np.array([[72.0], [48.0]]))
    assert (np.abs(run.fitted.locs - TRUTH.locs) < 5 * errors).all()


def test_columns_in_unlike_units_give_the_same_fit_errors_pictures_and_predictions(quick: Quick, tmp_path):
    """Columns with a common factor, whose covariances in raw units have eigenvalues that are rounding alone."""
    random = np.random.default_rng(0)
    factor, apart = random.normal(size=(200, 1)), 4.0 * random.integers(0, 2, size=(200, 1)) * [1.0, 0.0, 0.0]
    data = factor * [1.0, 1.0, -1.0] + 0.4 * random.normal(size=(200, 3)) + apart
    units = np.array([1e-9, 1.0, 1e9])
    found = {}
    for name, values, pictures in (("alike", data, "figures=none"), ("unlike", data * units, "figures.formats=[png]")):
        pd.DataFrame(values, columns=["a", "b", "c"]).to_csv(tmp_path / f"{name}.csv", index=False)
        words = ("n_components=2", "prior=flat", "search=none", "optimizer=squarem", "animation=none", "tracking=none")
        where = f"hydra.run.dir={tmp_path / name}"
        fitted = quick("fit", f"{name}.csv", *words, pictures, "figures.dpi=50", where, cwd=tmp_path)
        assert fitted.returncode == 0, fitted.stderr
        said = quick("predict", f"{name}.csv", f"run={name}", f"output={name}.parquet", cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        found[name] = reading.read_checked(tmp_path / name)
    one, other = (run.asymptotic.standard_errors for run in found.values() if run.asymptotic)
    np.testing.assert_allclose(other.locs, one.locs * units, rtol=1e-6)
    np.testing.assert_allclose(other.covariances, one.covariances * np.outer(units, units), rtol=1e-6)
    np.testing.assert_allclose(other.correlations, one.correlations, rtol=1e-6)
    assert np.isfinite(one.covariances).all()
    tables = [parquet.read_table(tmp_path / f"{name}.parquet") for name in found]
    assert tables[0]["label"].to_pylist() == tables[1]["label"].to_pylist()
    assert (tmp_path / "unlike" / "figures" / "pairs.png").is_file()


def test_new_data_get_labels_by_the_names_of_their_columns(quick: Quick, folder, record):
    finished = quick("predict", "new.csv", "output=labelled.parquet", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    table, mixture = parquet.read_table(folder / "labelled.parquet"), load(record)
    assert table["label"].to_pylist() == labels(mixture, rows_of(30)).tolist()
    normals = [stats.multivariate_normal(*one) for one in zip(mixture.locs, mixture.covariances, strict=True)]
    expected = np.log(sum(w * normal.pdf(rows_of(30)) for w, normal in zip(mixture.weights, normals, strict=True)))
    np.testing.assert_allclose(table["log_density"].to_numpy(), expected, rtol=1e-10)


def test_mlflow_has_a_model_that_reads_the_columns(folder, record):
    tracking = json.loads((record / "record.json").read_text())["tracking"]
    run, model = run_and_model(folder / "outputs" / "mlflow.db", tracking)
    found = model.predict(pd.read_csv(folder / "new.csv"))
    assert found["label"].tolist() == labels(load(record), rows_of(30)).tolist()
    assert {"weight_1", "moved_0", "scale_1_length", "scale_0_label", "bic"} <= set(run.data.metrics)
    (used,) = run.inputs.dataset_inputs
    assert [one["name"] for one in json.loads(used.dataset.schema)["mlflow_colspec"]] == ["length", "label"]


def test_a_record_of_several_columns_is_logged_elsewhere_and_made_again(quick: Quick, folder, record):
    logged = quick("log", "tracking.uri=sqlite:///other.db", cwd=folder)
    assert logged.returncode == 0, logged.stderr
    assert logged.stdout.startswith("1 record: 1 logged")
    again = quick("rerun", "tracking=none", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "reproduced: the same bits as" in again.stdout


def test_what_differs_is_counted_in_numbers_of_all_columns(record, tmp_path):
    copy = shutil.copytree(record, tmp_path / "copy")
    parameters = json.loads((copy / "parameters.json").read_text())
    parameters["locs"][0][1] += 0.5
    write_json(copy / "parameters.json", parameters)
    (found,) = compare(record, copy, ()).differences
    assert (found.file, found.key, found.n_values, found.n_different) == ("parameters.json", "locs", 4, 1)
    assert found.largest_absolute == pytest.approx(0.5, rel=1e-12)


def test_a_sweep_of_several_columns_has_its_table_and_the_model_of_the_best(quick: Quick, folder, record):
    asked = (
        "data=three_clusters",
        "data.n_draws=150",
        "n_components=1,3",
        "sweep=study",
        "tracking.uri=sqlite:///s.db",
    )
    finished = quick("fit", "-m", *asked, *QUIET, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    table = parquet.read_table(folder / "outputs" / "sweeps" / "study" / "sweep.parquet").to_pydict()
    best = load(folder / "outputs" / "sweeps" / "study" / "1")
    assert [table["loc_2_x2"][1], table["scale_0_x1"][1]] == [best.locs[2, 1], best.scales[0, 0]]
    assert table["loc_2_x2"][0] is None and table["loc_0_x1"][0] is not None
    manifest = json.loads((folder / "outputs" / "sweeps" / "study" / "sweep.json").read_text())
    _, model = run_and_model(folder / "s.db", manifest["tracking"])
    assert model.metadata.signature.inputs.input_names() == ["x1", "x2"]
    assert model.predict(model.input_example)["label"].tolist() == [0, 1, 2]
