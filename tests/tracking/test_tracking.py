"""What was logged is read back through MLflow's own client, from a real store."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow.data
import numpy as np
import pytest
from waiting_record import COMMAND, write_record

from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts, contents
from gmm_pipeline.records.files import write_json
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.tracking import calls as tracking_calls
from gmm_pipeline.tracking import loggable, slow_servers
from gmm_pipeline.tracking import notes as tracking_notes
from gmm_pipeline.tracking import record_rows as tracking_record_rows
from gmm_pipeline.tracking import reports as tracking_reports
from gmm_pipeline.tracking import runs as tracking
from gmm_pipeline.tracking import store as tracking_store
from gmm_pipeline.tracking.notes import write_note


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A store that MLflow made: 67 migrations, so once a session."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracking_store.client_of(f"sqlite:///{file}")
    return file


@pytest.fixture
def uri(empty_store, tmp_path):
    (tmp_path / "outputs").mkdir(exist_ok=True)
    shutil.copy(empty_store, tmp_path / "outputs/mlflow.db")
    return f"sqlite:///{tmp_path / 'outputs/mlflow.db'}"


@pytest.fixture
def record(tmp_path):
    return write_record(tmp_path / "outputs/fit/2026-03-01")


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(*_: object, **__: object) -> None:
    raise OSError("No space left on device")


def log(record: Path, uri: str, *, run_name: str | None = None, series_points: int = 10) -> tracking.TrackedRun:
    return tracking.log_record(record, uri=uri, experiment="waiting", run_name=run_name, series_points=series_points)


def read_back(uri: str, tracked: tracking.TrackedRun) -> tuple[Any, Any]:
    client = tracking_store.client_of(uri)
    return client, client.get_run(tracked.run_id)


def runs_of(uri: str) -> list[Any]:
    client = tracking_store.client_of(uri)
    experiment: Any = client.get_experiment_by_name("waiting")
    return client.search_runs([experiment.experiment_id])


def test_log_record_is_read_back_whole(uri, record):
    tracked = log(record, uri)
    client, run = read_back(uri, tracked)

    assert run.info.status == "FINISHED"
    assert run.info.end_time - run.info.start_time == 3250
    assert run.info.run_name == "K=2 learning_rate=0.05 adam seed=3 waiting"
    assert tracked.page.startswith(f"/#/experiments/{tracked.experiment_id}/runs/{tracked.run_id}")

    assert run.data.params["optimizer.learning_rate"] == "0.05"
    assert run.data.params["prior.alpha_prior"] == "[1.0, 1.0]"
    assert run.data.params["data.column"] == "null"
    assert not any(name.startswith("tracking") for name in run.data.params)

    metrics = read_json(record / artifacts.METRICS)
    parameters = read_json(record / artifacts.PARAMETERS)
    assert {name: run.data.metrics[name] for name in ("loss", "bic", "aic", "log_likelihood")} == pytest.approx(
        {name: value for name, value in metrics.items() if value is not None}, rel=1e-12
    )
    assert "entropy" not in run.data.metrics
    assert run.data.metrics["loc_1"] == pytest.approx(parameters["locs"][1], rel=1e-12)

    inputs = run.inputs.dataset_inputs
    assert [(item.dataset.name, item.tags[0].value) for item in inputs] == [("waiting", "training")]
    assert json.loads(inputs[0].dataset.profile)["num_rows"] == 272
    assert mlflow.data.get_source(inputs[0]).to_dict() == {"uri": str(record.parent / "waiting.csv")}

    artifact_folder = Path(run.info.artifact_uri.removeprefix("file://"))
    copied = bytes_below(artifact_folder)
    assert {name: one for name, one in copied.items() if not name.startswith("model/")} == bytes_below(record)
    assert artifact_folder.is_relative_to(record.parents[1] / "mlartifacts")
    assert {file.path for file in client.list_artifacts(tracked.run_id, "figures")} == {
        "figures/fit.png",
        "figures/fit.svg",
    }


def test_tags_come_from_the_record(uri, record):
    tags = read_back(uri, log(record, uri))[1].data.tags
    assert tags["mlflow.user"] == "ann"
    assert tags["mlflow.source.name"] == "gmm_pipeline fit"
    assert tags["mlflow.source.git.commit"].startswith("0123")
    assert tags["git.dirty"] == "true"
    assert tags["gmm_pipeline.record"] == str(record)
    assert tags["gmm_pipeline.status"] == "finished"
    assert "jax=0.7.0" in tags["versions"]
    assert "| loc (minutes) |" in tags["mlflow.note.content"]
    assert COMMAND in tags["mlflow.note.content"]


def test_series_are_thinned_and_end_on_the_final_value(uri, record):
    tracked = log(record, uri)
    client, run = read_back(uri, tracked)
    for name in ("loss", "weight_0", "weight_1", "loc_0", "loc_1", "scale_0", "scale_1"):
        series = client.get_metric_history(tracked.run_id, name)
        assert len(series) == 10
        assert [series[0].step, series[-1].step] == [0, 1000]
        assert series[-1].value == run.data.metrics[name]
    assert [metric.step for metric in client.get_metric_history(tracked.run_id, "bic")] == [0]


@pytest.mark.parametrize(("series_points", "steps"), [(0, [0]), (1, [1000]), (2, [0, 1000])])
def test_few_series_points(tmp_path, series_points, steps):
    content = contents.read(write_record(tmp_path / "record"))
    points = loggable.points(content, series_points)
    assert [point.step for point in points if point.name == "loss"] == steps
    assert any(point.name == "loc_0" for point in points) == (series_points > 0)


def test_more_metrics_than_one_request_takes(uri, tmp_path):
    record = write_record(tmp_path / "long", n_steps=2000)
    tracked = log(record, uri, series_points=1000)
    client, _ = read_back(uri, tracked)
    assert len(client.get_metric_history(tracked.run_id, "scale_1")) == 401


def test_diverged_record_is_a_failed_run(uri, tmp_path):
    record = write_record(tmp_path / "diverged", diverged=True)
    tracked = log(record, uri, series_points=1000)
    client, run = read_back(uri, tracked)
    assert run.info.status == "FAILED"
    assert run.data.tags["gmm_pipeline.status"] == "diverged"
    assert "diverged" in run.data.tags["mlflow.note.content"]
    assert all(np.isfinite(point.value) for point in client.get_metric_history(tracked.run_id, "loss"))
    assert "bic" not in run.data.metrics


def test_names_and_values_that_mlflow_refuses(uri, tmp_path):
    odd = {
        "data[0]": 1,
        "data=0": 2,
        "a//b": 3,
        "/root": 4,
        "..": 5,
        "n" * 400: 6,
        "long": "x" * 7000,
        "λ": 7,
        "empty": {},
    }
    record = write_record(tmp_path / "odd", config=odd)
    write_json(record / artifacts.METRICS, {"loss": 1.0, "p(x) > 0.5": 2.0, "a//b": 3.0})
    _, run = read_back(uri, log(record, uri))
    assert run.data.params["data_0_"] == "1"
    assert run.data.params["λ"] == "7"
    assert len(run.data.params["long"]) == 6000
    assert sorted(run.data.params.values()).count("6") == 1
    assert run.data.metrics["p_x_ _ 0.5"] == 2.0


def test_two_names_that_become_one_are_distinguished():
    assert loggable.accepted({"a[0]": 1, "a=0=": 2, "a_0_": 3}) == {"a_0_": 1, "a_0__2": 2, "a_0__3": 3}


def test_a_run_is_named_by_what_was_asked_for(tmp_path):
    content = contents.read(write_record(tmp_path / "record"))
    overrides = [
        "data=waiting",
        "seed=3",
        "tracking.run_name=null",
        "hydra.verbose=true",
        "data.seed=7",
        "init=kmeans",
        "+prior.alpha=2",
        "n_components=2",
        "animation.formats=[]",
    ]
    content = content._replace(record=content.record | {"overrides": overrides})
    assert loggable.run_name(content) == "K=2 data.seed=7 init=kmeans alpha=2 adam seed=3 waiting"


def test_a_given_run_name_is_kept(uri, record):
    _, run = read_back(uri, log(record, uri, run_name="mine"))
    assert run.info.run_name == "mine"


# A process that looks at a store and goes again: the last to close it, as far as SQLite can see, removes its log.
VISITOR = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
for asked in ("PRAGMA integrity_check", "SELECT count(*) FROM runs"):
    print(*connection.execute(asked).fetchone())
connection.close()
"""

# One process imports and is forked, since four imports would take longer than the creation that is tested.
FOUR_AT_ONCE = """
import multiprocessing, subprocess, sys, warnings
from pathlib import Path
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from gmm_pipeline.tracking.runs import log_record

def log(records):
    uri, ids = "sqlite:///outputs/new/mlflow.db", []
    for record in records:
        ids.append(log_record(Path(record), uri=uri, experiment="waiting", run_name=None, series_points=3).run_id)
        subprocess.run([sys.executable, "-c", sys.argv[1], "outputs/new/mlflow.db"], check=True, capture_output=True)
    return ids

warnings.simplefilter("ignore")
with multiprocessing.get_context("fork").Pool(4) as pool:
    print(*sum(pool.map(log, [sys.argv[first::4] for first in range(2, 6)], chunksize=1), []))
"""


def visited(uri: str) -> list[str]:
    """What another process says of a store: whether it is whole, and how many runs it has."""
    script = [sys.executable, "-c", VISITOR, uri.removeprefix("sqlite:///")]
    return subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()


def test_four_processes_at_once_make_one_store_relative_to_where_they_run(tmp_path):
    records = [
        str(write_record(tmp_path / "outputs/fit" / str(number), config={"seed": number})) for number in range(8)
    ]
    script = [sys.executable, "-c", FOUR_AT_ONCE, VISITOR, *records]
    finished = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    uri = f"sqlite:///{tmp_path / 'outputs/new/mlflow.db'}"
    assert visited(uri) == ["ok", "8"]
    runs = runs_of(uri)
    assert {run.info.run_id for run in runs} == set(finished.stdout.split())
    assert [run.info.status for run in runs] == ["FINISHED"] * 8


@pytest.mark.parametrize("way", ["rows", "calls"])
def test_another_process_that_closes_the_store_leaves_this_one_its_log(uri, record, tmp_path, way, monkeypatch):
    """Whatever this process does between two runs: with its locks lost, what it writes next would be deleted."""
    if way == "calls":
        monkeypatch.setattr(tracking, "usable_experiment", lambda *_: None)
    other = write_record(tmp_path / "outputs/fit/other", config={"seed": 4})
    for logged, one in enumerate((record, other), start=1):
        tracked = log(one, uri)._asdict()
        write_note(one / artifacts.RECORD, tracked)
        tracking_reports.log_report(one / artifacts.DATA, tracking=tracked, uri=uri)
        assert visited(uri) == ["ok", str(logged)]


def test_a_deleted_experiment_is_restored_with_its_runs(uri, record, tmp_path, capsys):
    tracked = log(record, uri)
    tracking_store.client_of(uri).delete_experiment(tracked.experiment_id)
    assert log(record, uri) == tracked
    assert capsys.readouterr().err == (
        "warning: the experiment 'waiting', which was deleted in MLflow, is restored with its runs\n"
    )
    other = log(write_record(tmp_path / "outputs/fit/other", config={"seed": 4}), uri)
    assert {run.info.run_id for run in runs_of(uri)} == {tracked.run_id, other.run_id}


def test_a_record_whose_run_was_deleted_gets_another(ready, record):
    tracked = log(record, ready)
    tracking_store.client_of(ready).delete_run(tracked.run_id)
    again = log(record, ready)
    assert again.run_id != tracked.run_id
    assert [run.info.run_id for run in runs_of(ready)] == [again.run_id]


@pytest.mark.parametrize(
    "uri", ["outputs/mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:", "mongodb://host", "", "http://"]
)
def test_addresses_that_cannot_hold_runs(record, uri):
    with pytest.raises(InputError, match=r"tracking\.uri: expected sqlite:///FILE"):
        log(record, uri)


@pytest.mark.parametrize("user", ["ann:s/e@cret", "ann:secret", ":secret", "secret"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_address_with_a_password_is_refused_and_not_repeated(scheme, user):
    with pytest.raises(InputError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") as caught:
        tracking_store.store_file(f"{scheme}://{user}@host:5000/runs")
    assert (caught.value.where, caught.value.came) == ("tracking.uri", f"'{scheme}://…@host:5000/runs'")


@pytest.mark.parametrize("uri", ["ann:secret@host", "mysql+pymysql://ann:se/cret@host", "HTTP://ann:secret@host"])
def test_other_addresses_with_a_password_are_not_repeated_either(uri):
    with pytest.raises(InputError, match=r"tracking\.uri: .*…@host") as caught:
        tracking_store.store_file(uri)
    assert "cret" not in str(caught.value)


def test_a_file_name_may_hold_an_at_sign(tmp_path):
    assert tracking_store.store_file(f"sqlite:///{tmp_path}/ann@home.db") == tmp_path / "ann@home.db"


@pytest.mark.parametrize("uri", ["mysql://ann:secret@host/runs", "postgres://ann:secret@host/runs"])
def test_other_databases_want_a_server(record, uri):
    with pytest.raises(InputError, match="mlflow server") as caught:
        log(record, uri)
    assert "secret" not in str(caught.value)


def test_negative_series_points(record, uri):
    with pytest.raises(InputError, match=r"tracking\.series_points"):
        log(record, uri, series_points=-1)


def test_a_record_without_its_last_file_is_refused(record, uri):
    (record / artifacts.RECORD).unlink()
    with pytest.raises(InputError, match=r"no record\.json"):
        log(record, uri)


@pytest.mark.parametrize("hung", [False, True])
def test_a_dead_server_loses_nothing(record, monkeypatch, hung):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    before = bytes_below(record)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if not hung:
            server.close()
        with pytest.raises(
            tracking.TrackingError, match=r"Nothing is lost: the record at .* is complete\. Check that a server"
        ):
            log(record, address)
    assert bytes_below(record) == before


class Broken(BaseHTTPRequestHandler):
    """Answers as the path of its store says: by a status and its text, by half of an answer, or by no JSON."""

    def do_GET(self) -> None:
        says = self.path.split("/")[1]
        status, _, body = says.partition(",")
        self.send_response(int(status) if status.isdigit() else 200)
        self.send_header("Content-Length", "1000" if says == "half" else str(len(body or "hello")))
        self.end_headers()
        self.wfile.write((body or "hello").encode())

    do_POST = do_GET  # noqa: N815 - called by this name

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


@pytest.mark.parametrize(
    ("says", "remedy"),
    [
        ("500", "Check that a server answers there."),
        ("401", "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."),
        ("401,{}", "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."),
        ("403", "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."),
        ("half", "Check that a server answers there."),
        ("hello", "Check that a server answers there."),
    ],
)
def test_a_broken_server_loses_nothing(record, monkeypatch, says, remedy):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = bytes_below(record)
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(tracking.TrackingError, match="Nothing is lost: the record at") as caught:
            log(record, f"http://127.0.0.1:{server.server_port}/{says}")
        server.shutdown()
    assert str(caught.value).endswith(remedy)
    assert not says.startswith("4") or f"error code {says[:3]}, " in str(caught.value)
    assert bytes_below(record) == before


class Slow(Broken):
    """Answers byte by byte, each in time."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                self.wfile.write(b" ")
                time.sleep(0.05)

    do_POST = do_GET  # noqa: N815 - called by this name


def test_a_server_that_sends_a_byte_at_a_time_is_not_waited_for(record, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(slow_servers, "PARTS", 0.5)
    before = bytes_below(record)
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(
            tracking.TrackingError, match=r"no whole answer within 0\.5 s\. Nothing is lost: the record"
        ):
            log(record, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert bytes_below(record) == before


def test_a_path_that_mlflow_would_try_for_minutes_is_refused(record, tmp_path):
    with pytest.raises(InputError, match=r"tracking\.uri: expected a path without percent-encoded characters"):
        log(record, f"sqlite:///{tmp_path}/20%25 of it/mlflow.db")


@pytest.mark.parametrize("bug", [KeyError("loss"), TypeError("3 arguments"), ValueError("shapes")])
def test_a_fault_of_ours_is_no_failure_of_the_store(ready, record, monkeypatch, bug):
    def fails(*_: object) -> None:
        raise bug

    monkeypatch.setattr(tracking, "rows_of_record", fails)
    with pytest.raises(type(bug)) as raised:
        log(record, ready)
    assert raised.value is bug


def test_a_file_that_is_no_database_is_left_alone(record, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("these are notes\n" * 9)
    with pytest.raises(InputError, match=r"tracking\.uri: .* which is something else"):
        log(record, f"sqlite:///{notes}")
    with pytest.raises(InputError, match=r"tracking\.uri: .* which is something else"):
        log(record, f"sqlite:///{tmp_path}")
    assert notes.read_text() == "these are notes\n" * 9


def test_a_damaged_database_is_left_alone(record, tmp_path):
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    with pytest.raises(InputError, match=r"tracking\.uri: .* which is something else or damaged"):
        log(record, f"sqlite:///{tmp_path / 'torn.db'}")


def test_a_run_that_was_not_logged_whole_says_so(uri, record, monkeypatch):
    monkeypatch.setattr(type(tracking_store.client_of(uri)), "log_artifact", refuse)
    with pytest.raises(tracking.TrackingError, match="No space left"):
        log(record, uri)
    (run,) = runs_of(uri)
    assert (run.info.status, run.data.tags["gmm_pipeline.status"]) == ("FAILED", "incomplete")


def test_a_run_that_was_not_logged_whole_is_completed(uri, record, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(type(tracking_store.client_of(uri)), "log_outputs", refuse)
        with pytest.raises(tracking.TrackingError, match="No space left"):
            log(record, uri)
    (half,) = runs_of(uri)
    tracked = log(record, uri)
    (whole,) = runs_of(uri)
    assert tracked.run_id == whole.info.run_id == half.info.run_id
    assert (whole.info.status, whole.data.tags["gmm_pipeline.status"]) == ("FINISHED", "finished")
    assert len(whole.outputs.model_outputs) == len(whole.inputs.dataset_inputs) == 1
    client = tracking_store.client_of(uri)
    assert len(client.search_logged_models([tracked.experiment_id])) == 1
    assert len(client.get_metric_history(tracked.run_id, "loss")) == 10


def test_a_record_is_logged_once_wherever_it_lies(uri, record, tmp_path):
    first = log(record, uri)
    copy = shutil.copytree(record, tmp_path / "colleague" / "mine")
    assert log(copy, uri) == first
    tracked = tracking.log_record(copy, uri=uri, experiment="other", run_name="mine", series_points=1)
    assert tracked == first
    assert len(runs_of(uri)) == 1


def test_a_record_may_lie_around_its_store_and_among_other_files(uri, tmp_path):
    """Neither is copied: the store would be put into itself without an end."""
    record = write_record(tmp_path / "outputs")
    (record / "diary.txt").write_text("mine")
    (record / artifacts.REPORT).write_text("<html></html>")
    _, run = read_back(uri, log(record, uri))
    copied = bytes_below(Path(run.info.artifact_uri.removeprefix("file://")))
    others = ("diary.txt", "mlflow.db", "mlartifacts")
    ours = {name: one for name, one in copied.items() if not name.startswith("model/")}
    assert ours == {name: one for name, one in bytes_below(record).items() if not name.startswith(others)}


@pytest.fixture
def ready(uri):
    """A store that rows can be written to: with its experiment."""
    tracking_store.experiment_id_of(tracking_store.client_of(uri), "waiting", uri)
    return uri


def whole_run(uri: str, tracked: tracking.TrackedRun) -> dict[str, Any]:
    """All that MLflow's client says of a run, its model and its files, but for ids and times of logging."""
    client, run = read_back(uri, tracked)
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    root = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    assert run.info.artifact_uri == (root / tracked.run_id / "artifacts").as_uri()
    assert model.artifact_location == (root / "models" / model.model_id / "artifacts").as_uri()
    own = {"id": tracked.run_id, "model": model.model_id}
    listed = client.search_logged_models([tracked.experiment_id], f"source_run_id = '{tracked.run_id}'")
    files, of_run = bytes_below(root / "models" / model.model_id / "artifacts"), bytes_below(root / own["id"])
    of_model = {name: of_run[f"artifacts/model/{name}"] for name in files}
    assert of_model == files
    about = files.pop("MLmodel").decode()
    del of_run["artifacts/model/MLmodel"]
    return {
        "info": {key: value for key, value in dict(run.info).items() if str(own["id"]) not in str(value)},
        "data": run.data.to_dictionary(),
        "histories": {
            name: [(point.step, point.timestamp, point.value) for point in client.get_metric_history(own["id"], name)]
            for name in run.data.metrics
        },
        "inputs": [(dict(one.dataset), [dict(tag) for tag in one.tags]) for one in run.inputs.dataset_inputs],
        "model": (
            model.name,
            model.model_type,
            model.status,
            model.source_run_id == own["id"],
            model.tags,
            model.params,
            sorted(
                (metric.key, metric.value, metric.step, metric.timestamp, metric.dataset_name, metric.dataset_digest)
                for metric in model.metrics or []
            ),
        ),
        "step": output.step,
        "found": [one.model_id for one in listed] == [model.model_id],
        "files": (of_run, files),
        "about": [line for line in about.splitlines() if own["id"] not in line and own["model"] not in line][:-1],
    }


def test_a_record_as_rows_is_read_back_as_what_mlflows_own_calls_write(ready, record, monkeypatch):
    rows = log(record, ready)
    by_rows = whole_run(ready, rows)
    tracking_store.client_of(ready).delete_run(rows.run_id)
    with monkeypatch.context() as other:
        other.setattr(tracking, "usable_experiment", lambda *_: None)
        calls = log(record, ready)
    assert calls.run_id != rows.run_id
    assert whole_run(ready, calls) == by_rows
    metrics = {name: value for name, value, *_ in by_rows["model"][-1]}
    assert metrics == {name: by_rows["data"]["metrics"][name] for name in ("bic", "loss")}
    assert rows == calls._replace(run_id=rows.run_id, page=calls.page.replace(calls.run_id, rows.run_id))


@pytest.mark.parametrize("diverged", [False, True])
def test_a_record_is_logged_as_rows_once(ready, tmp_path, diverged, monkeypatch):
    """And without MLflow, which is not asked at all."""
    monkeypatch.setattr(tracking, "client_of", refuse)
    record = write_record(tmp_path / "outputs/one", diverged=diverged)
    first = log(record, ready)
    assert log(shutil.copytree(record, tmp_path / "copy"), ready) == first
    monkeypatch.undo()
    (run,) = runs_of(ready)
    assert (run.info.run_id, run.info.status) == (first.run_id, "FAILED" if diverged else "FINISHED")
    assert bool(run.outputs and run.outputs.model_outputs) is not diverged


def test_what_rows_cannot_do_is_left_to_mlflow(ready, record, monkeypatch):
    file = Path(ready.removeprefix("sqlite:///"))
    usable = tracking_record_rows.usable_experiment
    assert usable(file, "waiting") == "1"
    assert usable(file, "other") is None
    assert usable(file.with_name("new.db"), "waiting") is None
    assert not file.with_name("new.db").exists()
    with monkeypatch.context() as half, pytest.raises(tracking.TrackingError, match="No space left"):
        half.setattr(tracking, "usable_experiment", lambda *_: None)
        half.setattr(type(tracking_store.client_of(ready)), "log_batch", refuse)
        log(record, ready)
    log(record, ready)
    (run,) = runs_of(ready)
    assert run.data.tags["gmm_pipeline.status"] == "finished"
    tracking_store.client_of(ready).delete_experiment("1")
    assert usable(file, "waiting") is None
    (file.parent).rename(file.parent.with_name("moved"))
    assert usable(file.parent.with_name("moved") / file.name, "waiting") is None


def test_rows_that_cannot_be_written_leave_no_files(ready, record, monkeypatch):
    monkeypatch.setattr(tracking_record_rows, "write_model", refuse)
    with pytest.raises(tracking.TrackingError, match=r"No space left.* Nothing is lost"):
        log(record, ready)
    assert runs_of(ready) == []
    assert [path for path in Path(ready.removeprefix("sqlite:///")).parent.rglob("*") if path.name == "data.json"] == [
        record / "data.json"
    ]


def test_an_interrupt_after_the_rows_were_written_leaves_their_files(ready, record, monkeypatch):
    transaction = tracking_record_rows.transaction

    @contextlib.contextmanager
    def interrupted(file: Path) -> Iterator[sqlite3.Connection]:
        with transaction(file) as connection:
            yield connection
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking_record_rows, "transaction", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log(record, ready)
    (run,) = runs_of(ready)
    assert (Path(run.info.artifact_uri.removeprefix("file://")) / "data.json").is_file()


def test_files_that_a_killed_process_left_are_replaced(ready, record, monkeypatch):
    def killed(*_: object) -> Iterator[sqlite3.Connection]:
        raise KeyboardInterrupt

    copies = Path(ready.removeprefix("sqlite:///")).parent / "mlartifacts"
    with monkeypatch.context() as patched:
        patched.setattr(tracking_record_rows, "transaction", killed)
        patched.setattr(tracking_record_rows.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            log(record, ready)
    (left,) = (path for path in copies.iterdir() if path.name != "models")
    (left / "artifacts" / "half.json").write_text("{")
    tracked = log(record, ready)
    assert {path.name for path in copies.iterdir()} == {tracked.run_id, "models"}
    assert len(list((copies / "models").iterdir())) == 1
    assert not (copies / tracked.run_id / "artifacts" / "half.json").exists()


def test_two_at_once_log_a_record_once(uri, record):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: log(record, uri), range(2))
    assert first == second
    assert len(runs_of(uri)) == 1


def test_a_run_of_an_earlier_version_is_known_by_what_the_record_notes(uri, record):
    tracked = log(record, uri)
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("DELETE FROM tags WHERE key = 'gmm_pipeline.record_id'")
    write_note(record / artifacts.RECORD, tracked._asdict())
    assert log(record, uri) == tracked
    about = contents.read_about(record)
    assert tracking.records_there({record: about}, uri) == {record}
    tracking_store.client_of(uri).delete_run(tracked.run_id)
    assert tracking.records_there({record: about}, uri) == set()


def test_two_who_make_one_thing_at_once_end_with_one(monkeypatch):
    monkeypatch.setattr(tracking_calls, "RETRY_S", 0.0)
    there = {"other"}
    seen = iter([[], ["mine", "other"], ["other"]])
    found = tracking_calls.made_once(lambda: next(seen), lambda: there.add("mine") or "mine", there.remove)
    assert (found, there) == ("other", {"other"})


def test_a_note_goes_where_it_can_be_written_and_leaves_the_time(record, monkeypatch):
    file = record / artifacts.RECORD
    os.utime(file, ns=(0, 12_345))
    note = {"uri": "http://server", "run_id": "a"}
    write_note(file, note)
    assert (read_json(file)["tracking"], file.stat().st_mtime_ns) == (note, 12_345)
    write_note(file, {"uri": "sqlite:///new.db", "run_id": "b"})
    assert read_json(file)["tracking"] == note
    write_note(file, {"uri": "http://server/", "run_id": "c"})
    assert read_json(file)["tracking"]["run_id"] == "c"
    monkeypatch.setattr(tracking_notes, "write_json", refuse)
    write_note(file, {"uri": "http://server", "run_id": "d"})
    assert read_json(file)["tracking"]["run_id"] == "c"


def test_a_record_without_times_stays_the_same_bytes(uri, record):
    """And is one record however often it was made."""
    about = read_json(record / artifacts.RECORD)
    bare = {key: value for key, value in about.items() if key not in ("name", "started", "ended", "timings")}
    write_json(record / artifacts.RECORD, bare)
    before = bytes_below(record)
    tracked = log(record, uri)
    write_note(record / artifacts.RECORD, tracked._asdict())
    assert bytes_below(record) == before
    os.utime(record / artifacts.RECORD, ns=(0, 0))
    assert log(record, uri) == tracked


def test_a_store_that_was_moved_is_not_written_to(uri, record, tmp_path):
    log(record, uri)
    (tmp_path / "outputs").rename(tmp_path / "moved")
    file = tmp_path / "moved" / "mlflow.db"
    with pytest.raises(
        tracking.TrackingError, match=rf"moved here from .*outputs; .* repair outputs_dir={file.parent}`"
    ):
        log(tmp_path / "moved" / record.relative_to(tmp_path / "outputs"), f"sqlite:///{file}")
    assert not (tmp_path / "outputs").exists()


def test_a_store_that_was_copied_does_not_write_beside_the_original(uri, record, tmp_path):
    log(record, uri)
    before = bytes_below(tmp_path / "outputs" / "mlartifacts")
    shutil.copytree(tmp_path / "outputs", tmp_path / "copied")
    copy = tmp_path / "copied" / record.relative_to(tmp_path / "outputs")
    with pytest.raises(tracking.TrackingError, match=r"copied here from .*outputs; .* repair outputs_dir=.*copied`"):
        log(copy, f"sqlite:///{tmp_path / 'copied' / 'mlflow.db'}")
    assert bytes_below(tmp_path / "outputs" / "mlartifacts") == before
    log(record, uri)  # the original's own


def test_a_database_that_fails_is_quoted(uri, record):
    log(record, uri)
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        connection.execute("ALTER TABLE inputs RENAME TO lost")
    with pytest.raises(tracking.TrackingError) as caught:
        log(record, uri)
    assert str(caught.value).startswith(f"{uri}: the run could not be logged: no such table: inputs. Nothing is lost: ")
    assert "again" not in str(caught.value)


def test_generated_data_are_described_and_no_file(uri, record):
    data = read_json(record / artifacts.DATA)
    write_json(record / artifacts.DATA, data | {"source": "9 draws, seed 1", "source_type": "generated"})
    (logged,) = read_back(uri, log(record, uri))[1].inputs.dataset_inputs
    assert logged.dataset.source_type == "code"
    assert mlflow.data.get_source(logged).to_dict() == {"tags": {"description": "9 draws, seed 1"}}


def test_importing_the_module_does_not_import_mlflow():
    code = "import sys, gmm_pipeline.tracking.runs; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
