"""A running sweep: its folder, its manifest, its tracker, and its answer at the end.

The manifest is written before any run, and every run is complete on disk before anything else uses it; so a sweep can
be killed at any moment and the same command resumes it. The answer (table, pictures, text, the parent run in MLflow) is
made from the records alone, so that it is the same after any number of interruptions.
"""

import contextlib
import hashlib
import logging
import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gmm_pipeline import environment, program
from gmm_pipeline.analysis.recovery import worst_errors
from gmm_pipeline.analysis.sweep_answers import compared
from gmm_pipeline.errors import InputError, RunFailed, heeding_interrupts
from gmm_pipeline.execution.planning import Plan, manifest_runs
from gmm_pipeline.records import artifacts, sweeps
from gmm_pipeline.records.code_state import why_unknown
from gmm_pipeline.records.contents import Written
from gmm_pipeline.records.files import held
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.records.sweep_table import write_table
from gmm_pipeline.records.sweeps import Manifest, ManifestRun, SweepRun
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages import sweep_summary, sweep_tracking, terminal
from gmm_pipeline.stages.loading import check_sweep_name
from gmm_pipeline.stages.pictures import picture
from gmm_pipeline.stages.running import log_command, resolved

if TYPE_CHECKING:
    from gmm_pipeline.tracking.sweeps import SweepTracker

LOG = "sweep.log"
LOGGED_AT_ONCE = 250
"""Records logged at once: some megabytes, at most once per second."""


class Sweep:
    """One sweep of this process."""

    def __init__(self, cfg: DictConfig, folder: Path, timings: Timings, command: str = "", under: str | None = None):
        """Open a new or an existing sweep.

        Args:
            cfg: of the whole sweep.
            folder: where its records are.
            timings: of the process.
            command: that resumes it; empty for that of this process.
            under: id of the run in MLflow that the sweep's own becomes a child of; None for that of MLFLOW_RUN_ID.

        Raises:
            InputError: its name cannot be used, or another process works on it.
        """
        check_sweep_name(folder.name)
        alone = held(folder / LOG)
        if alone is None:
            raise InputError(
                "sweep",
                expected="one that no other process works on",
                came=f"{folder.name}, which another process fits",
                remedy="Wait until that is done: the same command then fits what is left. Or name another sweep.",
            )
        self._held = alone
        self.cfg, self.folder, self.timings = cfg, folder, timings
        self._command = command or resume_command(folder.name)
        self._under = under or environment.run_id()
        exists = (folder / sweeps.MANIFEST).exists()
        self.manifest = sweeps.read_manifest(folder) if exists else self._new_manifest()
        self.is_new = not exists
        self._tracker: SweepTracker | None = None
        self._tracks = cfg.tracking.uri is not None
        self._unlogged: dict[Path, Written | None] = {}
        self._reported: set[str] = set()

    def _new_manifest(self) -> Manifest:
        # A tracker identifies sweeps by id; an untracked sweep is identified by its name.
        name, timed = self.folder.name, self.cfg.timings or self.cfg.tracking.uri is not None
        return Manifest(
            id=os.urandom(16).hex() if timed else hashlib.sha256(name.encode()).hexdigest()[:32],
            name=name,
            command="",
            started=datetime.now(UTC).isoformat() if timed else "",
            objective=self.cfg.objective,
            runs=[],
        )

    def begin(self, planned: Plan) -> None:
        """Write the manifest, before any run."""
        self.manifest = self.manifest._replace(
            command=self._command,
            objective=self.cfg.objective,
            runs=manifest_runs(planned, self.manifest.runs),
        )
        sweeps.write_manifest(self.folder, self.manifest)
        why = why_unknown() if self.cfg.timings else ""
        if why and why not in self._reported:
            self._reported.add(why)
            self.note(why)
            terminal.warn(why)
        # A killed process may have left records that it had not logged yet, and a sweeper may launch several batches.
        self._unlogged = {self.record(run.number): None for run in planned.runs if run.done} | self._unlogged
        self._tracker = None

    def record(self, number: int) -> Path:
        """The folder of a run."""
        return self.folder / str(number)

    def about(self, number: int) -> dict[str, Any]:
        """What the record of a run says about the sweep."""
        return {"name": self.manifest.name, "id": self.manifest.id, "number": number}

    def note(self, *lines: str) -> None:
        """Add lines to the log of the sweep; if it cannot be written, the sweep continues without it."""
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        with contextlib.suppress(OSError), (self.folder / LOG).open("a", encoding="utf-8") as stream:
            stream.writelines(f"{now} {line}\n" for line in lines)

    def report_gaps(self, planned: Plan) -> None:
        """Report how many rows each data set lacks of its file, once per process.

        Args:
            planned: the runs that are launched; a sweeper may launch more later.
        """
        lines = [line for line in planned.gaps if line not in self._reported]
        self._reported |= {*lines}
        terminal.say(*lines)
        self.note(*lines)

    def log_handler(self) -> logging.Handler:
        """Writes warnings and errors into the log of the sweep."""
        handler = logging.FileHandler(self.folder / LOG, encoding="utf-8", delay=True)
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        return handler

    def log(self, number: int, written: Written | None = None) -> None:
        """Log a record to the tracker, several at once.

        Args:
            number: of the run.
            written: contents of its record that were just written.
        """
        self._unlogged[self.record(number)] = written
        if len(self._unlogged) >= LOGGED_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if not self._tracks:
            return
        from gmm_pipeline.tracking.runs import TrackingError

        try:
            with self.timings.section("tracking"):
                just_written = {record: written for record, written in self._unlogged.items() if written is not None}
                self._open_tracker().log(list(self._unlogged), just_written)
            self._unlogged = {}
        except (TrackingError, InputError) as error:
            self._give_up_tracking(error)

    def _open_tracker(self) -> "SweepTracker":
        if self._tracker is None:
            from gmm_pipeline.tracking.sweeps import open_sweep

            self._tracker = open_sweep(self.folder, **resolved(self.cfg.tracking), under=self._under)
        return self._tracker

    def _give_up_tracking(self, error: Exception) -> None:
        """Stop tracking after a failure, with a warning that says how to log the missing records."""
        self._tracks = False
        message = f"{error} To log them later: {log_command(self.folder, self.cfg.tracking.uri)}"
        self.note(f"WARNING {message}")
        terminal.warn(message)

    def finish(self, *, interrupted: bool = False) -> None:
        """Write and report the answer of the sweep: table, pictures, tracker, text.

        Args:
            interrupted: whether to leave out what takes long.

        Raises:
            RunFailed: some runs have no result; the summary has named them.
            OSError: the table could not be written; everything else has been reported.
        """
        with self._held:
            self._finish(interrupted=interrupted)

    def _finish(self, *, interrupted: bool) -> None:
        tables, unwritten = [], None
        with self.timings.section("table"):
            runs = compared(sweeps.read_runs(self.folder, self.manifest))
            try:
                tables = write_table(self.folder, runs) if runs else []
            except OSError as error:
                unwritten = error
        pictures, failed = [], ""
        if not interrupted and runs:
            with self.timings.section("pictures"):
                pictures, failed = self._draw(runs)
        self._flush()
        self._end_parent(runs, interrupted=interrupted)
        sweep_summary.print_summary(
            self.manifest,
            runs,
            self.folder,
            objective=self.manifest.objective,
            resume_command=self._command,
            tables=tables,
            pictures=pictures,
        )
        self.note("seconds: " + ", ".join(f"{name} {seconds}" for name, seconds in self.timings.rounded().items()))
        if failed:
            terminal.warn(f"{failed} All records are complete without it.")
        if unwritten is not None:
            raise unwritten
        lost = sweep_tracking.unsuccessful(runs)
        if lost and not interrupted:
            raise RunFailed(f"{len(lost)} of {len(runs)} runs have no result")

    def _draw(self, runs: Sequence[SweepRun]) -> tuple[list[Path], str]:
        """Draw the pictures of the sweep and of its best run; an error is reported, not raised."""
        from gmm_pipeline.pictures.pages import Paper
        from gmm_pipeline.pictures.sweep_figures import draw_sweep

        figures = self.cfg.figures
        pictures: list[Path] = []
        try:
            if figures.formats:
                with heeding_interrupts():
                    pictures = draw_sweep(
                        self.folder,
                        self.manifest,
                        runs,
                        objective=self.manifest.objective,
                        formats=figures.formats,
                        paper=Paper(figures.size, figures.font_size, figures.style),
                        dpi=figures.dpi,
                        errors=worst_errors(runs),
                    )
        except Exception as error:
            self.note("ERROR the pictures failed", *"".join(traceback.format_exception(error)).splitlines())
            return [], f"A picture of the sweep failed: {type(error).__name__}: {error}."
        best = sweep_tracking.sound_best(runs, self.manifest.objective)
        if best is None:
            return pictures, ""
        wanted = resolved(self.cfg)
        for group in ("figures", "animation"):
            if wanted[group]["sweep"] != "best" or (self.record(best.number) / FOLDERS[group]).is_dir():
                wanted[group]["formats"] = []
        return pictures, picture(DictConfig(wanted), self.record(best.number), Timings(time.perf_counter()))

    def _end_parent(self, runs: Sequence[SweepRun], *, interrupted: bool) -> None:
        if not self._tracks or not runs:
            return
        from gmm_pipeline.tracking.runs import TrackingError

        try:
            with self.timings.section("tracking"):
                tracked = sweep_tracking.end_parent(self._open_tracker(), self.manifest, runs, interrupted=interrupted)
        except (TrackingError, InputError) as error:
            self._give_up_tracking(error)
            return
        self.manifest = self.manifest._replace(tracking=tracked._asdict())
        try:
            sweeps.write_manifest(self.folder, self.manifest)
        except OSError as error:
            terminal.warn(
                f"where it was tracked is missing in {error.filename}: {error.strerror}. All else is complete."
            )

    def abandon(self) -> None:
        """Remove the folder of a new sweep that was not begun."""
        self._held.close()
        if self.is_new:
            remove_new(self.folder)


def remove_new(folder: Path) -> None:
    """Remove what there is of a sweep that was not begun.

    Args:
        folder: of the sweep; it need not exist.
    """
    if (folder / sweeps.MANIFEST).exists():
        return
    for name in ("multirun.yaml", LOG):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


FOLDERS = {"figures": artifacts.FIGURES, "animation": artifacts.ANIMATION}


def resume_command(name: str) -> str:
    """The command of this process with the name of the sweep, to resume it."""
    arguments = [argument for argument in sys.argv[1:] if not re.match(r"\+*sweep=", argument)]
    if not any(re.match(r"\+*hydra\.sweep\.dir=", argument) for argument in arguments):  # which names it, too
        arguments.append(hydra_override("sweep", name))
    return f"{program.name()} {shlex.join(['fit', *arguments])}"


def known_runs(folder: Path) -> list[ManifestRun]:
    """The runs in the manifest of a sweep; empty if there is none."""
    return sweeps.read_manifest(folder).runs if (folder / sweeps.MANIFEST).exists() else []
