"""`ui`: serve the MLflow UI for a local store or a database, until Ctrl-C.

The server is a child process in a session of its own, so that one signal to its group ends it and all of its workers.
The price: a signal that this process cannot catch (SIGKILL) leaves the server running.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote

from omegaconf import DictConfig

from gmm_pipeline import program
from gmm_pipeline.environment import EXPERIMENT_BY_ID
from gmm_pipeline.errors import InputError
from gmm_pipeline.stages.terminal import say
from gmm_pipeline.tracking.databases import is_database, with_driver
from gmm_pipeline.tracking.runs import TrackingError, failures_reported, page
from gmm_pipeline.tracking.store import ENVIRONMENT, SQLITE, artifact_root_of, client_of, store_file
from gmm_pipeline.tracking.views import charts_page, runs_page, table_page

START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(cfg: DictConfig, *, started: float) -> None:
    """Serve the store or database that `tracking.uri` names and print its address; returns when it is interrupted.

    Args:
        cfg: tracking, host and port.
        started: when the program began, on the performance counter; not used.

    Raises:
        InputError: there is no store, or `host` or `port` cannot be listened on.
        TrackingError: the server ended, or did not answer in time.
    """
    if cfg.tracking.uri is None:
        raise InputError(
            "tracking.uri",
            expected="a store",
            came="null",
            remedy="Leave out tracking=none to see the runs logged before.",
        )
    uri = cfg.tracking.uri
    file = store_file(uri)
    if file is None and not is_database(uri):
        say(f"The runs are at {uri}")
        return
    if file is None:
        with failures_reported(uri, None, what="the runs", kept="they are in the database", done="shown"):
            client_of(uri)  # refuses at once; MLflow's server would try for minutes
    if file is not None and not file.exists():
        raise InputError(
            "tracking.uri",
            expected="the store of earlier runs",
            came=f"{file}, which does not exist",
            remedy=f"Run a fit first: {program.name()} fit",
        )
    port = _free_port(cfg.host, cfg.port)
    say("Starting the MLflow UI …")
    with (
        _interrupts(),
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryFile() as output,
        _served(uri if file is None else f"{SQLITE}{file}", cfg.host, port, output) as server,
    ):
        home = _reachable(cfg.host)
        _await_answer(server, home, port, output)
        experiment_id = _experiment_id(home, port, cfg.tracking.experiment)
        address = f"http://{_in_address(home)}:{port}"
        say(
            *_newest_sweep(home, port, address, experiment_id),
            f"All runs of {cfg.tracking.experiment}: {address}{page(experiment_id)}",
            "Ctrl-C stops the UI; the runs stay.",
        )
        server.wait()
        raise _ended(server, output)


def _free_port(host: str, port: int) -> int:
    """The port, or any free one if it is 0."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(
            "host",
            expected="an address of this machine",
            came=repr(host),
            remedy="Use 127.0.0.1, or 0.0.0.0 to be reached from other machines.",
        ) from error
    try:
        return _listen(family, address)
    except OSError as error:
        try:
            free = _listen(family, (address[0], 0, *address[2:]))
        except OSError:
            raise InputError(
                "host",
                expected="an address of this machine",
                came=f"{host!r} ({error.strerror})",
                remedy="Use 127.0.0.1, or 0.0.0.0 to be reached from other machines.",
            ) from error
        raise InputError(
            "port",
            expected="a port that can be listened on",
            came=f"{port} ({error.strerror})",
            remedy=f"Use port={free}, or stop the program that listens there.",
        ) from error


def _listen(family: socket.AddressFamily, address: tuple) -> int:
    with socket.create_server(address[:2], family=family) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def _interrupts() -> Iterator[None]:
    """Let every way of asking a program to end raise KeyboardInterrupt, even where the shell set it to be ignored."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _served(uri: str, host: str, port: int, output: BinaryIO) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", with_driver(uri)]
    root = str(artifact_root_of(uri))
    command += ["--default-artifact-root", root, "--artifacts-destination", root]
    command += ["--host", host, "--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    # Jobs are for evaluating language models: seven more processes of 200 MB.
    environment = {**ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    server = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments, no shell
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
    )
    try:
        yield server
    finally:
        try:
            _signal_group(server, signal.SIGTERM)
            server.wait(timeout=STOP_TIMEOUT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        finally:
            # Workers may outlive the first process; the group ends with the last of them.
            _signal_group(server, signal.SIGKILL)
            server.wait()


def _signal_group(server: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, number)


def _await_answer(server: subprocess.Popen, host: str, port: int, output: BinaryIO) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while _ask(host, port, "/health") is None:
        if server.poll() is not None or time.monotonic() > deadline:
            raise _ended(server, output)
        time.sleep(0.1)


def _ask(host: str, port: int, path: str, question: Mapping[str, Any] | None = None) -> bytes | None:
    """The body of a page, or of the answer to a question; None where there is none."""
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        try:
            if question is None:
                connection.request("GET", path)
            else:
                connection.request("POST", path, json.dumps(question), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.read() if answer.status == http.client.OK else None
        except (OSError, http.client.HTTPException):
            return None


def _experiment_id(host: str, port: int, name: str) -> str | None:
    """Asked of the server, which has mlflow imported: this process need not."""
    if name.startswith(EXPERIMENT_BY_ID):
        return name.removeprefix(EXPERIMENT_BY_ID)
    answer = _ask(host, port, f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(name, safe='')}")
    return None if answer is None else json.loads(answer)["experiment"]["experiment_id"]


def _newest_sweep(host: str, port: int, address: str, experiment_id: str | None) -> list[str]:
    """Lines that say where the runs of the newest sweep and its charts are; none where there is no sweep."""
    if experiment_id is None:
        return []
    question = {
        "experiment_ids": [experiment_id],
        "filter": "tags.`gmm_pipeline.sweep_id` LIKE '%'",
        "order_by": ["attributes.start_time DESC"],
        "max_results": 1,
    }
    answer = _ask(host, port, "/api/2.0/mlflow/runs/search", question)
    lines = []
    for run in json.loads(answer or b"{}").get("runs", []):
        tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
        # The tags of views are set once the sweep has ended.
        table = tags.get("gmm_pipeline.table")
        runs = table_page(experiment_id, table) if table else runs_page(experiment_id, run["info"]["run_id"])
        lines.append(f"The runs of the sweep {tags['gmm_pipeline.sweep']}, the best first: {address}{runs}")
        if "gmm_pipeline.view" in tags:
            lines.append(f"Charts of them: {address}{charts_page(experiment_id, tags['gmm_pipeline.view'])}")
    return lines


def _reachable(host: str) -> str:
    """Where a server that listens on every interface can be called from here."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not listened on


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _ended(server: subprocess.Popen, output: BinaryIO) -> TrackingError:
    code = server.poll()
    what = "did not answer" if code is None else f"ended with exit code {code}"
    output.seek(0)
    tail = "\n".join(output.read().decode(errors="replace").strip().splitlines()[-20:])
    return TrackingError(f"The MLflow server {what}. The runs are untouched. Its last output:\n{tail or '(none)'}")
