"""Two columns or directions of a mixture: observations, ellipses and lines of equal density on one pair of axes.

An observation has the colour and the shape of its most probable component, and is the larger the less certain that is.
Many observations would hide each other and are counted in hexagons instead. An ellipse has the line style of its
component in all other pictures. Observations are drawn as pixels inside a vector picture, as in pictures of sweeps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gmm_pipeline.analysis import curves, planes, projections
from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.noise import LABEL
from gmm_pipeline.pictures import drawing, pages

MOST_POINTS = 5000
"""Observations that are drawn one by one."""
MARKERS = ("o", "s", "^", "D", "v", "P")
"""One for each component, if these are enough."""
NOISE: dict[str, Any] = {"color": "0.35", "marker": "."}
RADII = (1.0, 2.0)
"""Of the ellipses, in standard deviations."""
WIDTHS = {1.0: 1.8, 2.0: 1.1}
ENCLOSED = (0.5, 0.75, 0.95)
"""Shares of the data within the lines of equal density."""
CONTOURS: dict[str, Any] = {"colors": "0.25", "linewidths": 0.55, "zorder": 2.5}
TRUE: dict[str, Any] = {"color": "0.72", "linewidth": 4.0}
HALO: dict[str, Any] = {"color": "white", "zorder": 3.0}
EDGE = 1.4
"""How much wider the white line under a line is."""
SHADES = LinearSegmentedColormap.from_list("shades", ["0.93", "0.45"])
HEXAGONS = 55
AREA, UNCERTAIN_AREA = 12.0, 45.0
"""Area of an observation that is certain, and what is added to it for the most uncertain one, in points²."""
FEW = 400
"""Beyond so many observations they are drawn smaller."""


class Plane(NamedTuple):
    """Two columns or directions of data and of the mixture that was fitted to them, as pictures show them."""

    data: Float[np.ndarray, "n 2"]
    sample_weights: Float[np.ndarray, " n"] | None
    """How often each datum counts; None for once each."""
    fitted: MultivariateMixture
    """The mixture of the two."""
    truth: MultivariateMixture | None
    """The mixture that made the data, of the two; None if it is not known."""
    responsibilities: Float[np.ndarray, "K n"]
    """Of the components of the whole mixture for each datum, and of the noise last, if there is any."""
    labels: Sequence[str]
    """Of both axes."""
    explained: str = ""
    """What the axes are, for a legend; empty for columns."""
    omitted: str = ""
    """Which observations are not shown; empty if all are."""


def draw_data(
    axes: Axes,
    data: Float[np.ndarray, "n 2"],
    responsibilities: Float[np.ndarray, "K n"],
    sample_weights: Float[np.ndarray, " n"] | None,
    *,
    n_components: int,
    share_of_size: float = 1.0,
) -> None:
    """Observations by component and certainty, or hexagons that are the darker the more of them they hold.

    Args:
        axes: with its limits set.
        data: of two columns or directions.
        responsibilities: of the components for each, and of the noise last, if there is any.
        sample_weights: how often each datum counts; None for once each.
        n_components: how many there are, without the noise.
        share_of_size: of the usual area of an observation.
    """
    if len(data) > MOST_POINTS:
        draw_hexagons(axes, data, sample_weights)
        return
    labels, uncertainty = portable.labels_of(responsibilities, n_components), 1.0 - responsibilities.max(axis=0)
    # No observation is less certain than one that all components claim alike.
    doubt = uncertainty / (1.0 - 1.0 / max(len(responsibilities), 2))
    areas = share_of_size * min(1.0, (FEW / len(data)) ** 0.5) * (AREA + UNCERTAIN_AREA * doubt)
    counted = np.ones(len(data), bool) if sample_weights is None else sample_weights > 0.0
    for component in np.unique(labels).tolist():
        here = counted & (labels == component)
        look = {"linewidths": 0.25, "edgecolors": "white", "alpha": 0.75, "rasterized": True, "zorder": 2}
        own = NOISE if component == LABEL else dot(component, n_components)
        axes.scatter(*data[here].T, s=areas[here], **look, **own)


def draw_hexagons(axes: Axes, data: Float[np.ndarray, "n 2"], sample_weights: Float[np.ndarray, " n"] | None) -> None:
    """Hexagons that are the darker the more observations they hold, on a logarithmic scale.

    Args:
        axes: with its limits set.
        data: of two columns or directions.
        sample_weights: how often each datum counts; None for once each.
    """
    extent = (*axes.get_xlim(), *axes.get_ylim())
    weights = np.ones(len(data)) if sample_weights is None else np.asarray(sample_weights, np.float64)
    inside = (data >= [extent[0], extent[2]]) & (data <= [extent[1], extent[3]])
    shown = inside.all(axis=1) & (weights > 0.0)
    look = {"cmap": SHADES, "norm": LogNorm(), "linewidths": 0.5, "rasterized": True, "zorder": 1}
    axes.hexbin(*data[shown].T, C=weights[shown], reduce_C_function=np.sum, gridsize=HEXAGONS, extent=extent, **look)


def dot(component: int, n_components: int) -> dict[str, Any]:
    """Colour and shape of the observations of a component; with many components all are circles.

    Args:
        component: counted from 0.
        n_components: how many there are.
    """
    marker = MARKERS[component] if n_components <= len(MARKERS) else "o"
    return {"color": drawing.component_style(component)["color"], "marker": marker}


def draw_ellipses(
    axes: Axes,
    mixture: MultivariateMixture,
    *,
    degenerate: Sequence[int] = (),
    named: curves.Named | None = None,
    halo: bool = False,
    width: float = 1.0,
) -> None:
    """The ellipses of each component at one and two standard deviations, and a cross on the degenerate ones.

    Args:
        axes: where to draw.
        mixture: of two columns or directions; components that are not finite are left out.
        degenerate: components that are marked.
        named: components that have a style of their own; None for the heavy ones.
        halo: whether a white line under each sets it off from the data.
        width: of the lines, as a share of the usual one.
    """
    used = projections.drawable(mixture)
    named = curves.named(mixture.weights, degenerate) if named is None else named
    for component in [*named.others.tolist(), *named.chosen.tolist()]:
        if not used[component]:
            continue
        look = drawing.component_style(component) if component in named.chosen else drawing.REST
        for radius in RADII:
            points = planes.outline(mixture.locs[component], mixture.covariances[component], radius).T
            line = {**look, "linewidth": width * (WIDTHS[radius] if component in named.chosen else 0.7)}
            if halo:
                axes.plot(*points, linewidth=line["linewidth"] + width * EDGE, **HALO)
            axes.plot(*points, zorder=4.0, **line)
        if component in degenerate:
            cross = {"marker": "X", "markersize": 7, "markeredgecolor": "black", "markeredgewidth": 0.6, "zorder": 6}
            axes.plot(*mixture.locs[component], color=look["color"], linestyle="", **cross)


def draw_truth(axes: Axes, truth: MultivariateMixture, *, halo: bool = False) -> None:
    """The ellipses of the true components at two standard deviations, wide and pale.

    Args:
        axes: where to draw.
        truth: of two columns or directions.
        halo: whether a white line under each sets it off from the data.
    """
    for component in np.flatnonzero(projections.drawable(truth)).tolist():
        points = planes.outline(truth.locs[component], truth.covariances[component], RADII[-1]).T
        if halo:
            axes.plot(*points, linewidth=TRUE["linewidth"] + EDGE, **{**HALO, "zorder": 1.4})
        axes.plot(*points, zorder=1.5, **TRUE)


def draw_contours(
    axes: Axes,
    mixture: MultivariateMixture,
    data: Float[np.ndarray, "n 2"],
    sample_weights: Float[np.ndarray, " n"] | None,
    window: planes.Window,
) -> None:
    """Lines of equal density of the mixture that enclose some shares of the data.

    Args:
        axes: where to draw.
        mixture: of two columns or directions.
        data: of the same.
        sample_weights: how often each datum counts; None for once each.
        window: of the axes.
    """
    levels = planes.levels_of(mixture, data, sample_weights, ENCLOSED)
    if len(levels):
        axes.contour(*planes.densities(mixture, window), levels=levels, **CONTOURS)


def set_window(axes: Axes, window: planes.Window) -> None:
    """Limits of the axes."""
    axes.set(xlim=window.x, ylim=window.y)


def handles_of(
    mixture: MultivariateMixture,
    n_data: int,
    *,
    degenerate: Sequence[int] = (),
    truth: bool = False,
    contours: bool = True,
    noise: bool = False,
) -> list[Artist]:
    """What is in the picture, for a legend: each component with its weight, then the rest.

    Args:
        mixture: whose components are named, as many as fit.
        n_data: number of observations.
        degenerate: components that are marked.
        truth: whether the truth is drawn.
        contours: whether lines of equal density are drawn.
        noise: whether there is noise, whose weight is what the others lack to sum to one.
    """
    named, many = curves.named(mixture.weights, degenerate), n_data > MOST_POINTS
    handles: list[Artist] = []
    for component in named.chosen.tolist():
        mark = {} if many else {**dot(component, len(mixture.weights)), "markersize": 4.5}
        label = f"component {component}: {mixture.weights[component]:.3f}"
        label += ", degenerate" * (component in degenerate)
        handles.append(Line2D([], [], label=label, **{**mark, **drawing.component_style(component)}))
    if named.rest:
        handles.append(Line2D([], [], label=named.rest, **drawing.REST))
    if noise:
        look: dict[str, Any] = {"color": "none"} if many else NOISE
        handles.append(Line2D([], [], linestyle="", label=f"noise: {1.0 - mixture.weights.sum():.3f}", **look))
    if many:
        handles.append(Patch(color=SHADES(0.6), label="data, darker for more"))
    elif len(mixture.weights) > 1:
        large = {"linestyle": "", "marker": "o", "color": "0.5", "markersize": (AREA + UNCERTAIN_AREA) ** 0.5}
        handles.append(Line2D([], [], label="larger: less certain", **large))
    if contours:
        shares = ", ".join(f"{100.0 * share:g}" for share in ENCLOSED)
        of = "what\nis not noise" if noise else "the data"
        line = {"color": CONTOURS["colors"], "linewidth": CONTOURS["linewidths"]}
        handles.append(Line2D([], [], label=f"fitted density, around\n{shares} % of {of}", **line))
    if truth:
        handles.append(Line2D([], [], label=f"true, at {RADII[-1]:g} standard\ndeviations", **TRUE))
    return handles


def lost(mixture: MultivariateMixture) -> str:
    """A note where no component of a mixture can be drawn."""
    return "" if projections.drawable(mixture).any() else "the fit is not finite"


def labels_of(columns: Sequence[str], unit: str | None) -> list[str]:
    """Axis labels of columns.

    Args:
        columns: their names.
        unit: of all of them; None for none.
    """
    return [drawing.with_unit(name, unit) for name in columns]


def draw_plane(plane: Plane, *, degenerate: Sequence[int] = (), ax: Axes) -> Axes:
    """The data with the fitted components and the lines of equal density.

    Args:
        plane: what is shown.
        degenerate: components that are marked as degenerate.
        ax: where to draw.
    """
    data, fitted = plane.data, plane.fitted
    n_components, is_many = len(fitted.locs), len(data) > MOST_POINTS
    window = begin(plane, ax)
    draw_data(ax, data, plane.responsibilities, plane.sample_weights, n_components=n_components)
    noise = len(plane.responsibilities) > n_components
    own = plane.sample_weights
    if noise:  # lines of equal density enclose what the components claim
        own = plane.responsibilities[:-1].sum(axis=0) * (1.0 if own is None else own)
    draw_contours(ax, fitted, data, own, window)
    if plane.truth is not None:
        draw_truth(ax, plane.truth, halo=is_many)
    draw_ellipses(ax, fitted, degenerate=degenerate, halo=is_many)
    handles = handles_of(fitted, len(data), degenerate=degenerate, truth=plane.truth is not None, noise=noise)
    title = "component: weight;\nellipses at 1 and 2\nstandard deviations"
    finish(plane, window, handles, title, ax)
    return ax


def begin(plane: Plane, ax: Axes) -> planes.Window:
    """Set the limits and the labels of the axes of a plane, and return its window."""
    window = planes.window_of(plane.data, plane.sample_weights, plane.fitted)
    set_window(ax, window)
    ax.set_xlabel(plane.labels[0], parse_math=False)
    ax.set_ylabel(plane.labels[1], parse_math=False)
    return window


def finish(plane: Plane, window: planes.Window, handles: Sequence[Artist], title: str, ax: Axes) -> None:
    """Put the legend of a plane, and remarks on what it does not show."""
    pages.put_legend(ax, handles, title=f"{title}{plane.explained}")
    pages.note(ax, [lost(plane.fitted), drawing.outside(window.share_outside), plane.omitted])
