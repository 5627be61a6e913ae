"""Runs written through MLflow's own calls: to a server, or into a store whose tables are not known.

The price: tens of milliseconds a run, and run ids that MLflow draws. A run that was logged before is found by its tags,
so that logging again replaces it rather than repeats it; until its status is there it was not logged whole.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gmm_pipeline.records.loggable import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

TRAINING = ("mlflow.data.context", "training")
STATUS = "gmm_pipeline.status"
INCOMPLETE = "incomplete"
PAGE_OF_RUNS = 1000


class Entry(NamedTuple):
    """A run as a tracker holds it."""

    name: str
    status: str
    """MLflow's own word: RUNNING, FINISHED or FAILED."""
    started: int
    """Milliseconds since 1970."""
    ended: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: list[Point]
    dataset: Mapping[str, str] | None


class Logged(NamedTuple):
    """What a store says of a run that it has."""

    run_id: str
    started: int
    complete: bool
    """Logged whole, and not deleted since."""


class Calls:
    """Writes the runs of a sweep through a client of MLflow's."""

    def __init__(self, client: "MlflowClient"):
        self._client = client

    def parent(self, sweep_id: str, experiment_id: str, entry: Entry) -> tuple[str, str]:
        """The run of a sweep, made where the store has none, and its experiment."""
        for run in self._runs(experiment_id, f"tags.`gmm_pipeline.sweep_id` = '{sweep_id}'"):
            return run.info.run_id, experiment_id
        return self._create(experiment_id, entry, entry.tags), experiment_id

    def children(self, parent: str, experiment_id: str) -> dict[int, Logged]:
        """The runs that the store has under a parent, by number."""
        return {
            int(run.data.tags["gmm_pipeline.number"]): Logged(
                run.info.run_id, run.info.start_time, run.data.tags.get(STATUS) != INCOMPLETE
            )
            for run in self._runs(experiment_id, f"tags.mlflow.parentRunId = '{parent}'")
            if "gmm_pipeline.number" in run.data.tags
        }

    def write(
        self, parent: str, experiment_id: str, entries: Mapping[int, tuple[Entry, Path]], replaced: Mapping[int, Logged]
    ) -> dict[int, str]:
        """Write children one by one and give their ids, by number; what an error leaves undone is told by its tags."""
        ids = {}
        for number, (entry, _) in entries.items():
            if number in replaced:
                self._client.delete_run(replaced[number].run_id)
            run_id = ids[number] = self._create(experiment_id, entry, {**entry.tags, STATUS: INCOMPLETE})
            try:
                self._log(run_id, entry)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._client.set_terminated(run_id, "FAILED")
                raise
        return ids

    def set_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Set params that a run has not: MLflow lets none change, so that those of the first call stay."""
        from mlflow.entities import Param

        known = self._client.get_run(run_id).data.params
        new = [Param(key, value) for key, value in params.items() if key not in known]
        self._client.log_batch(run_id, params=new)

    def _create(self, experiment_id: str, entry: Entry, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(experiment_id, start_time=entry.started, tags=dict(tags), run_name=entry.name)
        return run.info.run_id

    def _log(self, run_id: str, entry: Entry) -> None:
        from mlflow.entities import Metric, Param, RunTag

        if entry.dataset is not None:
            self._client.log_inputs(run_id, [dataset_input(entry.dataset)])
        time = entry.ended or entry.started
        # The status is written last: a run without it was not logged whole.
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, time, step) for name, value, step in entry.points],
            params=[Param(name, text) for name, text in entry.params.items()],
            tags=[RunTag(STATUS, entry.tags[STATUS])],
        )
        self._client.set_terminated(run_id, entry.status, entry.ended)

    def _runs(self, experiment_id: str, chosen: str) -> "Iterator[Run]":
        token = None
        while True:
            found = self._client.search_runs([experiment_id], chosen, max_results=PAGE_OF_RUNS, page_token=token)
            yield from found
            token = found.token
            if not token:
                return


def dataset_input(fields: Mapping[str, Any]) -> "DatasetInput":
    """What was fitted, as MLflow's own kind of thing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(**fields), [InputTag(*TRAINING)])
