"""Records of a sweep in MLflow: a parent run, and under it a run for each record; one writer of a sweep.

A record is complete before it is logged, and each call of `log` leaves all of its records in a local store or none, so
that a sweep that was killed is logged on where it stopped and each run is there once. Nothing is copied for a child:
its files in MLflow are its record. The price: they go where the record goes, a record that was moved has none there,
and `mlflow gc` of a child that was deleted in MLflow removes its record. On a server a child has no files but a tag
that says where its record is. The parent has copies of the sweep's table and pictures.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts, loggable, tracking_rows
from gmm_pipeline.records.files import read_json, write_json
from gmm_pipeline.records.overrides import names_within, override_values
from gmm_pipeline.records.provenance import provenance
from gmm_pipeline.records.sweep_table import CSV, PARQUET
from gmm_pipeline.records.sweeps import MANIFEST
from gmm_pipeline.records.tracking import TrackedRun, failures_told, page
from gmm_pipeline.records.tracking_calls import STATUS, Calls, Entry, Logged
from gmm_pipeline.records.tracking_rows import Rows
from gmm_pipeline.records.tracking_store import (
    SQLITE,
    artifact_root,
    check_points,
    client_of,
    collector_paused,
    experiment_id_of,
    store_file,
)
from gmm_pipeline.records.tracking_views import TAG, view_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

UPLOADED = (PARQUET, CSV, MANIFEST)


@collector_paused()
def open_sweep(
    folder: Path, *, uri: str, experiment: str, run_name: str | None, series_points: int, sweep_series_points: int
) -> "SweepTracker":
    """Make the parent run of a sweep, or find it, and set it running.

    Args:
        folder: of the sweep; `sweep.json` is there.
        uri: sqlite:///FILE or the address of a server.
        experiment: made where it is absent; a sweep that was logged before stays where it was.
        run_name: of the parent; None for the sweep's name.
        series_points: a key of the same group, for single fits; only checked.
        sweep_series_points: points logged of each series of a child.

    Raises:
        InputError: `uri` is no store that can be used, or `experiment` was deleted.
        TrackingError: the store or the server failed.
    """
    check_points("series_points", series_points)
    check_points("sweep_series_points", sweep_series_points)
    file = store_file(uri)
    manifest = read_json(folder / MANIFEST)
    with failures_told(uri, file, what="the sweep", kept=f"the records in {folder} are complete"):
        client = client_of(uri if file is None else f"{SQLITE}{file}")
        experiment_id = experiment_id_of(client, experiment, uri, file)
        known = file is not None and tracking_rows.fits(file)
        writer = Rows(file, artifact_root(file)) if file and known else Calls(client)
        entry = _parent_entry(manifest, folder, run_name or manifest["name"])
        parent, experiment_id = writer.parent(manifest["id"], experiment_id, entry)
        if client.get_run(parent).info.lifecycle_stage == "deleted":
            client.restore_run(parent)
        client.update_run(parent, status="RUNNING")
        tracked = TrackedRun(
            uri,
            client.get_experiment(experiment_id).name,
            experiment_id,
            parent,
            ("" if file else uri.rstrip("/")) + page(experiment_id, parent),
        )
        return SweepTracker(folder, manifest, tracked, client, writer, sweep_series_points)


class SweepTracker:
    """Logs the records of one sweep; made by `open_sweep`, and the only writer of the sweep's runs while it lasts."""

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
        self._logged = writer.children(tracked.run_id, tracked.experiment_id)

    @collector_paused()
    def log(self, records: Sequence[Path]) -> None:
        """Log records of the sweep as children and note in each where; those that the store has are left alone.

        What one call logs is held in memory, some 100 kB a record, so that the store is locked briefly; into a local
        one it goes in one transaction. A record of a run that was fitted again takes the place of the earlier one.

        Args:
            records: folders of runs that ended, well or not; one without its last file is no record yet.

        Raises:
            InputError: a record is damaged or of another sweep; nothing was logged.
            TrackingError: the store or the server failed.
        """
        with self._failures_told():
            found = {record: self._about(record) for record in records if (record / artifacts.RECORD).exists()}
            numbers = {record: about["sweep"]["number"] for record, about in found.items()}
            new = {numbers[record]: record for record, about in found.items() if not self._has(about)}
            entries = {number: (self._entry(record, number), record) for number, record in new.items()}
            replaced = {number: self._logged[number] for number in new if number in self._logged}
            parent, experiment_id = self._tracked.run_id, self._tracked.experiment_id
            ids = self._writer.write(parent, experiment_id, entries, replaced) if entries else {}
            for number, run_id in ids.items():
                self._logged[number] = Logged(run_id, entries[number][0].started, complete=True)
            for record, about in found.items():
                tracked = self._child(numbers[record])._asdict()
                if about.get("tracking") != tracked:
                    write_json(record / artifacts.RECORD, {**about, "tracking": tracked})

    def finish(
        self,
        status: Literal["FINISHED", "FAILED", "KILLED"],
        metrics: Mapping[str, float],
        params: Mapping[str, str],
        tags: Mapping[str, str],
        note: str,
    ) -> TrackedRun:
        """End the parent run: its numbers, the sweep's table and pictures, and a view of its runs for the UI.

        May be called again, after the sweep was resumed: the latest numbers and files count. On a server, params keep
        the values of the first call.

        Raises:
            TrackingError: the store or the server failed.
        """
        from mlflow.entities import Metric, RunTag

        run_id, experiment_id = self._tracked.run_id, self._tracked.experiment_id
        now = round(time.time() * 1000)
        with self._failures_told():
            for name in UPLOADED:
                if (self._folder / name).exists():
                    self._client.log_artifact(run_id, str(self._folder / name))
            if (self._folder / artifacts.FIGURES).is_dir():
                self._client.log_artifacts(run_id, str(self._folder / artifacts.FIGURES), artifacts.FIGURES)
            key, view = view_of(run_id, [override_values(run["overrides"]) for run in self._manifest["runs"]])
            self._client.set_experiment_tag(experiment_id, TAG + key, view)
            self._writer.set_params(run_id, loggable.accepted(params))
            found = loggable.cut_tags({**tags, "mlflow.note.content": note, "gmm_pipeline.view": key})
            self._client.log_batch(
                run_id,
                metrics=[
                    Metric(name, float(value), now, 0)
                    for name, value in loggable.accepted(metrics).items()
                    if np.isfinite(value)
                ],
                tags=[RunTag(name, text) for name, text in found.items()],
            )
            self._client.set_terminated(run_id, status, now)
        return self._tracked

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        uri = self._tracked.uri
        kept = f"the records in {self._folder} are complete"
        with failures_told(uri, store_file(uri), what="the sweep", kept=kept):
            yield

    def _about(self, record: Path) -> dict[str, Any]:
        about = loggable.read_about(record)
        if about.get("sweep", {}).get("id") != self._manifest["id"]:
            raise InputError(
                str(record),
                expected=f"a record of the sweep {self._manifest['name']}",
                came="one of another sweep, or of a single fit",
                remedy="Leave in the folder of a sweep what the sweep wrote there.",
            )
        return about

    def _has(self, about: Mapping[str, Any]) -> bool:
        logged = self._logged.get(about["sweep"]["number"])
        return logged is not None and logged.complete and logged.started == loggable.milliseconds(about["started"])

    def _child(self, number: int) -> TrackedRun:
        run_id = self._logged[number].run_id
        page_of_run = self._tracked.page.replace(self._tracked.run_id, run_id)
        return self._tracked._replace(run_id=run_id, page=page_of_run)

    def _entry(self, record: Path, number: int) -> Entry:
        content = loggable.read(record)
        status = content.record["status"]
        return Entry(
            name=self._names.get(number, f"run {number}"),
            status="FINISHED" if status == "finished" else "FAILED",
            started=loggable.milliseconds(content.record["started"]),
            ended=loggable.milliseconds(content.record["ended"]),
            tags={
                **loggable.tags(record, content),
                "mlflow.parentRunId": self._tracked.run_id,
                "gmm_pipeline.sweep": self._manifest["name"],
                "gmm_pipeline.number": str(number),
                STATUS: status,
            },
            params=loggable.params(content),
            points=loggable.points(content, self._series_points),
            dataset=loggable.dataset(content.data) if content.data else None,
        )


def _parent_entry(manifest: Mapping[str, Any], folder: Path, name: str) -> Entry:
    made_with = provenance(device="")
    del made_with["device"]  # the runs know theirs; no run may have begun
    return Entry(
        name=name,
        status="RUNNING",
        started=loggable.milliseconds(manifest["started"] or loggable.written(folder / MANIFEST)),
        ended=None,
        tags={
            **loggable.origin(made_with, manifest["command"]),
            "gmm_pipeline.record": str(folder.absolute()),
            "gmm_pipeline.sweep": manifest["name"],
            "gmm_pipeline.sweep_id": manifest["id"],
        },
        params={},
        points=[],
        dataset=None,
    )
