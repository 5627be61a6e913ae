"""Pictures of a mixture of more than two columns: pairs of columns, the best directions, and locs column by column.

Columns beyond what can be read are left out: those stay that separate the components most, and the picture says so.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmm_pipeline.analysis import curves, planes, projections
from gmm_pipeline.model.natural import Mixture, MultivariateMixture
from gmm_pipeline.pictures import drawing
from gmm_pipeline.pictures.planes import (
    MOST_POINTS,
    draw_data,
    draw_ellipses,
    draw_plane,
    draw_truth,
    handles_of,
    labels_of,
    lost,
)

MOST_COLUMNS = 6
"""Columns of a picture of pairs."""
MOST_PARALLEL = 24
"""Columns of a picture of parallel coordinates."""
POINT_SHARE = {3: 0.7, 4: 0.6, 5: 0.5, 6: 0.4}
"""Area of an observation by the number of columns, as a share of that in a single picture."""
MOST_TERMS, TERMS_OF_LINE = 3, 2
LONGEST_NAME = 16
BOX = 0.2
"""Half of the width that the components share at each column."""


def draw_pairs(
    data: Float[np.ndarray, "n d"],
    sample_weights: Float[np.ndarray, " n"] | None,
    fitted: MultivariateMixture,
    truth: MultivariateMixture | None,
    responsibilities: Float[np.ndarray, "K n"],
    *,
    columns: Sequence[str],
    unit: str | None,
    degenerate: Sequence[int] = (),
    omitted: str = "",
    size: Sequence[float],
) -> Figure:
    """Each pair of columns with projected ellipses, and on the diagonal each column with its marginal densities.

    Args:
        data: of d columns.
        sample_weights: how often each datum counts; None for once each.
        fitted: the mixture.
        truth: the mixture that made the data, or None.
        responsibilities: of the components for each datum.
        columns: their names.
        unit: of the columns, or None for none.
        degenerate: components that are marked as degenerate.
        omitted: which observations are not shown, or nothing.
        size: width of the figure, in inches; it is almost as high.
    """
    chosen = projections.separating_columns(fitted, MOST_COLUMNS)
    count, is_many = len(chosen), len(data) > MOST_POINTS
    names = [_short(columns[int(column)]) for column in chosen]
    labels = labels_of(names, unit)
    label_look: dict[str, Any] = {"parse_math": False, "fontsize": 8.0}
    marginals = [projections.marginal(fitted, column) for column in chosen.tolist()]
    limits = [
        planes.limits_of(data[:, column], sample_weights, mixture)
        for column, mixture in zip(chosen.tolist(), marginals, strict=True)
    ]
    with drawing.style():
        figure = drawing.blank(size[0], size[0] * 0.92)
        grid = figure.subplots(count, count, squeeze=False)
        for row, column in np.ndindex(count, count):
            axes, pair = cast(Axes, grid[row, column]), chosen[[column, row]]
            if column > row:
                axes.set_visible(False)
                continue
            if column == row:
                axes.set_xlim(*limits[row])
                _draw_marginal(axes, data[:, chosen[row]], sample_weights, marginals[row])
            else:
                mixture = projections.of_columns(fitted, pair)
                axes.set(xlim=limits[column], ylim=limits[row])
                share = POINT_SHARE.get(count, 1.0)
                draw_data(axes, data[:, pair], responsibilities, sample_weights, share_of_size=share)
                if truth is not None:
                    draw_truth(axes, projections.of_columns(truth, pair), halo=is_many)
                draw_ellipses(axes, mixture, degenerate=degenerate, halo=is_many, width=0.75)
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize=7.0, labelbottom=row == count - 1, labelleft=column == 0 and row > 0)
            if row == count - 1:
                axes.set_xlabel(labels[column], **label_look)
            if column == 0 and row > 0:
                axes.set_ylabel(labels[row], **label_look)
        figure.align_labels()
        handles = handles_of(fitted, len(data), degenerate=degenerate, truth=truth is not None, contours=False)
        title = "component: weight\nellipses at 1 and 2 standard deviations"
        figure.legend(handles=handles, loc="upper right", title=title, alignment="left", title_fontsize=8.0)
        kept = f"the {count} of {len(columns)} columns that separate the components most"
        drawing.note(figure, [kept if count < len(columns) else "", lost(fitted), omitted])
    return figure


def _draw_marginal(
    axes: Axes, data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"] | None, mixture: Mixture
) -> None:
    """A histogram with the densities of the components and of the mixture; its heights have no ticks."""
    bars = curves.histogram(data, sample_weights)
    axes.stairs(bars.densities, bars.edges, zorder=0.5, **drawing.BARS)
    points = curves.density_points(axes.get_xlim(), mixture, base=200)
    parts = curves.weighted_densities(mixture, points)
    total = np.nansum(parts, axis=0)
    axes.plot(points, total, **{**drawing.MIXTURE, "linewidth": 1.0})
    if len(parts) > 1:
        drawing.draw_components(axes, points, parts, mixture.weights, linewidth=1.2)
    axes.set_ylim(0.0, curves.density_top(bars, total)[0])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def draw_projection(
    data: Float[np.ndarray, "n d"],
    sample_weights: Float[np.ndarray, " n"] | None,
    fitted: MultivariateMixture,
    truth: MultivariateMixture | None,
    responsibilities: Float[np.ndarray, "K n"],
    *,
    columns: Sequence[str],
    degenerate: Sequence[int] = (),
    omitted: str = "",
    size: Sequence[float],
) -> Figure:
    """The data and the components on the two directions that separate the components best.

    Args:
        data: of d columns.
        sample_weights: how often each datum counts; None for once each.
        fitted: the mixture, one component of which can be drawn.
        truth: the mixture that made the data, or None.
        responsibilities: of the components for each datum.
        columns: their names.
        degenerate: components that are marked as degenerate.
        omitted: which observations are not shown, or nothing.
        size: width and height of the figure, in inches.
    """
    projection = projections.separating_directions(fitted)
    return draw_plane(
        data @ projection.matrix,
        sample_weights,
        projections.projected(fitted, projection.matrix),
        None if truth is None else projections.projected(truth, projection.matrix),
        responsibilities,
        labels=direction_labels(projection, columns),
        degenerate=degenerate,
        explained="\naxes: sums of columns in\nstandard deviations\nwithin components",
        omitted=omitted,
        size=size,
    )


def direction_labels(projection: projections.Projection, columns: Sequence[str]) -> list[str]:
    """Each direction as a sum of columns, in units of their standard deviations, the largest terms first.

    Args:
        projection: the directions.
        columns: their names.
    """
    labels, names = [], [_short(column) for column in columns]
    for loadings in projection.loadings.T:
        order = np.argsort(-np.abs(loadings), kind="stable").tolist()
        terms = [f"{'−' if loadings[j] < 0.0 else '+'} {abs(loadings[j]):.2g} {names[j]}" for j in order]
        shown = [*terms[:MOST_TERMS], *["+ …"] * (len(terms) > MOST_TERMS)]
        lines = [" ".join(shown[i : i + TERMS_OF_LINE]) for i in range(0, len(shown), TERMS_OF_LINE)]
        labels.append("\n".join(lines).removeprefix("+ "))
    return labels


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def draw_parallel(
    fitted: MultivariateMixture,
    *,
    columns: Sequence[str],
    size: Sequence[float],
) -> Figure:
    """The locs of the components column by column, each with a bar of one standard deviation to both sides.

    Args:
        fitted: the mixture.
        columns: their names.
        size: width and height of the figure, in inches.
    """
    chosen = projections.separating_columns(fitted, MOST_PARALLEL)
    between, within = projections.between_and_within(fitted)
    unit = np.sqrt(np.diagonal(between + within))[chosen]
    mean = (np.where(projections.drawable(fitted), fitted.weights, 0.0) @ np.nan_to_num(fitted.locs))[chosen]
    named, x = curves.named(fitted.weights), np.arange(len(chosen))
    aside = np.linspace(-BOX, BOX, len(named.chosen)) if len(named.chosen) > 1 else np.zeros(1)
    with drawing.style():
        figure, (axes,) = drawing.new_figure(size)
        axes.axhline(0.0, color="0.8", linewidth=0.7, zorder=0)
        for component in named.others.tolist():
            axes.plot(x, (fitted.locs[component, chosen] - mean) / unit, **drawing.REST)
        for place, component in zip(x[:, None].T + aside[:, None], named.chosen.tolist(), strict=True):
            heights = (fitted.locs[component, chosen] - mean) / unit
            style = drawing.component_style(component)
            spread = fitted.scales[component, chosen] / unit
            axes.errorbar(place, heights, yerr=spread, fmt="none", ecolor=style["color"], elinewidth=1.1, zorder=2)
            label = f"component {component}: {fitted.weights[component]:.3f}"
            axes.plot(place, heights, label=label, marker="o", markersize=3.5, zorder=3, **style)
        axes.set_xlim(-0.6, len(chosen) - 0.4)
        names = [_short(columns[int(column)]) for column in chosen]
        crowded = sum(map(len, names)) > 60
        axes.set_xticks(x, names, rotation=40 if crowded else 0, ha="right" if crowded else "center", parse_math=False)
        axes.set_ylabel("(loc − mean) / standard\ndeviation of the column")
        kept = f"the {len(chosen)} of {len(columns)} columns that separate the components most"
        drawing.note(figure, [kept if len(chosen) < len(columns) else "", lost(fitted)])
        title = "component: weight\nbars: ± 1 standard\ndeviation within it"
        figure.legend(loc="outside right upper", title=title, alignment="left", title_fontsize=8.0)
    return figure
