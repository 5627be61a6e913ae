"""The interactive plot of a selection."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmm_pipeline.analysis.candidates import chosen_row, lines_of, points_of, shown_criterion, standing
from gmm_pipeline.model.covariances import EQUAL, FACTOR
from gmm_pipeline.model.vocabulary import EITHER_KIND, LARGER_IS_BETTER, NAMES
from gmm_pipeline.report.plotting import Chart, chart, excess_axis, numbers, trace, whole_axis

KINDS = {EITHER_KIND[False]: ("--c1", "circle", "solid"), EITHER_KIND[True]: ("--c5", "square", "dash")}
"""Looks of the kinds of scales."""
SHAPES = {
    "II": ("--c0", "circle"),
    "EI": ("--c4", "square"),
    "VI": ("--c2", "diamond"),
    "EE": ("--c5", "triangle-up"),
    "VE": ("--c6", "triangle-down"),
    "EV": ("--c3", "triangle-left"),
    "VV": ("--c1", "triangle-right"),
    FACTOR: ("--ink", "star"),
}
"""Looks of covariance models, by their shape and orientation; equal volumes are dashed."""


def selection(columns: Mapping[str, Sequence[Any]], criterion: str) -> Chart | None:
    """A criterion's difference to the best candidate over the number of components, one line per kind.

    Args:
        columns: of the record's table of candidates.
        criterion: the one that the choice was made by.
    """
    # Tests choose without a value for each candidate.
    criterion = shown_criterion(columns, criterion)
    if criterion not in columns:
        return None
    candidates = standing(points_of(columns, criterion), criterion)
    if not candidates.sound.any():
        return None
    excess, name = np.where(candidates.sound, candidates.excess, np.nan), NAMES[criterion]
    heights, axis = excess_axis(
        f"highest − {name} / nats" if criterion in LARGER_IS_BETTER else f"{name} − lowest", excess
    )
    counts = np.array([point.n_components for point in candidates.points])
    traces: list[dict[str, Any]] = []
    for kind, line in lines_of(candidates.points).items():
        here = [i for i in line if candidates.sound[i]]
        if not (counts[here] > 1).any():
            continue
        color, symbol, dash = _look_of(kind)
        traces.append(
            trace(
                "lines+markers",
                kind,
                counts[here].tolist(),
                heights[here],
                customdata=numbers(excess[here]),
                line={"color": color, "width": 2, "dash": dash},
                marker={"color": color, "symbol": symbol, "size": 7},
                hovertemplate=f"%{{x}} components, {kind}: %{{customdata:+,.2f}}<extra></extra>",
            )
        )
    chosen = chosen_row(columns)
    if chosen is not None:
        ring = {"symbol": "circle-open", "size": 16, "color": "--ink", "line": {"width": 2, "color": "--ink"}}
        at = [int(counts[chosen])], heights[[chosen]]
        traces.append(trace("markers", "chosen", *at, marker=ring, hoverinfo="skip", cliponaxis=False))
    return chart(traces, x=whole_axis("number of components", counts), y=axis)


def _look_of(kind: str) -> tuple[str, str, str]:
    """Colour, symbol and dashes of a line."""
    if kind in KINDS:
        return KINDS[kind]
    return *SHAPES[kind if kind == FACTOR else kind[1:]], "dash" if kind.startswith(EQUAL) else "solid"
