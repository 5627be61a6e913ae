"""The command `report`, on a fit and a sweep that MLflow knows too."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Quick
from markupsafe import escape

from gmm_pipeline.stages.running import quoted_override

NAME = "report.html"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fitted")


@pytest.fixture
def record(quick: Quick, folder: Path) -> Path:
    """A sweep of a run that ends well and one that diverges, then a fit, for all tests."""
    if not any(folder.iterdir()):
        quiet = ("figures=none", "animation=none", "data.n_draws=120", "steps=60", "search=none")
        swept = ("-m", "sweep=study", "optimizer=sgd", "schedule=constant", "optimizer.learning_rate=0.01,1e30")
        assert quick("fit", *quiet, *swept, cwd=folder).returncode == 1
        finished = quick("fit", *quiet, cwd=folder)
        assert finished.returncode == 0, finished.stderr
    (found,) = (folder / "outputs" / "fit").iterdir()
    return found


@pytest.fixture
def study(folder: Path, record: Path) -> Path:
    return folder / "outputs" / "sweeps" / "study"


def run_id_of(file: Path) -> str:
    return json.loads(file.read_text())["tracking"]["run_id"]


def copies(folder: Path) -> list[Path]:
    """Pages among the files that MLflow has copied."""
    return sorted((folder / "outputs" / "mlartifacts").rglob(NAME))


def test_the_latest_run_has_a_page_beside_its_files_and_in_mlflow(quick: Quick, folder, record):
    before = {path.name: path.read_bytes() for path in record.iterdir() if path.is_file() and path.name != NAME}
    finished = quick("report", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    page = record / NAME
    assert finished.stdout == f"report: {page.relative_to(folder)} (also attached to its MLflow run)\n"
    (copy,) = [path for path in copies(folder) if run_id_of(record / "record.json") in path.parts]
    text = page.read_bytes()
    assert copy.read_bytes() == text
    assert text.startswith(b"<!DOCTYPE html>")
    assert str(record.relative_to(folder)).encode() in text
    assert {path.name: path.read_bytes() for path in record.iterdir() if path.name in before} == before
    again = quick("report", f"run={run_id_of(record / 'record.json')}", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout == finished.stdout
    assert page.read_bytes() == text


def test_a_sweep_has_a_page_by_folder_and_by_id(quick: Quick, folder, study):
    finished = quick("report", "run=outputs/sweeps/study", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "report: outputs/sweeps/study/report.html (also attached to its MLflow run)\n"
    text = (study / NAME).read_bytes()
    parent = run_id_of(study / "sweep.json")
    (copy,) = [path for path in copies(folder) if parent in path.parts]
    assert copy.read_bytes() == text
    assert b"1 finished, 1 diverged" in text
    again = quick("report", f"run={parent}", "output=by_id.html", "tracking=mlflow", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert (folder / "by_id.html").read_bytes() == text


def test_a_run_of_a_sweep_that_diverged_has_a_page_among_its_files(quick: Quick, folder, study):
    finished = quick("report", "run=outputs/sweeps/study/1", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert b"This run diverged and has no result" in (study / "1" / NAME).read_bytes()
    assert run_id_of(study / "1" / "record.json") not in {part for path in copies(folder) for part in path.parts}


def test_without_tracking_the_page_is_written_alone(quick: Quick, folder, record):
    known = {path: path.stat().st_mtime_ns for path in copies(folder)}
    place = ("output=pages/mine.html", f"run={record.relative_to(folder)}", "tracking=none")
    finished = quick("report", *place, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "report: pages/mine.html\n"
    assert {path: path.stat().st_mtime_ns for path in copies(folder)} == known


def test_a_store_that_is_down_costs_a_warning(quick: Quick, folder, record):
    place = (f"run={record.relative_to(folder)}", "output=down.html", "tracking.uri=http://127.0.0.1:9")
    finished = quick("report", *place, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "report: down.html\n"
    assert finished.stderr.startswith("warning: http://127.0.0.1:9: the report could not be logged: ")
    assert (folder / "down.html").stat().st_size > 0


def test_a_record_that_only_mlflow_has_is_reported_from_its_copies(quick: Quick, folder, record, tmp_path):
    run_id = run_id_of(record / "record.json")
    hidden = record.rename(tmp_path / "hidden")
    try:
        finished = quick("report", f"run={run_id}", cwd=folder)
    finally:
        hidden.rename(record)
    assert finished.returncode == 0, finished.stderr
    page = Path("outputs", "report", f"{run_id}.html")
    assert finished.stdout == f"report: {page} (also attached to its MLflow run)\n"
    # An id that begins with a digit is quoted.
    assert str(escape(f"rerun {quoted_override('run', run_id)}")) in (folder / page).read_text()


def test_the_newest_run_of_a_sweep_stands_for_the_sweep(quick: Quick, folder, study, tmp_path):
    shutil.copytree(study, tmp_path / "outputs" / "sweeps" / "study")
    finished = quick("report", "tracking=none")
    assert finished.returncode == 0, finished.stderr
    best, page = finished.stdout.splitlines()
    assert best == "the best run: outputs/sweeps/study/0, the best of 2 runs of the sweep study by BIC"
    assert page == "report: outputs/sweeps/study/report.html"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("run=nowhere", "error: run: expected the folder of a record, with a record.json, but got nowhere."),
        ("run=0123456789abcdef0123456789abcdef", "error: run: expected a run in sqlite:///outputs/mlflow.db"),
        ("output=page.pdf", "error: output: expected a file name that ends in .html, but got page.pdf."),
        ("output=outputs/mlflow.db/page.html", "expected a place that can be read and written, but got"),
        ("output=folder.html", "error: output: expected the name of a file, but got folder.html, a folder."),
        ("level=1.5", "error: level: expected a number from 0.5 to 0.9999, but got 1.5."),
        ("simulations=0", "error: simulations: expected a whole number from 100 to 1000000, but got 0."),
        ("tracking.uri=mlruns", "error: tracking.uri: expected sqlite:///FILE, http(s)://HOST:PORT or postgresql:"),
        ("run=under_way", "error: run: expected a sweep that has ended, but got under_way, with 2 of 2 records"),
        ("run=failed", "error: run: expected a run with numbers to report, but got failed (failed: no such column)."),
    ],
)
def test_what_cannot_be_reported(quick: Quick, folder, study, arguments, says):
    if not (folder / "failed").exists():
        shutil.copytree(study, folder / "under_way")
        (folder / "under_way" / "sweep.parquet").unlink()
        for name in ("folder.html", "failed"):
            (folder / name).mkdir()
        failed = {"status": "failed", "error": "no such column"}
        (folder / "failed" / "record.json").write_text(json.dumps(failed))
    before = sorted(folder.rglob("*.html"))
    finished = quick("report", *arguments.split(), cwd=folder)
    assert finished.returncode == 2, finished.stdout
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    assert says in finished.stderr
    assert sorted(folder.rglob("*.html")) == before
