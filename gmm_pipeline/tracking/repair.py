"""Fix the absolute paths in a local store whose folder was moved.

MLflow stores absolute paths of the files of a run, so a moved store silently lists none. The old folder follows from
the store itself: its artifacts lie beside it, and its runs name their records. A path is changed only if its file
exists at the new place; all changes are made in one transaction, after a copy of the store. The price: the columns that
hold paths are listed here; columns added by a later version of MLflow would not be changed.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.finding import COPIES, find_records
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.sweeps import MANIFEST
from gmm_pipeline.tracking.notes import rewrite
from gmm_pipeline.tracking.rows import connected, transaction
from gmm_pipeline.tracking.runs import failures_reported
from gmm_pipeline.tracking.store import SQLITE, one_writer

RECORD_TAG, RECORDS = "gmm_pipeline.record", "records"
# Table, column, the key of the relevant rows if there is one, and a name for messages.
PLACES = (
    ("experiments", "artifact_location", None, "experiments"),
    ("runs", "artifact_uri", None, "runs"),
    ("logged_models", "artifact_location", None, "models"),
    ("model_versions", "source", None, "versions of registered models"),
    ("model_versions", "storage_location", None, "files of registered models"),
    ("trace_tags", "value", "mlflow.artifactLocation", "traces"),
    ("tags", "value", RECORD_TAG, RECORDS),
    ("tags", "value", "gmm_pipeline.origin", "origins"),
)


class Move(NamedTuple):
    """Old and new place of a folder."""

    old: Path
    new: Path


class Repair(NamedTuple):
    """What was changed."""

    moves: list[Move]
    changed: dict[str, int]
    """Number of changed paths, by kind."""
    backup: Path | None
    """The copy of the store before the changes; None if nothing was changed."""
    lost: int
    """Runs whose record is neither at the stored path nor below the folder."""


def repair(file: Path, outputs: Path) -> Repair:
    """Fix the paths in a store, and those in the notes of records.

    Args:
        file: of the store.
        outputs: the current folder of the records.

    Raises:
        InputError: the file is not an MLflow store.
        TrackingError: the store failed; it is unchanged.
    """
    uri, outputs = f"{SQLITE}{file}", outputs.resolve()
    kept = "the store is unchanged"
    with failures_reported(uri, file, what="the store", kept=kept, done="repaired"), one_writer(uri, "all"):
        with connected(file) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"experiments", "runs", "tags"} <= tables:
                raise InputError(
                    "tracking.uri", expected="an MLflow store", came=f"{file}, which has no runs", remedy="Name it."
                )
            paths = [path for *_, path in _paths(connection)]
            moves = _moves(paths, _tagged(connection), file, outputs)
            changes = list(_changes(connection, moves))
            backup = _copied(connection, file) if changes else None
        with transaction(file) as connection:
            # Looked up again, now that the store is locked.
            changes = list(_changes(connection, moves))
            for table, column, _, row, value in changes:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))  # noqa: S608 - our own names of tables
            lost = sum(not path.exists() for path in _tagged(connection))
    notes = _repair_notes(outputs, moves)
    changed = dict(Counter(name for _, _, name, _, _ in changes)) | ({"notes of records": notes} if notes else {})
    return Repair(moves, changed, backup, lost)


def _columns(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str, str]]:
    """The columns of `PLACES` that a store has, each with a statement that reads it and the name for messages."""
    for table, column, key, name in PLACES:
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if column in there:
            of_key = "" if key is None else f" AND key = '{key}'"
            asked = f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL{of_key}"  # noqa: S608 - our own names
            yield table, column, name, asked


def _paths(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str, int, str, Path]]:
    """Every local path in a store: table, column, name, row, the text, the path."""
    for table, column, name, asked in _columns(connection):
        for row, text in connection.execute(asked).fetchall():
            path = unquote(text.removeprefix("file://")) if text.startswith("file:///") else text
            if path.startswith("/"):
                yield table, column, name, row, text, Path(path)


def _tagged(connection: sqlite3.Connection) -> list[Path]:
    """Where the records of the runs were."""
    return [path for _, _, name, _, _, path in _paths(connection) if name == RECORDS]


def _changes(connection: sqlite3.Connection, moves: Sequence[Move]) -> Iterator[tuple[str, str, str, int, str]]:
    for table, column, name, row, text, path in _paths(connection):
        new = _moved(path, moves)
        if new is not None:
            yield table, column, name, row, new.as_uri() if text.startswith("file:") else str(new)


def _moves(paths: Sequence[Path], tagged: Sequence[Path], file: Path, outputs: Path) -> list[Move]:
    """Which folders were moved, the deepest first."""
    found: dict[Move, None] = {}
    for path in paths:
        if COPIES in path.parts:
            last = len(path.parts) - 1 - path.parts[::-1].index(COPIES)
            found[Move(Path(*path.parts[:last]), file.parent)] = None
    for path in tagged:
        if not path.exists() and _moved(path, list(found)) is None:
            found |= dict.fromkeys(_found_below(path, outputs))
    moves = [move for move in found if move.old != move.new]
    return sorted(moves, key=lambda move: len(move.old.parts), reverse=True)


def _found_below(record: Path, outputs: Path) -> Iterator[Move]:
    """The folder with which a record was moved, if the record is found by the longest possible end of its path."""
    for first in range(1, len(record.parts)):
        now = outputs.joinpath(*record.parts[first:])
        if (now / artifacts.RECORD).is_file() or (now / MANIFEST).is_file():
            yield Move(Path(*record.parts[:first]), outputs)
            return


def _moved(path: Path, moves: Sequence[Move]) -> Path | None:
    """The new place of a path; None if its file is not there."""
    for move in moves:
        if path.is_relative_to(move.old) and move.old != move.new:
            new = move.new / path.relative_to(move.old)
            # A folder for artifacts is created with its first file.
            if new.exists() or (COPIES in new.parts and not path.exists()):
                return new
    return None


def _copied(connection: sqlite3.Connection, file: Path) -> Path:
    """A consistent copy of a store, made beside it."""
    now = datetime.now().astimezone()
    backup = file.with_name(f"{file.name}.before-repair-{now:%Y-%m-%d_%H-%M-%S}")
    copy = sqlite3.connect(backup)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    return backup


def _repair_notes(outputs: Path, moves: Sequence[Move]) -> int:
    """Fix the absolute path of the store in the notes of records; returns how many were changed."""
    if not moves:
        return 0
    found = find_records(outputs)
    members = [file for sweep in found.sweeps for file in sweep.glob(f"*/{artifacts.RECORD}")]
    singles = [record / artifacts.RECORD for record in found.records]
    repaired = 0
    for file in (*singles, *members, *(sweep / MANIFEST for sweep in found.sweeps)):
        try:
            content = read_json(file)
            noted = str(content["tracking"]["uri"]).removeprefix(SQLITE)
        except (OSError, ValueError):
            continue  # irrelevant here; commands that need the record report it
        new = _moved(Path(noted), moves) if noted.startswith("/") else None
        if new is not None:
            tracking = {**content["tracking"], "uri": f"{SQLITE}{new}"}
            repaired += rewrite(file, {**content, "tracking": tracking})
    return repaired
