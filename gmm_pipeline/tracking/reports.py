"""Reports in MLflow: a page beside the other files of a run that was logged before.

The store is the one that has the run: that of the command, or else the one that the record names. No store is created,
and a page that already lies in the run's artifact folder is not copied.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from gmm_pipeline.errors import InputError
from gmm_pipeline.tracking.runs import TrackingError, failures_reported
from gmm_pipeline.tracking.store import SQLITE, client_of, collector_paused, store_file


@collector_paused()
def log_report(page: Path, *, tracking: Mapping[str, Any], uri: str) -> str:
    """Add a page to the run that its record was logged as; returns the store.

    Args:
        page: the file.
        tracking: what the record or the sweep says of where it was logged.
        uri: sqlite:///FILE or the address of a server, asked first.

    Raises:
        InputError: `uri` is no store that can be used.
        TrackingError: no store has the run, or it failed.
    """
    from mlflow.exceptions import MlflowException

    run_id, recorded = tracking.get("run_id"), tracking.get("uri")
    if run_id is None or recorded is None:
        raise TrackingError(f"the record does not say which run of MLflow's it is: {dict(tracking)}")
    for candidate, file in _stores(uri, recorded):
        with failures_reported(candidate, file, what="the report", kept=f"it is in {page}"):
            client = client_of(candidate if file is None else f"{SQLITE}{file}")
            try:
                run = client.get_run(run_id)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    continue
                raise
            if _folder(str(run.info.artifact_uri)) != page.resolve().parent:
                client.log_artifact(run_id, str(page))
            return candidate
    raise TrackingError(
        f"{uri}: it does not have the run {run_id}, so the report could not be added to it. Nothing is lost: "
        f"it is in {page}. Name the right store with tracking.uri, or use tracking=none."
    )


def _stores(uri: str, recorded: str) -> Iterator[tuple[str, Path | None]]:
    """Stores to ask, each with its file, or None for a server; a local one that does not exist is left out."""
    for candidate in dict.fromkeys([uri, recorded]):
        try:
            file = store_file(candidate)
        except InputError:
            if candidate == uri:
                raise
            continue
        if file is None or file.exists():
            yield candidate, file


def _folder(uri: str) -> Path | None:
    """The folder of a run's files, if it is local."""
    parsed = urlparse(uri)
    return Path(unquote(parsed.path)).resolve() if parsed.scheme in ("", "file") else None
