"""A fit with noise from a file to labels, a page and MLflow: each reads the noise of the record."""

import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from conftest import Quick
from pyarrow import csv, parquet

import gmm_pipeline as gmm
from gmm_pipeline.records import reading
from gmm_pipeline.tracking.store import client_of

RANDOM = np.random.default_rng(4)
ROWS = np.concatenate([RANDOM.normal(0, 1, (80, 2)), RANDOM.normal(8, 1, (60, 2)), RANDOM.uniform(-20, 20, (30, 2))])
NAMES = ["responsibility_0", "responsibility_1", "responsibility_noise"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("noise")


@pytest.fixture
def record(quick: Quick, folder: Path) -> Path:
    """A fit of two columns, for all tests."""
    if not any(folder.iterdir()):
        pd.DataFrame(ROWS, columns=["a", "b"]).to_csv(folder / "rows.csv", index=False)
        words = ("n_components=2", "noise=hull", "optimizer=squarem", "search=none", "figures.formats=[svg]")
        finished = quick("fit", "rows.csv", *words, "animation=none", cwd=folder)
        assert finished.returncode == 0, finished.stderr
        assert "2 components with covariance VVV and noise over the hull of the data" in finished.stdout
    (found,) = (folder / "outputs" / "fit").iterdir()
    return found


def test_the_record_has_the_noise_and_is_read_as_it_was_written(record):
    noise = json.loads((record / "parameters.json").read_text())["noise"]
    fit: Any = gmm.load(record)
    assert noise == {"kind": "hull", **fit.noise._asdict()}
    assert fit.metrics["noise_weight"] == fit.noise.weight
    table = csv.read_csv(record / "assignments.csv")
    r = np.stack([table[name].to_numpy() for name in NAMES], axis=1)
    np.testing.assert_allclose(fit.responsibilities, r, rtol=1e-12)
    np.testing.assert_allclose(r.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(table["uncertainty"].to_numpy(), 1.0 - r.max(axis=1), atol=1e-12)
    labels = np.array([0, 1, -1])[r.argmax(axis=1)]
    for found in (table["label"].to_numpy(), fit.labels, fit.predict(ROWS), gmm.labels(fit.mixture, ROWS)):
        np.testing.assert_array_equal(found, labels)
    assert 15 < np.sum(labels == -1) < 35


def test_new_data_are_labelled_by_predict_and_by_the_model_in_mlflow(quick: Quick, folder, record):
    far = pd.DataFrame({"a": [0.0, 500.0], "b": [0.0, 500.0]})
    far.to_csv(folder / "new.csv", index=False)
    finished = quick("predict", "new.csv", "output=labelled.parquet", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    table = parquet.read_table(folder / "labelled.parquet").to_pandas()
    assert table["label"].tolist()[1] == -1  # the density of the noise is the same everywhere
    noise: Any = gmm.load(record).noise
    np.testing.assert_allclose(table["log_density"][1], np.log(noise.weight) + noise.log_density, rtol=1e-12)
    tracked = json.loads((record / "record.json").read_text())["tracking"]
    client = client_of(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    run: Any = client.get_run(tracked["run_id"])
    (output,) = run.outputs.model_outputs
    model = mlflow.pyfunc.load_model(client.get_logged_model(output.model_id).artifact_location)
    found = model.predict(far)
    assert [*found.columns] == ["label", *NAMES, "log_density"]
    pd.testing.assert_frame_equal(found, table[found.columns], check_dtype=False)


def test_what_is_not_noise_is_compared_with_the_components(record):
    run = reading.read_checked(record)
    own: Any = run.without_noise
    np.testing.assert_allclose(own.fitted.weights.sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(own.sample_weights, 1.0 - run.responsibilities[-1], atol=1e-12)
    # At the maximum of the likelihood, the weighted mean of what is not noise is that of the components.
    np.testing.assert_allclose(
        np.average(own.data, axis=0, weights=own.sample_weights), own.fitted.weights @ own.fitted.locs, atol=0.05
    )
    assert "noise: " in (record / "figures" / "fitted_density.svg").read_text()


def test_the_page_says_how_much_is_noise(quick: Quick, folder, record):
    finished = quick("report", "tracking=none", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    page = (record / "report.html").read_text()
    assert "weight of the noise" in page and "as they are probably not noise" in page
