"""Records in MLflow runs that somebody else started: an active run of the process, or the one that MLFLOW_RUN_ID names.

What belongs to whoever started a run stays: its name, its status, its note, and the params and tags that it has
already. What MLflow itself sets when a run starts (user, source, commit) is not set again. A run takes one record; its
tags say so last, so that `log` and a repeated call find a run that is complete. The price: a call that fails leaves
what it logged before, since MLflow cannot remove metrics or params.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gmm_pipeline.records import contents
from gmm_pipeline.tracking import loggable
from gmm_pipeline.tracking.calls import Entry, dataset_input, entry_of, metrics_of
from gmm_pipeline.tracking.models import log_model, record_model
from gmm_pipeline.tracking.runs import TrackedRun, TrackingError, copy_files, failures_reported, page
from gmm_pipeline.tracking.store import (
    SQLITE,
    check_points,
    client_of,
    collector_paused,
    public,
    set_defaults,
    store_file,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

NOTE = "mlflow.note.content"


def are_used() -> bool:
    """Whether this process has an active run, or has set a store for its runs."""
    mlflow = sys.modules.get("mlflow")
    return mlflow is not None and (mlflow.active_run() is not None or mlflow.is_tracking_uri_set())


def store() -> str:
    """The store of this process's runs."""
    import mlflow

    return mlflow.get_tracking_uri()


def active_id() -> str | None:
    """The id of the active run; None if there is none."""
    import mlflow

    run = mlflow.active_run()
    return None if run is None else run.info.run_id


def log_fit(record: Path, *, series_points: int) -> TrackedRun:
    """Log a record from Python as users of MLflow expect, without changing the record.

    Into the active run, which stays active; without one into a new run, where `mlflow.start_run()` makes it. The store
    is that of `mlflow.get_tracking_uri()`, of any kind that MLflow knows.

    Args:
        record: the directory of a run that ended.
        series_points: points logged of each series.

    Raises:
        InputError: `record` is not complete, or `series_points` is negative.
        TrackingError: the store or the server failed, or the run has another fit.
    """
    set_defaults()
    import mlflow

    check_points("series_points", series_points)
    content, uri = contents.read(record), mlflow.get_tracking_uri()
    entry = entry_of(record, content, loggable.run_name(content), series_points)
    with failures_reported(public(uri), None, what="the fit", kept=_kept(record)):
        active, client = mlflow.active_run(), mlflow.MlflowClient()
        if active is not None:
            return _log(client, uri, active.info.run_id, record, content, entry)
        started, status = mlflow.start_run(run_name=entry.name), "FAILED"
        try:
            tracked = _log(client, uri, started.info.run_id, record, content, entry)
            status = entry.status
        finally:
            mlflow.end_run(status)
        return tracked


@collector_paused()
def log_into_run(record: Path, *, uri: str, run_id: str, series_points: int) -> TrackedRun:
    """Log a record into an existing run, without changing the record.

    Args:
        record: the directory of a run that ended.
        uri: sqlite:///FILE or the address of a server.
        run_id: of the run.
        series_points: points logged of each series.

    Raises:
        InputError: `uri` is no store that can be used, `record` is not complete, or `series_points` is negative.
        TrackingError: the store or the server failed, or the run has another fit.
    """
    check_points("series_points", series_points)
    file = store_file(uri)
    content = contents.read(record)
    entry = entry_of(record, content, loggable.run_name(content), series_points)
    with failures_reported(uri, file, what=f"the fit in the run {run_id}", kept=_kept(record)):
        client = client_of(uri if file is None else f"{SQLITE}{file}")
        return _log(client, uri, run_id, record, content, entry)


def _log(
    client: "MlflowClient", uri: str, run_id: str, record: Path, content: contents.Content, entry: Entry
) -> TrackedRun:
    run = client.get_run(run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    server = uri.rstrip("/") if uri.startswith(("http://", "https://")) else ""
    where = public(server) + page(experiment.experiment_id, run_id)
    tracked = TrackedRun(public(uri), experiment.name, experiment.experiment_id, run_id, where)
    existing = run.data.tags.get(loggable.RECORD_ID)
    if existing == content.record["record_id"]:
        return tracked
    if existing is not None:
        raise TrackingError(
            f"{public(uri)}: the run {run_id} already has another fit, and a run takes one. Nothing is lost: "
            f"{_kept(record)}. Unset MLFLOW_RUN_ID; in Python, start a run for each fit: mlflow.start_run(nested=True)."
        )
    copy_files(client, run_id, record)
    model_id = None
    if (model := record_model(content)) is not None:
        model_id = log_model(client, experiment.experiment_id, run_id, entry.name, model)
    _log_numbers(client, run, entry, model_id)
    return tracked


def _log_numbers(client: "MlflowClient", run: "Run", entry: Entry, model_id: str | None) -> None:
    """Log params, metrics, the data and tags, those that say that the run is complete among the last."""
    from mlflow.entities import Param, RunTag

    run_id, theirs = run.info.run_id, run.data
    if entry.dataset is not None:
        client.log_inputs(run_id, [dataset_input(entry.dataset)])
    client.log_batch(
        run_id,
        metrics=metrics_of(entry, model_id),
        params=[Param(name, text) for name, text in entry.params.items() if name not in theirs.params],
        tags=[RunTag(name, text) for name, text in _tags(entry.tags, theirs.tags).items()],
    )


def _tags(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, str]:
    """Our tags that a run lacks; of those that MLflow itself sets only the note."""
    return {
        name: text
        for name, text in ours.items()
        if name not in theirs and (name == NOTE or not name.startswith("mlflow."))
    }


def _kept(record: Path) -> str:
    return f"the record at {record} is complete"
