"""Batches of runs, computed in threads while the runs before them are saved.

XLA computes outside of the interpreter's lock, and a batch of small fits keeps one core busy, so there is one thread
per core on a CPU, and one per device elsewhere. Results come in the order of the runs, whichever thread finishes first.
Only a few batches are computed ahead of the one that is saved, so that memory does not grow with the sweep.

A batch that fails is tried again run by run, so that one bad run costs its own result alone.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

from gmm_pipeline.analysis.answers import Answer, answer
from gmm_pipeline.analysis.estimates import Job, estimate
from gmm_pipeline.execution.planning import Group, Run
from gmm_pipeline.inference.batching import batches
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.loading import configure_jax, load_resolved

AHEAD = 2
"""Batches queued per thread besides the one that it computes."""


class Outcome(NamedTuple):
    """The outcome of a run."""

    job: Job | None
    """None if it could not be loaded."""
    answer: Answer | None
    error: Exception | None


class _Stopped(Exception):  # noqa: N818 - it names an outcome rather than a mistake
    """The sweep was interrupted."""


def of_group(group: Group, workers: int, timings: Timings) -> Generator[tuple[Run, Outcome, datetime], None, None]:
    """Yield each run of a group with its outcome and the time when its batch was begun, in order.

    Args:
        group: runs that share a program.
        workers: threads that compute.
        timings: that loading and fitting are added to.
    """
    configure_jax(group.settings)
    ahead: list[tuple[list[Run], datetime]] = []

    def loaded() -> Iterator[list[Job | Exception]]:
        for members in batches(group.program, range(len(group.runs))):
            runs = [group.runs[member] for member in members]
            ahead.append((runs, datetime.now(UTC)))
            with timings.section("load"):
                jobs = [_job(run) for run in runs]
            yield jobs

    with contextlib.closing(compute(loaded(), workers)) as computed:
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


def compute(loaded: Iterable[Sequence[Job | Exception]], workers: int) -> Generator[list[Outcome], None, None]:
    """Yield the outcomes of batches, in order; closing the generator early stops the fits in progress.

    Args:
        loaded: the jobs of each batch, or why one could not be loaded; taken from as they are needed, in the caller's
            thread.
        workers: threads that compute.
    """
    import jax

    devices = jax.local_devices()
    stop = threading.Event()
    with ThreadPoolExecutor(workers, thread_name_prefix="fit") as executor:
        waiting: deque[Future[list[Outcome]]] = deque()
        try:
            for number, jobs in enumerate(loaded):
                waiting.append(executor.submit(_outcomes, jobs, devices[number % len(devices)], stop))
                if len(waiting) > workers * (1 + AHEAD):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)


def _outcomes(jobs: Sequence[Job | Exception], device: object, stop: threading.Event) -> list[Outcome]:
    import jax

    with jax.default_device(device):
        found = iter(_of_jobs([job for job in jobs if isinstance(job, Job)], stop))
    return [next(found) if isinstance(job, Job) else Outcome(None, None, job) for job in jobs]


def _of_jobs(jobs: Sequence[Job], stop: threading.Event) -> list[Outcome]:
    try:
        return _fitted(jobs, stop) if jobs else []
    except _Stopped:
        raise
    except Exception as error:
        if len(jobs) == 1:
            return [Outcome(jobs[0], None, error)]
    return [outcome for job in jobs for outcome in _of_jobs([job], stop)]


def _fitted(jobs: Sequence[Job], stop: threading.Event) -> list[Outcome]:
    def heed(done: int, total: int, what: str) -> None:
        if stop.is_set():
            raise _Stopped

    heed(0, 0, "")
    found = estimate(jobs, heed)
    return [Outcome(job, answer(job, one), None) for job, one in zip(jobs, found, strict=True)]
