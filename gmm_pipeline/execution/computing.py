"""Batches of runs, computed while the runs before them are saved.

Results come in the order of the runs, whichever batch is done first. Only a few batches are computed ahead of the one
that is saved, so that memory does not grow with the sweep.
"""

import itertools
import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.execution.batches import Batch, Outcome
from gmm_pipeline.execution.executors import Executor, Wait, opened
from gmm_pipeline.execution.planning import Group, Plan, Run
from gmm_pipeline.inference.batching import batches
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.loading import configure_jax, load_resolved

AHEAD = 2
"""Tasks queued per worker besides the one that it computes."""


def of_plan(planned: Plan, timings: Timings) -> Generator[tuple[int, Run, Outcome, datetime], None, None]:
    """Yield each run that is left to compute, in order, with the number of its group; closing it stops what computes.

    Args:
        planned: the work of a sweep.
        timings: that loading and fitting are added to.

    Raises:
        InputError: what was asked to compute cannot.
    """
    if not planned.groups:
        return
    with opened(planned.execution) as executor:
        for number, group in enumerate(planned.groups, 1):
            for run, outcome, began in _of_group(group, executor, timings):
                yield number, run, outcome, began


def _of_group(group: Group, executor: Executor, timings: Timings) -> Iterator[tuple[Run, Outcome, datetime]]:
    """Each run of a group with its outcome and the time when its batch was begun, in order."""
    configure_jax(group.settings)
    ahead: list[tuple[list[Run], datetime]] = []

    def loaded() -> Iterator[list[Job | Exception]]:
        for members in batches(group.program, range(len(group.runs))):
            runs = [group.runs[member] for member in members]
            ahead.append((runs, datetime.now(UTC)))
            with timings.section("load"):
                jobs = [_job(run) for run in runs]
            yield jobs

    computed = compute(loaded(), group.settings, executor)
    while True:
        with timings.section("fit"):
            outcomes = next(computed, None)
        if outcomes is None:
            return
        runs, began = ahead.pop(0)
        for run, outcome in zip(runs, outcomes, strict=True):
            yield run, outcome, began


def _job(run: Run) -> Job | Exception:
    if run.job is not None:
        return run.job
    try:
        return load_resolved(run.content)
    except Exception as error:  # a file may have disappeared since the job was planned
        return error


def compute(loaded: Iterable[Batch], settings: Mapping[str, Any], executor: Executor) -> Iterator[list[Outcome]]:
    """Yield the outcomes of batches, in order.

    Args:
        loaded: the batches; taken as they are needed, in the caller's thread.
        settings: the keys of the config that set JAX's global state.
        executor: what computes.
    """
    waiting: deque[Wait] = deque()
    executor.seconds_a_batch = math.inf  # of the group before
    left = iter(loaded)
    while task := list(itertools.islice(left, executor.batches_a_task)):
        waiting.append(executor.submit(settings, task))
        if len(waiting) > executor.workers * (1 + AHEAD):
            yield from waiting.popleft()()
    while waiting:
        yield from waiting.popleft()()
