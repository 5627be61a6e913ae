"""Write runs into a local store as rows, many in one transaction: all of them appear or none.

MLflow's own calls take 20 ms per run and draw run ids themselves; rows take a tenth of that, and ids of our own make
logging repeatable. The price: this depends on the tables of one version of MLflow. `fits` compares them with the
store's before anything is written; if they differ, MLflow's own calls are used.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from gmm_pipeline.tracking.calls import INCOMPLETE, NUMBER, PARENT, STATUS, SWEEP_ID, TRAINING, Entry, Logged
from gmm_pipeline.tracking.loggable import RECORD_ID

log = logging.getLogger(__name__)

# Taken from the source of MLflow: its versions, the revision of its schema, and the columns of its tables.
VERSIONS = ("3.17.",)
REVISION = "dc11669786a5"
COLUMNS = {
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time end_time source_version "
    "lifecycle_stage artifact_uri experiment_id deleted_time",
    "params": "key value run_uuid",
    "tags": "key value run_uuid",
    "metrics": "key value timestamp run_uuid step is_nan",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source dataset_schema "
    "dataset_profile",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
    "experiments": "experiment_id name artifact_location lifecycle_stage creation_time last_update_time workspace",
    "logged_models": "model_id experiment_id name artifact_location creation_timestamp_ms last_updated_timestamp_ms "
    "status lifecycle_stage model_type source_run_id status_message",
    "logged_model_metrics": "model_id metric_name metric_timestamp_ms metric_step metric_value experiment_id run_id "
    "dataset_uuid dataset_name dataset_digest",
}
# In an order that never leaves a dangling reference, whether or not the database enforces that.
OF_A_RUN = ("latest_metrics", "metrics", "params", "tags")
INDEXED = {"gmm_pipeline_records": RECORD_ID, "gmm_pipeline_children": PARENT}
"""Indexes of ours on the values of a tag: without them, looking for a run would take as long as there are runs."""
LOCK_TIMEOUT_S = 20.0
CACHE_KB = 100_000
"""Page cache for large transactions; with SQLite's 2 MB, index pages are written many times."""


def fits(file: Path) -> bool:
    """Whether a store has the tables that this module expects."""
    version = importlib.metadata.version("mlflow")
    if not version.startswith(VERSIONS):
        _note_unknown(f"MLflow {version}")
        return False
    with connected(file) as connection:
        revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        columns = {
            table: " ".join(row[1] for row in connection.execute(f"PRAGMA table_info({table})")) for table in COLUMNS
        }
    if revisions == [(REVISION,)] and columns == COLUMNS:
        return True
    _note_unknown(f"the tables of {file}")
    return False


@functools.cache
def _note_unknown(what: str) -> None:
    log.info("%s: not the expected version, so runs are logged by MLflow's own calls, which are slower", what)


class Rows:
    """Writes the runs of a sweep straight into the tables of a store.

    Args:
        file: a store that `fits`.
        artifacts: URI of the folder with the files of runs; those of a child are its record.
    """

    def __init__(self, file: Path, artifacts: str):
        self._file, self._artifacts = file, artifacts

    def find(self, sweep_id: str) -> str | None:
        """The id of the run of a sweep: the sweep's own id, unless MLflow's calls created the run."""
        with connected(self._file) as connection:
            existing = connection.execute(
                "SELECT runs.run_uuid FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid "
                "WHERE key = ? AND value = ? AND (lifecycle_stage = 'active' OR runs.run_uuid = value) "
                "ORDER BY lifecycle_stage, runs.run_uuid <> value, runs.run_uuid",
                (SWEEP_ID, sweep_id),
            ).fetchone()
        return None if existing is None else existing[0]

    def parent(self, sweep_id: str, experiment_id: str, entry: Entry) -> str:
        """The id of the run of a sweep, which is created with the sweep's id if the store has none.

        Args:
            sweep_id: of the sweep, as its manifest has it.
            experiment_id: where a new run is made.
            entry: the content of a new run.
        """
        existing = self.find(sweep_id)
        if existing is None:
            _write(self._file, experiment_id, {sweep_id: (entry, f"{self._artifacts}/{sweep_id}/artifacts")})
        return existing or sweep_id

    def children(self, parent: str, experiment_id: str) -> dict[int, Logged]:
        """The runs that the store has under a parent, by number.

        Args:
            parent: run id of the sweep.
            experiment_id: of the parent.
        """
        with connected(self._file) as connection:
            rows = connection.execute(
                "SELECT number.value, runs.run_uuid, start_time, lifecycle_stage = 'active' AND "
                "coalesce(status.value, '') <> ?, record.value FROM tags AS parent "
                "JOIN tags AS number ON number.run_uuid = parent.run_uuid AND number.key = ? "
                "JOIN runs ON runs.run_uuid = parent.run_uuid "
                "LEFT JOIN tags AS status ON status.run_uuid = parent.run_uuid AND status.key = ? "
                "LEFT JOIN tags AS record ON record.run_uuid = parent.run_uuid AND record.key = ? "
                "WHERE parent.key = 'mlflow.parentRunId' AND parent.value = ? AND experiment_id = ? "
                "ORDER BY 4, runs.run_uuid",  # the last one counts: a complete one, if there is one
                (INCOMPLETE, NUMBER, STATUS, RECORD_ID, parent, experiment_id),
            )
            return {
                int(number): Logged(run_id, experiment_id, started, bool(complete), record_id)
                for number, run_id, started, complete, record_id in rows
            }

    def write(
        self, parent: str, experiment_id: str, entries: Mapping[int, tuple[Entry, Path]], replaced: Mapping[int, Logged]
    ) -> dict[int, str]:
        """Write children in one transaction and return their ids, by number.

        Args:
            parent: run id of the sweep.
            experiment_id: of the parent.
            entries: what each run says and the folder of its record, by number.
            replaced: earlier runs with some of these numbers, which are deleted.

        Raises:
            sqlite3.Error: nothing was written, for example because the store was locked for `LOCK_TIMEOUT_S`.
        """
        ids = {number: child_id(parent, number) for number in entries}
        _write(
            self._file,
            experiment_id,
            {ids[number]: (entry, record.absolute().as_uri()) for number, (entry, record) in entries.items()},
            [logged.run_id for logged in replaced.values()],
        )
        return ids

    def set_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Set params of a run, even those that have a value already, which MLflow's own calls refuse.

        Args:
            run_id: of the run.
            params: name to text.
        """
        with transaction(self._file) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
                [(key, value, run_id) for key, value in params.items()],
            )

    def set_metrics(self, found: Mapping[str, Mapping[str, float]], time: int) -> None:
        """Set metrics of runs, replacing earlier values.

        Args:
            found: name to value, by run id.
            time: when they were found, in milliseconds since 1970.
        """
        rows = [(run_id, name, value, 0, time) for run_id, metrics in found.items() for name, value in metrics.items()]
        with transaction(self._file) as connection:
            for table in ("metrics", "latest_metrics"):
                connection.executemany(
                    f"INSERT OR REPLACE INTO {table} (run_uuid, key, value, step, timestamp, is_nan) "  # noqa: S608 - our own names of tables
                    "VALUES (?, ?, ?, ?, ?, 0)",
                    rows,
                )


def child_id(parent: str, number: int) -> str:
    """The run id of a run of a sweep, which is the same each time that it is logged.

    Args:
        parent: run id of the sweep.
        number: of the run in it.
    """
    return hashlib.sha256(f"{parent}/{number}".encode()).hexdigest()[:32]


def _write(
    file: Path, experiment_id: str, entries: Mapping[str, tuple[Entry, str]], replaced: Sequence[str] = ()
) -> None:
    """Write runs, with the URI of their files, by run id, replacing those with the same ids."""
    with transaction(file) as connection:
        _delete(connection, {*entries, *replaced})
        insert_runs(connection, experiment_id, entries)


def insert_runs(connection: sqlite3.Connection, experiment_id: str, entries: Mapping[str, tuple[Entry, str]]) -> None:
    """Insert runs, with the URI of their files, by run id.

    Args:
        connection: in a transaction.
        experiment_id: of the runs.
        entries: the content of each run and the URI of its files, by run id.
    """
    for index, key in INDEXED.items():
        connection.execute(f"CREATE INDEX IF NOT EXISTS {index} ON tags (value) WHERE key = '{key}'")
    insert = connection.executemany
    insert(
        "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, artifact_uri, source_type, "
        "source_name, entry_point_name, source_version, lifecycle_stage, experiment_id) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 'UNKNOWN', '', '', '', 'active', ?)",
        ((run_id, *_run(entry, uri), experiment_id) for run_id, (entry, uri) in entries.items()),
    )
    of_run = "(run_uuid, key, value) VALUES (?, ?, ?)"
    insert(f"INSERT INTO params {of_run}", _of_each(entries, lambda entry: entry.params.items()))
    insert(f"INSERT INTO tags {of_run}", _of_each(entries, lambda entry: _tags(entry).items()))
    of_run = "(run_uuid, key, value, step, timestamp, is_nan) VALUES (?, ?, ?, ?, ?, 0)"
    insert(f"INSERT INTO metrics {of_run}", _of_each(entries, _points))
    insert(f"INSERT INTO latest_metrics {of_run}", _of_each(entries, _latest))
    _insert_inputs(connection, experiment_id, {run_id: entry.dataset for run_id, (entry, _) in entries.items()})


def _run(entry: Entry, uri: str) -> tuple:
    return entry.name, entry.tags.get("mlflow.user"), entry.status, entry.started, entry.ended, uri


def _of_each(entries: Mapping[str, tuple[Entry, str]], rows: Callable[[Entry], Iterable[tuple]]) -> Iterator[tuple]:
    return ((run_id, *row) for run_id, (entry, _) in entries.items() for row in rows(entry))


def _points(entry: Entry) -> Iterator[tuple]:
    time = entry.ended or entry.started
    return ((name, value, step, time) for name, value, step in entry.points)


def _latest(entry: Entry) -> Iterable[tuple]:
    latest: dict[str, tuple] = {}
    for point in _points(entry):
        latest_point = latest.setdefault(point[0], point)
        # MLflow's rule: the largest step, then time, then value; all points of a run logged here have the same time.
        if (point[2], point[1]) > (latest_point[2], latest_point[1]):
            latest[point[0]] = point
    return latest.values()


def _tags(entry: Entry) -> dict[str, str]:
    return {**entry.tags, "mlflow.runName": entry.name}


def _delete(connection: sqlite3.Connection, run_ids: Iterable[str]) -> None:
    ids = [(run_id,) for run_id in run_ids]
    of_run = "destination_type = 'RUN' AND destination_id = ?"  # no statement contains user input
    connection.executemany(
        f"DELETE FROM input_tags WHERE input_uuid IN (SELECT input_uuid FROM inputs WHERE {of_run})",  # noqa: S608 - our own names of tables
        ids,
    )
    connection.executemany(f"DELETE FROM inputs WHERE {of_run}", ids)  # noqa: S608 - our own names of tables
    for table in (*OF_A_RUN, "runs"):
        connection.executemany(f"DELETE FROM {table} WHERE run_uuid = ?", ids)  # noqa: S608 - our own names of tables


def _insert_inputs(
    connection: sqlite3.Connection, experiment_id: str, datasets: Mapping[str, Mapping[str, str] | None]
) -> None:
    """Link each run to its data; data sets that the experiment already has are reused."""
    users: dict[tuple[str, str], list[str]] = defaultdict(list)
    described = {}
    for run_id, dataset in datasets.items():
        if dataset is not None:
            key = dataset["name"], dataset["digest"]
            users[key].append(run_id)
            described.setdefault(key, dataset)
    for (name, digest), run_ids in users.items():
        existing = connection.execute(
            "SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?",
            (experiment_id, name, digest),
        ).fetchone()
        dataset_id = existing[0] if existing else uuid.uuid4().hex
        if existing is None:
            fields = [described[name, digest][key] for key in ("source_type", "source", "schema", "profile")]
            connection.execute(
                "INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source, "
                "dataset_schema, dataset_profile) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (dataset_id, experiment_id, name, digest, *fields),
            )
        inputs = [(uuid.uuid4().hex, dataset_id, run_id) for run_id in run_ids]
        connection.executemany(
            "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step) "
            "VALUES (?, 'DATASET', ?, 'RUN', ?, 0)",
            inputs,
        )
        connection.executemany(
            "INSERT INTO input_tags (input_uuid, name, value) VALUES (?, ?, ?)",
            [(input_id, *TRAINING) for input_id, _, _ in inputs],
        )


@contextlib.contextmanager
def connected(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a store, closed at the end."""
    # Transactions are opened explicitly, so that the lock is acquired before anything is written.
    with contextlib.closing(sqlite3.connect(file, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as connection:
        if "wal" in connection.execute("PRAGMA journal_mode").fetchone():
            connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        yield connection


@contextlib.contextmanager
def transaction(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a store in a transaction: all changes are kept or none."""
    with connected(file) as connection:
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
