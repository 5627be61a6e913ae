"""`log`: send records to a tracking store that have not reached it, once each.

What is logged follows from the records alone, so that it is what would have been logged at once. Whether a store has a
record is asked of the store; so a second `log` does nothing, and neither does one of a copy of the same records. The
price: a run that was deleted in MLflow comes back as long as its record is there.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from gmm_pipeline import program
from gmm_pipeline.analysis.sweep_answers import compared
from gmm_pipeline.errors import InputError, RunFailed, nearest
from gmm_pipeline.records import artifacts, contents, sweeps
from gmm_pipeline.records.finding import FoundRecords, find_records
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.finding import ALL, LATEST, find_record
from gmm_pipeline.stages.running import resolved
from gmm_pipeline.stages.sweep_tracking import end_parent
from gmm_pipeline.tracking.notes import write_note
from gmm_pipeline.tracking.runs import TrackingError, answers, records_there, send_record
from gmm_pipeline.tracking.store import check_tracking
from gmm_pipeline.tracking.sweeps import SweepTracker, open_sweep, unlogged

LOGGED_AT_ONCE = 50


class Job(NamedTuple):
    """Records that may have to be logged."""

    records: list[Path]
    """Of single runs."""
    sweeps: dict[Path, list[Path]]
    """Folders of sweeps and records of theirs."""
    broken: list[InputError]
    """What is wrong with sweeps whose manifest cannot be read."""
    without_result: int
    """Runs that were interrupted, or not begun."""


class Tally:
    """How many records ended how, and what a person is told meanwhile."""

    def __init__(self, total: int, progress: Callable[..., None]):
        self.logged, self.there, self.failed, self.done, self.errors = 0, 0, 0, 0, 0
        self.experiments: set[str] = set()
        self._total, self._progress = total, progress

    def add(self, *, logged: int = 0, there: int = 0) -> None:
        """Count records that the store has now."""
        self.logged, self.there = self.logged + logged, self.there + there
        self._advance(logged + there)

    def fail(self, error: Exception, records: int = 1) -> None:
        """Count records that could not be logged, if any, and say why."""
        terminal.warn(str(error))
        self.errors += 1
        self.failed += records
        self._advance(records)

    def _advance(self, records: int) -> None:
        self.done += records
        self._progress(self.done, self._total)

    @property
    def left(self) -> int:
        """Records that were not tried."""
        return self._total - self.done


def load(cfg: DictConfig) -> Job:
    """Find the records that are meant.

    Raises:
        InputError: there is no such store or folder, or no record in it.
    """
    if cfg.tracking.uri is None:
        raise InputError(
            "tracking.uri",
            expected="the store that records are sent to",
            came="null",
            remedy="Leave out tracking=none, or name a store.",
        )
    check_tracking(cfg.tracking)
    folder = _folder(cfg.run, cfg.outputs_dir)
    sweep = _sweep_of(folder)
    if sweep is not None:
        return Job([], {sweep: [folder]}, [], 0)
    found = find_records(folder)
    members, broken = {}, []
    for sweep in found.sweeps:
        try:
            members[sweep] = [sweep / str(run.number) for run in sweeps.read_manifest(sweep).runs]
        except InputError as error:
            broken.append(error)
    there = {
        sweep: [record for record in records if (record / artifacts.RECORD).is_file()]
        for sweep, records in members.items()
    }
    without = len(found.unfinished) + sum(len(members[sweep]) - len(records) for sweep, records in there.items())
    job = Job(found.records, {sweep: records for sweep, records in there.items() if records}, broken, without)
    if not job.records and not job.sweeps and not job.broken:
        interrupted = f"{without} that were interrupted" if without else "none"
        raise InputError(
            "run", expected=f"records in {folder}", came=interrupted, remedy=f"Make one: {program.name()} fit."
        )
    return job


def _folder(run: str, outputs_dir: str) -> Path:
    if run == LATEST:
        return find_record(run, outputs_dir)
    folder = Path(outputs_dir if run == ALL else run)
    if folder.is_dir():
        return folder
    outputs = Path(outputs_dir)
    known = find_records(outputs) if outputs.is_dir() else FoundRecords([], [], [])
    close = nearest(run, [str(path) for path in (*known.records, *known.sweeps)])
    raise InputError(
        "outputs_dir" if run == ALL else "run",
        expected="the folder of a record, of a sweep, or of many of them",
        came=f"{folder}, which is no folder",
        remedy=f"Did you mean run={close[0]}?" if close else "Name the folder where the records are now.",
    )


def _sweep_of(record: Path) -> Path | None:
    """The folder of the sweep that a record is of, where that is around it."""
    sweep = record.absolute().parent
    if not (record / artifacts.RECORD).is_file() or not (sweep / sweeps.MANIFEST).is_file():
        return None
    with contents.damage_reported(record):
        of_sweep = contents.read_about(record).get("sweep", {}).get("id")
    return sweep if of_sweep == sweeps.read_manifest(sweep).id else None


def settings_for(tracking: Mapping[str, Any], record: Path) -> dict[str, Any]:
    """How a record is to be logged: as its own config says, but for what the command says.

    Args:
        tracking: of the command.
        record: whose `config.yaml` has what the command leaves open.

    Raises:
        InputError: neither says it.
    """
    recorded = contents.read(record).config.get("tracking", {})
    settings = {key: recorded.get(key) if value is None else value for key, value in tracking.items()}
    missing = [key for key, value in settings.items() if value is None and key != "run_name"]
    if missing:
        raise InputError(
            str(record),
            expected=f"a {artifacts.CONFIG} that says how to log the run",
            came=f"one without tracking.{missing[0]}",
            remedy=f"Set tracking.{missing[0]}.",
        )
    return settings


def run(cfg: DictConfig, *, started: float) -> None:
    """Log what the store has not, and say how many records there were of which kind.

    Raises:
        InputError: nothing can be logged as it was asked.
        RunFailed: some records could not be logged; the user was told of each.
    """
    job = load(cfg)
    tracking = resolved(cfg.tracking)
    total = len(job.records) + sum(map(len, job.sweeps.values())) + len(job.broken)
    with terminal.progress_bar("logging", "records") as progress:
        tally = Tally(total, progress)
        progress(0, total)
        _log_all(job, tracking, tally)
    parts = [f"{tally.logged:,} logged", f"{tally.there:,} there already"]
    parts += [f"{job.without_result:,} without a result"] * bool(job.without_result)
    parts += [f"{tally.failed:,} failed"] * bool(tally.failed) + [f"{tally.left:,} not tried"] * bool(tally.left)
    where = f"{', '.join(sorted(tally.experiments))} in " if tally.experiments else ""
    terminal.say(f"{total:,} record{'s' * (total != 1)}: {', '.join(parts)}; {where}{cfg.tracking.uri}")
    if tally.failed or tally.left:
        raise RunFailed(f"{tally.failed + tally.left:,} of {total:,} records could not be logged")
    if tally.errors:
        raise RunFailed("all records are logged, but not the answer of a sweep: log it again")


def _log_all(job: Job, tracking: Mapping[str, Any], tally: Tally) -> None:
    uri = tracking["uri"]
    for error in job.broken:
        tally.fail(error)
    abouts = {}
    for record in job.records:
        try:
            with contents.damage_reported(record):
                abouts[record] = contents.read_about(record)
        except InputError as error:
            tally.fail(error)
    there = records_there(abouts, uri) if abouts else set()
    tally.add(there=len(there))
    work = [(1, functools.partial(_log_record, record)) for record in abouts if record not in there]
    work += [(len(records), functools.partial(_log_sweep, folder, records)) for folder, records in job.sweeps.items()]
    for records, log in work:
        before = tally.done
        try:
            log(tracking, tally)
        except (InputError, TrackingError) as error:
            if isinstance(error, InputError) and error.where.startswith("tracking."):
                raise
            tally.fail(error, records - (tally.done - before))
            if isinstance(error, TrackingError) and not answers(uri):
                return


def _log_record(record: Path, tracking: Mapping[str, Any], tally: Tally) -> None:
    tracked, was_there = send_record(record, **settings_for(tracking, record))
    write_note(record / artifacts.RECORD, tracked._asdict())
    tally.experiments.add(tracked.experiment)
    tally.add(logged=not was_there, there=was_there)


def _log_sweep(folder: Path, records: Sequence[Path], tracking: Mapping[str, Any], tally: Tally) -> None:
    """Log records of a sweep under its parent, and tell that the answer."""
    if unlogged(folder, records, uri=tracking["uri"]) is None:
        tally.add(there=len(records))
        return
    manifest = sweeps.read_manifest(folder)
    tracker = open_sweep(folder, **_settings_of_sweep(tracking, records))
    for first in range(0, len(records), LOGGED_AT_ONCE):
        # Those that are there too: they may lack the note.
        _log_some(tracker, records[first : first + LOGGED_AT_ONCE], tally)
    runs = compared(sweeps.read_runs(folder, manifest))
    interrupted = len(runs) < len(manifest.runs)
    tracked = end_parent(tracker, manifest, runs, interrupted=interrupted, ended=_ended(folder, runs))
    write_note(folder / sweeps.MANIFEST, tracked._asdict())
    tally.experiments.add(tracked.experiment)


def _settings_of_sweep(tracking: Mapping[str, Any], records: Sequence[Path]) -> dict[str, Any]:
    """As the first record says that can; one that failed may have no config."""
    for record in records[:-1]:
        with contextlib.suppress(InputError):
            return settings_for(tracking, record)
    return settings_for(tracking, records[-1])


def _log_some(tracker: SweepTracker, records: Sequence[Path], tally: Tally) -> None:
    """Log records together, or, where one is damaged, one by one."""
    try:
        logged = tracker.log(records)
        tally.add(logged=logged, there=len(records) - logged)
    except InputError as error:
        if len(records) == 1:
            tally.fail(error)
            return
        for record in records:
            _log_some(tracker, [record], tally)


def _ended(folder: Path, runs: Sequence[sweeps.SweepRun]) -> str | None:
    """When the last run of a sweep did."""
    ended = []
    for run in runs:
        with contextlib.suppress(InputError), contents.damage_reported(folder):
            ended.append(contents.read_about(folder / run.record)["ended"])
    return max(ended, key=contents.milliseconds, default=None)
