import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROUNDING_32
from hypothesis import given
from hypothesis import strategies as st
from small_fits import DATA, job, plugin

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import batching, fits, fitting, objective
from gmm_pipeline.inference.calls import _started, segments_of
from gmm_pipeline.inference.fitting import State
from gmm_pipeline.inference.jobs import FitJob, check, split
from gmm_pipeline.inference.objective import log_likelihood
from gmm_pipeline.inference.parameterization import Unconstrained
from gmm_pipeline.model import mixture, priors
from gmm_pipeline.model.mixture import Parameters


def by_python_loop(job: FitJob) -> list[Parameters]:
    """The same optimizer, a step at a time without scan, blocks or segments."""
    data, sample_weights = jnp.asarray(job.data), jnp.asarray(job.sample_weights)

    def loss_func(parameters: Parameters):
        return -(
            log_likelihood(parameters, data, sample_weights) + job.plan.log_prior(parameters, np.ones(2, bool))
        ) / len(data)

    gradient = jax.jit(jax.grad(loss_func))
    optimizer = optax.chain(job.plan.optimizer(), optax.scale_by_schedule(job.plan.schedule()))
    parameters = job.plan.init(job.key, jnp.asarray(job.data), jnp.asarray(job.sample_weights), 2)
    state, visited = optimizer.init(parameters), [parameters]
    for _ in range(job.steps):
        updates, state = optimizer.update(gradient(parameters), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        visited.append(parameters)
    return visited


def test_fit_follows_a_plain_loop():
    chosen = job(schedule=plugin(optax.cosine_decay_schedule, init_value=1.0, decay_steps=40))
    result, visited = fits.fit(chosen), by_python_loop(chosen)
    assert result.steps.tolist() == list(range(41))
    for ours, expected in zip(result.history.parameters, zip(*visited, strict=True), strict=True):
        np.testing.assert_allclose(ours, np.stack(expected), rtol=1e-3, atol=1e-4)  # rounding grows over 40 steps


@given(st.integers(1, 60), st.integers(1, 70))
def test_segments_make_up_all_steps(steps, history_every):
    chosen = job(steps=steps, history_every=history_every)
    segments = list(segments_of(batching.program_of(chosen)))
    taken = [step for segment in segments for step in range(segment.first, segment.until)]
    assert taken == list(range(steps + 2))
    assert [step for segment in segments for step in segment.entries] == [*range(0, steps, history_every), steps + 1]
    assert all(set(segment.entries) <= set(range(segment.first, segment.until)) for segment in segments)
    assert all(len(segment.entries) <= batching.MOST_ENTRIES for segment in segments)


def test_no_segment_is_so_long_that_an_interrupt_waits_for_it():
    program = batching.program_of(job(steps=10**9, history_every=10**9))
    elements = program.n_data * math.prod(program.width)
    for segment in itertools.islice(segments_of(program), 3):
        assert 0 < (segment.until - segment.first) * elements < 1e10  # seconds, at 1 ns each


@pytest.mark.parametrize(("steps", "history_every"), [(12, 1), (12, 3), (13, 5), (3, 50)])
def test_thinning_keeps_every_nth_state_and_the_last(steps, history_every):
    everything = fits.fit(job(steps=steps))
    thinned = fits.fit(job(steps=steps, history_every=history_every))
    assert thinned.steps.tolist() == [*range(0, steps, history_every), steps]
    np.testing.assert_allclose(thinned.history.loss, everything.history.loss[thinned.steps], rtol=ROUNDING_32)
    assert all((a == b[-1]).all() for a, b in zip(thinned.parameters, thinned.history.parameters, strict=True))


def test_segments_and_progress_do_not_change_the_answer(monkeypatch):
    whole = fits.fit(job(history_every=2))
    monkeypatch.setattr("gmm_pipeline.inference.calls.ELEMENTS_A_SEGMENT", 3000.0)
    calls = []
    cut = fits.fit(job(history_every=2), lambda done, total: calls.append((done, total)))
    assert len(calls) > 3
    assert calls[-1] == (40, 40)
    np.testing.assert_allclose(cut.history.loss, whole.history.loss, rtol=ROUNDING_32)


def test_same_job_same_bits_and_seeds_matter():
    first, again, other = fits.fit(job(seed=1)), fits.fit(job(seed=1)), fits.fit(job(seed=2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.history.loss, other.history.loss)


def test_equal_plans_are_traced_once():
    traces = []

    def counted(parameters: Parameters, active):
        traces.append(1)
        return priors.flat(parameters, active)

    fits.fit(job(seed=1, log_prior=plugin(counted)))
    once = len(traces)
    for seed in range(2, 6):
        fits.fit(job(seed=seed, log_prior=plugin(counted)))
    assert len(traces) == once


def test_divergence_is_a_value():
    data = DATA.copy()
    result = fits.fit(job(optimizer=plugin(optax.sgd, learning_rate=1e6), data=data))
    assert result.diverged
    assert not fits.fit(job()).diverged


@pytest.mark.parametrize("fused", [False, True])
def test_loss_is_that_of_the_notebook_summed_and_averaged(fused):
    prior = plugin(priors.dirichlet, concentration=2.0)
    (_, inputs), *_ = _started(job(log_prior=prior))
    inputs = jax.tree.map(jnp.asarray, inputs)
    leaves = jnp.array([0.3, -1.0]), jnp.array([-1.0, 2.0]), jnp.array([0.1, -0.2])
    parameters = Parameters(*leaves)
    padded = Parameters(*(np.pad(np.asarray(leaf), (0, 3)) for leaf in parameters))
    laid_out = objective.lay_out(inputs.data, inputs.sample_weights, fused=fused)
    summed, averaged = (
        fitting.parts_of(inputs, laid_out, split(job(log_prior=prior, average_loss=average, fused=fused))[0])
        for average in (False, True)
    )
    expected = mixture.loss_mixture_weights(leaves, jnp.asarray(DATA), alpha_prior=jnp.full(2, 2.0))
    free = Unconstrained(padded, {})
    np.testing.assert_allclose(summed.loss_func(free), expected, rtol=ROUNDING_32)
    np.testing.assert_allclose(averaged.loss_func(free), expected / len(DATA), rtol=ROUNDING_32)


def test_step_moves_against_the_gradient_and_get_loss_reads_a_state():
    optimizer = optax.with_extra_args_support(optax.sgd(0.1))
    parameters = Parameters(jnp.zeros(2), jnp.array([-1.0, 1.0]), jnp.zeros(2))

    def loss_func(p):
        return -mixture.mixture_loglike(p[0], p[1], p[2], jnp.asarray(DATA)) / 300

    state = State(parameters, optimizer.init(parameters))
    moved, info = fitting.step(state, loss_func=loss_func, optimizer=optimizer)
    gradient = jax.grad(loss_func)(parameters)
    for after, before, slope in zip(moved.parameters, parameters, gradient, strict=True):
        np.testing.assert_allclose(after, before - 0.1 * slope, rtol=ROUNDING_32, atol=1e-7)
    scannable = fitting.make_step_scannable(loss_func=loss_func, optimizer=optimizer)
    _, infos = jax.lax.scan(scannable, state, jnp.arange(5))
    np.testing.assert_allclose(infos.loss[0], info.loss, rtol=ROUNDING_32)
    history = State(infos.parameters, None)
    read = jax.vmap(lambda state: fitting.get_loss(state, lambda s: s.parameters, lambda p, _: loss_func(p), DATA))
    np.testing.assert_allclose(read(history), infos.loss, rtol=ROUNDING_32)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"init": plugin(lambda *_: 1 / 0)}, "init"),
        ({"log_prior": plugin(lambda parameters: parameters.nonsense)}, "prior"),
        ({"optimizer": plugin(optax.adam, learning_rate="abc")}, "optimizer"),
        ({"schedule": plugin(optax.cosine_decay_schedule, init_value=1.0, decay_steps=0)}, "schedule"),
    ],
)
def test_plugins_that_cannot_work_are_named_before_work_starts(changes, name):
    with pytest.raises(InputError, match=f"^{name}: "):
        check(job(**changes))
