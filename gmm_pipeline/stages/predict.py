"""`predict`: labels, responsibilities and log densities of data under the mixture of an earlier run, one row per datum.

Data are evaluated in blocks, once for what is printed and once more for each file, so that what is written is never in
memory as a whole.
"""

import itertools
import logging
import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float
from omegaconf import DictConfig, OmegaConf

from gmm_pipeline.analysis.rounding import with_error
from gmm_pipeline.configuration import config, targets
from gmm_pipeline.configuration.schemas import Precision
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.expectation import least_mean, log_density_moments
from gmm_pipeline.model.large_data import is_complete, slices
from gmm_pipeline.model.natural import AnyMixture, Mixture
from gmm_pipeline.model.noise import NoisyMixture, parts
from gmm_pipeline.model.vocabulary import LABELLING
from gmm_pipeline.records import evaluations
from gmm_pipeline.records.assignments import assignment_columns
from gmm_pipeline.records.columns import COLUMN, COLUMNS, MOST_NAMED
from gmm_pipeline.records.datasets import Dataset, left_out
from gmm_pipeline.records.evaluations import Evaluated, Evaluations
from gmm_pipeline.records.files import column_format, write_blocks
from gmm_pipeline.records.finding import columns_of, read_fitted
from gmm_pipeline.records.overrides import hydra_list, hydra_override
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.finding import LATEST, record_folder
from gmm_pipeline.stages.running import check_output, latest, output_directory, shown
from gmm_pipeline.stages.tables import Column, Table

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A mixture and the data to evaluate it at."""

    mixture: AnyMixture | NoisyMixture
    run: str
    """Which run fitted the mixture, for messages."""
    dataset: Dataset


class Prediction(NamedTuple):
    """What a mixture says of each datum."""

    assignments: Evaluations
    total: float
    """Σ c log p over the data, in nats, of a density per unit of the data."""
    total_of_complete: float
    """The same over the rows without missing cells."""
    labelled: Float[np.ndarray, " K"]
    """Σ c of the data with the label of each component; of noise last, if there is noise."""

    @property
    def log_densities(self) -> Float[np.ndarray, " n"]:
        """In nats, of a density per unit of the data."""
        return self.assignments.log_densities


def load(cfg: DictConfig) -> Job:
    """Find the mixture and read the data.

    Raises:
        InputError: there is no such run, it has no result, the data cannot be read, or the output would overwrite the
            data or a record.
        TrackingError: the store that the run was looked up in failed.
    """
    column_format(Path(cfg.output))
    with record_folder(cfg.run, cfg.outputs_dir, cfg.tracking.uri) as record:
        mixture = read_fitted(record)
        run = latest(record) if cfg.run == LATEST else cfg.run
        columns = columns_of(record)
    config.configure_jax(
        threefry_partitionable=cfg.threefry_partitionable, precision=Precision.float32, compilation_cache=None
    )
    dataset = _dataset(cfg, columns, mixture)
    check_output(Path(cfg.output), Path(dataset.source) if dataset.source_type == "file" else None)
    return Job(mixture, run, dataset)


def _dataset(cfg: DictConfig, columns: tuple[str, ...], mixture: AnyMixture | NoisyMixture) -> Dataset:
    """The data; if the config names no columns, those that were fitted, or else the numeric ones.

    Args:
        cfg: the composed config.
        columns: of the record.
        mixture: that is evaluated at the data.

    Raises:
        InputError: they cannot be read, or are of another number of columns than the mixture.
    """
    n_columns = mixture.locs.shape[1] if mixture.locs.ndim > 1 else 1
    key, fitted = (COLUMNS, list(columns)) if n_columns > 1 else (COLUMN, columns[0] if columns else None)
    if fitted and OmegaConf.select(cfg, COLUMN, default="") is None and not OmegaConf.select(cfg, COLUMNS):
        chosen = OmegaConf.merge(cfg, OmegaConf.create({"data": {key.removeprefix("data."): fitted}}))
        try:
            return targets.build_dataset(cast("DictConfig", chosen))
        except InputError as error:
            if error.where not in (COLUMN, COLUMNS):
                raise
            # There are no such columns; perhaps they have other names in this file.
    dataset = targets.build_dataset(cfg)
    found = dataset.data.shape[1] if dataset.data.ndim > 1 else 1
    if found == n_columns:
        return dataset
    named, remedy = dataset.columns[:MOST_NAMED], "Choose other data."
    if n_columns == 1:
        arguments = [shlex.quote(hydra_override(COLUMN, name)) for name in named]
        remedy = f"Add one of these arguments: {'  '.join(arguments)}"
    elif found > n_columns:
        remedy = f"For example {shlex.quote(hydra_list(COLUMNS, named[:n_columns]))}."
    raise InputError(
        key,
        expected=f"{'one column' if n_columns == 1 else f'{n_columns} columns'}, as in the fit"
        + (f" ({', '.join(columns)})" if columns else ""),
        came=f"{found} of {dataset.name}" + (f": {', '.join(named)}" if named else ""),
        remedy=remedy if dataset.source_type == "file" else "Choose other data.",
    )


def compute(job: Job) -> Prediction:
    """Evaluate the mixture at each datum, in float64."""
    dataset = job.dataset
    components, log_noise = parts(job.mixture)
    at_data = Evaluations(components, log_noise, dataset.data, dataset.sample_weights, columns=dataset.columns)
    n_labels = len(components.locs) + at_data.noise

    def sums(found: Evaluated) -> tuple[float, float, Float[np.ndarray, " K"]]:
        counts, complete = dataset.counts[found.here], _of_complete_rows(dataset.data[found.here])
        terms = counts * found.log_densities
        # The label of noise, −1, is its place too.
        labelled = np.bincount(found.assignments.labels % n_labels, counts, n_labels)
        return float(np.sum(terms)), float(np.sum(terms[complete])), labelled

    totals, of_complete, labelled = zip(*at_data.each(sums), strict=True)
    return Prediction(at_data, math.fsum(totals), math.fsum(of_complete), np.sum(labelled, axis=0))


def save(cfg: DictConfig, job: Job, prediction: Prediction) -> list[Path]:
    """Write the columns of a record's assignments, and `log_density`; returns the files.

    There are as many rows as in the data file; those without a value are empty.

    Args:
        cfg: the composed config.
        job: the mixture and the data.
        prediction: what the mixture says of the data.
    """
    output = Path(cfg.output)
    files = [output]
    if output.parent == output_directory() and len(job.dataset.data) <= cfg.csv_rows:
        files = list(dict.fromkeys([output, output.with_suffix(".csv")]))
    n_rows = len(job.dataset.data) + job.dataset.n_missing
    for file in files:
        with terminal.progress_bar(LABELLING, "rows") as progress:
            write_blocks(file, _blocks(job.dataset, prediction.assignments), lambda rows: progress(rows, n_rows))
    return files


def _blocks(dataset: Dataset, at_data: Evaluations) -> Iterator[Mapping[str, np.ndarray]]:
    """The columns of the table, block by block of its rows."""
    rows, n_rows = dataset.rows, dataset.n_rows
    in_table = slices(len(dataset.data) if n_rows is None else n_rows, evaluations.BLOCK)
    places = in_table
    if rows is not None:
        borders = np.searchsorted(rows, [0, *(here.stop for here in in_table)])
        places = [slice(first, last) for first, last in itertools.pairwise(borders.tolist())]

    def columns_of_block(found: Evaluated) -> tuple[slice, dict[str, np.ndarray]]:
        return found.here, {**assignment_columns(found.assignments), "log_density": found.log_densities}

    for here, (place, columns) in zip(in_table, at_data.each(columns_of_block, places), strict=True):
        if rows is None:
            yield columns
        else:
            own, n_here = rows[place] - here.start, here.stop - here.start
            yield {name: _in_rows(values, own, n_here) for name, values in columns.items()}


def _in_rows(values: np.ndarray, rows: np.ndarray, n_rows: int) -> np.ma.MaskedArray:
    """Values at their rows of a table; the other rows are missing."""
    spread, missing = np.zeros(n_rows, values.dtype), np.ones(n_rows, bool)
    spread[rows], missing[rows] = values, np.ma.getmaskarray(values)
    return np.ma.MaskedArray(spread, missing)


def alien(cfg: DictConfig, job: Job, prediction: Prediction) -> str | None:
    """A warning that the data are unlike what the mixture was fitted to; None if they may be like it.

    Rows with missing cells are not considered: their densities are of fewer columns.

    Args:
        cfg: the composed config, with `alien_level` and `alien_gap`.
        job: the mixture and the data.
        prediction: what the mixture says of the data.
    """
    if isinstance(job.mixture, NoisyMixture):  # whatever is unlike the components is noise
        return None
    counts = job.dataset.counts
    if job.dataset.data.ndim > 1 and not is_complete(job.dataset.data):
        counts = counts[_of_complete_rows(job.dataset.data)]
    if not counts.sum() > 0.0:
        return None
    mean = prediction.total_of_complete / float(counts.sum())
    moments = log_density_moments(job.mixture)
    least = least_mean(moments, counts, cfg.alien_level)
    if mean >= min(least, moments.mean - cfg.alien_gap):
        return None
    return (
        f"{job.dataset.name} is alien to this mixture: mean log density {mean:.4g} nats, while its own data have "
        f"{moments.mean:.4g} ± {moments.deviation:.2g}. Check {_columns_read(job.dataset)} and unit; "
        "the labels mean little."
    )


def _of_complete_rows(data: Float[np.ndarray, "n ..."]) -> Bool[np.ndarray, " n"]:
    """Which data have no missing cells."""
    return np.logical_not(np.isnan(data.reshape(len(data), -1)).any(axis=1))


def _columns_read(dataset: Dataset) -> str:
    if dataset.data.ndim == 1:
        return "column"
    names = dataset.columns[:MOST_NAMED]
    return f"columns ({', '.join(names)}{', …' * (len(names) < len(dataset.columns))})"


def mean_log_density(job: Job, prediction: Prediction) -> float:
    """The mean over the data, each datum weighted as often as it counts, in nats.

    Args:
        job: the mixture and the data.
        prediction: what the mixture says of the data.
    """
    return prediction.total / float(job.dataset.counts.sum())


def summary(job: Job, prediction: Prediction) -> str:
    """A prediction in one line.

    Args:
        job: the mixture and the data.
        prediction: what the mixture says of the data.
    """
    dataset, n_components = job.dataset, len(job.mixture.locs)
    mean = mean_log_density(job, prediction)
    missing = left_out(len(dataset.data), dataset.n_missing, dataset.n_incomplete)
    noise = " and the noise" if isinstance(job.mixture, NoisyMixture) else ""
    return (
        f"{dataset.name}: {len(dataset.data):,} observations{missing} under the {n_components} "
        f"component{'s' * (n_components != 1)}{noise} of {job.run}; mean log density {mean:.4f} nats"
    )


def component_table(job: Job, prediction: Prediction) -> Table:
    """The components and the share of the data with the label of each, one row per component.

    Args:
        job: the mixture, in the order of its record.
        prediction: of the data.
    """
    dataset, mixture = job.dataset, parts(job.mixture)[0]
    counts = prediction.labelled
    columns = [Column("component", [str(component) for component in range(len(mixture.locs))])]
    for name, values, sizes in _parameters(mixture, dataset):
        cells = [with_error(one, np.nan, size)[0] for one, size in zip(values, sizes, strict=True)]
        columns.append(Column(name, cells, optional=mixture.locs.ndim > 1))
    if isinstance(job.mixture, NoisyMixture):
        columns = terminal.with_noise(columns, job.mixture.noise, errors=False)
    columns += [
        Column("labelled", [f"{count:,.10g}" for count in counts]),
        Column("share", [f"{count / counts.sum():.1%}" for count in counts]),
    ]
    return Table(columns)


def _parameters(mixture: AnyMixture, dataset: Dataset) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Names and values of parameters, and the size of what each is measured by."""
    weight, loc, scale = terminal.named_with_unit(dataset.unit)
    yield weight, mixture.weights, mixture.weights
    if isinstance(mixture, Mixture):
        yield loc, mixture.locs, mixture.scales
        yield scale, mixture.scales, mixture.scales
        return
    for name, locs, scales in zip(dataset.columns, mixture.locs.T, mixture.scales.T, strict=True):
        yield f"{name}: {loc}", locs, scales
    for name, scales in zip(dataset.columns, mixture.scales.T, strict=True):
        yield f"{name}: {scale.replace('scale', 'sd')}", scales, scales


def run(cfg: DictConfig, *, started: float) -> None:
    """Evaluate a fitted mixture at data, write the predictions, and print a summary.

    Args:
        cfg: the composed config.
        started: when the program began, on the performance counter; not used.
    """
    job = load(cfg)
    prediction = compute(job)
    files = save(cfg, job, prediction)
    log.info("%s", summary(job, prediction))
    terminal.say(summary(job, prediction), "")
    terminal.show(component_table(job, prediction))
    terminal.say("", f"predictions: {' and '.join(str(shown(file)) for file in files)}")
    warning = alien(cfg, job, prediction)
    if warning is not None:
        log.warning("%s", warning)
        terminal.warn(warning)
