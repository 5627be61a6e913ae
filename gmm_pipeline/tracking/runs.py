"""Records of single fits in MLflow.

Disk first, tracker second: what is logged depends only on a finished record, so nothing is lost when a tracker is down,
and any record can be logged later. The store is asked whether a record was logged before, by a tag that follows from
the record; an incomplete run is completed. The price: two searches for each record, and the files of a record are
copied into the artifact store, so that they outlive the record's own directory.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gmm_pipeline.errors import RunFailed
from gmm_pipeline.records import artifacts, contents
from gmm_pipeline.tracking import loggable
from gmm_pipeline.tracking.calls import (
    INCOMPLETE,
    STATUS,
    Entry,
    Logged,
    as_logged,
    entry_of,
    experiments_of,
    failed_unless_whole,
    log_entry,
    made_once,
    search,
)
from gmm_pipeline.tracking.models import Model, log_model, record_model
from gmm_pipeline.tracking.record_rows import InStore, usable_experiment, write
from gmm_pipeline.tracking.record_rows import runs_of_record as rows_of_record
from gmm_pipeline.tracking.slow_servers import SlowServer, requests_limited
from gmm_pipeline.tracking.store import (
    SQLITE,
    check_points,
    client_of,
    collector_paused,
    experiment_id_of,
    one_writer,
    store_file,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


ASKED_AT_ONCE = 100
LIBRARIES_OF_STORES = ("mlflow", "sqlalchemy", "alembic", "sqlite3")
"""Libraries whose exceptions mean that a store failed; connection errors are OSErrors."""


class TrackingError(RunFailed):
    """The tracker failed; the record on disk is complete."""


class TrackedRun(NamedTuple):
    """Where a record was logged."""

    uri: str
    experiment: str
    experiment_id: str
    run_id: str
    page: str
    """The run's page: an address if `uri` is a server's, else the path on any server that shows the store."""


def log_record(
    record: Path,
    *,
    uri: str,
    experiment: str,
    run_name: str | None,
    series_points: int,
    sweep_series_points: int = 0,
) -> TrackedRun:
    """Log a record as one MLflow run, without changing the record; one without a result is logged as FAILED.

    A run that the store has already, in any experiment, is left unchanged; an incomplete one is completed.

    Args:
        record: the directory of a run that ended.
        uri: sqlite:///FILE or the address of a server.
        experiment: made where it is absent.
        run_name: None for data, optimizer, K, seed and the other overrides.
        series_points: points logged of each series.
        sweep_series_points: a key of the same group, for the runs of a sweep; only checked.

    Raises:
        InputError: `uri` is no store that can be used, or `record` is not complete.
        TrackingError: the store or the server failed.
    """
    return send_record(
        record,
        uri=uri,
        experiment=experiment,
        run_name=run_name,
        series_points=series_points,
        sweep_series_points=sweep_series_points,
    )[0]


@collector_paused()
def send_record(
    record: Path, *, uri: str, experiment: str, run_name: str | None, series_points: int, sweep_series_points: int
) -> tuple[TrackedRun, bool]:
    """Log a record as `log_record` does; also returns whether the store had it already.

    Args:
        record: the directory of a run that ended.
        uri: sqlite:///FILE or the address of a server.
        experiment: made where it is absent.
        run_name: None for data, optimizer, K, seed and the other overrides.
        series_points: points logged of each series.
        sweep_series_points: a key of the same group, for the runs of a sweep; only checked.

    Raises:
        InputError: as `log_record`.
        TrackingError: as `log_record`.
    """
    check_points("series_points", series_points)
    check_points("sweep_series_points", sweep_series_points)
    file = store_file(uri)
    content = contents.read(record)
    entry = entry_of(record, content, run_name or loggable.run_name(content), series_points)
    model = record_model(content)
    with failures_reported(uri, file, what="the run", kept=f"the record at {record} is complete"):
        by_rows = None if file is None else _send_rows(file, experiment, record, content, entry, model)
        if by_rows is not None:
            run, was_there = by_rows
            return tracked_run(uri, *run), was_there
        client = client_of(uri if file is None else f"{SQLITE}{file}")
        new_id = experiment_id_of(client, experiment, uri)
        with one_writer(uri, content.record["record_id"]):
            run_id = made_once(
                lambda: [logged.run_id for logged in runs_of_record(client, content.record)],
                lambda: (
                    client.create_run(
                        new_id, start_time=entry.started, tags={**entry.tags, STATUS: INCOMPLETE}, run_name=entry.name
                    ).info.run_id
                ),
                client.delete_run,
            )
            found = as_logged(client.get_run(run_id))
            if not found.complete:
                _log_whole(client, found, record, entry, model)
        name = client.get_experiment(found.experiment_id).name
    return tracked_run(uri, name, found.experiment_id, run_id), found.complete


def _send_rows(
    file: Path, experiment: str, record: Path, content: contents.Content, entry: Entry, model: Model | None
) -> tuple[InStore, bool] | None:
    """Write a record as rows; returns its run and whether it existed; None if MLflow's own calls are needed."""
    experiment_id = usable_experiment(file, experiment)
    if experiment_id is None:
        return None
    with one_writer(f"{SQLITE}{file}", content.record["record_id"]):
        found = rows_of_record(file, content.record)
        if found:
            return found[0] if found[0][1] else None
        return InStore(experiment, experiment_id, write(file, experiment_id, record, entry, model)), False


def records_there(abouts: Mapping[Path, Mapping[str, Any]], uri: str) -> set[Path]:
    """Records that a store has completely as the runs that they note; asked for in groups, so possibly not all.

    Args:
        abouts: contents of `record.json` of each record, with its `record_id`.
        uri: of the store.

    Raises:
        InputError: `uri` is no store that can be used.
        TrackingError: the store or the server failed.
    """
    file = store_file(uri)
    noted = {about.get("tracking", {}).get("run_id"): record for record, about in abouts.items()}
    ids = [run_id for run_id in noted if run_id is not None and run_id.isalnum()]
    there = set()
    with failures_reported(uri, file, what="the records", kept="they are complete", done="looked for"):
        client = client_of(uri if file is None else f"{SQLITE}{file}")
        experiments = experiments_of(client)
        for first in range(0, len(ids), ASKED_AT_ONCE):
            listed = ", ".join(f"'{run_id}'" for run_id in ids[first : first + ASKED_AT_ONCE])
            for run in map(as_logged, search(client, experiments, f"attributes.run_id IN ({listed})")):
                record = noted[run.run_id]
                if run.complete and run.record_id in (None, abouts[record]["record_id"]):
                    there.add(record)
    return there


def answers(uri: str) -> bool:
    """Whether a store can be reached."""
    file = store_file(uri)
    try:
        with contextlib.nullcontext() if file is not None else requests_limited():
            client_of(uri if file is None else f"{SQLITE}{file}").search_experiments(max_results=1)
    except Exception as error:
        if not _is_the_stores(error):
            raise
        return False
    return True


def tracked_run(uri: str, experiment: str, experiment_id: str, run_id: str) -> TrackedRun:
    """The location of a run, with its page.

    Args:
        uri: of the store.
        experiment: its name.
        experiment_id: its id.
        run_id: of the run.
    """
    server = uri.rstrip("/") if uri.startswith("http") else ""
    return TrackedRun(uri, experiment, experiment_id, run_id, server + page(experiment_id, run_id))


def runs_of_record(client: "MlflowClient", about: Mapping[str, Any]) -> list[Logged]:
    """The runs that a store has of a record, complete ones first: by their tag, or by the id that the record notes.

    Args:
        client: of the store.
        about: the content of `record.json`, with its `record_id`.
    """
    experiments, noted = experiments_of(client), about.get("tracking", {}).get("run_id")
    chosen = f"tags.`{loggable.RECORD_ID}` = '{about['record_id']}'"
    found = [as_logged(run) for run in search(client, experiments, chosen)]
    if not found and noted is not None and noted.isalnum():
        # Earlier versions logged without the tag.
        runs = map(as_logged, search(client, experiments, f"attributes.run_id = '{noted}'"))
        found = [logged for logged in runs if logged.record_id is None]
    return sorted(found, key=lambda logged: (not logged.complete, logged.run_id))


@contextlib.contextmanager
def failures_reported(uri: str, file: Path | None, *, what: str, kept: str, done: str = "logged") -> Iterator[None]:
    """Turn a failure of a store into one message; a bug keeps its traceback.

    Args:
        uri: of the store.
        file: of a local one.
        what: was to be logged, for the message.
        kept: what is not lost, for the message.
        done: the verb of the message, instead of `logged`.

    Raises:
        TrackingError: the store or the server failed.
    """
    try:
        with contextlib.nullcontext() if file is not None else requests_limited():
            yield
    except Exception as error:
        if not _is_the_stores(error):
            raise
        raise TrackingError(
            f"{uri}: {what} could not be {done}: {_reason(error)}. Nothing is lost: {kept}. {_remedy(error, file)}"
        ) from error


def page(experiment_id: str | None = None, run_id: str | None = None) -> str:
    """The path, on an MLflow server, of a run, of an experiment's runs, or of all experiments.

    Args:
        experiment_id: None for all experiments.
        run_id: None for all runs of the experiment.
    """
    parts = ["/#/experiments", *([experiment_id, "runs"] if experiment_id else []), *([run_id] if run_id else [])]
    # Without the parameter the pages open in the mode that is made for language models.
    return "/".join(parts) + "?workflowType=machine_learning"


def _log_whole(client: "MlflowClient", run: Logged, record: Path, entry: Entry, model: Model | None) -> None:
    """Write the complete content of a run, whatever part of it exists already."""
    with failed_unless_whole(client, run.run_id):
        copy_files(client, run.run_id, record)
        model_id = None
        if model is not None:
            model_id = log_model(client, run.experiment_id, run.run_id, entry.name, model)
        log_entry(client, run.run_id, entry, model_id)


def copy_files(client: "MlflowClient", run_id: str, record: Path) -> None:
    """Copy the files of a record to a run, and nothing else: its folder may contain the store.

    Args:
        client: of the store.
        run_id: of the run.
        record: the folder of the record.
    """
    for file in artifacts.files_of(record):
        folder = file.parent.relative_to(record)
        client.log_artifact(run_id, str(file), None if folder == Path() else folder.as_posix())


def _is_the_stores(error: Exception) -> bool:
    """Whether an error is of files, of a connection or of a database, by its type: MLflow need not be imported."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError | SlowServer) or not libraries.isdisjoint(LIBRARIES_OF_STORES)


def _remedy(error: Exception, file: Path | None) -> str:
    """What to do about the failure of a store."""
    if file is None:
        if re.search(r"error code 40[13]\b", str(error)):
            return "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        if re.search("authentication failed|no password supplied", str(error)):
            return "Set PGPASSWORD in the environment, or write it into ~/.pgpass."
        if re.search('database ".*" does not exist', str(error)):
            return "Create it with `createdb`, or name another."
        return "Check that a server answers there."
    if re.search("is locked|could not be acquired", _reason(error)):
        return f"Another program holds {file}: wait for it, or end it."
    return f"Check that {file.parent} can be written to."


def _reason(error: BaseException) -> str:
    """The first line of an error; the database's own message if there is one, without SQLAlchemy's."""
    own, cause = error, error
    while cause is not None:
        own, cause = getattr(cause, "orig", None) or own, cause.__cause__
    return next(iter(str(own).strip().splitlines()), type(own).__name__).rstrip(".")
