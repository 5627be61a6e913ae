"""The command `predict`, on a fit and a sweep that MLflow knows too."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROUNDING_64, Quick
from pyarrow import csv, parquet

from gmm_pipeline import log_density, responsibilities
from gmm_pipeline.model.mixture import Mixture

NEW = "minutes,times\n-3.5,2\n0.25,0\n4,1.5\n9,1\n"
MINUTES, TIMES = [-3.5, 0.25, 4.0, 9.0], np.array([2.0, 0.0, 1.5, 1.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fitted")


@pytest.fixture
def record(quick: Quick, folder: Path) -> Path:
    """A sweep of a run that ends well and one that diverges, then a fit, for all tests; and new data."""
    if not any(folder.iterdir()):
        quiet = ("figures=none", "animation=none", "data.n_draws=120", "steps=60", "search=none")
        swept = ("-m", "sweep=study", "optimizer=sgd", "schedule=constant", "optimizer.learning_rate=0.01,1e30")
        assert quick("fit", *quiet, *swept, cwd=folder).returncode == 1
        finished = quick("fit", *quiet, cwd=folder)
        assert finished.returncode == 0, finished.stderr
        (folder / "new.csv").write_text(NEW)
    (found,) = (folder / "outputs" / "fit").iterdir()
    return found


def mixture_of(record: Path) -> Mixture:
    parameters = json.loads((record / "parameters.json").read_text())
    return Mixture(*(np.array(parameters[name]) for name in Mixture._fields))


def run_id_of(record: Path) -> str:
    return json.loads((record / "record.json").read_text())["tracking"]["run_id"]


def test_the_data_of_the_latest_fit_get_its_own_labels(quick: Quick, folder, record):
    finished = quick("predict", "data=two_modes", "data.n_draws=120", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    shown = record.relative_to(folder)
    assert finished.stdout.startswith(f"two_modes: 120 data under the 2 components of {shown}; mean log density -")
    written = folder / finished.stdout.splitlines()[-1].removeprefix("predictions: ").split(" and ")[0]
    assert csv.read_csv(written.with_suffix(".csv")).to_pydict() == parquet.read_table(written).to_pydict()
    there = {path.name for path in written.parent.iterdir()}
    assert there == {"predictions.parquet", "predictions.csv", "predict.log", ".hydra"}
    found, known = parquet.read_table(written), parquet.read_table(record / "assignments.parquet")
    assert found.column_names == [*known.column_names, "log_density"]
    assert found.schema.field("label") == known.schema.field("label")
    for name in known.column_names:
        # Evaluated there in the units of the fit.
        np.testing.assert_allclose(found[name].to_numpy(), known[name].to_numpy(), rtol=1e-9, atol=1e-12)
    total = json.loads((record / "metrics.json").read_text())["log_likelihood"]
    assert found["log_density"].to_numpy().sum() == pytest.approx(total, rel=ROUNDING_64 * 100)  # a sum of 120
    counts = np.bincount(known["label"].to_numpy())
    rows = [line.split() for line in finished.stdout.splitlines() if line.strip().startswith(("0 ", "1 "))]
    assert [row[4] for row in rows] == [str(count) for count in counts]


def test_new_data_with_sample_weights_under_a_run_that_mlflow_names(quick: Quick, folder, record):
    data = ("data.path=new.csv", "data.column=minutes", "data.weights_column=times", "data.unit=min")
    run_id = run_id_of(record)
    finished = quick("predict", f"run={run_id}", *data, "output=labelled.csv", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    found = csv.read_csv(folder / "labelled.csv")
    columns = ["datum", "sample_weight", "label", "uncertainty", "responsibility_0", "responsibility_1", "log_density"]
    assert found.column_names == columns
    mixture = mixture_of(record)
    np.testing.assert_array_equal(found["datum"].to_numpy(), MINUTES)
    np.testing.assert_array_equal(found["sample_weight"].to_numpy(), TIMES)
    np.testing.assert_allclose(found["log_density"].to_numpy(), log_density(mixture, MINUTES), rtol=ROUNDING_64)
    expected = responsibilities(mixture, MINUTES)
    np.testing.assert_allclose(found["responsibility_1"].to_numpy(), expected[:, 1], rtol=ROUNDING_64)
    labels = expected.argmax(axis=1)
    np.testing.assert_allclose(found["uncertainty"].to_numpy(), expected.min(axis=1), rtol=ROUNDING_64)
    assert found["label"].to_pylist() == labels.tolist()
    mean = np.average(log_density(mixture, MINUTES), weights=TIMES)
    assert f"minutes: 4 data under the 2 components of {run_id}; mean log density {mean:.4f} nats" in finished.stdout
    assert "loc [min]" in finished.stdout
    rows = [line.split() for line in finished.stdout.splitlines() if line.strip().startswith(("0 ", "1 "))]
    counts = [TIMES[labels == component].sum() for component in range(2)]
    assert all(counts)
    assert [row[4:] for row in rows] == [[f"{count:g}", f"{count / TIMES.sum():.1%}"] for count in counts]
    assert finished.stdout.splitlines()[-1] == "predictions: labelled.csv"


def test_a_run_of_a_sweep_is_named_by_folder_or_id(quick: Quick, folder, record):
    member = folder / "outputs" / "sweeps" / "study" / "0"
    for number, run in enumerate([member.relative_to(folder), run_id_of(member)]):
        output = f"output=member_{number}.parquet"
        finished = quick("predict", f"run={run}", "data.path=new.csv", "data.column=minutes", output, cwd=folder)
        assert finished.returncode == 0, finished.stderr
        found = parquet.read_table(folder / f"member_{number}.parquet")
        expected = log_density(mixture_of(member), MINUTES)
        np.testing.assert_allclose(found["log_density"].to_numpy(), expected, rtol=ROUNDING_64)


def test_of_several_columns_that_of_the_fit_is_labelled(quick: Quick, folder, record, tmp_path):
    (tmp_path / "old.csv").write_text(
        "day,minutes\n" + "".join(f"{row},{row % 7 - 3.5 * (row % 2)}\n" for row in range(60))
    )
    quiet = ("figures=none", "animation=none", "steps=12", "search=none", "restarts=1", "n_components=1")
    fitted = quick("fit", "old.csv", "data.column=minutes", *quiet)
    assert fitted.returncode == 0, fitted.stderr
    (of_minutes,) = (tmp_path / "outputs" / "fit").iterdir()
    (tmp_path / "new.csv").write_text(NEW)
    predicted = quick("predict", "new.csv", "output=out.csv")
    assert predicted.stdout.startswith("minutes: 4 data under "), predicted.stderr
    assert csv.read_csv(tmp_path / "out.csv")["datum"].to_pylist() == MINUTES
    assert quick("predict", "new.csv", "data.column=times", "output=out.csv").stdout.startswith("times: 4 data")
    (tmp_path / "other.csv").write_text("seconds,times\n1,2\n3,4\n")
    listed = quick("predict", "other.csv", "output=out.csv")
    assert listed.returncode == 2
    assert "Add one of these arguments: data.column=seconds  data.column=times" in listed.stderr
    (tmp_path / "gap.csv").write_text("minutes,times\n1,2\n,4\n")
    assert "column 'minutes': expected finite numbers" in quick("predict", "gap.csv", "output=out.csv").stderr
    run_id = run_id_of(of_minutes)
    of_minutes.rename(tmp_path / "elsewhere")  # so that MLflow's copies are read
    predicted = quick("predict", "new.csv", f"run={run_id}", "output=out.csv")
    assert predicted.stdout.startswith(f"minutes: 4 data under the 1 component of {run_id}"), predicted.stderr


def refused(quick: Quick, folder: Path, *arguments: str) -> str:
    finished = quick("predict", *arguments, cwd=folder)
    assert finished.returncode == 2, finished.stdout
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    return finished.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            "run=outputs/sweeps/study/1",
            "error: run: expected a run that finished, but got outputs/sweeps/study/1 (diver",
        ),
        ("run=0123456789abcdef0123456789abcdef", "error: run: expected a run in sqlite:///outputs/mlflow.db"),
        (
            "run=0123456789abcdef0123456789abcdef tracking=none",
            "error: tracking.uri: expected the store that has the run",
        ),
        ("output=labels.txt", "error: labels.txt: expected a file name that ends in .parquet or .csv"),
        ("data.column=unknown", "error: data.column: "),
        ("output=new.csv", "error: output: expected another place than that of the data"),
        ("output=outputs/../new.csv", "error: output: expected another place than that of the data"),
        ("output=outputs/sweeps/study/0/labels.csv", "error: output: expected a place outside of records"),
        ("output=outputs/sweeps/study/0/figures/labels.csv", "error: output: expected a place outside of records"),
        ("output=outputs/sweeps/study/sweep.parquet", "error: output: expected a place outside of records"),
    ],
)
def test_what_cannot_be_predicted(quick: Quick, folder, record, arguments, says):
    before = sorted(folder.rglob("*"))
    data = ("data.path=new.csv", *(() if "data" in arguments else ("data.column=minutes",)))
    assert says in refused(quick, folder, *data, *arguments.split())
    left = [path for path in sorted(folder.rglob("*")) if path not in before and "mlflow.db" not in path.name]
    assert [path.relative_to(folder) for path in left if path.is_file()] == []


def test_the_run_of_a_whole_sweep_is_no_fit(quick: Quick, folder, record):
    sweep_id = json.loads((folder / "outputs" / "sweeps" / "study" / "sweep.json").read_text())["id"]
    said = refused(quick, folder, f"run={sweep_id}", "data.path=new.csv", "data.column=minutes")
    assert "but got the sweep study. Name one of its runs" in said


def test_a_run_whose_record_is_nowhere(quick: Quick, folder, record, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder / "outputs", copy / "outputs")
    member = folder / "outputs" / "sweeps" / "study" / "0"
    hidden = member.rename(tmp_path / "hidden")
    try:
        (copy / "new.csv").write_text(NEW)
        said = refused(quick, copy, f"run={run_id_of(hidden)}", "data.path=new.csv", "data.column=minutes")
    finally:
        hidden.rename(member)
    assert f"whose record was in {member}. Name the current folder of the record." in said


def test_rows_without_a_value_keep_their_places(quick: Quick, folder, record):
    (folder / "gaps.csv").write_text("minutes\n\n4.5\nNA\n-3.5\n\n")
    assert "3 of 5 rows with a missing value" in refused(quick, folder, "gaps.csv", "output=gaps.parquet")
    finished = quick("predict", "gaps.csv", "data.missing=drop", "output=gaps.parquet", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("minutes: 2 data (3 of 5 rows without a value are left out) under")
    found = parquet.read_table(folder / "gaps.parquet").to_pydict()
    assert found["datum"] == [None, 4.5, None, -3.5, None]
    assert [value is None for value in found["label"]] == [True, False, True, False, True]


def test_data_that_are_alien_to_the_mixture(quick: Quick, folder, record):
    (folder / "seconds.csv").write_text("\n".join(["x", *map(str, np.linspace(200.0, 400.0, 50))]))
    finished = quick("predict", "seconds.csv", "output=seconds.parquet", cwd=folder)
    assert finished.returncode == 0
    assert finished.stderr.startswith("warning: x is alien to this mixture: mean log density -")
    assert finished.stderr.count("\n") == 1


def test_simulate_and_report_write_into_no_record(quick: Quick, folder, record):
    place = record.relative_to(folder)
    for command in (
        f"simulate output={place}/assignments.parquet",
        f"report run={place} output={place}/figures/x.html",
    ):
        finished = quick(*command.split(), cwd=folder)
        assert finished.returncode == 2
        assert finished.stderr.startswith("error: output: expected a place outside of records")
