"""Sweeps are read back through MLflow's own client, from real stores; what is written as rows equals its own calls."""

import contextlib
import hashlib
import importlib.util
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Quick
from waiting_record import write_record

from benchmarks import postgres
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import write_json, write_text
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.tracking import calls as tracking_calls
from gmm_pipeline.tracking import rows as tracking_rows
from gmm_pipeline.tracking import runs as tracking
from gmm_pipeline.tracking import store as tracking_store
from gmm_pipeline.tracking import views as tracking_views
from gmm_pipeline.tracking.calls import Calls
from gmm_pipeline.tracking.rows import Rows
from gmm_pipeline.tracking.sweeps import SweepTracker, open_sweep, unlogged

STARTED = "2026-03-01T12:00:00.250+01:00"
LATER = "2026-03-02T08:00:00.750+01:00"
NOTHING: dict[str, Any] = {"metrics": {}, "params": {}, "tags": {}, "note": ""}


@pytest.fixture(scope="session")
def made_store(tmp_path_factory):
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracking_store.client_of(f"sqlite:///{file}")
    return file


@pytest.fixture
def uri(made_store, tmp_path):
    return new_store(made_store, tmp_path / "outputs")


@pytest.fixture
def sweep(tmp_path):
    """Four runs: two finished, one diverged, one failed."""
    return write_sweep(tmp_path / "outputs/sweeps/my_study")


@pytest.fixture(params=["rows", "calls"])
def either_way(request, monkeypatch):
    if request.param == "calls":
        monkeypatch.setattr(tracking_rows, "fits", lambda file: False)
    return request.param


def new_store(made: Path, folder: Path) -> str:
    folder.mkdir(exist_ok=True, parents=True)
    shutil.copy(made, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


def id_of(folder: Path) -> str:
    """Drawn once a sweep; MLflow remembers in a process where the files of a run id are."""
    return hashlib.sha256(str(folder).encode()).hexdigest()[:32]


def write_sweep(folder: Path, statuses: tuple[str, ...] = ("finished", "finished", "diverged", "failed")) -> Path:
    runs = [
        {"number": number, "overrides": [f"n_components={number // 2 + 1}", f"seed={number % 2}", "steps=1000"]}
        for number in range(len(statuses))
    ]
    manifest = {
        "format": 1,
        "id": id_of(folder),
        "name": folder.name,
        "command": "python -m gmm_pipeline fit --multirun n_components=1,2 seed=0,1 steps=1000 sweep=my_study",
        "started": STARTED,
        "objective": "bic",
        "runs": runs,
    }
    write_json(folder / "sweep.json", manifest)
    for run, status in zip(runs, statuses, strict=True):
        write_run(folder, run["number"], status)
    return folder


def write_run(folder: Path, number: int, status: str, started: str = STARTED) -> Path:
    record = folder / str(number)
    write_record(record, diverged=status == "diverged", n_steps=100)
    if status == "failed":
        for name in (artifacts.DATA, artifacts.PARAMETERS, artifacts.METRICS, artifacts.HISTORY):
            (record / name).unlink()
    about = read_json(record / artifacts.RECORD)
    reason = {"error": f"run {number} cannot be"} if status != "finished" else {}
    place = {"sweep": {"name": folder.name, "id": id_of(folder), "number": number}}
    times = {"started": started, "ended": started.replace("00.", "09.")}
    write_json(record / artifacts.RECORD, {**about, **times, **reason, **place, "status": status})
    return record


def records_of(sweep: Path) -> list[Path]:
    return sorted(file.parent for file in sweep.glob("*/record.json"))


def opened(sweep: Path, uri: str, *, run_name: str | None = None, points: int = 5) -> SweepTracker:
    return open_sweep(
        sweep, uri=uri, experiment="waiting", run_name=run_name, series_points=100, sweep_series_points=points
    )


def logged(sweep: Path, uri: str) -> tracking.TrackedRun:
    tracker = opened(sweep, uri)
    tracker.log(records_of(sweep))
    return tracker.finish("FINISHED", **NOTHING)


def children(uri: str, parent: str) -> dict[int, Any]:
    found = runs_of(uri, f"tags.mlflow.parentRunId = '{parent}'")
    numbers = [int(run.data.tags["gmm_pipeline.number"]) for run in found]
    assert len(set(numbers)) == len(numbers), "a run is there twice"
    return dict(sorted(zip(numbers, found, strict=True)))


def runs_of(uri: str, chosen: str = "") -> list[Any]:
    client = tracking_store.client_of(uri)
    experiment: Any = client.get_experiment_by_name("waiting")
    return list(client.search_runs([experiment.experiment_id], chosen))


def count(uri: str, table: str) -> int:
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - a name from below


def as_told(uri: str, run: Any, parent: str) -> dict[str, Any]:
    """All that a client says of a run, without what names the store."""
    client = tracking_store.client_of(uri)
    info = {key: value for key, value in dict(run.info).items() if key not in ("run_id", "run_uuid", "artifact_uri")}
    assert run.data.tags.pop("mlflow.parentRunId") == parent
    histories = {
        name: sorted(
            (point.step, point.timestamp, point.value) for point in client.get_metric_history(run.info.run_id, name)
        )
        for name in run.data.metrics
    }
    inputs = [(dict(item.dataset), [(tag.key, tag.value) for tag in item.tags]) for item in run.inputs.dataset_inputs]
    data = {"params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags}
    return {"info": info, "histories": histories, "inputs": inputs, **data}


def test_rows_read_back_as_what_mlflows_own_calls_write(made_store, sweep, tmp_path, monkeypatch):
    told = []
    for name, fits in (("rows", tracking_rows.fits), ("calls", lambda file: False)):
        monkeypatch.setattr(tracking_rows, "fits", fits)
        uri = new_store(made_store, tmp_path / name)
        tracker = opened(sweep, uri)
        assert isinstance(tracker._writer, Rows if name == "rows" else Calls)
        tracker.log(records_of(sweep))
        parent = tracker.finish("FINISHED", **NOTHING).run_id
        told.append({number: as_told(uri, run, parent) for number, run in children(uri, parent).items()})
    assert sorted(told[0]) == [0, 1, 2, 3]
    assert told[0] == told[1]
    assert len(told[0][0]["histories"]["loss"]) == 5
    assert told[0][0]["inputs"][0][0]["name"] == "waiting"


def test_runs_have_names_ids_states_and_the_files_of_their_records(uri, sweep):
    parent = logged(sweep, uri)
    assert parent.run_id == id_of(sweep)
    runs = children(uri, id_of(sweep))
    assert [run.info.run_name for run in runs.values()] == [
        "K=1 seed=0",
        "K=1 seed=1",
        "K=2 seed=0",
        "K=2 seed=1",
    ]
    assert [run.info.status for run in runs.values()] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    assert runs[2].info.run_id == hashlib.sha256(f"{id_of(sweep)}/2".encode()).hexdigest()[:32]
    assert runs[2].data.tags["gmm_pipeline.error"] == "run 2 cannot be"
    assert "diverged" in runs[2].data.tags["mlflow.note.content"]
    assert "run 3 cannot be" in runs[3].data.tags["mlflow.note.content"]
    assert (runs[3].data.metrics, runs[3].inputs.dataset_inputs) == ({}, [])
    assert runs[3].data.params["seed"] == "3"
    client = tracking_store.client_of(uri)
    assert {file.path for file in client.list_artifacts(runs[0].info.run_id)} >= {"record.json", "history.npz"}
    assert count(uri, "datasets") == 1


def test_children_are_found_by_an_index_of_ours(uri, sweep, monkeypatch):
    file, parent = Path(uri.removeprefix("sqlite:///")), logged(sweep, uri)
    connected, asked = tracking_rows.connected, []

    @contextlib.contextmanager
    def heard(file: Path):
        with connected(file) as store:
            store.set_trace_callback(asked.append)
            yield store

    monkeypatch.setattr(tracking_rows, "connected", heard)
    assert len(Rows(file, "").children(parent.run_id, parent.experiment_id)) == 4
    with connected(file) as store:
        plan = store.execute(f"EXPLAIN QUERY PLAN {asked[-1]}").fetchall()
    assert "parent USING INDEX gmm_pipeline_children" in str(plan)


def test_a_failed_run_without_a_config_is_logged(uri, sweep):
    (sweep / "3" / artifacts.CONFIG).unlink()
    assert children(uri, logged(sweep, uri).run_id)[3].data.params == {}


def test_records_say_where_they_were_logged_and_keep_the_rest(uri, sweep, either_way):
    before = {record: read_json(record / artifacts.RECORD) for record in records_of(sweep)}
    parent = logged(sweep, uri)
    runs = children(uri, parent.run_id)
    for record, about in before.items():
        after = read_json(record / artifacts.RECORD)
        run_id = runs[int(record.name)].info.run_id
        tracked = after.pop("tracking")
        assert after == about
        page = tracking.page(parent.experiment_id, run_id)
        assert tracked == tracking.TrackedRun(uri, "waiting", parent.experiment_id, run_id, page)._asdict()


def test_a_resumed_sweep_has_each_run_once(uri, sweep, either_way):
    first = opened(sweep, uri)
    first.log(records_of(sweep)[:2])
    first.log(records_of(sweep)[:3])
    ids = {number: run.info.run_id for number, run in children(uri, first._tracked.run_id).items()}
    (parent,) = runs_of(uri, "tags.`gmm_pipeline.sweep_id` LIKE '%'")
    assert parent.info.status == "RUNNING"

    # Killed after logging and before noting it: the store has the run, and the record does not say so.
    about = read_json(sweep / "1" / artifacts.RECORD)
    told = about.pop("tracking")
    write_json(sweep / "1" / artifacts.RECORD, about)

    resumed = logged(sweep, uri)
    assert resumed.run_id == parent.info.run_id
    runs = children(uri, resumed.run_id)
    assert {number: run.info.run_id for number, run in runs.items() if number in ids} == ids
    assert len(runs) == 4
    assert len(runs_of(uri)) == 5
    assert read_json(sweep / "1" / artifacts.RECORD)["tracking"] == told


def test_records_of_another_store_are_logged_in_this_one(made_store, uri, sweep, tmp_path):
    logged(sweep, uri)
    other = new_store(made_store, tmp_path / "elsewhere")
    assert len(children(other, logged(sweep, other).run_id)) == 4
    # A record tells of the first store, as long as that has the run.
    assert read_json(sweep / "0" / artifacts.RECORD)["tracking"]["uri"] == uri
    Path(uri.removeprefix("sqlite:///")).unlink()
    logged(sweep, other)
    assert read_json(sweep / "0" / artifacts.RECORD)["tracking"]["uri"] == other


@pytest.mark.parametrize("first", ["rows", "calls"])
def test_a_sweep_is_there_once_whoever_wrote_it_first(uri, sweep, monkeypatch, first):
    """Through a server and straight into its database, in either order."""
    fits = tracking_rows.fits
    for way in (first, "rows" if first == "calls" else "calls"):
        monkeypatch.setattr(tracking_rows, "fits", fits if way == "rows" else lambda file: False)
        parent = logged(sweep, uri).run_id
        assert len(children(uri, parent)) == 4
        assert len(runs_of(uri)) == 5
        assert unlogged(sweep, records_of(sweep), uri=uri) is None


def test_what_a_store_has_not_is_said_without_writing(uri, sweep, either_way):
    records = records_of(sweep)
    assert unlogged(sweep, records, uri=uri) == records
    tracker = opened(sweep, uri)
    tracker.log(records[:2])
    write_run(sweep, 1, "finished", started=LATER)
    write_text(sweep / "3" / artifacts.RECORD, "{")
    assert unlogged(sweep, records, uri=uri) == records[1:]
    tracker.log(records[1:3])
    assert unlogged(sweep, records[:3], uri=uri) == []  # but the answer
    tracker.finish("FINISHED", **NOTHING)
    assert unlogged(sweep, records[:3], uri=uri) is None


def test_a_run_of_an_earlier_version_is_known_by_when_it_began(uri, sweep, either_way):
    parent = logged(sweep, uri).run_id
    before = {run.info.run_id for run in children(uri, parent).values()}
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("DELETE FROM tags WHERE key = 'gmm_pipeline.record_id'")
    logged(sweep, uri)
    assert {run.info.run_id for run in children(uri, parent).values()} == before


def test_the_best_run_is_the_model_of_the_sweep_and_the_only_one(uri, sweep, either_way):
    tracker = opened(sweep, uri)
    tracker.log(records_of(sweep))
    for best in ("0", "1", None):
        parent = opened(sweep, uri).finish("FINISHED", **NOTHING, best=best).run_id
    client = tracking_store.client_of(uri)
    run: Any = client.get_run(parent)
    (output,) = run.outputs.model_outputs
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert (model.model_id, model.source_run_id, model.status.name) == (output.model_id, parent, "READY")
    mixture = json.loads(Path(model.artifact_location.removeprefix("file://"), "data/mixture.json").read_text())
    assert mixture["locs"] == read_json(sweep / "1" / artifacts.PARAMETERS)["locs"]
    metrics = {metric.key: (metric.value, metric.dataset_name) for metric in model.metrics or []}
    expected = read_json(sweep / "1" / artifacts.METRICS)
    assert metrics == {name: (pytest.approx(expected[name]), "waiting") for name in ("bic", "loss")}
    assert model.name == run.info.run_name


def test_children_that_two_wrote_at_once_are_made_one(uri, sweep, monkeypatch):
    monkeypatch.setattr(tracking_rows, "fits", lambda file: False)
    one, other = opened(sweep, uri), opened(sweep, uri)
    one.log(records_of(sweep))
    monkeypatch.setattr(other._writer, "children", lambda *_: {})
    with pytest.raises(AssertionError, match="twice"):
        other.log(records_of(sweep))
        children(uri, id_of_parent(one))
    logged(sweep, uri)
    assert len(children(uri, id_of_parent(one))) == 4


def id_of_parent(tracker: SweepTracker) -> str:
    return tracker._tracked.run_id


def test_a_run_that_was_fitted_again_takes_the_place_of_the_failed_one(uri, sweep, either_way):
    parent = logged(sweep, uri).run_id
    write_run(sweep, 3, "finished", started=LATER)
    write_run(sweep, 0, "failed", started=LATER)
    assert logged(sweep, uri).run_id == parent
    runs = children(uri, parent)
    assert [runs[number].info.status for number in (0, 3)] == ["FAILED", "FINISHED"]
    assert (runs[0].data.metrics, runs[0].inputs.dataset_inputs) == ({}, [])
    assert runs[3].data.metrics["bic"] == read_json(sweep / "3" / artifacts.METRICS)["bic"]
    assert "gmm_pipeline.error" not in runs[3].data.tags
    if either_way == "rows":
        assert [count(uri, table) for table in ("runs", "inputs", "input_tags", "datasets")] == [5, 3, 3, 1]


def test_what_was_deleted_in_mlflow_is_logged_again(uri, sweep, either_way):
    parent = logged(sweep, uri).run_id
    client = tracking_store.client_of(uri)
    client.delete_run(children(uri, parent)[1].info.run_id)
    assert sorted(children(uri, parent)) == [0, 2, 3]
    logged(sweep, uri)
    assert sorted(children(uri, parent)) == [0, 1, 2, 3]


def test_a_parent_that_was_deleted_comes_back(uri, sweep):
    parent = logged(sweep, uri).run_id
    tracking_store.client_of(uri).delete_run(parent)
    assert logged(sweep, uri).run_id == parent
    assert tracking_store.client_of(uri).get_run(parent).info.lifecycle_stage == "active"


def test_a_run_that_a_call_left_half_logged_is_replaced(uri, sweep, monkeypatch):
    monkeypatch.setattr(tracking_rows, "fits", lambda file: False)
    tracker = opened(sweep, uri)
    client = tracking_store.client_of(uri)
    with monkeypatch.context() as broken:
        broken.setattr(type(client), "log_inputs", lambda *_: (_ for _ in ()).throw(OSError("the line is dead")))
        with pytest.raises(tracking.TrackingError, match="the line is dead"):
            tracker.log([sweep / "0"])
    ((half),) = children(uri, tracker._tracked.run_id).values()
    assert (half.info.status, half.data.tags["gmm_pipeline.status"]) == ("FAILED", "incomplete")
    assert "tracking" not in read_json(sweep / "0" / artifacts.RECORD)
    whole = children(uri, logged(sweep, uri).run_id)[0]
    assert (whole.info.status, whole.data.tags["gmm_pipeline.status"]) == ("FINISHED", "finished")


def test_children_are_found_beyond_a_page_of_the_answer(uri, sweep, monkeypatch):
    monkeypatch.setattr(tracking_rows, "fits", lambda file: False)
    monkeypatch.setattr(tracking_calls, "PAGE_OF_RUNS", 1)
    logged(sweep, uri)
    assert len(children(uri, logged(sweep, uri).run_id)) == 4


def test_a_call_logs_all_of_its_records_or_none(uri, sweep):
    tracker = opened(sweep, uri)
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON input_tags BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    with pytest.raises(tracking.TrackingError, match=r"the sweep could not be logged: disk full\. Nothing is lost"):
        tracker.log(records_of(sweep))
    assert [count(uri, table) for table in ("runs", "metrics", "params", "inputs")] == [1, 0, 0, 0]
    assert not any("tracking" in read_json(record / artifacts.RECORD) for record in records_of(sweep))


def test_a_store_that_others_hold_is_waited_for_and_not_forever(uri, sweep, monkeypatch):
    tracker = opened(sweep, uri)
    monkeypatch.setattr(tracking_rows, "LOCK_TIMEOUT_S", 0.05)
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(tracking.TrackingError, match=r"database is locked\. Nothing is lost"):
            tracker.log(records_of(sweep))
        other.execute("COMMIT")
    tracker.log(records_of(sweep))
    assert len(children(uri, id_of(sweep))) == 4


@pytest.mark.parametrize(
    "change", ["ALTER TABLE runs ADD COLUMN owner TEXT", "UPDATE alembic_version SET version_num = 'of tomorrow'"]
)
def test_tables_that_are_not_known_are_left_to_mlflow(uri, change):
    file = Path(uri.removeprefix("sqlite:///"))
    assert tracking_rows.fits(file)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(change)
    assert not tracking_rows.fits(file)


def test_a_sweep_goes_on_where_the_tables_have_changed_meanwhile(uri, sweep):
    opened(sweep, uri).log(records_of(sweep)[:2])
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        connection.execute("ALTER TABLE runs ADD COLUMN owner TEXT")
    tracker = opened(sweep, uri)
    assert isinstance(tracker._writer, Calls)
    tracker.log(records_of(sweep))
    assert len(children(uri, id_of(sweep))) == 4


def test_other_versions_of_mlflow_are_left_to_mlflow(uri, monkeypatch):
    monkeypatch.setattr(tracking_rows.importlib.metadata, "version", lambda _: "3.99.0")
    assert not tracking_rows.fits(Path(uri.removeprefix("sqlite:///")))


def test_a_record_of_another_sweep_is_refused_and_an_interrupted_one_is_none(uri, sweep):
    tracker = opened(sweep, uri)
    (sweep / "2" / artifacts.RECORD).unlink()
    tracker.log([sweep / "1", sweep / "2"])
    assert sorted(children(uri, id_of(sweep))) == [1]
    about = read_json(sweep / "0" / artifacts.RECORD)
    write_json(sweep / "0" / artifacts.RECORD, about | {"sweep": about["sweep"] | {"id": "f" * 32}})
    with pytest.raises(InputError, match="expected a record of the sweep my_study"):
        tracker.log([sweep / "0"])


def test_the_parent_has_numbers_pictures_and_a_view(uri, sweep, either_way):
    write_text(sweep / "sweep.csv", "number,bic\n")
    write_text(sweep / "code-0123456789ab.diff", "of the code that ran\n")
    write_text(sweep / "figures/bic.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
    tracker = opened(sweep, uri, run_name="mine")
    tracker.log(records_of(sweep))
    infinite = {"best_bic": 7.5, "worst_bic": float("inf")}
    tracker.finish("KILLED", metrics=infinite, params={"runs": "3"}, tags={"answer": "2 components"}, note="first")
    write_text(sweep / "sweep.csv", "number,bic\n0,7\n")
    tracked = opened(sweep, uri).finish("FINISHED", {"best_bic": 7.0}, {"runs": "4"}, {}, "**second**")

    client = tracking_store.client_of(uri)
    run: Any = client.get_run(tracked.run_id)
    assert (run.info.run_name, run.info.status, run.info.start_time) == ("mine", "FINISHED", 1772362800250)
    assert run.data.metrics == {"best_bic": 7.0}
    assert run.data.params == {"runs": "4" if either_way == "rows" else "3"}
    assert run.data.tags["mlflow.note.content"] == "**second**"
    assert run.data.tags["answer"] == "2 components"
    assert run.data.tags["mlflow.source.name"] == "gmm_pipeline fit"
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert folder.is_relative_to(Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts")
    assert (folder / "sweep.csv").read_text() == "number,bic\n0,7\n"
    assert {path.name for path in folder.iterdir()} == {
        "code-0123456789ab.diff",
        "sweep.csv",
        "sweep.json",
        "figures",
    }

    tags = client.get_experiment(tracked.experiment_id).tags
    views = {name: text for name, text in tags.items() if name.startswith("mlflow.sharedViewState.")}
    keys = [run.data.tags[f"gmm_pipeline.{name}"] for name in ("view", "table")]
    assert sorted(views) == sorted(f"mlflow.sharedViewState.{key}" for key in keys)
    filters = {json.loads(text)["searchFilter"] for text in views.values()}
    assert filters == {f"tags.mlflow.parentRunId = '{tracked.run_id}'"}


def test_a_sweep_stays_in_the_experiment_where_it_began(uri, sweep):
    opened(sweep, uri)
    moved = open_sweep(
        sweep, uri=uri, experiment="other", run_name=None, series_points=1, sweep_series_points=1
    ).finish("FINISHED", **NOTHING)
    assert moved.experiment == "waiting"


def test_a_sweep_does_not_end_before_it_began_where_a_clock_is_set_back(uri, sweep):
    tracked = opened(sweep, uri).finish("FINISHED", **NOTHING, ended="2026-03-01T10:00:00+01:00")
    run = tracking_store.client_of(uri).get_run(tracked.run_id)
    assert run.info.end_time == run.info.start_time


@pytest.mark.parametrize("key", ["series_points", "sweep_series_points"])
def test_negative_points(uri, sweep, key):
    points: dict[str, Any] = {"series_points": 1, "sweep_series_points": 1} | {key: -1}
    with pytest.raises(InputError, match=rf"tracking\.{key}: expected a whole number >= 0"):
        open_sweep(sweep, uri=uri, experiment="waiting", run_name=None, **points)


def charts_of(*runs: dict[str, str]) -> list[dict[str, Any]]:
    return json.loads(tracking_views.charts_of("f" * 32, runs).state)["compareRunCharts"]


def test_a_view_draws_bic_against_what_was_swept():
    swept, loss, parallel = charts_of({"n_components": "1", "seed": "0"}, {"n_components": "2", "seed": "1"})
    assert swept["xaxis"] == {"key": "n_components", "type": "METRIC"}
    assert swept["yaxis"]["key"] == "log_delta_bic"
    assert loss["metricKey"] == "loss"
    assert parallel["selectedParams"] == ["n_components", "seed"]


@pytest.mark.parametrize(
    ("swept", "axis"),
    [
        ({"optimizer.learning_rate": ("0.1", "0.2"), "data.seed": ("0", "1")}, ("optimizer.learning_rate", "PARAM")),
        ({"optimizer": ("adam", "sgd")}, ("n_components", "METRIC")),
        ({"seed": ("0", "1")}, ("n_components", "METRIC")),
        ({"steps": ("9", "10"), "n_components": ("1", "2")}, ("n_components", "METRIC")),
    ],
)
def test_the_axis_of_a_view(swept, axis):
    chart = charts_of(*({key: values[run] for key, values in swept.items()} for run in range(2)))[0]
    assert (chart["xaxis"]["key"], chart["xaxis"]["type"]) == axis


def test_a_view_is_named_by_what_it_says():
    key, text = tracking_views.charts_of("f" * 32, [{"seed": "0"}])
    assert key == hashlib.sha256(text.encode()).hexdigest()
    assert tracking_views.charts_of("e" * 32, [{"seed": "0"}]).key != key


def test_a_table_shows_what_was_swept_once_and_the_best_first():
    runs = [{"n_components": k, "seed": seed} for k in "12" for seed in "01"]
    state = json.loads(tracking_views.table_of("f" * 32, runs).state)
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`delta_bic`", True)
    assert state["selectedColumns"] == [
        "params.`seed`",
        *(f"metrics.`{name}`" for name in ("n_components", "bic", "delta_bic", "loss", "hit_rate")),
    ]


def test_runs_of_a_sweep_say_how_much_worse_than_the_best_they_are(uri, sweep, either_way):
    def logged_ones(excess: dict[int, float]) -> dict[int, tuple[float | None, float | None]]:
        tracker = opened(sweep, uri)
        tracker.log(records_of(sweep))
        parent = tracker.finish("FINISHED", **NOTHING, excess=excess).run_id
        found = {number: run.data.metrics for number, run in children(uri, parent).items()}
        return {number: (of.get("delta_bic"), of.get("log_delta_bic")) for number, of in found.items()}

    nothing = (None, None)
    assert logged_ones({0: 0.0, 1: 99.0}) == {0: (0.0, 0.0), 1: (99.0, 2.0), 2: nothing, 3: nothing}
    assert logged_ones({0: 9.0, 1: 0.0}) == {0: (9.0, 1.0), 1: (0.0, 0.0), 2: nothing, 3: nothing}  # resumed


def test_opening_the_module_does_not_import_mlflow():
    code = "import sys, gmm_pipeline.tracking.sweeps; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


RUNS = 40
TWO_AT_ONCE = """
import os, sys
from pathlib import Path
from gmm_pipeline.tracking.sweeps import open_sweep

sweep, settings = Path(SWEEP), {"run_name": None, "series_points": 9, "sweep_series_points": 2}

def log(number):
    tracker = open_sweep(sweep, uri=URI, experiment="waiting", **settings)
    count = tracker.log(sorted(file.parent for file in sweep.glob("*/record.json")))
    tracker.finish("FINISHED", metrics={}, params={}, tags={}, note="")
    Path(f"logged-{number}").write_text(str(count))

children = []
for number in range(2):
    children.append(os.fork())
    if children[-1] == 0:
        log(number)
        os._exit(0)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def lacking() -> str | None:
    return "psycopg2 is not installed" if importlib.util.find_spec("psycopg2") is None else postgres.missing()


@pytest.mark.skipif(lacking() is not None, reason=lacking() or "")
def test_two_processes_log_a_sweep_into_postgresql_at_once_and_each_run_is_there_once(quick: Quick, tmp_path):
    """Into an empty database, whose tables one of them makes; and then again."""
    sweep = write_sweep(tmp_path / "study", ("finished",) * RUNS)
    there = postgres.Found(parents=1, children=RUNS, numbers=RUNS, incomplete=0)
    with postgres.served() as uri:
        script = f"URI, SWEEP = {uri!r}, {str(sweep)!r}\n{TWO_AT_ONCE}"
        for logged in (RUNS, 0):
            both = quick("-c", script)
            assert both.returncode == 0, both.stderr
            assert sum(int((tmp_path / f"logged-{number}").read_text()) for number in (0, 1)) == logged
            assert postgres.runs_in(uri) == there
