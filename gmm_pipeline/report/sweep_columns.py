"""The table of a sweep for the page's script: columns of texts, with values if they are numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmm_pipeline.analysis.sweep_answers import settings_within
from gmm_pipeline.model.vocabulary import LARGER_IS_BETTER, NAMES
from gmm_pipeline.records.files import Column
from gmm_pipeline.records.sweep_table import table_columns
from gmm_pipeline.records.sweeps import SweepRun, differing_overrides
from gmm_pipeline.report import plotting, wording

MOST_CHOICES = 12
"""Values of a column by which the table can be filtered, or points be coloured."""
MOST_FILTERS = 6
FIRST = ("status", "loss", "log_likelihood", "bic", "converged", "n_steps", "hit_rate", "barred", "error")
FILTERED = ("status", "converged", "barred", "scales_are")
LAST = ("digest", "record")
LABELS = {name: NAMES[name] for name in ("log_likelihood", "bic", "aic", "icl")} | {"n_steps": "steps taken"}


def table_of(runs: Sequence[SweepRun], objective: str, best: SweepRun | None) -> dict[str, Any]:
    """The table for the page's script: columns in the order in which they are shown.

    Args:
        runs: of the sweep, one row each.
        objective: the metric that runs are ranked by.
        best: the best run; None if there is none.
    """
    columns = table_columns(runs)
    differing = differing_overrides(runs)
    asked = [name for name in columns if name in differing or name.removeprefix("override.") in differing]
    order = list(dict.fromkeys(["run", *asked, "status", objective, *FIRST, *columns]))
    order = [name for name in order if name in columns and name not in LAST]
    content = [_column(name, columns[name]) for name in order]
    sorted_by = order.index(objective) if objective in order else 0
    labels = [", ".join([f"run {run.number}", *settings_within(run, differing)]) for run in runs]
    return {
        "rows": len(runs),
        "columns": content,
        "links": [f"{run.record}/" for run in runs],
        "labels": labels,
        "best": None if best is None else next(i for i, run in enumerate(runs) if run.number == best.number),
        "sorted": sorted_by,
        "ascending": objective not in LARGER_IS_BETTER,
        "layout": plotting.chart([], x={"automargin": True}, y={"automargin": True})["layout"],
    }


def _column(name: str, column: Column) -> dict[str, Any]:
    """A column: its values where they are numbers, and the text of each."""
    kind = "text"
    values: list[float | int | None] = []
    if isinstance(column, np.ndarray):
        kind = "number"
        missing = np.ma.getmaskarray(column)
        raw = np.ma.getdata(column).tolist()
        values = [None if gone or not np.isfinite(value) else value for value, gone in zip(raw, missing, strict=True)]
        texts = _texts(values)
    else:
        texts = ["" if value is None else value for value in column]
    if name in ("converged",):
        texts = [{"1": "yes", "0": "no", "true": "yes", "false": "no"}.get(text.lower(), text) for text in texts]
    choices = list(dict.fromkeys(texts))
    if kind == "number":
        choices.sort(key=lambda text: (text == "", values[texts.index(text)] if text else 0))
    return {
        "name": name,
        "label": LABELS.get(name, name),
        "kind": kind,
        "differs": len(choices) > 1 or name in ("run", "status"),
        "text": texts,
        "choices": choices if len(choices) <= MOST_CHOICES else [],
        **({"values": values} if kind == "number" else {}),
    }


def _texts(values: Sequence[float | int | None]) -> list[str]:
    """Numbers as text, with as many decimals as the longest of them needs for its seventh digit."""
    present = [value for value in values if value is not None]
    largest = max((abs(value) for value in present), default=0.0)
    if all(isinstance(value, int) for value in present):
        texts = [str(value) for value in present]
    elif (
        largest >= 1e7
        or (smallest := min((abs(v) for v in present if v), default=1.0)) < 1e-4
        or largest > 1e6 * smallest
    ):
        texts = [f"{value:.6g}" for value in present]
    else:
        decimals = 6 - max(math.floor(math.log10(largest or 1.0)), 0)
        texts = [f"{value:.{decimals}f}" for value in present]
        while decimals and all(text.endswith("0") for text in texts):
            decimals -= 1
            texts = [text[:-1] if decimals else text[:-2] for text in texts]
    rest = iter(texts)
    return ["" if value is None else wording.minus(next(rest)) for value in values]


def filters(table: Mapping[str, Any], differing: Sequence[str]) -> list[tuple[int, Mapping[str, Any]]]:
    """The columns by whose values the table can be filtered, with their places: what was asked, and how it ended.

    Args:
        table: from `table_of`.
        differing: overrides that differ between the runs.
    """
    wanted = {*differing, *(f"override.{key}" for key in differing), *FILTERED}
    usable = [
        (place, column)
        for place, column in enumerate(table["columns"])
        if column["name"] in wanted and 1 < len(column["choices"]) <= MOST_CHOICES
    ]
    return usable[:MOST_FILTERS]


def axes(table: Mapping[str, Any], objective: str, differing: Sequence[str]) -> dict[str, Any]:
    """What the explorer's axes can show, and what they show at first.

    Args:
        table: from `table_of`.
        objective: the metric that runs are ranked by.
        differing: overrides that differ between the runs.
    """
    columns = list(enumerate(table["columns"]))
    places = [(place, column) for place, column in columns if column["differs"] and column["name"] != "error"]
    names = {column["name"]: place for place, column in places}
    coloured = [
        (p, column) for p, column in places if column["name"] != "run" and 1 < len(column["choices"]) <= plotting.COLORS
    ]
    asked = [place for place, column in places if column["kind"] == "number" and column["name"] in differing]
    across = next((names[name] for name in ("n_steps",) if name in names), next(iter(asked), names["run"]))
    up = next((names[name] for name in ("loss", objective, "log_likelihood") if name in names), across)
    return {"places": places, "coloured": coloured, "x": across, "y": up}
