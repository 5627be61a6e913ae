"""The table of a sweep: one row per run, as Parquet and CSV; the same records give the same bytes.

Columns are the overrides, the metrics, and the fitted parameters of each component. A column of overrides is numeric if
every value in it is a number. The price: one misspelt value turns a column into text.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmm_pipeline.records.files import Column, write_columns
from gmm_pipeline.records.overrides import override_values
from gmm_pipeline.records.sweeps import SweepRun

PARQUET, CSV = "sweep.parquet", "sweep.csv"
FLOATS = ("loss", "log_likelihood", "log_prior", "aic", "bic")
COUNTS = ("n_data", "n_components", "n_parameters", "n_steps")
# As in Hydra's grammar, 007 and quoted numbers are not numbers, but 1_000 is.
WHOLE = re.compile(r"[+-]?(0|[1-9](_?\d)*)")
REAL = re.compile(r"[+-]?((\d+\.\d*|\.\d+)(e[+-]?\d+)?|\d+e[+-]?\d+|0|[1-9](_?\d)*|inf|nan)", re.IGNORECASE)
LARGEST = 2**63 - 1


def write_table(folder: Path, runs: Sequence[SweepRun]) -> list[Path]:
    """Write `sweep.parquet` and `sweep.csv` into the sweep's folder, one row per run; returns the paths.

    Args:
        folder: of the sweep.
        runs: in the order of the rows.
    """
    columns = table_columns(runs)
    paths = [folder / PARQUET, folder / CSV]
    for path in paths:
        write_columns(path, columns)
    return paths


def table_columns(runs: Sequence[SweepRun]) -> dict[str, Column]:
    """The columns of the table; a missing value is masked in numbers and None in text."""
    metrics = _metrics(runs)
    fixed: dict[str, Column] = {
        "status": [run.status for run in runs],
        "error": [run.error for run in runs],
        **metrics,
        **_parameters(runs),
        "digest": [run.digest for run in runs],
        "record": [run.record for run in runs],
    }
    rows = [override_values(run.overrides) for run in runs]
    asked: dict[str, Column] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        column = typed_column([row.get(key) for row in rows])
        match metrics.get(key), column:
            case np.ma.MaskedArray() as metric, np.ma.MaskedArray() if metric.dtype == column.dtype:
                # The number asked for and the fitted one are equal; a failed run has only the former.
                values = np.where(metric.mask, column.data, metric.data)
                asked[key] = np.ma.array(values, mask=metric.mask & column.mask)
                del fixed[key]
                continue
        asked[f"override.{key}" if key in fixed or key == "run" else key] = column
    return {"run": np.array([run.number for run in runs], np.int64), **asked, **fixed}


def typed_column(values: Sequence[str | None]) -> Column:
    """Texts as whole numbers if all are, else as real numbers if all are, else as text."""
    present = [value for value in values if value is not None]
    if present and all(WHOLE.fullmatch(value) for value in present):
        numbers = [None if value is None else int(value) for value in values]
        in_range = all(abs(number) <= LARGEST for number in numbers if number is not None)
        return _numbers(numbers, np.int64) if in_range else list(values)
    if present and all(REAL.fullmatch(value) for value in present):
        return _numbers([None if value is None else float(value) for value in values], np.float64)
    return list(values)


def _numbers(values: Iterable[int | float | None], dtype: type[np.generic]) -> np.ma.MaskedArray[Any, Any]:
    values = list(values)
    missing = np.array([value is None for value in values], bool)
    return np.ma.array(np.array([0 if value is None else value for value in values], dtype), mask=missing)


def _metrics(runs: Sequence[SweepRun]) -> dict[str, Column]:
    others = {name for run in runs for name in run.metrics} - {*FLOATS, *COUNTS}
    columns: dict[str, Column] = {}
    for name in (*FLOATS, *COUNTS, *sorted(others)):
        values = [run.metrics.get(name) for run in runs]
        present = [value for value in values if value is not None]
        if not all(isinstance(value, int | float) for value in present):
            columns[name] = [None if value is None else str(value) for value in values]
        elif name not in FLOATS and all(isinstance(value, int) for value in present):
            columns[name] = _numbers(values, np.int64)
        else:
            columns[name] = _numbers(values, np.float64)
    return columns


def _parameters(runs: Sequence[SweepRun]) -> dict[str, Column]:
    rows = [_named(run) for run in runs]
    # A diverged run's parameters are not finite, so they are missing in the table.
    finite = [{name: value for name, value in row.items() if math.isfinite(value)} for row in rows]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _numbers([row.get(name) for row in finite], np.float64) for name in names}


def _named(run: SweepRun) -> dict[str, float]:
    """The weight, loc and scale of each component; those of several columns have their names too."""
    if run.fitted is None:
        return {}
    ends = [f"_{column}" for column in run.columns] or [""]
    numbers: dict[str, float] = {}
    for component, weight in enumerate(run.fitted.weights.tolist()):
        numbers[f"weight_{component}"] = weight
        for name, values in (("loc", run.fitted.locs), ("scale", run.fitted.scales)):
            of_columns = np.atleast_1d(values[component]).tolist()
            numbers |= {f"{name}_{component}{end}": value for end, value in zip(ends, of_columns, strict=True)}
    return numbers
