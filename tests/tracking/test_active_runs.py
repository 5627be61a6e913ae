"""Records in runs that somebody else started, read back through MLflow's own client from a real store."""

from typing import Any

import mlflow
import pytest
from waiting_record import write_record

from gmm_pipeline import environment
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.tracking import runs as tracking
from gmm_pipeline.tracking import store as tracking_store
from gmm_pipeline.tracking.active_runs import log_fit, log_into_run


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """One store for all tests: each has runs of its own."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    made = f"sqlite:///{file}"
    client = tracking_store.client_of(made)
    for name in ("notebook", "by number"):  # MLflow itself would put their files into the current folder
        tracking_store.experiment_id_of(client, name, f"sqlite:///{file}")
    return made


@pytest.fixture
def theirs(uri, monkeypatch):
    """A notebook that uses MLflow."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "")  # so that what MLflow sets is undone
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("notebook")
    yield mlflow
    assert mlflow.active_run() is None
    mlflow.set_tracking_uri(before)


@pytest.fixture
def record(tmp_path):
    return write_record(tmp_path / f"outputs/fit/{tmp_path.name}")  # an id of its own


def read_back(uri: str, run_id: str) -> Any:
    return tracking_store.client_of(uri).get_run(run_id)


def test_a_fit_goes_into_the_active_run_which_stays_its_owners(theirs, uri, record):
    with theirs.start_run(run_name="mine", description="my words") as active:
        theirs.log_params({"seed": "of something else", "mine": "1"})
        theirs.log_metric("mine", 2.0)
        tracked = log_fit(record, series_points=3)
        assert theirs.active_run().info.run_id == active.info.run_id == tracked.run_id
        assert read_back(uri, tracked.run_id).info.status == "RUNNING"
        assert log_fit(record, series_points=3) == tracked
    run = read_back(uri, tracked.run_id)
    assert (run.info.run_name, run.info.status, tracked.experiment) == ("mine", "FINISHED", "notebook")
    assert run.data.tags["mlflow.note.content"] == "my words"
    assert run.data.tags["mlflow.source.name"] != "gmm_pipeline fit"
    assert run.data.tags["gmm_pipeline.status"] == "finished"
    assert (run.data.params["seed"], run.data.params["optimizer.learning_rate"]) == ("of something else", "0.05")
    metrics = read_json(record / "metrics.json")
    assert (run.data.metrics["mine"], run.data.metrics["bic"]) == (2.0, pytest.approx(metrics["bic"]))
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["waiting"]
    assert len(run.outputs.model_outputs) == 1
    assert "record.json" in {file.path for file in tracking_store.client_of(uri).list_artifacts(tracked.run_id)}
    assert read_json(record / "record.json").get("tracking") is None


def test_a_run_takes_one_fit(theirs, record, tmp_path):
    other = write_record(tmp_path / f"outputs/fit/other-{tmp_path.name}", config={"seed": 4})
    with theirs.start_run():
        first = log_fit(record, series_points=1)
        with pytest.raises(tracking.TrackingError, match=r"already has another fit.* Nothing is lost: the record at"):
            log_fit(other, series_points=1)
        with theirs.start_run(nested=True):
            assert log_fit(other, series_points=1).run_id != first.run_id


def test_a_fit_without_an_active_run_starts_and_ends_one(theirs, uri, record, tmp_path):
    run = read_back(uri, log_fit(record, series_points=1).run_id)
    assert (run.info.run_name, run.info.status) == ("K=2 learning_rate=0.05 adam seed=3 waiting", "FINISHED")
    diverged = write_record(tmp_path / f"outputs/fit/other-{tmp_path.name}", diverged=True)
    assert read_back(uri, log_fit(diverged, series_points=1).run_id).info.status == "FAILED"


def test_a_model_of_the_owners_stays(theirs, uri, record):
    with theirs.start_run() as active:
        client = tracking_store.client_of(uri)
        own = client.create_logged_model(active.info.experiment_id, "own", source_run_id=active.info.run_id)
        log_fit(record, series_points=1)
        found = client.search_logged_models([active.info.experiment_id], f"source_run_id = '{active.info.run_id}'")
    assert {one.name for one in found} == {"own", "K=2 learning_rate=0_05 adam seed=3 waiting"}
    assert client.list_logged_model_artifacts(own.model_id) == []


def test_the_run_of_a_variable(uri, record, monkeypatch):
    client = tracking_store.client_of(uri)
    run_id = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    tracked = log_into_run(record, uri=uri, run_id=str(environment.run_id()), series_points=1)
    assert (tracked.run_id, tracked.experiment, tracked.uri) == (run_id, "Default", uri)
    assert read_back(uri, run_id).info.status == "RUNNING"
    # Where a later `log` of the same record finds it.
    assert tracking.log_record(record, uri=uri, experiment="other", run_name=None, series_points=1) == tracked
    with pytest.raises(tracking.TrackingError, match=r"the fit in the run 0123.*could not be logged: .*not found"):
        log_into_run(record, uri=uri, run_id="0123" * 8, series_points=1)


def test_the_experiment_of_a_variable(uri, record, monkeypatch):
    client = tracking_store.client_of(uri)
    existing: Any = client.get_experiment_by_name("by number")
    number = existing.experiment_id
    assert environment.experiment("default") == "default"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    named = environment.experiment("default")
    tracked = tracking.log_record(record, uri=uri, experiment=named, run_name=None, series_points=1)
    assert (tracked.experiment, tracked.experiment_id) == ("by number", number)
    client.delete_experiment(number)
    assert tracking_store.experiment_id_of(client, named, uri) == number
    assert client.get_experiment(number).lifecycle_stage == "active"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "by name")
    assert environment.experiment("default") == "by name"
