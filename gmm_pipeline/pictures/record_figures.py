"""All pictures of a record, by whether its data have one column or several.

Both have a picture of the fitted density and one of the parameters over the steps, under the same names.
"""

from typing import Any, cast

from gmm_pipeline.analysis import starts
from gmm_pipeline.analysis.candidates import chosen_row
from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateMixture, is_finite
from gmm_pipeline.pictures import (
    agreement_figures,
    classification_figures,
    estimate_figures,
    figures,
    pairs_figure,
    plane_traces,
    planes,
)
from gmm_pipeline.pictures.pages import Page, Paper
from gmm_pipeline.pictures.selection_figure import draw_selection_table
from gmm_pipeline.records.reading import Record


def draw_record(run: Record, replicates: AnyMixture | None, *, paper: Paper) -> dict[str, Page]:
    """The pictures of a record, by name.

    Args:
        run: the record.
        replicates: of its bootstrap, [B, K]; None if there are none.
        paper: of the pages.
    """
    drawn = _of_columns(run, paper) if isinstance(run.fitted, MultivariateMixture) else _of_numbers(run, paper)
    surest = run.bootstrap or run.asymptotic
    intervals = None if surest is None else surest.intervals
    drawn["loss"] = paper.on_axes(figures.draw_loss, run.history)
    drawn["weights"] = paper.on_axes(
        estimate_figures.draw_weights, run.fitted, run.truth, intervals=intervals, unit=run.unit
    )
    if starts.worth_drawing(run.restarts):
        drawn["restarts"] = paper.on_axes(estimate_figures.draw_restarts, run.restarts)
    if replicates is not None and run.bootstrap and run.asymptotic:
        drawn["bootstrap"] = paper.on_figure(
            estimate_figures.draw_bootstrap,
            replicates,
            run.fitted,
            run.truth,
            intervals=run.bootstrap.intervals,
            asymptotic=run.asymptotic.intervals,
            columns=run.columns,
            unit=run.unit,
        )
    if run.selection is not None:
        criterion = str(run.config.get("criterion"))
        drawn["selection"] = paper.on_axes(draw_selection_table, run.selection, chosen_row(run.selection), criterion)
    return drawn


def _of_numbers(run: Record, paper: Paper) -> dict[str, Page]:
    fitted, truth = cast(Mixture, run.fitted), cast(Mixture | None, run.truth)
    seen, labels = (run.data, run.sample_weights, fitted), {"name": run.data_info["name"], "unit": run.unit}
    drawn = {
        "fitted_density": paper.on_axes(figures.draw_density, *seen, truth, degenerate=run.degenerate, **labels),
        "parameter_traces": paper.on_figure(figures.draw_parameter_traces, run.history, truth, unit=run.unit),
    }
    if len(fitted.locs) > 1 and is_finite(fitted):
        drawn["classification"] = paper.on_axes(classification_figures.draw_classification, *seen, **labels)
        drawn["uncertainty"] = paper.on_axes(classification_figures.draw_uncertainty, *seen, **labels)
    return drawn


def _of_columns(run: Record, paper: Paper) -> dict[str, Page]:
    fitted, truth = cast(MultivariateMixture, run.fitted), cast(MultivariateMixture | None, run.truth)
    columns, omitted = run.columns, run.incomplete
    drawn = {"parameter_traces": paper.on_figure(plane_traces.draw_movements, run.history, truth)}
    run = run.of_complete_rows
    if planes.lost(fitted) or not len(run.data):
        return drawn
    _, responsibilities = portable.evaluate(*fitted, run.data)
    everything = run.data, run.sample_weights, fitted, truth, responsibilities
    named: dict[str, Any] = {"columns": columns, "unit": run.unit, "degenerate": run.degenerate, "omitted": omitted}
    drawn["fitted_density"] = paper.on_axes(pairs_figure.draw_columns, *everything, **named)
    if len(columns) > 2:
        drawn["pairs"] = paper.on_figure(pairs_figure.draw_pairs, *everything, **named)
        drawn["parallel_coordinates"] = paper.on_axes(pairs_figure.draw_parallel, fitted, columns=columns)
    if len(fitted.locs) > 1:
        seen = run.data, run.sample_weights, fitted, responsibilities
        labels = {"columns": columns, "unit": run.unit, "omitted": omitted}
        drawn["uncertainty"] = paper.on_axes(pairs_figure.draw_uncertainty, *seen, **labels)
    agreement: dict[str, Any] = {
        "columns": columns,
        "level": float(run.config["level"]),
        "omitted": omitted,
        "paper": paper,
    }
    drawn |= agreement_figures.draw_agreement(run.data, run.sample_weights, fitted, responsibilities, **agreement)
    return drawn
