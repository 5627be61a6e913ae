"""Stores of runs: a local sqlite file, created if absent, or the address of a server or of a PostgreSQL database.

A local store is created under a temporary name and a lock, then renamed, since processes that create one at the same
time in place would corrupt it. It uses write-ahead mode, which halves the cost of a run; the price: it needs a local
disk, and in a process that has it open, only SQLite may open its files. mlflow is imported inside functions, after the
fit, since importing takes seconds.
"""

import atexit
import contextlib
import functools
import gc
import logging
import os
import re
import shlex
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from gmm_pipeline import home, program
from gmm_pipeline.environment import EXPERIMENT_BY_ID
from gmm_pipeline.errors import InputError
from gmm_pipeline.records.finding import COPIES
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.tracking import databases

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

SQLITE = "sqlite:///"
STORE_TIMEOUT_S = 30
"""How long to wait for other processes that log; a record is logged in a fraction of a second, a sweep in seconds."""

# Set unless the user has. By default, MLflow tries a server that is down eight times, two minutes each.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause garbage collection: imports free no objects, and collecting would take a seventh more time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def store_file(uri: str) -> Path | None:
    """The absolute path of a local store; None if `uri` is an address. Cheap: call it before any work.

    Raises:
        InputError: `uri` is neither, holds a password, names a file that is no database, or a database whose driver is
            missing.
    """
    where = "tracking.uri"
    if uri == os.environ.get("MLFLOW_TRACKING_URI"):
        where += ", from MLFLOW_TRACKING_URI"
    if re.match(r"https?://[^/]", uri):
        if "@" in uri:  # records contain the address, so it must not contain a password
            raise InputError(
                where,
                expected="an address without a user name or password",
                came=repr(public(uri)),
                remedy="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment.",
            )
        return None
    if databases.is_database(uri):
        if databases.has_password(uri):
            raise InputError(
                where,
                expected="an address without a password",
                came=repr(public(uri)),
                remedy="Set PGPASSWORD in the environment, or write it into ~/.pgpass.",
            )
        databases.require_driver()
        return None
    path = uri.removeprefix(SQLITE)
    if re.search(r"%[0-9a-fA-F]{2}", str(Path(path).absolute())):  # SQLAlchemy decodes it, and MLflow tries for minutes
        raise InputError(
            where,
            expected="a path without percent-encoded characters",
            came=repr(uri),
            remedy="Name a store elsewhere with tracking.uri, or use tracking=none.",
        )
    if path == uri or path in ("", ":memory:") or "?" in path:
        database = re.match(r"postgres|mysql|mssql", uri)
        raise InputError(
            where,
            expected=f"{SQLITE}FILE, http(s)://HOST:PORT or postgresql://USER@HOST/DATABASE",
            came=repr(public(uri)),
            remedy="Start `mlflow server` on that database and give its address."
            if database
            else f"MLflow keeps runs in a database, not a folder, such as tracking.uri={SQLITE}outputs/mlflow.db.",
        )
    file = Path(home.expanded(where, path)).resolve()
    if file.exists() and not _may_be_database(file):
        raise InputError(
            where,
            expected="an MLflow database, or a new file name",
            came=f"{file}, which is something else or damaged",
            remedy=f"Choose another name, for example tracking.uri={SQLITE}outputs/mlflow.db.",
        )
    return file


@contextlib.contextmanager
def one_writer(uri: str, what: str) -> Iterator[None]:
    """Lock a store against other processes that look up and log runs; a server is not locked.

    Args:
        uri: of an existing store.
        what: the id of the record or sweep, which is all that is locked in a database; a file is locked whole.
    """
    file = store_file(uri)
    if file is not None:
        from filelock import FileLock

        with FileLock(f"{file}.lock", timeout=STORE_TIMEOUT_S):
            yield
    elif databases.is_database(uri):
        with databases.locked(uri, what):
            yield
    else:
        yield


def artifact_root(file: Path) -> str:
    """Where a local store keeps the files of its runs, as a URI: a folder beside it."""
    return (file.parent / COPIES).as_uri()


def artifact_root_of(uri: str) -> str | None:
    """Where new experiments of a store keep the files of their runs; None if that is a server's business."""
    file = store_file(uri)
    if file is not None:
        return artifact_root(file)
    return databases.artifact_root() if databases.is_database(uri) else None


def set_defaults() -> None:
    """Set `ENVIRONMENT`, of which MLflow reads some when it is imported and some at each request."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@functools.cache
def client_of(uri: str) -> "MlflowClient":
    """The client of a store, one per process; a local store and the tables of a database are created if absent."""
    set_defaults()
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # tracebacks of errors that are reported in one message
    from mlflow import MlflowClient

    if uri.startswith(SQLITE):
        _prepare_store(Path(uri.removeprefix(SQLITE)))
    # A database that cannot be reached is known at once; MLflow would try for minutes.
    with databases.locked(uri, databases.TABLES) if databases.is_database(uri) else contextlib.nullcontext():
        uri = databases.with_driver(uri)
        return MlflowClient(uri, registry_uri=uri)


def _may_be_database(file: Path) -> bool:
    """Whether SQLite accepts a file as a database.

    Reading the file here would drop every lock of this process on it, since POSIX releases them when a file is closed.
    Another process could then delete the write-ahead log that this one writes to.
    """
    if not file.is_file():
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        # Any other error is reported when something is logged: a file that is in use may be a database.
        return error.sqlite_errorcode != sqlite3.SQLITE_NOTADB
    return True


def _prepare_store(file: Path) -> None:
    from filelock import FileLock
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    unfinished = file.with_name(f".{file.name}.unfinished")

    @event.listens_for(Engine, "connect")
    def _tune(connection: Any, _: Any) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        files = _answers(connection, "database_list")
        if str(unfinished) in files:
            connection.execute("PRAGMA synchronous=OFF")  # what a crash loses is logged again
        elif str(file) in files:
            atexit.register(connection.close)  # merges the write-ahead log into the file, which can then be copied
            if "wal" in _answers(connection, "journal_mode"):  # the mode in which NORMAL is safe
                connection.execute("PRAGMA synchronous=NORMAL")

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=STORE_TIMEOUT_S):
        if not file.exists() or file.stat().st_size == 0:
            _remove(unfinished)
            migrations = logging.getLogger("alembic")
            level = migrations.level
            migrations.setLevel(logging.WARNING)
            try:
                SqlAlchemyStore(f"{SQLITE}{unfinished}", artifact_root(file)).engine.dispose()
                _set_mode(unfinished)  # and wait until it is on the disk
                unfinished.replace(file)
            except BaseException:
                _remove(unfinished)
                raise
            finally:
                migrations.setLevel(level)
        else:
            _set_mode(file)


def _remove(file: Path) -> None:
    """Remove a store, with the logs and journals that SQLite has beside it."""
    for one in file.parent.glob(f"{file.name}*"):
        one.unlink()


def _set_mode(file: Path) -> None:
    """Switch a store to write-ahead mode, which is stored in the file; a store in use keeps its mode.

    Raises:
        sqlite3.Error: it cannot be read; MLflow would retry for minutes.
    """
    with contextlib.closing(sqlite3.connect(file)) as connection:
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("SELECT 1 FROM sqlite_master")


def _answers(connection: sqlite3.Connection, pragma: str) -> list[Any]:
    return [value for row in connection.execute(f"PRAGMA {pragma}") for value in row]


def experiment_id_of(client: "MlflowClient", name: str, uri: str) -> str:
    """The id of an experiment, which is created if absent, and restored if it was deleted.

    Args:
        client: of the store.
        name: of the experiment, or its id after `EXPERIMENT_BY_ID`.
        uri: of the store.

    Raises:
        OSError: the store was moved or copied, and files of its runs would be written to its old place.
    """
    from mlflow.exceptions import MlflowException

    file, by_id = store_file(uri), name.startswith(EXPERIMENT_BY_ID)
    root = artifact_root_of(uri)
    found = client.get_experiment(name.removeprefix(EXPERIMENT_BY_ID)) if by_id else client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(
                name,
                artifact_location=root,
                tags={"mlflow.experimentKind": "custom_model_development"},
            )
        except MlflowException:
            # Another process may have created it first.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    restore_if_deleted(client, found)
    if file is not None and found.artifact_location != root:
        _refuse_if_elsewhere(found.artifact_location, file)
    return found.experiment_id


def restore_if_deleted(client: "MlflowClient", experiment: "Experiment") -> None:
    """Restore an experiment that was deleted: it keeps its name, so that no other can be created under it.

    Args:
        client: of the store.
        experiment: as the store has it.
    """
    if experiment.lifecycle_stage != "deleted":
        return
    client.restore_experiment(experiment.experiment_id)
    said = f"the experiment {experiment.name!r}, which was deleted in MLflow, is restored with its runs"
    sys.stderr.write(f"warning: {said}\n")


def _refuse_if_elsewhere(location: str, file: Path) -> None:
    """Refuse a store that was moved or copied: new files would go to the old place, beside the original's."""
    before = Path(unquote(location.removeprefix("file://")))
    if not location.startswith("file:///") or before.name != COPIES:
        return
    original = before.parent / file.name
    is_copy = original.is_file() and not original.samefile(file)
    if is_copy or not before.parent.exists():
        raise OSError(
            f"the store was {'copied' if is_copy else 'moved'} here from {before.parent}; fix its paths with "
            f"`{program.name()} repair {shlex.quote(hydra_override('outputs_dir', str(file.parent)))}`"
        )


def public(uri: str) -> str:
    """An address without user and password, wherever these are.

    Args:
        uri: of any kind of store.
    """
    without = re.sub(r"^([\w+]+:/+)?.*@", r"\1…@", uri, flags=re.DOTALL)
    return re.sub(r"(password=).*", r"\1…", without, flags=re.DOTALL)


def check_tracking(tracking: Mapping[str, Any]) -> None:
    """Refuse invalid tracking settings; cheap, so call it before any work.

    Args:
        tracking: keys and values of the group; ignored if `uri` is null.

    Raises:
        InputError: a key has an invalid value.
    """
    if tracking["uri"] is None:
        return
    store_file(tracking["uri"])
    for key in ("series_points", "sweep_series_points"):
        if key in tracking:
            check_points(key, tracking[key])


def check_points(key: str, points: int | None) -> None:
    """Refuse an invalid number of points of a series.

    Args:
        key: of the group.
        points: None if each record has its own number.

    Raises:
        InputError: `points` is negative.
    """
    if points is not None and points < 0:
        raise InputError(
            f"tracking.{key}",
            expected="a whole number >= 0",
            came=str(points),
            remedy="Use 0 to log final values only.",
        )
