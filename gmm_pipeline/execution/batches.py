"""A batch of a sweep: computed in this process, or sent to another one and back, with others where it is short.

A batch travels as its jobs, whose plans and families are made again by name where they arrive, and comes back as
answers. Width and program of a batch are planned for the kind of device of the process that plans, so a worker computes
nothing if its libraries, its CPU or its device differ, and is refused.
"""

import functools
import io
import math
import mmap
import pickle
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gmm_pipeline.analysis.answers import Answer, answer
from gmm_pipeline.analysis.estimates import Job, estimate
from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.inference import devices
from gmm_pipeline.records.provenance import vector_instructions
from gmm_pipeline.stages.loading import code_digest, configure_jax

WORTH_SHARING = 2**18
"""Bytes of an array from which it goes to a cluster once, not with each batch."""


class Outcome(NamedTuple):
    """The outcome of a run."""

    job: Job | None
    """None if it could not be loaded."""
    answer: Answer | None
    error: Exception | None


Batch = Sequence[Job | Exception]
"""Jobs that are computed at once, or why one could not be loaded."""
Task = Sequence[Batch]
"""Batches that travel together and are computed one after another."""


class _Stopped(Exception):  # noqa: N818 - it names an outcome rather than a mistake
    """The sweep was interrupted."""


def lost(task: Task, error: BaseException, again: Callable[[Task], list[list[Outcome]]]) -> list[list[Outcome]]:
    """The outcomes of a task whose worker died in spite of another try: of its batches, or its runs, by themselves.

    Args:
        task: what the worker computed.
        error: with which it died.
        again: computes a part of the task in another worker.
    """
    if len(task) > 1:
        return [outcomes for jobs in task for outcomes in again([jobs])]
    (jobs,) = task
    loaded = [job for job in jobs if isinstance(job, Job)]
    if len(loaded) > 1:
        return [[outcome for job in jobs for outcome in again([[job]])[0]]]
    died = RunFailed(
        "its worker died each time, as where a library crashes or memory is short: "
        f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    )
    return [_all_failed(jobs, died)]


def _all_failed(jobs: Batch, error: Exception) -> list[Outcome]:
    return [Outcome(job, None, error) if isinstance(job, Job) else Outcome(None, None, job) for job in jobs]


class _Pickler(pickle.Pickler):
    """Leaves out what need not travel: large arrays of a cluster go by themselves, once, files are mapped again.

    An equal array of another job is another one.
    """

    def __init__(self, stream: io.BytesIO, arrays: list[np.ndarray] | None):
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._arrays, self._places = arrays, {}

    def persistent_id(self, obj: Any) -> int | None:
        if self._arrays is None or not isinstance(obj, np.ndarray) or obj.nbytes < WORTH_SHARING or _is_one(obj):
            return None
        if id(obj) not in self._places:
            self._places[id(obj)] = len(self._arrays)
            self._arrays.append(obj)
        return self._places[id(obj)]

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray) and _is_one(obj):
            return np.broadcast_to, (obj[(0,) * obj.ndim], obj.shape)
        if isinstance(obj, np.memmap) and obj.filename and isinstance(obj.base, mmap.mmap):  # a whole file
            return np.memmap, (str(obj.filename), obj.dtype, "r", obj.offset, obj.shape)
        return NotImplemented


def _is_one(array: np.ndarray) -> bool:
    """Whether a single number in memory stands for all, as for counts of many data."""
    return array.size > 1 and not any(array.strides)


class _Unpickler(pickle.Unpickler):
    def __init__(self, blob: bytes, arrays: Sequence[np.ndarray]):
        super().__init__(io.BytesIO(blob))
        self._arrays = arrays

    def persistent_load(self, pid: int) -> np.ndarray:
        return self._arrays[pid]


def pickled(task: Task, arrays: list[np.ndarray] | None = None) -> bytes:
    """A task for another process of this program.

    Args:
        task: its batches.
        arrays: is filled with the large ones, which are then left out; None for a process that sees the same files.
    """
    stream = io.BytesIO()
    _Pickler(stream, arrays).dump([[job for job in jobs if isinstance(job, Job)] for jobs in task])
    return stream.getvalue()


def come_back(
    task: Task, get: Callable[[], bytes], died: tuple[type[Exception], ...]
) -> tuple[list[list[Outcome]], float]:
    """The outcomes of each batch from what its worker returned, which has no jobs, and the seconds of a batch.

    Args:
        task: the batches.
        get: waits for the worker.
        died: what it raises where the worker has died; any other error is the outcome of these jobs.

    Raises:
        InputError: the worker's libraries, code or device are not those of this process.
    """
    try:
        answered = get()
    except died:
        raise
    except Exception as error:  # such as that of a plug-in that a node does not have
        return [_all_failed(jobs, error) for jobs in task], math.inf
    facts, answers, seconds = pickle.loads(answered)  # noqa: S301 - of a process of this program
    if facts != own_facts():
        raise InputError(
            "execution",
            expected="workers with the code, the libraries, the CPU and the device of this process, for the same bits",
            came="one that differs",
            remedy="Install the same lock file on all nodes, and let a sweep run on nodes of one kind.",
        )
    found = [iter(of_batch) for of_batch in answers]
    return [
        [Outcome(job, *next(own)) if isinstance(job, Job) else Outcome(None, None, job) for job in jobs]
        for jobs, own in zip(task, found, strict=True)
    ], (seconds / len(task) if any(answers) else math.inf)


@functools.cache
def own_facts() -> tuple[str, str]:
    """What the bits of a result depend on besides its job; the second part is the vector instructions of the CPU."""
    return code_digest(), vector_instructions()


def away(
    settings: Mapping[str, Any], facts: tuple[str, str], blob: bytes, *arrays: np.ndarray, place: int = 0
) -> bytes:
    """Compute a task in a process of its own, unless it was planned for another kind of machine.

    Args:
        settings: the keys of the config that set JAX's global state.
        facts: of the process that planned the batches.
        blob: the jobs, without their large arrays.
        arrays: these.
        place: of the device that computes, among those of this process.
    """
    configure_jax(settings)
    own, answers, began = own_facts(), [], time.perf_counter()
    if own == facts:
        with devices.on(devices.used()[place] if place else None):
            for jobs in _Unpickler(blob, arrays).load():
                found = outcomes(jobs, lambda: False)
                answers.append([(outcome.answer, _portable(outcome.error)) for outcome in found])
    return pickle.dumps((own, answers, time.perf_counter() - began), pickle.HIGHEST_PROTOCOL)


def _portable(error: Exception | None) -> Exception | None:
    """An error as another process can read it, with its traceback as a note."""
    if error is None:
        return None
    if not isinstance(error, InputError | RunFailed):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made the line before
    except Exception:  # whatever a class of a library raises
        return RunFailed(f"{type(error).__name__}: {error}")
    return error


def outcomes(jobs: Batch, is_stopped: Callable[[], bool]) -> list[Outcome]:
    """Compute a batch in this process; jobs that fail together are computed one by one.

    Args:
        jobs: of the batch.
        is_stopped: whether the sweep was interrupted, which ends the work.
    """
    found = iter(_of_jobs([job for job in jobs if isinstance(job, Job)], is_stopped))
    return [next(found) if isinstance(job, Job) else Outcome(None, None, job) for job in jobs]


def _of_jobs(jobs: Sequence[Job], is_stopped: Callable[[], bool]) -> list[Outcome]:
    """The outcomes of jobs; if they fail together, of each by itself."""
    try:
        return _fitted(jobs, is_stopped) if jobs else []
    except _Stopped:
        raise
    except Exception as error:
        if len(jobs) == 1:
            return [Outcome(jobs[0], None, error)]
    return [outcome for job in jobs for outcome in _of_jobs([job], is_stopped)]


def _fitted(jobs: Sequence[Job], is_stopped: Callable[[], bool]) -> list[Outcome]:
    def heed(done: int, total: int, what: str) -> None:
        if is_stopped():
            raise _Stopped

    heed(0, 0, "")
    found = estimate(jobs, heed)
    return [Outcome(job, answer(job, one), None) for job, one in zip(jobs, found, strict=True)]
