"""A record as plain objects, for what is printed, pictures, the animation, the page, and a fit from Python.

What an older record lacks is None or empty. Labels and responsibilities are not read: for millions of observations a
page needs only the data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError
from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import AnyErrors, AnyMixture, MultivariateMixture
from gmm_pipeline.model.noise import Noise
from gmm_pipeline.records import artifacts, consistency, contents
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.assignments import data_in
from gmm_pipeline.records.files import read_columns
from gmm_pipeline.records.json_files import checked, read_json
from gmm_pipeline.records.sweeps import DIVERGED, FINISHED

ASYMPTOTIC, BOOTSTRAP = "asymptotic", "bootstrap"


class Intervals(NamedTuple):
    """Intervals of the parameters, by one method; NaN where it gives none."""

    lower: AnyErrors
    upper: AnyErrors
    level: float
    """Probability with which an interval contains the true value."""
    method: str
    """The method: `ASYMPTOTIC` or `BOOTSTRAP`."""


class Errors(NamedTuple):
    """Standard errors and intervals, by one method."""

    standard_errors: AnyErrors
    intervals: Intervals


class Factors(NamedTuple):
    """The factors of covariances, Σ = L Lᵀ + Ψ, with the rotation in which Lᵀ Ψ⁻¹ L is diagonal."""

    loadings: Float[np.ndarray, "K d q"]
    """L, in the units of the columns."""
    uniquenesses: Float[np.ndarray, "K d"]
    """The diagonal of Ψ: the variance of each column that no factor explains."""


class Record(NamedTuple):
    """A record, read."""

    about: dict[str, Any]
    """The content of `record.json`."""
    config: dict[str, Any]
    data_info: dict[str, Any]
    """The content of `data.json`."""
    metrics: dict[str, Any]
    fitted: AnyMixture
    truth: AnyMixture | None
    degenerate: list[int]
    """Components, in the order of the fitted ones."""
    covariance_model: str
    """One of mclust's names, EII to VVV, or factor; E or V of one column."""
    learned: dict[str, float]
    asymptotic: Errors | None
    bootstrap: Errors | None
    replicates: AnyMixture | None
    """[B, K], of the bootstrap."""
    restarts: list[dict[str, Any]]
    searched: dict[str, Any]
    """What `restarts.json` says of the search; empty without one."""
    selection: dict[str, list[Any]] | None
    """Columns of the table of candidates; None if there was nothing to choose."""
    history: History
    data: Float[np.ndarray, " n"] | Float[np.ndarray, "n d"]
    """NaN where a cell is missing."""
    sample_weights: Float[np.ndarray, " n"] | None
    noise: Noise | None = None
    """None without noise."""
    factors: Factors | None = None
    """None where the covariance model is another one."""

    @property
    def finished(self) -> bool:
        """Whether its numbers are a result."""
        return self.about["status"] == FINISHED

    @property
    def equal_scales(self) -> bool:
        """Whether components of one column have one scale."""
        return self.covariance_model == "E"

    @property
    def log_posterior(self) -> float | None:
        """Of the answer, in nats and in the units of its starts; None without a search."""
        return next(iter(self.searched.get("log_posteriors", [])), None)

    @property
    def unit(self) -> str | None:
        """Of the data."""
        return self.data_info.get("unit")

    @property
    def of_complete_rows(self) -> "Record":
        """The same with the rows that have all columns, which are those that a plot can show."""
        if self.data.ndim == 1 or not np.isnan(self.data).any():
            return self
        complete = ~np.isnan(self.data).any(axis=1)
        weights = None if self.sample_weights is None else self.sample_weights[complete]
        return self._replace(data=self.data[complete], sample_weights=weights)

    @property
    def of_complete_columns(self) -> "Record":
        """The same of the columns without missing cells, and the fit's mixture of these.

        Where the chance that a value is missing depends on other values, rows that have all columns are no sample of
        the mixture; a column that all rows have is one.
        """
        if self.data.ndim == 1 or not np.isnan(self.data).any():
            return self
        kept = np.flatnonzero(~np.isnan(self.data).any(axis=0))
        weights, locs, covariances = cast(MultivariateMixture, self.fitted)
        fitted = MultivariateMixture(weights, locs[:, kept], covariances[:, kept][:, :, kept])
        info = {**self.data_info, "columns": [self.columns[column] for column in kept.tolist()]}
        return self._replace(data=self.data[:, kept], fitted=fitted, data_info=info)

    @property
    def log_noise(self) -> float | None:
        """Log density of the noise; None without noise."""
        return None if self.noise is None else self.noise.log_density

    @property
    def responsibilities(self) -> Float[np.ndarray, "K n"]:
        """Of each component for each observation; those of the noise last, [K + 1, n], if there is noise."""
        return portable.evaluate(*self.fitted, self.data, None if self.noise is None else self.noise.log_joint)[1]

    @property
    def without_noise(self) -> "Record":
        """The same with the components alone, and observations that count as often as they are probably not noise."""
        if self.noise is None:
            return self
        counts = self.responsibilities[:-1].sum(axis=0)
        counts = counts if self.sample_weights is None else self.sample_weights * counts
        components = self.fitted._replace(weights=self.fitted.weights / self.fitted.weights.sum())
        return self._replace(fitted=components, sample_weights=counts, noise=None)

    @property
    def incomplete(self) -> str:
        """How many rows such a plot leaves out, as a clause; empty if it shows all."""
        missing = 0 if self.data.ndim == 1 else int(np.isnan(self.data).any(axis=1).sum())
        return f"{missing:,} of {len(self.data):,} rows have missing cells and are not shown" if missing else ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of several columns, x1, x2 and so on where they have none; empty for one column."""
        if self.data.ndim == 1:
            return ()
        return tuple(self.data_info.get("columns") or (f"x{i + 1}" for i in range(self.data.shape[1])))


def read_checked(folder: Path) -> Record:
    """Read a record and check that its files are unchanged.

    Args:
        folder: of a run that finished or diverged.

    Raises:
        InputError: the run failed, or a file of the record is missing or damaged.
    """
    with contents.damage_reported(folder):
        about = contents.opened(folder)
        status = about["status"]
        if status not in (FINISHED, DIVERGED):
            raise InputError(
                "run",
                expected="a run with numbers to report",
                came=f"{folder} ({status}{': ' + about['error'] if about.get('error') else ''})",
                remedy="Fix the cause and fit again, or choose another run.",
            )
        return read(folder)


def read(folder: Path) -> Record:
    """Read a record without checks.

    Args:
        folder: of a run that finished or diverged.

    Raises:
        OSError: a file is missing.
        ValueError: a file is damaged or incomplete, or belongs to another record.
    """
    columns, parameters = read_columns(folder / artifacts.ASSIGNMENTS), read_json(folder / artifacts.PARAMETERS)
    weights = columns.get("sample_weight")
    restarts, selection, replicates = (
        folder / name for name in (artifacts.RESTARTS, artifacts.SELECTION, artifacts.REPLICATES)
    )
    record = record_of(
        about=read_json(folder / artifacts.RECORD),
        config=contents.read_config(folder),
        data_info=read_json(folder / artifacts.DATA),
        parameters=parameters,
        metrics=read_json(folder / artifacts.METRICS),
        replicates=artifacts.read_mixtures(replicates) if replicates.exists() else None,
        starts=read_json(restarts) if restarts.exists() else {},
        selection=checked(_as_lists(selection), selection) if selection.exists() else None,
        history=artifacts.read_history(folder / artifacts.HISTORY),
        data=data_in(columns),
        sample_weights=None if weights is None else weights.to_numpy().astype(np.float64),
    )
    _check_together(record, parameters)
    return record


def _as_lists(table: Path) -> dict[str, list[Any]]:
    return {name: list(column.to_pylist()) for name, column in read_columns(table).items()}


def _check_together(record: Record, parameters: Mapping[str, Any]) -> None:
    """Refuse files that are each whole, but not of one record."""
    consistency.check_files(record.about["status"], parameters, record.metrics, record.data_info, record.history)
    consistency.check_alike(record.fitted, *(() if record.replicates is None else (record.replicates,)))
    n_data = record.data_info.get("n_data", len(record.data))
    n_columns = {record.data.shape[1:], record.fitted.locs.shape[1:]}
    n_columns |= set() if record.truth is None else {record.truth.locs.shape[1:]}
    if len(n_columns) > 1 or len(record.data) != n_data:
        raise ValueError("its data are not those of its mixture")


def record_of(
    *, data_info: dict[str, Any], parameters: Mapping[str, Any], starts: Mapping[str, Any], **others: Any
) -> Record:
    """A record from the contents of its files.

    Args:
        data_info: the content of `data.json`.
        parameters: the content of `parameters.json`.
        starts: the content of `restarts.json`; empty without it.
        **others: the fields that are not in these.
    """
    truth, level = data_info.get("truth"), parameters.get("level", 0.0)
    of_one_column = "E" if parameters.get("scales_are") == "equal" else "V"
    return Record(
        data_info=data_info,
        restarts=list(starts.get("restarts", [])),
        searched=dict(starts.get("search", {})),
        noise=artifacts.noise_from_json(parameters),
        fitted=artifacts.mixture_from_json(parameters),
        truth=None if truth is None else artifacts.mixture_from_json(truth),
        degenerate=list(parameters.get("degenerate", [])),
        covariance_model=parameters.get("covariance_model", of_one_column),
        factors=_factors_in(parameters),
        learned=dict(parameters.get("learned", {})),
        asymptotic=_errors(parameters, level, ASYMPTOTIC),
        bootstrap=_errors(parameters.get("bootstrap", {}), level, BOOTSTRAP),
        **others,
    )


def _factors_in(parameters: Mapping[str, Any]) -> Factors | None:
    if "loadings" not in parameters:
        return None
    return Factors(*(np.asarray(parameters[name], np.float64) for name in Factors._fields))


def _errors(content: Mapping[str, Any], level: float, method: str) -> Errors | None:
    if "lower" not in content:
        return None
    names = ("standard_errors", "lower", "upper")
    errors, lower, upper = (artifacts.errors_from_json(content[name]) for name in names)
    return Errors(errors, Intervals(lower, upper, level, method))
