"""The picture of a selection: what a criterion says of each number of components, the chosen one, and those left out.

Lower is better in all of them, whatever the criterion: what is drawn is the difference to the best candidate that may
be chosen. Degenerate candidates are drawn where they are, hollow and crossed, since the reader should see what a
collapsed component pretends to gain; those far below the others stand at the edge with their value beside them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gmm_pipeline.analysis.candidates import Point, Standing, lines_of, points_of, shown_criterion, standing
from gmm_pipeline.model import covariances
from gmm_pipeline.model.vocabulary import EITHER_KIND, LARGER_IS_BETTER, LINEAR_UP_TO, NAMES
from gmm_pipeline.pictures import drawing, pages, ticks

LINES: dict[str, dict[str, Any]] = {
    EITHER_KIND[False]: {"color": drawing.COLORS[1], "linestyle": "-", "marker": "o", "markersize": 5.5},
    EITHER_KIND[True]: {
        "color": drawing.COLORS[0],
        "linestyle": drawing.LINE_STYLES[1],
        "marker": "s",
        "markersize": 5.0,
    },
}
"""By kind of scales."""
SHAPES: dict[str, dict[str, Any]] = {
    "II": {"color": drawing.COLORS[0], "marker": "o"},
    "EI": {"color": drawing.COLORS[4], "marker": "s"},
    "VI": {"color": drawing.COLORS[2], "marker": "D"},
    "EE": {"color": drawing.COLORS[5], "marker": "^"},
    "VE": {"color": drawing.COLORS[6], "marker": "v"},
    "EV": {"color": drawing.COLORS[3], "marker": "<"},
    "VV": {"color": drawing.COLORS[1], "marker": ">"},
    covariances.FACTOR: {"color": "0.15", "marker": "*"},
}
"""By shape and orientation of a covariance model; equal volumes have a broken line."""
ONE: dict[str, Any] = {"color": "0.35", "linestyle": "-", "marker": "o", "markersize": 5.5}
"""A single component of one column, which is of both kinds."""
CHOSEN: dict[str, Any] = {
    "marker": "o",
    "markersize": 12.0,
    "markerfacecolor": "none",
    "markeredgecolor": drawing.COLORS[5],
    "markeredgewidth": 1.8,
    "linestyle": "",
}
HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markersize": 8.0}
HOLLOW_IN_LEGEND: dict[str, Any] = {"linestyle": "", "color": "0.35", "marker": "$\\otimes$", "markersize": 9.0}
CROSS: dict[str, Any] = {"linestyle": "", "marker": "x", "markersize": 4.0, "markeredgewidth": 1.0}
NO_VALUE: dict[str, Any] = {**CROSS, "markersize": 7.0, "markeredgewidth": 1.8}
APART = 0.07
"""By how much the two kinds of scales are moved apart if they would overlap."""


class Drawn(NamedTuple):
    """Candidates as they stand on the axes."""

    standing: Standing
    x: Float[np.ndarray, " C"]

    @property
    def points(self) -> Sequence[Point]:
        """The candidates."""
        return self.standing.points


def draw_selection_table(columns: Mapping[str, Sequence[Any]], chosen: int | None, criterion: str, *, ax: Axes) -> Axes:
    """The picture of a record's table by the criterion that was used; for a sequence of tests, their p-values on BIC.

    Args:
        columns: of the table.
        chosen: the row that was chosen; None if none could be.
        criterion: a key of `NAMES`, or another way to choose, which has no value for each candidate.
        ax: where to draw.
    """
    shown = shown_criterion(columns, criterion)
    if shown == criterion:
        return draw_selection(points_of(columns, shown), shown, chosen, ax=ax)
    tested = dict(zip(columns["n_components"], columns.get("p_value", ()), strict=False))
    p_values = {int(k): float(p) for k, p in tested.items() if p is not None and not math.isnan(p)}
    return draw_selection(points_of(columns, shown), shown, chosen, p_values=p_values, ax=ax)


def draw_selection(
    points: Sequence[Point],
    criterion: str,
    chosen: int | None,
    *,
    p_values: Mapping[int, float] | None = None,
    ax: Axes,
) -> Axes:
    """A criterion's difference to the best over the number of components, one line per kind of scales or covariances.

    Args:
        points: the candidates, one at least; one component stands for all kinds that are the same for it.
        criterion: a key of `NAMES`.
        chosen: index of the candidate that was chosen, or None where none could be.
        p_values: of tests of K components against K + 1, by K, if these made the choice and the criterion did not.
        ax: where to draw.
    """
    larger = criterion in LARGER_IS_BETTER
    best, name = ("highest" if larger else "lowest"), NAMES[criterion]
    drawn = _drawn(standing(points, criterion))
    _set_axes(ax, drawn)
    # Information criteria are in units of twice the log-likelihood.
    ax.set_ylabel(f"highest − {name} / nats" if larger else f"{name} − lowest")
    handles: list[Artist] = _draw_lines(ax, drawn)
    handles += [*_draw_sound(ax, drawn), *_draw_unsound(ax, drawn)]
    choice = ""
    if chosen is not None:
        ax.plot(drawn.x[chosen], drawn.standing.excess[chosen], zorder=5, **CHOSEN)
        handles.append(Line2D([], [], label="chosen", **{**CHOSEN, "markersize": 9.0}))
        reason = f"{best} {name} {_value(points[chosen])}" if p_values is None else "chosen by tests"
        choice = f"{reason}: {points[chosen].description}"
    if ax.get_yscale() != "linear":
        handles.append(ticks.linear_patch())
    _draw_p_values(ax, p_values or {})
    tests = "p: likelihood-ratio tests of K components against K + 1" if p_values else ""
    several = any(point.covariance for point in points)
    title = "best model first;\nbroken lines: equal volumes" if several else ""
    pages.put_legend(ax, handles, title=title)
    pages.note(ax, [choice, tests, "" if drawn.standing.sound.any() else "no candidate can be chosen"])
    return ax


def _drawn(candidates: Standing) -> Drawn:
    x = np.array([float(point.n_components) for point in candidates.points])
    kinds = sorted({point.kind for point in candidates.points if point.n_components > 1}, reverse=True)
    if len(kinds) == 2 and (np.isfinite(candidates.errors).any() or not candidates.sound.all()):
        aside = np.array([APART if point.kind == kinds[-1] else -APART for point in candidates.points])
        x = np.where(x > 1.0, x + aside, x)
    return Drawn(candidates, x)


def _value(point: Point) -> str:
    return "–" if point.value is None else f"{point.value:,.1f}".replace("-", "−")


def _draw_p_values(axes: Axes, p_values: Mapping[int, float]) -> None:
    """Between the two numbers of components that a test compares."""
    for k, p_value in p_values.items():
        text = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "top", **pages.NOTE}
        axes.text(k + 0.5, 0.99, f"p = {p_value:.2g}", **text)


def _look(point: Point) -> dict[str, Any]:
    return ONE if point.n_components == 1 and not point.covariance else _style(point.kind)


def _style(kind: str) -> dict[str, Any]:
    if kind in LINES:
        return LINES[kind]
    line = drawing.LINE_STYLES[1 if kind.startswith(covariances.EQUAL) else 0]
    shape = kind if kind == covariances.FACTOR else kind[1:]
    return {**SHAPES[shape], "linestyle": line, "markersize": 4.5}


def _set_axes(axes: Axes, drawn: Drawn) -> None:
    """Limits that show all candidates that can be chosen, and of the others what is not far below.

    Differences are linear while they matter, and logarithmic beyond if some are far away, so that all are seen.
    """
    numbers = [point.n_components for point in drawn.points]
    first, last = min(numbers), max(numbers)
    axes.set_xlabel("number of components")
    axes.set_xlim(first - 0.5, last + 0.5)
    ticks.set_whole_ticks(axes, first, last)
    finite = np.isfinite(drawn.standing.excess)
    if not finite.any():
        axes.set_yticks([])
        return
    shown = drawn.standing.sound if drawn.standing.sound.any() else finite
    excess, errors = drawn.standing.excess, np.nan_to_num(drawn.standing.errors)
    highest = max(float((excess + errors)[shown].max()), 1.0)
    bars, lowest = min(float((excess - errors)[shown].min()), 0.0), float(excess[finite].min())
    if min(bars, lowest) < 0.0:
        axes.axhline(0.0, color="0.75", linewidth=0.7, zorder=0.5)
    if highest <= 6.0 * LINEAR_UP_TO:
        axes.set_ylim(min(bars, max(1.15 * lowest, -0.6 * highest)) - 0.06 * highest, 1.08 * highest)
        return
    low, high = min(1.6 * bars, max(1.6 * lowest, -highest)) - 1.2, 1.7 * highest
    ticks.set_decision_axis(axes, low, high, high, band_from=max(low, -LINEAR_UP_TO))


def _draw_lines(axes: Axes, drawn: Drawn) -> list[Artist]:
    """A line through the sound candidates of each kind; of several columns the best kind is named first."""
    lines = {kind: [i for i in line if drawn.standing.sound[i]] for kind, line in lines_of(drawn.points).items()}
    if all(kind in LINES for kind in lines):
        order = [kind for kind in LINES if kind in lines]
    else:
        lowest = {kind: min(drawn.standing.excess[line], default=math.inf) for kind, line in lines.items()}
        order = sorted(lines, key=lambda kind: lowest[kind])
    handles: list[Artist] = []
    for kind in order:
        look, line = _style(kind), lines[kind]
        axes.plot(drawn.x[line], drawn.standing.excess[line], linewidth=1.3, zorder=3, **{**look, "marker": ""})
        handles.append(Line2D([], [], linewidth=1.3, label=kind, **look))
    return handles


def _draw_sound(axes: Axes, drawn: Drawn) -> list[Artist]:
    """Candidates that can be chosen, with their errors."""
    for i in np.flatnonzero(drawn.standing.sound).tolist():
        look, error = _look(drawn.points[i]), drawn.standing.errors[i]
        axes.plot(drawn.x[i], drawn.standing.excess[i], zorder=4, **{**look, "linestyle": ""})
        if error > 0.0:
            bar = {"ecolor": look["color"], "capsize": 2.5, "elinewidth": 1.0}
            axes.errorbar(drawn.x[i], drawn.standing.excess[i], yerr=error, fmt="none", zorder=2, **bar)
    bar = {"color": "0.4", "linestyle": "", "marker": "|", "markersize": 9.0, "markeredgewidth": 1.2}
    handle = Line2D([], [], label="± standard error\nof the difference", **bar)
    return [handle] if np.isfinite(drawn.standing.errors).any() else []


def _draw_unsound(axes: Axes, drawn: Drawn) -> list[Artist]:
    """Candidates that cannot be chosen: hollow and crossed, at the edge where they are beyond it, or a cross alone."""
    (low, high), bottom = axes.get_ylim(), axes.get_xaxis_transform()
    handles: dict[str, Artist] = {}
    problems: dict[str | None, None] = {}
    beyond: dict[tuple[float, float], list[float]] = {}
    for i in np.flatnonzero(~drawn.standing.sound).tolist():
        point, x, excess = drawn.points[i], drawn.x[i], drawn.standing.excess[i]
        look = {**_look(point), "linestyle": ""}
        if not math.isfinite(excess):
            axes.plot(x, 0.0, color=look["color"], transform=bottom, clip_on=False, zorder=5, **NO_VALUE)
            text = "no value" if point.problem is None else f"{point.problem}: no value"
            handles[text] = Line2D([], [], color="0.35", label=text, **NO_VALUE)
            continue
        y = float(np.clip(excess, low, high))
        axes.plot(x, y, clip_on=False, zorder=4, **{**look, **HOLLOW})
        axes.plot(x, y, clip_on=False, zorder=4, color=look["color"], **CROSS)
        if y != excess:
            beyond.setdefault((x, y), []).append(float(round(excess)))
        problems[point.problem] = None
    for (x, y), values in beyond.items():
        farthest = max(values, key=abs)
        text = ticks.signed_text(farthest) if len({*values}) == 1 else f"to {ticks.signed_text(farthest)}"
        side = -1.0 if x > min(drawn.x) else 1.0  # between its mark and that of one component less
        beside: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False, **pages.NOTE}
        beside["ha"] = "right" if side < 0.0 else "left"
        axes.annotate(text, (x, y), (6.0 * side, -11.0 if y == high else 3.0), **beside)
    if problems:
        label = ",\n".join(map(str, problems)) + ": left out"
        handles[label] = Line2D([], [], label=label, **HOLLOW_IN_LEGEND)
    return list(handles.values())
