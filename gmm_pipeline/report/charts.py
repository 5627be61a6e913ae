"""The interactive plots of a fit."""

import math
from typing import Any, cast

import numpy as np

from gmm_pipeline.analysis import curves, starts
from gmm_pipeline.analysis.agreement import Calibration, Quantiles
from gmm_pipeline.analysis.deviations import Null
from gmm_pipeline.model.natural import AnyMixture, Mixture
from gmm_pipeline.model.vocabulary import DEGENERATE, DIVERGED, ENDED, REACHED, SAME_OPTIMUM, WORSE
from gmm_pipeline.records.reading import Record
from gmm_pipeline.report.plotting import (
    Chart,
    chart,
    component_color,
    line_of,
    log_axis,
    numbers,
    trace,
    whole_axis,
    with_unit,
)

DASHES = ("solid", "dash", "dot", "dashdot", "longdashdot")
MOST_SITES = 600
BASE_POINTS = 400
OUTCOMES = {
    REACHED: ("--c1", "circle"),
    WORSE: ("--c5", "square"),
    DEGENERATE: ("--c3", "x"),
    DIVERGED: ("--muted", "x-thin-open"),
}
NOTHING = {"width": 0, "color": "rgba(0,0,0,0)"}
QUIET: dict[str, Any] = {"hoverinfo": "skip", "hovertemplate": None}


def density(run: Record) -> Chart:
    """The fitted density and its components over a histogram of the data."""
    bars = curves.histogram(run.data, run.sample_weights)
    fitted, truth = cast(Mixture, run.fitted), cast(Mixture | None, run.truth)
    window = curves.window_of(bars)
    points = curves.density_points(window, fitted, truth, base=BASE_POINTS)
    of_components = curves.weighted_densities(fitted, points)
    ends = curves.ends_of(run.data, run.sample_weights)
    inside = curves.within(points, ends)
    of_mixture = curves.mixture_density(of_components, fitted.weights, run.log_noise, inside)
    top, _ = curves.density_top(bars, of_mixture)
    x = numbers(points)
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": "data",
            "x": numbers(0.5 * (bars.edges[1:] + bars.edges[:-1])),
            "y": numbers(bars.densities),
            "width": numbers(np.diff(bars.edges)),
            "marker": {"color": "--bars", "line": {"color": "--bars-edge", "width": 0.5}},
            "hovertemplate": "data: %{y:.4g}<extra></extra>",
        }
    ]
    if truth is not None:
        of_truth = curves.weighted_densities(truth, points).sum(axis=0)
        line = {"color": "--truth", "width": 6}
        traces.append(line_of(x, of_truth, "true mixture", line))
    # Components lie above the mixture, which would hide those that are far from the others.
    traces.append(line_of(x, of_mixture, "fitted mixture", {"color": "--ink", "width": 3.2}))
    chosen, unnamed, rest = curves.named(fitted.weights, run.degenerate)
    for component in chosen.tolist():
        line = {"color": component_color(component), "dash": DASHES[component % len(DASHES)], "width": 1.8}
        traces.append(line_of(x, of_components[component], f"component {component}", line))
    if rest:
        others = of_components[unnamed].sum(axis=0)
        traces.append(line_of(x, others, f"{rest}, together", {"color": "--muted", "width": 1}))
    if run.noise is not None:
        height = np.full(2, math.exp(run.noise.log_joint))
        traces.append(line_of(numbers(np.array(ends)), height, "noise", {"color": "--muted", "width": 1}))
    return chart(
        traces,
        x={"title": with_unit(run.data_info["name"], run.unit), "range": [window[0], window[1]]},
        y={"title": {"text": "density"}, "range": [0.0, float(f"{top:.7g}")], "rangemode": "tozero"},
        bargap=0,
    )


def qq(quantiles: Quantiles, unit: str | None, level: float) -> Chart:
    """Quantiles of the data against those of the mixture, with the band.

    Args:
        quantiles: quantiles of data and mixture with their bands, in the data's unit.
        unit: of the data; None for none.
        level: of the bands.
    """
    fitted = numbers(quantiles.fitted)
    ends = [quantiles.fitted[0], quantiles.fitted[-1]]
    traces = [
        *band(fitted, quantiles.lower, quantiles.upper, f"{100.0 * level:g} % band, for each quantile"),
        line_of(numbers(ends), ends, "equal", {"color": "--muted", "width": 1}, **QUIET),
        trace(
            "markers",
            "data",
            fitted,
            quantiles.data,
            customdata=numbers(100.0 * quantiles.probabilities),
            marker={"color": "--accent", "size": 4.5},
            hovertemplate="%{customdata:.3g} %: data %{y:.5g}, mixture %{x:.5g}<extra></extra>",
        ),
    ]
    return chart(
        traces,
        x={"title": with_unit("quantiles of the fitted mixture", unit)},
        y={"title": with_unit("quantiles of the data", unit)},
    )


def calibrated(calibration: Calibration, null: Null | None, kolmogorov: float, level: float) -> Chart:
    """The empirical CDF less the fitted one over the fitted one, with the bands.

    Args:
        calibration: the empirical and the fitted CDF at the sites of the data.
        null: distribution of the deviation for a fitted mixture; None draws no band for it.
        kolmogorov: half-width of Kolmogorov's band, times √n.
        level: of the bands.
    """
    fitted, above, below = _thinned(calibration)
    root = math.sqrt(calibration.total)
    percent = f"{100.0 * level:g} %"
    ends = [0.0, 1.0]
    half = kolmogorov / root
    traces = band(numbers(ends), [-half] * 2, [half] * 2, f"{percent} band (Kolmogorov)")
    if null is not None:
        line = {"color": "--c5", "dash": "dash", "width": 1.4}
        name = f"{percent} band, mixture fitted"
        for sign in (1.0, -1.0):
            traces.append(
                line_of(numbers(ends), [sign * null.fitted / root] * 2, name, line, showlegend=sign > 0.0, **QUIET)
            )
    steps = np.stack([below, above], axis=1).ravel()
    traces.append(
        line_of(
            numbers(np.repeat(fitted, 2)),
            steps,
            "empirical − fitted CDF",
            {"color": "--accent", "width": 1.6},
            hovertemplate="F = %{x:.3f}: %{y:+.4f}<extra></extra>",
        )
    )
    return chart(
        traces,
        x={"title": {"text": "fitted CDF of the data, F(x)"}, "range": [0.0, 1.0]},
        y={"title": {"text": "empirical CDF − F(x)"}, "zeroline": True, "zerolinecolor": "--muted"},
    )


def band(x: list[float | None], lower: Any, upper: Any, name: str) -> list[dict[str, Any]]:
    """The area between two lines.

    Args:
        x: of their points.
        lower: of the lower line.
        upper: of the upper line.
        name: of the area, for the legend.
    """
    return [
        line_of(x, lower, "lower", NOTHING, showlegend=False, **QUIET),
        line_of(x, upper, name, NOTHING, fill="tonexty", fillcolor="--band", **QUIET),
    ]


def _thinned(calibration: Calibration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F, F_n − F at it and just below it: of many sites the extremes of each of `MOST_SITES` stretches."""
    above, below = calibration.after - calibration.fitted, calibration.before - calibration.fitted
    if len(above) <= MOST_SITES:
        return calibration.fitted, above, below
    edges = np.linspace(0, len(above), MOST_SITES + 1).astype(int)[:-1]
    return calibration.fitted[edges], np.maximum.reduceat(above, edges), np.minimum.reduceat(below, edges)


def loss(run: Record) -> Chart | None:
    """Loss above its least over the steps; None where there is nothing to draw."""
    excess, best = curves.loss_excess(run.history.losses)
    if best is None or not np.isfinite(excess).any():
        return None
    losses = trace(
        "lines+markers",
        "loss − least",
        numbers(run.history.steps),
        excess,
        line={"color": "--accent", "width": 2},
        marker={"color": "--accent", "size": 4},
        hovertemplate="step %{x:,}: %{y:.4g} nats above the least<extra></extra>",
    )
    return chart(
        [losses],
        x={"title": {"text": "optimizer step"}, "rangemode": "tozero"},
        y=log_axis("loss − least / nats", excess),
        showlegend=False,
    )


def restarts(run: Record) -> Chart | None:
    """How far below the answer each start ended, best first; None if a sentence is enough."""
    rows = run.restarts
    if not starts.worth_drawing(rows):
        return None
    compared = starts.compared(rows, run.log_posterior)
    traces = []
    for outcome, (color, symbol) in OUTCOMES.items():
        places = [place for place, index in enumerate(compared.order, 1) if rows[index]["outcome"] == outcome]
        if not places:
            continue
        here = [compared.order[place - 1] for place in places]
        traces.append(
            trace(
                "markers",
                f"{ENDED[outcome]}: {len(places)}",
                places,
                np.nan_to_num(compared.excess[here], nan=compared.top),
                customdata=[f"start {i}, {rows[i]['n_steps']:,} steps" for i in here],
                marker={"color": color, "symbol": symbol, "size": 9},
                hovertemplate="%{customdata}: %{y:.4g} nats below the answer<extra></extra>",
            )
        )
    limits = [math.log10(0.7 * SAME_OPTIMUM), math.log10(1.4 * compared.top)]
    return chart(
        traces,
        x=whole_axis("starts, best first", np.arange(len(rows))),
        y={**log_axis("below the answer / nats", [SAME_OPTIMUM, *compared.excess]), "range": limits},
    )


def finite(mixture: AnyMixture) -> bool:
    """Whether a mixture has numbers to draw."""
    return all(bool(np.isfinite(values).all()) for values in mixture)
