"""`gmm_pipeline.load`: an earlier fit, from its record or from MLflow."""

import warnings
from pathlib import Path

from gmm_pipeline.api.results import Fit
from gmm_pipeline.records import reading
from gmm_pipeline.records.assignments import read_assignments
from gmm_pipeline.records.finding import read_fitted
from gmm_pipeline.stages.finding import LATEST, best_of_sweep, record_folder


def load(run: str | Path, *, outputs_dir: str | Path = "outputs", tracking_uri: str | None = None) -> Fit:
    """The fit of an earlier run, with its errors, metrics, verdict and labels.

    Args:
        run: the folder of a record, `latest` for the newest one under `outputs_dir` (after a sweep its
            best run, with a warning that says which), or the id of a run in MLflow.
        outputs_dir: folder of the records and, unless `tracking_uri` says otherwise, of the store `mlflow.db`.
        tracking_uri: of the store that has the run: sqlite:///FILE or the address of a server.

    Raises:
        InputError: there is no such run, or it has no result.
        TrackingError: the store or the server failed.
    """
    uri = tracking_uri if tracking_uri is not None else f"sqlite:///{Path(outputs_dir) / 'mlflow.db'}"
    place = str(Path(run).expanduser())
    with record_folder(place, str(outputs_dir), uri, whole=True) as record:
        best = best_of_sweep(record.parent) if str(run) == LATEST else None
        if best is not None and best.record == record:
            warnings.warn(f"latest is {record}, {best.description}", stacklevel=2)
        read_fitted(record)
        found = reading.read_checked(record)
        assignments = read_assignments(record, columns=found.columns)
    # What only MLflow had was copied into a folder that is gone.
    return Fit(found, assignments, record.absolute() if record.is_dir() else None)
