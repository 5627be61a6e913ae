"""Shared views of a sweep for MLflow's UI: a table that compares its runs, and charts of the same runs.

The UI stores a shared view as a tag of the experiment, and opens it by the tag's name in the address. The tag contains
the UI's state as JSON, which is written here in the same form. The price: the format is not documented. A UI that does
not understand it shows its own charts of the same runs.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from gmm_pipeline.records.files import is_number
from gmm_pipeline.records.overrides import differing_keys
from gmm_pipeline.tracking.loggable import accepted
from gmm_pipeline.tracking.runs import page

TAG = "mlflow.sharedViewState."
MEASURES = ("bic", "loss")
DELTA, LOG_DELTA = "delta_bic", "log_delta_bic"
"""BIC above the lowest of the sweep's sound runs on the same data, and log10(1 + that).

The first number of components is often thousands of units above the others, which a chart of BIC then shows as equal.
"""
COMPARED = ("n_components", "bic", DELTA, "loss", "hit_rate")
"""Metrics that the table shows, in this order."""
MOST_COLUMNS = 8
MOST_RUNS = 1000
"""Most runs in a chart; the UI loads runs by the hundred."""


class View(NamedTuple):
    """A shared view."""

    key: str
    """Its name in the address."""
    state: str
    """The UI's state, as JSON."""


def table_of(parent: str, assignments: Sequence[Mapping[str, str]]) -> View:
    """The view of the table: what was swept, and how the runs compare, the best first; runs that are barred come last.

    Args:
        parent: run id of the sweep.
        assignments: the overrides of each run.
    """
    swept = [name for name in _swept(assignments) if name not in COMPARED]
    columns = [*(f"params.`{name}`" for name in swept), *(f"metrics.`{name}`" for name in COMPARED)]
    return _view(
        {
            "searchFilter": children_filter(parent),
            "orderByKey": f"metrics.`{DELTA}`",
            "orderByAsc": True,
            "selectedColumns": columns,
            "runsHiddenMode": "SHOW_ALL",
        }
    )


def charts_of(parent: str, assignments: Sequence[Mapping[str, str]]) -> View:
    """The view of the charts: ΔBIC against what was swept, loss over steps, parallel coordinates.

    Args:
        parent: run id of the sweep.
        assignments: the overrides of each run.
    """
    swept = _swept(assignments)
    charts = [
        _chart(
            "SCATTER",
            "log10(1 + BIC above the lowest)",
            xaxis=_axis(differing_keys(assignments), assignments),
            yaxis={"key": LOG_DELTA, "type": "METRIC"},
        ),
        _chart(
            "LINE",
            "loss",
            metricKey="loss",
            selectedMetricKeys=["loss"],
            xAxisKey="step",
            xAxisScaleType="linear",
            scaleType="linear",
            lineSmoothness=0,
            selectedXAxisMetricKey="",
            yAxisKey="metric",
            yAxisExpressions=[],
            range={},
            ignoreOutliers=True,
            useGlobalXaxisKey=True,
            useGlobalLineSmoothing=True,
        ),
        _chart(
            "PARALLEL",
            "all of them",
            selectedParams=swept,
            selectedMetrics=list(MEASURES),
            showAllRuns=False,
        ),
    ]
    state = {
        "searchFilter": children_filter(parent),
        # Ids are digests, so the first hundred by id are a sample of all runs, not those of the last few values.
        "orderByKey": "attributes.run_id",
        "orderByAsc": True,
        "selectedColumns": [*(f"params.`{name}`" for name in swept), *(f"metrics.`{name}`" for name in MEASURES)],
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "compareRunCharts": charts,
        "compareRunSections": [
            {"uuid": "sweep", "name": "Sweep", "display": True, "isReordered": True},
            {"uuid": "metrics", "name": "Model metrics", "display": False, "isReordered": False},
        ],
    }
    return _view(state)


def _view(state: Mapping[str, Any]) -> View:
    text = json.dumps(state, sort_keys=True)
    return View(hashlib.sha256(text.encode()).hexdigest(), text)


def _swept(assignments: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys that differ between runs, as MLflow names them; the first few."""
    return list(accepted(dict.fromkeys(differing_keys(assignments))))[:MOST_COLUMNS]


def children_filter(parent: str) -> str:
    """The MLflow filter for the runs of a sweep."""
    return f"tags.mlflow.parentRunId = '{parent}'"


def runs_page(experiment_id: str, parent: str) -> str:
    """The path of the table of a sweep's runs, the best first.

    Args:
        experiment_id: of the sweep's runs.
        parent: run id of the sweep.
    """
    best_first = f"orderByKey={quote('metrics.`bic`', safe='')}&orderByAsc=true"
    return f"{page(experiment_id)}&searchFilter={quote(children_filter(parent), safe='')}&{best_first}"


def table_page(experiment_id: str, key: str) -> str:
    """The path of a shared view's table.

    Args:
        experiment_id: of the sweep's runs.
        key: of the view.
    """
    return f"{page(experiment_id)}&compareRunsMode=TABLE&viewStateShareKey={key}"


def charts_page(experiment_id: str, key: str) -> str:
    """The path of a shared view's charts.

    Args:
        experiment_id: of the sweep's runs.
        key: of the view.
    """
    return f"{page(experiment_id)}&compareRunsMode=CHART&viewStateShareKey={key}"


def _axis(differing: Sequence[str], assignments: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The x axis of BIC: the number of components, or else the first numeric key that was swept."""
    swept = (
        key
        for key in differing
        if key.split(".")[-1] != "seed" and all(is_number(found.get(key, "")) for found in assignments)
    )
    key = next(swept, "n_components")
    if "n_components" in (key, *differing):
        return {"key": "n_components", "type": "METRIC"}
    return {"key": next(iter(accepted({key: None}))), "type": "PARAM"}


def _chart(kind: str, name: str, **settings: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"sweep-{kind.lower()}",
        "metricSectionId": "sweep",
        "displayName": name,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": MOST_RUNS,
        **settings,
    }
