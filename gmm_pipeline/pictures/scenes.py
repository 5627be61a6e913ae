"""What an animation shows of a mixture over its data: densities of one column, ellipses of several."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Real
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gmm_pipeline.analysis import curves, planes, projections
from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateMixture
from gmm_pipeline.pictures import drawing
from gmm_pipeline.pictures import planes as plane_pictures
from gmm_pipeline.pictures.pairs_figure import direction_labels
from gmm_pipeline.records.artifacts import History

DATA: dict[str, Any] = {"color": "0.72", "s": 9.0, "linewidths": 0.0, "zorder": 1}


class Scene(NamedTuple):
    """How the upper axes are drawn."""

    draw_entry: Callable[[Axes, int], None]
    """What moves: the mixture of a history entry."""
    draw_still: Callable[[Axes], None]
    """What stays: data, labels, limits."""
    legend: Callable[[Axes], tuple[list[Artist], list[str]]]
    """Handles and labels, once all is drawn."""


def _entry(history: History, index: int) -> AnyMixture:
    return type(history.mixtures)(*(values[index] for values in history.mixtures))


def of_numbers(
    history: History,
    data: Real[np.ndarray, " n"],
    sample_weights: Real[np.ndarray, " n"] | None,
    *,
    name: str,
    unit: str | None,
    log_noise: float | None = None,
) -> Scene:
    """Densities of the mixture and its components over a histogram of one column.

    Args:
        history: of its fit.
        data: x, in `unit`.
        sample_weights: how often each datum counts; None for once each.
        name: what the data are, for the axis.
        unit: unit of the data, or None for none.
        log_noise: log density of the noise; None without noise.
    """
    bars = curves.histogram(data, sample_weights)
    window = curves.window_of(bars)
    n_components = history.mixtures.locs.shape[1]

    def draw_entry(axes: Axes, index: int) -> None:
        entry = cast(Mixture, _entry(history, index))
        points, parts = _parts(entry, window)
        axes.plot(points, curves.mixture_density(parts, entry.weights, log_noise), **drawing.MIXTURE)
        for component, part in enumerate(parts if len(parts) > 1 else ()):
            axes.plot(points, part, **drawing.component_style(component))

    def draw_still(axes: Axes) -> None:
        drawing.draw_bars(axes, bars, name=name, unit=unit)
        axes.set_title(drawing.outside(bars.share_outside), loc="right", **drawing.NOTE)
        axes.set_ylim(0.0, _top(history, bars, window))

    def legend(axes: Axes) -> tuple[list[Artist], list[str]]:
        handles = [*axes.patches, *axes.lines[: 1 + (n_components if n_components > 1 else 0)]]
        labels = ["data", "mixture", *(f"component {component}" for component in range(n_components))]
        return handles, labels[: len(handles)]

    return Scene(draw_entry, draw_still, legend)


def _parts(mixture: Mixture, window: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Points [G], and the weighted densities [K, G] of the components there."""
    points = curves.density_points(window, mixture, base=200)
    return points, curves.weighted_densities(mixture, points)


def _last_finite(history: History) -> int | None:
    """The last entry without NaN."""
    finite = [np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in history.mixtures]
    entries = np.flatnonzero(np.logical_and.reduce(finite))
    return int(entries[-1]) if entries.size else None


def _top(history: History, bars: curves.Histogram, window: tuple[float, float]) -> float:
    # A start is often far higher or lower than the end: the last finite entry decides.
    last = _last_finite(history)
    finals = [] if last is None else [cast(Mixture, _entry(history, last))]
    return curves.density_top(bars, *(_parts(final, window)[1].sum(axis=0) for final in finals))[0]


def of_columns(
    history: History,
    data: Real[np.ndarray, "n d"],
    sample_weights: Real[np.ndarray, " n"] | None,
    *,
    columns: Sequence[str],
    unit: str | None,
) -> Scene:
    """Ellipses of the components over two columns, or over the two directions that separate the last ones best.

    Args:
        history: of its fit.
        data: of d columns.
        sample_weights: how often each datum counts; None for once each.
        columns: their names.
        unit: of the columns, or None for none.
    """
    last = _last_finite(history)
    final = cast(MultivariateMixture, _entry(history, -1 if last is None else last))
    labels = plane_pictures.labels_of(columns, unit)
    matrix = np.eye(2)
    if len(columns) > 2:
        matrix = np.eye(len(columns))[:, :2]
        if projections.drawable(final).any():
            projection = projections.separating_directions(final)
            matrix, labels = projection.matrix, direction_labels(projection, columns)
    seen, final = data @ matrix, projections.projected(final, matrix)
    window = planes.window_of(seen, sample_weights, final)
    named = curves.named(final.weights)

    def draw_entry(axes: Axes, index: int) -> None:
        entry = projections.projected(cast(MultivariateMixture, _entry(history, index)), matrix)
        plane_pictures.draw_ellipses(axes, entry, named=named)

    def draw_still(axes: Axes) -> None:
        plane_pictures.set_window(axes, window)
        axes.set_title(drawing.outside(window.share_outside), loc="right", **drawing.NOTE)
        if len(seen) > plane_pictures.MOST_POINTS:
            plane_pictures.draw_hexagons(axes, seen, sample_weights)
        else:
            axes.scatter(*seen.T, **DATA)
        axes.set_xlabel(labels[0], parse_math=False)
        axes.set_ylabel(labels[1], parse_math=False)

    def legend(axes: Axes) -> tuple[list[Artist], list[str]]:
        is_many = len(seen) > plane_pictures.MOST_POINTS
        dots = {"linestyle": "", "marker": "o", "markersize": 4.0, "color": DATA["color"]}
        handles: list[Artist] = [Patch(color="0.7") if is_many else Line2D([], [], **dots)]
        handles += [Line2D([], [], **drawing.component_style(component)) for component in named.chosen.tolist()]
        handles += [Line2D([], [], **drawing.REST)] if named.rest else []
        labels = ["data", *(f"component {component}" for component in named.chosen.tolist()), named.rest]
        return handles, labels[: len(handles)]

    return Scene(draw_entry, draw_still, legend)
