"""Stochastic fits, each step of which sees some of the data."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from small_fits import job, plugin

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import em, fitting
from gmm_pipeline.inference.calls import _started
from gmm_pipeline.inference.fits import fit
from gmm_pipeline.inference.jobs import check
from gmm_pipeline.inference.restarts import log_posterior_at

RNG = np.random.default_rng(6)
DATA = np.sort(np.concatenate([RNG.normal(-2.0, 1.0, 2000), RNG.normal(2.0, 0.7, 1000)])).astype(np.float32)
COSINE = plugin(optax.cosine_decay_schedule, init_value=1.0, decay_steps=300, alpha=0.0)


@pytest.fixture(scope="module")
def stochastic():
    return job(data=DATA, steps=300, history_every=100, minibatch=256, schedule=COSINE, tolerance=1e-6)


@pytest.fixture(scope="module")
def answer(stochastic):
    return fit(stochastic)


def test_it_ends_at_the_optimum_but_for_its_noise(answer):
    of_all = job(data=DATA, steps=200, optimizer=plugin(em.squarem), tolerance=1e-6, gradient_tolerance=1e-3)
    best = fit(of_all)
    assert best.converged
    # Of five parameters, each less than about a standard error away, which costs half a nat.
    reached, highest = (log_posterior_at(of_all, one.parameters) for one in (answer, best))
    assert highest - 2.5 < reached < highest
    assert not answer.converged and answer.n_steps == 300


def test_its_end_is_judged_by_all_data(answer):
    again = fit(job(data=DATA, steps=1, begin=answer.parameters))
    assert answer.gradient_norm == pytest.approx(float(again.history.gradient_norm[0]), rel=1e-3)
    assert float(answer.history.loss[-1]) == pytest.approx(float(again.history.loss[0]), rel=1e-6)


def test_same_config_same_bits_and_each_start_sees_other_data(stochastic, answer):
    np.testing.assert_array_equal(fit(stochastic).history.loss, answer.history.loss)
    one, other = fitting_inputs(stochastic._replace(restarts=2))
    (key, _), (another, _) = one.ring, other.ring
    assert (key != another).any()


def fitting_inputs(stochastic) -> list[Any]:
    return [jax.device_put(inputs) for _, inputs in _started(stochastic)]


def test_all_data_are_as_likely_to_be_seen_and_padding_never(stochastic):
    (inputs,) = fitting_inputs(
        stochastic._replace(data=np.arange(10, dtype=np.float32), sample_weights=np.ones(10, np.float32))
    )
    plan = stochastic.plan._replace(minibatch=4)
    seen = jax.jit(jax.vmap(lambda step: fitting._arc(inputs, step, plan).data))(np.arange(2000))
    numbers, counts = np.unique(np.asarray(seen), return_counts=True)
    np.testing.assert_array_equal(numbers, np.arange(10))
    # Binomial of 2,000 steps with share 0.4: five standard deviations are 110.
    assert (np.abs(counts - 800) < 110).all()


def test_weights_of_a_step_sum_to_those_of_all(stochastic):
    weights = RNG.integers(1, 5, 3000).astype(np.float32)
    (inputs,) = fitting_inputs(stochastic._replace(sample_weights=weights))
    arc = fitting._arc(inputs, np.array(7, np.int32), stochastic.plan)
    assert float(arc.sample_weights.sum()) == pytest.approx(float(weights.sum()), rel=1e-5)
    assert np.count_nonzero(np.asarray(arc.sample_weights)) == 256


@pytest.mark.parametrize(
    "optimizer", [plugin(em.em), plugin(em.squarem), plugin(optax.lbfgs)], ids=["em", "squarem", "lbfgs"]
)
def test_optimizers_that_need_all_data_are_refused(optimizer):
    with pytest.raises(InputError, match="whose steps need all data"):
        check(job(data=DATA, minibatch=256, optimizer=optimizer))
