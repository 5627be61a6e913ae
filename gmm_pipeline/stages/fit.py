"""`fit`: load the data, run the optimizer, leave a record.

`load` reads and checks everything, so that mistakes surface before any work; `compute` is pure JAX; `save` writes the
record, and only a complete record is drawn and tracked.
"""

import functools
import logging
import math
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from gmm_pipeline.errors import RunFailed
from gmm_pipeline.inference.batching import default_workers, width_of
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.code_state import code_state
from gmm_pipeline.records.comparison import changed_values, read_config
from gmm_pipeline.records.datasets import describe
from gmm_pipeline.records.files import as_yaml, read_json, write_columns, write_json, write_text
from gmm_pipeline.records.provenance import NO_GIT, provenance
from gmm_pipeline.records.sweep_answers import LARGER_IS_BETTER
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.answers import Answer, Interval, answer, matched_truth, verdict
from gmm_pipeline.stages.estimates import Estimate, Job, Progress, estimate
from gmm_pipeline.stages.loading import deciding, digests, load, run_digest
from gmm_pipeline.stages.pictures import picture
from gmm_pipeline.stages.running import (
    command_line,
    is_alone,
    log_command,
    output_directory,
    override_word,
    overrides,
    resolved,
    shown,
)

log = logging.getLogger(__name__)

PASSING = ("name", "started", "ended", "timings", "tracking")
"""What differs between two runs of the same config, besides the state of git."""


def compute(jobs: list[Job], progress: Progress | None = None) -> list[Estimate]:
    """Compute what jobs ask for, the starts of their fits in as many threads as the machine has cores."""
    return estimate(jobs, progress, default_workers())


def save(content: Mapping[str, Any], job: Job, found: Answer, directory: Path) -> None:
    """Write what a fit found, without its pictures and `record.json`.

    Args:
        content: the resolved config.
        job: what was fitted.
        found: what was found.
        directory: of the record.
    """
    write_text(directory / artifacts.CONFIG, as_yaml(content))
    write_json(directory / artifacts.DATA, {**describe(job.dataset), **_as_asked(content)})
    write_json(directory / artifacts.PARAMETERS, parameters_as_json(job, found))
    write_json(directory / artifacts.METRICS, found.metrics)
    write_json(directory / artifacts.RESTARTS, {"restarts": [restart._asdict() for restart in found.restarts]})
    if found.candidates:
        write_columns(directory / artifacts.SELECTION, selection_columns(found))
    if found.replicates is not None:
        artifacts.write_mixtures(directory / artifacts.REPLICATES, found.replicates)
    artifacts.write_history(directory / artifacts.HISTORY, found.history)
    artifacts.write_loss(directory / artifacts.LOSS, found.history)
    artifacts.write_assignments(directory / artifacts.ASSIGNMENTS, found.assignments)
    if not content["timings"]:
        return
    code = code_state()
    artifacts.write_diff(directory, code.diff, code.diff_digest, of_sweep=not is_alone())


def _as_asked(content: Mapping[str, Any]) -> dict[str, str]:
    """The path of the data as it was typed, for a record that does not depend on where the checkout lies."""
    path = None if content["timings"] else content["data"].get("path")
    return {} if path is None else {"source": str(path)}


def parameters_as_json(job: Job, found: Answer) -> dict[str, Any]:
    """What `parameters.json` says: estimates, errors and intervals, by the names of the parameters."""

    def interval(one: Interval) -> dict[str, Any]:
        return {name: artifacts.mixture_as_json(values) for name, values in one._asdict().items()}

    return {
        **artifacts.mixture_as_json(found.fitted),
        "scales_are": "equal" if found.equal_scales else "free",
        "degenerate": list(found.degenerate),
        **({"learned": found.learned} if found.learned else {}),
        "level": job.asked.level,
        **interval(found.asymptotic),
        **({} if found.bootstrap is None else {"bootstrap": interval(found.bootstrap)}),
        "unconstrained": found.unconstrained._asdict(),
    }


def selection_columns(found: Answer) -> dict[str, Any]:
    """The candidates as a table, a row each."""
    rows = [
        {
            "n_components": one.n_components,
            "scales": "equal" if one.equal_scales else "free",
            "chosen": index == found.chosen,
            **{name: value for name, value in one._asdict().items() if name not in ("n_components", "equal_scales")},
            "degenerate": len(one.degenerate),
        }
        for index, one in enumerate(found.candidates)
    ]
    columns: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if not any(isinstance(value, str) for value in values):
            values = np.array([np.nan if value is None else value for value in values])
        columns[name] = values
    tested = {test.n_components: test for test in found.tests}
    if tested:
        columns["p_value"] = np.array(
            [tested[k].p_value if k in tested else np.nan for k in columns["n_components"].tolist()]
        )
    return columns


def about(content: Mapping[str, Any], job: Job, found: Answer, directory: Path, began: datetime) -> dict[str, Any]:
    """What `record.json` says of a fit whose results are written, but for its timings.

    Args:
        content: the resolved config.
        job: what was fitted.
        found: what was found.
        directory: of the record.
        began: when the work began.
    """
    return {
        "format": artifacts.FORMAT,
        "status": "diverged" if found.diverged else "finished",
        **({"error": _diverged(job)} if found.diverged else {}),
        "name": directory.name,
        "command": command_line("fit"),
        "overrides": overrides(),
        "verdict": verdict(job.asked, found),
        "digest": run_digest(content, job),
        "digests": {**digests(content, job), "results": artifacts.digests_of_results(directory)},
        "width": width_of(job.fit)._asdict(),
        "started": began.isoformat(),
        "ended": datetime.now(UTC).isoformat(),
        "provenance": provenance(device()),
        **linked(content),
    }


def linked(content: Mapping[str, Any]) -> dict[str, Any]:
    """Which record a run took its values from, where it took them from one: its folder, its id in MLflow, its digests.

    Args:
        content: the resolved config of the run.
    """
    found = None if content.get("config") is None else _origin(Path(content["config"]))
    return {} if found is None else {"origin": found}


@functools.lru_cache(maxsize=8)  # the runs of a sweep share it
def _origin(config: Path) -> dict[str, Any] | None:
    record = config.parent
    if config.name != artifacts.CONFIG or not (record / artifacts.RECORD).is_file():
        return None
    try:
        about = read_json(record / artifacts.RECORD)
    except (OSError, ValueError):  # no fit is lost over it
        return None
    run_id = about.get("tracking", {}).get("run_id")
    return {"record": str(record.absolute()), "run_id": run_id, "digests": about.get("digests", {})}


def write_record(directory: Path, cfg: DictConfig, record: Mapping[str, Any], timings: Timings) -> None:
    """Write `record.json`; with `timings=false` without what differs between two runs of the same config and code."""
    content = {**record, "timings": timings.rounded()}
    if not cfg.timings:
        content = {name: value for name, value in content.items() if name not in PASSING}
        # A commit of anything else, or a change that has yet to be committed, is no change of the code that ran.
        content["provenance"] = {**content["provenance"], "git": NO_GIT}
    write_json(directory / artifacts.RECORD, content)


class Done(NamedTuple):
    """A fit whose record is written."""

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
            f"the fit diverged: {_diverged(done.job)}. The record is in "
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
    directory = output_directory()
    timings = Timings(started)
    began = datetime.now(UTC)
    if cfg.tracking.uri is not None:
        from gmm_pipeline.records.tracking import store_file

        store_file(cfg.tracking.uri)  # refuses an address that cannot be used, before any work
    with timings.section("load"):
        job = load(cfg)
    log.info("data %s: %s, SHA-256 %s", job.dataset.name, job.dataset.source, job.dataset.digest)
    log.info("%s components, at most %d steps of %s", cfg.n_components, cfg.steps, cfg.optimizer._target_)
    with timings.section("fit"), terminal.progress_bar("fitting", "steps") as progress:
        (computed,) = compute([job], progress)
    with timings.section("evaluate"):
        found = answer(job, computed)
    with timings.section("record"):
        content = resolved(cfg)
        save(content, job, found, directory)
        record = {**about(content, job, found, directory, began), "command": command}
        write_record(directory, cfg, record, timings)
    log.info("%s", summary(job, found))
    for line in verdict(job.asked, found):
        log.info("%s", line)
    failed = ""
    if is_alone() or "all" in (cfg.figures.sweep, cfg.animation.sweep):
        failed = picture(cfg, directory, timings)
    write_record(directory, cfg, record, timings)
    tracked = _track(cfg, directory, timings)
    write_record(directory, cfg, {**record, **tracked}, timings)
    return Done(job, found, directory, bool(tracked), failed)


def objective_of(found: Answer, objective: str) -> float:
    """What a run is judged by; worse than anything for a fit with a degenerate component, which has any likelihood."""
    if not found.is_sound:
        return -math.inf if objective in LARGER_IS_BETTER else math.inf
    return float(found.metrics[objective])


def _diverged(job: Job) -> str:
    return f"after {job.fit.steps} steps its loss or parameters are not finite"


def _track(cfg: DictConfig, directory: Path, timings: Timings) -> dict[str, Any]:
    """Log the finished record and say where; a tracker that is down costs a warning, not the result."""
    if cfg.tracking.uri is None:
        return {}
    from gmm_pipeline.records.tracking import TrackingError, log_record

    try:
        with timings.section("tracking"):
            tracked = log_record(directory, **resolved(cfg.tracking))
    except TrackingError as error:
        message = f"{error} Then send it there: {log_command(directory, cfg.tracking.uri)}"
        log.warning("%s", message)
        terminal.warn(message)
        return {}
    return {"tracking": tracked._asdict()}


def summary(job: Job, found: Answer) -> str:
    """A run in one line."""
    metrics = found.metrics
    equal = " with equal scales" if found.equal_scales and metrics["n_components"] != 1 else ""
    return (
        f"{job.dataset.name}: {metrics['n_data']:,} data, "
        f"{metrics['n_components']} component{'s' * (metrics['n_components'] != 1)}{equal}; "
        f"loss {metrics['loss']:.4f}, log-likelihood {metrics['log_likelihood']:.4f} nats, BIC {metrics['bic']:.3f}"
    )


def _tell(cfg: DictConfig, done: Done) -> None:
    job, found, directory = done.job, done.found, done.directory
    if not is_alone():
        terminal.say(f"{' '.join(overrides())}: {summary(job, found)}; record {shown(directory)}")
        return
    tell_answer(cfg, job, found)
    terminal.say(*_variation(cfg), f"record: {shown(directory)}")
    if done.tracked:
        same_store = ("outputs_dir=", "tracking.uri=", "tracking.experiment=")
        carried = [shlex.quote(override) for override in overrides() if override.startswith(same_store)]
        terminal.say(" ".join(["compare runs: python -m gmm_pipeline ui", *carried]))
    if cfg.animation.formats:
        terminal.say(f"animate again: python -m gmm_pipeline animate {override_word('run', str(shown(directory)))}")


def tell_answer(cfg: DictConfig, job: Job, found: Answer) -> None:
    """Print what was found and how far it can be trusted."""
    terminal.say(summary(job, found), *verdict(job.asked, found), "")
    if found.candidates:
        terminal.show(terminal.selection_table(selection_columns(found), cfg.criterion))
        terminal.say("")
    errors = found.asymptotic if found.bootstrap is None else found.bootstrap
    truth = matched_truth(found.fitted, job.dataset.truth)
    terminal.show(terminal.parameter_table(found.fitted, truth, job.dataset.unit, errors.standard_errors))
    terminal.say(*terminal.left_out(found.fitted), "")


def _variation(cfg: DictConfig) -> list[str]:
    """What was changed against the record that the values were taken from, in a line."""
    content = resolved(cfg)
    origin = linked(content).get("origin")
    if origin is None:
        return []
    record = Path(origin["record"])
    changed = changed_values(deciding(read_config(record)), deciding(content))
    told = ", ".join(f"{key} {_word(old)} → {_word(new)}" for key, old, new in changed) or "the same values"
    return [f"variation of {shown(record)}: {told}"]


def _word(value: Any) -> str:
    return "none" if value is None else str(value)


def device() -> str:
    """The kind of device that fits run on, as JAX names it."""
    import jax

    return jax.devices()[0].device_kind
