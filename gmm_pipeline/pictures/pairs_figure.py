"""Pictures of a mixture of more than two columns: pairs of columns, the best directions, and locs column by column.

Columns beyond what can be read are left out: those stay that separate the components most, and the picture says so.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from gmm_pipeline.analysis import curves, planes, projections
from gmm_pipeline.model.natural import Mixture, MultivariateMixture
from gmm_pipeline.pictures import drawing, pages, ticks
from gmm_pipeline.pictures.plane_doubts import draw_doubts
from gmm_pipeline.pictures.planes import (
    MOST_POINTS,
    Plane,
    draw_data,
    draw_ellipses,
    draw_plane,
    draw_truth,
    handles_of,
    labels_of,
    lost,
)

MOST_COLUMNS, MOST_OF_NARROW = 6, 4
"""Columns of a picture of pairs."""
MOST_PARALLEL = 24
"""Columns of a picture of parallel coordinates."""
POINT_SHARE = {3: 0.7, 4: 0.6, 5: 0.5, 6: 0.4}
"""Area of an observation by the number of columns, as a share of that in a single picture."""
MOST_TERMS, TERMS_OF_LINE = 3, 2
MOST_TERMS_OF_NARROW = 2
"""One to a line."""
LONGEST_NAME, LONGEST_OF_NARROW = 15, 10
BESIDE_LEGEND = 0.6
"""Share of a picture's width that is free beside the legend in its corner."""
BOX = 0.2
"""Half of the width that the components share at each column."""


class Columns(NamedTuple):
    """Data of several columns and the mixture that was fitted to them, as pictures show them."""

    data: Float[np.ndarray, "n d"]
    """Rows without a missing value."""
    sample_weights: Float[np.ndarray, " n"] | None
    """How often each datum counts; None for once each."""
    fitted: MultivariateMixture
    """The mixture, one component of which can be drawn."""
    truth: MultivariateMixture | None
    """The mixture that made the data; None if it is not known."""
    responsibilities: Float[np.ndarray, "K n"]
    """Of the components for each datum, and of the noise last, if there is any."""
    names: Sequence[str]
    unit: str | None
    """Of all columns; None for none."""
    omitted: str = ""
    """Which observations are not shown; empty if all are."""


def draw_pairs(columns: Columns, *, degenerate: Sequence[int] = (), figure: Figure | SubFigure) -> list[Axes]:
    """Each pair of columns with projected ellipses, and on the diagonal each column with its marginal densities.

    Args:
        columns: what is shown.
        degenerate: components that are marked as degenerate.
        figure: where to draw; a page is made almost as high as it is wide.
    """
    data, sample_weights, fitted, truth, responsibilities = columns[:5]
    narrow = pages.is_narrow(figure)
    chosen = projections.separating_columns(fitted, MOST_OF_NARROW if narrow else MOST_COLUMNS)
    count, is_many = len(chosen), len(data) > MOST_POINTS
    longest = LONGEST_OF_NARROW if narrow else LONGEST_NAME
    names = [drawing.shortened(columns.names[int(column)], longest) for column in chosen]
    labels = [label.replace(" / ", "\n/ ") if narrow else label for label in labels_of(names, columns.unit)]
    label_look: dict[str, Any] = {"parse_math": False, "fontsize": "small"}
    marginals = [projections.marginal(fitted, column) for column in chosen.tolist()]
    limits = [
        planes.limits_of(data[:, column], sample_weights, mixture)
        for column, mixture in zip(chosen.tolist(), marginals, strict=True)
    ]
    if isinstance(figure, pages.Page):
        figure.set_figheight(0.92 * figure.get_figwidth())
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
            sizes: dict[str, Any] = {"n_components": len(fitted.locs), "share_of_size": share}
            draw_data(axes, data[:, pair], responsibilities, sample_weights, **sizes)
            if truth is not None:
                draw_truth(axes, projections.of_columns(truth, pair), halo=is_many)
            draw_ellipses(axes, mixture, degenerate=degenerate, halo=is_many, width=0.75)
        across = ticks.set_panel_ticks(axes.xaxis, 4)
        up = ticks.set_panel_ticks(axes.yaxis, 4) if column < row else ""
        axes.tick_params(labelsize="small", labelbottom=row == count - 1, labelleft=column == 0 and row > 0)
        if row == count - 1:
            axes.set_xlabel(ticks.with_power(labels[column], across), **label_look)
        if column == 0 and row > 0:
            axes.set_ylabel(ticks.with_power(labels[row], up), **label_look)
    figure.align_labels()
    noise = len(responsibilities) > len(fitted.locs)
    marks: dict[str, Any] = {"degenerate": degenerate, "truth": truth is not None, "noise": noise}
    handles = handles_of(fitted, len(data), contours=False, **marks)
    title = "component: weight;\nellipses at 1 and 2 standard deviations"
    if narrow:
        pages.put_legend(figure, handles, title=title)
    else:
        figure.legend(handles=handles, loc="upper right", title=title, alignment="left")
    kept = f"the {count} of {len(columns.names)} columns that separate the components most"
    omitted = [kept if count < len(columns.names) else "", lost(fitted), columns.omitted]
    pages.note(figure, omitted, share=1.0 if narrow else BESIDE_LEGEND)
    return [axes for axes in grid.ravel() if axes.get_visible()]


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


def plane_of(columns: Columns, *, narrow: bool) -> Plane:
    """What a single picture shows: the two columns, or the two directions that separate the components best.

    Args:
        columns: the data and the mixture.
        narrow: whether labels have to be short.
    """
    if len(columns.names) == 2:
        matrix, labels, explained = np.eye(2), labels_of(columns.names, columns.unit), ""
    else:
        projection = projections.separating_directions(columns.fitted)
        matrix, labels = projection.matrix, direction_labels(projection, columns.names, narrow=narrow)
        explained = ";\naxes: sums of columns in\nstandard deviations\nwithin components"
    return Plane(
        columns.data @ matrix,
        columns.sample_weights,
        projections.projected(columns.fitted, matrix),
        None if columns.truth is None else projections.projected(columns.truth, matrix),
        columns.responsibilities,
        labels,
        explained,
        columns.omitted,
    )


def draw_columns(columns: Columns, *, degenerate: Sequence[int] = (), ax: Axes) -> Axes:
    """The data and the components on two columns, or on the two directions that separate the components best.

    Args:
        columns: what is shown.
        degenerate: components that are marked as degenerate.
        ax: where to draw.
    """
    return draw_plane(plane_of(columns, narrow=pages.is_narrow(pages.figure_of(ax))), degenerate=degenerate, ax=ax)


def draw_uncertainty(columns: Columns, *, ax: Axes) -> Axes:
    """How uncertain the most probable component of each datum is, where `draw_columns` shows it.

    Args:
        columns: what is shown.
        ax: where to draw.
    """
    return draw_doubts(plane_of(columns, narrow=pages.is_narrow(pages.figure_of(ax))), ax=ax)


def direction_labels(projection: projections.Projection, columns: Sequence[str], *, narrow: bool = False) -> list[str]:
    """Each direction as a sum of columns, in units of their standard deviations, the largest terms first.

    Args:
        projection: the directions.
        columns: their names.
        narrow: whether labels have to be short.
    """
    most, of_line = (MOST_TERMS_OF_NARROW, 1) if narrow else (MOST_TERMS, TERMS_OF_LINE)
    labels, names = [], [drawing.shortened(column, LONGEST_NAME) for column in columns]
    for loadings in projection.loadings.T:
        order = np.argsort(-np.abs(loadings), kind="stable").tolist()
        terms = [f"{'−' if loadings[j] < 0.0 else '+'} {abs(loadings[j]):.2g} {names[j]}" for j in order]
        shown = [" ".join(terms[i : min(i + of_line, most)]) for i in range(0, min(most, len(terms)), of_line)]
        labels.append("\n".join(shown).removeprefix("+ ") + " + …" * (len(terms) > most))
    return labels


def draw_parallel(
    fitted: MultivariateMixture,
    *,
    columns: Sequence[str],
    ax: Axes,
) -> Axes:
    """The locs of the components column by column, each with a bar of one standard deviation to both sides.

    Args:
        fitted: the mixture.
        columns: their names.
        ax: where to draw.
    """
    chosen = projections.separating_columns(fitted, MOST_PARALLEL)
    between, within = projections.between_and_within(fitted)
    unit = np.sqrt(np.diagonal(between + within))[chosen]
    mean = (np.where(projections.drawable(fitted), fitted.weights, 0.0) @ np.nan_to_num(fitted.locs))[chosen]
    named, x = curves.named(fitted.weights), np.arange(len(chosen))
    aside = np.linspace(-BOX, BOX, len(named.chosen)) if len(named.chosen) > 1 else np.zeros(1)
    ax.axhline(0.0, color="0.8", linewidth=0.7, zorder=0)
    for component in named.others.tolist():
        ax.plot(x, (fitted.locs[component, chosen] - mean) / unit, **drawing.REST)
    for place, component in zip(x[:, None].T + aside[:, None], named.chosen.tolist(), strict=True):
        heights = (fitted.locs[component, chosen] - mean) / unit
        style = drawing.component_style(component)
        spread = fitted.scales[component, chosen] / unit
        ax.errorbar(place, heights, yerr=spread, fmt="none", ecolor=style["color"], elinewidth=1.1, zorder=2)
        label = f"component {component}: {fitted.weights[component]:.3f}"
        ax.plot(place, heights, label=label, marker="o", markersize=3.5, zorder=3, **style)
    ax.set_xlim(-0.6, len(chosen) - 0.4)
    names = [drawing.shortened(columns[int(column)], LONGEST_NAME) for column in chosen]
    # Each has as much room as any other, and two neighbours may be long.
    pair = max((len(one) + len(other) for one, other in itertools.pairwise(names)), default=0)
    crowded = len(names) * (0.5 * pair + 1.0) > (30 if pages.is_narrow(pages.figure_of(ax)) else 65)
    ax.set_xticks(x, names, rotation=40 if crowded else 0, ha="right" if crowded else "center", parse_math=False)
    ax.set_ylabel("(loc − mean) / standard\ndeviation of the column")
    kept = f"the {len(chosen)} of {len(columns)} columns that separate the components most"
    title = "component: weight;\nbars: ± 1 standard\ndeviation within it"
    pages.put_legend(ax, title=title)
    pages.note(ax, [kept if len(chosen) < len(columns) else "", lost(fitted)])
    return ax
