"""The interactive plots of a fit to several columns: data and ellipses, and how well they agree.

Two columns are one plot; of more, each pair of the columns that separate the components best is a panel, and panels
share the axes of their row and column. A page with all of many observations would be slow: it shows an even part.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.analysis import agreement, columns_agreement, curves, planes, projections
from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import Mixture, MultivariateMixture
from gmm_pipeline.model.noise import LABEL
from gmm_pipeline.report.charts import DASHES, QUIET, band
from gmm_pipeline.report.plotting import (
    AXIS,
    Chart,
    chart,
    component_color,
    line_of,
    numbers,
    text,
    trace,
    with_unit,
)

MOST_POINTS, MOST_POINTS_OF_PAIRS = 4000, 800
MOST_COLUMNS = 6
MOST_LINES = 8
MOST_SITES = 300
GAP = 0.02
"""Between panels, as a share of the whole."""
NOISE = "noise"
SPOKEN = 3
"""Components whose responsibilities are shown for an observation."""
RADII = (1.0, 2.0)
SMALL: dict[str, Any] = {"tickfont": {"size": 10}, "nticks": 5, "showgrid": False, "zeroline": False}


class Drawn(NamedTuple):
    """A plot and what it shows, in words."""

    chart: Chart
    alt: str
    caption: str


def components(
    data: Float[np.ndarray, "n d"],
    fitted: MultivariateMixture,
    responsibilities: Float[np.ndarray, "K n"],
    *,
    columns: Sequence[str],
    unit: str | None,
    degenerate: Sequence[int] = (),
) -> Drawn:
    """The data by component, with the ellipses of the components: one plot of two columns, a matrix of more.

    Args:
        data: of d columns.
        fitted: the mixture.
        responsibilities: of the components for each datum, and of the noise last, if there is any.
        columns: their names.
        unit: of the columns, or None for none.
        degenerate: components that are always named.
    """
    chosen = projections.separating_columns(fitted, MOST_COLUMNS).tolist()
    is_pair = len(columns) == 2
    shown = _spread(len(data), MOST_POINTS if is_pair else MOST_POINTS_OF_PAIRS)
    named = curves.named(fitted.weights, degenerate)
    n_components = len(fitted.locs)
    labels = portable.labels_of(responsibilities[:, shown], n_components)
    hover = _hover(responsibilities[:, shown], shown, n_components)
    drawable, traces = projections.drawable(fitted), []
    panels = [(column, row) for row in range(1, len(chosen)) for column in range(row)]
    for number, (column, row) in enumerate(panels):
        pair = np.array([chosen[column], chosen[row]])
        seen, mixture = data[np.ix_(shown, pair)], projections.of_columns(fitted, pair)
        place = {"xaxis": _numbered("x", column + 1), "yaxis": _numbered("y", row)}
        groups = [(str(k), f"component {k}", [k]) for k in named.chosen.tolist()]
        groups += [("rest", named.rest, named.others.tolist())]
        groups += [(NOISE, NOISE, [LABEL])] if len(responsibilities) > n_components else []
        for group, name, members in groups:
            if not members:
                continue
            color = component_color(members[0]) if group.isdigit() else "--muted"
            here = np.flatnonzero(np.isin(labels, members))
            together: dict[str, Any] = {"legendgroup": group, **place}
            marker = {"color": color, "size": 6 if is_pair else 4, "opacity": 0.6}
            look = {"marker": marker, "showlegend": number == 0, "hovertemplate": "%{text}<extra></extra>"}
            words = [hover[i] for i in here]
            traces.append(trace("markers", name, numbers(seen[here, 0]), seen[here, 1], text=words, **look, **together))
            outlines = _outlines(mixture, [k for k in members if k != LABEL and drawable[k]])
            line = {"color": color, "width": 1.8, "dash": DASHES[members[0] % len(DASHES)]}
            line_look = {**QUIET, "showlegend": False, **together}
            traces.append(line_of(numbers(outlines[:, 0]), outlines[:, 1], f"{name}, ellipses", line, **line_look))
    ranges = [_range(data[:, column], projections.marginal(fitted, column)) for column in chosen]
    part = "" if len(shown) == len(data) else f" {len(shown):,} of {len(data):,} observations are shown."
    part += " Some lie outside: a double click shows all." if any(ranges) else ""
    ellipses = "ellipses at 1 and 2 standard deviations"
    if is_pair:
        x, y = ({"title": with_unit(columns[number], unit), **ranges[chosen.index(number)]} for number in range(2))
        alt = f"{columns[1]} over {columns[0]}: the data by component, with {ellipses}"
        caption = f"Observations by their most probable component, and the components' {ellipses}.{part}"
        return Drawn(chart(traces, x=x, y=y), alt, caption)
    kept = f"the {len(chosen)} of {len(columns)} columns that separate the components most"
    which = "Each pair of columns" if len(chosen) == len(columns) else f"Each pair of {kept}"
    alt = f"{which}: the data by component, with {ellipses}"
    caption = f"{which}: observations by their most probable component, and the components' {ellipses}.{part}"
    axes = [{"title": with_unit(columns[int(column)], unit), **own} for column, own in zip(chosen, ranges, strict=True)]
    return Drawn(_matrix(traces, axes), alt, caption)


def _range(data: Float[np.ndarray, " n"], mixture: Mixture) -> dict[str, list[float]]:
    """The range of an axis where outliers would squeeze the rest; nothing where all data may be seen."""
    low, high = planes.limits_of(data, None, mixture)
    return {} if low <= data.min() and data.max() <= high else {"range": [low, high]}


def _spread(count: int, most: int) -> np.ndarray:
    """Places of at most so many observations, evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(int)


def _hover(responsibilities: Float[np.ndarray, "K n"], rows: np.ndarray, n_components: int) -> list[str]:
    """What is said of each observation: its number and the components that are responsible for it."""
    order = np.argsort(-responsibilities, axis=0, kind="stable")[:SPOKEN]
    names, said = [*map(str, range(n_components)), NOISE], []
    for row, best, shares in zip(rows.tolist(), order.T.tolist(), responsibilities.T, strict=True):
        parts = ", ".join(f"{names[component]}: {shares[component]:.3f}" for component in best)
        said.append(f"observation {row + 1:,}<br>responsibilities {parts}")
    return said


def _outlines(mixture: MultivariateMixture, members: Sequence[int]) -> Float[np.ndarray, "P 2"]:
    """The ellipses of some components as one line with gaps."""
    gap = np.full((1, 2), np.nan)
    lines = [
        np.concatenate([planes.outline(mixture.locs[component], mixture.covariances[component], radius), gap])
        for component in members
        for radius in RADII
    ]
    return np.concatenate(lines) if lines else gap


def _matrix(traces: Sequence[dict[str, Any]], of_columns: Sequence[dict[str, Any]]) -> Chart:
    """Panels below a diagonal, which share the axes of their column and row."""
    count = len(of_columns) - 1
    width = (1.0 - (count - 1) * GAP) / count
    axes: dict[str, Any] = {}
    for number in range(count):
        # Rounded, so that the last one ends at 1 exactly.
        start, end = (round(number * (width + GAP) + more, 6) for more in (0.0, width))
        across = {**AXIS, **SMALL, **of_columns[number], "domain": [start, end], "anchor": _numbered("y", count)}
        # Rows are counted from the top.
        domain = [round(1.0 - end, 6), 1.0 - start]
        up = {**AXIS, **SMALL, **of_columns[number + 1], "domain": domain, "anchor": "x"}
        axes |= {_numbered("xaxis", number + 1): across, _numbered("yaxis", number + 1): up}
    return chart(traces, x=axes.pop("xaxis"), y=axes.pop("yaxis"), **axes)


def _numbered(axis: str, number: int) -> str:
    """Plotly counts axes as x, x2, x3."""
    return axis if number == 1 else f"{axis}{number}"


def _in_order(traces: Sequence[dict[str, Any]], **axes: Any) -> Chart:
    """A plot whose legend has the traces in their order, which an area between two of them would reverse."""
    drawn = chart(traces, **axes)
    drawn["layout"]["legend"]["traceorder"] = "normal"
    return drawn


def mahalanobis(found: Sequence[columns_agreement.Distances], *, n_columns: int, level: float) -> Chart | None:
    """Squared distances from each component against quantiles of χ², with the widest of the bands.

    Args:
        found: of the components.
        n_columns: degrees of freedom.
        level: of the bands.
    """
    if not found:
        return None
    widest = min(found, key=lambda one: one.observations)
    expected = numbers(widest.expected)
    traces = band(expected, widest.lower, widest.upper, f"{100.0 * level:g} % band")
    ends = [0.0, max(float(one.expected[-1]) for one in found)]
    traces.append(line_of(numbers(ends), ends, "equal", {"color": "--muted", "width": 1}, **QUIET))
    for one in found[: curves.MOST_NAMED]:
        marker = {"color": component_color(one.component), "size": 4.5}
        hover = f"component {one.component}: %{{y:.4g}}, expected %{{x:.4g}}<extra></extra>"
        where = numbers(one.expected), one.squared
        traces.append(trace("markers", f"component {one.component}", *where, marker=marker, hovertemplate=hover))
    return _in_order(
        traces,
        x={"title": {"text": f"quantiles of χ², {n_columns} degrees of freedom"}, "rangemode": "tozero"},
        y={"title": {"text": "squared distance"}, "rangemode": "tozero"},
    )


def marginals(calibrations: Sequence[agreement.Calibration], *, columns: Sequence[str], level: float) -> Chart:
    """The empirical CDF of each column, at the middle of its steps, less that of its marginal mixture.

    Args:
        calibrations: of the columns.
        columns: their names; those that deviate most are drawn.
        level: of Kolmogorov's band.
    """
    largest = columns_agreement.deviations(calibrations)
    half = agreement.kolmogorov(level) / math.sqrt(calibrations[0].total)
    ends = numbers([0.0, 1.0])
    traces = band(ends, [-half] * 2, [half] * 2, f"{100.0 * level:g} % band (Kolmogorov)")
    for number, column in enumerate(np.sort(np.argsort(-largest, kind="stable")[:MOST_LINES]).tolist()):
        one = calibrations[column]
        sites = _spread(len(one.fitted), MOST_SITES)
        line = {"color": component_color(number), "width": 1.6, "dash": DASHES[number % len(DASHES)]}
        hover = f"{text(columns[int(column)])}: F = %{{x:.3f}}, %{{y:+.4f}}<extra></extra>"
        departures, name = columns_agreement.departures(one)[sites], columns[int(column)]
        traces.append(line_of(numbers(one.fitted[sites]), departures, name, line, hovertemplate=hover))
    return _in_order(
        traces,
        x={"title": {"text": "fitted CDF of a column, F(x)"}, "range": [0.0, 1.0]},
        y={"title": {"text": "empirical CDF − F(x)"}, "zeroline": True, "zerolinecolor": "--muted"},
    )
