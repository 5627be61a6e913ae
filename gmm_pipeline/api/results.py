"""What a fit from Python gives: estimates, errors, verdict, pictures, and the mixture at new data."""

import html
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float, Int
from omegaconf import DictConfig

from gmm_pipeline import fitted
from gmm_pipeline.analysis.multivariate_uncertainty import multivariate_intervals
from gmm_pipeline.analysis.rounding import with_error
from gmm_pipeline.analysis.uncertainty import intervals
from gmm_pipeline.api.composing import composed, overrides_of
from gmm_pipeline.api.pictures import Animation, Plots, animation_of
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import AnyErrors, AnyMixture, Mixture, MultivariateMixture
from gmm_pipeline.model.noise import Noise, NoisyMixture, noisy
from gmm_pipeline.records.assignments import Assignments
from gmm_pipeline.records.columns import MARGINALISE
from gmm_pipeline.records.evaluations import Evaluations
from gmm_pipeline.records.files import write_text
from gmm_pipeline.records.reading import Errors, Factors, Record
from gmm_pipeline.stages import report
from gmm_pipeline.stages.goodness import goodness_of_fit
from gmm_pipeline.stages.printing import print_answer, summary
from gmm_pipeline.stages.terminal import printed

if TYPE_CHECKING:
    import pandas as pd
    from arviz import InferenceData
    from xarray import DataTree

ASYMPTOTIC, BOOTSTRAP = METHODS = ("asymptotic", "bootstrap")


class Fit:
    """A fitted mixture, with its errors and how far it can be trusted; components of one column are ordered by loc.

    Those of several columns are ordered by weight. Printed, it reads as the answer of the command line does; in a
    notebook it is a table. One that was just made and one that is loaded from its record are the same.
    """

    def __init__(self, run: Record, assignments: Assignments | Evaluations, folder: Path | None = None):
        """Keep what is known of a fit.

        Args:
            run: its record.
            assignments: of its data.
            folder: of the record; None if it was not written.
        """
        self.record = folder
        """The folder of the record; None if there is none."""
        self._run, self._assignments = run, assignments

    @property
    def config(self) -> dict[str, Any]:
        """All keys with their values."""
        return self._run.config

    @property
    def mixture(self) -> AnyMixture | NoisyMixture:
        """Weights, locs, and scales or covariances, in the data's units; and the noise, if there is any."""
        return noisy(self._run.fitted, self._run.noise)

    @property
    def noise(self) -> Noise | None:
        """The noise component: its weight with its error, and its log density; None without noise."""
        return self._run.noise

    @property
    def weights(self) -> Float[np.ndarray, " K"]:
        """They sum to 1, or to what the noise leaves."""
        return self.mixture.weights

    @property
    def locs(self) -> Float[np.ndarray, " K"] | Float[np.ndarray, "K d"]:
        """Means, in the data's units."""
        return self.mixture.locs

    @property
    def scales(self) -> Float[np.ndarray, " K"] | Float[np.ndarray, "K d"]:
        """Standard deviations, in the data's units."""
        return self.mixture.scales

    @property
    def covariances(self) -> Float[np.ndarray, "K d d"]:
        """Of several columns, in the products of their units.

        Raises:
            AttributeError: the data have one column.
        """
        return cast(MultivariateMixture, self.mixture).covariances

    @property
    def correlations(self) -> Float[np.ndarray, "K d d"]:
        """Of several columns.

        Raises:
            AttributeError: the data have one column.
        """
        return cast(MultivariateMixture, self.mixture).correlations

    @property
    def covariance_model(self) -> str:
        """One of mclust's names, EII to VVV, or factor; E or V of one column."""
        return self._run.covariance_model

    @property
    def loadings(self) -> Float[np.ndarray, "K d q"]:
        """L of `covariance="factor"`, Σ = L Lᵀ + Ψ, in the rotation in which Lᵀ Ψ⁻¹ L is diagonal, its largest first.

        Raises:
            AttributeError: the covariance model is another one.
        """
        return cast(Factors, self._run.factors).loadings

    @property
    def uniquenesses(self) -> Float[np.ndarray, "K d"]:
        """The diagonal of Ψ: the variance of each column that no factor explains.

        Raises:
            AttributeError: the covariance model is another one.
        """
        return cast(Factors, self._run.factors).uniquenesses

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, as far as they have names."""
        data = self._run.data_info
        return tuple(data.get("columns") or [name for name in [data.get("column")] if name is not None])

    @property
    def marginalises(self) -> bool:
        """Whether rows with missing values are fitted, and labelled, by those that they have."""
        return self.config["data"].get("missing") == MARGINALISE

    @property
    def standard_errors(self) -> AnyErrors:
        """Of every parameter: of the bootstrap if there was one, otherwise of the observed information.

        NaN where they are undefined.
        """
        return cast(Errors, self._run.bootstrap or self._run.asymptotic).standard_errors

    def intervals(self, level: float | None = None, *, method: str = ASYMPTOTIC) -> tuple[AnyErrors, AnyErrors]:
        """Lower and upper ends of intervals for each parameter, one at a time.

        Args:
            level: probability with which an interval contains the true value; None for the config's `level`, which is
                also the only one that a bootstrap gives.
            method: `asymptotic`, on the logit scale of weights and the log scale of scales, or `bootstrap`.

        Raises:
            InputError: a value is none of these, or there was no bootstrap.
        """
        own = float(self.config["level"])
        level = own if level is None else level
        if not isinstance(level, float | np.floating) or not 0.0 < level < 1.0:
            raise InputError("level", expected="a number between 0 and 1", came=repr(level), remedy="Use 0.95.")
        if method not in METHODS:
            raise InputError("method", expected=" or ".join(METHODS), came=repr(method), remedy=f"Use {ASYMPTOTIC!r}.")
        if method == BOOTSTRAP:
            found = None if self._run.bootstrap is None else self._run.bootstrap.intervals
            if found is None or level != own:
                came = "none" if found is None else f"level {level:g}, and the bootstrap was made for {own:g}"
                remedy = f"Fit with bootstrap=500, level={level:g}."
                raise InputError("method", expected="a fit with a bootstrap of this level", came=came, remedy=remedy)
            return found.lower, found.upper
        of_fit: Any = self._run.fitted, cast(Errors, self._run.asymptotic).standard_errors, level
        return intervals(*of_fit) if isinstance(self._run.fitted, Mixture) else multivariate_intervals(*of_fit)

    @property
    def metrics(self) -> dict[str, Any]:
        """As a record's `metrics.json` has them: `log_likelihood`, `bic` and `loss` in nats, `hit_rate`, and others."""
        return dict(self._run.metrics)

    @property
    def converged(self) -> bool:
        """Whether the fit stopped by its tolerances."""
        return bool(self._run.metrics["converged"])

    @cached_property
    def verdict(self) -> tuple[str, ...]:
        """How far the answer can be trusted, in clauses; problems come first."""
        return (*self._run.about["verdict"], *goodness_of_fit(self._run))

    @property
    def selection(self) -> "pd.DataFrame | None":
        """The candidates that were compared, one row each; None if there was nothing to choose."""
        if self._run.selection is None:
            return None
        import pandas as pd

        return pd.DataFrame(self._run.selection)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """The most probable component of each datum of the fit; −1 where that is the noise."""
        return self._assignments.labels

    @property
    def responsibilities(self) -> Float[np.ndarray, "n K"]:
        """Probability that each component made each datum of the fit; of the noise last, if there is any."""
        return self._assignments.responsibilities

    @property
    def rows(self) -> Int[np.ndarray, " n"] | None:
        """The row of each datum, from 0, if rows without a value were left out."""
        return self._assignments.rows

    def predict(self, data: Any) -> Int[np.ndarray, " n"]:
        """The most probable component of each new datum; see `gmm_pipeline.labels`.

        Args:
            data: [n], or [n, d] with the columns of the fit; those of a data frame are found by name.

        Raises:
            InputError: they are not finite numbers of these columns.
        """
        return fitted.labels(self, data)

    def log_density(self, data: Any) -> Float[np.ndarray, " n"]:
        """Log density of each new datum, in nats; see `gmm_pipeline.log_density`.

        Args:
            data: [n], or [n, d] with the columns of the fit; those of a data frame are found by name.

        Raises:
            InputError: they are not finite numbers of these columns.
        """
        return fitted.log_density(self, data)

    def sample(self, n: int, *, seed: int) -> Float[np.ndarray, "n ..."]:
        """Independent draws; see `gmm_pipeline.sample`.

        Args:
            n: how many.
            seed: a whole number, 0 or more.

        Raises:
            InputError: either is not a whole number of 0 or more.
        """
        return fitted.sample(self.mixture, n, seed)

    @property
    def plot(self) -> Plots:
        """Pictures: `fit.plot()` of the fitted density, and `fit.plot.selection(ax=ax)` and others by name."""
        return Plots(self._run)

    def animate(self, **settings: Any) -> Animation:
        """The training as a film, which a notebook shows.

        Args:
            **settings: `frames`, `fps`, `hold`, `dpi` and `size` of the key `animation`; those of the config otherwise.

        Raises:
            InputError: a setting cannot be used.
        """
        return animation_of(self._run, settings)

    def report(self, output: str | Path | None = None, **keys: Any) -> Path:
        """Write the page about the fit, one HTML file, and return its path.

        Args:
            output: of the file; None for `report.html` beside the record.
            **keys: of the command `report`, such as `quantiles=200`.

        Raises:
            InputError: the fit has no record, a key cannot be used, or the extra `report` is not installed.
        """
        if self.record is None:
            remedy = "Fit with record=True or record='FOLDER'."
            raise InputError("report", expected="a fit with a record", came="one without", remedy=remedy)
        named = {} if output is None else {"output": str(output)}
        cfg = DictConfig(composed(overrides_of({"run": str(self.record), **named, **keys}), command="report"))
        report.check(cfg)
        file = report.output_of(cfg, self.record)
        write_text(file, report.page_of_run(cfg, self.record))
        return file

    def to_arviz(self) -> "DataTree | InferenceData":
        """The bootstrap replicates for ArviZ: a DataTree, or an InferenceData before ArviZ 1.

        Its group `bootstrap` has what `standard_errors` has, with the dimensions `component` and `data_column`.
        Replicates without a sound fit are left out, as they are from the errors; `draw` is the number of a replicate.
        The group `observed_data` has the data.

        Raises:
            InputError: there was no bootstrap, no replicate has a sound fit, or the extra `arviz` is not installed.
        """
        from gmm_pipeline.api.exporting import replicates_of

        return replicates_of(self._run, self.rows)

    def __repr__(self) -> str:
        return printed(partial(print_answer, self._run))

    def _repr_html_(self) -> str:
        """Parameters with their errors, the verdict and BIC, for a notebook."""
        unit = f" [{self._run.unit}]" if self._run.unit else ""
        heads, rows = self._table(unit)
        head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        said = "".join(f"<li>{html.escape(clause)}</li>" for clause in self.verdict)
        return (
            f"<p>{html.escape(summary(self._run))}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><ul>{said}</ul>"
        )

    def _table(self, unit: str) -> tuple[list[str], list[list[str]]]:
        errors: Any = self.standard_errors
        several = self.locs.ndim > 1
        names = list(self.columns) if several else [""]
        heads = ["component", "weight"]
        for name in names:
            heads += [f"loc {name}{unit}", f"sd {name}{unit}"] if several else [f"loc{unit}", f"scale{unit}"]
        locs, scales = self.locs.reshape(len(self.weights), -1), self.scales.reshape(len(self.weights), -1)
        of_locs, of_scales = (np.reshape(values, locs.shape) for values in (errors.locs, errors.scales))
        rows = []
        for k, weight in enumerate(self.weights):
            row = [str(k), _cell(weight, errors.weights[k], weight)]
            for j in range(locs.shape[1]):
                row.append(_cell(locs[k, j], of_locs[k, j], scales[k, j]))
                row.append(_cell(scales[k, j], of_scales[k, j], scales[k, j]))
            rows.append(row)
        if self.noise is not None:
            of_noise = _cell(self.noise.weight, self.noise.standard_error, self.noise.weight)
            rows.append(["noise", of_noise, *[""] * (len(heads) - 2)])
        return heads, rows


def _cell(value: float, error: float, size: float) -> str:
    shown, uncertain, _ = with_error(value, error, size)
    return f"{shown} ± {uncertain}" if uncertain else shown
