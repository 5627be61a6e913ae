"""How a mixture of several columns moves in training: its weights, and how far each component is from its end."""

from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from gmm_pipeline.model import movements
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.pictures import drawing, pages, ticks
from gmm_pipeline.records.artifacts import History

LEAST_DISTANCE = 1e-4
"""In standard deviations; what is nearer is at its end."""
LOG_SIZES_FROM = 3.0


def draw_movements(history: History, truth: MultivariateMixture | None, *, figure: Figure | SubFigure) -> list[Axes]:
    """Weights, distances of the locs from their ends and relative sizes of the components over optimizer steps.

    Args:
        history: steps and mixtures of several columns, [H, K]; components in the order of the final ones.
        truth: the mixture that made the data, whose weights are drawn as pale level lines, or None.
        figure: where to draw; a page is made twice as high.
    """
    mixtures = cast(MultivariateMixture, history.mixtures)
    distances, sizes = movements.distances_from_end(mixtures), movements.sizes(mixtures)
    rows = drawing.rows_of(figure)
    for component, weight in enumerate(() if truth is None else truth.weights):
        style = drawing.true_style(component, matched=False)
        rows[0].axhline(weight, label=None if component else "true", **style)
    labels = ("weight", "distance of loc from its\nend / standard deviations", "size / size at the end")
    panels = list(zip(labels, (mixtures.weights, distances, sizes), strict=True))
    drawing.draw_traces(rows, history.steps, panels, sizes=sizes.ravel(), log_from=LOG_SIZES_FROM)
    _set_distances(rows[1], distances)
    return rows


def _set_distances(axes: Axes, distances: np.ndarray) -> None:
    """Decades down to the least distance that matters; the end itself, which is 0, is below them."""
    known = distances[np.isfinite(distances) & (distances > 0.0)]
    highest = float(known.max(initial=0.0))
    if highest <= LEAST_DISTANCE:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no loc has moved", transform=axes.transAxes, ha="center", va="center", **pages.NOTE)
        return
    axes.set_yscale("log")
    axes.set_ylim(max(float(known.min()) / 1.5, LEAST_DISTANCE), highest * 1.5)
    ticks.set_log_ticks(axes)
