"""How pictures look: palette, line styles, and the parts that static pictures and the animation share.

A component keeps its colour and its line style in all pictures: seven colours that are distinct to colour-blind readers
and five line styles that survive a greyscale copy; the two counts share no factor, so 35 components stay distinct.
Since dashes distinguish components, the truth is a wide pale line under the fitted one.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure

from gmm_pipeline.analysis import curves
from gmm_pipeline.model.noise import Noise
from gmm_pipeline.pictures import pages, ticks
from gmm_pipeline.pictures.pages import NOTE
from gmm_pipeline.records.artifacts import History

# Okabe and Ito's palette without black, which is the mixture's; yellow last, as it is weakest on white.
COLORS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
LINE_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MIXTURE: dict[str, Any] = {"color": "black", "linewidth": 2.2}
TRUE_MIXTURE: dict[str, Any] = {"color": "0.72", "linewidth": 6.5}
TRUE_WIDTH = 3.5
UNMATCHED = "0.45"
REST: dict[str, Any] = {"color": "0.62", "linewidth": 0.7}
"""For components that are not named, since there are too many."""
NOISE: dict[str, Any] = {"color": "0.35", "linewidth": 1.0}
BARS: dict[str, Any] = {"fill": True, "facecolor": "0.91", "edgecolor": "0.75", "linewidth": 0.6}
HEIGHTS = (0.6, 0.75, 0.65)
"""Of the rows of `draw_traces`, as shares of the height of a page with one."""
COLUMNS, COLUMNS_OF_NARROW = 3, 2
"""Panels in a row."""
# A millionth of a nat is irrelevant; below it, rounding errors would fill half the picture.
LEAST_EXCESS = 1e-6
LONGEST = 48
"""Characters of a name on an axis."""


class Column(NamedTuple):
    """Data of one column, as pictures show them."""

    data: Real[np.ndarray, " n"]
    """In `unit`."""
    sample_weights: Real[np.ndarray, " n"] | None
    """How often each datum counts; None for once each."""
    name: str
    """What the data are, for the axis."""
    unit: str | None
    """None for none."""


def component_style(component: int) -> dict[str, Any]:
    """Colour and line style of a component, counted from 0 in the order of locs."""
    return {"color": COLORS[component % len(COLORS)], "linestyle": LINE_STYLES[component % len(LINE_STYLES)]}


def true_style(component: int, *, matched: bool) -> dict[str, Any]:
    """Pale line of a true component; grey unless it is matched to a fitted one.

    Args:
        component: index of the component in the order of locs, from 0.
        matched: whether it is matched to a fitted component, whose colour it then takes.
    """
    # Mixed with white, not transparent: where pale lines cross, a transparent one takes a colour no component has.
    color = np.array(to_rgb(component_style(component)["color"] if matched else UNMATCHED))
    return {"color": tuple(0.45 * color + 0.55), "linewidth": TRUE_WIDTH}


def with_unit(name: str, unit: str | None) -> str:
    """An axis label: quantity / unit, or the quantity alone.

    Args:
        name: the quantity.
        unit: its unit; None for none.
    """
    return shortened(name) if unit is None else f"{shortened(name)} / {unit}"


def shortened(name: str, longest: int = LONGEST) -> str:
    """A name, of which so many characters are kept.

    Args:
        name: as a user wrote it.
        longest: most characters.
    """
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def legend_name(name: str, longest: int = 24) -> str:
    """A name for a legend: shortened, without formulas, and not left out, as Matplotlib does with names that begin _.

    Args:
        name: as a user wrote it.
        longest: most characters.
    """
    short = shortened(name, longest).replace("$", r"\$")
    return f" {short}" if short.startswith("_") else short


def rows_of(figure: Figure | SubFigure) -> list[Axes]:
    """Three rows of axes that share x, for `draw_traces`.

    Args:
        figure: a page is made as high as they need.
    """
    pages.stretch(figure, sum(HEIGHTS))
    return list(figure.subplots(len(HEIGHTS), 1, sharex=True, squeeze=False, height_ratios=HEIGHTS)[:, 0])


def draw_traces(
    rows: Sequence[Axes],
    steps: Int[np.ndarray, " H"],
    panels: Sequence[tuple[str, Float[np.ndarray, "H K"]]],
    *,
    sizes: Float[np.ndarray, " S"],
    log_from: float,
) -> None:
    """Weights, and two more values of each component, over optimizer steps, with the legend of the figure.

    Args:
        rows: three, which may hold what lies under the lines.
        steps: of the optimizer.
        panels: label and values of each row; the first are the weights, the last are sizes.
        sizes: all that the last row shows; those that are not finite or not positive do not count.
        log_from: ratio of the sizes from which their axis is logarithmic.
    """
    weights = panels[0][1]
    for axes, (label, values) in zip(rows, panels, strict=True):
        traces = np.where(np.isfinite(values), values, np.nan).T
        look: dict[str, Any] = {"marker": "o" if len(values) == 1 else "", "markersize": 3, "zorder": 3}
        draw_components(axes, steps, traces, weights[-1], **look)
        axes.set_ylabel(label, parse_math=False)
    rows[0].set_ylim(0.0, min(rows[0].get_ylim()[1], 1.04))
    known = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    if known.size and known.max() > log_from * known.min():
        rows[-1].set_yscale("log")
        ticks.set_log_ticks(rows[-1])
    ticks.set_step_axis(rows[-1], steps)
    figure = pages.figure_of(rows[0])
    figure.align_ylabels(rows)
    pages.put_legend(figure, rows[0].get_legend_handles_labels()[0])


def draw_bars(axes: Axes, bars: curves.Histogram, *, name: str, unit: str | None) -> None:
    """Histogram, labels and window of a density picture.

    Args:
        axes: where to draw.
        bars: the histogram.
        name: what the data are, for the label.
        unit: of the data; None for none.
    """
    axes.stairs(bars.densities, bars.edges, label="data", zorder=0.5, **BARS)
    axes.set_xlabel(with_unit(name, unit), parse_math=False)
    per_unit = "" if unit is None else f" / {unit}⁻¹" if unit.isalpha() else f" / ({unit})⁻¹"
    axes.set_ylabel(f"density{per_unit}", parse_math=False)
    axes.set_xlim(*curves.window_of(bars))


def outside(share: float) -> str:
    """A remark on the share of the data beyond the limits of the axes; empty if there is none."""
    return f"{100.0 * share:.2g} % of the data outside" if share > 1e-9 else ""


def draw_components(
    axes: Axes,
    x: Real[np.ndarray, " G"],
    lines: Real[np.ndarray, "K G"],
    weights: Float[np.ndarray, " K"],
    *,
    always: Sequence[int] = (),
    prefix: str = "",
    **look: Any,
) -> None:
    """A line for each component, in its style; if there are many, the light ones are grey and share one name.

    Args:
        axes: where to draw.
        x: [G], of all lines.
        lines: [K, G], values of the components.
        weights: [K], which decide what components are named.
        always: components that are named whatever their weight.
        prefix: of their names.
        **look: of the lines of named components.
    """
    named = curves.named(weights, always)
    for component in named.chosen.tolist():
        style = component_style(component)
        axes.plot(x, lines[component], label=f"{prefix}component {component}", **look, **style)
    for number, component in enumerate(named.others.tolist()):
        axes.plot(x, lines[component], label=None if number else named.rest, **REST)


def draw_noise(axes: Axes, noise: Noise | None, ends: tuple[float, float]) -> None:
    """The density of the noise, which is the same wherever there are data; nothing without noise.

    Args:
        axes: where to draw.
        noise: None without noise.
        ends: of the data.
    """
    if noise is not None:
        axes.plot(ends, [math.exp(noise.log_joint)] * 2, label="noise", **NOISE)


def draw_excess(axes: Axes, history: History) -> None:
    """Loss above the least on a logarithmic axis over optimizer steps, with a mark where the least was reached.

    Args:
        axes: where to draw.
        history: steps [H] and losses [H], in nats.
    """
    excess, best = curves.loss_excess(history.losses)
    ticks.set_step_axis(axes, history.steps)
    axes.set_ylabel("loss − least / nats")
    if np.isfinite(excess).any():
        axes.set_yscale("log")
        # A single entry between two masked ones is part of no line.
        marker = "o" if np.isfinite(excess).sum() < 3 else ""
        axes.plot(history.steps, excess, color=MIXTURE["color"], marker=marker, markersize=3, linewidth=1.2)
        low, high = float(np.nanmin(excess)), float(np.nanmax(excess))
        if high > 10.0 * LEAST_EXCESS:
            low = max(low, LEAST_EXCESS)
        axes.set_ylim(low / 1.5, max(high * 1.5, low * 10.0))
        ticks.set_log_ticks(axes)
    else:
        axes.set_yticks([])
        reason = "a single entry" if len(history.steps) == 1 else "all losses are the same"
        reason = "no loss is finite" if best is None else reason
        axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", **NOTE)
    if best is not None:
        place = axes.get_xaxis_transform()
        axes.plot(history.steps[best], 0.0, marker="v", color=COLORS[5], transform=place, clip_on=False, zorder=5)


def panels_of(figure: Figure | SubFigure, count: int, x_label: str) -> list[Axes]:
    """Equal panels that share their axes, at most three in a row, or two of a narrow figure.

    Args:
        figure: a page is made as high as they need.
        count: number of panels.
        x_label: label of the shared x axis.
    """
    most = COLUMNS_OF_NARROW if pages.is_narrow(figure) else COLUMNS
    n_rows = math.ceil(count / most)
    n_columns = math.ceil(count / n_rows)
    pages.stretch(figure, 0.35 + 0.55 * n_rows)
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    for axes in grid[max(count - n_columns, 0) : count]:
        axes.set_xlabel(x_label, parse_math=False)
        axes.xaxis.set_tick_params(labelbottom=True)
    return list(grid[:count])
