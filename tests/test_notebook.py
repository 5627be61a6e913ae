"""Every figure that the notebook prints, from the functions by its names and from its own experiment."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gmm_pipeline.model.mixture import (
    loglike_across_components,
    loglike_one_component,
    loss_mixture_weights,
    mixture_loglike,
    sample_exact_counts,
    weights_loglike,
)

# The last digit that float32 holds, on a sum of 6,000 terms taken in another order: 2 units of 2⁻²³.
DIGITS_32 = 2.4e-7

WEIGHTS, LOCS, SCALES = jnp.array([1, 5]), jnp.array([-2.0, 5.0]), jnp.array([1.1, 2])


@pytest.fixture(scope="module", autouse=True)
def legacy_bits():
    jax.config.update("jax_threefry_partitionable", False)


@pytest.fixture(scope="module")
def data(legacy_bits):
    draws, _ = sample_exact_counts(jax.random.PRNGKey(100), [-2.0, 5.0], [1.1, 2.0], [1000, 5000])
    return jnp.asarray(draws)


@pytest.fixture(scope="module")
def params_init(legacy_bits):
    keys = jax.random.split(jax.random.PRNGKey(100), 4)
    return tuple(jax.random.normal(key, (2,)) for key in keys[:3])


PARAMS_TRUE = (jnp.log(WEIGHTS), LOCS, jnp.log(SCALES))
loss = partial(loss_mixture_weights, alpha_prior=2 * jnp.ones(2))


def test_one_datum_under_one_component():
    ours = loglike_one_component(component_weight=1.0, component_mu=0.0, log_component_scale=0.0, datum=0)
    np.testing.assert_allclose(ours, -0.9189385, rtol=DIGITS_32)
    np.testing.assert_allclose(ours, stats.norm.logpdf(0), rtol=DIGITS_32)


def test_one_datum_under_all_components(data):
    ours = loglike_across_components(
        log_component_weights=PARAMS_TRUE[0],
        component_mus=PARAMS_TRUE[1],
        log_component_scales=PARAMS_TRUE[2],
        datum=data[1],
    )
    np.testing.assert_allclose(ours, -2.8022985, rtol=DIGITS_32)


def test_all_data_under_all_components(data):
    ours = mixture_loglike(
        log_component_weights=PARAMS_TRUE[0],
        component_mus=PARAMS_TRUE[1],
        log_component_scales=PARAMS_TRUE[2],
        data=data,
    )
    np.testing.assert_allclose(ours, -14590.3955, rtol=DIGITS_32)


def test_weights_under_the_dirichlet_prior():
    ours = weights_loglike(PARAMS_TRUE[0], alpha_prior=2 * jnp.ones(2))
    # log Γ(4) = 1.79 is added and log 6 = 1.79 subtracted: the digits lost are those of a number ten times as large.
    np.testing.assert_allclose(ours, -0.18232119, atol=4 * DIGITS_32)
    with jax.enable_x64(True):
        exact = weights_loglike(jnp.log(jnp.array([1.0, 5.0])), alpha_prior=2 * jnp.ones(2))
    np.testing.assert_allclose(exact, np.log(5 / 6), rtol=1e-12)


def test_losses(data, params_init):
    np.testing.assert_allclose(loss(PARAMS_TRUE, data), 14590.578, rtol=DIGITS_32)
    np.testing.assert_allclose(loss(params_init, data), 36641.8, rtol=DIGITS_32)


def test_gradients(data, params_init):
    log_weights, mus, log_scales = jax.grad(loss)(params_init, data)
    np.testing.assert_allclose(log_weights, [-1778.4056, 1778.4058], rtol=4 * DIGITS_32)
    np.testing.assert_allclose(mus, [-7817.163, -210.50105], rtol=4 * DIGITS_32, atol=7817 * DIGITS_32)
    np.testing.assert_allclose(log_scales, [-45475.797, -944.6539], rtol=4 * DIGITS_32)


def test_the_experiment_ends_where_the_notebook_ends(quick, tmp_path):
    # Compiled as it is for users: float32 jitters with each way of rounding.
    finished = quick("fit", "experiment=notebook", "tracking=none", "figures=none", "animation=none", XLA_FLAGS="")
    assert finished.returncode == 0, finished.stderr
    (record,) = (tmp_path / "outputs" / "fit").iterdir()
    parameters = json.loads((record / "parameters.json").read_text())
    metrics = json.loads((record / "metrics.json").read_text())
    with np.load(record / "history.npz") as history:
        np.testing.assert_allclose(history["losses"][0], 36641.8, rtol=DIGITS_32)
    # A constant rate of 0.5 jitters around the optimum in float32, differently on each machine.
    np.testing.assert_allclose(metrics["loss"], 14590.415, atol=0.2)
    unconstrained = parameters["unconstrained"]
    np.testing.assert_allclose(np.exp(unconstrained["log_component_weights"]), [0.43909132, 2.210867], atol=0.01)
    np.testing.assert_allclose(unconstrained["component_mus"], [-2.024547, 5.0001907], atol=0.01)
    np.testing.assert_allclose(np.exp(unconstrained["log_component_scales"]), [1.0888584, 2.006368], atol=0.01)
    assert parameters["locs"] == unconstrained["component_mus"]
