"""The command `simulate`, and a fit of what it wrote."""

import hashlib
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import Quick
from pyarrow import csv, parquet

QUIET = ("tracking=none", "figures=none", "animation=none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulated")


@pytest.fixture
def written(quick: Quick, folder: Path) -> Path:
    """The same draws as CSV, with a picture, and as Parquet, without; written once."""
    if not any(folder.iterdir()):
        for output in ("output=draws.csv", "output=draws.parquet figures=none"):
            finished = quick("simulate", "data=four_modes", "data.n_draws=190", *output.split(), cwd=folder)
            assert finished.returncode == 0, finished.stderr
            assert finished.stderr == ""
            (folder / f"{len(list(folder.glob('*.stdout')))}.stdout").write_text(finished.stdout)
    return folder


def test_both_formats_hold_the_same_numbers(written):
    text, binary = csv.read_csv(written / "draws.csv"), parquet.read_table(written / "draws.parquet")
    assert text.column_names == binary.column_names == ["datum", "component"]
    for name in text.column_names:
        np.testing.assert_array_equal(text[name].to_numpy(), binary[name].to_numpy())
    counts = np.unique(binary["component"].to_numpy(), return_counts=True)[1]
    assert counts.tolist() == [100, 20, 10, 60]


def test_truth_is_written_beside_the_data(written):
    truth = json.loads((written / "draws_truth.json").read_text())
    assert truth["locs"] == [-5.0, -2.0, 3.0, 8.0]
    assert truth["scales"] == [2.0, 1.1, 1.0, 1.5]
    np.testing.assert_allclose(truth["weights"], np.array([10, 2, 1, 6]) / 19)
    data = parquet.read_table(written / "draws.parquet")["datum"].to_numpy()
    assert truth["digest"] == hashlib.sha256(data.astype("<f8").tobytes()).hexdigest()


def test_nothing_else_is_written(written):
    names = {path.name for path in written.iterdir() if path.suffix != ".stdout"}
    pictures = {"draws_histogram.png", "draws_histogram.svg"}
    assert names == {"draws.csv", "draws.parquet", "draws_truth.json", *pictures, "outputs"}


def test_components_are_numbered_as_in_the_truth(written):
    table = parquet.read_table(written / "draws.parquet")
    data, components = table["datum"].to_numpy(), table["component"].to_numpy()
    means = [data[components == component].mean() for component in range(4)]
    np.testing.assert_allclose(means, [-5.0, -2.0, 3.0, 8.0], atol=5 * 2.0 / np.sqrt(10))  # five standard errors


def test_fit_of_the_written_file_knows_the_truth(quick: Quick, written):
    arguments = ("data=file", "data.path=draws.csv,draws.parquet", "data.column=datum", "data.truth=draws_truth.json")
    finished = quick("fit", "-m", *QUIET, *arguments, "n_components=4", "steps=20", cwd=written)
    assert finished.returncode == 0, finished.stderr
    truth = json.loads((written / "draws_truth.json").read_text())
    said = [json.loads(path.read_text()) for path in sorted(written.glob("outputs/sweeps/*/*/data.json"))]
    assert len(said) == 2
    for description in said:
        assert description["digest"] == truth["digest"]
        for name in ("weights", "locs", "scales"):
            np.testing.assert_allclose(description["truth"][name], truth[name])


def test_the_command_it_prints_works(quick: Quick, written):
    said = (written / "0.stdout").read_text()
    assert "data: draws.csv" in said
    assert "truth: draws_truth.json" in said
    command = said.split("fit them: python -m gmm_pipeline ")[1].split()
    finished = quick(*command, *QUIET, "search=none", "steps=5", cwd=written)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("datum: 190 observations, 4 components; loss ")
    assert "converged in 5 steps" in finished.stdout


def test_by_default_it_writes_into_a_folder_of_its_own(quick: Quick, tmp_path):
    finished = quick("simulate", "data.n_draws=60", "figures.formats=[svg]")
    assert finished.returncode == 0, finished.stderr
    (record,) = (tmp_path / "outputs" / "simulate").iterdir()
    names = {path.name for path in record.iterdir()}
    assert names == {"data.parquet", "data_truth.json", "data_histogram.svg", "simulate.log", ".hydra"}


def test_several_columns_and_their_truth(quick: Quick, tmp_path):
    given = ("data=three_clusters", "data.n_draws=60", 'data.columns=[width,"the length"]', "figures=none")
    finished = quick("simulate", *given, "output=draws.csv")
    assert finished.returncode == 0, finished.stderr
    table = csv.read_csv(tmp_path / "draws.csv")
    assert table.column_names == ["width", "the length", "component"]
    data = np.stack([table[name].to_numpy() for name in table.column_names[:2]], axis=1)
    truth = json.loads((tmp_path / "draws_truth.json").read_text())
    assert truth["digest"] == hashlib.sha256(data.astype("<f8").tobytes()).hexdigest()
    for component, (loc, covariance) in enumerate(zip(truth["locs"], truth["covariances"], strict=True)):
        deviations = data[table["component"].to_numpy() == component].mean(axis=0) - loc
        n_draws = 60 * truth["weights"][component]
        assert (np.abs(deviations) < 5 * np.sqrt(np.diag(covariance) / n_draws)).all()  # five standard errors
    words = shlex.split(finished.stdout.split("fit them: python -m gmm_pipeline ")[1])
    assert words[4:] == ['data.columns=[width,"the length"]', "n_components=3"]
    refused = quick("simulate", "data=three_clusters", "data.columns=[a,component]", "output=draws.csv")
    assert (refused.returncode, refused.stderr.split(":")[1]) == (2, " data.columns")
