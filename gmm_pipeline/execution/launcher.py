"""Hydra's launcher for sweeps: many jobs, few programs.

Hydra's own launcher composes, runs and saves one job after the other. This one composes and checks all of them first,
groups those that may share a compiled program, computes each group in batches, and leaves the same as Hydra's own
`run_job` for each: directory, files, log, callbacks and status. It only adds order: the functions of a single fit load,
compute and save each run.

A job whose config is invalid, or that fails later, fails in a record of its own. The price: a job's directory appears
only after it was computed; the manifest of the sweep is written before.
"""

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gmm_pipeline.configuration.limits import MOST_RUNS
from gmm_pipeline.errors import InputError, RunFailed, heed_interrupts, heeding_interrupts, is_full_disk
from gmm_pipeline.execution import computing, job_files, plan_report, planning, sweep_run
from gmm_pipeline.execution.batches import Outcome
from gmm_pipeline.execution.composition import SweepComposer
from gmm_pipeline.execution.job_files import Asked
from gmm_pipeline.execution.planning import Plan, Run
from gmm_pipeline.execution.quick_configs import quickened
from gmm_pipeline.execution.sweep import Sweep, known_runs, remove_new
from gmm_pipeline.inference.batching import workers_of
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.contents import Written
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.fit_checks import check_disk
from gmm_pipeline.stages.loading import check_sweep_name
from gmm_pipeline.stages.printing import summary
from gmm_pipeline.stages.recording import record_of_fit
from gmm_pipeline.stages.running import overrides, remove_record, resolved
from gmm_pipeline.tracking.store import check_tracking

log = logging.getLogger(__name__)

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
OF_RUNS = "${hydra.job.num}"
"""The only `hydra.sweep.subdir`: the folder of a run is its number."""

_open_sweeps: dict[Path, Sweep] = {}
_unbegun: list[Path] = []
"""Folders that were not there before, which Hydra makes for sweeps that are not yet begun."""


def finish_sweeps() -> None:
    """Finish the sweeps of this process and report their answers.

    Raises:
        RunFailed: some runs have no result; the summary has named them.
    """
    failures = []
    while _open_sweeps:
        _, sweep = _open_sweeps.popitem()
        try:
            sweep.finish()
        except RunFailed as error:
            failures.append(error)
    if failures:
        raise sweep_run.reported(failures[0])


def remove_unbegun() -> None:
    """Remove the folder that Hydra has made for a sweep, if it was interrupted before it began."""
    for folder in _unbegun:
        remove_new(folder)
    _unbegun.clear()


class ReportedFailure(JobReturn):
    """The return value of a failed run, without Hydra's own message, since the summary reports it."""

    @property
    def return_value(self) -> Any:
        """Raises the reason why the run has no result."""
        raise self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


class BatchLauncher:
    """The launcher to which `hydra_plugins.gmm_batch_launcher` delegates.

    Args:
        plan_only: print what would be done, and do nothing.
    """

    def __init__(self, plan_only: bool = False):
        self._plan_only = plan_only

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Replace Hydra's composition of jobs, including those that the sweeper composes to check them.

        Args:
            hydra_context: whose config loader is replaced.
            task_function: the stage, for jobs that Hydra must run.
            config: of the whole sweep.

        Raises:
            InputError: the name, the folders or the tracking settings of the sweep are invalid; nothing was written.
            KeyboardInterrupt: one has waited until it is known which folder Hydra makes.
        """
        _check_folders(config)
        if config.sweep is not None:
            check_sweep_name(config.sweep)
        check_tracking(config.tracking)
        if config.hydra.sweeper._target_ == BASIC_SWEEPER:
            _check_number(config.hydra.overrides.task)
        self._composer = SweepComposer(hydra_context.config_loader)
        hydra_context.config_loader = self._composer
        self._context, self._task_function, self._master = hydra_context, task_function, config
        if not self._folder.exists():
            _unbegun.append(self._folder)
        heed_interrupts()

    @property
    def _folder(self) -> Path:
        """Of the sweep."""
        return Path(str(self._master.hydra.sweep.dir)).absolute()

    @quickened()
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs; a failed job has a return value that reports it.

        Args:
            job_overrides: of each job, as text.
            initial_job_idx: ignored; runs have the numbers of the sweep.

        Raises:
            InputError: no job can be fitted, for the same reason.
        """
        setup_globals()
        configure_log(self._master.hydra.hydra_logging, self._master.hydra.verbose)
        folder = self._folder
        if not job_overrides:
            remove_unbegun()
            raise InputError(
                "the command line",
                expected="a value for each key that varies",
                came=f"none, so no run: {' '.join(self._master.hydra.overrides.task)}",
                remedy="Use key=a,b,c; glob(...) stands for the options of a group alone, as in optimizer=glob(a*).",
            )
        if self._plan_only:
            self._print_plan(job_overrides)
            return []
        sweep = _open_sweeps.get(folder) or Sweep(self._master, folder, Timings(time.perf_counter()))
        try:
            with sweep.timings.section("compose"), terminal.progress_bar("planning", "runs") as progress:
                planned = planning.plan(job_overrides, self._in_place, folder, sweep.manifest.runs, progress)
            if folder not in _open_sweeps:
                planning.refuse_if_all_are_wrong(planned)
            to_fit = [run.job for group in planned.groups for run in group.runs]
            check_disk(folder, [job.dataset for job in to_fit if job is not None])
        except BaseException:
            if folder not in _open_sweeps:
                sweep.abandon()
            raise
        if self._knows_all_runs() and len(job_overrides) == 1:
            terminal.warn("--multirun with nothing to vary is a sweep of one run; for several: key=a,b,c.")
        sweep.begin(planned)
        _unbegun.clear()
        _open_sweeps[folder] = sweep
        self._log_between_jobs(sweep)
        terminal.say(f"sweep {folder.name}: {plan_report.counts(planned)}", f"resume: {sweep.manifest.command}")
        sweep.note(f"sweep {folder.name}: {plan_report.counts(planned)}", *plan_report.programs(planned))
        sweep.report_gaps(planned)
        try:
            returns = {run.number: _return_of_done(sweep, run) for run in planned.runs if run.done}
            returns |= self._run(sweep, planned)
        except KeyboardInterrupt:
            del _open_sweeps[folder]
            sweep.finish(interrupted=True)
            raise
        return [returns[run.number] for run in planned.jobs]

    def _log_between_jobs(self, sweep: Sweep) -> None:
        """Send what is logged between jobs to the log of the sweep, not to that of the previous job."""
        root = logging.getLogger()
        for handler in list(root.handlers):
            root.removeHandler(handler)
            handler.close()
        configure_log(self._master.hydra.hydra_logging, self._master.hydra.verbose)
        if not root.handlers:
            root.addHandler(sweep.log_handler())

    def _in_place(self, overrides: Sequence[str]) -> Any:
        return self._composer.in_place(self._master, overrides)

    def _run(self, sweep: Sweep, planned: Plan) -> dict[int, JobReturn]:
        returns = {run.number: self._save(sweep, run, None, datetime.now(UTC)) for run in planned.mistaken}
        total = sum(len(group.runs) for group in planned.groups)
        saved = 0
        found = computing.of_plan(planned, sweep.timings)
        with terminal.progress_bar("fitting", "runs") as progress, contextlib.closing(found) as computed:
            for number, run, outcome, began in computed:
                with sweep.timings.section("records"):
                    returns[run.number] = self._save(sweep, run, outcome, began)
                saved += 1
                program = f", program {number} of {len(planned.groups)}" if len(planned.groups) > 1 else ""
                progress(saved, total, f"fitting{program}")
        return returns

    def _save(self, sweep: Sweep, run: Run, outcome: Outcome | None, began: datetime) -> JobReturn:
        """Write the record of a run, and Hydra's files of the job."""
        record, about = sweep.record(run.number), sweep.about(run.number)
        remove_record(record, ".hydra", "fit")
        reason = (run.mistake if outcome is None else outcome.error) or RunFailed("it was not computed")

        def failed(content: Mapping[str, Any] | None, error: Exception) -> RunFailed:
            return sweep_run.save_failed(content, error, record, run.overrides, run.result or run.digest, about)

        def task(content: dict[str, Any] | None, overrides: Sequence[str]) -> float:
            if content is None or outcome is None or outcome.job is None or outcome.answer is None:
                raise failed(content, reason)
            try:
                with heeding_interrupts():
                    return sweep_run.save_fitted(content, overrides, outcome.job, outcome.answer, record, began, about)
            except RunFailed:
                raise
            except Exception as error:
                if is_full_disk(error):
                    raise
                raise failed(content, error) from error

        asked, written = run.asked, None
        try:
            if asked is not None and asked.pieces is not None and self._is_plain(asked, sweep):
                content, overrides = asked.content, asked.overrides
                if outcome is not None and outcome.answer is not None:
                    written = Written(content, outcome.answer.history)
                ran = job_files.run(lambda: task(content, overrides), asked, asked.pieces, run.number, record)
                returned = _returned(run, ran.status, ran._return_value)
            else:
                try:
                    with heeding_interrupts():
                        job = self._composer.compose(self._master, run.overrides)
                except Exception as error:
                    of_run = run.mistake if outcome is None else outcome.error
                    returned = _returned(run, JobStatus.FAILED, failed(None, of_run or error))
                else:
                    returned = self._run_by_hydra(job, run, task)
                    self._log_between_jobs(sweep)
            if is_full_disk(returned._return_value):
                raise returned._return_value
        except KeyboardInterrupt:
            if not (record / artifacts.RECORD).exists():
                remove_record(record, ".hydra", "fit")
            raise
        except OSError:
            # The disk is full for the other runs too.
            remove_record(record, ".hydra", "fit")
            if outcome is not None and outcome.job is not None and outcome.answer is not None and run.asked is not None:
                unwritten = record_of_fit(run.asked.content, outcome.job, outcome.answer)
                terminal.say(f"{' '.join(run.overrides)}: {summary(unwritten)}; not recorded")
            raise
        sweep.log(run.number, written)
        return returned

    def _is_plain(self, asked: Asked, sweep: Sweep) -> bool:
        """Whether Hydra would only write the files of a job."""
        return not self._context.callbacks.callbacks and Path(asked.sweep_dir).absolute() == sweep.folder

    def _run_by_hydra(self, job: DictConfig, run: Run, task: Callable[..., float]) -> JobReturn:
        """Let Hydra run a job whose result exists already."""

        @functools.wraps(self._task_function)
        def with_result(cfg: DictConfig) -> float:
            try:
                content = resolved(cfg)
            except OmegaConfBaseException as incomplete:
                log.info("no %s: %s", artifacts.CONFIG, incomplete)
                content = None
            return task(content, overrides())

        with open_dict(job):
            job.hydra.job.id = str(run.number)
            job.hydra.job.num = run.number
        ran = run_job(
            hydra_context=self._context,
            task_function=with_result,
            config=job,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        return _returned(run, ran.status, ran._return_value)

    def _knows_all_runs(self) -> bool:
        """Whether the sweeper names all runs beforehand, rather than choosing them by the results of others."""
        return self._master.hydra.sweeper._target_ == BASIC_SWEEPER

    def _print_plan(self, job_overrides: Sequence[Sequence[str]]) -> None:
        """Print what would be done."""
        name = self._master.sweep
        earlier = [] if name is None else known_runs(Path(self._master.outputs_dir) / "sweeps" / name)
        folder = Path(self._master.outputs_dir) / "sweeps" / str(name)
        with terminal.progress_bar("planning", "runs") as progress:
            planned = planning.plan(job_overrides, self._in_place, folder, earlier, progress)
        planning.refuse_if_all_are_wrong(planned)
        plan_report.print_plan(planned, workers_of(planned.execution) if planned.groups else 0)
        if not self._knows_all_runs():
            terminal.say("these runs are launched first; the sweeper chooses others by their results")
            raise SystemExit(0)  # a sweeper that waits for results cannot continue without them


def _check_number(overrides: Sequence[str]) -> None:
    """Refuse more runs than anybody waits for, before Hydra makes a list of them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    numbers = {
        one.key_or_group: _number_of(one.value()) for one in OverridesParser.create().parse_overrides([*overrides])
    }
    if (number := math.prod(numbers.values())) > MOST_RUNS:
        raise InputError(
            " × ".join(key for key, values in numbers.items() if values > 1),
            expected=f"at most {MOST_RUNS:,} runs of a sweep",
            came=f"{number:,}",
            remedy="Vary less, or make several sweeps of it.",
        )


def _number_of(value: Any) -> int:
    """How many values an override has."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

    if isinstance(value, RangeSweep):
        start, stop, step = value.start or 0, value.stop or 0, value.step
        return max(0, math.ceil((stop - start) / step)) if step else 0
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def _check_folders(config: DictConfig) -> None:
    """Refuse folders of runs with other names than their numbers, by which a sweep is resumed and read."""
    written: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    subdir = written["subdir"]
    if subdir != OF_RUNS:
        raise InputError(
            "hydra.sweep.subdir",
            expected=OF_RUNS,
            came=str(subdir),
            remedy="Leave it out: a sweep finds its runs again by their numbers, and sweep.csv has their settings. "
            "hydra.sweep.dir names the folder of the sweep.",
        )


def _returned(run: Run, status: JobStatus, value: Any) -> JobReturn:
    """The return value of a run for the sweeper, without configs, which would fill the memory."""
    returned = JobReturn() if status is JobStatus.COMPLETED else ReportedFailure()
    returned.overrides, returned.status = list(run.overrides), status
    returned.return_value = value
    return returned


def _return_of_done(sweep: Sweep, run: Run) -> JobReturn:
    record = sweep.record(run.number)
    about = read_json(record / artifacts.RECORD)
    if about["status"] != "finished":
        failure = sweep_run.reported(RunFailed(f"the fit diverged: {about.get('error')}"))
        return _returned(run, JobStatus.FAILED, failure)
    metrics = read_json(record / artifacts.METRICS)
    return _returned(run, JobStatus.COMPLETED, metrics[sweep.manifest.objective])
