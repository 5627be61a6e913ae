"""All pictures of a record, by whether its data have one column or several.

Both have a picture of the fitted density and one of the parameters over the steps, under the same names.
"""

from collections.abc import Sequence
from typing import Any, cast

from matplotlib.figure import Figure

from gmm_pipeline.analysis import starts
from gmm_pipeline.analysis.candidates import chosen_row
from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateMixture
from gmm_pipeline.pictures import agreement_figures, estimate_figures, figures, pairs_figure, plane_traces, planes
from gmm_pipeline.pictures.selection_figure import draw_selection_table
from gmm_pipeline.records.reading import Record


def draw_record(run: Record, replicates: AnyMixture | None, *, size: Sequence[float]) -> dict[str, Figure]:
    """The pictures of a record, by name.

    Args:
        run: the record.
        replicates: of its bootstrap, [B, K]; None if there are none.
        size: width and height of a picture, in inches.
    """
    drawn = _of_columns(run, size) if isinstance(run.fitted, MultivariateMixture) else _of_numbers(run, size)
    surest = run.bootstrap or run.asymptotic
    intervals = None if surest is None else surest.intervals
    common: dict[str, Any] = {"unit": run.unit, "size": size}
    drawn["loss"] = figures.draw_loss(run.history, size=size)
    drawn["weights"] = estimate_figures.draw_weights(run.fitted, run.truth, intervals=intervals, **common)
    if starts.worth_drawing(run.restarts):
        drawn["restarts"] = estimate_figures.draw_restarts(run.restarts, size=size)
    if replicates is not None and run.bootstrap and run.asymptotic:
        drawn["bootstrap"] = estimate_figures.draw_bootstrap(
            replicates,
            run.fitted,
            run.truth,
            intervals=run.bootstrap.intervals,
            asymptotic=run.asymptotic.intervals,
            columns=run.columns,
            **common,
        )
    if run.selection is not None:
        criterion = str(run.config.get("criterion"))
        drawn["selection"] = draw_selection_table(run.selection, chosen_row(run.selection), criterion, size=size)
    return drawn


def _of_numbers(run: Record, size: Sequence[float]) -> dict[str, Figure]:
    fitted, truth = cast(Mixture, run.fitted), cast(Mixture | None, run.truth)
    common: dict[str, Any] = {"unit": run.unit, "size": size}
    density = {"degenerate": run.degenerate, "name": run.data_info["name"], **common}
    return {
        "fitted_density": figures.draw_density(run.data, run.sample_weights, fitted, truth, **density),
        "parameter_traces": figures.draw_parameter_traces(run.history, truth, **common),
    }


def _of_columns(run: Record, size: Sequence[float]) -> dict[str, Figure]:
    fitted, truth = cast(MultivariateMixture, run.fitted), cast(MultivariateMixture | None, run.truth)
    columns, omitted = run.columns, run.incomplete
    drawn = {"parameter_traces": plane_traces.draw_movements(run.history, truth, size=size)}
    run = run.of_complete_rows
    if planes.lost(fitted) or not len(run.data):
        return drawn
    _, responsibilities = portable.evaluate(*fitted, run.data)
    everything = run.data, run.sample_weights, fitted, truth, responsibilities
    marks: dict[str, Any] = {"degenerate": run.degenerate, "omitted": omitted, "size": size}
    if len(columns) == 2:
        labels = planes.labels_of(columns, run.unit)
        drawn["fitted_density"] = planes.draw_plane(*everything, labels=labels, **marks)
    else:
        drawn["fitted_density"] = pairs_figure.draw_projection(*everything, columns=columns, **marks)
        drawn["pairs"] = pairs_figure.draw_pairs(*everything, columns=columns, unit=run.unit, **marks)
        drawn["parallel_coordinates"] = pairs_figure.draw_parallel(fitted, columns=columns, size=size)
    agreement: dict[str, Any] = {
        "columns": columns,
        "level": float(run.config["level"]),
        "omitted": omitted,
        "size": size,
    }
    drawn |= agreement_figures.draw_agreement(run.data, run.sample_weights, fitted, responsibilities, **agreement)
    return drawn
