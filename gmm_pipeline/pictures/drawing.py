"""How pictures look: palette, line styles, text sizes, and the axes that static pictures and the animation share.

A component keeps its colour and its line style in all pictures: seven colours that are distinct to colour-blind readers
and five line styles that survive a greyscale copy; the two counts share no factor, so 35 components stay distinct.
Since dashes distinguish components, the truth is a wide pale line under the fitted one. Settings hold inside `style()`
alone; the price is that each function that draws or saves has to use it.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int, Real
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
    StrMethodFormatter,
)

from gmm_pipeline.analysis import curves
from gmm_pipeline.model.vocabulary import LINEAR_UP_TO
from gmm_pipeline.records.artifacts import History

# Okabe and Ito's palette without black, which is the mixture's; yellow last, as it is weakest on white.
COLORS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
LINE_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MIXTURE: dict[str, Any] = {"color": "black", "linewidth": 2.2}
TRUE_MIXTURE: dict[str, Any] = {"color": "0.72", "linewidth": 6.5}
TRUE_WIDTH = 3.5
UNMATCHED = "0.45"
NOTE: dict[str, Any] = {"color": "0.35", "fontsize": 8}
REST: dict[str, Any] = {"color": "0.62", "linewidth": 0.7}
"""For components that are not named, since there are too many."""
BARS: dict[str, Any] = {"fill": True, "facecolor": "0.91", "edgecolor": "0.75", "linewidth": 0.6}
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "legend.fontsize": 8.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-4, 5),
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "svg.hashsalt": "gmm_pipeline",
}
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LOG_STEPS_FROM = 30
COLUMNS = 3
# A millionth of a nat is irrelevant; below it, rounding errors would fill half the picture.
LEAST_EXCESS = 1e-6


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The house style for what is drawn or saved inside, whatever a user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


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
    return name if unit is None else f"{name} / {unit}"


def blank(width: float, height: float) -> Figure:
    """A figure without axes, in inches.

    Args:
        width: in inches.
        height: in inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_figure(size: Sequence[float], heights: Sequence[float] = (1.0,)) -> tuple[Figure, list[Axes]]:
    """A figure and its rows of axes that share x; size in inches, heights as shares of its height.

    Args:
        size: width and height for `heights=(1.0,)`, in inches.
        heights: of the rows, as shares of that height.
    """
    figure = blank(size[0], size[1] * sum(heights))
    rows = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    return figure, list(rows[:, 0])


def draw_bars(axes: Axes, bars: curves.Histogram, *, name: str, unit: str | None) -> None:
    """Histogram, labels and window of a density picture, with a note on the share of the data outside.

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
    if bars.share_outside > 1e-9:
        axes.set_title(f"{100.0 * bars.share_outside:.2g} % of the data outside", loc="right", **NOTE)


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


def set_step_axis(axes: Axes, steps: Int[np.ndarray, " H"]) -> None:
    """Optimizer steps on x: logarithmic for long fits, linear up to the first entry and for fits of few steps.

    The first tenth of the steps does most of the work: with decades of equal width both the fast start and the last
    approach are seen, while on a linear axis the start is a vertical line.

    Args:
        axes: whose x axis is set.
        steps: [H], steps of the history entries, ascending.
    """
    axes.set_xlabel("optimizer step")
    last = int(steps[-1])
    if last <= LOG_STEPS_FROM:
        axes.set_xlim(-0.02 * max(last, 1), 1.02 * max(last, 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    first = int(steps[steps > 0][0])
    axes.set_xscale("symlog", linthresh=first, linscale=0.4)
    decades = 10 ** np.arange(math.ceil(math.log10(first)), math.floor(math.log10(last)) + 1)
    # The last step has a tick of its own if the last decade leaves room for it.
    ends = [last] if not decades.size or last > 2.5 * decades[-1] else []
    minors = np.outer(10.0 ** np.arange(math.floor(math.log10(last)) + 1), np.arange(2, 10)).ravel()
    axes.xaxis.set_major_locator(FixedLocator([0.0, *map(float, decades), *ends]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    axes.xaxis.set_minor_locator(FixedLocator(minors[(minors >= first) & (minors <= last)].tolist()))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(-0.15 * first, last * 1.08)


def set_log_ticks(axes: Axes) -> None:
    """Ticks at decades, and also at 2 and 5 between them if there are few decades."""
    low, high = axes.get_ylim()
    if high < 300.0 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
    if high < 300.0 * low and low > 1e-4 and high < 1e5:
        axes.yaxis.set_major_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(math.inf, math.inf)))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: power_text(tick)))
    axes.yaxis.set_minor_locator(NullLocator())


def draw_excess(axes: Axes, history: History) -> None:
    """Loss above the least on a logarithmic axis over optimizer steps, with a mark where the least was reached.

    Args:
        axes: where to draw.
        history: steps [H] and losses [H], in nats.
    """
    excess, best = curves.loss_excess(history.losses)
    set_step_axis(axes, history.steps)
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
        set_log_ticks(axes)
    else:
        axes.set_yticks([])
        reason = "a single entry" if len(history.steps) == 1 else "all losses are the same"
        reason = "no loss is finite" if best is None else reason
        axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", **NOTE)
    if best is not None:
        place = axes.get_xaxis_transform()
        axes.plot(history.steps[best], 0.0, marker="v", color=COLORS[5], transform=place, clip_on=False, zorder=5)


def new_panels(count: int, size: Sequence[float], x_label: str) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels that share their axes, at most three per row.

    Args:
        count: number of panels.
        size: width and height of a figure with one row, in inches.
        x_label: label of the shared x axis.
    """
    n_rows = math.ceil(count / COLUMNS)
    n_columns = math.ceil(count / n_rows)
    figure = blank(size[0], size[1] * (0.35 + 0.55 * n_rows))
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    for axes in grid[max(count - n_columns, 0) : count]:
        axes.set_xlabel(x_label, parse_math=False)
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, list(grid[:count])


def set_excess_axis(axes: Axes, top: float, floor: float) -> None:
    """A logarithmic axis from `floor`, whose tick stands for all values up to it, to `top`.

    Args:
        axes: whose y axis is set.
        top: upper limit, in nats.
        floor: the smallest difference that is told apart, in nats.
    """
    axes.set_yscale("log")
    axes.set_ylim(floor / 1.8, top)
    decades = np.arange(round(math.log10(floor)), math.floor(math.log10(top)) + 1)
    axes.yaxis.set_major_locator(FixedLocator((10.0 ** decades[:: math.ceil(len(decades) / 7)]).tolist()))
    axes.yaxis.set_minor_locator(NullLocator())
    low = 1.001 * floor
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: ("≤ " if tick <= low else "") + decade_text(tick)))


def set_decision_axis(axes: Axes, low: float, high: float, highest: float, *, band_from: float) -> None:
    """A vertical axis of differences: linear while they matter, on grey, and logarithmic beyond.

    Args:
        axes: whose y axis is set.
        low: lower limit, in nats.
        high: upper limit, in nats.
        highest: up to where decades have ticks, in nats.
        band_from: where the grey begins, in nats.
    """
    axes.set_yscale("symlog", linthresh=LINEAR_UP_TO, linscale=1.0)
    axes.set_ylim(low, high)
    decades = 10.0 ** np.arange(1, math.floor(math.log10(highest)) + 1)
    near = [0.0, 2.0, 6.0] if len(decades) <= 3 and low > -LINEAR_UP_TO else [0.0]
    ticks = np.concatenate([-decades[::-1], near, decades])
    axes.yaxis.set_major_locator(FixedLocator(ticks[(ticks > low) & (ticks < high)].tolist()))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: signed_text(tick)))
    axes.axhspan(band_from, LINEAR_UP_TO, color="0.93", zorder=0, linewidth=0.0)


def linear_patch() -> Patch:
    """What the grey of such an axis means, for a legend."""
    return Patch(color="0.93", label=f"up to {LINEAR_UP_TO:g}: linear")


def signed_text(number: float) -> str:
    """A number as in `decade_text`, with its sign."""
    return ("−" if number < 0.0 else "") + decade_text(abs(number))


def decade_text(tick: float) -> str:
    """A number without needless digits, or the nearest power of ten if it is large."""
    return f"{tick:g}" if tick < 1.0 else f"{tick:,.0f}" if tick < 1e5 else power_text(10.0 ** round(math.log10(tick)))


def power_text(tick: float) -> str:
    """A positive number as a digit times a power of ten, in plain text: 10⁻³, 2×10⁵."""
    digit, _, exponent = f"{tick:.0e}".partition("e")
    power = str(int(exponent)).translate(RAISED)
    return f"10{power}" if digit == "1" else f"{digit}×10{power}"


class PlainFormatter(ScalarFormatter):
    """Ticks without mathtext, whose parser takes half of the time of a picture; only their common factor keeps it."""

    def get_offset(self) -> str:
        """The common factor or summand beside the axis, as in ×10⁶."""
        self.set_useMathText(True)
        try:
            return super().get_offset()
        finally:
            self.set_useMathText(False)


def plain_ticks(figure: Figure) -> None:
    """Give the plain formatter to every axis without a formatter of its own."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if type(axis.get_major_formatter()) is ScalarFormatter:
            axis.set_major_formatter(PlainFormatter(useMathText=False))


def note(figure: Figure, parts: Sequence[str]) -> None:
    """A line above the axes, of the parts that are not empty.

    Args:
        figure: where to write.
        parts: clauses; empty ones are left out.
    """
    text = "; ".join(part for part in parts if part)
    if text:
        figure.suptitle(text, x=0.01, ha="left", **NOTE)
