"""The UI's server starts, answers and leaves nothing behind; in a process of its own, as a person runs it."""

import contextlib
import hashlib
import http.client
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from gmm_pipeline.errors import InputError
from gmm_pipeline.records.files import write_json
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.stages import ui
from gmm_pipeline.tracking import runs as tracking
from gmm_pipeline.tracking import store as tracking_store
from gmm_pipeline.tracking.sweeps import SweepTracker, open_sweep

COMMAND = (sys.executable, "-m", "gmm_pipeline", "ui")
CONF = Path(__file__).parents[2] / "conf"


def config(uri: str | None, *, host: str = "127.0.0.1", port: int = 0) -> DictConfig:
    return DictConfig({"tracking": {"uri": uri, "experiment": "waiting"}, "host": host, "port": port})


@pytest.fixture
def store(tmp_path):
    """Enough for what is refused before the server starts."""
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("create table runs (name text)")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_the_config_composes(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("ui", overrides=["outputs_dir=elsewhere"])
        assert cfg.tracking.uri == "sqlite:///elsewhere/mlflow.db"
        assert compose("ui", overrides=["tracking=none", "tracking.experiment=mine"]).tracking.uri is None


def processes_of_group(group: int) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pgid=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.split(maxsplit=1)[0] == str(group)]


def children_of(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "ppid=,pid="], capture_output=True, text=True, check=True).stdout
    return [int(pid) for parent, pid in map(str.split, listed.splitlines()) if int(parent) == process]


def begin_sweep(folder: Path, uri: str) -> SweepTracker:
    """A sweep of one run, which failed."""
    place = {"name": folder.name, "id": hashlib.sha256(str(folder).encode()).hexdigest()[:32]}
    about = {"command": "python -m gmm_pipeline fit --multirun n_components=0", "started": "2026-03-01T12:00:00+01:00"}
    runs = [{"number": 0, "overrides": ["n_components=0"], "digest": None}]
    write_json(folder / "sweep.json", {"format": 1, **place, **about, "objective": "bic", "runs": runs})
    made_with = {"git": {"commit": None, "dirty": None}, "user": "ann", "versions": {}}
    record = {"status": "failed", "error": "too few", "ended": about["started"], "provenance": made_with}
    write_json(folder / "0/record.json", {**about, **record, "sweep": {**place, "number": 0}})
    return open_sweep(folder, uri=uri, experiment="waiting", run_name=None, series_points=1, sweep_series_points=1)


def finish(sweep: SweepTracker) -> str:
    return sweep.finish("FAILED", metrics={}, params={}, tags={}, note="").run_id


@pytest.fixture
def served(tmp_path):
    """The port of a server of a new store."""
    file = tmp_path / "outputs/mlflow.db"
    tracking_store.client_of(f"sqlite:///{file}").create_experiment(
        "waiting", artifact_location=tracking_store.artifact_root(file)
    )
    port = ui._free_port("127.0.0.1", 0)
    with tempfile.TemporaryFile() as output, ui._served(f"sqlite:///{file}", "127.0.0.1", port, output) as server:
        ui._await_answer(server, "127.0.0.1", port, output)
        yield port


def test_sweeps_go_through_a_server_and_the_newest_is_pointed_at(served, tmp_path):
    uri = f"http://127.0.0.1:{served}"
    assert ui._newest_sweep("127.0.0.1", served, uri, "1") == []
    sweep = begin_sweep(tmp_path / "my_study", uri)
    (runs,) = ui._newest_sweep("127.0.0.1", served, uri, "1")
    parent = sweep._tracked.run_id
    assert runs.startswith(f"The runs of the sweep my_study, the best first: {uri}/#/experiments/1/runs?")
    assert f"searchFilter=tags.mlflow.parentRunId%20%3D%20%27{parent}%27&orderByKey=metrics.%60bic%60" in runs

    sweep.log([tmp_path / "my_study/0"])
    again = begin_sweep(tmp_path / "my_study", uri)
    again.log([tmp_path / "my_study/0"])
    assert finish(again) == parent
    client = tracking_store.client_of(uri)
    (child,) = client.search_runs(["1"], f"tags.mlflow.parentRunId = '{parent}'")
    assert (child.info.run_name, child.info.status) == ("run 0", "FAILED")
    assert [file.path for file in client.list_artifacts(parent)] == ["sweep.json"]
    tracked = read_json(tmp_path / "my_study/0/record.json")["tracking"]
    assert tracked["page"] == f"{uri}/#/experiments/1/runs/{child.info.run_id}?workflowType=machine_learning"

    for mode, line in zip(("TABLE", "CHART"), ui._newest_sweep("127.0.0.1", served, uri, "1"), strict=True):
        key = line.rpartition(f"&compareRunsMode={mode}&viewStateShareKey=")[2]
        assert f"mlflow.sharedViewState.{key}" in client.get_experiment("1").tags


@pytest.mark.parametrize("number", ui.SIGNALS)
def test_whatever_asks_a_program_to_end_interrupts_it_even_where_it_was_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), ui._interrupts():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_serves_until_it_is_asked_to_end_and_leaves_no_process(tmp_path):
    uri = f"sqlite:///{tmp_path / 'my outputs' / 'mlflow.db'}"
    finish(begin_sweep(tmp_path / "my study", uri))
    process = subprocess.Popen(
        [*COMMAND, "port=0", f"tracking.uri='{uri}'", "tracking.experiment=waiting"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "Starting" in process.stdout.readline()
        table = process.stdout.readline()
        assert "The runs of the sweep my study, the best first: http://127.0.0.1" in table
        assert "compareRunsMode=TABLE" in table
        assert "Charts of them: http://127.0.0.1" in process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)/#/experiments/1/runs\?workflowType=", process.stdout.readline())
        assert address is not None
        assert "Ctrl-C" in process.stdout.readline()
        (server,) = children_of(process.pid)
        connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=20)
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b"OK"
        assert os.getpgid(server) == server
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert processes_of_group(server) == []
    assert {path.name for path in tmp_path.iterdir()} == {"my outputs", "my study"}


def test_a_port_in_use_is_named_with_a_free_one(store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port: .* {port} .*Use port=\d+"):
            ui.run(config(store, port=port), started=0.0)


@pytest.mark.parametrize("host", ["no such host", "203.0.113.7"])
def test_a_host_that_is_not_this_machine(store, host):
    with pytest.raises(InputError, match="host: expected an address of this machine"):
        ui.run(config(store, host=host), started=0.0)


def test_no_store_yet(tmp_path):
    with pytest.raises(InputError, match="Run a fit first"):
        ui.run(config(f"sqlite:///{tmp_path / 'mlflow.db'}"), started=0.0)
    assert list(tmp_path.iterdir()) == []


def test_no_tracking():
    with pytest.raises(InputError, match="tracking=none"):
        ui.run(config(None), started=0.0)


def test_a_servers_address_is_only_told(capsys):
    ui.run(config("http://tracking.example:5000"), started=0.0)
    assert "http://tracking.example:5000" in capsys.readouterr().out


def test_a_server_that_fails_says_why(store):
    # A database without MLflow's tables but with others is not upgraded.
    with pytest.raises(tracking.TrackingError, match=r"(?s)exit code .*last output:\n.+"):
        ui.run(config(store), started=0.0)
