"""Runs written through MLflow's own calls: to a server, or into a store whose tables are not known.

The price: tens of milliseconds a run, and run ids that MLflow draws. A run that was logged before is found by its tags,
so that logging again replaces it rather than repeats it; until its status is there it was not logged whole. Nothing
locks a server: where two log the same at once, each looks again after it made a run, and what both made one removes.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gmm_pipeline.records.contents import Content, milliseconds
from gmm_pipeline.tracking import loggable
from gmm_pipeline.tracking.loggable import RECORD_ID, Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

TRAINING = ("mlflow.data.context", "training")
STATUS = "gmm_pipeline.status"
INCOMPLETE = "incomplete"
SWEEP_ID, NUMBER = "gmm_pipeline.sweep_id", "gmm_pipeline.number"
PAGE_OF_RUNS = 1000
RETRY_S = 1.0


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
    experiment_id: str
    started: int
    complete: bool
    """Logged whole, and not deleted since."""
    record_id: str | None
    """Of the record that was logged; None for one of an earlier version."""


def entry_of(
    record: Path, content: Content, name: str, series_points: int, tags: Mapping[str, str] | None = None
) -> Entry:
    """A record as a run of a tracker.

    Args:
        record: its folder.
        content: what it says.
        name: of the run.
        series_points: points of each series.
        tags: besides those of every record.
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
    """Let a run that cannot be logged whole be seen to have failed.

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


def log_entry(client: "MlflowClient", run_id: str, entry: Entry) -> None:
    """Log all that an entry says, its status last: a run without it was not logged whole.

    Args:
        client: of the store.
        run_id: of a run that was made with the entry's tags.
        entry: what the run is to say.
    """
    from mlflow.entities import Metric, Param, RunTag

    if entry.dataset is not None:
        client.log_inputs(run_id, [dataset_input(entry.dataset)])
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, entry.ended or entry.started, step) for name, value, step in entry.points],
        params=[Param(name, text) for name, text in entry.params.items()],
        tags=[RunTag(STATUS, entry.tags[STATUS])],
    )
    client.set_terminated(run_id, entry.status, entry.ended)


class Calls:
    """Writes the runs of a sweep through a client of MLflow's."""

    def __init__(self, client: "MlflowClient"):
        self._client = client

    def find(self, sweep_id: str) -> str | None:
        """The id of the run of a sweep, whatever its experiment."""
        return next(iter(self._parents(sweep_id)), None)

    def parent(self, sweep_id: str, experiment_id: str, entry: Entry) -> str:
        """The id of the run of a sweep, made where the store has none.

        Args:
            sweep_id: of the sweep, as its manifest has it.
            experiment_id: where a new run is made.
            entry: what a new run says.
        """
        return made_once(
            lambda: self._parents(sweep_id),
            lambda: self._create(experiment_id, entry, entry.tags),
            self._client.delete_run,
        )

    def children(self, parent: str, experiment_id: str) -> dict[int, Logged]:
        """The runs that the store has under a parent, by number; of those that two have logged at once, one is kept.

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
        """Write children one by one and give their ids, by number; what an error leaves undone is told by its tags.

        Args:
            parent: run id of the sweep.
            experiment_id: of the parent.
            entries: what each run says and the folder of its record, by number.
            replaced: earlier runs with some of these numbers, which are deleted.
        """
        ids = {}
        for number, (entry, _) in entries.items():
            if number in replaced:
                self._client.delete_run(replaced[number].run_id)
            run_id = ids[number] = self._create(experiment_id, entry, {**entry.tags, STATUS: INCOMPLETE})
            with failed_unless_whole(self._client, run_id):
                log_entry(self._client, run_id, entry)
        return ids

    def set_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Set params that a run has not: MLflow lets none change, so that those of the first call stay.

        Args:
            run_id: of the run.
            params: name to text.
        """
        from mlflow.entities import Param

        existing = self._client.get_run(run_id).data.params
        new = [Param(key, value) for key, value in params.items() if key not in existing]
        self._client.log_batch(run_id, params=new)

    def _parents(self, sweep_id: str) -> list[str]:
        runs = search(self._client, experiments_of(self._client), f"tags.`{SWEEP_ID}` = '{sweep_id}'")
        return sorted(run.info.run_id for run in runs)

    def _create(self, experiment_id: str, entry: Entry, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(experiment_id, start_time=entry.started, tags=dict(tags), run_name=entry.name)
        return run.info.run_id


def as_logged(run: "Run") -> Logged:
    """What a run says of itself."""
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
    """Runs that a filter in MLflow's language chooses, page by page.

    Args:
        client: of the store.
        experiments: their ids.
        chosen: the filter.
    """
    token = None
    while True:
        found = client.search_runs(list(experiments), chosen, max_results=PAGE_OF_RUNS, page_token=token)
        yield from found
        token = found.token
        if not token:
            return


def made_once(find: Callable[[], Sequence[str]], create: Callable[[], str], delete: Callable[[str], None]) -> str:
    """A run that is found, or else made, by its id; where two make it at once, both take theirs back and try again.

    Args:
        find: gives the ids of runs that are there.
        create: makes one and gives its id.
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
    """What was fitted, as MLflow's own kind of thing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(**fields), [InputTag(*TRAINING)])
