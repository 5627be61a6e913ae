"""The record of a run in MLflow: the folder from which it was logged, or the copies that the tracker has."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gmm_pipeline import program
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.contents import record_id
from gmm_pipeline.records.finding import read_part
from gmm_pipeline.records.sweeps import MANIFEST
from gmm_pipeline.tracking.loggable import RECORD_ID
from gmm_pipeline.tracking.runs import TrackingError
from gmm_pipeline.tracking.store import SQLITE, client_of, collector_paused, store_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

COPIED = (artifacts.RECORD, artifacts.PARAMETERS)
"""Files that describe a fitted mixture."""


@collector_paused()
def record_of_tracked(
    run_id: str, uri: str | None, folder: Path, wanted: Sequence[str] = COPIED, *, whole: bool = False
) -> Path:
    """The folder of a run's record, or the one with its copies.

    Args:
        run_id: of the run.
        uri: of the store that has it; None if there is none.
        folder: for copies.
        wanted: files to copy.
        whole: whether all files are wanted; the folder of a sweep is accepted too.

    Raises:
        InputError: there is no such run, or it has no record.
        TrackingError: the store or the server failed.
    """
    if uri is None:
        raise InputError(
            "tracking.uri",
            expected="the store that has the run",
            came="null",
            remedy="Leave out tracking=none, or name the folder of the run's record.",
        )
    file = store_file(uri)
    if file is not None and not file.exists():
        raise InputError(
            "tracking.uri",
            expected="the store of earlier runs",
            came=f"{file}, which does not exist",
            remedy="Name the store with tracking.uri, or the folder of the run's record with run.",
        )
    client = client_of(uri if file is None else f"{SQLITE}{file}")
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
        tagged = Path(run.data.tags.get("gmm_pipeline.record", ""))
        if (tagged / artifacts.RECORD).is_file() and _is_of(tagged, run):
            return tagged
        if whole and "gmm_pipeline.sweep_id" in run.data.tags:
            return _of_sweep(tagged, run)
        return _copied(client, run, folder, wanted, whole=whole)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise TrackingError(f"{uri}: the run could not be read: {str(error).splitlines()[0]}") from error
        raise InputError(
            "run", expected=f"a run in {uri}", came=run_id, remedy=f"`{program.name()} ui` lists the runs."
        ) from error


def _is_of(record: Path, run: "Run") -> bool:
    """Whether a record is the one that was logged as this run, not another one in its place."""
    about = read_part(record / artifacts.RECORD)
    identity = run.data.tags.get(RECORD_ID)
    if identity is not None:
        return record_id(about) == identity
    return about.get("tracking", {}).get("run_id") == run.info.run_id  # logged by an earlier version


def _of_sweep(tagged: Path, run: "Run") -> Path:
    """The folder of a sweep; its records exist nowhere else."""
    about = read_part(tagged / MANIFEST) if (tagged / MANIFEST).is_file() else {}
    if about.get("id") != run.data.tags["gmm_pipeline.sweep_id"]:
        raise InputError(
            "run",
            expected="a sweep whose folder was not moved",
            came=f"{run.info.run_id}, whose folder was {tagged}",
            remedy="Name the current folder of the sweep.",
        )
    return tagged


def _copied(client: "MlflowClient", run: "Run", folder: Path, wanted: Sequence[str], *, whole: bool) -> Path:
    if "gmm_pipeline.sweep_id" in run.data.tags:
        raise InputError(
            "run",
            expected="a run that fitted a mixture",
            came=f"the sweep {run.data.tags['gmm_pipeline.sweep']}",
            remedy="Name one of its runs, by id or by folder.",
        )
    there = {file.path for file in client.list_artifacts(run.info.run_id)}
    if not there.issuperset(COPIED):
        place = run.data.tags.get("gmm_pipeline.record")
        raise InputError(
            "run",
            expected="a run with a record",
            came=f"{run.info.run_id}, whose record {f'was in {place}' if place else 'MLflow does not have'}",
            remedy="Name the current folder of the record.",
        )
    for name in ("",) if whole else there.intersection(wanted):
        client.download_artifacts(run.info.run_id, name, str(folder))
    return folder
