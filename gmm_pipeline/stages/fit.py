"""`fit`: load the data, run the optimizer, leave a record.

`load` reads and checks everything, so that mistakes surface before any work; `compute` is pure JAX; `save` writes the
record, and only a complete record is drawn and tracked.
"""

import contextlib
import functools
import hashlib
import logging
import math
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from gmm_pipeline import environment, program
from gmm_pipeline.analysis.answers import Answer, answer
from gmm_pipeline.analysis.estimates import Estimate, Job, Progress, estimate
from gmm_pipeline.analysis.resolution import doubts_about_ties
from gmm_pipeline.analysis.wording import verdict
from gmm_pipeline.configuration.limits import DISTRIBUTED, THREADS
from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.inference import peers
from gmm_pipeline.inference.batching import workers_of
from gmm_pipeline.inference.large import is_condensed
from gmm_pipeline.model.covariances import FACTOR
from gmm_pipeline.model.large_data import MANY
from gmm_pipeline.model.vocabulary import LARGER_IS_BETTER
from gmm_pipeline.records.artifacts import RECORD
from gmm_pipeline.records.code_state import code_state, why_unknown
from gmm_pipeline.records.comparison import changed_values
from gmm_pipeline.records.contents import read_config
from gmm_pipeline.records.data_checks import doubts_about_far_values
from gmm_pipeline.records.datasets import (
    doubts_about_copies,
    doubts_about_row_numbers,
    doubts_about_weights,
    taken_columns,
    why_singular,
)
from gmm_pipeline.records.provenance import vector_instructions
from gmm_pipeline.records.reading import Record
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.fit_checks import check_disk, without_effect
from gmm_pipeline.stages.loading import deciding, load_resolved, run_digest
from gmm_pipeline.stages.pictures import import_beside, picture
from gmm_pipeline.stages.printing import print_answer, summary
from gmm_pipeline.stages.recording import about, divergence, linked, record_of_fit, write_record, write_results
from gmm_pipeline.stages.running import (
    command_line,
    is_alone,
    latest,
    log_command,
    output_directory,
    overrides,
    quoted_override,
    resolved,
    shown,
)
from gmm_pipeline.tracking.store import check_tracking

if TYPE_CHECKING:
    from gmm_pipeline.tracking.runs import TrackedRun

log = logging.getLogger(__name__)


def compute(jobs: list[Job], execution: Mapping[str, Any], progress: Progress | None = None) -> list[Estimate]:
    """Fit jobs, by default with as many threads for their searches and starts as the machine has cores.

    Args:
        jobs: what is fitted.
        execution: the keys of the group `execution`.
        progress: called with the steps done and the steps in all; None for no progress.

    Raises:
        InputError: processes or a cluster are asked for, which compute the runs of a sweep, or too many devices.
        RunFailed: another process of the fit is gone.
    """
    if execution["kind"] not in (THREADS, DISTRIBUTED):
        raise InputError(
            "execution",
            expected="threads for a single fit, or distributed",
            came=str(execution["kind"]),
            remedy="Leave it out, or run a sweep: fit --multirun, whose runs these compute.",
        )
    if execution["kind"] == DISTRIBUTED:
        _check_shared(jobs)
    found = estimate(jobs, progress, workers_of(execution))
    peers.leave()
    return found


def _check_shared(jobs: Sequence[Job]) -> None:
    """Refuse several processes where they have not met, or would all do the same."""
    if not peers.have_met():
        raise InputError(
            "execution",
            expected="threads, where a fit is not the command `fit`, started once for each process",
            came=DISTRIBUTED,
            remedy="Leave it out.",
        )
    if not all(is_condensed(job.fit) for job in jobs):
        raise InputError(
            "execution",
            expected="threads, where a fit sees all its data from the start: processes share passes over large data",
            came=DISTRIBUTED,
            remedy="See search.most_data. Fits without a search, and priors that learn hyperparameters, see all data.",
        )


class Done(NamedTuple):
    """A fit whose record is written."""

    content: dict[str, Any]
    """The resolved config."""
    job: Job
    result: Answer
    made: Record
    directory: Path
    tracked: bool
    failed: str
    """What went wrong with the pictures, if anything did."""


def run(cfg: DictConfig, *, started: float) -> float:
    """Load, compute and save one fit, draw, track and print it; returns the objective.

    Args:
        cfg: the composed config.
        started: when the program began, on the performance counter.
    """
    if not peers.is_first():
        return _take_part(resolved(cfg))
    done = carry_out(cfg, started=started, command=command_line("fit"))
    _print_run(cfg, done)
    if done.result.diverged:
        raise RunFailed(
            f"the fit diverged: {divergence(done.job)}. The record is in "
            f"{shown(done.directory)}. Try a smaller optimizer.learning_rate, another init, or standardize=true."
        )
    if done.failed:
        raise RunFailed(f"{done.failed} The record in {shown(done.directory)} is complete without it.")
    return objective_of(done.result, cfg.objective)


def _take_part(content: dict[str, Any]) -> float:
    """Compute what another process writes and prints."""
    job = _loaded_alike(content)
    compute([job], content["execution"])
    return math.nan


def _loaded_alike(content: dict[str, Any]) -> Job:
    """The job of a config; all processes that compute it have the same."""
    job = load_resolved(content)
    if peers.have_met():
        kind = hashlib.sha256(vector_instructions().encode()).hexdigest()
        peers.agree(run_digest(content, job) + kind)
    return job


def carry_out(cfg: DictConfig, *, started: float, command: str) -> Done:
    """Load, compute and save one fit, draw and track it.

    The record is complete before anything is drawn or tracked, so that no finished fit is lost to either.

    Args:
        cfg: the composed config.
        started: when the program began, on the performance counter.
        command: that repeats the run.
    """
    threading.Thread(target=code_state, daemon=True).start()  # git answers while the data are loaded
    directory = output_directory()
    timings = Timings(started)
    began = datetime.now(UTC)
    check_tracking(cfg.tracking)
    with timings.section("load"):
        content = resolved(cfg)
        job = _loaded_alike(content)
        check_disk(directory, [job.dataset])
    for doubt in note_data(job):
        terminal.warn(doubt)
    if is_alone() and content["sweep"] is not None and any(one.startswith("sweep=") for one in overrides()):
        _warn(f"sweep={content['sweep']} has no effect without --multirun.")
    log.info("%s components, at most %d steps of %s", cfg.n_components, cfg.steps, cfg.optimizer._target_)
    pictured = is_alone() or "all" in (cfg.figures.sweep, cfg.animation.sweep)
    if pictured and cfg.figures.formats:
        import_beside()
    with timings.section("fit"), terminal.progress_bar("fitting", "steps") as progress:
        (computed,) = compute([job], content["execution"], progress)
    with timings.section("evaluate"), terminal.progress_bar("evaluating", "rows") as progress:
        result = answer(job, computed, progress=progress)
    with _printed_all_the_same(content, job, result, directory):
        kinds = {"pictured": pictured, "of_sweep": not is_alone(), "shows_progress": is_alone()}
        saved = save(content, overrides(), job, result, directory, began, timings, **kinds, command=command)
        for line in verdict(job.asked, result):
            log.info("%s", line)
        if cfg.timings and (why := why_unknown()):
            _warn(why)
        tracking, run_id = content["tracking"], environment.run_id() if is_alone() else None
        tracked = {}
        if tracking["uri"] is not None:
            log_it = functools.partial(log_as_asked, tracking, directory, run_id)
            tracked = track(log_it, tracking["uri"], directory, timings, _warn)
    try:
        write_record(directory, {**saved.record, **tracked}, timings, timed=cfg.timings)
    except OSError as error:
        _warn(f"times and tracking are missing from {error.filename}: {error.strerror}. Everything else is complete.")
    return Done(content, job, result, saved.made, directory, bool(tracked), saved.failed)


@contextlib.contextmanager
def _printed_all_the_same(content: dict[str, Any], job: Job, result: Answer, directory: Path) -> Iterator[None]:
    """Print an answer that could not be recorded, or whose pictures or tracking are not waited for."""
    try:
        yield
    except (OSError, KeyboardInterrupt):
        print_answer(record_of_fit(content, job, result))
        if (directory / RECORD).exists():
            terminal.say(f"record: {shown(directory)}")
            if (uri := content["tracking"]["uri"]) is not None:
                terminal.say(f"to upload it: {log_command(directory, uri)}")
        raise


class Saved(NamedTuple):
    """What was written of a fit."""

    made: Record
    record: dict[str, Any]
    """The content of `record.json`, without its timings."""
    failed: str
    """What went wrong with the pictures, if anything did."""


def save(
    content: dict[str, Any],
    run_overrides: Sequence[str],
    job: Job,
    result: Answer,
    directory: Path,
    began: datetime,
    timings: Timings,
    *,
    pictured: bool,
    of_sweep: bool = False,
    shows_progress: bool = False,
    **more: Any,
) -> Saved:
    """Write the record of a fit, then draw it, in the same way for a single run and a run of a sweep.

    The record is complete before anything is drawn; it is written once more with the pictures' times.

    Args:
        content: the resolved config.
        run_overrides: overrides of the run.
        job: what was fitted.
        result: of the fit.
        directory: of the record.
        began: when the work began.
        timings: of the run.
        pictured: whether it is drawn.
        of_sweep: whether the record is in the folder of a sweep, whose runs share the code diff.
        shows_progress: whether a bar shows how many labels are written.
        **more: further entries of `record.json`.

    Raises:
        OSError: the record could not be written.
    """
    with timings.section("record"):
        with terminal.progress_bar("writing", "rows") if shows_progress else contextlib.nullcontext() as progress:
            write_results(content, job, result, directory, of_sweep=of_sweep, progress=progress)
        record = {**about(content, run_overrides, job, result, directory, began), **more}
        write_record(directory, record, timings, timed=content["timings"])
    made = record_of_fit(content, job, result)
    log.info("%s", summary(made))
    if not pictured:
        return Saved(made, record, "")
    failed = picture(DictConfig(content), directory, timings)
    with contextlib.suppress(OSError):
        write_record(directory, record, timings, timed=content["timings"])
    return Saved(made, record, failed)


def objective_of(result: Answer, objective: str) -> float:
    """The value that a run is judged by; infinitely bad for an unsound fit, whose likelihood means nothing.

    Args:
        result: of the fit.
        objective: a name in its metrics.
    """
    if not result.is_sound:
        return -math.inf if objective in LARGER_IS_BETTER else math.inf
    return float(result.metrics[objective])


def note_data(job: Job) -> list[str]:
    """Write to the log which data are fitted, and doubts about their weights and columns; returns these doubts."""
    log.info("data %s: %s, SHA-256 %s", job.dataset.name, job.dataset.source, job.dataset.digest)
    for line in taken_columns(job.dataset):
        log.info("%s", line)
    dataset = job.dataset
    names = dataset.columns if dataset.data.ndim > 1 else [dataset.column or dataset.name]
    of_data = [*doubts_about_copies(dataset), *doubts_about_row_numbers(dataset)]
    of_data += doubts_about_far_values(names, dataset.data)
    if dataset.data.ndim > 1 and len(dataset.data) <= MANY:
        of_data += doubts_about_ties(names, dataset.data, dataset.counts)
    doubts = [*doubts_about_weights(dataset), *of_data, *without_effect(job.asked)]
    if len(job.asked.covariances) > 1 and (why := why_singular(job.dataset)):
        factors = f", and {FACTOR}," * (FACTOR in job.asked.covariances)
        doubts.append(f"Only diagonal and spherical covariance models{factors} are compared: {why}.")
    for doubt in doubts:
        log.warning("%s", doubt)
    return doubts


def track(
    log_it: Callable[[], "TrackedRun"], uri: str, directory: Path, timings: Timings, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Log the finished record; returns where. A store that is down costs a warning, not the result.

    Args:
        log_it: logs the record.
        uri: of the store.
        directory: of the record.
        timings: of the run; the time of logging is added.
        warn: called with what went wrong.
    """
    from gmm_pipeline.tracking.runs import TrackingError

    try:
        with timings.section("tracking"):
            tracked = log_it()
    except (TrackingError, InputError) as error:  # the latter where the file of a store is one no more
        warn(f"{error} To upload it later: {log_command(directory, uri)}")
        return {}
    return {"tracking": tracked._asdict()}


def log_as_asked(tracking: Mapping[str, Any], directory: Path, run_id: str | None) -> "TrackedRun":
    """Log a record into a run of its own, or into one that exists.

    Args:
        tracking: the config group.
        directory: of the record.
        run_id: of a run that exists; None for a new one.

    Raises:
        TrackingError: the store or the server failed.
    """
    if run_id is None:
        from gmm_pipeline.tracking.runs import log_record

        return log_record(directory, **tracking)
    from gmm_pipeline.tracking.active_runs import log_into_run

    return log_into_run(directory, uri=tracking["uri"], run_id=run_id, series_points=tracking["series_points"])


def _warn(message: str) -> None:
    log.warning("%s", message)
    terminal.warn(message)


def _print_run(cfg: DictConfig, done: Done) -> None:
    directory = done.directory
    if not is_alone():
        terminal.say(f"{' '.join(overrides())}: {summary(done.made)}; record {shown(directory)}")
        return
    print_answer(done.made, taken_columns(done.job.dataset))
    terminal.say(*_variation(done.content), f"record: {shown(directory)}")
    if done.tracked:
        same_store = ("outputs_dir=", "tracking.uri=", "tracking.experiment=")
        carried = [shlex.quote(override) for override in overrides() if override.startswith(same_store)]
        terminal.say(" ".join([f"compare runs: {program.name()} ui", *carried]))
    if cfg.animation.formats:
        terminal.say(f"animate again: {program.name()} animate {quoted_override('run', str(shown(directory)))}")


def _variation(content: Mapping[str, Any]) -> list[str]:
    """A line on what differs from the record that the values were taken from."""
    origin = linked(content).get("origin")
    if origin is None:
        return []
    record = Path(origin["record"])
    changed = changed_values(deciding(read_config(record)), deciding(content))
    changes = ", ".join(f"{key} {_text(old)} → {_text(new)}" for key, old, new in changed) or "the same values"
    return [f"variation of {latest(record)}: {changes}"]


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
