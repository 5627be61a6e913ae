"""`fit`: load the data, run the optimizer, leave a record.

`load` reads and checks everything, so that mistakes surface before any work; `compute` is pure JAX; `save` writes the
record, and only a complete record is drawn and tracked.
"""

import logging
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from gmm_pipeline import checks, config
from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.inference.batching import Progress, fit
from gmm_pipeline.inference.fitting import FitJob, FitPlan, FitResult, check
from gmm_pipeline.inference.objective import use_fused
from gmm_pipeline.inference.scaling import IDENTITY, scaling_of, to_fit_units
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.datasets import LARGEST_SEED, Dataset, describe
from gmm_pipeline.records.files import write_json, write_text
from gmm_pipeline.records.provenance import provenance
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.animate import render
from gmm_pipeline.stages.answers import Answer, Job, answer
from gmm_pipeline.stages.running import (
    command_line,
    is_alone,
    output_directory,
    override_word,
    overrides,
    resolved,
    shown,
)

log = logging.getLogger(__name__)


def load(cfg: DictConfig) -> Job:
    """Read the data and build everything the fit needs.

    Raises:
        InputError: where a key or the data cannot be used.
    """
    import jax

    checks.check_range(cfg, "n_components", 1)
    checks.check_range(cfg, "steps", 1, checks.MOST_STEPS)
    checks.check_range(cfg, "history_every", 1)
    checks.check_range(cfg, "seed", 0, LARGEST_SEED)
    checks.check_pictures(cfg, "figures")
    checks.check_pictures(cfg, "animation")
    checks.check_range(cfg, "tracking.series_points", 0)
    config.configure_jax(
        threefry_partitionable=cfg.threefry_partitionable,
        precision=cfg.precision,
        compilation_cache=cfg.compilation_cache,
    )
    plan = FitPlan(
        n_components=cfg.n_components,
        init=config.build_plugin(cfg, "init"),
        log_prior=config.build_plugin(cfg, "prior"),
        optimizer=config.build_plugin(cfg, "optimizer"),
        schedule=config.build_plugin(cfg, "schedule"),
        average_loss=cfg.average_loss,
        fused=cfg.fused and use_fused(cfg.n_components),
        as_written=not cfg.fused,
    )
    dataset = config.build_dataset(cfg)
    distinct = len(np.unique(dataset.data[dataset.counts > 0]))
    if cfg.n_components > distinct:
        raise InputError(
            "n_components",
            expected=f"at most {distinct}, the number of distinct values in {dataset.name}",
            came=str(cfg.n_components),
            remedy="A component needs data of its own.",
        )
    scaling = scaling_of(dataset.data, dataset.counts) if cfg.standardize else IDENTITY
    dtype = np.dtype(cfg.precision.value)
    with np.errstate(over="ignore"):
        data = to_fit_units(dataset.data, scaling).astype(dtype)
    if not np.isfinite(data).all() or np.ptp(data) == 0:
        raise InputError(
            "standardize",
            expected=f"data that {dtype} can tell apart",
            came=f"{dataset.name} from {dataset.data.min():g} to {dataset.data.max():g}, as they are",
            remedy="Use standardize=true, or precision=float64.",
        )
    job = FitJob(
        data=data,
        sample_weights=dataset.counts.astype(dtype),
        key=jax.random.PRNGKey(cfg.seed),
        plan=plan,
        steps=cfg.steps,
        history_every=cfg.history_every,
    )
    check(job)
    return Job(dataset, scaling, job)


def compute(jobs: list[Job], progress: Progress | None = None) -> list[FitResult]:
    """Fit each job."""
    return [fit(job.fit, progress) for job in jobs]


def save(cfg: DictConfig, job: Job, result: FitResult, directory: Path, timings: Timings) -> Answer:
    """Write what a fit found, without its pictures and `record.json`."""
    with timings.section("evaluate"):
        found = answer(job, result)
    with timings.section("record"):
        write_text(directory / artifacts.CONFIG, OmegaConf.to_yaml(OmegaConf.create(resolved(cfg))))
        write_json(directory / artifacts.DATA, describe(job.dataset))
        write_json(
            directory / artifacts.PARAMETERS,
            {**artifacts.mixture_as_json(found.fitted), "unconstrained": found.unconstrained._asdict()},
        )
        write_json(directory / artifacts.METRICS, found.metrics)
        artifacts.write_history(directory / artifacts.HISTORY, found.history)
        artifacts.write_assignments(directory / artifacts.ASSIGNMENTS, found.assignments)
    return found


def run(cfg: DictConfig, *, started: float) -> float:
    """Load, compute and save one fit, draw and track it and tell the user; returns the loss in nats.

    The record is complete before anything is drawn or tracked: neither is worth a finished fit.
    """
    directory = output_directory()
    timings = Timings(started)
    began = datetime.now(UTC)
    if cfg.tracking.uri is not None:
        from gmm_pipeline.records.tracking import store_file

        store_file(cfg.tracking.uri)  # refuses an address that cannot be used, before any work
    with timings.section("load"):
        job = load(cfg)
        made_with = provenance(_device())
    log.info("data %s: %s, SHA-256 %s", job.dataset.name, job.dataset.source, job.dataset.digest)
    log.info("%d components, %d steps of %s", cfg.n_components, cfg.steps, cfg.optimizer._target_)
    with timings.section("fit"), terminal.progress_bar("fitting", "steps") as progress:
        (result,) = compute([job], progress)
    found = save(cfg, job, result, directory, timings)
    record = {
        "format": artifacts.FORMAT,
        "status": "diverged" if found.diverged else "finished",
        "name": directory.name,
        "command": command_line("fit"),
        "overrides": overrides(),
        "started": began.isoformat(),
        "ended": datetime.now(UTC).isoformat(),
        "provenance": made_with,
    }
    write_json(directory / artifacts.RECORD, {**record, "timings": timings.rounded()})
    log.info("%s", _summary(job, found))
    failed = _picture(cfg, job.dataset, found, directory, timings)
    write_json(directory / artifacts.RECORD, {**record, "timings": timings.rounded()})
    tracked = _track(cfg, directory, timings)
    write_json(directory / artifacts.RECORD, {**record, **tracked, "timings": timings.rounded()})
    _tell(cfg, job, found, directory, tracked=bool(tracked))
    if found.diverged:
        raise RunFailed(
            f"the fit diverged: after {job.fit.steps} steps its loss or parameters are not finite. The record is in "
            f"{shown(directory)}. Try a smaller optimizer.learning_rate, another init, or standardize=true."
        )
    if failed:
        raise RunFailed(f"{failed} The record in {shown(directory)} is complete without it.")
    return found.metrics["loss"]


def _picture(cfg: DictConfig, dataset: Dataset, found: Answer, directory: Path, timings: Timings) -> str:
    """Draw and film; says what went wrong rather than raise it."""
    try:
        with timings.section("figures"):
            _draw(cfg, dataset, found, directory / artifacts.FIGURES)
        with timings.section("animation"):
            render(cfg.animation, found.history, found.assignments, describe(dataset), directory)
    except Exception as error:
        log.exception("the pictures failed")
        return f"A picture failed: {type(error).__name__}: {error}."
    return ""


def _draw(cfg: DictConfig, dataset: Dataset, found: Answer, folder: Path) -> None:
    if not cfg.figures.formats:
        return
    from gmm_pipeline.records import figures

    known = {"unit": dataset.unit, "size": cfg.figures.size}
    data, sample_weights, truth = dataset.data, dataset.sample_weights, dataset.truth
    pictures = {
        "fitted_density": figures.draw_fitted_density(
            data, sample_weights, found.fitted, truth, name=dataset.name, **known
        ),
        "loss": figures.draw_loss(found.history, size=cfg.figures.size),
        "parameter_traces": figures.draw_parameter_traces(found.history, truth, **known),
        "weights": figures.draw_weights(found.fitted, truth, **known),
    }
    for name, figure in pictures.items():
        figures.save_figure(figure, folder / name, formats=cfg.figures.formats, dpi=cfg.figures.dpi)


def _track(cfg: DictConfig, directory: Path, timings: Timings) -> dict[str, Any]:
    """Log the finished record and say where; a tracker that is down costs a warning, not the result."""
    if cfg.tracking.uri is None:
        return {}
    from gmm_pipeline.records.tracking import TrackingError, log_record

    try:
        with timings.section("tracking"):
            tracked = log_record(directory, **resolved(cfg.tracking))
    except TrackingError as error:
        log.warning("%s", error)
        terminal.warn(str(error))
        return {}
    return {"tracking": tracked._asdict()}


def _summary(job: Job, found: Answer) -> str:
    metrics = found.metrics
    return (
        f"{job.dataset.name}: {metrics['n_data']:,} data, "
        f"{metrics['n_components']} component{'s' * (metrics['n_components'] != 1)}, {metrics['n_steps']:,} steps; "
        f"loss {metrics['loss']:.4f}, log-likelihood {metrics['log_likelihood']:.4f} nats, BIC {metrics['bic']:.3f}"
    )


def _tell(cfg: DictConfig, job: Job, found: Answer, directory: Path, *, tracked: bool) -> None:
    if not is_alone():
        terminal.say(f"{' '.join(overrides())}: {_summary(job, found)}; record {shown(directory)}")
        return
    terminal.say(_summary(job, found), "")
    terminal.show(terminal.parameter_table(found.fitted, job.dataset.truth, job.dataset.unit))
    terminal.say("", f"record: {shown(directory)}")
    if tracked:
        same_store = ("outputs_dir=", "tracking.uri=", "tracking.experiment=")
        carried = [shlex.quote(override) for override in overrides() if override.startswith(same_store)]
        terminal.say(" ".join(["compare runs: python -m gmm_pipeline ui", *carried]))
    if cfg.animation.formats:
        terminal.say(f"animate again: python -m gmm_pipeline animate {override_word('run', str(shown(directory)))}")


def _device() -> str:
    import jax

    return jax.devices()[0].device_kind
