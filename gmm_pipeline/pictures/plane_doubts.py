"""How uncertain the component of each observation is, on two columns or directions of a mixture."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gmm_pipeline.analysis import planes, projections
from gmm_pipeline.pictures import drawing
from gmm_pipeline.pictures.planes import FEW, MOST_POINTS, RADII, Plane, begin, finish

DOUBTS = (0.05, 0.2)
"""Uncertainties from which an observation is drawn as less certain."""
GRADE_NAMES = ("below 0.05", "0.05 to 0.2", "0.2 or more")
GRADES: tuple[dict[str, Any], ...] = (
    {"s": 9.0, "color": "0.75", "marker": "o", "zorder": 1.0},
    {"s": 20.0, "color": drawing.COLORS[4], "marker": "s", "zorder": 1.1},
    {"s": 26.0, "color": drawing.COLORS[5], "marker": "^", "zorder": 1.2},
)
AROUND: dict[str, Any] = {"color": "0.35", "linewidth": 0.8, "zorder": 2}


def draw_doubts(plane: Plane, *, ax: Axes) -> Axes:
    """How uncertain the most probable component of each datum is, 1 − maxₖ rₖ.

    Args:
        plane: what is shown.
        ax: where to draw.
    """
    data, fitted = plane.data, plane.fitted
    weights = np.ones(len(data)) if plane.sample_weights is None else np.asarray(plane.sample_weights, np.float64)
    doubts = 1.0 - plane.responsibilities.max(axis=0)
    window = begin(plane, ax)
    handles: list[Artist] = []
    grades = np.searchsorted(DOUBTS, doubts, side="right")
    for grade, (look, text) in enumerate(zip(GRADES, GRADE_NAMES, strict=True)):
        here = (grades == grade) & (weights > 0.0)
        share = float(weights[here].sum() / weights.sum())
        size = min(1.0, (FEW / len(data)) ** 0.5) * look["s"]
        drawn = np.flatnonzero(here)[:: -(-int(here.sum()) // MOST_POINTS) or 1]
        ax.scatter(*data[drawn].T, rasterized=True, linewidths=0.0, **{**look, "s": size})
        dot = {"linestyle": "", "marker": look["marker"], "color": look["color"], "markersize": look["s"] ** 0.5}
        handles.append(Line2D([], [], label=f"{text}: {100.0 * share:.2g} %", **dot))
    for component in np.flatnonzero(projections.drawable(fitted)).tolist():
        points = planes.outline(fitted.locs[component], fitted.covariances[component], RADII[-1]).T
        ax.plot(*points, **AROUND)
    handles.append(Line2D([], [], label="component, at 2\nstandard deviations", **AROUND))
    finish(plane, window, handles, "uncertainty,\n1 − max responsibility", ax)
    return ax
