"""Rows with missing cells from a file to labels, pictures and a page: `data.missing=marginalise`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Quick
from pyarrow import csv, parquet
from scipy import stats
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

from gmm_pipeline import load
from gmm_pipeline.model.portable import PortableMixture, evaluate
from gmm_pipeline.records import reading

IRIS, SPECIES = load_iris(return_X_y=True)
MISSING = np.random.default_rng(1).random(IRIS.shape) < 0.1
DATA = np.where(MISSING, np.nan, IRIS)
NAMES = ("sl", "sw", "pl", "pw")
MARGINALISE = "data.missing=marginalise"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("missing")


@pytest.fixture
def record(quick: Quick, folder: Path) -> Path:
    """A fit to what is there, begun by a search, for all tests."""
    if not any(folder.iterdir()):
        lines = [",".join("" if np.isnan(value) else repr(float(value)) for value in row) for row in DATA]
        (folder / "iris.csv").write_text("\n".join([",".join(NAMES), *lines, ",,,"]) + "\n")
        words = (
            "fit",
            "iris.csv",
            MARGINALISE,
            "n_components=3",
            "covariance=tied",
            "prior=flat",
            "search.rounds=2",
            "restarts=2",
            "steps=100",
        )
        finished = quick(*words, "animation=none", "figures.formats=[svg]", cwd=folder)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.startswith(
            "iris: 150 observations of 4 columns (1 of 151 rows without a value are left out; 48 of 150 rows have "
        )
    (found,) = (folder / "outputs" / "fit").iterdir()
    return found


def test_the_fit_is_that_of_what_is_there(record):
    run = reading.read_checked(record)
    np.testing.assert_array_equal(run.data, DATA)
    total = 0.0
    for row in DATA:
        here = ~np.isnan(row)
        parts = [
            weight * stats.multivariate_normal.pdf(row[here], loc[here], covariance[here][:, here])
            for weight, loc, covariance in zip(*run.fitted, strict=True)
        ]
        total += np.log(sum(parts))
    np.testing.assert_allclose(run.metrics["log_likelihood"], total, rtol=1e-9)
    assert json.loads((record / "data.json").read_text())["n_incomplete"] == 48
    assert run.metrics["n_degenerate"] == 0
    # Each of the species of iris has its component, and its mean there within five standard errors.
    means = np.stack([IRIS[species == SPECIES].mean(axis=0) for species in range(3)])
    assert run.asymptotic is not None
    errors = run.asymptotic.standard_errors.locs
    assert np.isfinite(errors).all()
    nearest = np.abs(run.fitted.locs[:, None] - means).sum(axis=-1).argmin(axis=1)
    assert sorted(nearest) == [0, 1, 2]
    assert (np.abs(run.fitted.locs - means[nearest]) < 5.0 * errors).all()


def test_cells_stay_empty_and_labels_are_those_of_the_species(quick: Quick, folder, record):
    table = csv.read_csv(record / "assignments.csv")
    for name, column in zip(NAMES, DATA.T, strict=True):
        np.testing.assert_array_equal(table[name].to_numpy(), column)
    finished = quick("predict", "iris.csv", MARGINALISE, "output=labels.parquet", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    labelled = parquet.read_table(folder / "labels.parquet")
    assert labelled["label"].to_pylist() == [*table["label"].to_pylist(), None]
    assert labelled["sl"].null_count == 1 + MISSING[:, 0].sum()
    labels = np.array(table["label"])
    assert adjusted_rand_score(SPECIES, labels) > 0.85


def test_pictures_and_the_page_say_what_they_leave_out(quick: Quick, folder, record):
    said = "48 of 150 rows have missing cells and are not shown"
    picture = (record / "figures" / "pairs.svg").read_text()
    assert said in picture
    finished = quick("report", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    page = (record / "report.html").read_text()
    assert said in page
    assert "Each column has missing cells, and only columns without are compared." in page


def test_what_is_missing_is_refused_by_default(quick: Quick, folder, record):
    refused = quick("fit", "iris.csv", "n_components=3", cwd=folder)
    assert refused.returncode == 2
    assert "49 of 151 rows with a missing value" in refused.stderr
    assert "data.missing=marginalise uses what these rows have" in refused.stderr


def test_a_model_labels_rows_by_what_they_have(record):
    mixture: Any = load(record).mixture
    weights, locs, covariances = (leaf.tolist() for leaf in mixture)
    model = PortableMixture(weights, locs, covariances=covariances, columns=NAMES)
    found = model.predict(pd.DataFrame(DATA, columns=NAMES))
    np.testing.assert_allclose(
        found["log_density"], evaluate(np.array(weights), np.array(locs), np.array(covariances), DATA)[0]
    )
    with pytest.raises(ValueError, match="sl: expected finite numbers, but nan came in row 2"):
        model.predict(pd.DataFrame([[1.0, 2.0, np.nan, 1.0], [np.nan] * 4], columns=NAMES))


def test_what_is_missing_by_other_values_does_not_speak_against_the_mixture(quick: Quick, tmp_path):
    """One group lacks most values of a column: the rows that are complete are no sample of the mixture."""
    random = np.random.default_rng(6)
    rows = np.concatenate([random.normal(0.0, 1.0, (150, 2)), random.normal(8.0, 1.0, (150, 2))])
    rows[160:, 1] = np.nan
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(tmp_path / "gaps.csv", index=False)
    words = ("n_components=2", "prior=flat", "search.rounds=2", "restarts=2", "optimizer=em", "steps=300")
    fitted = quick("fit", "gaps.csv", MARGINALISE, *words, "animation=none", "figures.formats=[svg]", cwd=tmp_path)
    assert "each column without missing cells agrees with the mixture" in fitted.stdout, fitted.stderr
    reported = quick("report", "run=latest", cwd=tmp_path)
    (page,) = tmp_path.glob("outputs/fit/*/report.html")
    assert "Only columns without missing cells are compared." in page.read_text(), reported.stderr
    (picture,) = tmp_path.glob("outputs/fit/*/figures/marginals.svg")
    assert "columns with missing cells are not compared" in picture.read_text()
