"""Pictures of data, fits and their history.

How a picture gets its axes, its legend and its file is in `pages.py`, how things look in `drawing.py`; the numbers come
from `curves.py`.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from gmm_pipeline.analysis import curves
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.model.noise import Noise
from gmm_pipeline.pictures import drawing, pages
from gmm_pipeline.records.artifacts import History

LOG_SCALES_FROM = 10.0
DEGENERATE: dict[str, Any] = {"marker": "X", "markersize": 7, "markeredgecolor": "black", "markeredgewidth": 0.6}
"""Stands on the axis under a degenerate component, whose own line is too narrow or too low to be seen."""


def draw_density(
    column: drawing.Column,
    fitted: Mixture | None,
    truth: Mixture | None,
    *,
    degenerate: Sequence[int] = (),
    noise: Noise | None = None,
    ax: Axes,
) -> Axes:
    """The data as a density histogram under the fitted mixture and its components [K], and the true ones if known.

    Args:
        column: the data.
        fitted: the fitted mixture; None draws the true one in its place.
        truth: the mixture that made the data, or None; pale, under the fitted one, matched to it in order of loc.
        degenerate: components, counted in order of loc, that are marked as degenerate.
        noise: of the fitted mixture; None without noise.
        ax: where to draw.
    """
    bars = curves.histogram(column.data, column.sample_weights)
    front, behind = (truth, None) if fitted is None else (fitted, truth)
    front, behind = (None if mixture is None else curves.in_order(mixture) for mixture in (front, behind))
    prefix = "true " if fitted is None else ""
    drawn: list[Float[np.ndarray, " G"]] = []
    drawing.draw_bars(ax, bars, name=column.name, unit=column.unit)
    points = curves.density_points(ax.get_xlim(), front, behind, base=400)
    if behind is not None:
        parts = curves.weighted_densities(behind, points)
        drawn.append(parts.sum(axis=0))
        ax.plot(points, drawn[-1], label="true mixture", **drawing.TRUE_MIXTURE)
        matched = front is not None and len(front.locs) == len(parts)
        for component, part in enumerate(parts if len(parts) > 1 else ()):
            label = None if component else "true components"
            ax.plot(points, part, label=label, **drawing.true_style(component, matched=matched))
    if front is not None:
        parts = curves.weighted_densities(front, points)
        ends = curves.ends_of(column.data, column.sample_weights)
        log_noise = None if noise is None else noise.log_density
        drawn.append(curves.mixture_density(parts, front.weights, log_noise, curves.within(points, ends)))
        ax.plot(points, drawn[-1], label=f"{prefix or 'fitted '}mixture", **drawing.MIXTURE)
        if len(parts) > 1 or noise is not None:
            drawing.draw_components(ax, points, parts, front.weights, always=degenerate, prefix=prefix)
            drawing.draw_noise(ax, noise, ends)
            _mark(ax, front, degenerate)
    top, highest = curves.density_top(bars, *drawn)
    ax.set_ylim(0.0, top)
    remark = f"highest density {highest:.3g}, cut off" if highest > top else ""
    if any(np.isnan(curve).all() for curve in drawn):
        remark = "the fit is not finite"
    pages.put_legend(ax)
    pages.note(ax, [remark, drawing.outside(bars.share_outside)])
    return ax


def _mark(axes: Axes, mixture: Mixture, degenerate: Sequence[int]) -> None:
    """A cross on the axis under each degenerate component."""
    # Crosses are not clipped, so one far outside would squeeze the axes.
    left, right = axes.get_xlim()
    inside = [component for component in degenerate if left <= mixture.locs[component] <= right]
    for number, component in enumerate(inside):
        look = {"color": drawing.component_style(component)["color"], "linestyle": "", **DEGENERATE}
        where = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 6}
        axes.plot(mixture.locs[component], 0.0, label=None if number else "degenerate", **look, **where)


def draw_loss(history: History, *, ax: Axes) -> Axes:
    """Loss [H] over optimizer steps as its distance to the least, both logarithmic, so that each plateau is seen.

    Args:
        history: steps and losses, in nats; losses that are not finite are left out, and counted in the picture.
        ax: where to draw.
    """
    _, best = curves.loss_excess(history.losses)
    lost = int(np.sum(~np.isfinite(history.losses)))
    drawing.draw_excess(ax, history)
    least = "" if best is None else f"▾ least {history.losses[best]:.8g} nats, at step {history.steps[best]}"
    pages.note(ax, [least, f"{lost} of {len(history.losses)} not finite" if lost else ""])
    return ax


def draw_parameter_traces(
    history: History, truth: Mixture | None, *, unit: str | None, figure: Figure | SubFigure
) -> list[Axes]:
    """Weights, locs and scales [H, K] over optimizer steps, the true ones as pale level lines matched in order of loc.

    Args:
        history: steps and mixtures; components in the order of the final locs.
        truth: the mixture that made the data, or None.
        unit: unit of the data, or None for none.
        figure: where to draw; a page is made twice as high.
    """
    mixtures = cast(Mixture, history.mixtures)
    references = (np.empty(0),) * 3 if truth is None else curves.in_order(truth)
    matched = len(references[1]) == mixtures.locs.shape[1]
    rows = drawing.rows_of(figure)
    for axes, reference in zip(rows, references, strict=True):
        for component, value in enumerate(reference):
            axes.axhline(value, label=None if component else "true", **drawing.true_style(component, matched=matched))
    labels = ("weight", drawing.with_unit("loc", unit), drawing.with_unit("scale", unit))
    panels = list(zip(labels, mixtures, strict=True))
    sizes = np.append(mixtures.scales, references[2])
    drawing.draw_traces(rows, history.steps, panels, sizes=sizes, log_from=LOG_SCALES_FROM)
    return rows
