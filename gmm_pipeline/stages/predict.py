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
from rich.table import Table

from gmm_pipeline import config
from gmm_pipeline.config import Precision
from gmm_pipeline.model import portable
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records.artifacts import Assignments
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.records.files import column_format, write_columns
from gmm_pipeline.records.finding import LATEST, found_record, read_fitted
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.running import shown

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
        run = str(shown(record.absolute())) if cfg.run == LATEST else cfg.run
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
    dataset = job.dataset
    counts = np.bincount(prediction.assignments.labels, dataset.counts, minlength=len(job.mixture.locs))
    unit = rf" \[{dataset.unit}]" if dataset.unit else ""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in ("component", "weight", f"loc{unit}", f"scale{unit}", "labelled", "share"):
        table.add_column(name, justify="right")
    for component, (count, *parameters) in enumerate(zip(counts, *job.mixture, strict=True)):
        fitted = [f"{value:.6g}" for value in parameters]
        table.add_row(str(component), *fitted, f"{count:,.10g}", f"{count / counts.sum():.1%}")
    return table


def run(cfg: DictConfig, *, started: float) -> None:
    """Evaluate a fitted mixture at data, write what it says, and tell the user."""
    job = load(cfg)
    prediction = compute(job)
    save(cfg, prediction)
    log.info("%s", summary(job, prediction))
    terminal.say(summary(job, prediction), "")
    terminal.show(component_table(job, prediction))
    terminal.say("", f"predictions: {shown(Path(cfg.output))}")
