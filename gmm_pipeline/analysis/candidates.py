"""The candidates of a selection, read from the table of a record and compared with the best, for pictures and pages."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from gmm_pipeline.model.covariances import FACTOR, MODELS
from gmm_pipeline.model.vocabulary import EITHER_KIND, LARGER_IS_BETTER

FALLBACK = "bic"
"""Shown if the choice was made by a sequence of tests, which has no value for each candidate."""
MANY, BEST = 20, 5
"""Of more candidates than the first number, of several covariance models, the rows of the best are shown."""


class Point(NamedTuple):
    """A candidate, by one criterion."""

    n_components: int
    equal_scales: bool
    value: float | None
    """Value of the criterion; None or NaN if it has none."""
    error: float | None
    """Standard error of the difference from the best; None if there is none."""
    problem: str | None
    """Why it cannot be chosen, such as `degenerate`; None if it can."""
    covariance: str = ""
    """Covariance model of several columns; empty for one."""

    @property
    def kind(self) -> str:
        """What its components share, besides their number."""
        return self.covariance or EITHER_KIND[self.equal_scales]

    @property
    def description(self) -> str:
        """Number of components and kind; a single component of one column is of both kinds."""
        number = "1 component" if self.n_components == 1 else f"{self.n_components} components"
        return number if self.n_components == 1 and not self.covariance else f"{number}, {self.kind}"


class Standing(NamedTuple):
    """Candidates compared with the best of those that can be chosen."""

    points: Sequence[Point]
    excess: Float[np.ndarray, " C"]
    """Difference from the best, where lower is better for every criterion; NaN if there is no value."""
    errors: Float[np.ndarray, " C"]
    sound: Bool[np.ndarray, " C"]
    """Whether it can be chosen."""


def shown_criterion(columns: Mapping[str, Sequence[Any]], criterion: str) -> str:
    """The criterion whose values are shown: the one that was used, if it has values.

    Args:
        columns: of the table of candidates, a value for each.
        criterion: by which the fit was chosen.
    """
    values = columns.get(criterion, ())
    return criterion if any(value is not None and not math.isnan(value) for value in values) else FALLBACK


def table_columns(columns: Mapping[str, Sequence[Any]], criterion: str) -> list[str]:
    """Columns of the table of candidates that tell something, in the order in which people are shown them.

    Args:
        columns: of the table, a value for each candidate.
        criterion: by which the fit was chosen.
    """
    criteria = dict.fromkeys([criterion, "bic", "aic", "icl", "sbic", "held_out", "p_value"])
    names = ("n_components", "covariance", "scales", "log_likelihood", *criteria)
    return [name for name in names if any(map(is_known, columns.get(name, ())))]


def is_known(value: Any) -> bool:
    """Whether a cell of the table has a value."""
    return value is not None and not (isinstance(value, float | np.floating) and math.isnan(value))


def points_of(columns: Mapping[str, Sequence[Any]], criterion: str) -> list[Point]:
    """The candidates in the table of a record.

    Args:
        columns: of the table.
        criterion: one of them.
    """
    points = []
    for row in range(len(columns["n_components"])):
        row_values = {name: values[row] for name, values in columns.items()}
        error = row_values.get("held_out_gap_error") if criterion == "held_out" else None
        # Records older than this column have the two others.
        problem = row_values.get("barred") or next(
            (name for name in ("diverged", "degenerate") if row_values.get(name)), None
        )
        number, covariance = int(row_values["n_components"]), row_values.get("covariance") or ""
        equal = row_values.get("scales") == "equal"
        points.append(Point(number, equal, row_values[criterion], error, problem, covariance))
    return points


def lines_of(points: Sequence[Point]) -> dict[str, list[int]]:
    """The candidates of each kind, by number of components; one component begins the line of each kind that it is of.

    A kind that was tried with one component alone has no line.

    Args:
        points: the candidates.
    """
    lines: dict[str, list[int]] = {}
    for kind in dict.fromkeys(point.kind for point in points):
        own = [i for i, point in enumerate(points) if point.kind == kind]
        alike = [i for i, point in enumerate(points) if point.n_components == 1 and _alone(point.kind) == _alone(kind)]
        first = [i for i in own if i in alike][:1] or alike[:1]
        several = [i for i in own if points[i].n_components > 1]
        if several:
            lines[kind] = sorted([*first, *several], key=lambda i: points[i].n_components)
    return lines


def _alone(kind: str) -> str:
    """What a kind is with one component: factors, or spherical, diagonal or full, as the last letters say."""
    if kind == FACTOR:
        return kind
    return "" if kind not in MODELS else kind[1:].replace("V", "E") if kind.endswith("I") else "full"


def standing(points: Sequence[Point], criterion: str) -> Standing:
    """Compare candidates with the best of those that can be chosen, or of all if none can.

    Args:
        points: of this criterion.
        criterion: decides whether lower is better.
    """
    sign = -1.0 if criterion in LARGER_IS_BETTER else 1.0
    values = np.array([math.nan if point.value is None else sign * point.value for point in points])
    errors = np.array([math.nan if point.error is None else point.error for point in points])
    sound = np.array([point.problem is None for point in points], bool) & np.isfinite(values)
    reference = values[sound] if sound.any() else values[np.isfinite(values)]
    excess = values - reference.min(initial=math.inf) if reference.size else values
    return Standing(points, excess, errors, sound)


def best_rows(columns: Mapping[str, Sequence[Any]], criterion: str) -> list[int] | None:
    """Rows of the best candidates that can be chosen, the best first; None where one table can show all candidates.

    Args:
        columns: of the record's table of candidates.
        criterion: the one that the choice was made by.
    """
    if len(columns["n_components"]) <= MANY or len({*columns.get("covariance", ())}) < 2:
        return None
    shown = shown_criterion(columns, criterion)
    ranks = standing(points_of(columns, shown), shown)
    best = np.argsort(np.where(ranks.sound, ranks.excess, math.inf), kind="stable")[:BEST]
    return [row for row in best.tolist() if ranks.sound[row]]


def chosen_row(columns: Mapping[str, Sequence[Any]]) -> int | None:
    """The row that was chosen; None where none is marked."""
    return next((row for row, mark in enumerate(columns["chosen"]) if mark), None)
