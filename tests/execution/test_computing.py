"""Batches in threads: one trace, outcomes in order, one bad run alone, and an end when it is wanted."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from test_composition import Sweep, hydra_state

from gmm_pipeline.analysis import estimates
from gmm_pipeline.analysis.answers import answer
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.execution import computing, planning
from gmm_pipeline.inference import batching
from gmm_pipeline.inference.calls import Progress
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.model import priors

__all__ = ["hydra_state"]

SMALL = (f"plugins.allow=[{__name__}]", "search=none", "data.n_draws=90", "steps=20", "compilation_cache=null")
# By the number of components; that of a fit is padded, that of the evaluation after it is the run's own.
TRACES: dict[str, Counter[int]] = {"alone": Counter(), "sweep": Counter()}


def counted_alone(parameters, active):
    TRACES["alone"][len(active)] += 1
    return priors.flat(parameters, active)


def counted_in_a_sweep(parameters, active):
    TRACES["sweep"][len(active)] += 1
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


def prior(function: Callable) -> str:
    return f"prior={{_target_: {function.__module__}.{function.__name__}}}"


def test_a_sweep_over_components_and_rates_is_traced_once(loaded):
    (alone,) = loaded([["~prior", f"+{prior(counted_alone)}", "n_components=5"]])
    TRACES["alone"].clear()
    list(computing.compute([[alone]], 1))
    jobs = loaded(
        [
            ["~prior", f"+{prior(counted_in_a_sweep)}", f"n_components={components}", f"optimizer.learning_rate={rate}"]
            for components in range(1, 6)
            for rate in (0.01, 0.03, 0.1, 0.3)
        ]
    )
    assert len(jobs) == 20
    TRACES["sweep"].clear()
    outcomes = [one for batch in computing.compute(in_slices(jobs, 3), 2) for one in batch]
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
    batches = list(computing.compute(in_slices(jobs, 2), 2))
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
    (first, second) = computing.compute([[gone], [jobs[0], gone, jobs[1]]], 2)
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
    (first, second) = computing.compute([jobs[:2], jobs[2:]], 2)
    outcomes = [*first, *second]
    assert [one.job for one in outcomes] == jobs
    assert [one.answer is None for one in outcomes] == [False, False, False, True, False]
    assert [type(one.error) for one in outcomes if one.answer is None] == [MemoryError]
    for one in (outcomes[2], outcomes[4]):
        assert one.job is not None
        assert one.answer is not None
        assert one.answer.metrics == answer(one.job, *estimates.estimate([one.job])).metrics


def test_only_a_few_batches_are_loaded_ahead(loaded):
    jobs = loaded([[f"seed={seed}"] for seed in range(20)])
    taken = 0

    def counting() -> Iterator[Sequence[Job]]:
        nonlocal taken
        for batch in in_slices(jobs, 1):
            taken += 1
            yield batch

    computed = computing.compute(counting(), 1)
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
        while True:
            progress(0, 1)  # raises once the fit is to be stopped
            threading.Event().wait(0.01)

    monkeypatch.setattr(estimates, "fit_all", endless_but_the_first)
    computed = computing.compute(in_slices(jobs, 1), 2)
    (outcome,) = next(computed)
    assert outcome.answer is not None
    computed.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fit")]
    assert len(begun) <= 4


def test_there_is_a_thread_for_each_core():
    expected = len(os.sched_getaffinity(0)) if jax.default_backend() == "cpu" else jax.local_device_count()
    assert batching.default_workers() == expected
