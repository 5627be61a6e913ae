"""The table of the answer: a row for each component, with errors, intervals and the truth where they are known."""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

from gmm_pipeline.analysis import projections, rounding
from gmm_pipeline.analysis.matching import matched_truth
from gmm_pipeline.model.natural import AnyMixture, MultivariateMixture
from gmm_pipeline.records.reading import ASYMPTOTIC, BOOTSTRAP, Errors, Record
from gmm_pipeline.report.wording import minus, with_error

MOST_COLUMNS = 12
"""Columns in the table of the answer."""
METHODS = {ASYMPTOTIC: "observed information", BOOTSTRAP: "bootstrap"}
"""How intervals were found, in words."""


class Cell(NamedTuple):
    """An estimate, what it may be off by, and what is true."""

    estimate: str
    error: str
    intervals: tuple[tuple[str, str], ...]
    """Each interval, with its method if there are several."""
    truth: str


class Row(NamedTuple):
    """A component in the table of the answer."""

    number: int
    degenerate: bool
    cells: tuple[Cell, ...]
    """Of weight, loc and scale; of weight, and loc and standard deviation of each column."""


def component_headings(run: Record) -> list[str]:
    """What the cells of a row are."""
    unit = f" [{run.unit}]" if run.unit else ""
    if not run.columns:
        return ["weight", f"loc{unit}", f"scale{unit}"]
    names = [run.columns[column] for column in shown_columns(run)]
    return ["weight", *(f"{name}{what}{unit}" for name in names for what in ("", ", sd"))]


def shown_columns(run: Record) -> list[int]:
    """Columns of the table of the answer: those that separate the components most, if all are too many."""
    return projections.separating_columns(cast(MultivariateMixture, run.fitted), MOST_COLUMNS).tolist()


def component_rows(run: Record) -> list[Row]:
    """The answer, one row per component."""
    if run.columns:
        return _rows_of_columns(run)
    sources = [source for source in (run.bootstrap, run.asymptotic) if source is not None]
    truth = matched_truth(run.fitted, run.truth)
    return [
        Row(k, k in run.degenerate, tuple(_cell(run, truth, sources, name, k) for name in run.fitted._fields))
        for k in range(len(run.fitted.locs))
    ]


def _cell(run: Record, truth: AnyMixture | None, sources: Sequence[Errors], name: str, component: int) -> Cell:
    value = float(getattr(run.fitted, name)[component])
    error = float(getattr(sources[0].standard_errors, name)[component]) if sources else math.nan
    size = float((run.fitted.weights if name == "weights" else run.fitted.scales)[component])
    estimate, error_text, decimals = with_error(value, error, size)
    intervals = []
    for source in sources:
        ends = [float(getattr(end, name)[component]) for end in (source.intervals.lower, source.intervals.upper)]
        if all(map(math.isfinite, ends)) and ends[1] > ends[0]:
            texts = [minus(rounding.rounded(end, decimals, separator=",")) for end in ends]
            intervals.append((" to ".join(texts), METHODS[source.intervals.method] if len(sources) > 1 else ""))
    true = math.nan if truth is None else float(getattr(truth, name)[component])
    true_text = minus(rounding.shortened(rounding.rounded(true, decimals, separator=",")))
    return Cell(estimate, error_text, tuple(intervals), true_text)


def _rows_of_columns(run: Record) -> list[Row]:
    """Rows of weight, and loc and standard deviation of each column; many cells have no room for intervals."""
    source = run.bootstrap or run.asymptotic
    truth, shown = matched_truth(run.fitted, run.truth), shown_columns(run)

    def cell(name: str, place: tuple[int, ...], size: float) -> Cell:
        value = float(getattr(run.fitted, name)[place])
        error = math.nan if source is None else float(getattr(source.standard_errors, name)[place])
        estimate, error_text, decimals = with_error(value, error, size)
        true = math.nan if truth is None else float(getattr(truth, name)[place])
        true_text = minus(rounding.shortened(rounding.rounded(true, decimals, separator=",")))
        return Cell(estimate, error_text, (), true_text)

    rows, scales = [], run.fitted.scales
    for k in range(len(run.fitted.locs)):
        sizes = [float(scales[k, column]) for column in shown]
        cells = [
            cell(name, (k, column), size)
            for column, size in zip(shown, sizes, strict=True)
            for name in ("locs", "scales")
        ]
        weight = cell("weights", (k,), float(run.fitted.weights[k]))
        rows.append(Row(k, k in run.degenerate, (weight, *cells)))
    return rows


def interval_names(run: Record) -> list[str]:
    """What each interval of a cell is."""
    if run.columns:
        return []
    sources = [source.intervals for source in (run.bootstrap, run.asymptotic) if source is not None]
    return [f"{100.0 * source.level:g} % interval ({METHODS[source.method]})" for source in sources]
