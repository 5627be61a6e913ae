"""`fit`: load the data, run the optimizer, leave a record.

`load` reads and checks everything, so that mistakes surface before any work; `compute` is pure JAX; `save` writes the
record, and only a complete record is drawn and tracked.
"""

import contextlib
import logging
import math
import shlex
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from gmm_pipeline import program
from gmm_pipeline.analysis.answers import Answer, answer
from gmm_pipeline.analysis.estimates import Estimate, Job, Progress, estimate
from gmm_pipeline.analysis.matching import matched_truth
from gmm_pipeline.analysis.wording import verdict
from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.inference.batching import default_workers
from gmm_pipeline.model.priors import flat
from gmm_pipeline.model.vocabulary import LARGER_IS_BETTER
from gmm_pipeline.records.code_state import code_state
from gmm_pipeline.records.comparison import changed_values
from gmm_pipeline.records.contents import read_config
from gmm_pipeline.records.datasets import doubts_about_weights, left_out
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.goodness import goodness_of_fit
from gmm_pipeline.stages.loading import deciding, digest_of_data, load_resolved
from gmm_pipeline.stages.pictures import import_beside, picture
from gmm_pipeline.stages.recording import about, divergence, linked, selection_columns, write_record, write_results
from gmm_pipeline.stages.running import (
    command_line,
    is_alone,
    latest,
    log_command,
    output_directory,
    override_word,
    overrides,
    resolved,
    shown,
)
from gmm_pipeline.tracking.store import check_tracking

log = logging.getLogger(__name__)


def compute(jobs: list[Job], progress: Progress | None = None) -> list[Estimate]:
    """Compute what jobs ask for, the starts of their fits in as many threads as the machine has cores."""
    return estimate(jobs, progress, default_workers())


class Done(NamedTuple):
    """A fit whose record is written."""

    content: dict[str, Any]
    """The resolved config."""
    job: Job
    found: Answer
    directory: Path
    tracked: bool
    failed: str
    """What went wrong with the pictures, if anything did."""


def run(cfg: DictConfig, *, started: float) -> float:
    """Load, compute and save one fit, draw and track it and tell the user; returns the objective."""
    done = carry_out(cfg, started=started, command=command_line("fit"))
    _tell(cfg, done)
    if done.found.diverged:
        raise RunFailed(
            f"the fit diverged: {divergence(done.job)}. The record is in "
            f"{shown(done.directory)}. Try a smaller optimizer.learning_rate, another init, or standardize=true."
        )
    if done.failed:
        raise RunFailed(f"{done.failed} The record in {shown(done.directory)} is complete without it.")
    return objective_of(done.found, cfg.objective)


def carry_out(cfg: DictConfig, *, started: float, command: str) -> Done:
    """Load, compute and save one fit, draw and track it.

    The record is complete before anything is drawn or tracked: neither is worth a finished fit.

    Args:
        cfg: the composed config.
        started: when the program began, on the performance counter.
        command: that makes the run again.
    """
    threading.Thread(target=code_state, daemon=True).start()  # git answers while the data are loaded
    directory = output_directory()
    timings = Timings(started)
    began = datetime.now(UTC)
    check_tracking(cfg.tracking)
    with timings.section("load"):
        content = resolved(cfg)
        job = load_resolved(content)
    for doubt in note_data(job):
        terminal.warn(doubt)
    log.info("%s components, at most %d steps of %s", cfg.n_components, cfg.steps, cfg.optimizer._target_)
    pictured = is_alone() or "all" in (cfg.figures.sweep, cfg.animation.sweep)
    if pictured and cfg.figures.formats:
        import_beside()
    with timings.section("fit"), terminal.progress_bar("fitting", "steps") as progress:
        (computed,) = compute([job], progress)
    with timings.section("evaluate"):
        found = answer(job, computed)
    try:
        kinds = {"pictured": pictured, "of_sweep": not is_alone()}
        saved = save(content, overrides(), job, found, directory, began, timings, **kinds, command=command)
    except OSError:
        tell_answer(cfg, job, found)  # nobody finds it elsewhere
        raise
    for line in verdict(job.asked, found):
        log.info("%s", line)
    tracked = _track(content["tracking"], directory, timings)
    try:
        write_record(directory, {**saved.record, **tracked}, timings, timed=cfg.timings)
    except OSError as error:
        _warn(
            f"times and where it was tracked are missing in {error.filename}: {error.strerror}. All else is complete."
        )
    return Done(content, job, found, directory, bool(tracked), saved.failed)


class Saved(NamedTuple):
    """What was written of a fit."""

    record: dict[str, Any]
    """What `record.json` says, but for its timings."""
    failed: str
    """What went wrong with the pictures, if anything did."""


def save(
    content: dict[str, Any],
    words: Sequence[str],
    job: Job,
    found: Answer,
    directory: Path,
    began: datetime,
    timings: Timings,
    *,
    pictured: bool,
    of_sweep: bool = False,
    **more: Any,
) -> Saved:
    """Write the record of a fit, then draw it: the same of a run alone and of a run of a sweep.

    The record is complete before anything is drawn; it is written once more with the pictures' times.

    Args:
        content: the resolved config.
        words: overrides of the run.
        job: what was fitted.
        found: what was found.
        directory: of the record.
        began: when the work began.
        timings: of the run.
        pictured: whether it is drawn.
        of_sweep: whether it lies in the folder of a sweep, whose runs share the diff of the code.
        more: what `record.json` says besides.

    Raises:
        OSError: the record could not be written.
    """
    with timings.section("record"):
        write_results(content, job, found, directory, of_sweep=of_sweep)
        record = {**about(content, words, job, found, directory, began), **more}
        write_record(directory, record, timings, timed=content["timings"])
    log.info("%s", summary(job, found))
    if not pictured:
        return Saved(record, "")
    failed = picture(DictConfig(content), directory, timings)
    with contextlib.suppress(OSError):
        write_record(directory, record, timings, timed=content["timings"])
    return Saved(record, failed)


def objective_of(found: Answer, objective: str) -> float:
    """What a run is judged by; worse than anything for a fit with a degenerate component, which has any likelihood."""
    if not found.is_sound:
        return -math.inf if objective in LARGER_IS_BETTER else math.inf
    return float(found.metrics[objective])


def note_data(job: Job) -> list[str]:
    """Let the log say which data are fitted; gives what is doubtful about their weights, which it says too."""
    log.info("data %s: %s, SHA-256 %s", job.dataset.name, job.dataset.source, digest_of_data(job.dataset))
    doubts = doubts_about_weights(job.dataset)
    for doubt in doubts:
        log.warning("%s", doubt)
    return doubts


def _track(tracking: Mapping[str, Any], directory: Path, timings: Timings) -> dict[str, Any]:
    """Log the finished record and say where; a tracker that is down costs a warning, not the result."""
    if tracking["uri"] is None:
        return {}
    from gmm_pipeline.tracking.runs import TrackingError, log_record

    try:
        with timings.section("tracking"):
            tracked = log_record(directory, **tracking)
    except (TrackingError, InputError) as error:  # the latter for what only the store knows: a deleted experiment
        _warn(f"{error} Then send it there: {log_command(directory, tracking['uri'])}")
        return {}
    return {"tracking": tracked._asdict()}


def _warn(message: str) -> None:
    log.warning("%s", message)
    terminal.warn(message)


def summary(job: Job, found: Answer) -> str:
    """A run in one line."""
    metrics = found.metrics
    equal = " with equal scales" if found.equal_scales and metrics["n_components"] != 1 else ""
    return (
        f"{job.dataset.name}: {metrics['n_data']:,} data{left_out(job.dataset)}, "
        f"{metrics['n_components']} component{'s' * (metrics['n_components'] != 1)}{equal}; "
        f"loss {metrics['loss']:.4f}, log-likelihood {metrics['log_likelihood']:.4f} nats, BIC {metrics['bic']:.3f}"
    )


def under(job: Job) -> str:
    """What the fit maximises, in a line."""
    prior = job.fit.plan.log_prior
    if prior.function is flat:
        return "maximum likelihood"
    values = ", ".join(f"{name}={value}" for name, value in prior.hyperparameters)
    return f"prior: {prior.function.__name__}{f' ({values})' if values else ''}"


def _tell(cfg: DictConfig, done: Done) -> None:
    job, found, directory = done.job, done.found, done.directory
    if not is_alone():
        terminal.say(f"{' '.join(overrides())}: {summary(job, found)}; record {shown(directory)}")
        return
    tell_answer(cfg, job, found)
    terminal.say(*_variation(done.content), f"record: {shown(directory)}")
    if done.tracked:
        same_store = ("outputs_dir=", "tracking.uri=", "tracking.experiment=")
        carried = [shlex.quote(override) for override in overrides() if override.startswith(same_store)]
        terminal.say(" ".join([f"compare runs: {program.name()} ui", *carried]))
    if cfg.animation.formats:
        terminal.say(f"animate again: {program.name()} animate {override_word('run', str(shown(directory)))}")


def tell_answer(cfg: DictConfig, job: Job, found: Answer) -> None:
    """Print what was found and how far it can be trusted."""
    terminal.say(summary(job, found), under(job), *verdict(job.asked, found), *goodness_of_fit(job, found), "")
    if found.candidates:
        terminal.show(terminal.selection_table(selection_columns(found), cfg.criterion))
        terminal.say("")
    errors = found.asymptotic if found.bootstrap is None else found.bootstrap
    truth = matched_truth(found.fitted, job.dataset.truth)
    terminal.show(terminal.parameter_table(found.fitted, truth, job.dataset.unit, errors.standard_errors))
    terminal.say(*terminal.left_out(found.fitted), "")


def _variation(content: Mapping[str, Any]) -> list[str]:
    """What was changed against the record that the values were taken from, in a line."""
    origin = linked(content).get("origin")
    if origin is None:
        return []
    record = Path(origin["record"])
    changed = changed_values(deciding(read_config(record)), deciding(content))
    told = ", ".join(f"{key} {_word(old)} → {_word(new)}" for key, old, new in changed) or "the same values"
    return [f"variation of {latest(record)}: {told}"]


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
