"""The command `log`, after a real MLflow server was stopped in the middle of a fit's logging, and of a sweep's."""

import contextlib
import http.client
import json
import shlex
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Ended, Quick

from gmm_pipeline.stages import ui
from gmm_pipeline.tracking import store as tracking_store

QUIET = ("search=none", "figures=none", "animation=none", "data.n_draws=100", "steps=40")
DIVERGES = ("optimizer=sgd", "schedule=constant", "optimizer.learning_rate=1e30")
OTHER = "tracking.uri=sqlite:///elsewhere/mlflow.db"


class Line:
    """Passes requests on to a server, until one comes after which it answers none."""

    def __init__(self, port: int, last: str, count: int):
        line = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if line.dead or line._is_last(self.path):
                    return  # without an answer
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                    connection.request(self.command, self.path, body, {"Content-Type": "application/json"})
                    answer = connection.getresponse()
                    content = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PATCH = do_POST  # noqa: N815 - called by these names

            def log_request(self, code: object = "-", size: object = "-") -> None:
                pass

        self.dead, self._last, self._left = False, last, count
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def _is_last(self, path: str) -> bool:
        self._left -= path.endswith(self._last)
        self.dead = self._left == 0
        return self.dead

    def __enter__(self) -> "Line":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Made(NamedTuple):
    """What was fitted while the tracker was stopped half-way."""

    folder: Path
    fit: Ended
    sweep: Ended
    began: list[Any]
    """The runs that the server had then."""


def runs_of(uri: str) -> list[Any]:
    client = tracking_store.client_of(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments))


@contextlib.contextmanager
def served(file: Path) -> Iterator[int]:
    port = ui._free_port("127.0.0.1", 0)
    with tempfile.TemporaryFile() as output, ui._served(f"sqlite:///{file}", "127.0.0.1", port, output) as server:
        ui._await_answer(server, "127.0.0.1", port, output)
        yield port


_made: dict[str, Made] = {}


@pytest.fixture
def made(quick: Quick, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A fit that ends well and a sweep of which one run diverges, neither logged whole; a fit that was not tracked."""
    if not _made:
        folder = tmp_path_factory.mktemp("cut")
        store = folder / "outputs" / "mlflow.db"
        store.parent.mkdir()
        with served(store) as port:
            with Line(port, "/runs/log-inputs", 1) as line:
                tracked = (f"tracking.uri={line.uri}", "tracking.experiment=waiting", "tracking.series_points=3")
                fit = quick("fit", *QUIET, *tracked, cwd=folder)
            assert line.dead
            with Line(port, "/runs/log-batch", 4) as line:  # the second of the second run, whose params take two
                swept = ("-m", "sweep=study", *DIVERGES[:2], "optimizer.learning_rate=0.1,0.2,1e30", "seed=0,1")
                tracked = (f"tracking.uri={line.uri}", "tracking.experiment=waiting")
                sweep = quick("fit", *QUIET, *swept, *tracked, cwd=folder)
            assert line.dead
        assert quick("fit", *QUIET, *DIVERGES, "tracking=none", cwd=folder).returncode == 1
        _made["made"] = Made(folder, fit, sweep, runs_of(f"sqlite:///{store}"))
    return _made["made"]


def test_a_tracker_that_stops_half_way_costs_a_warning_that_says_what_to_do(made: Made):
    assert made.fit.returncode == 0
    assert made.sweep.returncode == 1  # of the runs that diverged
    fit = min((made.folder / "outputs" / "fit").iterdir())
    for ended, record in ((made.fit, fit), (made.sweep, made.folder / "outputs" / "sweeps" / "study")):
        warnings = [line for line in ended.stderr.splitlines() if line.startswith("warning: ")]
        assert len(warnings) == 1
        assert "Nothing is lost" in warnings[0]
        command = shlex.split(warnings[0].rpartition("python -m gmm_pipeline ")[2])
        assert command[:2] == ["log", f"run={record.relative_to(made.folder)}"]
        assert command[2].startswith('tracking.uri="http://')
    assert "tracking" not in json.loads((fit / "record.json").read_text())
    assert len(list((made.folder / "outputs" / "sweeps" / "study").glob("*/record.json"))) == 6
    incomplete = [run for run in made.began if run.data.tags.get("gmm_pipeline.status") == "incomplete"]
    assert len(incomplete) == 2
    assert len(made.began) == 4


def told(uri: str) -> dict[str, dict[str, Any]]:
    """All that a client says of the runs of a store, by name, but for ids and what names the store."""
    client = tracking_store.client_of(uri)
    found = {}
    for run in runs_of(uri):
        of_store = ("mlflow.parentRunId", "gmm_pipeline.view", "gmm_pipeline.table")
        tags = {key: text for key, text in run.data.tags.items() if key not in of_store}
        histories = {
            name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
            for name in run.data.metrics
        }
        inputs = [dict(item.dataset) for item in run.inputs.dataset_inputs]
        models = [client.get_logged_model(output.model_id).name for output in run.outputs.model_outputs]
        times = (run.info.start_time, run.info.end_time)
        parent = run.data.tags.get("mlflow.parentRunId")
        of_sweep = parent and client.get_run(parent).data.tags["gmm_pipeline.sweep"]
        assert run.info.run_name not in found
        found[run.info.run_name] = {
            "experiment": client.get_experiment(run.info.experiment_id).name,
            "status": run.info.status,
            "data": (run.data.params, run.data.metrics, histories, inputs, tags),
            "models": models,
            "times": times,
            "sweep": of_sweep,
            # A child's files are its record, which a server cannot be told.
            "artifacts": of_sweep or sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        }
    return found


def notes(folder: Path) -> dict[str, Any]:
    files = (folder / "outputs").glob("[fs]*/**/record.json")
    return {str(file): (json.loads(file.read_text()).get("tracking"), file.stat().st_mtime_ns) for file in files}


def test_log_completes_the_store_once_as_if_it_had_never_stopped(quick: Quick, made: Made):
    before = notes(made.folder)
    finished = quick("log", cwd=made.folder)
    assert finished.returncode == 0, finished.stderr
    experiments = "gmm_pipeline, waiting in sqlite:///outputs/mlflow.db"
    assert finished.stdout == f"8 records: 7 logged, 1 already there; {experiments}\n"
    assert finished.stderr == ""
    store = f"sqlite:///{made.folder}/outputs/mlflow.db"
    completed = told(store)
    began = {run.info.run_id for run in made.began if run.data.tags.get("gmm_pipeline.status") != "incomplete"}
    assert began <= {run.info.run_id for run in runs_of(store)}

    # The same records, in a store that nothing has interrupted.
    whole = quick("log", OTHER, cwd=made.folder)
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.startswith("8 records: 8 logged, 0 already there; ")
    assert completed == told(f"sqlite:///{made.folder}/elsewhere/mlflow.db")
    (name,) = (name for name in completed if name.endswith(" study"))
    parent = completed[name]
    of_run = name.replace(".", "_")
    assert (parent["status"], parent["experiment"], parent["models"]) == ("FAILED", "waiting", [of_run])
    assert sum(run["sweep"] == "study" for run in completed.values()) == 6
    statuses = sorted(run["status"] for run in completed.values())
    assert statuses == ["FAILED"] * 4 + ["FINISHED"] * 5

    # Each record says where it went first, and is as old as it was.
    after = notes(made.folder)
    assert {tracking["uri"] for tracking, _ in after.values()} == {"sqlite:///outputs/mlflow.db"}
    assert [time for _, time in after.values()] == [time for _, time in before.values()]

    for uri in ("tracking.uri=sqlite:///outputs/mlflow.db", OTHER):
        again = quick("log", uri, cwd=made.folder)
        assert again.returncode == 0
        assert again.stdout.startswith("8 records: 0 logged, 8 already there; ")
    assert told(store) == completed


def test_one_damaged_record_is_told_of_and_the_others_are_logged(quick: Quick, made: Made, tmp_path):
    """A colleague's folder, of which the store has nothing yet."""
    theirs = tmp_path / "theirs"
    for number, record in enumerate(sorted((made.folder / "outputs" / "fit").iterdir())):
        about = json.loads((shutil.copytree(record, theirs / str(number)) / "record.json").read_text())
        about["name"] = f"copy {number}"
        (theirs / str(number) / "record.json").write_text(json.dumps(about))
    (theirs / "0" / "metrics.json").write_text("{")
    (theirs / "sweep").mkdir()
    (theirs / "sweep" / "sweep.json").write_text("[]")
    (theirs / "killed").mkdir()
    (theirs / "killed" / "fit.log").write_text("fitting")
    finished = quick("log", f"run={theirs}", OTHER, "tracking.experiment=theirs", cwd=made.folder)
    assert finished.returncode == 1
    assert finished.stdout.startswith("3 records: 1 logged, 0 already there, 1 without a result, 2 failed; theirs in ")
    broken, warning, error = finished.stderr.splitlines()
    assert broken.startswith(f"warning: {theirs / 'sweep' / 'sweep.json'}: expected the manifest of a sweep")
    assert warning.startswith(f"warning: {theirs / '0' / 'metrics.json'}: expected a file of a whole record")
    assert error == "error: 2 of 3 records could not be logged"
    client = tracking_store.client_of(f"sqlite:///{made.folder}/elsewhere/mlflow.db")
    experiment: Any = client.get_experiment_by_name("theirs")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["gmm_pipeline.record"] == str(theirs / "1")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            "run=outputs/fit/lost",
            "error: run: expected the folder of a record, of a sweep, or of many of them, but got",
        ),
        ("run=outputs/sweeps/studi", "Did you mean run=outputs/sweeps/study?"),
        ("run=empty", "error: run: expected records in empty, but got none"),
        ("outputs_dir=nowhere", "error: outputs_dir: expected the folder of"),
        ("run=latest outputs_dir=empty", "error: run: expected a record under empty"),
        ("tracking=none", "error: tracking.uri: expected the store to upload records to, but got null"),
        ("tracking.uri=folder", "error: tracking.uri: expected sqlite:///FILE"),
        ("tracking.run=3", "error: tracking.run: "),
    ],
)
def test_what_cannot_be_logged(quick: Quick, made: Made, arguments, says):
    (made.folder / "empty").mkdir(exist_ok=True)
    finished = quick("log", *arguments.split(), cwd=made.folder)
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    assert says in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_server_that_is_down_is_one_message(quick: Quick, made: Made):
    finished = quick("log", "tracking.uri=http://127.0.0.1:9", cwd=made.folder)
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert "error: http://127.0.0.1:9: the records could not be looked for" in finished.stderr
