"""Batched equals alone, to the bit; padded equals unpadded, to rounding."""

import jax
import numpy as np
import optax
import pytest
from conftest import ROUNDING_32
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_fits import job, plugin

from gmm_pipeline.inference import batching, fits
from gmm_pipeline.inference.jobs import FitJob
from gmm_pipeline.model import inits, priors
from gmm_pipeline.model.mixture import Parameters, constrain

DATA = np.random.default_rng(1).normal(size=90).astype(np.float32)


def varied(number: int, *, n_data: int = 90) -> FitJob:
    """Jobs that share a program and differ in everything that may differ."""
    data = np.random.default_rng(number % 3).normal(size=n_data).astype(np.float32)
    return job(
        data=data,
        seed=number,
        steps=60,
        n_components=1 + number % 5,
        optimizer=plugin(optax.adam, learning_rate=0.01 * (1 + number % 7), b1=0.9, b2=0.999 - 0.01 * (number % 2)),
        log_prior=plugin(priors.dirichlet, concentration=1.0 + number % 4),
        init=plugin(inits.quantile, jitter=0.1 * (number % 9), overlap=2.0),
    )


def same_bits(result, other) -> bool:
    return all(
        a == b if isinstance(a, str) else np.array_equal(a, b, equal_nan=True)
        for a, b in zip(*map(jax.tree.leaves, (result, other)), strict=True)
    )


def test_what_may_differ_shares_one_program():
    programs = {number: batching.program_of(varied(number)) for number in range(40)}
    assert len(batching.group(programs)) == 1
    assert next(iter(programs.values())).width.components == 5
    assert next(iter(programs.values())).width.runs > 20


@settings(max_examples=8)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=12, unique=True))
def test_a_run_has_the_same_bits_alone_and_next_to_any_neighbours(numbers):
    together = fits.fit_all([varied(number) for number in numbers])
    assert same_bits(together[-1], fits.fit(varied(numbers[-1])))
    assert same_bits(together[0], fits.fit(varied(numbers[0])))


@pytest.mark.parametrize(
    ("n_components", "optimizer"),
    [(1, optax.adam), *((3, of) for of in (optax.adam, optax.sgd, optax.adamw, optax.lion))],
)
def test_padded_components_change_nothing_but_rounding(monkeypatch, n_components, optimizer):
    chosen = job(
        n_components=n_components,
        log_prior=plugin(priors.dirichlet, concentration=2.0),
        optimizer=plugin(optimizer, learning_rate=0.01),
    )
    padded = fits.fit(chosen)
    monkeypatch.setattr(batching, "padded_components", lambda n: n)
    assert batching.width_of(chosen).components == n_components
    alone = fits.fit(chosen)
    np.testing.assert_allclose(padded.history.loss, alone.history.loss, rtol=ROUNDING_32)
    for ours, expected in zip(padded.parameters, alone.parameters, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)  # rounding grows over the steps


def test_a_prior_that_does_not_leave_out_components_gets_its_own():
    shapes = []

    def ridge(parameters: Parameters, *, strength: float):
        shapes.append(parameters.component_mus.shape[-1])
        return -strength * (parameters.component_mus**2).sum()

    chosen = job(n_components=3, log_prior=plugin(ridge, strength=1.0))
    assert batching.width_of(chosen).components == 3
    fits.fit(chosen)
    assert set(shapes) == {3}
    other = job(n_components=2, log_prior=plugin(ridge, strength=1.0))
    programs = [batching.program_of(one) for one in (chosen, other)]
    assert batching.differences(programs)["n_components (padded to)"] == [3, 2]


def test_the_dirichlet_density_of_the_active_components_is_scipys():
    rng = np.random.default_rng(0)
    for n_active in (1, 2, 4):
        log_weights = rng.normal(size=5).astype(np.float32)
        parameters = Parameters(log_weights, np.zeros(5, np.float32), np.zeros(5, np.float32))
        active = np.arange(5) < n_active
        ours = float(priors.dirichlet(parameters, active, concentration=1.7))
        weights = constrain(Parameters(*(leaf[:n_active] for leaf in parameters))).weights
        expected = stats.dirichlet.logpdf(weights, np.full(n_active, 1.7)) if n_active > 1 else 0.0
        np.testing.assert_allclose(ours, expected, rtol=ROUNDING_32, atol=2e-6)


def test_a_float_that_cannot_be_traced_splits_and_the_others_do_not():
    def picky(learning_rate, *, rate, eps):
        if rate > 1.0:  # a choice of structure, which no array can make
            raise ValueError
        return optax.sgd(learning_rate * eps)

    def one(rate: float, eps: float) -> batching.Program:
        return batching.program_of(job(optimizer=plugin(picky, learning_rate=0.1, rate=rate, eps=eps)))

    assert one(0.5, 1.0) == one(0.5, 0.25)
    assert one(0.5, 1.0) != one(0.75, 1.0)
    assert list(batching.differences([one(0.5, 1.0), one(0.75, 1.0)])) == ["optimizer.rate"]


@given(st.integers(1, 30), st.integers(2, 10**6))
def test_the_width_costs_a_run_alone_little_and_is_canonical(n_components, n_data):
    chosen = job(data=np.zeros(n_data, np.float32), n_components=n_components)
    runs, components = batching.width_of(chosen)
    assert components >= n_components
    assert runs in {2**power for power in range(9)}
    assert (components == n_components) or n_data * components <= batching.MOST_ELEMENTS_PADDED
    most = batching.MOST_ELEMENTS_OF_FEW if runs <= batching.FEW_RUNS else batching.MOST_ELEMENTS_BATCHED
    assert (runs == 1) or n_data * components * runs <= most


def test_a_search_within_a_step_counts_as_many_steps():
    searching = job(optimizer=plugin(optax.lbfgs, learning_rate=None, memory_size=5))
    assert batching.width_of(searching).runs < batching.width_of(job()).runs


def test_a_diverged_run_leaves_its_neighbours_alone():
    wild = varied(3)
    wild = wild._replace(plan=wild.plan._replace(optimizer=plugin(optax.adam, learning_rate=1e38, b1=0.9, b2=0.999)))
    assert batching.program_of(wild) == batching.program_of(varied(4))
    results = fits.fit_all([varied(4), wild, varied(5)])
    assert [result.diverged for result in results] == [False, True, False]
    assert same_bits(results[0], fits.fit(varied(4)))
    assert same_bits(results[2], fits.fit(varied(5)))


def test_many_runs_of_one_program_are_traced_once():
    traces = []

    def counted(parameters: Parameters, active):
        traces.append(1)
        return priors.flat(parameters, active)

    def one(seed: int) -> FitJob:
        return job(seed=seed, log_prior=plugin(counted))

    fits.fit_all([one(seed) for seed in range(5)])
    once = len(traces)
    for first in range(5, 30, 5):
        fits.fit_all([one(seed) for seed in range(first, first + 5)])
    assert len(traces) == once
