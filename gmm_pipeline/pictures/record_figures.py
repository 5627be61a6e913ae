"""The pictures of a record, by whether its data have one column or several.

Both have a picture of the fitted density and one of the parameters over the steps, under the same names. Each picture
waits until somebody draws it: on a page of this program, or in axes or a figure of their own.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from gmm_pipeline.analysis import starts
from gmm_pipeline.analysis.candidates import chosen_row
from gmm_pipeline.model.natural import Mixture, MultivariateMixture, is_finite
from gmm_pipeline.pictures import (
    agreement_figures,
    classification_figures,
    drawing,
    estimate_figures,
    figures,
    pairs_figure,
    plane_traces,
    planes,
)
from gmm_pipeline.pictures.pages import Page, Paper
from gmm_pipeline.pictures.selection_figure import draw_selection_table
from gmm_pipeline.records.reading import Record


class Picture(NamedTuple):
    """What draws one picture of a record."""

    draw: Callable[..., Any]
    """Called with `ax` or, if the picture has several axes, `figure`; returns the axes."""
    has_panels: bool

    def on(self, paper: Paper) -> Page:
        """A page with the picture.

        Args:
            paper: of the page.
        """
        return (paper.on_figure if self.has_panels else paper.on_axes)(self.draw)


def pictures_of(run: Record) -> dict[str, Picture]:
    """The pictures that a record has, by name.

    Args:
        run: the record.
    """
    found = _of_columns(run) if isinstance(run.fitted, MultivariateMixture) else _of_numbers(run)
    surest = run.bootstrap or run.asymptotic
    intervals = None if surest is None else surest.intervals
    found["loss"] = _on_axes(figures.draw_loss, run.history)
    found["weights"] = _on_axes(
        estimate_figures.draw_weights, run.fitted, run.truth, noise=run.noise, intervals=intervals, unit=run.unit
    )
    if starts.worth_drawing(run.restarts):
        found["restarts"] = _on_axes(estimate_figures.draw_restarts, run.restarts, run.log_posterior)
    if run.replicates is not None and run.bootstrap and run.asymptotic:
        found["bootstrap"] = _on_figure(
            estimate_figures.draw_bootstrap,
            run.replicates,
            run.fitted,
            run.truth,
            intervals=run.bootstrap.intervals,
            asymptotic=run.asymptotic.intervals,
            columns=run.columns,
            unit=run.unit,
        )
    if run.selection is not None:
        criterion = str(run.config.get("criterion"))
        found["selection"] = _on_axes(draw_selection_table, run.selection, chosen_row(run.selection), criterion)
    return found


def _on_axes(draw: Callable[..., Any], *values: Any, **named: Any) -> Picture:
    return Picture(functools.partial(draw, *values, **named), has_panels=False)


def _on_figure(draw: Callable[..., Any], *values: Any, **named: Any) -> Picture:
    return Picture(functools.partial(draw, *values, **named), has_panels=True)


def _of_numbers(run: Record) -> dict[str, Picture]:
    fitted, truth = cast(Mixture, run.fitted), cast(Mixture | None, run.truth)
    column = drawing.Column(run.data, run.sample_weights, run.data_info["name"], run.unit)
    marks: dict[str, Any] = {"degenerate": run.degenerate, "noise": run.noise}
    found = {
        "fitted_density": _on_axes(figures.draw_density, column, fitted, truth, **marks),
        "parameter_traces": _on_figure(figures.draw_parameter_traces, run.history, truth, unit=run.unit),
    }
    if len(fitted.locs) + (run.noise is not None) > 1 and is_finite(fitted):
        found["classification"] = _on_axes(classification_figures.draw_classification, column, fitted, noise=run.noise)
        found["uncertainty"] = _on_axes(classification_figures.draw_uncertainty, column, fitted, noise=run.noise)
    return found


def _of_columns(run: Record) -> dict[str, Picture]:
    fitted, truth = cast(MultivariateMixture, run.fitted), cast(MultivariateMixture | None, run.truth)
    columns, omitted, each = run.columns, run.incomplete, run.of_complete_columns.without_noise
    found = {"parameter_traces": _on_figure(plane_traces.draw_movements, run.history, truth)}
    run = run.of_complete_rows
    if planes.lost(fitted) or not len(run.data):
        return found
    everything = pairs_figure.Columns(
        run.data, run.sample_weights, fitted, truth, run.responsibilities, columns, run.unit, omitted
    )
    found["fitted_density"] = _on_axes(pairs_figure.draw_columns, everything, degenerate=run.degenerate)
    if len(columns) > 2:
        found["pairs"] = _on_figure(pairs_figure.draw_pairs, everything, degenerate=run.degenerate)
        found["parallel_coordinates"] = _on_axes(pairs_figure.draw_parallel, fitted, columns=columns)
    if len(everything.responsibilities) > 1:
        found["uncertainty"] = _on_axes(pairs_figure.draw_uncertainty, everything)
    level, own = float(run.config["level"]), run.without_noise
    compared = own.data, own.sample_weights, own.fitted, own.responsibilities
    found["mahalanobis"] = _on_figure(agreement_figures.draw_mahalanobis, *compared, level=level, omitted=omitted)
    if each.columns:
        compared = each.data, each.sample_weights, each.fitted
        without = "columns with missing cells are not compared" if omitted else ""
        about = {"columns": each.columns, "level": level, "omitted": without}
        found["marginals"] = _on_axes(agreement_figures.draw_marginals, *compared, **about)
    return found
