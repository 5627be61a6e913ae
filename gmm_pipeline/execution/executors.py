"""What computes the batches of a sweep: threads, processes (loky) or the workers of a Ray cluster.

This process alone plans, writes records and logs. A result does not depend on where it was computed: workers run the
function that threads run, with the same settings (`batches.py`).

Where a machine has several devices of a kind, batches go to them in turn, each to one. A worker of Ray has the GPU that
Ray gives it.

A worker that dies, by a crash of a library or for want of memory, costs the run that does it alone: its task is tried
again in a worker of its own, then batch by batch and run by run.
"""

import abc
import contextlib
import functools
import importlib
import itertools
import logging
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from concurrent.futures import wait as all_done
from typing import Any

import numpy as np

from gmm_pipeline import extras
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.configuration.limits import DISTRIBUTED, PROCESSES, RAY
from gmm_pipeline.errors import InputError
from gmm_pipeline.execution.batches import Outcome, Task, away, come_back, lost, outcomes, own_facts, pickled
from gmm_pipeline.inference import devices
from gmm_pipeline.inference.batching import default_workers, workers_of

RETRIES = 2
"""How often Ray itself runs a task again whose worker died."""
FROM_HERE = ("JAX_", "XLA_")
"""What the environment variables begin with that workers of a cluster take over."""


CLEANED_UP = "ignore:resource_tracker:UserWarning"
"""What a process of loky's says when it has given back the semaphores of one that an interrupt or a kill ended."""
BROKEN = (BrokenExecutor, BrokenPipeError)
"""What a pool of processes raises where a worker has died, or just dies while it is written to."""
Wait = Callable[[], list[list[Outcome]]]
"""Waits for the outcomes of a task, batch by batch, in their order."""
SECONDS_A_TASK, MOST_BATCHES = 1.0, 64
"""Batches travel together until they take so long, so that journeys cost little; not more, for the memory they need."""


class Executor(abc.ABC):
    """Where batches are computed."""

    workers: int
    """Tasks that are computed at once."""
    seconds_a_batch: float = math.inf
    """What a batch of the last task took that came back from another process; without a bound until one has."""

    @property
    def batches_a_task(self) -> int:
        """How many batches of the group make up a task."""
        return max(1, min(MOST_BATCHES, int(SECONDS_A_TASK / max(self.seconds_a_batch, 1e-9))))

    @abc.abstractmethod
    def submit(self, settings: Mapping[str, Any], task: Task) -> Wait:
        """Begin to compute a task.

        Args:
            settings: the keys of the config that set JAX's global state.
            task: its batches.
        """

    def _back(self, task: Task, get: Callable[[], bytes], died: tuple[type[Exception], ...]) -> list[list[Outcome]]:
        found, self.seconds_a_batch = come_back(task, get, died)
        return found

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
    kind, workers = execution["kind"], workers_of(execution)
    if kind == DISTRIBUTED:
        raise InputError(
            "execution",
            expected="threads, processes or ray for the runs of a sweep",
            came=DISTRIBUTED,
            remedy="It computes a single fit of large data.",
        )
    if kind == RAY:
        executor = _Ray(execution["workers"], execution["address"])
    else:
        executor = (_Processes if kind == PROCESSES else _Threads)(workers)
    try:
        yield executor
    finally:
        executor.close()


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
        self._under_way: set[Future[list[list[Outcome]]]] = set()

    def submit(self, settings: Mapping[str, Any], task: Task) -> Wait:
        future = _kept(self.workers).submit(self._outcomes, task, next(self._turns))
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future.result

    def _outcomes(self, task: Task, device: Any) -> list[list[Outcome]]:
        with devices.on(device):
            return [outcomes(jobs, self._stop.is_set) for jobs in task]

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

    def submit(self, settings: Mapping[str, Any], task: Task) -> Wait:
        try:
            future: Future[bytes] = self._pool.submit(self._call(settings, task))
        except BROKEN:
            self._pool = self._started(self.workers)  # for the tasks after this one
            return functools.partial(self._alone, settings, task)

        def wait() -> list[list[Outcome]]:
            try:
                return self._back(task, future.result, BROKEN)
            except BROKEN:
                return self._alone(settings, task)

        return wait

    def _call(self, settings: Mapping[str, Any], task: Task) -> Callable[[], bytes]:
        return functools.partial(away, dict(settings), own_facts(), pickled(task), place=next(self._places))

    def _alone(self, settings: Mapping[str, Any], task: Task) -> list[list[Outcome]]:
        """A task that was lost with its worker, or with the worker of another: in a worker that runs nothing else."""
        if not any(isinstance(job, Job) for jobs in task for job in jobs):
            return [outcomes(jobs, lambda: False) for jobs in task]
        pool = self._started(1)
        try:
            return self._back(task, pool.submit(self._call(settings, task)).result, BROKEN)
        except BROKEN as error:
            return lost(task, error, functools.partial(self._alone, settings))
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
        self._task = ray.remote(num_cpus=1, num_gpus=int(of_gpus), max_retries=RETRIES)(away)
        self._died = (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError)
        self._shared: dict[int, tuple[np.ndarray, Any]] = {}
        self._under_way: dict[Any, None] = {}

    def submit(self, settings: Mapping[str, Any], task: Task) -> Wait:
        arrays: list[np.ndarray] = []
        blob = pickled(task, arrays)
        reference = self._task.remote(dict(settings), own_facts(), blob, *map(self._put, arrays))
        self._under_way[reference] = None

        def wait() -> list[list[Outcome]]:
            try:
                return self._back(task, functools.partial(self._ray.get, reference), self._died)
            except self._died as error:
                return lost(task, error, lambda part: self.submit(settings, part)())
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


def _end_with(parent: int) -> None:
    """Let a worker leave interrupts to its parent, and end when that is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
