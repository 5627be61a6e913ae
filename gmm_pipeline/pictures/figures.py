"""Static pictures of data, fits and their history, fit for print, the same bytes in each process.

A picture is a pure function from arrays to a `Figure`; one function saves. No pyplot: it holds global state and is slow
to import; the price is that nothing pops up on a screen. The legend stands beside the axes, never on the data. How
things look is in `drawing.py`; the numbers come from `curves.py`.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Real
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmm_pipeline.analysis import curves
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.pictures import drawing
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.files import whole_file

# By default the library writes its version and the time, so that no two files would be the same.
METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}
LOG_SCALES_FROM = 10.0
DEGENERATE: dict[str, Any] = {"marker": "X", "markersize": 7, "markeredgecolor": "black", "markeredgewidth": 0.6}
"""Stands on the axis under a degenerate component, whose own line is too narrow or too low to be seen."""


def draw_density(
    data: Real[np.ndarray, " n"],
    sample_weights: Real[np.ndarray, " n"] | None,
    fitted: Mixture | None,
    truth: Mixture | None,
    *,
    degenerate: Sequence[int] = (),
    name: str,
    unit: str | None,
    size: Sequence[float],
) -> Figure:
    """The data as a density histogram under the fitted mixture and its components [K], and the true ones if known.

    Args:
        data: x, in `unit`.
        sample_weights: how often each datum counts; None for once each.
        fitted: the fitted mixture; None draws the true one in its place.
        truth: the mixture that made the data, or None; pale, under the fitted one, matched to it in order of loc.
        degenerate: components, counted in order of loc, that are marked as degenerate.
        name: what the data are, for the axis.
        unit: unit of the data, or None for none.
        size: width and height of the figure, in inches.
    """
    bars = curves.histogram(data, sample_weights)
    front, behind = (truth, None) if fitted is None else (fitted, truth)
    front, behind = (None if mixture is None else curves.in_order(mixture) for mixture in (front, behind))
    prefix = "true " if fitted is None else ""
    drawn: list[Float[np.ndarray, " G"]] = []
    with drawing.style():
        figure, (axes,) = drawing.new_figure(size)
        drawing.draw_bars(axes, bars, name=name, unit=unit)
        points = curves.density_points(axes.get_xlim(), front, behind, base=400)
        if behind is not None:
            parts = curves.weighted_densities(behind, points)
            drawn.append(parts.sum(axis=0))
            axes.plot(points, drawn[-1], label="true mixture", **drawing.TRUE_MIXTURE)
            matched = front is not None and len(front.locs) == len(parts)
            for component, part in enumerate(parts if len(parts) > 1 else ()):
                label = None if component else "true components"
                axes.plot(points, part, label=label, **drawing.true_style(component, matched=matched))
        if front is not None:
            parts = curves.weighted_densities(front, points)
            drawn.append(parts.sum(axis=0))
            axes.plot(points, drawn[-1], label=f"{prefix or 'fitted '}mixture", **drawing.MIXTURE)
            if len(parts) > 1:
                drawing.draw_components(axes, points, parts, front.weights, always=degenerate, prefix=prefix)
                _mark(axes, front, degenerate)
        top, highest = curves.density_top(bars, *drawn)
        axes.set_ylim(0.0, top)
        if any(np.isnan(curve).all() for curve in drawn):
            axes.set_title("the fit is not finite", loc="left", **drawing.NOTE)
        elif highest > top:
            axes.set_title(f"highest density {highest:.3g}, cut off", loc="left", **drawing.NOTE)
        figure.legend(loc="outside right upper")
    return figure


def _mark(axes: Axes, mixture: Mixture, degenerate: Sequence[int]) -> None:
    """A cross on the axis under each degenerate component."""
    # Crosses are not clipped, so one far outside would squeeze the axes.
    left, right = axes.get_xlim()
    inside = [component for component in degenerate if left <= mixture.locs[component] <= right]
    for number, component in enumerate(inside):
        look = {"color": drawing.component_style(component)["color"], "linestyle": "", **DEGENERATE}
        where = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 6}
        axes.plot(mixture.locs[component], 0.0, label=None if number else "degenerate", **look, **where)


def draw_loss(history: History, *, size: Sequence[float]) -> Figure:
    """Loss [H] over optimizer steps as its distance to the least, both logarithmic, so that each plateau is seen.

    Args:
        history: steps and losses, in nats; losses that are not finite are left out, and counted in the picture.
        size: width and height of the figure, in inches.
    """
    _, best = curves.loss_excess(history.losses)
    lost = int(np.sum(~np.isfinite(history.losses)))
    with drawing.style():
        figure, (axes,) = drawing.new_figure(size)
        drawing.draw_excess(axes, history)
        if best is not None:
            axes.set_title(f"▾ least {history.losses[best]:.8g} nats, at step {history.steps[best]}", loc="right")
        if lost:
            axes.set_title(f"{lost} of {len(history.losses)} not finite", loc="left", **drawing.NOTE)
    return figure


def draw_parameter_traces(
    history: History, truth: Mixture | None, *, unit: str | None, size: Sequence[float]
) -> Figure:
    """Weights, locs and scales [H, K] over optimizer steps, the true ones as pale level lines matched in order of loc.

    Args:
        history: steps and mixtures; components in the order of the final locs.
        truth: the mixture that made the data, or None.
        unit: unit of the data, or None for none.
        size: width and height of one picture, in inches; this one is twice as high.
    """
    mixtures = cast(Mixture, history.mixtures)
    references = (np.empty(0),) * 3 if truth is None else curves.in_order(truth)
    matched = len(references[1]) == mixtures.locs.shape[1]
    with drawing.style():
        figure, rows = drawing.new_figure(size, heights=(0.6, 0.75, 0.65))
        labels = ("weight", drawing.with_unit("loc", unit), drawing.with_unit("scale", unit))
        for axes, label, values, reference in zip(rows, labels, mixtures, references, strict=True):
            marker = "o" if len(values) == 1 else ""
            for component, value in enumerate(reference):
                axes.axhline(
                    value, label=None if component else "true", **drawing.true_style(component, matched=matched)
                )
            traces = np.where(np.isfinite(values), values, np.nan).T
            look = {"marker": marker, "markersize": 3, "zorder": 3}
            drawing.draw_components(axes, history.steps, traces, mixtures.weights[-1], **look)
            axes.set_ylabel(label, parse_math=False)
        rows[0].set_ylim(0.0, min(rows[0].get_ylim()[1], 1.04))
        scales = np.append(mixtures.scales, references[2])
        scales = scales[np.isfinite(scales) & (scales > 0.0)]
        if scales.size and scales.max() > LOG_SCALES_FROM * scales.min():
            rows[2].set_yscale("log")
            drawing.set_log_ticks(rows[2])
        drawing.set_step_axis(rows[2], history.steps)
        figure.align_ylabels(rows)
        figure.legend(*rows[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def save_figure(figure: Figure, path_without_suffix: Path, *, formats: Sequence[str], dpi: float | int) -> list[Path]:
    """Write a figure once per format, whole or not at all and with the same bytes each time; returns the paths.

    Args:
        figure: any.
        path_without_suffix: of the files.
        formats: any of png and svg.
        dpi: dots per inch of the png.
    """
    paths = [path_without_suffix.with_name(f"{path_without_suffix.name}.{suffix}") for suffix in formats]
    with drawing.style():
        drawing.plain_ticks(figure)
    for path, suffix in zip(paths, formats, strict=True):
        buffer = io.BytesIO()
        with drawing.style():
            figure.savefig(buffer, format=suffix, dpi=dpi, metadata=METADATA[suffix])
            # The other formats reuse the layout of the first: computing it takes longer than drawing.
            figure.set_layout_engine("none")
        with whole_file(path) as stream:
            stream.write(buffer.getbuffer())
    return paths
