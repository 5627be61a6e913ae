"""`predict`: what the mixture of an earlier run says of data, a row a datum.

The price of one table: it is in memory as a whole, and once more as the file that it becomes, 16 bytes a datum and
column in all for Parquet.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from omegaconf import DictConfig

from gmm_pipeline import config
from gmm_pipeline.config import Precision
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records.artifacts import Assignments
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.records.files import column_format, write_columns
from gmm_pipeline.records.finding import LATEST, found_record, read_fitted
from gmm_pipeline.records.rounding import with_error
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.running import latest, shown
from gmm_pipeline.stages.tables import Column, Table

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A mixture and the data that it is asked about."""

    mixture: Mixture
    run: str
    """Which run found the mixture, as people name it."""
    dataset: Dataset


class Prediction(NamedTuple):
    """What a mixture says of each datum."""

    assignments: Assignments
    log_densities: Float[np.ndarray, " n"]
    """In nats, of a density per unit of the data."""


def load(cfg: DictConfig) -> Job:
    """Find the mixture and read the data.

    Raises:
        InputError: where there is no such run, it has no result, or the data cannot be had.
        TrackingError: where the store that should know the run failed.
    """
    column_format(Path(cfg.output))
    with found_record(cfg.run, cfg.outputs_dir, cfg.tracking.uri) as record:
        mixture = read_fitted(record)
        run = latest(record) if cfg.run == LATEST else cfg.run
    config.configure_jax(
        threefry_partitionable=cfg.threefry_partitionable, precision=Precision.float32, compilation_cache=None
    )
    return Job(mixture, run, config.build_dataset(cfg))


def compute(job: Job) -> Prediction:
    """Evaluate the mixture at each datum, in float64."""
    dataset = job.dataset
    log_densities, responsibilities = portable.evaluate(*job.mixture, dataset.data)
    labels = np.argmax(responsibilities, axis=0)
    return Prediction(
        Assignments(dataset.data, dataset.sample_weights, labels, responsibilities.T),
        log_densities,
    )


def save(cfg: DictConfig, prediction: Prediction) -> None:
    """Write the columns of a record's assignments, and `log_density`."""
    data, sample_weights, labels, responsibilities = prediction.assignments
    write_columns(
        Path(cfg.output),
        {
            "datum": data,
            **({} if sample_weights is None else {"sample_weight": sample_weights}),
            "label": labels.astype(np.int32),
            **{f"responsibility_{component}": column for component, column in enumerate(responsibilities.T)},
            "log_density": prediction.log_densities,
        },
    )


def summary(job: Job, prediction: Prediction) -> str:
    """A prediction in one line."""
    dataset, n_components = job.dataset, len(job.mixture.locs)
    mean = np.average(prediction.log_densities, weights=dataset.sample_weights)
    return (
        f"{dataset.name}: {len(dataset.data):,} data under the {n_components} component{'s' * (n_components != 1)} "
        f"of {job.run}; mean log density {mean:.4f} nats"
    )


def component_table(job: Job, prediction: Prediction) -> Table:
    """The components and how much of the data each gets, a row a component.

    Args:
        job: the mixture, ordered by loc.
        prediction: of the data.
    """
    dataset, mixture = job.dataset, job.mixture
    counts = np.bincount(prediction.assignments.labels, dataset.counts, minlength=len(mixture.locs))
    columns = [Column("component", [str(component) for component in range(len(mixture.locs))])]
    for name, values in zip(terminal.named_with_unit(dataset.unit), mixture, strict=True):
        sizes = mixture.weights if values is mixture.weights else mixture.scales
        columns.append(
            Column(name, [with_error(one, np.nan, size)[0] for one, size in zip(values, sizes, strict=True)])
        )
    columns += [
        Column("labelled", [f"{count:,.10g}" for count in counts]),
        Column("share", [f"{count / counts.sum():.1%}" for count in counts]),
    ]
    return Table(columns)


def run(cfg: DictConfig, *, started: float) -> None:
    """Evaluate a fitted mixture at data, write what it says, and tell the user."""
    job = load(cfg)
    prediction = compute(job)
    save(cfg, prediction)
    log.info("%s", summary(job, prediction))
    terminal.say(summary(job, prediction), "")
    terminal.show(component_table(job, prediction))
    terminal.say("", f"predictions: {shown(Path(cfg.output))}")
