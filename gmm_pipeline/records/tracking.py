"""Records in MLflow; the one importer of mlflow.

Disk first, tracker second: what is logged is a function of a finished record alone, so that a tracker that is down
loses nothing and any record can be logged later, or again. The price: the files of a record are copied into the
artifact store, so that they outlive the record's own directory.

A local store is one sqlite file. It is built beside its final name, under a lock, and renamed, since processes that
build one in place together break it for good. It runs in write-ahead mode, which halves the cost of a run but asks for
a local disk. mlflow is imported inside functions, after the fit: it costs seconds.
"""

import contextlib
import functools
import gc
import json
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.records import loggable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

SQLITE = "sqlite:///"
LONGEST_DATA_NAME = 500
SHOWN_DIGEST = 12
STORE_TIMEOUT_S = 120

# Set where the user has not. Left alone, MLflow tries a server that is down eight times, two minutes each.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class TrackingError(RunFailed):
    """The tracker failed; the record on disk is complete."""


class TrackedRun(NamedTuple):
    """Where a record was logged."""

    uri: str
    experiment: str
    experiment_id: str
    run_id: str
    page: str
    """The run's page: an address where `uri` is a server's, else the path on whichever server shows the store."""


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Importing makes thousands of objects and frees none: collecting meanwhile would add a seventh to the whole."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_collector_paused()
def log_record(record: Path, *, uri: str, experiment: str, run_name: str | None, series_points: int) -> TrackedRun:
    """Log a finished record, which is only read, as one MLflow run; a diverged one as FAILED.

    Args:
        record: the directory of a run that ended.
        uri: sqlite:///FILE or the address of a server.
        experiment: made where it is absent.
        run_name: None for data, optimizer, K, seed and the other overrides.
        series_points: points logged of each series.

    Raises:
        InputError: `uri` is no store that can be used, `experiment` was deleted, or `record` is not complete.
        TrackingError: the store or the server failed.
    """
    if series_points < 0:
        raise InputError(
            "tracking.series_points",
            expected="a whole number >= 0",
            came=str(series_points),
            remedy="Use 0 to log final values only.",
        )
    file = store_file(uri)
    content = loggable.read(record)
    try:
        client = _client(uri if file is None else f"{SQLITE}{file}")
        experiment_id = _experiment_id(client, experiment, uri, file)
        run_id = client.create_run(
            experiment_id,
            start_time=loggable.milliseconds(content.record["started"]),
            tags={**loggable.tags(record, content), "gmm_pipeline.status": "incomplete"},
            run_name=run_name or loggable.run_name(content),
        ).info.run_id
        try:
            _log(client, run_id, record, content, series_points)
        except BaseException:
            with contextlib.suppress(Exception):
                client.set_terminated(run_id, "FAILED")
            raise
    except InputError:
        raise
    except Exception as error:
        check = "a server answers there" if file is None else f"{file.parent} can be written to"
        raise TrackingError(
            f"{uri}: the run could not be logged: {_reason(error)}. "
            f"Nothing is lost: the record at {record} is complete. Check that {check}."
        ) from error
    server = uri.rstrip("/") if file is None else ""
    return TrackedRun(uri, experiment, experiment_id, run_id, server + page(experiment_id, run_id))


def store_file(uri: str) -> Path | None:
    """The file of a local store, absolute; None where `uri` is a server's address. Cheap: call it before any work.

    Raises:
        InputError: `uri` is neither, holds a password, or names a file that is no database.
    """
    if re.match(r"https?://[^/]", uri):
        if "@" in uri:  # a record tells its address, so that it must not be a secret
            raise InputError(
                "tracking.uri",
                expected="an address without a user name or password",
                came=repr(_public(uri)),
                remedy="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment.",
            )
        return None
    path = uri.removeprefix(SQLITE)
    if path == uri or path in ("", ":memory:") or "?" in path:
        database = re.match(r"postgresql|mysql|mssql", uri)
        raise InputError(
            "tracking.uri",
            expected=f"{SQLITE}FILE or http(s)://HOST:PORT",
            came=repr(_public(uri)),
            remedy="Start `mlflow server` on that database and give its address."
            if database
            else f"MLflow keeps runs in a database, not in a folder: tracking.uri={SQLITE}outputs/mlflow.db, for one.",
        )
    file = Path(path).expanduser().resolve()
    if file.exists() and not _may_be_sqlite(file):
        raise InputError(
            "tracking.uri",
            expected="a database of MLflow's, or a new file name",
            came=f"{file}, which is something else",
            remedy=f"Choose another name: tracking.uri={SQLITE}outputs/mlflow.db, for one.",
        )
    return file


def page(experiment_id: str | None = None, run_id: str | None = None) -> str:
    """The path, on an MLflow server, of a run, of an experiment's runs, or of all experiments."""
    parts = ["/#/experiments", *([experiment_id, "runs"] if experiment_id else []), *([run_id] if run_id else [])]
    # Without the parameter the pages open in the mode that is made for language models.
    return "/".join(parts) + "?workflowType=machine_learning"


def artifact_root(file: Path) -> str:
    """Where a local store keeps the files of its runs, as a URI: a folder beside it."""
    return (file.parent / "mlartifacts").as_uri()


def _may_be_sqlite(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(16) in (b"", b"SQLite format 3\0")


@functools.cache
def _client(uri: str) -> "MlflowClient":
    """One client a store in this process; a local store is made where it is absent."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    if uri.startswith(SQLITE):
        _prepare_store(Path(uri.removeprefix(SQLITE)))
    return MlflowClient(uri, registry_uri=uri)


def _prepare_store(file: Path) -> None:
    from filelock import FileLock
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=STORE_TIMEOUT_S):
        if not file.exists() or file.stat().st_size == 0:
            unfinished = file.with_name(f".{file.name}.unfinished")
            for leftover in file.parent.glob(f"{unfinished.name}*"):
                leftover.unlink()
            migrations = logging.getLogger("alembic")
            level = migrations.level
            migrations.setLevel(logging.WARNING)
            SqlAlchemyStore(f"{SQLITE}{unfinished}", artifact_root(file)).engine.dispose()
            migrations.setLevel(level)
            unfinished.replace(file)
        # It stays with the file, and changing it wants the file for oneself: a store in use keeps its mode.
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(Engine, "connect")
    def _tune(connection: Any, _: Any) -> None:
        ours = isinstance(connection, sqlite3.Connection) and str(file) in _answers(connection, "database_list")
        # NORMAL is safe in write-ahead mode alone.
        if ours and "wal" in _answers(connection, "journal_mode"):
            connection.execute("PRAGMA synchronous=NORMAL")


def _answers(connection: sqlite3.Connection, pragma: str) -> list[Any]:
    return [value for row in connection.execute(f"PRAGMA {pragma}") for value in row]


def _experiment_id(client: "MlflowClient", name: str, uri: str, file: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(
                name,
                artifact_location=None if file is None else artifact_root(file),
                tags={"mlflow.experimentKind": "custom_model_development"},
            )
        except MlflowException:
            # Another process may have been first.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise InputError(
            "tracking.experiment",
            expected="an experiment that exists or can be made",
            came=f"{name!r}, which was deleted in MLflow",
            remedy=f"Restore it with `MLFLOW_TRACKING_URI={uri} mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or choose another name.",
        )
    return found.experiment_id


def _log(client: "MlflowClient", run_id: str, record: Path, content: loggable.Content, series_points: int) -> None:
    from mlflow.entities import Metric, Param, RunTag

    status, ended = content.record["status"], loggable.milliseconds(content.record["ended"])
    client.log_artifacts(run_id, str(record))
    client.log_inputs(run_id, [_dataset(content.data)])
    # The status is written last: a run without it was not logged whole.
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, ended, step) for name, value, step in loggable.points(content, series_points)],
        params=[Param(name, text) for name, text in loggable.params(content).items()],
        tags=[RunTag("gmm_pipeline.status", status)],
    )
    client.set_terminated(run_id, "FINISHED" if status == "finished" else "FAILED", ended)


def _dataset(data: Mapping[str, Any]) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    is_file = data["source_type"] == "file"
    column = {"name": data["name"], "type": "double", "required": True}
    dataset = Dataset(
        name=data["name"][:LONGEST_DATA_NAME],
        digest=data["digest"][:SHOWN_DIGEST],  # whole in the profile; MLflow takes 36 letters and shows them all
        # Of MLflow's own kinds, so that `mlflow.data.get_source` reads them.
        source_type="local" if is_file else "code",
        source=json.dumps({"uri": data["source"]} if is_file else {"tags": {"description": data["source"]}}),
        schema=json.dumps({"mlflow_colspec": [column]}),
        profile=json.dumps({"num_rows": data["n_data"], **{key: data[key] for key in ("unit", "truth", "digest")}}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _public(uri: str) -> str:
    """An address without its user and password, wherever a careless one may have put them."""
    return re.sub(r"^([\w+]+:/+)?.*@", r"\1…@", uri, flags=re.DOTALL)


def _reason(error: BaseException) -> str:
    """The first line of an error, in the database's own words where it has any: SQLAlchemy begins with its own."""
    own, cause = error, error
    while cause is not None:
        own, cause = getattr(cause, "orig", None) or own, cause.__cause__
    return next(iter(str(own).strip().splitlines()), type(own).__name__).rstrip(".")
