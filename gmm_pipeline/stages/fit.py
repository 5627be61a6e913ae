"""`fit`: load the data, run the optimizer, leave a record.

`load` reads and checks everything, so that mistakes surface before any work; `compute` is pure JAX; `save` writes the
record, and only a complete record is tracked.
"""

import logging
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf

from gmm_pipeline import config
from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.inference.diagnostics import Evaluation, evaluate, information_criteria, losses, number_of_parameters
from gmm_pipeline.inference.fitting import FitJob, FitPlan, FitResult, Progress, check, fit
from gmm_pipeline.inference.objective import use_fused
from gmm_pipeline.inference.scaling import IDENTITY, Scaling, scaling_of, to_fit_units, to_user_units
from gmm_pipeline.model.mixture import Mixture, Parameters, constrain
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.artifacts import Assignments, History
from gmm_pipeline.records.datasets import Dataset, describe
from gmm_pipeline.records.files import write_json, write_text
from gmm_pipeline.records.provenance import provenance
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.animate import render
from gmm_pipeline.stages.running import command_line, is_alone, output_directory, overrides, resolved, shown

log = logging.getLogger(__name__)

MOST_ELEMENTS_IN_FLOAT64 = 1e8
"""History entries × data × components: about a second on two cores."""


class Job(NamedTuple):
    """A fit and what its answer is written with."""

    dataset: Dataset
    scaling: Scaling
    fit: FitJob


class Answer(NamedTuple):
    """A result in the user's units, components ordered by loc."""

    fitted: Mixture
    unconstrained: Parameters
    metrics: dict[str, float]
    history: History
    assignments: Assignments
    diverged: bool


def load(cfg: DictConfig) -> Job:
    """Read the data and build everything the fit needs.

    Raises:
        InputError: where a key or the data cannot be used.
    """
    import jax

    config.check_range(cfg, "n_components", 1)
    config.check_range(cfg, "steps", 1, config.MOST_STEPS)
    config.check_range(cfg, "history_every", 1)
    config.check_range(cfg, "seed", 0, config.LARGEST_SEED)
    config.check_pictures(cfg, "figures")
    config.check_pictures(cfg, "animation")
    config.check_range(cfg, "tracking.series_points", 0)
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
    job = FitJob(
        data=to_fit_units(dataset.data, scaling).astype(dtype),
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


def answer(job: Job, result: FitResult) -> Answer:
    """Judge a result in float64 and bring it into the user's units and the order of the locs."""
    dataset, scaling = job.dataset, job.scaling
    evaluation: Evaluation = evaluate(
        result.parameters, to_fit_units(dataset.data, scaling), dataset.counts, scaling, job.fit.plan.log_prior
    )
    total = float(np.sum(dataset.counts))
    loss = -(evaluation.log_likelihood + evaluation.log_prior)
    order = np.argsort(np.asarray(result.parameters.component_mus), kind="stable")
    history_parameters = to_user_units(result.history.parameters, scaling)
    responsibilities = evaluation.responsibilities[:, order]
    return Answer(
        fitted=_in_order(constrain(to_user_units(result.parameters, scaling)), order),
        unconstrained=Parameters(*(leaf[order] for leaf in to_user_units(result.parameters, scaling))),
        metrics={
            "loss": loss,
            "log_likelihood": evaluation.log_likelihood,
            "log_prior": evaluation.log_prior,
            **information_criteria(evaluation.log_likelihood, number_of_parameters(job.fit.plan.n_components), total),
            "n_data": len(dataset.data),
            "n_components": job.fit.plan.n_components,
            "n_parameters": number_of_parameters(job.fit.plan.n_components),
            "n_steps": job.fit.steps,
        },
        history=History(
            result.steps, _history_losses(job, result, loss), _in_order(constrain(history_parameters), order)
        ),
        assignments=Assignments(
            dataset.data, dataset.sample_weights, np.argmax(responsibilities, axis=1), responsibilities
        ),
        diverged=result.diverged,
    )


def save(cfg: DictConfig, job: Job, result: FitResult, directory: Path, timings: Timings) -> Answer:
    """Write the record of a fit; `record.json` last."""
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
    with timings.section("figures"):
        _draw(cfg, job.dataset, found, directory / artifacts.FIGURES)
    with timings.section("animation"):
        render(cfg.animation, found.history, found.assignments, describe(job.dataset), directory)
    return found


def run(cfg: DictConfig, *, started: float) -> float:
    """Load, compute and save one fit, track it and tell the user; returns the loss in nats."""
    directory = output_directory()
    timings = Timings(started)
    began = datetime.now(UTC)
    if cfg.tracking.uri is not None:
        from gmm_pipeline.records.tracking import store_file

        store_file(cfg.tracking.uri)  # refuses an address that cannot be used, before any work
    with timings.section("load"):
        job = load(cfg)
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
        "provenance": provenance(_device()),
        "timings": timings.rounded(),
    }
    write_json(directory / artifacts.RECORD, record)
    _track(cfg, directory, record, timings)
    _tell(cfg, job, found, directory)
    if found.diverged:
        raise RunFailed(
            f"the fit diverged: after {job.fit.steps} steps its loss or parameters are not finite. The record is in "
            f"{directory}. Try a smaller optimizer.learning_rate, another init, or standardize=true."
        )
    return found.metrics["loss"]


def _history_losses(job: Job, result: FitResult, final: float) -> np.ndarray:
    """Losses over the steps in the user's units; in float64 too, unless that would take longer than the fit."""
    data, counts, plan = to_fit_units(job.dataset.data, job.scaling), job.dataset.counts, job.fit.plan
    if len(result.steps) * plan.n_components * len(data) <= MOST_ELEMENTS_IN_FLOAT64:
        found = losses(result.history.parameters, data, counts, job.scaling, plan.log_prior)
    else:
        total = float(np.sum(counts))
        found = np.asarray(result.history.loss, np.float64) * (total if plan.average_loss else 1.0)
        found += total * np.log(job.scaling.spread)
    # The same number as in the metrics, whose sum was taken in another order.
    found[-1] = final
    return found


def _in_order(mixture: Mixture, order: np.ndarray) -> Mixture:
    return Mixture(*(values[..., order] for values in mixture))


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


def _track(cfg: DictConfig, directory: Path, record: dict[str, Any], timings: Timings) -> None:
    """Log the finished record; a tracker that is down costs a warning, not the result."""
    if cfg.tracking.uri is None:
        return
    from gmm_pipeline.records.tracking import TrackingError, log_record

    settings = resolved(cfg.tracking)
    try:
        with timings.section("tracking"):
            tracked = log_record(directory, **settings)
    except TrackingError as error:
        log.warning("%s", error)
        terminal.warn(str(error))
        return
    write_json(directory / artifacts.RECORD, {**record, "tracking": tracked._asdict(), "timings": timings.rounded()})


def _tell(cfg: DictConfig, job: Job, found: Answer, directory: Path) -> None:
    dataset, metrics = job.dataset, found.metrics
    summary = (
        f"{dataset.name}: {metrics['n_data']:,} data, {metrics['n_components']} components, "
        f"{metrics['n_steps']:,} steps; "
        f"loss {metrics['loss']:.4f}, log-likelihood {metrics['log_likelihood']:.4f} nats, BIC {metrics['bic']:.3f}"
    )
    log.info("%s", summary)
    if not is_alone():
        terminal.say(f"{' '.join(overrides())}: {summary}; record {shown(directory)}")
        return
    terminal.say(summary, "")
    terminal.show(terminal.parameter_table(found.fitted, dataset.truth, dataset.unit))
    terminal.say("", f"record: {shown(directory)}")
    outputs = "" if cfg.outputs_dir == "outputs" else f" outputs_dir={cfg.outputs_dir}"
    if cfg.tracking.uri is not None:
        terminal.say(f"compare runs: python -m gmm_pipeline ui{outputs}")
    if len(cfg.animation.formats) > 0:
        terminal.say(f"animate again: python -m gmm_pipeline animate run={shlex.quote(str(shown(directory)))}")


def _device() -> str:
    import jax

    return jax.devices()[0].device_kind
