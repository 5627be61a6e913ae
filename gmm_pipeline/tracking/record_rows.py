"""Write a record into a local store as rows, without importing MLflow, which takes longer than a fit.

This is for single runs what `rows` is for the runs of a sweep, with the same check of the tables. A store or an
experiment that does not exist yet, or that has its files elsewhere, and a run that was not logged completely are left
to MLflow's own calls: functions return None for them. The ids of a run and its model are those of the record, so that
files that a killed process left without a run are replaced when the record is logged again. The price: until then they
are there.
"""

import contextlib
import shutil
import sqlite3
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gmm_pipeline.environment import EXPERIMENT_BY_ID
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.finding import COPIES
from gmm_pipeline.tracking.calls import INCOMPLETE, STATUS, Entry, points_of_model
from gmm_pipeline.tracking.loggable import RECORD_ID
from gmm_pipeline.tracking.models import FOLDER, MODEL_TYPE, Model, model_name, write_model
from gmm_pipeline.tracking.rows import connected, fits, insert_runs, transaction
from gmm_pipeline.tracking.store import artifact_root

READY = 2
"""MLflow's status number of a complete model."""


class InStore(NamedTuple):
    """A run in a store: its experiment and its id."""

    experiment: str
    experiment_id: str
    run_id: str


def usable_experiment(file: Path, name: str) -> str | None:
    """The id of an experiment that rows can be written to.

    Args:
        file: of a local store.
        name: of the experiment.
    """
    if name.startswith(EXPERIMENT_BY_ID) or not file.is_file() or file.stat().st_size == 0 or not fits(file):
        return None
    with connected(file) as connection:
        asked = "SELECT experiment_id, lifecycle_stage, artifact_location FROM experiments "
        found = connection.execute(f"{asked} WHERE name = ? AND workspace = 'default'", (name,)).fetchone()
    if found is None or found[1:] != ("active", artifact_root(file)):
        return None
    return str(found[0])


def runs_of_record(file: Path, about: Mapping[str, Any]) -> list[tuple[InStore, bool]]:
    """The runs that a store has of a record, and whether each is complete, complete ones first.

    By their tag, or by the id that the record notes, as `runs.runs_of_record` asks MLflow.

    Args:
        file: of a store that rows can be written to.
        about: the content of `record.json`, with its `record_id`.
    """
    wanted = about["record_id"]
    with connected(file) as connection:
        rows = connection.execute(
            "SELECT experiments.name, experiment_id, runs.run_uuid, coalesce(status.value, '') <> ? AS complete "  # noqa: S608 - our own names of tags
            "FROM runs JOIN experiments USING (experiment_id) "
            f"LEFT JOIN tags AS record ON record.run_uuid = runs.run_uuid AND record.key = '{RECORD_ID}' "
            "LEFT JOIN tags AS status ON status.run_uuid = runs.run_uuid AND status.key = ? "
            "WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active' AND runs.run_uuid IN "
            f"(SELECT run_uuid FROM tags WHERE key = '{RECORD_ID}' AND value = ? UNION ALL SELECT ?) "
            "AND coalesce(record.value, ?) = ? ORDER BY record.value IS NULL, NOT complete, runs.run_uuid",
            (INCOMPLETE, STATUS, wanted, about.get("tracking", {}).get("run_id"), wanted, wanted),
        ).fetchall()
    return [
        (InStore(name, str(experiment_id), run_id), bool(complete)) for name, experiment_id, run_id, complete in rows
    ]


def write(file: Path, experiment_id: str, record: Path, entry: Entry, fitted: Model | None) -> str:
    """Write a record as a run with its files and its model, completely or not at all; returns the run's id.

    Args:
        file: of a store that rows can be written to.
        experiment_id: of an experiment in it.
        record: the folder, whose files are copied.
        entry: the content of the run.
        fitted: what the model is of; None if the fit has no result.

    Raises:
        OSError: the files could not be copied.
        sqlite3.Error: the rows could not be written.
    """
    run_id = _free_id(file, entry.tags[RECORD_ID])
    model_id, folder = f"m-{run_id}", file.parent / COPIES
    files, model = folder / run_id, folder / "models" / model_id
    try:
        for left in (files, model):
            if left.is_dir():
                shutil.rmtree(left)
        for one in artifacts.files_of(record):
            copy = files / "artifacts" / one.relative_to(record)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one, copy)
        if fitted is not None:
            write_model(model / "artifacts", fitted, model_id=model_id, run_id=run_id)
            shutil.copytree(model / "artifacts", files / "artifacts" / FOLDER)
        with transaction(file) as connection:
            insert_runs(connection, experiment_id, {run_id: (entry, f"{artifact_root(file)}/{run_id}/artifacts")})
            if fitted is not None:
                place = f"{artifact_root(file)}/models/{model_id}/artifacts"
                _insert_model(connection, experiment_id, run_id, model_id, place, entry)
    except BaseException:
        with contextlib.suppress(OSError, sqlite3.Error):
            if not _is_taken(file, run_id):  # an interrupt may come after the rows were written
                for written in (files, model):
                    shutil.rmtree(written, ignore_errors=True)
        raise
    return run_id


def _free_id(file: Path, record_id: str) -> str:
    """The id of a record's run: that of the record, unless the store has such a run, which was deleted in MLflow."""
    return uuid.uuid4().hex if _is_taken(file, record_id) else record_id


def _is_taken(file: Path, run_id: str) -> bool:
    with connected(file) as connection:
        return connection.execute("SELECT 1 FROM runs WHERE run_uuid = ?", (run_id,)).fetchone() is not None


def _insert_model(
    connection: sqlite3.Connection, experiment_id: str, run_id: str, model_id: str, place: str, entry: Entry
) -> None:
    """Insert the model of a run as its output, with the metrics by which models are compared."""
    now = round(time.time() * 1000)
    connection.execute(
        "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, "
        "last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 'active', ?, ?)",
        (model_id, experiment_id, model_name(entry.name), place, now, now, READY, MODEL_TYPE, run_id),
    )
    connection.execute(
        "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step) "
        "VALUES (?, 'RUN_OUTPUT', ?, 'MODEL_OUTPUT', ?, 0)",
        (uuid.uuid4().hex, run_id, model_id),
    )
    time_of, dataset = entry.ended or entry.started, entry.dataset or {}
    of_all = model_id, experiment_id, run_id, dataset.get("name"), dataset.get("digest")
    connection.executemany(
        "INSERT INTO logged_model_metrics (metric_name, metric_value, metric_step, metric_timestamp_ms, model_id, "
        "experiment_id, run_id, dataset_name, dataset_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(*point, time_of, *of_all) for point in points_of_model(entry)],
    )
