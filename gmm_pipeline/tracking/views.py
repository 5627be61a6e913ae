"""A shared view of a sweep for MLflow's UI: the runs that are shown, and the charts.

The UI stores a shared view as a tag of the experiment, and opens it by the tag's name in the address. The tag contains
the UI's state as JSON, which is written here in the same form. The price: the format is not documented. A UI that does
not understand it shows its own charts of the same runs.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gmm_pipeline.records.files import is_number
from gmm_pipeline.records.overrides import differing_keys
from gmm_pipeline.tracking.loggable import accepted
from gmm_pipeline.tracking.runs import page

TAG = "mlflow.sharedViewState."
MEASURES = ("bic", "loss")
MOST_COLUMNS = 8
MOST_RUNS = 1000
"""Most runs in a chart; the UI loads runs by the hundred."""


def view_of(parent: str, assignments: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """The key and the text of a shared view: BIC against what was swept, loss over steps, parallel coordinates.

    Args:
        parent: run id of the sweep.
        assignments: the overrides of each run.
    """
    differing = differing_keys(assignments)
    swept = list(accepted(dict.fromkeys(differing)))[:MOST_COLUMNS]
    charts = [
        _chart("SCATTER", "bic", xaxis=_axis(differing, assignments), yaxis={"key": "bic", "type": "METRIC"}),
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
    text = json.dumps(state, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest(), text


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


def view_page(experiment_id: str, key: str) -> str:
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
