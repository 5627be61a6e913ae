"""Whether two sweeps left the same: files bit for bit, and what MLflow's store says, read without MLflow."""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

NAME = "interrupted"
COMPONENTS = (1, 2, 3, 4, 5)
TABLES = ("sweep.parquet", "sweep.csv")
RESULTS = ("parameters.json", "metrics.json", "history.npz", "assignments.parquet")


class Check(NamedTuple):
    """A promise, and what was seen of it."""

    promise: str
    seen: str
    kept: bool


class Child(NamedTuple):
    """A run of the sweep in MLflow's store."""

    run_id: str
    status: str
    lifecycle: str
    content: frozenset[tuple[Any, ...]]
    """Its parameters and metrics, with steps."""


class Store(NamedTuple):
    """MLflow's store, read without MLflow."""

    parents: list[tuple[str, str]]
    """Identifier and status."""
    children: list[Child]
    strangers: int
    """Runs with another parent."""


def sweep_folder(folder: Path) -> Path:
    """Where a sweep that ran in `folder` is."""
    return folder / "outputs" / "sweeps" / NAME


def differing(folder: Path, clean: Path, names: Sequence[str]) -> list[str]:
    """Which files are not equal, bit for bit, or missing."""

    def content(path: Path) -> bytes | None:
        return path.read_bytes() if path.is_file() else None

    return [name for name in names if content(folder / name) is None or content(folder / name) != content(clean / name)]


def of_files(promise: str, wrong: Sequence[str], total: int) -> Check:
    """A promise on many files."""
    some = f": {', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''}" if wrong else ""
    return Check(promise, f"{total - len(wrong):,} of {total:,}{some}", not wrong)


def read_store(folder: Path, sweep_id: str) -> Store:
    """What MLflow's store says of a sweep."""
    with contextlib.closing(sqlite3.connect(folder / "outputs" / "mlflow.db")) as store:
        runs = store.execute("SELECT run_uuid, status, lifecycle_stage FROM runs").fetchall()
        parent_of = dict(store.execute("SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'"))
        content: dict[str, list[tuple[Any, ...]]] = {run_id: [] for run_id, *_ in runs}
        for run_id, *row in store.execute("SELECT run_uuid, key, value FROM params"):
            content[run_id].append(tuple(row))
        for run_id, *row in store.execute("SELECT run_uuid, key, value, step, is_nan FROM metrics"):
            content[run_id].append(tuple(row))
    return Store(
        parents=[(run_id, status) for run_id, status, _ in runs if run_id not in parent_of],
        children=[
            Child(run_id, status, lifecycle, frozenset(content[run_id]))
            for run_id, status, lifecycle in runs
            if parent_of.get(run_id) == sweep_id
        ],
        strangers=sum(parent != sweep_id for parent in parent_of.values()),
    )


def seen_of(parents: Sequence[tuple[str, str]]) -> str:
    """The parents in a store, in a few words."""
    return ", ".join(f"{run_id[:6]} {status}" for run_id, status in parents)


def child_id(sweep_id: str, number: int) -> str:
    """The identifier that a run of a sweep has in MLflow."""
    return hashlib.sha256(f"{sweep_id}/{number}".encode()).hexdigest()[:32]


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a sweep that ran in `folder`."""
    return json.loads((sweep_folder(folder) / "sweep.json").read_text(encoding="utf-8"))
