"""Batches in threads: one trace, outcomes in order, one bad run alone, and an end when it is wanted."""

import itertools
import os
import pickle
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from conftest import IN_A_HURRY
from test_composition import Sweep, hydra_state

from gmm_pipeline import extras
from gmm_pipeline.analysis import estimates
from gmm_pipeline.analysis.answers import answer
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.execution import batches, computing, executors, planning
from gmm_pipeline.execution.batches import Batch, Outcome
from gmm_pipeline.inference import batching
from gmm_pipeline.inference.calls import Progress
from gmm_pipeline.inference.families.noisy import with_noise
from gmm_pipeline.inference.families.normal import NORMAL
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.large_data import are_ones
from gmm_pipeline.records.provenance import code_digest

__all__ = ["hydra_state"]

SMALL = (f"plugins.allow=[{__name__}]", "search=none", "data.n_draws=90", "steps=20", "compilation_cache=null")
SETTINGS = {"threefry_partitionable": True, "precision": "auto", "compilation_cache": None}
# By the number of components; that of a fit is padded, that of the evaluation after it is the run's own.
TRACES: dict[str, Counter[int]] = {"alone": Counter(), "sweep": Counter()}


def counted_alone(parameters, active):
    TRACES["alone"][len(active)] += 1
    return priors.flat(parameters, active)


def counted_in_a_sweep(parameters, active):
    TRACES["sweep"][len(active)] += 1
    return priors.flat(parameters, active)


def crashing_elsewhere(parameters, active):
    if os.environ.get("DRIVER_OF_THE_TEST") != str(os.getpid()):
        os.kill(os.getpid(), signal.SIGKILL)
    return priors.flat(parameters, active)


@pytest.fixture(scope="module")
def loaded() -> Callable[..., list[Job]]:
    sweep = Sweep()

    def load(jobs: Sequence[Sequence[str]]) -> list[Job]:
        words = [[*SMALL, *job] for job in jobs]
        plan = planning.plan(words, lambda one: sweep.composer.in_place(sweep.master, one), Path("nowhere"), [])
        assert not plan.mistaken, plan.mistaken[0].mistake
        assert len(plan.groups) == 1
        return [run.job for run in plan.jobs if run.job is not None]

    return load


def in_slices(jobs: Sequence[Job], size: int) -> Iterator[Sequence[Job]]:
    for first in range(0, len(jobs), size):
        yield jobs[first : first + size]


def compute(batches: Iterable[Batch], workers: int, kind: str = "threads") -> Generator[list[Outcome], None, None]:
    with executors.opened({"kind": kind, "workers": workers, "devices": "all", "address": None}) as executor:
        yield from computing.compute(batches, SETTINGS, executor)


def prior(function: Callable) -> str:
    return f"prior={{_target_: {function.__module__}.{function.__name__}}}"


def test_a_sweep_over_components_and_rates_is_traced_once(loaded):
    (alone,) = loaded([["~prior", f"+{prior(counted_alone)}", "n_components=5"]])
    TRACES["alone"].clear()
    list(compute([[alone]], 1))
    jobs = loaded(
        [
            ["~prior", f"+{prior(counted_in_a_sweep)}", f"n_components={components}", f"optimizer.learning_rate={rate}"]
            for components in range(1, 6)
            for rate in (0.01, 0.03, 0.1, 0.3)
        ]
    )
    assert len(jobs) == 20
    TRACES["sweep"].clear()
    outcomes = [one for batch in compute(in_slices(jobs, 3), 2) for one in batch]
    fitted = [len(one.answer.fitted.locs) for one in outcomes if one.answer is not None]
    assert fitted == [components for components in range(1, 6) for _ in range(4)]
    # A fit is padded to 5 components, the curvature of its prior to 8.
    assert set(TRACES["alone"]) == {5, 8}
    assert [TRACES["sweep"][width] for width in (5, 8)] == [TRACES["alone"][width] for width in (5, 8)]
    # Nothing is traced for a number of components alone.
    assert [TRACES["sweep"][components] for components in range(1, 5)] == [0, 0, 0, 0]


def test_outcomes_come_in_order_and_are_those_of_a_fit_alone(loaded, monkeypatch):
    jobs = loaded([[f"seed={seed}"] for seed in range(9)])
    first_may_end = threading.Event()
    fit_all = estimates.fit_all

    def slow_at_first(
        batch: Sequence[FitJob], progress: Progress | None = None, workers: int = 1, **others: Any
    ) -> list[FitResult]:
        if batch[0] is jobs[0].fit:
            assert first_may_end.wait(60)
        else:
            first_may_end.set()
        return fit_all(batch, progress, workers, **others)

    monkeypatch.setattr(estimates, "fit_all", slow_at_first)
    batches = list(compute(in_slices(jobs, 2), 2))
    assert [len(batch) for batch in batches] == [2, 2, 2, 2, 1]
    for job, outcome in zip(jobs, (one for batch in batches for one in batch), strict=True):
        assert outcome.job is job
        assert outcome.error is None
        assert outcome.answer is not None
        alone = answer(job, *estimates.estimate([job]))
        for ours, other in zip(*map(jax.tree.leaves, (outcome.answer, alone)), strict=True):
            np.testing.assert_array_equal(ours, other)


def test_a_run_that_could_not_be_loaded_costs_its_own_result_alone(loaded):
    jobs = loaded([["seed=0"], ["seed=1"]])
    gone = FileNotFoundError("it was there a moment ago")
    (first, second) = compute([[gone], [jobs[0], gone, jobs[1]]], 2)
    outcomes = [*first, *second]
    assert [one.job for one in outcomes] == [None, jobs[0], None, jobs[1]]
    assert [one.error for one in outcomes] == [gone, None, gone, None]
    assert [one.answer is None for one in outcomes] == [True, False, True, False]


def test_a_run_that_raises_costs_its_own_result_alone(loaded, monkeypatch):
    jobs = loaded([[f"seed={seed}"] for seed in range(5)])
    fit_all = estimates.fit_all

    def picky(batch: Sequence[FitJob], *arguments: Any, **others: Any) -> list[FitResult]:
        if any(job is jobs[3].fit for job in batch):
            raise MemoryError("no room for it")
        return fit_all(batch, *arguments, **others)

    monkeypatch.setattr(estimates, "fit_all", picky)
    (first, second) = compute([jobs[:2], jobs[2:]], 2)
    outcomes = [*first, *second]
    assert [one.job for one in outcomes] == jobs
    assert [one.answer is None for one in outcomes] == [False, False, False, True, False]
    assert [type(one.error) for one in outcomes if one.answer is None] == [MemoryError]
    for one in (outcomes[2], outcomes[4]):
        assert one.job is not None
        assert one.answer is not None
        assert one.answer.metrics == answer(one.job, *estimates.estimate([one.job])).metrics


@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_other_processes_give_the_same_bits_and_a_crash_costs_one_run(loaded, monkeypatch, kind):
    library = {"processes": "loky", "ray": "ray"}[kind]
    if not extras.is_installed(library):
        pytest.skip(f"{library} is not installed")
    monkeypatch.setenv("XLA_FLAGS", IN_A_HURRY)  # as this process has read them
    monkeypatch.setenv("DRIVER_OF_THE_TEST", str(os.getpid()))
    jobs = loaded([[f"seed={seed}"] for seed in range(3)])
    (deadly,) = loaded([["~prior", f"+{prior(crashing_elsewhere)}"]])
    gone = FileNotFoundError("it was there a moment ago")
    good, (crashed, absent) = compute([jobs, [deadly, gone]], 1, kind)
    assert [outcome.job for outcome in good] == jobs
    for job, outcome in zip(jobs, good, strict=True):
        assert outcome.error is None
        alone = answer(job, *estimates.estimate([job]))
        assert jax.tree.structure(outcome.answer) == jax.tree.structure(alone)
        for ours, other in zip(*map(jax.tree.leaves, (outcome.answer, alone)), strict=True):
            np.testing.assert_array_equal(ours, other)
    assert crashed.answer is None
    assert "its worker died each time" in str(crashed.error)
    assert absent.error is gone


class PoolWithClosedPipes:
    """Stands for processes that die whenever something is written to them, but for some calls."""

    def __init__(self, sound: Iterator[bool]):
        self._sound = sound

    def submit(self, task: Callable[[], bytes]) -> Future[bytes]:
        if not next(self._sound):
            raise BrokenPipeError
        future: Future[bytes] = Future()
        future.set_result(task())
        return future

    def shutdown(self, *, kill_workers: bool) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize(("sound", "lost"), [([True, False, True], 0), ([False, True, True], 0), ([True, False], 1)])
def test_a_pipe_to_a_worker_that_is_closed_costs_one_run_at_most(loaded, monkeypatch, sound, lost):
    if not extras.is_installed("loky"):
        pytest.skip("loky is not installed")
    calls = itertools.chain(sound, itertools.repeat(False))
    monkeypatch.setattr(executors._Processes, "_started", lambda *_: PoolWithClosedPipes(calls))
    jobs = loaded([["seed=0"], ["seed=1"]])
    (first,), (second,) = compute(in_slices(jobs, 1), 1, "processes")
    errors = [str(one.error) for one in (first, second) if one.answer is None]
    assert [error.partition(",")[0] for error in errors] == ["its worker died each time"] * lost


def test_short_batches_travel_together_and_are_computed_by_themselves(loaded, monkeypatch):
    if not extras.is_installed("loky"):
        pytest.skip("loky is not installed")
    journeys: list[int] = []
    away, jobs = executors.away, loaded([[f"seed={seed}"] for seed in range(7)])

    def counted(settings: Any, facts: Any, blob: bytes, **others: Any) -> bytes:
        journeys.append(len(batches._Unpickler(blob, []).load()))
        own, answers, _ = pickle.loads(away(settings, facts, blob, **others))  # noqa: S301
        return pickle.dumps((own, answers, 0.3 * journeys[-1]))  # seconds, of its batches together

    monkeypatch.setattr(executors, "away", counted)
    monkeypatch.setattr(executors._Processes, "_started", lambda *_: PoolWithClosedPipes(itertools.repeat(True)))
    monkeypatch.setattr(computing, "AHEAD", 0)
    found = list(compute(in_slices(jobs, 1), 1, "processes"))
    assert journeys == [1, 1, 3, 2]
    assert [outcome.job for batch in found for outcome in batch] == jobs
    monkeypatch.setattr(executors, "SECONDS_A_TASK", 0.0)
    apart = list(compute(in_slices(jobs, 1), 1, "processes"))
    assert journeys[4:] == [1] * 7
    for ours, other in zip(*map(jax.tree.leaves, (found, apart)), strict=True):
        if isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(ours, other)


def test_a_batch_arrives_as_it_was_sent(loaded):
    (job,) = loaded([["seed=3"]])
    data, weights = np.zeros(2**17, np.float32), np.ones(2**17, np.float32)
    large = job._replace(fit=job.fit._replace(data=data, sample_weights=weights))
    arrays: list[np.ndarray] = []
    blob = batches.pickled([[large, large]], arrays)
    assert list(map(id, arrays)) == [id(data), id(weights)]
    assert len(blob) < 2**17
    (arrived,) = batches._Unpickler(blob, arrays).load()
    for there in arrived:
        assert there.fit.plan == job.fit.plan
        assert there.fit.data is data


def test_what_a_file_or_a_single_number_holds_does_not_travel(loaded, tmp_path):
    (job,) = loaded([["seed=3"]])
    np.save(tmp_path / "data.npy", np.arange(2**17, dtype=np.float32))
    data = np.load(tmp_path / "data.npy", mmap_mode="r")
    counts = np.broadcast_to(np.float32(1.0), 2**17)
    large = job._replace(fit=job.fit._replace(data=data, sample_weights=counts))
    for arrays, travelling in ((None, []), ([], [data])):
        blob = batches.pickled([[large]], arrays)
        assert len(blob) < 2**17
        assert list(map(id, arrays or [])) == list(map(id, travelling))
        ((there,),) = batches._Unpickler(blob, arrays or []).load()
        np.testing.assert_array_equal(there.fit.data, data)
        assert isinstance(there.fit.data, np.memmap)
        assert are_ones(there.fit.sample_weights)


@pytest.mark.parametrize("family", [NORMAL, normals(3, Kind.FACTOR, factors=2), with_noise(normals(2, Kind.FULL))])
def test_a_family_is_the_same_one_after_a_journey(family):
    assert pickle.loads(pickle.dumps(family)) is family  # noqa: S301


def test_an_error_arrives_with_its_words_and_where_it_was_raised():
    mistake = InputError("data.path", expected="a file", came="none", remedy="Name one.")
    arrived = pickle.loads(pickle.dumps(mistake))  # noqa: S301
    assert str(batches._portable(mistake)) == str(arrived) == str(mistake)
    try:
        raise KeyError("a bug")
    except KeyError as error:
        found = batches._portable(error)
    assert type(found) is KeyError
    assert "test_computing.py" in found.__notes__[0]

    class UnknownError(Exception):
        """Of a class that no other process can import."""

    found = batches._portable(UnknownError("said"))
    assert type(found) is RunFailed
    assert "UnknownError: said" in str(found)


def test_a_worker_that_differs_is_refused(loaded):
    jobs = loaded([["seed=0"]])
    with pytest.raises(InputError, match="execution: expected workers with the code, the libraries"):
        batches.come_back([jobs], lambda: pickle.dumps((("other code", "other CPU"), [], 0.0)), ())


def test_a_batch_that_was_planned_for_another_device_is_not_computed(loaded, monkeypatch):
    jobs = loaded([["seed=0"]])
    here, blob = batching.width_of(jobs[0].fit), batches.pickled([jobs])
    with monkeypatch.context() as elsewhere:  # where a process with a GPU plans
        elsewhere.setattr(batching, "_spare", lambda: batching.SPARE_OF_ACCELERATORS)
        assert batching.width_of(jobs[0].fit) != here
        elsewhere.setattr(jax, "local_devices", lambda: [SimpleNamespace(device_kind="a GPU")])
        code_digest.cache_clear()
        batches.own_facts.cache_clear()
        facts = batches.own_facts()
    code_digest.cache_clear()
    batches.own_facts.cache_clear()
    monkeypatch.setattr(batches, "estimate", lambda *_: pytest.fail("it was computed"))
    answered = batches.away(SETTINGS, facts, blob)
    assert pickle.loads(answered)[1] == []  # noqa: S301
    monkeypatch.setattr(batches, "own_facts", lambda: facts)
    with pytest.raises(InputError, match="the CPU and the device of this process"):
        batches.come_back([jobs], lambda: answered, ())


def test_only_a_few_batches_are_loaded_ahead(loaded):
    jobs = loaded([[f"seed={seed}"] for seed in range(20)])
    taken = 0

    def counting() -> Iterator[Sequence[Job]]:
        nonlocal taken
        for batch in in_slices(jobs, 1):
            taken += 1
            yield batch

    computed = compute(counting(), 1)
    for received, _ in enumerate(computed, 1):
        assert taken <= received + 1 + computing.AHEAD
    assert taken == 20


def test_closing_ends_the_batches_that_run_and_starts_no_others(loaded, monkeypatch):
    jobs = loaded([[f"seed={seed}"] for seed in range(8)])
    begun: list[FitJob] = []
    fit_all = estimates.fit_all

    def endless_but_the_first(
        batch: Sequence[FitJob], progress: Progress, workers: int, **others: Any
    ) -> list[FitResult]:
        begun.append(batch[0])
        if batch[0] is jobs[0].fit:
            return fit_all(batch, progress, workers, **others)
        try:
            while True:
                progress(0, 1)  # raises once the fit is to be stopped
                threading.Event().wait(0.01)
        finally:
            ended.append(batch[0])

    ended = [jobs[0].fit]
    monkeypatch.setattr(estimates, "fit_all", endless_but_the_first)
    computed = compute(in_slices(jobs, 1), 2)
    (outcome,) = next(computed)
    assert outcome.answer is not None
    computed.close()
    assert len(ended) == len(begun) <= 4


def test_the_next_sweep_has_the_threads_of_the_one_before(loaded, monkeypatch):
    jobs, threads = loaded([["seed=0"]]), list[set[int]]()
    fit_all = estimates.fit_all

    def seen(*given: Any, **others: Any) -> list[FitResult]:
        threads[-1].add(threading.get_native_id())
        return fit_all(*given, **others)

    monkeypatch.setattr(estimates, "fit_all", seen)
    for _ in range(3):
        threads.append(set())
        list(compute(in_slices(jobs, 1), 1))
    assert threads[0] == threads[1] == threads[2]


def test_there_is_a_thread_for_each_core():
    expected = len(os.sched_getaffinity(0)) if jax.default_backend() == "cpu" else jax.local_device_count()
    assert batching.default_workers() == expected
