"""Which component each datum of one column belongs to, and how sure that is.

Pictures of several columns show the same in `planes.py`.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from gmm_pipeline.analysis import classes, curves
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.model.noise import LABEL, Noise
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


def draw_classification(column: drawing.Column, fitted: Mixture, *, noise: Noise | None = None, ax: Axes) -> Axes:
    """The histogram in the colours of the most probable components, under their densities, with the borders between.

    Args:
        column: the data.
        fitted: the mixture, its components in their order.
        noise: None without noise.
        ax: where to draw.
    """
    bars = curves.histogram(column.data, column.sample_weights)
    drawing.draw_bars(ax, bars, name=column.name, unit=column.unit)
    points = curves.density_points(ax.get_xlim(), fitted, base=400)
    parts = curves.weighted_densities(fitted, points)
    base = np.zeros(len(bars.densities))
    for number, heights in enumerate(classes.stacked(column.data, column.sample_weights, fitted, bars, noise)):
        component = number if number < len(fitted.locs) else LABEL
        look: dict[str, Any] = {"fill": True, "alpha": 0.5, "linewidth": 0.0, "zorder": 0.6}
        ax.stairs(base + heights, bars.edges, baseline=base, color=_color(component, fitted), **look)
        base = base + heights
    drawing.draw_components(ax, points, parts, fitted.weights)
    drawing.draw_noise(ax, noise, curves.ends_of(column.data, column.sample_weights))
    for number, border in enumerate(classes.borders(fitted, curves.window_of(bars), noise)):
        ax.axvline(border, label=None if number else "border", **BORDER)
    ax.set_ylim(0.0, curves.density_top(bars, *parts)[0])
    handles, labels = ax.get_legend_handles_labels()
    pages.put_legend(ax, [handle for handle, label in zip(handles, labels, strict=True) if label != "data"])
    meaning = "bars: observations in the colour of their most probable component"
    pages.note(ax, [meaning, drawing.outside(bars.share_outside)])
    return ax


def draw_uncertainty(column: drawing.Column, fitted: Mixture, *, noise: Noise | None = None, ax: Axes) -> Axes:
    """The probability that the most probable component is the wrong one, 1 − max r(x), with the data on the curve.

    Args:
        column: the data.
        fitted: the mixture, its components in their order.
        noise: None without noise.
        ax: where to draw.
    """
    bars = curves.histogram(column.data, column.sample_weights)
    window = curves.window_of(bars)
    points = curves.density_points(window, fitted, base=400)
    curve = classes.uncertainty(fitted, points, noise)[1]
    highest = max(float(curve.max()), LEAST_TOP)
    ax.plot(points, curve, **CURVE)
    values = _shown(column)
    labels, doubts = classes.uncertainty(fitted, values, noise)
    named = curves.named(fitted.weights).chosen
    for component in [*range(len(fitted.locs)), LABEL]:
        here = labels == component
        if here.any():
            label = "noise" if component == LABEL else f"component {component}" if component in named else None
            ax.plot(values[here], doubts[here], color=_color(component, fitted), label=label, **DOTS)
    ax.set_xlim(*window)
    ax.set_ylim(-0.04 * highest, 1.06 * highest)
    ax.set_xlabel(drawing.with_unit(column.name, column.unit), parse_math=False)
    ax.set_ylabel("uncertainty,\n1 − max responsibility")
    pages.put_legend(ax, title="most probable", markerscale=1.6)
    pages.note(ax, [drawing.outside(bars.share_outside)])
    return ax


def _color(component: int, fitted: Mixture) -> str:
    if component == LABEL:
        return drawing.NOISE["color"]
    named = component in curves.named(fitted.weights).chosen
    return drawing.component_style(component)["color"] if named else drawing.REST["color"]


def _shown(column: drawing.Column) -> Float[np.ndarray, " s"]:
    """Values that count, each once and at most `MOST_POINTS`, the smallest and the largest among them."""
    values = np.unique(column.data if column.sample_weights is None else column.data[column.sample_weights > 0.0])
    chosen = np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS)).round().astype(int)
    return values[chosen].astype(np.float64)
