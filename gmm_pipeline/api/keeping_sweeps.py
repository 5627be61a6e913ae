"""The folder that a sweep from Python leaves, as the command does: records, table, pictures, and its runs in MLflow."""

import contextlib
import copy
import shlex
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from gmm_pipeline.api.keeping import is_tracked, names_store, place
from gmm_pipeline.errors import RunFailed
from gmm_pipeline.execution import sweep_run
from gmm_pipeline.execution.batches import Outcome
from gmm_pipeline.execution.planning import Plan, Run
from gmm_pipeline.execution.sweep import Sweep
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.records.sweeps import MANIFEST
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.running import resolved
from gmm_pipeline.tracking.store import check_tracking


class Records:
    """Writes the records of a sweep.

    What fails after a run was computed is a warning: the run is returned all the same.
    """

    def __init__(self, sweep: Sweep):
        """Keep the sweep that writes its manifest, its table and its pictures, and logs it to MLflow.

        Args:
            sweep: with its folder.
        """
        self._sweep, self._is_whole = sweep, True

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return self._sweep.folder

    @contextlib.contextmanager
    def of(self, planned: Plan) -> Iterator[None]:
        """Write the manifest before any run, then the records of those that cannot be fitted; at the end, the answer.

        Args:
            planned: the runs.
        """
        self._sweep.begin(planned)
        for run in planned.mistaken:
            self.save(run, Outcome(None, None, run.mistake), datetime.now(UTC))
        try:
            yield
        except BaseException:
            self._finish(interrupted=True)
            raise
        self._finish(interrupted=False)

    def save(self, run: Run, outcome: Outcome, began: datetime) -> None:
        """Write the record of a run.

        Args:
            run: as it was planned.
            outcome: of it.
            began: when its batch was begun.
        """
        if not self._is_whole:
            return
        folder, about = self._sweep.record(run.number), self._sweep.about(run.number)
        try:
            if outcome.job is None or outcome.answer is None:
                reason = outcome.error or RunFailed("it was not computed")
                digest = run.result or run.digest
                sweep_run.save_failed(run.content or None, reason, folder, run.overrides, digest, about)
            else:
                overrides = run.overrides if run.asked is None else run.asked.overrides
                with contextlib.suppress(RunFailed):  # it diverged, as its record and its row of the table say
                    sweep_run.save_fitted(run.content, overrides, outcome.job, outcome.answer, folder, began, about)
        except OSError as error:
            self._warn(error)
        else:
            self._sweep.log(run.number)

    def _finish(self, *, interrupted: bool) -> None:
        """Write the table, draw, and end the sweep's run in MLflow; without what takes long if it was interrupted."""

        def finish() -> None:
            with contextlib.suppress(RunFailed):  # some runs have no result, as the table says
                self._sweep.finish(interrupted=interrupted)

        try:
            terminal.printed(finish)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        self._is_whole = False
        message = f"The records are not complete: {error.filename}: {error.strerror}. What is returned is."
        warnings.warn(message, stacklevel=5)


class Place(NamedTuple):
    """Where a sweep writes to."""

    folder: Path
    config: DictConfig
    """Of the sweep, with the store that it is logged to."""
    under: str | None
    """Id of the run in MLflow that the sweep's own becomes a child of."""
    store: tuple[str, ...]
    """The override that names the store, if it is the caller's."""

    def records(self, overrides: Sequence[str]) -> Records:
        """What writes the records.

        Args:
            overrides: of the sweep.
        """
        into = hydra_override("hydra.sweep.dir", str(self.folder))
        command = shlex.join(["python", "-m", "gmm_pipeline", "fit", "--multirun", *overrides, *self.store, into])
        return Records(Sweep(self.config, self.folder, Timings(time.perf_counter()), command, self.under))


@contextlib.contextmanager
def place_of_sweep(
    record: str | Path | bool | None, config: DictConfig, overrides: Sequence[str]
) -> Iterator[Place | None]:
    """Where a sweep writes to; None if nothing is written. One that is logged is written: MLflow refers to its records.

    Where the caller uses MLflow in this process, and names no other store, the sweep goes where their runs go.

    Args:
        record: as `gmm_pipeline.sweep` takes it.
        config: of the sweep.
        overrides: of the sweep.

    Raises:
        InputError: the folder has something in it or cannot be made, or the store cannot be used.
    """
    config, under, store = copy.deepcopy(config), None, ()
    tracked = is_tracked(resolved(config.tracking), overrides)
    if not tracked:
        config.tracking.uri = None
    else:
        from gmm_pipeline.tracking import active_runs

        if active_runs.are_used() and not names_store(overrides):
            config.tracking.uri, under = active_runs.store(), active_runs.active_id()
            store = (hydra_override("tracking.uri", config.tracking.uri),)
        check_tracking(config.tracking)
    asked = tracked if record is None or record is False else record
    with place(asked, Path(config.outputs_dir) / "sweeps", MANIFEST, tracked=False) as folder:
        yield None if folder is None else Place(folder, config, under, store)
