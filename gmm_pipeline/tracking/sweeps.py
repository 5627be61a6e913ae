"""Records of a sweep in MLflow: a parent run with a child run for each record; only one process writes a sweep.

A record is complete before it is logged, and each call of `log` writes all of its records into a local store or none,
so that logging of a killed sweep resumes where it stopped and each run exists once. Nothing is copied for a child: its
files in MLflow are its record. The price: if a record is moved, MLflow no longer finds its files, and `mlflow gc` of a
child that was deleted in MLflow removes its record. On a server a child has no files but a tag with the path of its
record. The parent has copies of the sweep's table and pictures.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts, contents
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.overrides import name_of_sweep, names_within, override_values
from gmm_pipeline.records.provenance import provenance
from gmm_pipeline.records.sweep_table import CSV, PARQUET
from gmm_pipeline.records.sweeps import MANIFEST
from gmm_pipeline.tracking import loggable, rows
from gmm_pipeline.tracking.calls import (
    NUMBER,
    PARENT,
    SWEEP_ID,
    Calls,
    Entry,
    Logged,
    entry_of,
    metrics_of,
    points_of_model,
)
from gmm_pipeline.tracking.models import log_model, record_model
from gmm_pipeline.tracking.notes import write_note
from gmm_pipeline.tracking.rows import Rows
from gmm_pipeline.tracking.runs import TrackedRun, failures_reported, tracked_run
from gmm_pipeline.tracking.store import (
    SQLITE,
    artifact_root,
    check_points,
    client_of,
    collector_paused,
    experiment_id_of,
    one_writer,
    restore_if_deleted,
    store_file,
)
from gmm_pipeline.tracking.views import DELTA, LOG_DELTA, TAG, charts_of, table_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

UPLOADED = (PARQUET, CSV, MANIFEST, artifacts.DIFFS_OF_SWEEP)
"""Patterns of the sweep's files that are copied to its parent run."""
OF_A_RUN = ("device", "devices", "jax")
"""Provenance that differs between the runs of a sweep."""
VIEW, TABLE = "gmm_pipeline.view", "gmm_pipeline.table"
"""Tags of the parent with the keys of the views of its charts and its table, set once the answer is logged."""


@collector_paused()
def open_sweep(
    folder: Path,
    *,
    uri: str,
    experiment: str,
    run_name: str | None,
    series_points: int,
    sweep_series_points: int,
    under: str | None = None,
) -> "SweepTracker":
    """Create or find the parent run of a sweep, and set its status to running.

    Args:
        folder: of the sweep, with `sweep.json`.
        uri: sqlite:///FILE or the address of a server.
        experiment: made where it is absent; a sweep that was logged before stays where it was.
        run_name: of the parent; None for what was swept and the sweep's name.
        series_points: a key of the same group, for single fits; only checked.
        sweep_series_points: points logged of each series of a child.
        under: id of a run that a new parent becomes a child of, in the same experiment; None for none.

    Raises:
        InputError: `uri` is no store that can be used.
        TrackingError: the store or the server failed.
    """
    check_points("series_points", series_points)
    check_points("sweep_series_points", sweep_series_points)
    file = store_file(uri)
    manifest = read_json(folder / MANIFEST)
    with failures_reported(uri, file, what="the sweep", kept=f"the records in {folder} are complete"):
        client = client_of(uri if file is None else f"{SQLITE}{file}")
        if under is None:
            experiment_id = experiment_id_of(client, experiment, uri)
        else:
            experiment_id = client.get_run(under).info.experiment_id
        writer = _writer(client, file)
        swept = name_of_sweep([override_values(run["overrides"]) for run in manifest["runs"]])
        name = run_name or f"{swept} {manifest['name']}".lstrip()
        entry = _parent_entry(manifest, folder, name, under)
        with one_writer(uri, manifest["id"]):
            parent = writer.parent(manifest["id"], experiment_id, entry)
            info = client.get_run(parent).info
            restore_if_deleted(client, client.get_experiment(info.experiment_id))
            if info.lifecycle_stage == "deleted":
                client.restore_run(parent)
            # A sweep that goes on may be wider than when it was named; a name of the user's own stays.
            ours = str(info.run_name).endswith(manifest["name"])
            client.update_run(parent, status="RUNNING", name=name if ours else None)
        experiment = client.get_experiment(info.experiment_id).name
        tracked = tracked_run(uri, experiment, info.experiment_id, parent)
        return SweepTracker(folder, manifest, tracked, client, writer, sweep_series_points)


def unlogged(folder: Path, records: Sequence[Path], *, uri: str) -> list[Path] | None:
    """The records of a sweep that a store lacks, without changing it; None if it has all, and the answer.

    Damaged records and those of another sweep count as missing.

    Args:
        folder: of the sweep.
        records: folders of runs of it.
        uri: of the store.

    Raises:
        InputError: `uri` is no store that can be used.
        TrackingError: the store or the server failed.
    """
    file = store_file(uri)
    manifest = read_json(folder / MANIFEST)
    abouts = {}
    for record in records:
        with contextlib.suppress(InputError):
            abouts[record] = _about(record, manifest)
    kept = f"the records in {folder} are complete"
    with failures_reported(uri, file, what="the sweep", kept=kept, done="looked for"):
        client = client_of(uri if file is None else f"{SQLITE}{file}")
        writer = _writer(client, file)
        parent = writer.find(manifest["id"])
        if parent is None:
            return list(records)
        run = client.get_run(parent)
        logged = writer.children(parent, run.info.experiment_id)
        missing = [record for record in records if record not in abouts or not _has(logged, abouts[record])]
        active = run.info.lifecycle_stage == "active" and run.info.status != "RUNNING"
        return None if active and VIEW in run.data.tags and not missing else missing


class SweepTracker:
    """Logs the records of one sweep; created by `open_sweep`, and the only writer of the sweep's runs."""

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        tracked: TrackedRun,
        client: "MlflowClient",
        writer: Rows | Calls,
        series_points: int,
    ):
        self._folder, self._manifest, self._tracked = folder, manifest, tracked
        self._client, self._writer, self._series_points = client, writer, series_points
        self._names = names_within([(run["number"], run["overrides"]) for run in manifest["runs"]])

    @collector_paused()
    def log(self, records: Sequence[Path], written: Mapping[Path, contents.Written] | None = None) -> int:
        """Log records of the sweep as children and note in each where; those that the store has are skipped.

        Returns how many were logged.

        All records of a call are held in memory, some 100 kB each, so that the store is locked only briefly; a local
        store is written in one transaction. A record of a run that was fitted again replaces the earlier one.

        Args:
            records: folders of finished or failed runs; one without `record.json` is skipped.
            written: contents of records that were just written.

        Raises:
            InputError: a record is damaged or of another sweep; nothing was logged.
            TrackingError: the store or the server failed.
        """
        parent, experiment_id = self._tracked.run_id, self._tracked.experiment_id
        written = written or {}
        with self._failures_reported(), one_writer(self._tracked.uri, self._manifest["id"]):
            # Read each time: another process may have logged some of them meanwhile.
            logged = self._writer.children(parent, experiment_id)
            found = {
                record: _about(record, self._manifest) for record in records if (record / artifacts.RECORD).exists()
            }
            numbers = {record: about["sweep"]["number"] for record, about in found.items()}
            new = {numbers[record]: record for record, about in found.items() if not _has(logged, about)}
            entries = {
                number: (self._entry(record, number, written.get(record)), record) for number, record in new.items()
            }
            replaced = {number: logged[number] for number in new if number in logged}
            ids = {number: one.run_id for number, one in logged.items()}
            ids |= self._writer.write(parent, experiment_id, entries, replaced) if entries else {}
        for record in found:
            write_note(record / artifacts.RECORD, self._child(ids[numbers[record]])._asdict())
        return len(entries)

    def finish(
        self,
        status: Literal["FINISHED", "FAILED", "KILLED"],
        metrics: Mapping[str, float],
        params: Mapping[str, str],
        tags: Mapping[str, str],
        note: str,
        excess: Mapping[int, float] | None = None,
        best: str | None = None,
        ended: str | None = None,
    ) -> TrackedRun:
        """End the parent run: log its numbers, the sweep's table and pictures, a view for the UI, and its model.

        It may be called again after the sweep was resumed; the latest numbers, files and model replace earlier ones. On
        a server, params keep the values of the first call.

        Args:
            status: MLflow's status of the ended sweep.
            metrics: of the sweep; finite ones are logged.
            params: of the sweep.
            tags: of the sweep.
            note: Markdown that is shown at the top of the run.
            excess: BIC above the lowest, of the runs that can be compared, by number.
            best: the record of the best sound run, by its folder in the sweep's; None if there is none.
            ended: end time of the sweep, ISO 8601 with offset; None for now.

        Raises:
            TrackingError: the store or the server failed.
        """
        from mlflow.entities import Metric, RunTag

        run_id, experiment_id = self._tracked.run_id, self._tracked.experiment_id
        now = round(time.time() * 1000)
        with self._failures_reported(), one_writer(self._tracked.uri, self._manifest["id"]):
            of_best = [] if best is None else self._log_model(self._folder / best, now)
            for pattern in UPLOADED:
                for file in sorted(self._folder.glob(pattern)):
                    self._client.log_artifact(run_id, str(file))
            if (self._folder / artifacts.FIGURES).is_dir():
                self._client.log_artifacts(run_id, str(self._folder / artifacts.FIGURES), artifacts.FIGURES)
            self._log_excess(excess or {}, now)
            assignments = [override_values(run["overrides"]) for run in self._manifest["runs"]]
            table, charts = table_of(run_id, assignments), charts_of(run_id, assignments)
            for view in (table, charts):
                self._client.set_experiment_tag(experiment_id, TAG + view.key, view.state)
            self._writer.set_params(run_id, loggable.accepted(params))
            found = loggable.cut_tags({**tags, "mlflow.note.content": note, VIEW: charts.key, TABLE: table.key})
            self._client.log_batch(
                run_id,
                metrics=of_best
                + [
                    Metric(name, float(value), now, 0)
                    for name, value in loggable.accepted(metrics).items()
                    if np.isfinite(value)
                ],
                tags=[RunTag(name, text) for name, text in found.items()],
            )
            last = now if ended is None else contents.milliseconds(ended)
            # A clock may be set back.
            self._client.set_terminated(run_id, status, max(_started(self._manifest, self._folder), last))
        return self._tracked

    def _log_model(self, record: Path, now: int) -> "list[Metric]":
        """Log the model of a record as that of the sweep; returns metrics of both."""
        content, (run_id, experiment_id) = contents.read(record), (self._tracked.run_id, self._tracked.experiment_id)
        model = record_model(content)
        if model is None:
            return []
        name = str(self._client.get_run(run_id).info.run_name)
        model_id = log_model(self._client, experiment_id, run_id, name, model)
        entry = entry_of(record, content, name, 0)
        return metrics_of(entry._replace(points=points_of_model(entry), ended=now), model_id)

    def _log_excess(self, excess: Mapping[int, float], now: int) -> None:
        """Log how much worse than the best each run is, which is known only once the sweep has ended."""
        logged = self._writer.children(self._tracked.run_id, self._tracked.experiment_id)
        self._writer.set_metrics(
            {
                one.run_id: {DELTA: excess[number], LOG_DELTA: math.log10(1.0 + excess[number])}
                for number, one in logged.items()
                if number in excess
            },
            now,
        )

    @contextlib.contextmanager
    def _failures_reported(self) -> Iterator[None]:
        uri = self._tracked.uri
        kept = f"the records in {self._folder} are complete"
        with failures_reported(uri, store_file(uri), what="the sweep", kept=kept):
            yield

    def _child(self, run_id: str) -> TrackedRun:
        page_of_run = self._tracked.page.replace(self._tracked.run_id, run_id)
        return self._tracked._replace(run_id=run_id, page=page_of_run)

    def _entry(self, record: Path, number: int, written: contents.Written | None) -> Entry:
        tags = {
            PARENT: self._tracked.run_id,
            "gmm_pipeline.sweep": self._manifest["name"],
            NUMBER: str(number),
        }
        content = contents.read(record, written)
        return entry_of(record, content, self._names.get(number, f"run {number}"), self._series_points, tags)


def _writer(client: "MlflowClient", file: Path | None) -> Rows | Calls:
    by_rows = file is not None and rows.fits(file)
    return Rows(file, artifact_root(file)) if file and by_rows else Calls(client)


def _about(record: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    with contents.damage_reported(record):
        about = contents.read_about(record)
    if about.get("sweep", {}).get("id") != manifest["id"]:
        raise InputError(
            str(record),
            expected=f"a record of the sweep {manifest['name']}",
            came="one of another sweep, or of a single fit",
            remedy="Restore the sweep's own files in its folder.",
        )
    return about


def _has(logged_runs: Mapping[int, Logged], about: Mapping[str, Any]) -> bool:
    """Whether the store has this record, not an earlier one with the same number."""
    logged = logged_runs.get(about["sweep"]["number"])
    if logged is None or not logged.complete:
        return False
    if logged.record_id is None:  # logged by an earlier version
        return logged.started == contents.milliseconds(about["started"])
    return logged.record_id == about["record_id"]


def _made_with(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance of the first run, without its device, so that the parent does not depend on who logs it."""
    for run in sorted(manifest["runs"], key=lambda run: run["number"]):
        with contextlib.suppress(OSError, ValueError):
            found = read_json(folder / str(run["number"]) / artifacts.RECORD)["provenance"]
            return {key: value for key, value in found.items() if key not in OF_A_RUN}
    found = provenance()
    return {key: value for key, value in found.items() if key not in OF_A_RUN}


def _started(manifest: Mapping[str, Any], folder: Path) -> int:
    """When a sweep began, in milliseconds since 1970."""
    return contents.milliseconds(manifest["started"] or contents.written(folder / MANIFEST))


def _parent_entry(manifest: Mapping[str, Any], folder: Path, name: str, under: str | None) -> Entry:
    made_with = _made_with(folder, manifest)
    return Entry(
        name=name,
        status="RUNNING",
        started=_started(manifest, folder),
        ended=None,
        tags={
            **loggable.origin(made_with, manifest["command"]),
            "gmm_pipeline.record": str(folder.absolute()),
            "gmm_pipeline.sweep": manifest["name"],
            SWEEP_ID: manifest["id"],
            **({} if under is None else {PARENT: under}),
        },
        params={},
        points=[],
        dataset=None,
    )
