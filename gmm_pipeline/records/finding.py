"""Find all records below a folder, and read their fits."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.consistency import check_result
from gmm_pipeline.records.contents import damage_reported, opened
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.sweeps import MANIFEST

if TYPE_CHECKING:
    from gmm_pipeline.model.natural import AnyMixture
    from gmm_pipeline.model.noise import NoisyMixture

COPIES = "mlartifacts"
"""Folder beside a local store with the files of its runs."""


class FoundRecords(NamedTuple):
    """The records below a folder."""

    records: list[Path]
    """Records of single runs."""
    sweeps: list[Path]
    unfinished: list[Path]
    """Folders of fits that were interrupted."""


def find_records(folder: Path) -> FoundRecords:
    """All records below a folder, at any depth, except MLflow's copies and hidden folders."""
    found = FoundRecords([], [], [])
    for place, folders, files in os.walk(folder):
        if MANIFEST in files:
            found.sweeps.append(Path(place))
        elif artifacts.RECORD in files:
            found.records.append(Path(place))
        elif "fit.log" in files:
            found.unfinished.append(Path(place))
        else:
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name != COPIES)
            continue
        folders.clear()
    return found


def read_fitted(record: Path) -> "AnyMixture | NoisyMixture":
    """The fitted mixture of a record, in the user's units, with its noise if there is any.

    Raises:
        InputError: the run diverged or failed, or the record is damaged.
    """
    with damage_reported(record):
        about = opened(record)
    if about.get("status") != "finished":
        reason = f": {about['error']}" if about.get("error") else ""
        raise InputError(
            "run",
            expected="a run that finished",
            came=f"{record} ({about.get('status', 'no status')}{reason})",
            remedy="Its numbers are not a result; choose another run.",
        )
    parameters = read_part(record / artifacts.PARAMETERS)
    with damage_reported(record, artifacts.PARAMETERS):
        check_result(artifacts.mixture_from_json(parameters))
        return artifacts.fitted_from_json(parameters)


def columns_of(record: Path) -> tuple[str, ...]:
    """The names of the columns that a record was fitted to; empty if they have none, or are unknown.

    Args:
        record: its folder.

    Raises:
        InputError: the record is damaged.
    """
    if not (record / artifacts.DATA).is_file():
        return ()
    data = read_part(record / artifacts.DATA)
    columns = data.get("columns", [data.get("column")])
    return tuple(columns) if all(isinstance(column, str) for column in columns) else ()


def read_part(path: Path) -> dict[str, Any]:
    """Read one of the JSON files of a record.

    Raises:
        InputError: it is damaged.
    """
    with damage_reported(path.parent, path.name):
        return read_json(path)
