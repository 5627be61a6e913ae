"""The record that a fit from Python leaves, in the same way as the command: files, pictures, and a run in MLflow."""

import contextlib
import os
import shlex
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gmm_pipeline import environment
from gmm_pipeline.analysis.answers import Answer
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.api.given import DATA
from gmm_pipeline.errors import InputError
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.fit import log_as_asked, save, track
from gmm_pipeline.stages.recording import write_record
from gmm_pipeline.tracking.store import check_tracking

if TYPE_CHECKING:
    from gmm_pipeline.tracking.runs import TrackedRun

LOGGED = "tracking"
"""The entry of `record.json` and of `sweep.json` that says where it was logged."""
TRACKING, STORE = "tracking", "tracking.uri="
"""Begin an override of a key of tracking, and of the one that names the store."""
Tracker = Callable[[Path], "TrackedRun"]


@contextlib.contextmanager
def place(record: str | Path | bool | None, parent: Path, main: str, *, tracked: bool) -> Iterator[Path | None]:
    """The folder that is written to: the one asked for, a temporary one if it is only tracked, or None for none.

    Args:
        record: as `gmm_pipeline.fit` takes it.
        parent: of a folder that is named by the time.
        main: name of the file that describes what is in the folder.
        tracked: whether MLflow gets a copy.

    Raises:
        InputError: the folder has something in it, or cannot be made.
    """
    if not isinstance(record, str | Path | bool | None) or (isinstance(record, str) and not record.strip()):
        raise InputError("record", expected="a folder", came=repr(record), remedy="Name one, or use record=True.")
    if not record:
        if not tracked:
            yield None
            return
        temporary = Path(tempfile.mkdtemp(prefix="gmm_pipeline-"))
        try:
            yield temporary
        finally:
            file = temporary / main
            if not file.is_file() or LOGGED in read_json(file):  # otherwise it is kept nowhere else
                shutil.rmtree(temporary)
        return
    if record is True:
        folder = parent.absolute() / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{os.urandom(3).hex()}"
    else:
        try:
            folder = Path(record).expanduser().absolute()
        except RuntimeError as error:  # no such user
            raise InputError("record", expected="a folder", came=str(record), remedy=f"{error}.") from error
    if "${" in str(folder):
        remedy = "The config would take ${…} for a reference to a key."
        raise InputError("record", expected="a folder without ${ in its name", came=str(record), remedy=remedy)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        remedy = "Name another, or remove it first."
        raise InputError("record", expected="a folder that is empty or not there yet", came=str(record), remedy=remedy)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        came = f"{record} ({error.strerror})"
        raise InputError("record", expected="a folder that can be made", came=came, remedy="Name another.") from error
    try:
        yield folder
    except BaseException:
        if not (folder / main).exists():
            (folder / DATA).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def is_tracked(tracking: Mapping[str, Any], overrides: Sequence[str]) -> bool:
    """Whether the caller named a key of `tracking`, and there is a store.

    Args:
        tracking: the config group.
        overrides: of the fit.
    """
    return tracking["uri"] is not None and any(line.startswith(TRACKING) for line in overrides)


def names_store(overrides: Sequence[str]) -> bool:
    """Whether the caller named the store.

    Args:
        overrides: of the fit.
    """
    return any(line.startswith(STORE) for line in overrides)


def tracker_of(tracking: Mapping[str, Any], overrides: Sequence[str]) -> Tracker | None:
    """What logs a record to MLflow; None if the caller named no key of `tracking`.

    Where the caller uses MLflow in this process, and names no other store, the fit goes where their runs go.

    Args:
        tracking: the config group.
        overrides: of the fit.

    Raises:
        InputError: the store cannot be used.
    """
    if not is_tracked(tracking, overrides):
        return None
    from gmm_pipeline.tracking import active_runs

    if active_runs.are_used() and not names_store(overrides):
        return lambda folder: active_runs.log_fit(folder, series_points=tracking["series_points"])
    check_tracking(DictConfig(tracking))
    return lambda folder: log_as_asked(tracking, folder, environment.run_id())


def keep(
    content: dict[str, Any],
    overrides: Sequence[str],
    job: Job,
    result: Answer,
    folder: Path,
    tracker: Tracker | None,
    started: float,
) -> None:
    """Write the record of a fit, draw it, and log it to MLflow, each as the config says.

    What fails after the fit is a warning: the fit is returned all the same.

    Args:
        content: the resolved config.
        overrides: that it was composed from.
        job: what was fitted.
        result: of the fit.
        folder: of the record.
        tracker: logs it to MLflow; None for no logging.
        started: when the work began, on the performance counter.
    """
    timings = Timings(started)
    began = datetime.fromtimestamp(time.time() - (time.perf_counter() - started), UTC)
    command = shlex.join(["python", "-m", "gmm_pipeline", "fit", *overrides])
    pictured = bool(content["figures"]["formats"] or content["animation"]["formats"])
    try:
        saved = save(content, overrides, job, result, folder, began, timings, pictured=pictured, command=command)
        tracked = {}
        if tracker is not None:
            tracked = track(lambda: tracker(folder), content["tracking"]["uri"], folder, timings, _warn)
        write_record(folder, {**saved.record, **tracked}, timings, timed=content["timings"])
    except OSError as error:
        _warn(f"The record is not complete: {error.filename}: {error.strerror}. The fit is.")
        return
    if saved.failed:
        _warn(saved.failed)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=5)
