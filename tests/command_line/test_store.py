"""A store of runs that cannot take what was found: a warning, the answer and a whole record."""

import contextlib
import json
import sqlite3
from pathlib import Path

from conftest import Quick

FIT = ("fit", "figures=none", "animation=none", "search=none", "steps=12", "restarts=2", "data.n_draws=60")


def change(store: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(statement)


def test_a_deleted_experiment_is_restored(quick: Quick, tmp_path):
    assert quick(*FIT).returncode == 0
    deleted = "UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name <> 'Default'"
    for more in (("seed=1",), ("--multirun", "seed=2,3", "sweep=study")):
        change(tmp_path / "outputs/mlflow.db", deleted)
        ended = quick(*FIT, *more)
        said = "warning: the experiment 'gmm_pipeline', which was deleted in MLflow, is restored with its runs\n"
        assert (ended.returncode, ended.stderr) == (0, said)
    records = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/[fs]*/**/record.json")]
    with contextlib.closing(sqlite3.connect(tmp_path / "outputs/mlflow.db")) as connection:
        runs = connection.execute("SELECT run_uuid FROM runs WHERE status = 'FINISHED' AND lifecycle_stage = 'active'")
        assert {about["tracking"]["run_id"] for about in records} < {run_id for (run_id,) in runs}
    assert len(records) == 4


def test_a_store_that_cannot_be_read_costs_a_warning_at_once(quick: Quick, tmp_path):
    """Which MLflow would try again for minutes."""
    store = tmp_path / "outputs/mlflow.db"
    store.parent.mkdir()
    change(store, "CREATE TABLE runs (run_uuid)")
    store.write_bytes(store.read_bytes()[:4096])
    ended = quick(*FIT)
    assert ended.returncode == 0
    (warning,) = ended.stderr.splitlines()
    assert "the run could not be logged: database disk image is malformed. Nothing is lost: " in warning
    assert "± s.e." in ended.stdout
    (record,) = tmp_path.glob("outputs/fit/*/record.json")
    assert "tracking" not in json.loads(record.read_text())


def test_mlflows_own_variables_name_store_and_experiment(quick: Quick, tmp_path):
    named = {"MLFLOW_TRACKING_URI": "sqlite:///team.db", "MLFLOW_EXPERIMENT_NAME": "waiting"}
    fit = quick(*FIT, **named)
    assert fit.returncode == 0, fit.stderr
    (record,) = tmp_path.glob("outputs/fit/*/record.json")
    tracked = json.loads(record.read_text())["tracking"]
    assert (tracked["uri"], tracked["experiment"]) == ("sqlite:///team.db", "waiting")
    assert not (tmp_path / "outputs/mlflow.db").exists()
    by_id = {"MLFLOW_TRACKING_URI": "sqlite:///team.db", "MLFLOW_EXPERIMENT_ID": tracked["experiment_id"]}
    sweep = quick(*FIT, "--multirun", "seed=2,3", "sweep=study", MLFLOW_RUN_ID=tracked["run_id"], **by_id)
    assert (sweep.returncode, sweep.stderr) == (0, "")
    noted = json.loads((tmp_path / "outputs/sweeps/study/sweep.json").read_text())["tracking"]
    assert noted["experiment"] == "waiting"
    under = f"SELECT value FROM tags WHERE key = 'mlflow.parentRunId' AND run_uuid = '{noted['run_id']}'"  # noqa: S608 - an id
    with contextlib.closing(sqlite3.connect(tmp_path / "team.db")) as connection:
        assert connection.execute(under).fetchall() == [(tracked["run_id"],)]
    second = quick(*FIT, "seed=1", MLFLOW_RUN_ID=tracked["run_id"], **by_id)
    assert second.returncode == 0
    assert f"the run {tracked['run_id']} already has another fit, and a run takes one. Nothing is lost" in second.stderr
    assert "1 logged, 3 already there; waiting in sqlite:///team.db" in quick("log", **named).stdout
    assert quick("repair", **named).stdout.startswith("nothing to repair in team.db")
    for variables, says in (
        ({"MLFLOW_TRACKING_URI": ""}, "outputs/mlflow.db, which does not exist"),  # as if it were not set
        ({"MLFLOW_TRACKING_URI": "databricks"}, "tracking.uri, from MLFLOW_TRACKING_URI: expected sqlite:///FILE"),
        (named, "mine.db, which does not exist"),
    ):
        words = ("tracking.uri=sqlite:///mine.db",) if variables is named else ()
        assert says in quick("ui", *words, **variables).stderr


def test_what_cannot_be_logged_is_refused_before_the_fit(quick: Quick, tmp_path):
    ended = quick(*FIT, "tracking.series_points=-1")
    assert ended.returncode == 2
    assert ended.stderr.startswith(
        "error: tracking.series_points: expected a whole number from 0 to 1000000, but got -1."
    )
    assert list(tmp_path.glob("outputs/fit/*")) == []
