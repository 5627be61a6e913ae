"""Do data of several columns agree with the fitted mixture: distances within components, and each column by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gmm_pipeline.analysis import agreement, columns_agreement
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.pictures import drawing, pages

MOST_PANELS = 9
MOST_LINES = 8
MOST_QUANTILES = 300
BAND: dict[str, Any] = {"color": "0.9", "linewidth": 0.0, "zorder": 0}
EQUAL: dict[str, Any] = {"color": "0.55", "linewidth": 0.8, "zorder": 1}


def draw_mahalanobis(
    data: Float[np.ndarray, "n d"],
    sample_weights: Float[np.ndarray, " n"] | None,
    fitted: MultivariateMixture,
    responsibilities: Float[np.ndarray, "K n"],
    *,
    level: float,
    figure: Figure | SubFigure,
    omitted: str = "",
) -> list[Axes]:
    """Squared distances from each component against χ², one panel per component, the heaviest ones first.

    Args:
        data: of d columns.
        sample_weights: how often each datum counts; None for once each.
        fitted: the mixture.
        responsibilities: of the components for each datum.
        level: of the bands.
        figure: where to draw.
        omitted: which observations are not shown, or nothing.
    """
    found = columns_agreement.distances(
        data, sample_weights, fitted, responsibilities, level=level, most=MOST_QUANTILES
    )
    shown = found[:MOST_PANELS]
    if not shown:
        figure.text(0.5, 0.5, "no component has enough observations", ha="center", **pages.NOTE)
        return []
    grid = drawing.panels_of(figure, len(shown), f"quantiles of χ²({data.shape[1]})")
    for axes, one in zip(grid, shown, strict=True):
        _draw_quantiles(axes, one)
        axes.set_title(f"component {one.component}, n = {one.observations:,.0f}", fontsize="small")
    top = 1.06 * max(float(one.expected[-1]) for one in shown)
    grid[0].set_xlim(0.0, top)
    beyond = sum(int(np.count_nonzero(one.squared > 2.0 * top)) for one in shown)
    grid[0].set_ylim(0.0, min(2.0 * top, 1.06 * max(max(one.squared[-1], one.expected[-1]) for one in shown)))
    figure.supylabel("squared distance from the component", fontsize="medium")
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=3.5, color="0.3", label="observations"),
        Line2D([], [], label="equal", **{**EQUAL, "zorder": 1}),
        Patch(color=BAND["color"], label=f"{100.0 * level:g} % band, for each quantile"),
    ]
    pages.put_legend(figure, handles, below=True, handlelength=1.5)
    few = f"the first {len(shown)} of {len(found)} components" if len(found) > len(shown) else ""
    pages.note(figure, [few, f"{beyond} observation{'s' * (beyond > 1)} beyond the panels" if beyond else "", omitted])
    return grid


def _draw_quantiles(axes: Axes, one: columns_agreement.Distances) -> None:
    axes.fill_between(one.expected, one.lower, one.upper, **BAND)
    axes.plot([0.0, one.expected[-1]], [0.0, one.expected[-1]], **EQUAL)
    look = {"marker": "o", "markersize": 2.6, "linestyle": "", "rasterized": True}
    axes.plot(one.expected, one.squared, color=drawing.component_style(one.component)["color"], **look)


def draw_marginals(
    data: Float[np.ndarray, "n d"],
    sample_weights: Float[np.ndarray, " n"] | None,
    fitted: MultivariateMixture,
    *,
    columns: Sequence[str],
    level: float,
    ax: Axes,
    omitted: str = "",
) -> Axes:
    """The empirical CDF of each column, at the middle of its steps, less that of its marginal mixture.

    Args:
        data: of d columns.
        sample_weights: how often each datum counts; None for once each.
        fitted: the mixture.
        columns: names of the columns.
        level: of the band.
        ax: where to draw.
        omitted: which observations are not shown, or nothing.
    """
    calibrations = columns_agreement.marginals(data, sample_weights, fitted)
    largest = columns_agreement.deviations(calibrations)
    shown = np.sort(np.argsort(-largest, kind="stable")[:MOST_LINES])
    half = agreement.kolmogorov(level) / np.sqrt(calibrations[0].total)
    ax.axhspan(-half, half, label=f"{100.0 * level:g} % band\n(Kolmogorov)", **BAND)
    ax.axhline(0.0, **EQUAL)
    for number, column in enumerate(shown.tolist()):
        one = calibrations[column]
        look = {**drawing.component_style(number), "linewidth": 1.3}
        label = f"{drawing.legend_name(columns[int(column)])}: {largest[column]:.2f}"
        ax.plot(one.fitted, columns_agreement.departures(one), label=label, **look)
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("fitted CDF of a column, F(x)")
    ax.set_ylabel("empirical CDF − F(x)")
    more = len(columns) > len(shown)
    pages.put_legend(ax, title="column: largest\ndeviation × √n")
    pages.note(ax, [f"the {len(shown)} of {len(columns)} columns that deviate most" if more else "", omitted])
    return ax
