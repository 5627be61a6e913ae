"""Which record is meant: a folder, the newest one, a run that MLflow knows, or all that lie somewhere.

A run of MLflow's is found by the record that it was logged from, and where that is gone, as for one that was logged on
another machine, by the copies that the tracker has. The price: those are files in a folder that lasts as long as the
caller keeps it.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gmm_pipeline import program
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.contents import check_unaltered, damage_told, record_id
from gmm_pipeline.records.files import read_json, whole_file, write_json
from gmm_pipeline.records.loggable import RECORD_ID
from gmm_pipeline.records.sweep_answers import NAMES, best_of, compared, same_data, with_results
from gmm_pipeline.records.sweeps import MANIFEST, read_manifest, read_runs
from gmm_pipeline.records.tracking import TrackingError
from gmm_pipeline.records.tracking_store import COPIES, SQLITE, client_of, collector_paused, store_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from gmm_pipeline.model.natural import Mixture

RUN_ID = re.compile(r"[0-9a-f]{32}")
LATEST = "latest"
ORIGINS = "origins"
COPIED = (artifacts.RECORD, artifacts.PARAMETERS)
"""What tells a fitted mixture."""
ALL = "all"


class Found(NamedTuple):
    """What lies below a folder."""

    records: list[Path]
    """Of single runs."""
    sweeps: list[Path]
    unfinished: list[Path]
    """Folders of fits that were interrupted."""


def find_records(folder: Path) -> Found:
    """All records below a folder, however deep, but for MLflow's copies and what begins with a dot."""
    found = Found([], [], [])
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


def find_record(run: str, outputs_dir: str) -> Path:
    """The folder of a finished record.

    Args:
        run: a folder, or `latest` for the newest fit under `outputs_dir`; of a sweep that is its best run.
        outputs_dir: folder of the records.

    Raises:
        InputError: where there is no such record.
    """
    places = (f"fit/*/{artifacts.RECORD}", f"sweeps/*/*/{artifacts.RECORD}")
    written = [path for place in places for path in Path(outputs_dir).glob(place)]
    finished = [path.parent for path in sorted(written, key=lambda path: path.stat().st_mtime_ns)]
    if run == LATEST:
        if not finished:
            raise InputError(
                "run",
                expected=f"a record under {outputs_dir}",
                came="none",
                remedy=f"Make one: {program.name()} fit.",
            )
        best = best_of_sweep(finished[-1].parent)
        return finished[-1] if best is None else best.record
    folder = Path(run)
    if not (folder / artifacts.RECORD).is_file():
        close = nearest(run, [str(path) for path in finished])
        if (folder / MANIFEST).is_file():
            remedy = f"That is a sweep; name one of its runs, such as {folder / '0'}."
        else:
            remedy = f"Did you mean {close[0]}?" if close else "The newest fit is run=latest."
        raise InputError("run", expected=f"the folder of a record, with a {artifacts.RECORD}", came=run, remedy=remedy)
    return folder


class BestRun(NamedTuple):
    """Which run of a sweep `latest` is."""

    record: Path
    words: str
    """What it is the best of."""


def best_of_sweep(folder: Path) -> BestRun | None:
    """The run of a sweep whose objective is the best and that nothing bars; None where there is none.

    Args:
        folder: of a sweep, or any other.
    """
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(folder)
    runs = compared(read_runs(folder, manifest))
    sound = with_results(runs, manifest.objective)
    if not sound:
        return None
    _, best = best_of(sound, manifest.objective)
    so_far = "" if len(runs) == len(manifest.runs) else f" so far, of {len(manifest.runs):,},"
    differ = "" if same_data(sound) else ", whose data differ"
    name = NAMES.get(manifest.objective, manifest.objective)
    return BestRun(
        folder / str(best.number),
        f"the best of {len(runs):,} run{'s' * (len(runs) != 1)}{so_far} of the sweep {manifest.name} by {name}{differ}",
    )


@contextlib.contextmanager
def found_record(run: str, outputs_dir: str, tracking_uri: str | None, *, whole: bool = False) -> Iterator[Path]:
    """A folder with `record.json` and `parameters.json` of a run: its record, or copies that last as long as this does.

    With `data.json` besides, where there is one.

    Args:
        run: a folder, `latest`, or the id of a run in MLflow.
        outputs_dir: folder of the records.
        tracking_uri: of the store that knows the run; None where there is none.
        whole: all files of the record are wanted, and the folder of a sweep will do too.

    Raises:
        InputError: there is no such run, or it has no record.
        TrackingError: the store or the server failed.
    """
    if RUN_ID.fullmatch(run) and not Path(run).exists():
        with tempfile.TemporaryDirectory(prefix="gmm_pipeline-") as folder:
            yield _of_tracked(run, tracking_uri, Path(folder), (*COPIED, artifacts.DATA), whole=whole)
    else:
        yield find_record(run, outputs_dir)


def lasting_record(run: str, outputs_dir: str, tracking_uri: str | None) -> Path:
    """The folder of a finished record; of one that is gone, copies of all that the tracker has, in a folder that stays.

    Args:
        run: a folder, `latest`, or the id of a run in MLflow.
        outputs_dir: folder of the records; copies are put under `origins` there.
        tracking_uri: of the store that knows the run; None where there is none.

    Raises:
        InputError: there is no such run, or it has no record.
        TrackingError: the store or the server failed.
    """
    if not RUN_ID.fullmatch(run) or Path(run).exists():
        return find_record(run, outputs_dir)
    with tempfile.TemporaryDirectory(prefix="gmm_pipeline-") as folder:
        found = _of_tracked(run, tracking_uri, Path(folder), wanted=artifacts.FILES)
        if found != Path(folder):
            return found
        kept = Path(outputs_dir) / ORIGINS / run
        for name in artifacts.FILES:
            if (found / name).is_file():
                with whole_file(kept / name) as stream:
                    stream.write((found / name).read_bytes())
    # What was logged was written before it was known as what.
    about = _read(kept / artifacts.RECORD)
    write_json(kept / artifacts.RECORD, about | {"tracking": {"uri": tracking_uri, "run_id": run}})
    return kept


def read_fitted(record: Path) -> "Mixture":
    """The mixture that a record has as its answer, in the user's units.

    Raises:
        InputError: the run diverged or failed, or the record is damaged.
    """
    about = _read(record / artifacts.RECORD)
    if about.get("status") != "finished":
        reason = f": {about['error']}" if about.get("error") else ""
        raise InputError(
            "run",
            expected="a run that finished",
            came=f"{record} ({about.get('status', 'no status')}{reason})",
            remedy="Its numbers are no result; choose another run.",
        )
    check_unaltered(record, about, artifacts.PARAMETERS)
    with damage_told(record, artifacts.PARAMETERS):
        return artifacts.mixture_from_json(read_json(record / artifacts.PARAMETERS))


def column_of(record: Path) -> str | None:
    """The column of a file that a record was made of; None where it was of none, or is not known.

    Args:
        record: its folder.

    Raises:
        InputError: the record is damaged.
    """
    if not (record / artifacts.DATA).is_file():
        return None
    column = _read(record / artifacts.DATA).get("column")
    return column if isinstance(column, str) else None


def _read(path: Path) -> dict[str, Any]:
    with damage_told(path.parent, path.name):
        return read_json(path)


@collector_paused()
def _of_tracked(
    run_id: str, uri: str | None, folder: Path, wanted: Sequence[str] = COPIED, *, whole: bool = False
) -> Path:
    if uri is None:
        raise InputError(
            "tracking.uri",
            expected="the store that knows the run",
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
            "run", expected=f"a run that {uri} knows", came=run_id, remedy=f"`{program.name()} ui` shows them."
        ) from error


def _is_of(record: Path, run: "Run") -> bool:
    """Whether a record is the one that was logged as this run, so that another in its place is not taken for it."""
    about = _read(record / artifacts.RECORD)
    identity = run.data.tags.get(RECORD_ID)
    if identity is not None:
        return record_id(about) == identity
    return about.get("tracking", {}).get("run_id") == run.info.run_id  # of an earlier version


def _of_sweep(tagged: Path, run: "Run") -> Path:
    """The folder of a sweep; its records are nowhere else."""
    about = _read(tagged / MANIFEST) if (tagged / MANIFEST).is_file() else {}
    if about.get("id") != run.data.tags["gmm_pipeline.sweep_id"]:
        raise InputError(
            "run",
            expected="a sweep whose folder is where it was",
            came=f"{run.info.run_id}, whose folder was {tagged}",
            remedy="Name the folder of the sweep as it is now.",
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
            came=f"{run.info.run_id}, whose record {f'was in {place}' if place else 'MLflow does not know'}",
            remedy="Name the folder where the record is now.",
        )
    for name in ("",) if whole else there.intersection(wanted):
        client.download_artifacts(run.info.run_id, name, str(folder))
    return folder
