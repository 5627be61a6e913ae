"""The interactive plots of a fit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmm_pipeline.analysis import curves
from gmm_pipeline.analysis.agreement import Calibration, Null, Quantiles
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.report.plotting import (
    Chart,
    chart,
    component_color,
    excess_axis,
    line_of,
    log_axis,
    numbers,
    whole_axis,
    with_unit,
)
from gmm_pipeline.report.reading import Run

DASHES = ("solid", "dash", "dot", "dashdot", "longdashdot")
MOST_SITES = 600
BASE_POINTS = 400
SAME_OPTIMUM = 1e-2
OUTCOMES = {
    "reached": ("reached the best", "--c1", "circle"),
    "worse": ("a worse optimum", "--c5", "square"),
    "degenerate": ("degenerate: left out", "--c3", "x"),
    "diverged": ("diverged: no value", "--muted", "x-thin-open"),
}
KINDS = {"free": ("free scales", "--c1", "circle", "solid"), "equal": ("equal scales", "--c5", "square", "dash")}


def density(run: Run) -> Chart:
    """The fitted density and its components over a histogram of the data."""
    bars = curves.histogram(run.data, run.sample_weights)
    fitted, truth = run.fitted, run.truth
    window = float(bars.edges[0]), float(bars.edges[-1])
    points = curves.density_points(window, fitted, truth, base=BASE_POINTS)
    of_components = curves.weighted_densities(fitted, points)
    of_mixture = of_components.sum(axis=0)
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
    chosen = curves.named(fitted.weights, run.degenerate)
    for component in chosen.tolist():
        line = {"color": component_color(component), "dash": DASHES[component % len(DASHES)], "width": 2}
        traces.append(line_of(x, of_components[component], f"component {component}", line))
    rest = curves.rest_name(fitted.weights, chosen)
    if rest:
        others = np.delete(of_components, chosen, axis=0).sum(axis=0)
        traces.append(line_of(x, others, f"{rest}, together", {"color": "--muted", "width": 1}))
    traces.append(line_of(x, of_mixture, "fitted mixture", {"color": "--ink", "width": 2.2}))
    return chart(
        traces,
        x={"title": with_unit(run.data_info["name"], run.unit), "range": [window[0], window[1]]},
        y={"title": {"text": "density"}, "range": [0.0, float(f"{top:.7g}")], "rangemode": "tozero"},
        bargap=0,
    )


def qq(found: Quantiles, unit: str | None, level: float) -> Chart:
    """Quantiles of the data against those of the mixture, with the band."""
    fitted = numbers(found.fitted)
    ends = [found.fitted[0], found.fitted[-1]]
    none = {"width": 0, "color": "rgba(0,0,0,0)"}
    traces = [
        line_of(fitted, found.lower, "lower", none, showlegend=False, hoverinfo="skip", hovertemplate=None),
        line_of(
            fitted,
            found.upper,
            f"{100.0 * level:g} % band, for each quantile",
            none,
            fill="tonexty",
            fillcolor="--band",
            hoverinfo="skip",
            hovertemplate=None,
        ),
        line_of(numbers(ends), ends, "equal", {"color": "--muted", "width": 1}, hoverinfo="skip", hovertemplate=None),
        {
            "type": "scatter",
            "mode": "markers",
            "name": "data",
            "x": fitted,
            "y": numbers(found.data),
            "customdata": numbers(100.0 * found.probabilities),
            "marker": {"color": "--accent", "size": 4.5},
            "hovertemplate": "%{customdata:.3g} %: data %{y:.5g}, mixture %{x:.5g}<extra></extra>",
        },
    ]
    return chart(
        traces,
        x={"title": with_unit("quantiles of the fitted mixture", unit)},
        y={"title": with_unit("quantiles of the data", unit)},
    )


def calibrated(found: Calibration, null: Null | None, kolmogorov: float, level: float) -> Chart:
    """The empirical CDF less the fitted one over the fitted one, with the bands."""
    fitted, above, below = _thinned(found)
    root = math.sqrt(found.total)
    percent = f"{100.0 * level:g} %"
    ends = [0.0, 1.0]
    none = {"width": 0, "color": "rgba(0,0,0,0)"}
    quiet: dict[str, Any] = {"hoverinfo": "skip", "hovertemplate": None}
    traces = [
        line_of(numbers(ends), [-kolmogorov / root] * 2, "lower", none, showlegend=False, **quiet),
        line_of(
            numbers(ends),
            [kolmogorov / root] * 2,
            f"{percent} band (Kolmogorov)",
            none,
            fill="tonexty",
            fillcolor="--band",
            **quiet,
        ),
    ]
    if null is not None:
        line = {"color": "--c5", "dash": "dash", "width": 1.4}
        name = f"{percent} band, mixture fitted"
        for sign in (1.0, -1.0):
            traces.append(
                line_of(numbers(ends), [sign * null.fitted / root] * 2, name, line, showlegend=sign > 0.0, **quiet)
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


def _thinned(found: Calibration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F, F_n − F at it and just below it: of many sites the extremes of each of `MOST_SITES` stretches."""
    above, below = found.after - found.fitted, found.before - found.fitted
    if len(above) <= MOST_SITES:
        return found.fitted, above, below
    edges = np.linspace(0, len(above), MOST_SITES + 1).astype(int)[:-1]
    return found.fitted[edges], np.maximum.reduceat(above, edges), np.minimum.reduceat(below, edges)


def loss(run: Run) -> Chart | None:
    """Loss above its least over the steps; None where there is nothing to draw."""
    excess, best = curves.loss_excess(run.history.losses)
    if best is None or not np.isfinite(excess).any():
        return None
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "loss − least",
        "x": numbers(run.history.steps),
        "y": numbers(excess),
        "line": {"color": "--accent", "width": 2},
        "marker": {"color": "--accent", "size": 4},
        "hovertemplate": "step %{x:,}: %{y:.4g} nats above the least<extra></extra>",
    }
    return chart(
        [trace],
        x={"title": {"text": "optimizer step"}, "rangemode": "tozero"},
        y=log_axis("loss − least / nats", excess),
        showlegend=False,
    )


def restarts(run: Run) -> Chart | None:
    """How far below the best each start ended, best first; None where a sentence says it all."""
    rows = run.restarts
    if len(rows) < 2 or all(one["outcome"] == "reached" for one in rows):
        return None
    values = np.array([math.nan if one["log_posterior"] is None else one["log_posterior"] for one in rows], float)
    sound = np.array([one["outcome"] in ("reached", "worse") for one in rows])
    candidates = values[sound & np.isfinite(values)] if (sound & np.isfinite(values)).any() else values
    finite = candidates[np.isfinite(candidates)]
    best = float(finite.max()) if finite.size else 0.0
    excess = np.maximum(best - values, SAME_OPTIMUM)
    top = 3.0 * float(np.nanmax(excess, initial=1.0))
    names = list(OUTCOMES)
    order = sorted(
        range(len(rows)), key=lambda i: (names.index(rows[i]["outcome"]), np.nan_to_num(excess[i], nan=math.inf))
    )
    traces = []
    for outcome, (name, color, symbol) in OUTCOMES.items():
        places = [place for place, index in enumerate(order, 1) if rows[index]["outcome"] == outcome]
        if not places:
            continue
        here = [order[place - 1] for place in places]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{name}: {len(places)}",
                "x": places,
                "y": numbers(np.nan_to_num(excess[here], nan=top)),
                "customdata": [f"start {i}, {rows[i]['n_steps']:,} steps" for i in here],
                "marker": {"color": color, "symbol": symbol, "size": 9},
                "hovertemplate": "%{customdata}: %{y:.4g} nats below the best<extra></extra>",
            }
        )
    return chart(
        traces,
        x=whole_axis("starts, best first", np.arange(len(rows))),
        y=log_axis("best − log posterior / nats", excess),
    )


BARS = ("degenerate", "diverged", "barred")
"""Columns that say why a candidate could not be chosen; older records lack the last."""


def selection(columns: Mapping[str, Sequence[Any]], criterion: str, name: str, *, larger: bool) -> Chart | None:
    """A criterion's difference to the best candidate over the number of components, a line a kind of scales."""
    if criterion not in columns:
        return None
    values = np.array([math.nan if value is None else value for value in columns[criterion]], float)
    values = -values if larger else values
    barred = [any(columns[name][row] for name in BARS if name in columns) for row in range(len(values))]
    sound = np.isfinite(values) & ~np.array(barred, bool)
    if not sound.any():
        return None
    excess = np.where(sound, values - np.min(values[sound]), np.nan)
    title = f"highest − {name} / nats" if larger else f"{name} − lowest"
    heights, axis = excess_axis(title, excess)
    counts, kinds = np.array(columns["n_components"]), np.array(columns["scales"])
    traces: list[dict[str, Any]] = []
    for kind, (label, color, symbol, dash) in KINDS.items():
        # One component has one scale, whichever kind it counts as: both lines begin there.
        mine = (kinds == kind) | (counts == 1)
        if not (sound & (kinds == kind) & (counts > 1)).any():
            continue
        here = np.flatnonzero(mine & sound)
        here = here[np.argsort(counts[here], kind="stable")]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": label,
                "x": counts[here].tolist(),
                "y": numbers(heights[here]),
                "customdata": numbers(excess[here]),
                "line": {"color": color, "width": 2, "dash": dash},
                "marker": {"color": color, "symbol": symbol, "size": 7},
                "hovertemplate": f"%{{x}} components, {label}: %{{customdata:+,.2f}}<extra></extra>",
            }
        )
    chosen = [i for i, mark in enumerate(columns["chosen"]) if mark]
    if chosen:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "chosen",
                "x": [int(counts[chosen[0]])],
                "y": numbers(heights[chosen[:1]]),
                "marker": {
                    "symbol": "circle-open",
                    "size": 16,
                    "color": "--ink",
                    "line": {"width": 2, "color": "--ink"},
                },
                "hoverinfo": "skip",
            }
        )
    return chart(traces, x=whole_axis("number of components", counts), y=axis)


def finite(mixture: Mixture) -> bool:
    """Whether a mixture has numbers to draw."""
    return all(bool(np.isfinite(values).all()) for values in mixture)
