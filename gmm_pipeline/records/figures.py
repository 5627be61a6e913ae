"""Static pictures of data, fits and their history, fit for print, the same bytes in each process.

A picture is a pure function from arrays to a `Figure`; one function saves. No pyplot: it holds global state and is slow
to import; the price is that nothing pops up on a screen. The legend stands beside the axes, never on the data. How
things look is in `drawing.py`, the numbers come from `curves.py`.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Real
from matplotlib.figure import Figure

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records import curves, drawing
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.files import whole_file

# Left to itself the library writes its version and the time of day, and no two files would be the same.
METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}
LOG_SCALES_FROM = 10.0


def draw_histogram(
    data: Real[np.ndarray, " n"],
    sample_weights: Real[np.ndarray, " n"] | None,
    truth: Mixture | None,
    *,
    name: str,
    unit: str | None,
    size: Sequence[float],
) -> Figure:
    """The data as a density histogram, with the true mixture and its components [K] where they are known.

    Args:
        data: x, in `unit`.
        sample_weights: how often each datum counts; None for once each.
        truth: the mixture that made the data, or None.
        name: what the data are, for the axis.
        unit: unit of the data, or None for none.
        size: width and height of the figure, in inches.
    """
    return _draw_densities(data, sample_weights, truth, None, "true ", name=name, unit=unit, size=size)


def draw_fitted_density(
    data: Real[np.ndarray, " n"],
    sample_weights: Real[np.ndarray, " n"] | None,
    fitted: Mixture,
    truth: Mixture | None,
    *,
    name: str,
    unit: str | None,
    size: Sequence[float],
) -> Figure:
    """The data as a density histogram under the fitted mixture and its components [K], and the true ones if known.

    Args:
        data: x, in `unit`.
        sample_weights: how often each datum counts; None for once each.
        fitted: the fitted mixture.
        truth: the mixture that made the data, or None; pale, under the fitted one, matched to it in order of loc.
        name: what the data are, for the axis.
        unit: unit of the data, or None for none.
        size: width and height of the figure, in inches.
    """
    return _draw_densities(data, sample_weights, fitted, truth, "", name=name, unit=unit, size=size)


def _draw_densities(
    data: Real[np.ndarray, " n"],
    sample_weights: Real[np.ndarray, " n"] | None,
    front: Mixture | None,
    behind: Mixture | None,
    prefix: str,
    *,
    name: str,
    unit: str | None,
    size: Sequence[float],
) -> Figure:
    bars = curves.histogram(data, sample_weights)
    front, behind = (None if mixture is None else curves.by_loc(mixture) for mixture in (front, behind))
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
            for component, part in enumerate(parts if len(parts) > 1 else ()):
                axes.plot(points, part, label=f"{prefix}component {component}", **drawing.component_style(component))
        top, highest = curves.density_top(bars, *drawn)
        axes.set_ylim(0.0, top)
        if any(np.isnan(curve).all() for curve in drawn):
            axes.set_title("the fit is not finite", loc="left", **drawing.NOTE)
        elif highest > top:
            axes.set_title(f"highest density {highest:.3g}, cut off", loc="left", **drawing.NOTE)
        figure.legend(loc="outside right upper")
    return figure


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
    references = (np.empty(0),) * 3 if truth is None else curves.by_loc(truth)
    matched = len(references[1]) == history.mixtures.locs.shape[1]
    with drawing.style():
        figure, rows = drawing.new_figure(size, heights=(0.6, 0.75, 0.65))
        labels = ("weight", drawing.with_unit("loc", unit), drawing.with_unit("scale", unit))
        for axes, label, values, reference in zip(rows, labels, history.mixtures, references, strict=True):
            marker = "o" if len(values) == 1 else ""
            for component, value in enumerate(reference):
                axes.axhline(
                    value, label=None if component else "true", **drawing.true_style(component, matched=matched)
                )
            for component, trace in enumerate(np.where(np.isfinite(values), values, np.nan).T):
                kind = {"label": f"component {component}", "marker": marker, "markersize": 3}
                axes.plot(history.steps, trace, **kind, **drawing.component_style(component))
            axes.set_ylabel(label, parse_math=False)
        rows[0].set_ylim(0.0, min(rows[0].get_ylim()[1], 1.04))
        scales = np.append(history.mixtures.scales, references[2])
        scales = scales[np.isfinite(scales) & (scales > 0.0)]
        if scales.size and scales.max() > LOG_SCALES_FROM * scales.min():
            rows[2].set_yscale("log")
            drawing.set_log_ticks(rows[2])
        drawing.set_step_axis(rows[2], history.steps)
        figure.align_ylabels(rows)
        figure.legend(*rows[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def _loc_labels(mixture: Mixture, unit: str | None) -> list[str]:
    scales = mixture.scales[np.isfinite(mixture.scales) & (mixture.scales > 0.0)]
    decimals = max(1 - math.floor(math.log10(scales.min())), 0) if scales.size else 2
    texts = [f"{loc:z.{decimals}f}" if decimals <= 5 else f"{loc:.4g}" for loc in mixture.locs]
    return [text.replace("-", "−") + ("" if unit is None else f" {unit}") for text in texts]


def draw_weights(fitted: Mixture, truth: Mixture | None, *, unit: str | None, size: Sequence[float]) -> Figure:
    """Weight of each fitted component [K], named by its loc, with the true weights beside them where they are known.

    Args:
        fitted: the fitted mixture.
        truth: the mixture that made the data, or None; with another number of components it gets rows of its own.
        unit: unit of the data, or None for none.
        size: width and greatest height of the figure, in inches; few components take less.
    """
    fitted = curves.by_loc(fitted)
    true_weights = np.empty(0) if truth is None else curves.by_loc(truth).weights
    n_components, matched = len(fitted.locs), len(true_weights) == len(fitted.locs)
    names = [f"component {number}, loc {loc}" for number, loc in enumerate(_loc_labels(fitted, unit))]
    if truth is not None and not matched:
        names += [f"true component, loc {loc}" for loc in _loc_labels(curves.by_loc(truth), unit)]
    true_rows = np.arange(len(true_weights)) + (0 if matched else n_components)
    weights = np.where(np.isfinite(fitted.weights), fitted.weights, 0.0)
    with drawing.style():
        figure, (axes,) = drawing.new_figure(size, heights=(min(1.0, 0.25 + 0.12 * len(names)),))
        colors = [drawing.component_style(component)["color"] for component in range(n_components)]
        outline = {"edgecolor": "black", "linewidth": 0.6, "label": "fitted"}
        if truth is not None:
            axes.barh(true_rows, true_weights, height=0.72, color="0.85", label="true")
        axes.barh(np.arange(n_components), weights, height=0.36, color=colors, **outline)
        for row in range(len(names)):
            text, place = (f"{weights[row]:.3f}", weights[row]) if row < n_components else ("", 0.0)
            if row < n_components and np.isnan(fitted.weights[row]):
                text = "not finite"
            if row in true_rows:
                true_weight = true_weights[row - true_rows[0]]
                text = f"{text} (true {true_weight:.3f})" if text else f"true {true_weight:.3f}"
                place = max(place, true_weight)
            axes.annotate(text, (place, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(np.arange(len(names)), names, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0.0, (1.4 if matched else 1.18) * max([*weights, *true_weights, 0.1]))
        # Room for the text beside a bar goes past one, which no weight does.
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= min(1.0, axes.get_xlim()[1])])
        axes.set_xlabel("weight")
        if truth is not None:
            figure.legend(loc="outside right upper")
    return figure


def save_figure(figure: Figure, path_without_suffix: Path, *, formats: Sequence[str], dpi: float | int) -> list[Path]:
    """Write a figure once a format, whole or not at all and with the same bytes each time; returns the paths.

    Raises:
        InputError: a format is neither png nor svg.
    """
    for suffix in formats:
        if suffix not in METADATA:
            raise InputError(
                "figures.formats",
                expected=f"any of {', '.join(METADATA)}",
                came=f"{suffix!r}",
                remedy="Name the formats as in figures.formats=[png,svg].",
            )
    paths = [path_without_suffix.with_name(f"{path_without_suffix.name}.{suffix}") for suffix in formats]
    for path, suffix in zip(paths, formats, strict=True):
        buffer = io.BytesIO()
        with drawing.style():
            figure.savefig(buffer, format=suffix, dpi=dpi, metadata=METADATA[suffix])
            # The layout found for the first format serves the others, and takes longer to find than to draw.
            figure.set_layout_engine("none")
        with whole_file(path) as stream:
            stream.write(buffer.getbuffer())
    return paths
