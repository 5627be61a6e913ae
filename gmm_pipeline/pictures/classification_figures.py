"""Which component each datum of one column belongs to, and how sure that is.

Pictures of several columns show the same in `planes.py`.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Real
from matplotlib.axes import Axes

from gmm_pipeline.analysis import classes, curves
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.pictures import drawing, pages

MOST_POINTS = 2000
"""Values that are drawn one by one; of more, an evenly spaced part of the sorted ones."""
BORDER: dict[str, Any] = {"color": "0.35", "linewidth": 0.8, "linestyle": (0, (1.2, 1.2)), "zorder": 1}
DOTS: dict[str, Any] = {
    "marker": "o",
    "markersize": 3.2,
    "linestyle": "",
    "markeredgewidth": 0.0,
    "alpha": 0.75,
    "rasterized": True,
    "zorder": 2,
}
LEAST_TOP = 0.01
"""Where the axis ends if all is certain."""
CURVE: dict[str, Any] = {"color": "0.35", "linewidth": 1.0, "zorder": 1}


def draw_classification(
    data: Real[np.ndarray, " n"],
    sample_weights: Real[np.ndarray, " n"] | None,
    fitted: Mixture,
    *,
    name: str,
    unit: str | None,
    ax: Axes,
) -> Axes:
    """The histogram in the colours of the most probable components, under their densities, with the borders between.

    Args:
        data: x, in `unit`.
        sample_weights: how often each datum counts; None for once each.
        fitted: the mixture, its components in their order.
        name: what the data are, for the axis.
        unit: unit of the data, or None for none.
        ax: where to draw.
    """
    bars = curves.histogram(data, sample_weights)
    drawing.draw_bars(ax, bars, name=name, unit=unit)
    points = curves.density_points(ax.get_xlim(), fitted, base=400)
    parts = curves.weighted_densities(fitted, points)
    stacked = classes.stacked(data, sample_weights, fitted, bars)
    named, base = curves.named(fitted.weights), np.zeros(len(bars.densities))
    for component, heights in enumerate(stacked):
        color = drawing.component_style(component)["color"] if component in named.chosen else drawing.REST["color"]
        look: dict[str, Any] = {"fill": True, "color": color, "alpha": 0.5, "linewidth": 0.0, "zorder": 0.6}
        ax.stairs(base + heights, bars.edges, baseline=base, **look)
        base = base + heights
    drawing.draw_components(ax, points, parts, fitted.weights)
    borders = classes.borders(fitted, curves.window_of(bars))
    for number, border in enumerate(borders):
        ax.axvline(border, label=None if number else "border", **BORDER)
    ax.set_ylim(0.0, curves.density_top(bars, *parts)[0])
    handles, labels = ax.get_legend_handles_labels()
    pages.put_legend(ax, [handle for handle, label in zip(handles, labels, strict=True) if label != "data"])
    meaning = "bars: observations in the colour of their most probable component"
    pages.note(ax, [meaning, drawing.outside(bars.share_outside)])
    return ax


def draw_uncertainty(
    data: Real[np.ndarray, " n"],
    sample_weights: Real[np.ndarray, " n"] | None,
    fitted: Mixture,
    *,
    name: str,
    unit: str | None,
    ax: Axes,
) -> Axes:
    """The probability that the most probable component is the wrong one, 1 − max r(x), with the data on the curve.

    Args:
        data: x, in `unit`.
        sample_weights: how often each datum counts; None for once each.
        fitted: the mixture, its components in their order.
        name: what the data are, for the axis.
        unit: unit of the data, or None for none.
        ax: where to draw.
    """
    bars = curves.histogram(data, sample_weights)
    window = curves.window_of(bars)
    points = curves.density_points(window, fitted, base=400)
    curve = classes.uncertainty(fitted, points)[1]
    highest = max(float(curve.max()), LEAST_TOP)
    ax.plot(points, curve, **CURVE)
    values = _shown(data, sample_weights)
    labels, doubts = classes.uncertainty(fitted, values)
    named = curves.named(fitted.weights)
    for component in np.unique(labels).tolist():
        here, is_named = labels == component, component in named.chosen
        color = drawing.component_style(component)["color"] if is_named else drawing.REST["color"]
        label = f"component {component}" if is_named else None
        ax.plot(values[here], doubts[here], color=color, label=label, **DOTS)
    ax.set_xlim(*window)
    ax.set_ylim(-0.04 * highest, 1.06 * highest)
    ax.set_xlabel(drawing.with_unit(name, unit), parse_math=False)
    ax.set_ylabel("uncertainty,\n1 − max responsibility")
    pages.put_legend(ax, title="most probable", markerscale=1.6)
    pages.note(ax, [drawing.outside(bars.share_outside)])
    return ax


def _shown(data: Real[np.ndarray, " n"], sample_weights: Real[np.ndarray, " n"] | None) -> Float[np.ndarray, " s"]:
    """Values that count, each once and at most `MOST_POINTS`, the smallest and the largest among them."""
    values = np.unique(data if sample_weights is None else data[np.asarray(sample_weights) > 0.0])
    chosen = np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS)).round().astype(int)
    return values[chosen].astype(np.float64)
