"""Write runs by MLflow's own calls: to a server, or into a store whose tables are not those that `rows` expects.

The price: tens of milliseconds per run, and run ids drawn by MLflow. A run that was logged before is found by its tags,
so that logging again replaces it instead of adding another; a run without a final status was not logged completely. A
server cannot be locked: if two processes log the same run at once, each searches again after creating it, and one of
the duplicates is removed.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gmm_pipeline.records.contents import Content, milliseconds
from gmm_pipeline.tracking import loggable
from gmm_pipeline.tracking.loggable import OF_MODEL, RECORD_ID, Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

TRAINING = ("mlflow.data.context", "training")
STATUS = "gmm_pipeline.status"
INCOMPLETE = "incomplete"
SWEEP_ID, NUMBER = "gmm_pipeline.sweep_id", "gmm_pipeline.number"
PARENT = "mlflow.parentRunId"
PAGE_OF_RUNS = 1000
RETRY_S = 1.0


class Entry(NamedTuple):
    """A run as a tracker holds it."""

    name: str
    status: str
    """MLflow's status: RUNNING, FINISHED or FAILED."""
    started: int
    """Milliseconds since 1970."""
    ended: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: list[Point]
    dataset: Mapping[str, str] | None


class Logged(NamedTuple):
    """A run as a store has it."""

    run_id: str
    experiment_id: str
    started: int
    complete: bool
    """Whether it was logged completely and not deleted since."""
    record_id: str | None
    """Id of the record that was logged; None if an earlier version logged it."""


def entry_of(
    record: Path, content: Content, name: str, series_points: int, tags: Mapping[str, str] | None = None
) -> Entry:
    """A record as a run of a tracker.

    Args:
        record: its folder.
        content: its contents.
        name: of the run.
        series_points: points of each series.
        tags: in addition to those of every record.
    """
    status = content.record["status"]
    return Entry(
        name=name,
        status="FINISHED" if status == "finished" else "FAILED",
        started=milliseconds(content.record["started"]),
        ended=milliseconds(content.record["ended"]),
        tags={**loggable.tags(record, content), **(tags or {}), STATUS: status},
        params=loggable.params(content),
        points=loggable.points(content, series_points),
        dataset=loggable.dataset(content.data) if content.data else None,
    )


@contextlib.contextmanager
def failed_unless_whole(client: "MlflowClient", run_id: str) -> Iterator[None]:
    """Mark a run as failed if it cannot be logged completely.

    Args:
        client: of the store.
        run_id: of the run.
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            client.set_terminated(run_id, "FAILED")
        raise


def log_entry(client: "MlflowClient", run_id: str, entry: Entry, model_id: str | None) -> None:
    """Log an entry, its status last: a run without a final status was not logged completely.

    Args:
        client: of the store.
        run_id: of a run that was made with the entry's tags.
        entry: the content of the run.
        model_id: of its model; None if it has none.
    """
    from mlflow.entities import Param

    if entry.dataset is not None:
        client.log_inputs(run_id, [dataset_input(entry.dataset)])
    client.log_batch(
        run_id,
        metrics=metrics_of(entry, model_id),
        params=[Param(name, text) for name, text in entry.params.items()],
    )
    client.set_terminated(run_id, entry.status, entry.ended)
    client.set_tag(run_id, STATUS, entry.tags[STATUS])


def metrics_of(entry: Entry, model_id: str | None) -> "list[Metric]":
    """The points of an entry as metrics of MLflow, some of them also of its model.

    Args:
        entry: the content of a run.
        model_id: of its model; None if it has none.
    """
    from mlflow.entities import Metric

    time, dataset = entry.ended or entry.started, entry.dataset or {}
    of_model = points_of_model(entry) if model_id is not None else ()
    return [
        Metric(*point[:2], time, point.step, model_id, dataset.get("name"), dataset.get("digest"))
        if point in of_model
        else Metric(*point[:2], time, point.step)
        for point in entry.points
    ]


def points_of_model(entry: Entry) -> list[Point]:
    """The final values of an entry that are also metrics of its model."""
    final = {point.name: point for point in entry.points}
    return [final[name] for name in OF_MODEL if name in final]


class Calls:
    """Writes the runs of a sweep through an MLflow client."""

    def __init__(self, client: "MlflowClient"):
        self._client = client

    def find(self, sweep_id: str) -> str | None:
        """The id of the run of a sweep, in any experiment."""
        return next(iter(self._parents(sweep_id)), None)

    def parent(self, sweep_id: str, experiment_id: str, entry: Entry) -> str:
        """The id of the run of a sweep, which is created if the store has none.

        Args:
            sweep_id: of the sweep, as its manifest has it.
            experiment_id: where a new run is made.
            entry: the content of a new run.
        """
        return made_once(
            lambda: self._parents(sweep_id),
            lambda: self._create(experiment_id, entry, entry.tags),
            self._client.delete_run,
        )

    def children(self, parent: str, experiment_id: str) -> dict[int, Logged]:
        """The runs that the store has under a parent, by number; of duplicates logged at the same time, one is kept.

        Args:
            parent: run id of the sweep.
            experiment_id: of the parent.
        """
        found: dict[int, Logged] = {}
        runs = search(self._client, [experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
        logged = [(int(run.data.tags[NUMBER]), as_logged(run)) for run in runs if NUMBER in run.data.tags]
        for number, one in sorted(logged, key=lambda item: (not item[1].complete, item[1].run_id)):
            if number in found:
                self._client.delete_run(one.run_id)
            else:
                found[number] = one
        return found

    def write(
        self, parent: str, experiment_id: str, entries: Mapping[int, tuple[Entry, Path]], replaced: Mapping[int, Logged]
    ) -> dict[int, str]:
        """Write children one by one and return their ids, by number; the tags show which are incomplete after an error.

        Args:
            parent: run id of the sweep.
            experiment_id: of the parent.
            entries: the content of each run and the folder of its record, by number.
            replaced: earlier runs with some of these numbers, which are deleted.
        """
        ids = {}
        for number, (entry, _) in entries.items():
            if number in replaced:
                self._client.delete_run(replaced[number].run_id)
            run_id = ids[number] = self._create(experiment_id, entry, {**entry.tags, STATUS: INCOMPLETE})
            with failed_unless_whole(self._client, run_id):
                log_entry(self._client, run_id, entry, None)
        return ids

    def set_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Set params that a run lacks; MLflow does not allow changes, so those of the first call stay.

        Args:
            run_id: of the run.
            params: name to text.
        """
        from mlflow.entities import Param

        existing = self._client.get_run(run_id).data.params
        new = [Param(key, value) for key, value in params.items() if key not in existing]
        self._client.log_batch(run_id, params=new)

    def set_metrics(self, found: Mapping[str, Mapping[str, float]], time: int) -> None:
        """Set metrics of runs; a later value of the same metric counts.

        Args:
            found: name to value, by run id.
            time: when they were found, in milliseconds since 1970.
        """
        from mlflow.entities import Metric

        for run_id, metrics in found.items():
            self._client.log_batch(run_id, metrics=[Metric(name, value, time, 0) for name, value in metrics.items()])

    def _parents(self, sweep_id: str) -> list[str]:
        runs = search(self._client, experiments_of(self._client), f"tags.`{SWEEP_ID}` = '{sweep_id}'")
        return sorted(run.info.run_id for run in runs)

    def _create(self, experiment_id: str, entry: Entry, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(experiment_id, start_time=entry.started, tags=dict(tags), run_name=entry.name)
        return run.info.run_id


def as_logged(run: "Run") -> Logged:
    """A run of MLflow as `Logged`."""
    tags = run.data.tags
    complete = tags.get(STATUS) != INCOMPLETE
    return Logged(run.info.run_id, run.info.experiment_id, run.info.start_time, complete, tags.get(RECORD_ID))


def experiments_of(client: "MlflowClient") -> list[str]:
    """The ids of the experiments of a store."""
    found, token = [], None
    while token != "":
        page = client.search_experiments(page_token=token)
        found += [experiment.experiment_id for experiment in page]
        token = page.token or ""
    return found


def search(client: "MlflowClient", experiments: Sequence[str], chosen: str) -> "Iterator[Run]":
    """All runs that match a filter of MLflow, page by page.

    Args:
        client: of the store.
        experiments: their ids.
        chosen: the filter, in MLflow's syntax.
    """
    token = None
    while True:
        found = client.search_runs(list(experiments), chosen, max_results=PAGE_OF_RUNS, page_token=token)
        yield from found
        token = found.token
        if not token:
            return


def made_once(find: Callable[[], Sequence[str]], create: Callable[[], str], delete: Callable[[str], None]) -> str:
    """The id of an existing run, or of a new one; if two processes create it at once, both remove theirs and try again.

    Args:
        find: gives the ids of existing runs.
        create: creates one and gives its id.
        delete: removes one.
    """
    while True:
        found = find()
        if found:
            return found[0]
        made = create()
        if set(find()) <= {made}:
            return made
        delete(made)
        time.sleep(random.uniform(0.0, RETRY_S))  # noqa: S311 - no secret, only unlike the other's


def dataset_input(fields: Mapping[str, Any]) -> "DatasetInput":
    """The data of a fit as an MLflow dataset."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(**fields), [InputTag(*TRAINING)])
