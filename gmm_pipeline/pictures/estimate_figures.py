"""Pictures of estimates and of how sure they are: weights with intervals, bootstrap replicates, what starts reached.

An interval is drawn where there is one: a
parameter whose error is unknown has none, and gets no bar rather than a short one.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from gmm_pipeline.analysis import curves, projections, starts
from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateMixture
from gmm_pipeline.model.noise import Noise
from gmm_pipeline.model.vocabulary import DEGENERATE, DIVERGED, ENDED, REACHED, SAME_OPTIMUM, WORSE
from gmm_pipeline.pictures import drawing, pages, ticks
from gmm_pipeline.records.reading import Intervals

INTERVAL: dict[str, Any] = {"fmt": "none", "ecolor": "black", "elinewidth": 1.1, "capsize": 2.5, "zorder": 4}
ASYMPTOTIC: dict[str, Any] = {"color": "black", "linewidth": 2.2, "solid_capstyle": "butt"}
ESTIMATE: dict[str, Any] = {"color": "black", "linewidth": 1.4}
TRUE: dict[str, Any] = {"color": "0.45", "linewidth": 1.6, "linestyle": (0, (1.2, 1.2))}
MOST_ROWS = 8
"""Components whose replicates are drawn."""
Panel = tuple[str, Callable[[Any], Any]]
MOST_LOCS, MOST_LOCS_OF_NARROW = 3, 2
"""Columns whose locs are drawn."""
LEAST_BINS, MOST_BINS = 15, 40
MARGIN = 0.2
"""Room beside the intervals, as a share of what they span."""
OUTCOMES: dict[str, dict[str, Any]] = {
    REACHED: {"marker": "o", "color": drawing.COLORS[1]},
    WORSE: {"marker": "s", "color": drawing.COLORS[5]},
    DEGENERATE: {"marker": "X", "color": drawing.COLORS[3]},
    DIVERGED: {"marker": "x", "color": "0.35"},
}


def draw_weights(
    fitted: AnyMixture,
    truth: AnyMixture | None,
    *,
    noise: Noise | None = None,
    intervals: Intervals | None = None,
    unit: str | None,
    ax: Axes,
) -> Axes:
    """Weight of each fitted component [K] and of the noise, with the true weights beside them where they are known.

    A component of one column is named by its loc too.

    Args:
        fitted: the fitted mixture, its components in their order where there are intervals.
        truth: the mixture that made the data, or None; with another number of components it gets rows of its own.
        noise: None without noise.
        intervals: of the fitted mixture, or None.
        unit: unit of the data, or None for none.
        ax: where to draw; a page gets a height for the number of rows.
    """
    fitted = curves.in_order(fitted)
    truth = None if truth is None else curves.in_order(truth)
    true_weights = np.empty(0) if truth is None else truth.weights
    matched = len(true_weights) == len(fitted.locs)
    chosen, others, rest = curves.named(fitted.weights)
    names = [f"component {number}{_loc_labels(fitted, unit)[number]}" for number in chosen.tolist()]
    names += [f"{rest}, together"] * bool(rest) + ["noise"] * (noise is not None)
    rest_weight = [float(np.nansum(fitted.weights[others]))] * bool(rest)
    weights = np.concatenate([fitted.weights[chosen], rest_weight, [] if noise is None else [noise.weight]])
    heights = np.where(np.isfinite(weights), weights, 0.0)
    true_chosen = chosen if matched else curves.named(true_weights).chosen
    if truth is not None and not matched:
        names += [f"true component{_loc_labels(truth, unit)[number]}" for number in true_chosen.tolist()]
    true_rows = np.arange(len(true_chosen)) + (0 if matched else len(weights))
    true_of_row = dict(zip(true_rows.tolist(), true_weights[true_chosen].tolist(), strict=True)) if truth else {}
    narrow = pages.is_narrow(pages.figure_of(ax))
    if narrow:
        names = [name.replace(", loc ", ",\nloc ") for name in names]
    pages.stretch(pages.figure_of(ax), max(1.0, len(names) / 14) if len(names) > 6 else 0.25 + 0.12 * len(names))
    colors = [drawing.component_style(component)["color"] for component in chosen.tolist()]
    colors += [drawing.REST["color"]] * bool(rest) + [drawing.NOISE["color"]] * (noise is not None)
    outline = {"edgecolor": "black", "linewidth": 0.6, "label": "fitted"}
    if true_of_row:
        ax.barh(list(true_of_row), list(true_of_row.values()), height=0.72, color="0.85", label="true")
    ax.barh(np.arange(len(weights)), heights, height=0.36, color=colors, **outline)
    ends = heights.copy()
    if intervals is not None:
        unknown = [np.nan] * bool(rest)
        lower = [*intervals.lower.weights[chosen], *unknown, *([] if noise is None else [noise.lower])]
        upper = [*intervals.upper.weights[chosen], *unknown, *([] if noise is None else [noise.upper])]
        ends = _draw_intervals(ax, weights, np.array(lower), np.array(upper), _interval_name(intervals))
    for row in range(len(names)):
        text, place = (f"{weights[row]:.3f}", ends[row]) if row < len(weights) else ("", 0.0)
        if row < len(weights) and np.isnan(weights[row]):
            text = "not finite"
        if row in true_of_row:
            text = f"{text} (true {true_of_row[row]:.3f})" if text else f"true {true_of_row[row]:.3f}"
            place = max(place, true_of_row[row])
        ax.annotate(text, (place, row), (4, 0), textcoords="offset points", va="center", fontsize="small")
    ax.set_yticks(np.arange(len(names)), names, parse_math=False)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(0.0, ((2.0 if narrow else 1.4) if matched else 1.18) * max([*ends, *true_of_row.values(), 0.1]))
    # The space for the text beside a bar extends beyond one; ticks do not.
    ax.set_xticks([tick for tick in ax.get_xticks() if tick <= min(1.0, ax.get_xlim()[1])])
    ax.set_xlabel("weight")
    if truth is not None or intervals is not None:
        pages.put_legend(ax)
    return ax


def _loc_labels(mixture: AnyMixture, unit: str | None) -> list[str]:
    """What follows the names of components: their locs, unless these are too long to tell."""
    if isinstance(mixture, MultivariateMixture):
        return [""] * len(mixture.locs)
    scales = mixture.scales[np.isfinite(mixture.scales) & (mixture.scales > 0.0)]
    decimals = max(1 - math.floor(math.log10(scales.min())), 0) if scales.size else 2
    texts = [f"{loc:z.{decimals}f}" if decimals <= 5 else f"{loc:.4g}" for loc in mixture.locs]
    return [", loc " + text.replace("-", "−") + ("" if unit is None else f" {unit}") for text in texts]


def _draw_intervals(
    axes: Axes,
    weights: Float[np.ndarray, " N"],
    lower: Float[np.ndarray, " N"],
    upper: Float[np.ndarray, " N"],
    label: str,
) -> Float[np.ndarray, " N"]:
    """Bars of the intervals of weights that have one; returns how far each row is drawn."""
    rows = np.flatnonzero(np.isfinite(weights) & np.isfinite(lower) & np.isfinite(upper) & (upper > lower))
    reach = np.where(np.isfinite(weights), weights, 0.0)
    if rows.size:
        # A percentile interval need not hold the estimate.
        middle, half = 0.5 * (lower + upper)[rows], 0.5 * (upper - lower)[rows]
        axes.errorbar(middle, rows, xerr=half, label=label, **INTERVAL)
        reach[rows] = np.maximum(reach[rows], upper[rows])
    return reach


def _interval_name(intervals: Intervals) -> str:
    return f"{100.0 * intervals.level:g} % interval\n({intervals.method})"


def draw_bootstrap(
    replicates: AnyMixture,
    fitted: AnyMixture,
    truth: AnyMixture | None,
    *,
    intervals: Intervals,
    asymptotic: Intervals,
    columns: Sequence[str] = (),
    unit: str | None,
    figure: Figure | SubFigure,
) -> list[Axes]:
    """Bootstrap replicates [B, K] of each parameter as a histogram, with both kinds of intervals.

    Of several columns, the locs of those that separate the components best stand for all.

    Args:
        replicates: in the order of the fit's components; NaN in those without a sound fit.
        fitted: the estimates, components in their order.
        truth: the mixture that made the data; drawn where it has as many components.
        intervals: of the bootstrap.
        asymptotic: from the observed information, to compare.
        columns: names of several columns.
        unit: unit of the data, or None for none.
        figure: where to draw; a page gets a height for the number of rows, the `MOST_ROWS` heaviest components.
    """
    n_components = len(fitted.locs)
    weights = np.where(np.isfinite(fitted.weights), fitted.weights, 0.0)
    rows = np.sort(np.argsort(-weights, kind="stable")[:MOST_ROWS])
    truth = curves.in_order(truth) if truth is not None and len(truth.locs) == n_components else None
    sound = np.asarray(np.isfinite(replicates.locs).reshape(len(replicates.locs), -1).all(axis=1))
    panels = _panels(fitted, columns, unit, MOST_LOCS_OF_NARROW if pages.is_narrow(figure) else MOST_LOCS)
    pages.stretch(figure, 0.3 + 0.3 * len(rows))
    grid = figure.subplots(len(rows), len(panels), squeeze=False)
    beyond = 0
    for axes_of_row, component in zip(grid, rows.tolist(), strict=True):
        axes_of_row[0].set_ylabel(f"component {component}", fontsize="small")
        for axes, (_, of) in zip(axes_of_row, panels, strict=True):
            estimate = float(of(fitted)[component])
            span, other = (
                [float(of(end)[component]) for end in (one.lower, one.upper)] for one in (intervals, asymptotic)
            )
            values = of(replicates)[sound, component]
            beyond += _draw_replicates(axes, values, [estimate, *span, *other], component)
            if np.isfinite(span).all():
                axes.axvspan(*span, color="0.9", zorder=0, linewidth=0.0)
            if np.isfinite(other).all():
                axes.plot(other, [0.0, 0.0], transform=axes.get_xaxis_transform(), clip_on=False, **ASYMPTOTIC)
            if truth is not None:
                axes.axvline(of(truth)[component], **TRUE)
            axes.axvline(estimate, **ESTIMATE)
    for axes, (label, _) in zip(grid[-1], panels, strict=True):
        axes.set_xlabel(label, parse_math=False)
    level = f"{100.0 * intervals.level:g} %"
    handles = [
        Patch(color=drawing.COLORS[0], label="replicates"),
        Line2D([], [], label="estimate", **ESTIMATE),
        Patch(color="0.9", label=f"{level}, {intervals.method}"),
        Line2D([], [], label=f"{level}, {asymptotic.method}", **ASYMPTOTIC),
    ]
    handles += [Line2D([], [], label="true", **TRUE)] if truth is not None else []
    pages.put_legend(figure, handles, below=True, handlelength=1.6, columnspacing=1.2)
    lost = int(np.sum(~sound))
    few = f"the heaviest {len(rows)} of {n_components} components" if n_components > len(rows) else ""
    unsound = f"{lost} of {len(sound)} replicates without a sound fit" if lost else ""
    pages.note(figure, [few, unsound, f"{beyond} value{'s' * (beyond > 1)} beyond the panels" if beyond else ""])
    return list(grid.ravel())


def _panels(fitted: AnyMixture, columns: Sequence[str], unit: str | None, most_locs: int) -> list[Panel]:
    """Label of each panel in a row, and the parameter in it, [..., K]."""
    if isinstance(fitted, Mixture):
        names = zip(
            ("weight", drawing.with_unit("loc", unit), drawing.with_unit("scale", unit)), Mixture._fields, strict=True
        )
        return [(label, operator.attrgetter(name)) for label, name in names]

    def loc_of(column: int) -> Panel:
        label = drawing.with_unit(f"loc, {columns[column]}", unit)
        return label, lambda mixture: mixture.locs[..., column]

    chosen = projections.separating_columns(fitted, most_locs)
    return [("weight", operator.attrgetter("weights")), *map(loc_of, chosen.tolist())]


def _draw_replicates(axes: Axes, values: Float[np.ndarray, " B"], marks: Sequence[float], component: int) -> int:
    """The histogram around the other marks; returns how many replicates lie beyond it and are left out."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(2 if pages.is_narrow(pages.figure_of(axes)) else 3))
    axes.tick_params(axis="x", labelsize="small")
    shown = np.array([mark for mark in marks if math.isfinite(mark)])
    if not values.size or not shown.size:
        return 0
    margin = MARGIN * float(np.ptp(shown))
    low, high = float(shown.min()) - margin, float(shown.max()) + margin
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return 0  # such as the weight of a single component
    bins = int(min(MOST_BINS, max(LEAST_BINS, 2.0 * math.sqrt(len(values)))))
    heights, edges = np.histogram(values, bins=bins, range=(low, high))
    axes.stairs(heights, edges, fill=True, color=drawing.component_style(component)["color"], alpha=0.75)
    axes.set_ylim(0.0, 1.08 * max(float(heights.max()), 1.0))
    axes.set_xlim(low, high)
    return int(np.sum((values < low) | (values > high)))


def draw_restarts(restarts: Sequence[Mapping[str, Any]], answer: float | None = None, *, ax: Axes) -> Axes:
    """How far below the answer each start ended, best first, by what became of it.

    Starts that end level with each other found the same optimum. Those with a degenerate component are not compared,
    since the likelihood is unbounded there; they stand at the bottom if they are above the best.

    Args:
        restarts: with `log_posterior` in nats, None where it is not finite, `outcome` and `converged`.
        answer: log posterior of the answer, in nats; None without a search.
        ax: where to draw.
    """
    outcomes, seen = [one["outcome"] for one in restarts], starts.compared(restarts, answer)
    ticks.set_excess_axis(ax, seen.top, SAME_OPTIMUM)
    ax.axhline(SAME_OPTIMUM, color="0.85", linewidth=0.8, zorder=0)
    hollow = False
    for place, index in enumerate(seen.order, start=1):
        look = OUTCOMES[outcomes[index]]
        is_hollow = not restarts[index]["converged"] and outcomes[index] != DIVERGED
        y, face = np.nan_to_num(seen.excess[index], nan=seen.top), "white" if is_hollow else look["color"]
        ax.plot(place, y, markersize=6.5, markerfacecolor=face, clip_on=False, zorder=3, linestyle="", **look)
        hollow |= is_hollow
    ax.set_xlim(0.4, len(restarts) + 0.6)
    ticks.set_whole_ticks(ax, 1, len(restarts))
    ax.set_xlabel("starts, best first")
    ax.set_ylabel("below the answer / nats")
    handles = [
        Line2D([], [], linestyle="", markersize=6.5, label=f"{ENDED[one]}: {outcomes.count(one)}", **OUTCOMES[one])
        for one in OUTCOMES
        if one in outcomes
    ]
    if hollow:
        ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "color": "0.35", "linestyle": ""}
        handles.append(Line2D([], [], label="hollow: not converged", **ring))
    pages.put_legend(ax, handles, handlelength=1.5)
    return ax
