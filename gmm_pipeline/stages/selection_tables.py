"""The candidates of a selection as tables for the terminal: one row each, or a map of many models."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gmm_pipeline.analysis.candidates import best_rows, is_known, lines_of, points_of, shown_criterion, table_columns
from gmm_pipeline.model.covariances import NAMES
from gmm_pipeline.stages.tables import GAPS, Column, Table

OTHER_CRITERIA = {"aic", "bic", "icl", "sbic"}
WIDTH = 80
BARRED = "×"
SHOWN = {"held_out": "held-out log-likelihood"}


def selection_tables(columns: Mapping[str, Any], criterion: str) -> Iterator[Table | str]:
    """The candidates of a selection: tables, and lines that explain them.

    Args:
        columns: of the record's table of candidates.
        criterion: the one that the choice was made by.
    """
    rows, shown = best_rows(columns, criterion), shown_criterion(columns, criterion)
    if rows is None:
        yield selection_table(columns, criterion)
        return
    yield f"{SHOWN.get(shown, shown.upper())} by covariance model and number of components; {BARRED}: cannot be chosen"
    yield model_map(columns, shown)
    yield ""
    if rows:
        yield selection_table({name: [values[row] for row in rows] for name, values in columns.items()}, criterion)


def model_map(columns: Mapping[str, Any], criterion: str) -> Table:
    """Values of a criterion, a row for each covariance model and a column for each number of components.

    Args:
        columns: of the record's table of candidates.
        criterion: one of them.
    """
    points = points_of(columns, criterion)
    lines, numbers = lines_of(points), sorted({point.n_components for point in points})
    kinds = sorted(lines, key=NAMES.index)
    chosen = [bool(mark) for mark in columns["chosen"]]

    def cell(row: int | None, digits: int) -> str:
        if row is None:
            return ""
        value = points[row].value
        if points[row].problem or value is None or math.isnan(value):
            return BARRED
        return "*" * chosen[row] + f"{value:.{digits}f}"

    def table(digits: int) -> Table:
        places = {kind: {points[row].n_components: row for row in rows} for kind, rows in lines.items()}
        by_number = [
            Column(str(number), [cell(places[kind].get(number), digits) for kind in kinds]) for number in numbers
        ]
        return Table([Column("", kinds, "text"), *by_number])

    exact = table(1)
    is_narrow = sum(column.width + GAPS[-1] for column in exact.columns) <= WIDTH
    return exact if is_narrow else table(0)


def selection_table(columns: Mapping[str, Any], criterion: str) -> Table:
    """The candidates of a selection, one row each, with a mark on the chosen one and remarks on unsound ones.

    Args:
        columns: of the record's table of candidates.
        criterion: the one that the choice was made by.
    """
    names = table_columns(columns, criterion)
    remarks = []
    for row in range(len(columns["n_components"])):
        remark = [columns["barred"][row]] if columns["barred"][row] else []
        remark += [] if columns["converged"][row] else ["not converged"]
        remarks.append(", ".join(remark))
    return Table(
        [
            Column("", ["*" if chosen else "" for chosen in columns["chosen"]]),
            *(
                # The others are in the record.
                Column(name, [_cell(value) for value in columns[name]], optional=name in OTHER_CRITERIA - {criterion})
                for name in names
            ),
            *([Column("", remarks, "text")] if any(remarks) else []),
        ],
        n_keys=3,
    )


def _cell(value: Any) -> str:
    if not is_known(value):
        return ""
    return f"{value:.3f}" if isinstance(value, float | np.floating) else str(value)
