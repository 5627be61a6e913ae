"""The command `repair`, on a store whose folder was really moved."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
from conftest import Quick

from gmm_pipeline import load
from gmm_pipeline.tracking import store as tracking_store

QUIET = ("figures=none", "animation=none", "search=none", "data.n_draws=100", "steps=40")

_moved: dict[str, tuple[Path, Path, str]] = {}


@pytest.fixture
def moved(quick: Quick, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A folder that held a fit and a sweep of two runs, where all of it is now, and what repairing it said."""
    if not _moved:
        old, new = tmp_path_factory.mktemp("old"), tmp_path_factory.mktemp("new place")
        store = f"tracking.uri=sqlite:///{old}/outputs/mlflow.db"
        assert quick("fit", *QUIET, cwd=old).returncode == 0
        assert quick("fit", *QUIET, "-m", "sweep=study", "n_components=1,2", store, cwd=old).returncode == 0
        shutil.move(old / "outputs", new / "outputs")
        finished = quick("repair", cwd=new)
        assert finished.returncode == 0, finished.stderr
        _moved["moved"] = old, new, finished.stdout
    return _moved["moved"]


def runs_of(folder: Path) -> dict[str, Any]:
    client = tracking_store.client_of(f"sqlite:///{folder}/outputs/mlflow.db")
    experiment: Any = client.get_experiment_by_name("gmm_pipeline")
    return {str(run.info.run_name): run for run in client.search_runs([experiment.experiment_id])}


def parent_of(folder: Path) -> Any:
    return next(run for name, run in runs_of(folder).items() if name.endswith("study"))


def test_what_was_changed_is_told(moved):
    old, new, said = moved
    lines = said.splitlines()
    assert lines[0] == f"moved from {old}/outputs to {new}/outputs"
    # The fit and the sweep's best are models; the sweep noted its store by its whole path, with its three records.
    told = "2 experiments, 4 runs, 2 models, 4 records, 3 notes of records"
    assert lines[1] == f"paths fixed: {told}"
    backup = new / lines[2].split()[5].rstrip(";")
    with contextlib.closing(sqlite3.connect(backup)) as connection:
        before = [uri for (uri,) in connection.execute("SELECT artifact_uri FROM runs")]
    assert len(before) == 4
    assert all(uri.startswith(old.as_uri()) for uri in before)


def test_nothing_names_the_old_place(moved):
    old, new, _ = moved
    with contextlib.closing(sqlite3.connect(new / "outputs" / "mlflow.db")) as connection:
        dump = [line for line in connection.iterdump() if str(old) in line or old.as_uri() in line]
    # The command is told as it was typed.
    assert [line for line in dump if "mlflow.note.content" not in line and "'command'" not in line] == []


def test_artifacts_models_and_records_are_found_at_the_new_place(quick: Quick, moved, monkeypatch):
    _, new, _ = moved
    uri = f"sqlite:///{new}/outputs/mlflow.db"
    client = tracking_store.client_of(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    runs = runs_of(new)
    assert len(runs) == 4
    for name, run in runs.items():
        there = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert ("sweep.json" if name.endswith("study") else "record.json") in there
    fit = next(run for name, run in runs.items() if name.startswith("K=2 ") and " adam " in name)
    for run, record in ((fit, next((new / "outputs" / "fit").iterdir())), (parent_of(new), best_of(new))):
        model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
        found = model.predict(pd.DataFrame({"datum": [1.0]}))
        assert sum(name.startswith("responsibility") for name in found) == len(load(record).locs)
    (new / "new.csv").write_text("x\n1\n2\n")
    run = f"run={runs['K=1'].info.run_id}"
    predicted = quick("predict", run, "data.path=new.csv", "data.column=x", "output=labels.csv", cwd=new)
    assert predicted.returncode == 0, predicted.stderr


def best_of(folder: Path) -> Path:
    records = (folder / "outputs" / "sweeps" / "study").glob("*/metrics.json")
    return min(records, key=lambda file: json.loads(file.read_text())["bic"]).parent


def test_a_sweep_goes_on_at_the_new_place(quick: Quick, moved):
    _, new, _ = moved
    finished = quick("fit", *QUIET, "-m", "sweep=study", "n_components=1,2,3", cwd=new)
    assert finished.returncode == 0, finished.stderr
    assert "3 runs, 2 done before, 1 to fit" in finished.stdout
    parent = parent_of(new)
    assert parent.info.run_name == "K=1…3 study"
    children = [run for run in runs_of(new).values() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 3
    assert len(parent.outputs.model_outputs) == 1


def test_a_second_repair_does_nothing(quick: Quick, moved):
    _, new, _ = moved
    before = sorted(new.rglob("*"))
    finished = quick("repair", cwd=new)
    assert finished.returncode == 0
    assert finished.stdout == "nothing to repair in outputs/mlflow.db: no path in it has moved to outputs\n"
    assert [path for path in sorted(new.rglob("*")) if "mlflow.db" not in path.name] == [
        path for path in before if "mlflow.db" not in path.name
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("tracking.uri=http://host:5000", "error: tracking.uri: expected the file of a store, sqlite:///FILE, but got"),
        ("tracking=none", "error: tracking.uri: expected a store, but got null"),
        ("outputs_dir=nowhere", "error: outputs_dir: expected the folder of the records, where it is now, but got"),
        ("tracking.uri=sqlite:///lost.db", "lost.db, which does not exist"),
        ("tracking.uri=sqlite:///other.db", "other.db, which has no runs"),
        ("tracking.uri=sqlite:///new.txt", "new.txt, which is something else"),
    ],
)
def test_what_cannot_be_repaired(quick: Quick, tmp_path, arguments, says):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "new.txt").write_text("not a database, and long enough to be one")
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
    finished = quick("repair", *arguments.split())
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    assert says in finished.stderr
    assert finished.stderr.count("\n") == 1
