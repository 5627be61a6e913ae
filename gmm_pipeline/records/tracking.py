"""Records of single fits in MLflow.

Disk first, tracker second: what is logged is a function of a finished record alone, so that a tracker that is down
loses nothing and any record can be logged later, or again. The price: the files of a record are copied into the
artifact store, so that they outlive the record's own directory.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.records import artifacts, loggable
from gmm_pipeline.records.models import log_model
from gmm_pipeline.records.tracking_calls import INCOMPLETE, STATUS, dataset_input
from gmm_pipeline.records.tracking_store import (
    SQLITE,
    check_points,
    client_of,
    collector_paused,
    experiment_id_of,
    store_file,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


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


@collector_paused()
def log_record(
    record: Path,
    *,
    uri: str,
    experiment: str,
    run_name: str | None,
    series_points: int,
    sweep_series_points: int = 0,
) -> TrackedRun:
    """Log a finished record, which is only read, as one MLflow run; a diverged one as FAILED.

    Args:
        record: the directory of a run that ended.
        uri: sqlite:///FILE or the address of a server.
        experiment: made where it is absent.
        run_name: None for data, optimizer, K, seed and the other overrides.
        series_points: points logged of each series.
        sweep_series_points: a key of the same group, for the runs of a sweep; only checked.

    Raises:
        InputError: `uri` is no store that can be used, `experiment` was deleted, or `record` is not complete.
        TrackingError: the store or the server failed.
    """
    check_points("series_points", series_points)
    check_points("sweep_series_points", sweep_series_points)
    file = store_file(uri)
    content = loggable.read(record)
    with failures_told(uri, file, what="the run", kept=f"the record at {record} is complete"):
        client = client_of(uri if file is None else f"{SQLITE}{file}")
        experiment_id = experiment_id_of(client, experiment, uri, file)
        run_id = client.create_run(
            experiment_id,
            start_time=loggable.milliseconds(content.record["started"]),
            tags={**loggable.tags(record, content), STATUS: INCOMPLETE},
            run_name=run_name or loggable.run_name(content),
        ).info.run_id
        try:
            _log(client, experiment_id, run_id, record, content, series_points)
        except BaseException:
            with contextlib.suppress(Exception):
                client.set_terminated(run_id, "FAILED")
            raise
    server = uri.rstrip("/") if file is None else ""
    return TrackedRun(uri, experiment, experiment_id, run_id, server + page(experiment_id, run_id))


@contextlib.contextmanager
def failures_told(uri: str, file: Path | None, *, what: str, kept: str) -> Iterator[None]:
    """Turn what goes wrong in a store into one message.

    Args:
        uri: of the store.
        file: of a local one.
        what: was to be logged.
        kept: is not lost.

    Raises:
        TrackingError: for whatever is not the user's mistake.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        check = "a server answers there" if file is None else f"{file.parent} can be written to"
        raise TrackingError(
            f"{uri}: {what} could not be logged: {_reason(error)}. Nothing is lost: {kept}. Check that {check}."
        ) from error


def page(experiment_id: str | None = None, run_id: str | None = None) -> str:
    """The path, on an MLflow server, of a run, of an experiment's runs, or of all experiments."""
    parts = ["/#/experiments", *([experiment_id, "runs"] if experiment_id else []), *([run_id] if run_id else [])]
    # Without the parameter the pages open in the mode that is made for language models.
    return "/".join(parts) + "?workflowType=machine_learning"


def _log(
    client: "MlflowClient",
    experiment_id: str,
    run_id: str,
    record: Path,
    content: loggable.Content,
    series_points: int,
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    status, ended = content.record["status"], loggable.milliseconds(content.record["ended"])
    client.log_artifacts(run_id, str(record))
    client.log_inputs(run_id, [dataset_input(loggable.dataset(content.data))])
    if status == "finished":
        log_model(client, experiment_id, run_id, artifacts.mixture_from_json(content.parameters))
    # The status is written last: a run without it was not logged whole.
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, ended, step) for name, value, step in loggable.points(content, series_points)],
        params=[Param(name, text) for name, text in loggable.params(content).items()],
        tags=[RunTag(STATUS, status)],
    )
    client.set_terminated(run_id, "FINISHED" if status == "finished" else "FAILED", ended)


def _reason(error: BaseException) -> str:
    """The first line of an error, in the database's own words where it has any: SQLAlchemy begins with its own."""
    own, cause = error, error
    while cause is not None:
        own, cause = getattr(cause, "orig", None) or own, cause.__cause__
    return next(iter(str(own).strip().splitlines()), type(own).__name__).rstrip(".")
