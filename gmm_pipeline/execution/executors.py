"""What computes the batches of a sweep: threads, processes (loky) or the workers of a Ray cluster.

A batch travels as its jobs, whose plans and families are made again by name where they arrive, and comes back as
answers. This process alone plans, writes records and logs. A result does not depend on where it was computed: workers
run the function that threads run, with the same settings. Width and program of a batch are planned for this process's
kind of device, so a worker computes nothing if its libraries, its CPU or its device differ, and is refused.

Where a machine has several devices of a kind, batches go to them in turn, each to one. A worker of Ray has the GPU that
Ray gives it.

A worker that dies, by a crash of a library or for want of memory, costs the run that does it alone: its batch is tried
again in a worker of its own, and then run by run.
"""

import abc
import contextlib
import functools
import importlib
import io
import itertools
import logging
import mmap
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from concurrent.futures import wait as all_done
from typing import Any, NamedTuple

import numpy as np

from gmm_pipeline import extras
from gmm_pipeline.analysis.answers import Answer, answer
from gmm_pipeline.analysis.estimates import Job, estimate
from gmm_pipeline.configuration.limits import ALL, DISTRIBUTED, PROCESSES, RAY
from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.inference import devices
from gmm_pipeline.inference.batching import default_workers
from gmm_pipeline.records.provenance import vector_instructions
from gmm_pipeline.stages.loading import code_digest, configure_jax

WORTH_SHARING = 2**18
"""Bytes of an array from which it goes to a cluster once, not with each batch."""
RETRIES = 2
"""How often Ray itself runs a batch again whose worker died."""
FROM_HERE = ("JAX_", "XLA_")
"""What the environment variables begin with that workers of a cluster take over."""


class Outcome(NamedTuple):
    """The outcome of a run."""

    job: Job | None
    """None if it could not be loaded."""
    answer: Answer | None
    error: Exception | None


CLEANED_UP = "ignore:resource_tracker:UserWarning"
"""What a process of loky's says when it has given back the semaphores of one that an interrupt or a kill ended."""
BROKEN = (BrokenExecutor, BrokenPipeError)
"""What a pool of processes raises where a worker has died, or just dies while it is written to."""
Batch = Sequence[Job | Exception]
"""Jobs that are computed at once, or why one could not be loaded."""
Wait = Callable[[], list[Outcome]]
"""Waits for the outcomes of a batch, in its order."""


class Executor(abc.ABC):
    """Where batches are computed."""

    workers: int
    """Batches that are computed at once."""

    @abc.abstractmethod
    def submit(self, settings: Mapping[str, Any], jobs: Batch) -> Wait:
        """Begin to compute a batch.

        Args:
            settings: the keys of the config that set JAX's global state.
            jobs: of the batch.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Stop what is being computed."""


@contextlib.contextmanager
def opened(execution: Mapping[str, Any]) -> Iterator[Executor]:
    """The executor that a config asks for; what it still computes at the end is stopped.

    Args:
        execution: the keys of the group `execution`.

    Raises:
        InputError: it computes no sweeps, its library is not installed, or there is no such cluster or so many devices.
    """
    kind, workers = execution["kind"], execution["workers"]
    devices.use(None if execution["devices"] == ALL else execution["devices"])
    if kind == DISTRIBUTED:
        raise InputError(
            "execution",
            expected="threads, processes or ray for the runs of a sweep",
            came=DISTRIBUTED,
            remedy="It computes a single fit of large data.",
        )
    if kind == RAY:
        executor = _Ray(workers, execution["address"])
    else:
        executor = (_Processes if kind == PROCESSES else _Threads)(workers or default_workers())
    try:
        yield executor
    finally:
        executor.close()


class _Stopped(Exception):  # noqa: N818 - it names an outcome rather than a mistake
    """The sweep was interrupted."""


@functools.cache
def _kept(workers: int) -> ThreadPoolExecutor:
    """Threads that stay for the next sweep: malloc gives new ones other arenas, and keeps what each has ever held."""
    return ThreadPoolExecutor(workers, thread_name_prefix="fit")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.cache_clear)


class _Threads(Executor):
    """XLA computes outside of the interpreter's lock, so that threads suffice on one machine."""

    def __init__(self, workers: int):
        self.workers, self._turns = workers, itertools.cycle(devices.used())
        self._stop = threading.Event()
        self._under_way: set[Future[list[Outcome]]] = set()

    def submit(self, settings: Mapping[str, Any], jobs: Batch) -> Wait:
        future = _kept(self.workers).submit(self._outcomes, jobs, next(self._turns))
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future.result

    def _outcomes(self, jobs: Batch, device: Any) -> list[Outcome]:
        with devices.on(device):
            return _outcomes(jobs, self._stop.is_set)

    def close(self) -> None:
        self._stop.set()
        left = list(self._under_way)
        for future in left:
            future.cancel()
        all_done(left)


@contextlib.contextmanager
def _added(name: str, text: str) -> Iterator[None]:
    """Add to an environment variable with a list, for processes that are started inside."""
    before = os.environ.get(name)
    os.environ[name] = ",".join(filter(None, (before, text)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _Processes(Executor):
    """Processes of this machine; loky needs no guard in the caller's script, and says when a worker has died."""

    def __init__(self, workers: int):
        extras.require("loky", "loky", where="execution", purpose="processes")
        self.workers, self._places = workers, itertools.cycle(range(len(devices.used())))
        self._pool = self._started(workers)

    @staticmethod
    def _started(workers: int) -> Any:
        import loky

        with _added("PYTHONWARNINGS", CLEANED_UP):
            return loky.ProcessPoolExecutor(workers, initializer=_end_with, initargs=(os.getpid(),))

    def submit(self, settings: Mapping[str, Any], jobs: Batch) -> Wait:
        try:
            future: Future[bytes] = self._pool.submit(self._task(settings, jobs))
        except BROKEN:
            self._pool = self._started(self.workers)  # for the batches after this one
            return functools.partial(self._alone, settings, jobs)

        def wait() -> list[Outcome]:
            try:
                return _come_back(jobs, future.result, BROKEN)
            except BROKEN:
                return self._alone(settings, jobs)

        return wait

    def _task(self, settings: Mapping[str, Any], jobs: Batch) -> Callable[[], bytes]:
        return functools.partial(_away, dict(settings), _facts(), _pickled(jobs), place=next(self._places))

    def _alone(self, settings: Mapping[str, Any], jobs: Batch) -> list[Outcome]:
        """A batch that was lost with its worker, or with the worker of another: in a worker that runs nothing else."""
        if not any(isinstance(job, Job) for job in jobs):
            return _outcomes(jobs, lambda: False)
        pool = self._started(1)
        try:
            return _come_back(jobs, pool.submit(self._task(settings, jobs)).result, BROKEN)
        except BROKEN as error:
            return _lost(jobs, error, functools.partial(self._alone, settings))
        finally:
            _end_pool(pool)

    def close(self) -> None:
        _end_pool(self._pool)


def _end_pool(pool: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # of a worker that has just died
        pool.shutdown(kill_workers=True)


class _Ray(Executor):
    """Workers of a Ray cluster, or of Ray on this machine; arrays that jobs share go to its object store once."""

    def __init__(self, workers: int | None, address: str | None):
        extras.require("ray", "ray", where="execution", purpose="the workers of a Ray cluster")
        # Ray's hook for uv would start other Pythons on the nodes.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send statistics to its makers
        ray = importlib.import_module("ray")
        exceptions = importlib.import_module("ray.exceptions")
        self._ray, self._mine = ray, not ray.is_initialized()
        # Workers have one core by Ray's count, and get as many threads for linear algebra as this process.
        taken = {name: value for name, value in os.environ.items() if name.startswith(FROM_HERE)}
        if address is None:
            taken["PYTHONPATH"] = os.pathsep.join(sys.path)  # where this process finds plug-ins
        threads = os.environ.get("OMP_NUM_THREADS", str(default_workers()))
        if self._mine:
            try:
                # Ray starts other programs, and forks to no other end: JAX warns of every fork.
                warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
                ray.init(
                    address=address or "local",
                    num_cpus=(workers or default_workers()) if address is None else None,
                    include_dashboard=False if address is None else None,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    runtime_env={"env_vars": {**taken, "OMP_NUM_THREADS": threads}},
                )
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise InputError(
                    "execution.address",
                    expected="the address of a Ray cluster that runs, null for Ray on this machine, or auto",
                    came=f"{address} ({' '.join(str(error).split())[:200]})",
                    remedy="Run the sweep on a node of the cluster, and see `ray status`.",
                ) from error
        of_gpus = devices.current().platform == "gpu"  # without one of its own, a worker would see none
        self.workers = workers or int(ray.cluster_resources().get("GPU" if of_gpus else "CPU", 1))
        self._task = ray.remote(num_cpus=1, num_gpus=int(of_gpus), max_retries=RETRIES)(_away)
        self._died = (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError)
        self._shared: dict[int, tuple[np.ndarray, Any]] = {}
        self._under_way: dict[Any, None] = {}

    def submit(self, settings: Mapping[str, Any], jobs: Batch) -> Wait:
        arrays: list[np.ndarray] = []
        blob = _pickled(jobs, arrays)
        reference = self._task.remote(dict(settings), _facts(), blob, *map(self._put, arrays))
        self._under_way[reference] = None

        def wait() -> list[Outcome]:
            try:
                return _come_back(jobs, functools.partial(self._ray.get, reference), self._died)
            except self._died as error:
                return _lost(jobs, error, lambda some: self.submit(settings, some)())
            finally:
                self._under_way.pop(reference, None)

        return wait

    def _put(self, array: np.ndarray) -> Any:
        """The array in the object store; it is held here too, so that its address stays its own."""
        if id(array) not in self._shared:
            self._shared[id(array)] = array, self._ray.put(array)
        return self._shared[id(array)][1]

    def close(self) -> None:
        for reference in self._under_way:
            self._ray.cancel(reference, force=True)
        if self._mine:
            self._ray.shutdown()


def _lost(jobs: Batch, error: BaseException, again: Callable[[Batch], list[Outcome]]) -> list[Outcome]:
    """The outcomes of a batch whose worker died in spite of another try: those of its runs, one by one."""
    loaded = [job for job in jobs if isinstance(job, Job)]
    if len(loaded) > 1:
        return [outcome for job in jobs for outcome in again([job])]
    died = RunFailed(
        "its worker died each time, as where a library crashes or memory is short: "
        f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    )
    return [Outcome(job, None, died) if isinstance(job, Job) else Outcome(None, None, job) for job in jobs]


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


def _pickled(jobs: Batch, arrays: list[np.ndarray] | None = None) -> bytes:
    """A batch for another process of this program.

    Args:
        jobs: of the batch.
        arrays: is filled with the large ones, which are then left out; None for a process that sees the same files.
    """
    stream = io.BytesIO()
    _Pickler(stream, arrays).dump([job for job in jobs if isinstance(job, Job)])
    return stream.getvalue()


def _come_back(jobs: Batch, get: Callable[[], bytes], died: tuple[type[Exception], ...]) -> list[Outcome]:
    """The outcomes of a batch from what its worker returned, which has no jobs.

    Args:
        jobs: of the batch.
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
        return [Outcome(job, None, error) if isinstance(job, Job) else Outcome(None, None, job) for job in jobs]
    facts, answers = pickle.loads(answered)  # noqa: S301 - of a process of this program
    if facts != _facts():
        raise InputError(
            "execution",
            expected="workers with the code, the libraries, the CPU and the device of this process, for the same bits",
            came="one that differs",
            remedy="Install the same lock file on all nodes, and let a sweep run on nodes of one kind.",
        )
    found = iter(answers)
    return [Outcome(job, *next(found)) if isinstance(job, Job) else Outcome(None, None, job) for job in jobs]


@functools.cache
def _facts() -> tuple[str, str]:
    """What the bits of a result depend on besides its job; the second part is the vector instructions of the CPU."""
    return code_digest(), vector_instructions()


def _end_with(parent: int) -> None:
    """Let a worker leave interrupts to its parent, and end when that is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


def _away(
    settings: Mapping[str, Any], facts: tuple[str, str], blob: bytes, *arrays: np.ndarray, place: int = 0
) -> bytes:
    """Compute a batch in a process of its own, unless it was planned for another kind of machine.

    Args:
        settings: the keys of the config that set JAX's global state.
        facts: of the process that planned the batch.
        blob: the jobs, without their large arrays.
        arrays: these.
        place: of the device that computes, among those of this process.
    """
    configure_jax(settings)
    own, answers = _facts(), []
    if own == facts:
        jobs = _Unpickler(blob, arrays).load()
        with devices.on(devices.used()[place] if place else None):
            answers = [(outcome.answer, _portable(outcome.error)) for outcome in _outcomes(jobs, lambda: False)]
    return pickle.dumps((own, answers), pickle.HIGHEST_PROTOCOL)


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


def _outcomes(jobs: Batch, is_stopped: Callable[[], bool]) -> list[Outcome]:
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
