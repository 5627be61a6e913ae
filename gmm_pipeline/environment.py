"""MLflow's own environment variables that name an experiment or a run, where the command line names none.

`mlflow run` and clusters set them. MLFLOW_TRACKING_URI is the default of `tracking.uri` in `conf/`.
"""

import os

EXPERIMENT_BY_ID = "id:"
"""Before the id of an experiment, where otherwise a name stands."""


def experiment(other: str) -> str:
    """The experiment of MLFLOW_EXPERIMENT_NAME, or else of MLFLOW_EXPERIMENT_ID, or another.

    Args:
        other: used where neither variable is set.
    """
    named, by_id = os.environ.get("MLFLOW_EXPERIMENT_NAME"), os.environ.get("MLFLOW_EXPERIMENT_ID")
    return named or (f"{EXPERIMENT_BY_ID}{by_id}" if by_id else other)


def run_id() -> str | None:
    """The run that MLFLOW_RUN_ID names, to be logged into."""
    return os.environ.get("MLFLOW_RUN_ID") or None
