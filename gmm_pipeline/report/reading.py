"""What a page about one run needs, read from the files of its record; what an older record has not is None or empty.

Labels and responsibilities are left where they are: a page of millions of data asks for the data alone.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.analysis.curves import Intervals
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.records import artifacts, contents
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.files import read_columns, read_json
from gmm_pipeline.records.sweeps import DIVERGED, FINISHED

MOST_OF_DIFF = 200_000
"""Characters of a diff that a page shows."""

Match = Callable[[Mixture, Mixture | None], Mixture | None]
"""Rows of a true mixture for each fitted component, NaN where it has no partner."""


class Errors(NamedTuple):
    """Standard errors and intervals, found in one way."""

    standard_errors: Mixture
    intervals: Intervals


class Run(NamedTuple):
    """A record, read."""

    about: dict[str, Any]
    """What `record.json` says."""
    config: dict[str, Any]
    data_info: dict[str, Any]
    metrics: dict[str, Any]
    fitted: Mixture
    truth: Mixture | None
    matched_truth: Mixture | None
    degenerate: list[int]
    equal_scales: bool
    learned: dict[str, float]
    asymptotic: Errors | None
    bootstrap: Errors | None
    restarts: list[dict[str, Any]]
    selection: dict[str, list[Any]] | None
    history: History
    data: Float[np.ndarray, " n"]
    sample_weights: Float[np.ndarray, " n"] | None
    diff: str
    """Changes of the code since its commit."""

    @property
    def finished(self) -> bool:
        """Whether its numbers are a result."""
        return self.about["status"] == FINISHED

    @property
    def unit(self) -> str | None:
        """Of the data."""
        return self.data_info.get("unit")


def read_run(record: Path, match: Match) -> Run:
    """Read a record.

    Args:
        record: folder of a run that finished or diverged.
        match: gives each fitted component its true one.

    Raises:
        InputError: the run failed, or a file of the record is missing or damaged.
    """
    with contents.damage_told(record):
        content = contents.read(record)
        status = content.record["status"]
        if status not in (FINISHED, DIVERGED):
            raise InputError(
                "run",
                expected="a run with numbers to report",
                came=f"{record} ({status}{': ' + content.record['error'] if content.record.get('error') else ''})",
                remedy="Mend what it says and fit again, or choose another run.",
            )
        contents.check_unaltered(record, content.record, *artifacts.RESULTS)
        return _run(record, content, match)


def _run(record: Path, content: contents.Content, match: Match) -> Run:
    parameters, level = content.parameters, content.parameters.get("level", 0.0)
    fitted = artifacts.mixture_from_json(parameters)
    described = content.data.get("truth")
    truth = None if described is None else artifacts.mixture_from_json(described)
    # Three columns of as many as there are components.
    columns = read_columns(record / artifacts.ASSIGNMENTS)
    weights = columns.get("sample_weight")
    restarts, selection = record / artifacts.RESTARTS, record / artifacts.SELECTION
    return Run(
        # As it is: trackers are told a time of a record that has none.
        about=read_json(record / artifacts.RECORD),
        config=content.config,
        data_info=content.data,
        metrics=content.metrics,
        fitted=fitted,
        truth=truth,
        matched_truth=match(fitted, truth) if content.record["status"] == FINISHED else None,
        degenerate=list(parameters.get("degenerate", [])),
        equal_scales=parameters.get("scales_are") == "equal",
        learned=dict(parameters.get("learned", {})),
        asymptotic=_errors(parameters, level, "observed information"),
        bootstrap=_errors(parameters.get("bootstrap", {}), level, "bootstrap"),
        restarts=read_json(restarts)["restarts"] if restarts.exists() else [],
        selection=_columns(selection) if selection.exists() else None,
        history=content.history,
        data=columns["datum"].to_numpy().astype(np.float64),
        sample_weights=None if weights is None else weights.to_numpy().astype(np.float64),
        diff=_diff(record, content.record),
    )


def _errors(content: Mapping[str, Any], level: float, method: str) -> Errors | None:
    if "lower" not in content:
        return None
    errors, lower, upper = (
        artifacts.mixture_from_json(content[name]) for name in ("standard_errors", "lower", "upper")
    )
    return Errors(errors, Intervals(lower, upper, level, method))


def _columns(path: Path) -> dict[str, list[Any]]:
    return {name: list(column.to_pylist()) for name, column in read_columns(path).items()}


def _diff(record: Path, about: Mapping[str, Any]) -> str:
    """What differed between the code that ran and its commit; all runs of a sweep may share the file."""
    digest = about.get("provenance", {}).get("git", {}).get("diff")
    path = None if digest is None else artifacts.find_diff(record, digest)
    if path is None:
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    return (
        text if len(text) <= MOST_OF_DIFF else f"{text[:MOST_OF_DIFF]}\n… {len(text) - MOST_OF_DIFF:,} characters more"
    )
